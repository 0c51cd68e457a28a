//! Where the tree is and what is in it.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

pub struct Workspace {
    pub root: PathBuf,
    /// The cargo that started this program, so that a chosen toolchain is kept.
    pub cargo: OsString,
}

/// A file of the tree, named relative to the root with forward slashes.
pub struct File {
    pub path: String,
    pub bytes: Vec<u8>,
}

impl File {
    /// `None` for what is no text.
    pub fn text(&self) -> Option<&str> {
        if self.bytes.contains(&0) { None } else { std::str::from_utf8(&self.bytes).ok() }
    }

    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }
}

impl Workspace {
    pub fn find() -> Result<Self> {
        let manifest_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = manifest_dir.parent().context("xtask lies directly under the root of the workspace")?;
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
        Ok(Self { root: root.to_owned(), cargo })
    }

    /// Everything git tracks or would track, so that a rule is seen to be broken before the commit.
    pub fn files(&self) -> Result<Vec<File>> {
        let listing =
            self.output("git", &["ls-files", "-z", "--cached", "--others", "--exclude-standard"])?;
        let mut paths: Vec<String> =
            listing.split('\0').filter(|p| !p.is_empty()).map(str::to_owned).collect();
        paths.sort();
        paths.dedup();
        let mut files = Vec::new();
        for path in paths {
            let full = self.root.join(&path);
            // A path that was deleted but not yet staged, or a link, has no text of its own.
            let is_file = full.symlink_metadata().is_ok_and(|meta| meta.is_file());
            if is_file {
                let bytes = std::fs::read(&full).with_context(|| format!("reading {path}"))?;
                files.push(File { path, bytes });
            }
        }
        if files.is_empty() {
            bail!("git lists no files in {}; tidy needs the tree as a git repository", self.root.display());
        }
        Ok(files)
    }

    pub fn metadata(&self) -> Result<Value> {
        let text = self.output(&self.cargo, &["metadata", "--no-deps", "--format-version", "1"])?;
        serde_json::from_str(&text).context("`cargo metadata` printed something that is no JSON")
    }

    pub fn read(&self, path: &str) -> Result<String> {
        std::fs::read_to_string(self.root.join(path)).with_context(|| format!("reading {path}"))
    }

    pub fn output(&self, program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Result<String> {
        let program = program.as_ref();
        let shown = || format!("{} {}", program.to_string_lossy(), arguments.join(" "));
        let output = Command::new(program)
            .args(arguments)
            .current_dir(&self.root)
            .output()
            .with_context(|| format!("starting `{}`", shown()))?;
        if !output.status.success() {
            bail!(
                "`{}` ended with {}: {}",
                shown(),
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        String::from_utf8(output.stdout)
            .with_context(|| format!("`{}` printed something that is no text", shown()))
    }
}
