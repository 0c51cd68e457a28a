//! What the build knows about each message, for code that walks messages without their types.

/// A message: its name, and its fields by number and by name.
#[derive(Debug)]
pub struct MessageTable {
    /// Full name, `mesos.v1.TaskInfo`.
    pub name: &'static str,
    /// Bytes that a decoded one takes by itself.
    pub size: usize,
    /// In the order of their numbers.
    pub fields: &'static [FieldTable],
    /// Indices of `fields` in the order of their names.
    pub(crate) by_name: &'static [usize],
}

#[derive(Debug)]
pub struct FieldTable {
    pub number: u32,
    /// The name of the `.proto` file, which is the one in JSON.
    pub name: &'static str,
    pub label: Label,
    pub kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    Required,
    Optional,
    Repeated,
    /// Repeated entries of a key (field 1) and a value (field 2).
    Map,
}

#[derive(Debug, Clone, Copy)]
pub enum Kind {
    Double,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Bool,
    String,
    Bytes,
    Enum(&'static EnumTable),
    Message(&'static MessageTable),
}

#[derive(Debug)]
pub struct EnumTable {
    pub name: &'static str,
    /// In the order of their numbers.
    pub values: &'static [(i32, &'static str)],
}

impl MessageTable {
    /// The index of a field in [`fields`](Self::fields), and the field.
    pub fn by_number(&self, number: u32) -> Option<(usize, &'static FieldTable)> {
        // Most messages number their fields without a gap.
        let guess = (number as usize).checked_sub(1)?;
        if let Some(field) = self.fields.get(guess).filter(|field| field.number == number) {
            return Some((guess, field));
        }
        let index = self.fields.binary_search_by_key(&number, |field| field.number).ok()?;
        Some((index, self.fields.get(index)?))
    }

    pub fn by_name(&self, name: &str) -> Option<&'static FieldTable> {
        let field_at = |index: &usize| self.fields.get(*index);
        let found = self
            .by_name
            .binary_search_by(|index| field_at(index).map_or("", |field| field.name).cmp(name))
            .ok()?;
        self.by_name.get(found).and_then(field_at)
    }
}

impl EnumTable {
    pub fn has(&self, number: i32) -> bool {
        self.values.binary_search_by_key(&number, |(number, _)| *number).is_ok()
    }

    pub fn number(&self, name: &str) -> Option<i32> {
        self.values.iter().find(|(_, known)| *known == name).map(|(number, _)| *number)
    }
}

/// Every message of the crate.
pub fn messages() -> &'static [&'static MessageTable] {
    crate::tables::MESSAGES
}

/// Every enum of the crate.
pub fn enums() -> &'static [&'static EnumTable] {
    crate::tables::ENUMS
}
