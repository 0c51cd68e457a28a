//! Query strings as bytes: a sandbox path may be any bytes a file system takes.

use std::borrow::Cow;

use crate::reply::Refusal;

/// Most `name=value` pairs read; more are refused.
const PAIRS_MAX: usize = 64;

/// Longest `jsonp` name.
const CALLBACK_LENGTH_MAX: usize = 128;

#[derive(Debug, Default)]
pub(crate) struct Query(Vec<(Vec<u8>, Vec<u8>)>);

impl Query {
    pub fn parse(raw: Option<&str>) -> Result<Self, Refusal> {
        let mut pairs = Vec::new();
        for pair in raw.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            if pairs.len() == PAIRS_MAX {
                return Err(Refusal::bad_request(format!(
                    "The query has more than {PAIRS_MAX} parameters.\n"
                )));
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            pairs.push((decode(name)?, decode(value)?));
        }
        Ok(Self(pairs))
    }

    /// The last value wins.
    pub fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().rev().find(|(key, _)| key == name.as_bytes()).map(|(_, value)| value.as_slice())
    }

    pub fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        self.bytes(name).map(String::from_utf8_lossy)
    }

    /// An integer; a text that is none is refused with the parameter's name.
    pub fn integer(&self, name: &str) -> Result<Option<i64>, Refusal> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let parsed = text.parse().map(Some);
        parsed.map_err(|_| {
            let shown: String = text.chars().take(40).collect();
            Refusal::bad_request(format!("Failed to parse {name}: Failed to convert '{shown}' to number.\n"))
        })
    }

    /// The `jsonp` function: a JavaScript name, since it is sent back as a program.
    pub fn callback(&self) -> Result<Option<String>, Refusal> {
        let Some(name) = self.text("jsonp") else { return Ok(None) };
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '$' | '.' | '[' | ']');
        if name.is_empty() || name.len() > CALLBACK_LENGTH_MAX || !name.chars().all(good) {
            return Err(Refusal::bad_request(format!(
                "Invalid 'jsonp': expecting a JavaScript name of letters, digits, '_', '$', '.', '[' and ']' \
                 of at most {CALLBACK_LENGTH_MAX} characters.\n"
            )));
        }
        Ok(Some(name.into_owned()))
    }
}

fn decode(text: &str) -> Result<Vec<u8>, Refusal> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'+' => decoded.push(b' '),
            b'%' => {
                let digit = |at: usize| after.get(at).and_then(|byte| char::from(*byte).to_digit(16));
                let (Some(high), Some(low)) = (digit(0), digit(1)) else {
                    return Err(Refusal::bad_request("Malformed % escape in the query.\n".to_owned()));
                };
                // Two hexadecimal digits are at most 255.
                decoded.push((high * 16 + low) as u8);
                rest = &after[2..];
            }
            other => decoded.push(other),
        }
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding() {
        let query = Query::parse(Some("path=%2Fa+b%ff&x&offset=-1&offset=7&y=1=2")).unwrap();
        assert_eq!(query.bytes("path"), Some(b"/a b\xff".as_slice()));
        assert_eq!(query.text("path").as_deref(), Some("/a b\u{fffd}"));
        assert_eq!(query.integer("offset").unwrap(), Some(7));
        assert_eq!(query.text("x").as_deref(), Some(""));
        assert_eq!(query.text("y").as_deref(), Some("1=2"));
        assert!(query.text("nothing").is_none());
        assert!(query.integer("path").is_err());
    }

    #[test]
    fn bad_queries_are_refused() {
        for bad in ["a=%", "a=%2", "a=%zz", &"a=1&".repeat(PAIRS_MAX + 1)] {
            assert!(Query::parse(Some(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn callbacks_are_names() {
        for (name, good) in [
            ("f", true),
            ("jQuery1_2", true),
            ("a.b[0]", true),
            ("", false),
            ("alert(1)//", false),
            ("a;b", false),
        ] {
            let query = Query::parse(Some(&format!("jsonp={name}"))).unwrap();
            assert_eq!(query.callback().is_ok(), good, "{name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_query_panics(raw in ".{0,200}") {
            let _ = Query::parse(Some(&raw)).map(|query| (query.callback().is_ok(), query.integer("offset").is_ok()));
        }
    }
}
