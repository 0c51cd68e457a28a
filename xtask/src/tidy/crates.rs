//! The shape of every crate: its manifest inherits from the workspace, its root forbids unsafe code.

use std::path::Path;

use serde_json::Value;
use toml_edit::{DocumentMut, Item, TableLike};

use super::Finding;
use crate::workspace::File;

/// The only crates that talk to the kernel themselves; there clippy demands a
/// `SAFETY` comment on every block.
const SYSTEM_CALL_CRATES: &[&str] = &["keeper", "containers", "devcluster"];

const FORBID: &str = "#![forbid(unsafe_code)]";

pub fn check(metadata: &Value, root: &Path, files: &[File]) -> Vec<Finding> {
    let relative =
        |path: &str| Path::new(path).strip_prefix(root).ok().and_then(Path::to_str).map(str::to_owned);
    let text_of = |path: &str| files.iter().find(|file| file.path == path).and_then(File::text);
    let mut findings = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        let manifest = package["manifest_path"].as_str().and_then(relative).unwrap_or_default();
        if let Some(text) = text_of(&manifest) {
            findings.extend(check_manifest(&manifest, text));
        }
        if SYSTEM_CALL_CRATES.contains(&name) {
            continue;
        }
        for target in package["targets"].as_array().into_iter().flatten() {
            let is_root = target["kind"].as_array().into_iter().flatten().any(|k| k == "lib" || k == "bin");
            let source = target["src_path"].as_str().and_then(relative).unwrap_or_default();
            if is_root && text_of(&source).is_some_and(|text| !text.lines().any(|line| line.trim() == FORBID))
            {
                let message = format!(
                    "the root of `{name}` lacks `{FORBID}`; only {SYSTEM_CALL_CRATES:?} may do without"
                );
                findings.push(Finding::new(&source, 0, message));
            }
        }
    }
    findings
}

fn check_manifest(path: &str, text: &str) -> Vec<Finding> {
    let document = match text.parse::<DocumentMut>() {
        Ok(document) => document,
        Err(error) => return vec![Finding::new(path, 0, format!("is no TOML: {error}"))],
    };
    let mut findings = Vec::new();
    if !document.get("lints").is_some_and(inherits) {
        findings.push(Finding::new(path, 0, "lacks `[lints] workspace = true`"));
    }
    for key in ["version", "edition", "rust-version", "license", "publish"] {
        if !document["package"].get(key).is_some_and(inherits) {
            findings.push(Finding::new(path, 0, format!("lacks `{key}.workspace = true`")));
        }
    }
    for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
        for (name, item) in
            document.get(section).and_then(Item::as_table_like).into_iter().flat_map(TableLike::iter)
        {
            if !inherits(item) {
                let message =
                    format!("`{name}` in [{section}] must be `{name}.workspace = true`: one version for all");
                findings.push(Finding::new(path, 0, message));
            }
        }
    }
    findings
}

fn inherits(item: &Item) -> bool {
    item.get("workspace").and_then(Item::as_bool) == Some(true)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PACKAGE: &str = "[package]\nname = \"x\"\nversion.workspace = true\nedition.workspace = true\n\
        rust-version.workspace = true\nlicense.workspace = true\npublish.workspace = true\n";

    fn check_manifest_text(rest: &str) -> Vec<String> {
        check_manifest("Cargo.toml", &format!("{PACKAGE}{rest}")).into_iter().map(|f| f.message).collect()
    }

    #[test]
    fn a_manifest_inherits_everything() {
        let good = "[lints]\nworkspace = true\n[dependencies]\nserde.workspace = true\n\
            rustix = { workspace = true, features = [\"stdio\"] }\n";
        assert_eq!(check_manifest_text(good), Vec::<String>::new());
        assert_eq!(check_manifest_text(""), ["lacks `[lints] workspace = true`"]);
        let own_version = "[lints]\nworkspace = true\n[dependencies]\nserde = \"1\"\n";
        assert_eq!(
            check_manifest_text(own_version),
            ["`serde` in [dependencies] must be `serde.workspace = true`: one version for all"]
        );
    }

    fn check_root(name: &str, source: &str) -> usize {
        let metadata = json!({ "packages": [{
            "name": name,
            "manifest_path": "/tree/crates/x/Cargo.toml",
            "targets": [{ "kind": ["lib"], "src_path": "/tree/crates/x/src/lib.rs" }],
        }]});
        let file = File { path: "crates/x/src/lib.rs".to_owned(), bytes: source.as_bytes().to_vec() };
        check(&metadata, Path::new("/tree"), &[file]).len()
    }

    #[test]
    fn a_root_without_the_forbid_is_found_outside_the_system_call_crates() {
        assert_eq!(check_root("model", "//! Words.\n#![forbid(unsafe_code)]\n"), 0);
        assert_eq!(check_root("model", "//! Says `#![forbid(unsafe_code)]` but does not.\n"), 1);
        assert_eq!(check_root("keeper", "//! Talks to the kernel.\n"), 0);
    }
}
