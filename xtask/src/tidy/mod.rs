//! The rules of the tree as code.
//!
//! Each submodule holds one family of rules as a function from files (or
//! manifests) to findings, so that its tests can break the rule on purpose. A rule
//! lives here only when neither the compiler, clippy, rustfmt nor cargo-deny can
//! check it.

mod bans;
mod code;
mod crates;
mod dependencies;
mod layers;
mod limits;
mod links;
mod text;

use std::fmt;

use anyhow::{Result, bail};

use crate::workspace::Workspace;

/// One broken rule, printed as `path:line: what is wrong`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub path: String,
    /// 0 where the finding is about the whole file.
    pub line: usize,
    pub message: String,
}

impl Finding {
    pub fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.message),
            line => write!(f, "{}:{line}: {}", self.path, self.message),
        }
    }
}

pub fn run(workspace: &Workspace) -> Result<()> {
    let files = workspace.files()?;
    let metadata = workspace.metadata()?;
    let mut findings = layers::check(&metadata);
    findings.extend(crates::check(&metadata, &workspace.root, &files));
    for file in &files {
        findings.extend(text::check(file));
        findings.extend(code::check(file));
    }
    findings.extend(bans::check(&workspace.read("clippy.toml")?, &workspace.read("deny.toml")?));
    findings.extend(dependencies::check(
        &workspace.read("Cargo.toml")?,
        &workspace.read("docs/dependencies.md")?,
    ));
    findings.extend(limits::check(&workspace.read("docs/limits.md")?, &files));
    findings.extend(links::check(&files));
    for finding in &findings {
        println!("{finding}");
    }
    if findings.is_empty() {
        println!("tidy: {} files, nothing found", files.len());
        return Ok(());
    }
    bail!("{} findings in {} files", findings.len(), files.len())
}
