//! Standard output for results, standard error for everything else.

use std::io::Write;

use crate::error::Result;
use crate::json::Doc;

/// Prints `text` as it is; a reader that left ends the program quietly.
pub fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

pub fn line(text: &str) -> Result<()> {
    print(&format!("{text}\n"))
}

/// One JSON document, two blanks per level, keys in the server's order.
pub fn json(doc: &Doc) -> Result<()> {
    line(&doc.pretty())
}

/// One id per line.
pub fn ids<'a>(ids: impl IntoIterator<Item = &'a str>) -> Result<()> {
    print(&ids.into_iter().map(|id| format!("{id}\n")).collect::<String>())
}

/// Progress, notices, warnings.
pub fn note(text: &str) {
    // Nothing can be done about a closed standard error.
    let _ = writeln!(std::io::stderr(), "{text}");
}
