//! A ban without a reason is a riddle: every entry of `clippy.toml` and `deny.toml` carries one.

use toml_edit::{DocumentMut, Item, Value};

use super::Finding;

const REASON_CHARS_MIN: usize = 15;

/// The lists of entries that need a reason: file, section (empty for the top), key.
const LISTS: &[(&str, &str, &str)] = &[
    ("clippy.toml", "", "disallowed-methods"),
    ("clippy.toml", "", "disallowed-types"),
    ("clippy.toml", "", "disallowed-macros"),
    ("deny.toml", "bans", "deny"),
    ("deny.toml", "bans", "skip"),
    ("deny.toml", "bans", "skip-tree"),
    ("deny.toml", "advisories", "ignore"),
];

pub fn check(clippy: &str, deny: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in [("clippy.toml", clippy), ("deny.toml", deny)] {
        match text.parse::<DocumentMut>() {
            Ok(document) => findings.extend(check_document(path, &document)),
            Err(error) => findings.push(Finding::new(path, 0, format!("is no TOML: {error}"))),
        }
    }
    findings
}

fn check_document(path: &str, document: &DocumentMut) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (_, section, key) in LISTS.iter().filter(|(file, ..)| *file == path) {
        let table = if section.is_empty() { Some(document.as_item()) } else { document.get(section) };
        let list = table.and_then(|table| table.get(key)).and_then(Item::as_array);
        for entry in list.into_iter().flatten() {
            let field = |name| entry.as_inline_table().and_then(|e| e.get(name)).and_then(Value::as_str);
            if field("reason").unwrap_or_default().trim().chars().count() < REASON_CHARS_MIN {
                let names = [entry.as_str(), field("path"), field("crate"), field("name"), field("id")];
                let name = names.into_iter().flatten().next().unwrap_or("an entry");
                let message = format!("`{name}` in `{key}` has no reason");
                findings.push(Finding::new(path, 0, message));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_without_a_reason_is_found() {
        let with = "disallowed-methods = [{ path = \"a::b\", reason = \"every queue has a limit\" }]";
        let without = "disallowed-methods = [{ path = \"a::b\" }, \"c::d\"]";
        let short = "[bans]\ndeny = [{ crate = \"openssl\", reason = \"no\" }]";
        assert_eq!(check(with, ""), Vec::new());
        assert_eq!(check(without, "").len(), 2);
        assert_eq!(check("", short).len(), 1);
        assert_eq!(check("not toml", "").len(), 1);
    }
}
