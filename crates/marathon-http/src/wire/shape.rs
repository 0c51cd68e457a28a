//! Reads values out of JSON and collects what has the wrong shape.
//!
//! Null is the same as absent; unknown keys are ignored. Error keys are those
//! that clients of Marathon match on.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Findings of one request that are kept; more would help nobody.
const ERRORS_MAX: usize = 200;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShapeError {
    pub path: String,
    pub key: String,
}

/// Collects errors while a request is read.
#[derive(Debug, Default)]
pub(crate) struct Errors(Vec<ShapeError>);

impl Errors {
    pub fn add(&mut self, path: &str, key: &str) {
        if self.0.len() < ERRORS_MAX {
            let path = if path.is_empty() { "/" } else { path };
            self.0.push(ShapeError { path: path.to_owned(), key: key.to_owned() });
        }
    }

    pub fn finish<T>(self, value: T) -> Result<T, Vec<ShapeError>> {
        if self.0.is_empty() { Ok(value) } else { Err(self.0) }
    }
}

/// A value that is there, with its path.
#[derive(Clone)]
pub(crate) struct Node<'a> {
    pub value: &'a Value,
    pub path: String,
}

impl<'a> Node<'a> {
    pub fn root(value: &'a Value) -> Self {
        Self { value, path: String::new() }
    }

    pub fn object(&self, errors: &mut Errors) -> Option<Object<'a>> {
        match self.value {
            Value::Object(map) => Some(Object { map, path: self.path.clone() }),
            _ => {
                errors.add(&self.path, "error.expected.jsobject");
                None
            }
        }
    }

    pub fn text(&self, errors: &mut Errors) -> Option<String> {
        match self.value {
            Value::String(text) => Some(text.clone()),
            _ => {
                errors.add(&self.path, "error.expected.jsstring");
                None
            }
        }
    }

    pub fn boolean(&self, errors: &mut Errors) -> Option<bool> {
        match self.value {
            Value::Bool(flag) => Some(*flag),
            _ => {
                errors.add(&self.path, "error.expected.jsboolean");
                None
            }
        }
    }

    /// A number not below `min`.
    pub fn decimal(&self, min: f64, errors: &mut Errors) -> Option<f64> {
        let Some(number) = self.value.as_f64() else {
            errors.add(&self.path, "error.expected.jsnumber");
            return None;
        };
        if number < min {
            errors.add(&self.path, "error.min");
            return None;
        }
        Some(number)
    }

    /// A whole number within the bounds.
    pub fn integer(&self, min: i64, max: i64, errors: &mut Errors) -> Option<i64> {
        let Value::Number(number) = self.value else {
            errors.add(&self.path, "error.expected.jsnumber");
            return None;
        };
        // `3.0` is a whole number; far beyond the bounds saturates.
        let whole = number.as_i64().or_else(|| {
            let number = number.as_f64()?;
            (number.fract() == 0.0).then_some(number as i64)
        });
        match whole {
            None => errors.add(&self.path, "error.expected.jsnumber"),
            Some(whole) if whole < min => errors.add(&self.path, "error.min"),
            Some(whole) if whole > max => errors.add(&self.path, "error.max"),
            Some(whole) => return Some(whole),
        }
        None
    }

    /// A whole number from 0 to the largest 32-bit one.
    pub fn count(&self, errors: &mut Errors) -> Option<u32> {
        self.integer(0, i64::from(i32::MAX), errors).and_then(|whole| u32::try_from(whole).ok())
    }

    pub fn port(&self, errors: &mut Errors) -> Option<u16> {
        self.integer(0, i64::from(u16::MAX), errors).and_then(|whole| u16::try_from(whole).ok())
    }

    /// The elements; nulls among them have no place in a list.
    pub fn list(&self, errors: &mut Errors) -> Option<Vec<Node<'a>>> {
        match self.value {
            Value::Array(items) => {
                let node = |(index, value)| Node { value, path: format!("{}({index})", self.path) };
                Some(items.iter().enumerate().map(node).collect())
            }
            _ => {
                errors.add(&self.path, "error.expected.jsarray");
                None
            }
        }
    }

    pub fn texts(&self, errors: &mut Errors) -> Option<Vec<String>> {
        let items = self.list(errors)?;
        Some(items.iter().filter_map(|item| item.text(errors)).collect())
    }

    pub fn text_map(&self, errors: &mut Errors) -> Option<BTreeMap<String, String>> {
        let object = self.object(errors)?;
        let entries = object.entries();
        Some(entries.into_iter().filter_map(|(key, node)| Some((key, node.text(errors)?))).collect())
    }

    /// One of a set of words, found by `find`.
    pub fn word<T>(&self, find: impl Fn(&str) -> Option<T>, errors: &mut Errors) -> Option<T> {
        let text = self.text(errors)?;
        let word = find(&text);
        if word.is_none() {
            errors.add(&self.path, "error.unknown.enum.literal");
        }
        word
    }
}

