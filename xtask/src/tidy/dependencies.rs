//! `docs/dependencies.md` lists exactly the foreign crates that the workspace names.

use std::collections::BTreeSet;

use toml_edit::{DocumentMut, Item, TableLike};

use super::Finding;

const DOCUMENT: &str = "docs/dependencies.md";

pub fn check(manifest: &str, document: &str) -> Vec<Finding> {
    let used = match manifest.parse::<DocumentMut>() {
        Ok(manifest) => foreign(&manifest),
        Err(error) => return vec![Finding::new("Cargo.toml", 0, format!("is no TOML: {error}"))],
    };
    let listed: BTreeSet<String> = document.lines().filter_map(listed_name).map(str::to_owned).collect();
    let missing = used.difference(&listed).map(|name| {
        let message =
            format!("`{name}` of Cargo.toml has no row: say what it is, why, and what else was considered");
        Finding::new(DOCUMENT, 0, message)
    });
    let stale = listed.difference(&used).map(|name| {
        Finding::new(DOCUMENT, 0, format!("`{name}` has a row but is not among the workspace dependencies"))
    });
    missing.chain(stale).collect()
}

fn foreign(manifest: &DocumentMut) -> BTreeSet<String> {
    let table = manifest.get("workspace").and_then(|w| w.get("dependencies")).and_then(Item::as_table_like);
    let ours = |item: &Item| item.get("path").is_some();
    table
        .into_iter()
        .flat_map(TableLike::iter)
        .filter(|(_, item)| !ours(item))
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// The name of a row: "| `name` | …".
fn listed_name(line: &str) -> Option<&str> {
    line.strip_prefix("| `")?.split_once('`').map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_and_stale_rows_are_found() {
        let manifest =
            "[workspace.dependencies]\nmodel = { path = \"crates/model\" }\nserde = \"1\"\nredb = \"4\"\n";
        let messages: Vec<_> =
            check(manifest, "| `serde` | x |\n| `sled` | y |\n").into_iter().map(|f| f.message).collect();
        assert_eq!(messages.len(), 2);
        assert!(messages[0].starts_with("`redb` of Cargo.toml has no row"));
        assert!(messages[1].starts_with("`sled` has a row"));
        assert_eq!(check(manifest, "| `serde` | x |\n| `redb` | y |\n"), Vec::new());
    }
}
