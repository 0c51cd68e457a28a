//! JSON as the server wrote it: key order, number spelling and unknown fields survive.
//!
//! Not for: schemas; commands pick the fields they show. Invariants: printing a parsed
//! document changes only white space and string escapes; nesting is bounded.

use std::fmt::Write;

use serde::de::IgnoredAny;

/// Deeper documents are refused.
const MAX_DEPTH: usize = 127;

#[derive(Debug, Clone, PartialEq)]
pub enum Doc {
    Null,
    Bool(bool),
    /// As it was written.
    Number(String),
    Text(String),
    Array(Vec<Doc>),
    Object(Vec<(String, Doc)>),
}

/// Where and why a text is not JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadJson {
    pub reason: String,
    /// From 1.
    pub line: usize,
    /// From 1; 0 at the end of an empty line.
    pub column: usize,
}

static NULL: Doc = Doc::Null;

impl Doc {
    pub fn parse(text: &str) -> Result<Doc, BadJson> {
        let mut parser = Parser { text, at: 0 };
        match parser.document() {
            Some(doc) => Ok(doc),
            None => Err(explain(text, parser.at)),
        }
    }

    /// The member `key`, `Null` if there is none.
    pub fn get(&self, key: &str) -> &Doc {
        let Doc::Object(members) = self else { return &NULL };
        members.iter().find(|(name, _)| name == key).map_or(&NULL, |(_, value)| value)
    }

    /// The member at a path of keys, `Null` if there is none.
    pub fn at(&self, path: &[&str]) -> &Doc {
        path.iter().fold(self, |doc, key| doc.get(key))
    }

    pub fn has(&self, key: &str) -> bool {
        matches!(self, Doc::Object(members) if members.iter().any(|(name, _)| name == key))
    }

    pub fn items(&self) -> &[Doc] {
        if let Doc::Array(items) = self { items } else { &[] }
    }

    /// The text, empty for anything else.
    pub fn text(&self) -> &str {
        if let Doc::Text(text) = self { text } else { "" }
    }

    pub fn number(&self) -> Option<f64> {
        if let Doc::Number(raw) = self { raw.parse().ok() } else { None }
    }

    pub fn count(&self) -> i64 {
        // Saturates; counts are far below the limit.
        self.number().unwrap_or(0.0) as i64
    }

    pub fn is_true(&self) -> bool {
        matches!(self, Doc::Bool(true))
    }

    /// For a table cell: numbers without a needless fraction, text bare.
    pub fn cell(&self) -> String {
        match self {
            Doc::Null => String::new(),
            Doc::Bool(value) => if *value { "True" } else { "False" }.into(),
            Doc::Number(raw) => raw.strip_suffix(".0").unwrap_or(raw).to_owned(),
            Doc::Text(text) => text.clone(),
            other => other.compact(),
        }
    }

    pub fn compact(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, None);
        out
    }

    pub fn pretty(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, Some(0));
        out
    }

    fn write(&self, out: &mut String, indent: Option<usize>) {
        match self {
            Doc::Null => out.push_str("null"),
            Doc::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Doc::Number(raw) => out.push_str(raw),
            Doc::Text(text) => write_text(out, text),
            Doc::Array(items) => {
                let each = |out: &mut String, at: usize, inner| items[at].write(out, inner);
                write_list(out, indent, "[]", items.len(), each);
            }
            Doc::Object(members) => {
                let each = |out: &mut String, at: usize, inner: Option<usize>| {
                    let (name, value) = &members[at];
                    write_text(out, name);
                    out.push_str(if inner.is_some() { ": " } else { ":" });
                    value.write(out, inner);
                };
                write_list(out, indent, "{}", members.len(), each);
            }
        }
    }
}

