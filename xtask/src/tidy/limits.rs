//! Every limit that `docs/limits.md` names is a name in the product's sources.
//!
//! Whether the default beside it is right only a reader can tell.

use std::collections::BTreeSet;

use super::Finding;
use crate::workspace::File;

const DOCUMENT: &str = "docs/limits.md";

pub fn check(document: &str, files: &[File]) -> Vec<Finding> {
    let mut words = BTreeSet::new();
    for file in files.iter().filter(|file| file.is_rust() && file.path.starts_with("crates/")) {
        words.extend(file.text().unwrap_or_default().split(|c: char| !c.is_ascii_alphanumeric() && c != '_'));
    }
    let mut findings = Vec::new();
    for (index, line) in document.lines().enumerate() {
        for name in names(line) {
            // `Quantity::MAX` is looked for by its last part.
            let word = name.rsplit("::").next().unwrap_or(name);
            if !words.contains(word) {
                let message = format!("no source names a limit `{name}`");
                findings.push(Finding::new(DOCUMENT, index + 1, message));
            }
        }
    }
    findings
}

/// What stands between backticks in the first column of a table.
fn names(line: &str) -> impl Iterator<Item = &str> {
    let column = line.strip_prefix('|').and_then(|row| row.split('|').next()).unwrap_or_default();
    column.split('`').skip(1).step_by(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_no_source_names_is_found() {
        let source =
            File { path: "crates/a/src/lib.rs".to_owned(), bytes: b"const APPS_MAX: usize = 3;".to_vec() };
        let document =
            "| Name | Default |\n|---|---|\n| `APPS_MAX`, `a::OLD_MAX` of apps | 3 | `elsewhere` |\n";
        let findings = check(document, &[source]);
        assert_eq!(findings, [Finding::new(DOCUMENT, 3, "no source names a limit `a::OLD_MAX`")]);
    }
}
