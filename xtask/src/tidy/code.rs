//! Rules for Rust sources: size, headers, reminders, code kept in comments.

use std::sync::LazyLock;

use regex::Regex;

use super::Finding;
use crate::workspace::File;

const FILE_LINES_MAX: usize = 1_000;
/// Above this a reader needs to be told what the file is for.
const LINES_WITHOUT_HEADER_MAX: usize = 150;

/// A reminder must say why the thing is not done: at least this much after the word.
const REMINDER_REASON_CHARS_MIN: usize = 20;

static REMINDER: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\b(?:TODO|FIXME|XXX|HACK)\b(.*)").ok());
static DEAD_CODE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"^\s*//\s*(?:(?:let|use|return)\b.*;|(?:pub |async )?(?:fn|struct|enum|impl|mod|if|for|match)\b.*\{|[a-z_.:]+\(.*\);)$").ok()
});

pub fn check(file: &File) -> Vec<Finding> {
    let Some(text) = file.text().filter(|_| file.is_rust()) else { return Vec::new() };
    let mut findings = Vec::new();
    let lines = text.lines().count();
    if lines > FILE_LINES_MAX {
        findings.push(Finding::new(
            &file.path,
            0,
            format!("{lines} lines; at most {FILE_LINES_MAX}: split it by subject"),
        ));
    }
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    if lines > LINES_WITHOUT_HEADER_MAX && !first.starts_with("//!") {
        let message = format!(
            "{lines} lines without a `//!` header: say what the module is for, what not, and its invariant"
        );
        findings.push(Finding::new(&file.path, 1, message));
    }
    for (index, line) in text.lines().enumerate() {
        if let Some(message) = check_line(line) {
            findings.push(Finding::new(&file.path, index + 1, message));
        }
    }
    findings
}

fn check_line(line: &str) -> Option<&'static str> {
    // Every finding of this function is in a comment.
    let comment = line.find("//").map(|start| &line[start..])?;
    let reminder = REMINDER.as_ref()?.captures(comment).and_then(|found| found.get(1));
    if reminder.is_some_and(|reason| reason.as_str().trim().chars().count() < REMINDER_REASON_CHARS_MIN) {
        return Some("a reminder without its reason: say why it is not done and what it waits for");
    }
    let is_plain = !line.trim_start().starts_with("///") && !line.trim_start().starts_with("//!");
    if is_plain && DEAD_CODE.as_ref()?.is_match(line) {
        return Some("code kept in a comment: delete it, git remembers");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_text(text: &str) -> Vec<String> {
        let file = File { path: "a.rs".to_owned(), bytes: text.as_bytes().to_vec() };
        check(&file).into_iter().map(|finding| finding.to_string()).collect()
    }

    #[test]
    fn the_patterns_are_patterns() {
        assert!(REMINDER.is_some() && DEAD_CODE.is_some());
    }

    #[test]
    fn size_and_header() {
        assert_eq!(check_text(&"\n".repeat(150)), Vec::<String>::new());
        assert!(check_text(&"\n".repeat(151))[0].contains("without a `//!` header"));
        assert_eq!(check_text(&format!("//! Long.\n{}", "\n".repeat(999))), Vec::<String>::new());
        assert_eq!(
            check_text(&format!("//! Long.\n{}", "\n".repeat(1000))),
            ["a.rs: 1001 lines; at most 1000: split it by subject"]
        );
    }

    #[test]
    fn reminders_carry_their_reason() {
        assert_eq!(check_text(concat!("// TO", "DO fix\n")).len(), 1);
        assert_eq!(check_text("// TODO: the kernel lacks this before 5.9; waits for Debian 13\n").len(), 0);
        assert_eq!(check_text("let word = \"TODO\";\n").len(), 0);
    }

    #[test]
    fn code_in_comments_is_found_and_sentences_are_not() {
        for dead in ["// let x = 1;", "    // if a == b {", "// pub fn old() {", "// self.start(now);"] {
            assert_eq!(check_text(dead).len(), 1, "{dead}");
        }
        for alive in [
            "// If a is b, wait; then go on.",
            "/// let x = 1;",
            "// let the caller decide",
            "let url = \"http://x\";",
        ] {
            assert_eq!(check_text(alive).len(), 0, "{alive}");
        }
    }
}