fn write_list(
    out: &mut String,
    indent: Option<usize>,
    brackets: &str,
    len: usize,
    each: impl Fn(&mut String, usize, Option<usize>),
) {
    out.push_str(&brackets[..1]);
    let inner = indent.map(|level| level + 1);
    let newline = |out: &mut String, level: Option<usize>| {
        if let Some(level) = level {
            out.push('\n');
            out.push_str(&"  ".repeat(level));
        }
    };
    for at in 0..len {
        if at > 0 {
            out.push(',');
        }
        newline(out, inner);
        each(out, at, inner);
    }
    if len > 0 {
        newline(out, indent);
    }
    out.push_str(&brackets[1..]);
}

fn write_text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // Writing to a string does not fail. DEL and C1 could command a terminal.
            c if c.is_control() => _ = write!(out, "\\u{:04x}", c as u32),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// The reason, in the words of a full parser.
fn explain(text: &str, at: usize) -> BadJson {
    match serde_json::from_str::<IgnoredAny>(text) {
        Err(error) => {
            let full = error.to_string();
            let reason = full.split(" at line ").next().unwrap_or(&full).to_owned();
            BadJson { reason, line: error.line(), column: error.column() }
        }
        Ok(_) => {
            let before = text.as_bytes().get(..at).unwrap_or(text.as_bytes());
            let line = before.split(|byte| *byte == b'\n').count();
            let column = before.rsplit(|byte| *byte == b'\n').next().map_or(0, <[u8]>::len) + 1;
            BadJson { reason: format!("nested deeper than {MAX_DEPTH} levels"), line, column }
        }
    }
}

