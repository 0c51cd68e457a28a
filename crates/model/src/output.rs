//! What one step of a brain yields: records to make durable, then effects.
//!
//! The rule that every shell and the simulator keep: the effects of a step are
//! carried out only after the writes of that step *and of all steps before it*
//! are durable. Brains advance their own state at once and never wait; when a
//! write fails (leadership lost, disk broken) the whole brain is thrown away and
//! loaded anew, and nothing that was not durable was ever promised.

/// Writes first, effects after.
#[derive(Debug, Clone, PartialEq)]
pub struct Output<W, E> {
    pub writes: Vec<W>,
    pub effects: Vec<E>,
}

impl<W, E> Output<W, E> {
    pub fn new() -> Self {
        Self { writes: Vec::new(), effects: Vec::new() }
    }

    pub fn write(&mut self, write: W) {
        self.writes.push(write);
    }

    pub fn effect(&mut self, effect: E) {
        self.effects.push(effect);
    }

    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.effects.is_empty()
    }

    pub fn append(&mut self, mut other: Self) {
        self.writes.append(&mut other.writes);
        self.effects.append(&mut other.effects);
    }
}

impl<W, E> Default for Output<W, E> {
    fn default() -> Self {
        Self::new()
    }
}
