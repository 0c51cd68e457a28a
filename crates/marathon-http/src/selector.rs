//! Label selectors: `a,b==c,d!=e,f in (g,h),i notin (j)`; a comma joins by AND.

use std::collections::BTreeMap;

/// Longest selector, in bytes.
const LENGTH_MAX: usize = 4096;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    Exists,
    Equal(String),
    Unequal(String),
    In(Vec<String>),
    NotIn(Vec<String>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Selector(Vec<(String, Test)>);

impl Selector {
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut reader = Reader { chars: text.chars().collect(), at: 0 };
        if text.len() > LENGTH_MAX {
            return Err(format!("it is longer than {LENGTH_MAX} bytes"));
        }
        let mut tests = Vec::new();
        loop {
            let label = reader.term()?;
            let test = reader.test()?;
            tests.push((label, test));
            if reader.at_end() {
                return Ok(Self(tests));
            }
            reader.expect(',')?;
        }
    }

    /// All tests hold; `!=` and `notin` also demand that the label exists.
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|(label, test)| {
            labels.get(label).is_some_and(|value| match test {
                Test::Exists => true,
                Test::Equal(wanted) => value == wanted,
                Test::Unequal(unwanted) => value != unwanted,
                Test::In(set) => set.contains(value),
                Test::NotIn(set) => !set.contains(value),
            })
        })
    }
}

struct Reader {
    chars: Vec<char>,
    at: usize,
}

impl Reader {
    fn skip_blanks(&mut self) {
        while self.chars.get(self.at).is_some_and(|c| c.is_whitespace()) {
            self.at += 1;
        }
    }

    fn at_end(&mut self) -> bool {
        self.skip_blanks();
        self.at >= self.chars.len()
    }

    fn looking_at(&mut self, text: &str) -> bool {
        self.skip_blanks();
        let length = text.chars().count();
        let found = self
            .chars
            .get(self.at..self.at + length)
            .is_some_and(|next| text.chars().eq(next.iter().copied()));
        if found {
            self.at += length;
        }
        found
    }

    fn expect(&mut self, c: char) -> Result<(), String> {
        if self.looking_at(&c.to_string()) { Ok(()) } else { Err(self.error(&format!("'{c}' expected"))) }
    }

    fn error(&self, what: &str) -> String {
        format!("{what} at position {}", self.at + 1)
    }

    /// Letters, digits, `-_.`, and anything behind a backslash.
    fn term(&mut self) -> Result<String, String> {
        self.skip_blanks();
        let mut term = String::new();
        while let Some(c) = self.chars.get(self.at).copied() {
            if c == '\\' {
                let escaped = self.chars.get(self.at + 1).copied();
                term.push(escaped.ok_or_else(|| self.error("a character expected after the backslash"))?);
                self.at += 2;
            } else if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') {
                term.push(c);
                self.at += 1;
            } else {
                break;
            }
        }
        if term.is_empty() { Err(self.error("a term expected")) } else { Ok(term) }
    }

    fn test(&mut self) -> Result<Test, String> {
        if self.looking_at("==") {
            Ok(Test::Equal(self.term()?))
        } else if self.looking_at("!=") {
            Ok(Test::Unequal(self.term()?))
        } else if self.looking_at("notin") {
            Ok(Test::NotIn(self.set()?))
        } else if self.looking_at("in") {
            Ok(Test::In(self.set()?))
        } else {
            Ok(Test::Exists)
        }
    }

    fn set(&mut self) -> Result<Vec<String>, String> {
        self.expect('(')?;
        let mut terms = vec![self.term()?];
        while self.looking_at(",") {
            terms.push(self.term()?);
        }
        self.expect(')')?;
        Ok(terms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, labels: &[(&str, &str)], expected: bool) {
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        assert_eq!(Selector::parse(text).unwrap().selects(&labels), expected, "{text} {labels:?}");
    }

    #[test]
    fn selectors() {
        let one = [("foo", "one")];
        check("foo", &one, true);
        check("bar", &one, false);
        check("foo==one", &one, true);
        check(" foo == two ", &one, false);
        check("foo!=two", &one, true);
        check("foo!=one", &one, false);
        check("bar!=one", &one, false);
        check("foo in (one, two)", &one, true);
        check("foo in (two)", &one, false);
        check("foo notin (two)", &one, true);
        check("bar notin (two)", &one, false);
        check("foo,foo==one", &one, true);
        check("foo,bar", &one, false);
        check(r"a\/b==c\ d", &[("a/b", "c d")], true);
        check("inside", &[("inside", "")], true);
    }

    #[test]
    fn refused() {
        for bad in [
            "",
            "foo=",
            "foo==",
            "a==b,",
            "foo in one",
            "foo in (",
            "foo in ()",
            "a b",
            "a==b,c in (x,y),!",
            "\\",
        ] {
            assert!(Selector::parse(bad).is_err(), "{bad}");
        }
    }
}
