//! Definitions from files, URLs and standard input, and `key=value` properties.
//!
//! Invariant: what is sent is what was written, byte for byte; checking it here only gives
//! errors a place in the file.

use std::io::{IsTerminal, Read};

use crate::error::{Failure, Result};
use crate::http::Client;
use crate::json::{BadJson, Doc};

/// Larger definitions are refused before they are read.
const MAX_BYTES: u64 = 64 << 20;

/// A definition as it was written, and read.
pub struct Definition {
    pub text: String,
    pub doc: Doc,
}

pub async fn read(client: &Client, resource: Option<&str>) -> Result<Definition> {
    let (name, text) = match resource {
        None | Some("-") => ("standard input", stdin()?),
        Some(url) if url.starts_with("http://") || url.starts_with("https://") => {
            (url, client.fetch(url).await?)
        }
        Some(path) => (path, file(path)?),
    };
    let doc = Doc::parse(&text).map_err(|bad| not_json(name, &text, &bad))?;
    if !matches!(doc, Doc::Object(_)) {
        return Err(Failure::new(format!("{name} does not hold a JSON object")));
    }
    Ok(Definition { text, doc })
}

fn file(path: &str) -> Result<String> {
    let missing = |error: std::io::Error| {
        Failure::new(format!("can't read from resource: {path}. Please check that it exists")).cause(error)
    };
    let opened = std::fs::File::open(path).map_err(missing)?;
    bounded(path, opened).map_err(|result| result.unwrap_or_else(missing))
}

fn stdin() -> Result<String> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        return Err(Failure::new("no definition was given")
            .hint("name a file, or send it to standard input: dcos … < file.json"));
    }
    let failed = |error| Failure::new("can't read from standard input").cause(error);
    bounded("standard input", stdin.lock()).map_err(|result| result.unwrap_or_else(failed))
}

fn bounded(
    name: &str,
    from: impl Read,
) -> std::result::Result<String, std::result::Result<Failure, std::io::Error>> {
    let mut bytes = Vec::new();
    from.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(Err)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(Ok(Failure::new(format!("{name} is larger than {} MiB", MAX_BYTES >> 20))));
    }
    String::from_utf8(bytes).map_err(|_| Ok(Failure::new(format!("{name} is not UTF-8 text"))))
}

/// The error with its line and a mark under its column.
fn not_json(name: &str, text: &str, bad: &BadJson) -> Failure {
    let message =
        format!("{name} is not valid JSON: {} at line {} column {}", bad.reason, bad.line, bad.column);
    let Some(line) = text.lines().nth(bad.line.saturating_sub(1)) else { return Failure::new(message) };
    let at = bad.column.saturating_sub(1).min(line.len());
    let before = String::from_utf8_lossy(&line.as_bytes()[..at]).chars().count();
    // A window of the line around the error, so that minified files stay readable.
    let start = before.saturating_sub(60);
    let window: String =
        line.chars().skip(start).take(100).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mark = " ".repeat(before - start);
    Failure::new(message).details(vec![window, format!("{mark}^")])
}

/// An object from `key=value` words, typed as the original types them.
pub fn properties(words: &[String]) -> Result<Doc> {
    let mut members: Vec<(String, Doc)> = Vec::new();
    for word in words {
        let Some((key, value)) = word.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            return Err(
                Failure::new(format!("'{word}' is not a property")).hint("write key=value, e.g. instances=3")
            );
        };
        if members.iter().any(|(name, _)| name == key) {
            return Err(Failure::new(format!("key '{key}' was given twice")));
        }
        members.push((key.to_owned(), typed(value)));
    }
    Ok(Doc::Object(members))
}

/// Quotes around the value are cut; then it is JSON if it reads as JSON, else text.
fn typed(value: &str) -> Doc {
    for quote in ['"', '\''] {
        if let Some(inner) = value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote)) {
            return Doc::parse(inner).unwrap_or_else(|_| Doc::Text(inner.to_owned()));
        }
    }
    match value {
        "True" => Doc::Bool(true),
        "False" => Doc::Bool(false),
        _ => Doc::parse(value).unwrap_or_else(|_| Doc::Text(value.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn values_get_the_types_they_look_like() {
        let doc = properties(&words(&[
            "cpus=0.2",
            "env={\"A\":\"b\"}",
            "cmd=null",
            "instances=3",
            "user=root",
            "a=True",
            "b='x y'",
            "c=\"7\"",
            "cmd2=sleep 1; echo a=b",
            "d=",
            "uris=[\"http://x\"]",
        ]))
        .unwrap();
        assert_eq!(
            doc.compact(),
            "{\"cpus\":0.2,\"env\":{\"A\":\"b\"},\"cmd\":null,\"instances\":3,\"user\":\"root\",\"a\":true,\
             \"b\":\"x y\",\"c\":7,\"cmd2\":\"sleep 1; echo a=b\",\"d\":\"\",\"uris\":[\"http://x\"]}"
        );
    }

    #[test]
    fn broken_properties_are_refused() {
        assert!(
            properties(&words(&["novalue"])).unwrap_err().to_string().contains("'novalue' is not a property")
        );
        assert!(properties(&words(&["=1"])).is_err());
        assert!(properties(&words(&["a=1", "a=2"])).unwrap_err().to_string().contains("given twice"));
    }

    #[test]
    fn a_syntax_error_is_pointed_at() {
        let text = "{\n  \"id\": \"/a\"\n  \"cmd\": 1\n}";
        let bad = Doc::parse(text).unwrap_err();
        assert_eq!(
            not_json("a.json", text, &bad).to_string(),
            "Error: a.json is not valid JSON: expected `,` or `}` at line 3 column 3\n    \"cmd\": 1\n    ^"
        );
    }
}
