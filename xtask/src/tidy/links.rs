//! Links between documents lead somewhere: the file exists, and so does the heading.
//!
//! Only links inside the tree are followed; what lies outside may be unreachable
//! where the gates run.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::Regex;

use super::Finding;
use crate::workspace::File;

static LINK: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\]\(([^()\s]+)\)").ok());

pub fn check(files: &[File]) -> Vec<Finding> {
    let documents: BTreeMap<&str, &str> = files
        .iter()
        .filter(|file| file.path.ends_with(".md"))
        .filter_map(|file| Some((file.path.as_str(), file.text()?)))
        .collect();
    let exists = |path: &str| {
        let folder = format!("{path}/");
        files.iter().any(|file| file.path == path || file.path.starts_with(&folder))
    };
    let mut findings = Vec::new();
    for (path, text) in &documents {
        for (line, target) in targets(text) {
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let resolved = if file.is_empty() { (*path).to_owned() } else { resolve(path, file) };
            if !exists(&resolved) {
                findings.push(Finding::new(path, line, format!("the link to `{target}` leads nowhere")));
            } else if !heading.is_empty()
                && !documents.get(resolved.as_str()).is_some_and(|t| has_heading(t, heading))
            {
                findings.push(Finding::new(path, line, format!("`{resolved}` has no heading `#{heading}`")));
            }
        }
    }
    findings
}

fn targets(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (line, content) in prose(text) {
        for capture in LINK.iter().flat_map(|link| link.captures_iter(content)) {
            let target = capture.get(1).map_or("", |m| m.as_str());
            if !target.contains("://") && !target.starts_with("mailto:") {
                found.push((line, target));
            }
        }
    }
    found
}

/// The lines outside fenced blocks.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            return None;
        }
        (!fenced).then_some((index + 1, line))
    })
}

fn resolve(from: &str, target: &str) -> String {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Headings are named as the usual viewers do: lower case, spaces to dashes, other signs dropped.
fn has_heading(text: &str, wanted: &str) -> bool {
    prose(text).filter(|(_, line)| line.starts_with('#')).any(|(_, line)| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        kept.map(|c| if c == ' ' { '-' } else { c }).eq(wanted.chars())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_docs(docs: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<File> = docs
            .iter()
            .map(|(path, text)| File { path: (*path).to_owned(), bytes: text.as_bytes().to_vec() })
            .collect();
        check(&files).into_iter().map(|finding| finding.to_string()).collect()
    }

    #[test]
    fn links_that_lead_somewhere_pass() {
        let docs = [
            (
                "README.md",
                "[a](docs/a.md) [h](docs/a.md#the-keeper-s) [d](docs) [w](https://x.invalid/y) [s](#top)\n# Top\n",
            ),
            ("docs/a.md", "[up](../README.md)\n## The keeper: s\n```\n[not](a-link.md)\n```\n"),
        ];
        assert_eq!(check_docs(&docs), Vec::<String>::new());
    }

    #[test]
    fn links_that_lead_nowhere_are_found() {
        let docs = [("README.md", "[a](docs/b.md)\n[h](docs/a.md#gone)\n"), ("docs/a.md", "# Here\n")];
        assert_eq!(
            check_docs(&docs),
            [
                "README.md:1: the link to `docs/b.md` leads nowhere",
                "README.md:2: `docs/a.md` has no heading `#gone`"
            ]
        );
    }
}
