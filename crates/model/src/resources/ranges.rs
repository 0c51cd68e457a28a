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
        // Both are sorted and disjoint: one walk over each.
        let mut mine = self.0.iter().copied().peekable();
        other.0.iter().all(|&(begin, end)| {
            while mine.next_if(|&(_, last)| last < begin).is_some() {}
            mine.peek().is_some_and(|&(first, last)| first <= begin && end <= last)
        })
    }

    pub fn union(&self, other: &Self) -> Self {
        Self::new(self.0.iter().chain(&other.0).copied())
    }

    pub fn subtract(&self, other: &Self) -> Self {
        let mut left = Vec::with_capacity(self.0.len() + other.0.len());
        let mut cuts = other.0.iter().copied().peekable();
        for &(begin, end) in &self.0 {
            while cuts.next_if(|&(_, cut_end)| cut_end < begin).is_some() {}
            // Where the part that is still uncut begins; none when nothing is left.
            let mut rest = Some(begin);
            while let (Some(from), Some(&(cut_begin, cut_end))) = (rest, cuts.peek()) {
                if cut_begin > end {
                    break;
                }
                if from < cut_begin {
                    left.push((from, cut_begin - 1));
                }
                rest = cut_end.checked_add(1).filter(|next| *next <= end);
                if rest.is_some() {
                    cuts.next();
                }
            }
            left.extend(rest.map(|from| (from, end)));
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn any_ranges() -> impl Strategy<Value = Ranges> {
        let ends = prop_oneof![0_u64..40, (u64::MAX - 20)..=u64::MAX];
        prop::collection::vec((ends, 0_u64..9), 0..7).prop_map(|list| {
            Ranges::new(list.into_iter().map(|(begin, len)| (begin, begin.saturating_add(len))))
        })
    }

    fn values(ranges: &Ranges) -> BTreeSet<u64> {
        ranges.as_slice().iter().flat_map(|(begin, end)| *begin..=*end).collect()
    }

    proptest! {
        #[test]
        fn they_are_sets_of_numbers(a in any_ranges(), b in any_ranges()) {
            let (set_a, set_b) = (values(&a), values(&b));
            let difference = a.subtract(&b);
            prop_assert_eq!(values(&difference), set_a.difference(&set_b).copied().collect::<BTreeSet<_>>());
            prop_assert_eq!(&Ranges::new(difference.as_slice().iter().copied()), &difference);
            prop_assert_eq!(a.contains(&b), set_b.is_subset(&set_a));
        }
    }

    /// Thousands of single ports are no work for minutes.
    #[test]
    fn many_are_cut_in_one_walk() {
        let odd = Ranges::new((0..200_000_u64).map(|n| (2 * n + 1, 2 * n + 1)));
        let half = Ranges::new((0..100_000_u64).map(|n| (4 * n + 1, 4 * n + 1)));
        assert!(odd.contains(&half));
        assert_eq!(odd.subtract(&half).count(), 100_000);
    }
}