#[derive(Clone)]
pub(crate) struct Object<'a> {
    map: &'a Map<String, Value>,
    pub path: String,
}

impl<'a> Object<'a> {
    pub fn get(&self, key: &str) -> Option<Node<'a>> {
        let value = self.map.get(key).filter(|value| !value.is_null())?;
        Some(Node { value, path: format!("{}/{key}", self.path) })
    }

    /// Like [`Self::get`]; absence is an error.
    pub fn need(&self, key: &str, errors: &mut Errors) -> Option<Node<'a>> {
        let found = self.get(key);
        if found.is_none() {
            errors.add(&format!("{}/{key}", self.path), "error.path.missing");
        }
        found
    }

    /// All keys that are not null.
    pub fn entries(&self) -> Vec<(String, Node<'a>)> {
        let present = self.map.iter().filter(|(_, value)| !value.is_null());
        present
            .map(|(key, value)| (key.clone(), Node { value, path: format!("{}/{key}", self.path) }))
            .collect()
    }

    pub fn text(&self, key: &str, errors: &mut Errors) -> Option<String> {
        self.get(key)?.text(errors)
    }

    pub fn boolean(&self, key: &str, errors: &mut Errors) -> Option<bool> {
        self.get(key)?.boolean(errors)
    }

    pub fn decimal(&self, key: &str, min: f64, errors: &mut Errors) -> Option<f64> {
        self.get(key)?.decimal(min, errors)
    }

    pub fn count(&self, key: &str, errors: &mut Errors) -> Option<u32> {
        self.get(key)?.count(errors)
    }

    pub fn port(&self, key: &str, errors: &mut Errors) -> Option<u16> {
        self.get(key)?.port(errors)
    }

    pub fn texts(&self, key: &str, errors: &mut Errors) -> Option<Vec<String>> {
        self.get(key)?.texts(errors)
    }

    pub fn text_map(&self, key: &str, errors: &mut Errors) -> Option<BTreeMap<String, String>> {
        self.get(key)?.text_map(errors)
    }

    /// A list of objects, read one by one; those of a wrong shape are left out
    /// (and noted).
    pub fn objects<T>(
        &self,
        key: &str,
        errors: &mut Errors,
        read: impl Fn(&Object<'a>, &mut Errors) -> Option<T>,
    ) -> Option<Vec<T>> {
        let items = self.get(key)?.list(errors)?;
        let mut found = Vec::with_capacity(items.len());
        for item in items {
            if let Some(object) = item.object(errors) {
                found.extend(read(&object, errors));
            }
        }
        Some(found)
    }
}

/// `^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`, optionally with underscores inside.
pub(crate) fn is_name(text: &str, underscore: bool) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    !text.is_empty()
        && text.bytes().all(|b| inner(b) || b == b'-' || (underscore && b == b'_'))
        && text.bytes().next().is_some_and(inner)
        && text.bytes().next_back().is_some_and(inner)
}
