//! Text tables that `awk` can cut: two blanks between columns, no empty cell.
//!
//! Left-aligned text, right-aligned numbers, widths counted in terminal cells.

/// A column: its header and whether it holds numbers.
#[derive(Debug, Clone, Copy)]
pub struct Column(pub &'static str, pub Align);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

pub const fn text(name: &'static str) -> Column {
    Column(name, Align::Left)
}

pub const fn number(name: &'static str) -> Column {
    Column(name, Align::Right)
}

pub fn render(columns: &[Column], rows: &[Vec<String>]) -> String {
    let header: Vec<String> = columns.iter().map(|column| column.0.to_owned()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(header)
        .chain(rows.iter().cloned())
        .map(|row| row.iter().map(|cell| clean(cell)).collect())
        .collect();
    let widths: Vec<usize> = (0..columns.len())
        .map(|at| rows.iter().filter_map(|row| row.get(at)).map(|cell| width(cell)).max().unwrap_or(0))
        .collect();
    let mut out = String::new();
    for row in &rows {
        let mut line = String::new();
        for ((cell, column), full) in row.iter().zip(columns).zip(&widths) {
            if !line.is_empty() {
                line.push_str("  ");
            }
            let pad = " ".repeat(full.saturating_sub(width(cell)));
            match column.1 {
                Align::Left => line.extend([cell.as_str(), &pad]),
                Align::Right => line.extend([pad.as_str(), cell]),
            }
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// What cannot stand in a cell: nothing at all, line breaks, escape sequences.
fn clean(cell: &str) -> String {
    if cell.trim().is_empty() {
        return "-".into();
    }
    cell.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn width(cell: &str) -> usize {
    cell.chars().map(cells).sum()
}

/// Terminal cells of a character: 2 for East Asian wide forms and emoji, 0 for marks that
/// combine with the one before.
fn cells(c: char) -> usize {
    match c as u32 {
        0x0300..=0x036F | 0x200B..=0x200F | 0x20D0..=0x20FF | 0xFE00..=0xFE0F => 0,
        0x1100..=0x115F
        | 0x2E80..=0x303E
        | 0x3041..=0x33FF
        | 0x3400..=0x4DBF
        | 0x4E00..=0x9FFF
        | 0xA000..=0xA4CF
        | 0xAC00..=0xD7A3
        | 0xF900..=0xFAFF
        | 0xFE30..=0xFE6F
        | 0xFF00..=0xFF60
        | 0xFFE0..=0xFFE6
        | 0x1F300..=0x1FAFF
        | 0x20000..=0x3FFFD => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[&str]) -> Vec<String> {
        cells.iter().map(|cell| (*cell).to_owned()).collect()
    }

    #[test]
    fn columns_line_up_and_no_cell_is_empty() {
        let table = render(
            &[text("ID"), number("MEM"), text("CMD")],
            &[row(&["/a", "128", "sleep 1"]), row(&["/日本", "0.5", ""]), row(&["/x", "1", "a\nb\x1b[31m"])],
        );
        assert_eq!(table, "ID     MEM  CMD\n/a     128  sleep 1\n/日本  0.5  -\n/x       1  a b [31m\n");
    }

    #[test]
    fn no_rows_leave_the_header() {
        assert_eq!(render(&[text("A"), text("B")], &[]), "A  B\n");
    }
}
