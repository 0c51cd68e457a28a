//! Small numbers instead of names: rows that keep their number until they are removed.

/// Rows by number; the number of a removed row is used again.
#[derive(Debug)]
pub(super) struct Slab<T> {
    rows: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    pub fn new() -> Self {
        Self { rows: Vec::new(), free: Vec::new() }
    }

    pub fn insert(&mut self, row: T) -> u32 {
        if let Some(ix) = self.free.pop() {
            if let Some(place) = self.rows.get_mut(ix as usize) {
                *place = Some(row);
            }
            return ix;
        }
        // Rows are far fewer: agents and frameworks have limits of their own.
        let ix = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        self.rows.push(Some(row));
        ix
    }

    pub fn remove(&mut self, ix: u32) -> Option<T> {
        let row = self.rows.get_mut(ix as usize)?.take();
        if row.is_some() {
            self.free.push(ix);
        }
        row
    }

    pub fn get(&self, ix: u32) -> Option<&T> {
        self.rows.get(ix as usize)?.as_ref()
    }

    pub fn get_mut(&mut self, ix: u32) -> Option<&mut T> {
        self.rows.get_mut(ix as usize)?.as_mut()
    }

    /// Ascending by number.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0..).zip(&self.rows).filter_map(|(ix, row)| Some((ix, row.as_ref()?)))
    }

    pub fn len(&self) -> usize {
        self.rows.len() - self.free.len()
    }
}