/// Accepts what RFC 8259 accepts; says `None` at the first error, [`explain`] finds the words.
struct Parser<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Parser<'t> {
    fn document(&mut self) -> Option<Doc> {
        let doc = self.value(0)?;
        self.blanks();
        (self.at == self.text.len()).then_some(doc)
    }

    fn value(&mut self, depth: usize) -> Option<Doc> {
        self.blanks();
        match self.peek()? {
            b'{' if depth < MAX_DEPTH => self.object(depth),
            b'[' if depth < MAX_DEPTH => self.array(depth),
            b'"' => self.string().map(Doc::Text),
            b't' => self.word("true", Doc::Bool(true)),
            b'f' => self.word("false", Doc::Bool(false)),
            b'n' => self.word("null", Doc::Null),
            b'-' | b'0'..=b'9' => self.number(),
            _ => None,
        }
    }

    fn object(&mut self, depth: usize) -> Option<Doc> {
        self.at += 1;
        let mut members = Vec::new();
        self.blanks();
        if self.eat(b'}') {
            return Some(Doc::Object(members));
        }
        loop {
            self.blanks();
            let name = self.string()?;
            self.blanks();
            if !self.eat(b':') {
                return None;
            }
            members.push((name, self.value(depth + 1)?));
            self.blanks();
            if self.eat(b'}') {
                return Some(Doc::Object(members));
            }
            if !self.eat(b',') {
                return None;
            }
        }
    }

    fn array(&mut self, depth: usize) -> Option<Doc> {
        self.at += 1;
        let mut items = Vec::new();
        self.blanks();
        if self.eat(b']') {
            return Some(Doc::Array(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.blanks();
            if self.eat(b']') {
                return Some(Doc::Array(items));
            }
            if !self.eat(b',') {
                return None;
            }
        }
    }

    fn string(&mut self) -> Option<String> {
        let start = self.at;
        if !self.eat(b'"') {
            return None;
        }
        let mut plain = true;
        loop {
            match self.peek()? {
                b'"' => break,
                b'\\' => {
                    plain = false;
                    self.at += 2;
                }
                0..=31 => return None,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        let raw = self.text.get(start..self.at)?;
        if plain { Some(raw[1..raw.len() - 1].to_owned()) } else { serde_json::from_str(raw).ok() }
    }

    fn number(&mut self) -> Option<Doc> {
        let start = self.at;
        while self.peek().is_some_and(|b| matches!(b, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')) {
            self.at += 1;
        }
        let raw = self.text.get(start..self.at)?;
        // Checks the spelling; numbers too large for any type keep theirs.
        let spelled = serde_json::from_str::<serde_json::Number>(raw);
        let too_large =
            spelled.as_ref().is_err_and(|error| error.to_string().starts_with("number out of range"));
        (spelled.is_ok() || too_large).then(|| Doc::Number(raw.to_owned()))
    }

    fn word(&mut self, word: &str, doc: Doc) -> Option<Doc> {
        let fits = self.text.get(self.at..)?.starts_with(word);
        self.at += word.len();
        fits.then_some(doc)
    }

    fn blanks(&mut self) {
        while self.peek().is_some_and(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        let fits = self.peek() == Some(byte);
        self.at += usize::from(fits);
        fits
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_spelling_and_unknown_fields_survive() {
        let text =
            r#"{"z":1.50,"a":[1e2,-0,12345678901234567890123],"b":{},"c":[],"d":"\u00e9\n\"","z":null}"#;
        let doc = Doc::parse(text).unwrap();
        assert_eq!(
            doc.compact(),
            "{\"z\":1.50,\"a\":[1e2,-0,12345678901234567890123],\"b\":{},\"c\":[],\"d\":\"é\\n\\\"\",\"z\":null}"
        );
        assert_eq!(Doc::parse(&doc.pretty()).unwrap(), doc);
    }

    #[test]
    fn pretty_uses_two_blanks() {
        let doc = Doc::parse(r#"{"a":[1,{"b":true}],"c":{}}"#).unwrap();
        assert_eq!(
            doc.pretty(),
            "{\n  \"a\": [\n    1,\n    {\n      \"b\": true\n    }\n  ],\n  \"c\": {}\n}"
        );
    }

    #[test]
    fn errors_have_a_place() {
        let bad = |text: &str| Doc::parse(text).unwrap_err();
        assert_eq!((bad("{\n  \"a\" 1}").line, bad("{\n  \"a\" 1}").column), (2, 7));
        for text in [
            "",
            "{",
            "[1,]",
            "{\"a\":1,}",
            "01",
            "+1",
            "1.",
            "\"\\x\"",
            "\"\\",
            "nul",
            "1 2",
            "\"a\nb\"",
            "\u{feff}1",
        ] {
            assert!(!bad(text).reason.is_empty(), "{text:?}");
        }
        let deep = "[".repeat(10_000) + &"]".repeat(10_000);
        assert!(Doc::parse(&deep).is_err());
        assert!(Doc::parse(&("[".repeat(127) + &"]".repeat(127))).is_ok());
    }

    proptest::proptest! {
        /// We accept exactly what a full parser accepts, and lose nothing of it.
        #[test]
        fn agrees_with_a_full_parser(text in r#"([\[\]{}:,"' 01eE.+\-]|"a":|\\u00|null|true|1\.5|\\n){0,12}"#) {
            let full = serde_json::from_str::<serde_json::Value>(&text);
            match Doc::parse(&text) {
                Ok(doc) => {
                    let again: serde_json::Value = serde_json::from_str(&doc.compact()).unwrap();
                    assert_eq!(again, full.unwrap(), "{text}");
                }
                Err(bad) => assert!(full.is_err(), "{text}: {}", bad.reason),
            }
        }

        #[test]
        fn any_text_is_answered(text in ".{0,60}") {
            let _ = Doc::parse(&text);
        }
    }

    #[test]
    fn missing_members_are_null() {
        let doc = Doc::parse(r#"{"a":{"b":"x"}}"#).unwrap();
        assert_eq!(doc.at(&["a", "b"]).text(), "x");
        assert_eq!(doc.at(&["a", "c", "d"]), &Doc::Null);
        assert_eq!(Doc::parse("128.0").unwrap().cell(), "128");
    }
}
