//! Rules for every file: it is text, it ends well, and it speaks of the product only.

use std::sync::LazyLock;

use regex::Regex;

use super::Finding;
use crate::workspace::File;

/// The pattern, what it may not be used for, and where it is at home.
struct Ban {
    pattern: &'static str,
    message: &'static str,
}

/// How a change came about belongs into the commit, not into the tree.
const HISTORY: &str = "speaks of how the work was made; say what the product does";

const BANS: &[Ban] = &[
    Ban {
        pattern: r"(?i)\bissue #?\d",
        message: "points at a tracker that a reader does not have; say the reason itself",
    },
    Ban { pattern: r"(?i)\b(?:claude|chatgpt|copilot|openai|anthropic)\b", message: HISTORY },
    Ban {
        pattern: r"(?i)\b(?:helper agent|language model|ai[- ](?:generated|assisted|assistant|agent))",
        message: HISTORY,
    },
    Ban {
        pattern: r"(?i)\b(?:this|previous|next|earlier|last|later) session\b(?:'s)?(?:$|[ ,.;])",
        message: HISTORY,
    },
    Ban {
        pattern: r"(?i)\b(?:the founder|the ceo|another helper|my brief|the brief says)\b",
        message: HISTORY,
    },
    Ban {
        pattern: r#"(?:^|[\s"'`(=:<>])/work/(?:main|shared|\.library|\.mirror)\b"#,
        message: "a path of one machine: use a path relative to the tree, or a directory the test made",
    },
    Ban { pattern: r"(?i)\bartifactory\b", message: "names the host of a package mirror" },
];

static COMPILED: LazyLock<Vec<(Regex, &'static str)>> = LazyLock::new(|| {
    BANS.iter().filter_map(|ban| Some((Regex::new(ban.pattern).ok()?, ban.message))).collect()
});

/// The one file that has to spell the words out.
const HOME_OF_THE_WORDS: &str = "xtask/src/tidy/text.rs";

const CRATES_IO: &str = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";

pub fn check(file: &File) -> Vec<Finding> {
    let Some(text) = file.text() else {
        let message = "is no text: make it with a script where it is needed, nobody can review it here";
        return vec![Finding::new(&file.path, 0, message)];
    };
    let mut findings = Vec::new();
    if !text.is_empty() && !text.ends_with('\n') {
        findings.push(Finding::new(&file.path, text.lines().count(), "does not end with a line end"));
    }
    if text.ends_with("\n\n") {
        findings.push(Finding::new(&file.path, text.lines().count(), "ends with an empty line"));
    }
    for (index, line) in text.split('\n').enumerate() {
        for message in check_line(&file.path, line) {
            findings.push(Finding::new(&file.path, index + 1, message));
        }
    }
    findings
}

fn check_line(path: &str, line: &str) -> Vec<&'static str> {
    let mut messages = Vec::new();
    if line.ends_with([' ', '\t', '\r']) {
        messages.push("white space at the end of the line");
    }
    if path != HOME_OF_THE_WORDS {
        messages.extend(
            COMPILED.iter().filter(|(pattern, _)| pattern.is_match(line)).map(|(_, message)| *message),
        );
    }
    if path.ends_with("Cargo.lock") && line.starts_with("source = ") && line != CRATES_IO {
        messages.push("a source other than the public registry of crates");
    }
    if path.ends_with("package-lock.json") && line.contains("\"resolved\": \"http") {
        messages.push("names the host of a registry: set `omit-lockfile-registry-resolved=true` in .npmrc");
    }
    messages
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_text(path: &str, text: &str) -> usize {
        check(&File { path: path.to_owned(), bytes: text.as_bytes().to_vec() }).len()
    }

    #[test]
    fn every_pattern_is_a_pattern() {
        assert_eq!(COMPILED.len(), BANS.len());
    }

    #[test]
    fn what_is_no_text_is_found() {
        let binary = File { path: "a.png".to_owned(), bytes: vec![0x89, b'P', 0, 0xff] };
        assert_eq!(check(&binary).len(), 1);
    }

    #[test]
    fn ends_of_lines_and_files() {
        assert_eq!(check_text("a.md", "good\n"), 0);
        assert_eq!(check_text("a.md", ""), 0);
        assert_eq!(check_text("a.md", "no end"), 1);
        assert_eq!(check_text("a.md", "two\n\n"), 1);
        assert_eq!(check_text("a.md", "space \n"), 1);
        assert_eq!(check_text("a.md", "dos\r\n"), 1);
    }

    #[test]
    fn words_about_the_making_are_found() {
        for bad in [
            "see issue #12",
            "fixes Issue 12",
            "written with ChatGPT",
            "left for the next session.",
            "as /work/main/crates says",
            "AI-generated",
        ] {
            assert_eq!(check_text("a.md", &format!("{bad}\n")), 1, "{bad}");
        }
    }

    #[test]
    fn the_same_words_with_another_meaning_pass() {
        for good in [
            "setsid starts a new session",
            "the session key of the TLS link",
            "a session's timeout ends its watches",
            "{}/work/main",
            "workdir=/var/lib/dcos/layers/work/7",
            "an issue with the kernel",
        ] {
            assert_eq!(check_text("a.md", &format!("{good}\n")), 0, "{good}");
        }
    }

    #[test]
    fn lock_files_name_no_other_registry() {
        assert_eq!(check_text("Cargo.lock", &format!("{CRATES_IO}\n")), 0);
        assert_eq!(check_text("Cargo.lock", "source = \"git+https://example.com/x\"\n"), 1);
        assert_eq!(check_text("ui/package-lock.json", "  \"resolved\": \"https://host/x.tgz\",\n"), 1);
    }
}
