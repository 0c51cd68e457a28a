//! Sets of whole numbers as ranges.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Sorted, disjoint, non-adjacent inclusive ranges.
#[derive(Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    pub fn new(ranges: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let mut sorted: Vec<(u64, u64)> = ranges.into_iter().filter(|(begin, end)| begin <= end).collect();
        sorted.sort_unstable();
        let mut merged: Vec<(u64, u64)> = Vec::with_capacity(sorted.len());
        for (begin, end) in sorted {
            match merged.last_mut() {
                Some(last) if begin <= last.1.saturating_add(1) => last.1 = last.1.max(end),
                _ => merged.push((begin, end)),
            }
        }
        Self(merged)
    }

    pub fn single(value: u64) -> Self {
        Self(vec![(value, value)])
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn as_slice(&self) -> &[(u64, u64)] {
        &self.0
    }

    /// How many values are inside.
    pub fn count(&self) -> u64 {
        self.0.iter().fold(0, |sum, (begin, end)| sum.saturating_add((end - begin).saturating_add(1)))
    }

    /// The value at position `index` in ascending order.
    pub fn nth(&self, mut index: u64) -> Option<u64> {
        for (begin, end) in &self.0 {
            let len = end - begin + 1;
            if index < len {
                return Some(begin + index);
            }
            index -= len;
        }
        None
    }

    pub fn contains_value(&self, value: u64) -> bool {
        self.0.iter().any(|(begin, end)| (*begin..=*end).contains(&value))
    }

    pub fn contains(&self, other: &Self) -> bool {
        other.0.iter().all(|(begin, end)| self.0.iter().any(|(b, e)| b <= begin && end <= e))
    }

    pub fn union(&self, other: &Self) -> Self {
        Self::new(self.0.iter().chain(&other.0).copied())
    }

    pub fn subtract(&self, other: &Self) -> Self {
        let mut left = self.0.clone();
        for (cut_begin, cut_end) in &other.0 {
            let mut next = Vec::with_capacity(left.len() + 1);
            for (begin, end) in left {
                if *cut_end < begin || *cut_begin > end {
                    next.push((begin, end));
                    continue;
                }
                if begin < *cut_begin {
                    next.push((begin, cut_begin - 1));
                }
                if end > *cut_end {
                    next.push((cut_end + 1, end));
                }
            }
            left = next;
        }
        Self(left)
    }
}

impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, (begin, end)) in self.0.iter().enumerate() {
            write!(f, "{}{begin}-{end}", if i == 0 { "" } else { ", " })?;
        }
        f.write_str("]")
    }
}

impl fmt::Debug for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
