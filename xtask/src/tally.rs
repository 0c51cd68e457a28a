//! Counts tests from the result lines of `cargo test`.

use std::fmt;

/// A test that cannot run on this machine writes a line with this mark and the
/// reason to standard output and returns; it is then counted as skipped and not as
/// passed. It writes with `writeln!(std::io::stdout(), ..)`: what the print macros
/// write is captured by the test harness and never seen here.
const SKIP_MARK: &str = "skipped: ";

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    pub passed: u64,
    pub failed: u64,
    pub skipped: u64,
    marked: u64,
}

impl Tally {
    /// Takes note of one printed line; lines that are no result are ignored.
    pub fn read_line(&mut self, line: &str) {
        // On one test thread the line starts with the name of the test.
        let said = line.split_once(" ... ").map_or(line, |(_, rest)| rest);
        if said.starts_with(SKIP_MARK) {
            self.marked += 1;
            return;
        }
        let Some(result) = line.trim_start().strip_prefix("test result: ") else { return };
        let Some((_, counts)) = result.split_once(". ") else { return };
        for part in counts.split(';') {
            let mut words = part.split_whitespace();
            let (Some(number), Some(kind)) = (words.next(), words.next()) else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            match kind {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.skipped += number,
                _ => {}
            }
        }
        // A test that said it was skipped has also been counted as passed.
        let moved = self.marked.min(self.passed);
        self.passed -= moved;
        self.skipped += moved;
        self.marked = 0;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lines: &[&str], expected: &str) {
        let mut tally = Tally::default();
        for line in lines {
            tally.read_line(line);
        }
        assert_eq!(tally.to_string(), expected);
    }

    #[test]
    fn adds_up_the_result_lines_of_all_binaries() {
        check(
            &[
                "running 3 tests",
                "test a ... ok",
                "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
                "test result: FAILED. 5 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.25s",
            ],
            "8 passed, 2 failed, 1 skipped",
        );
    }

    #[test]
    fn a_test_that_says_it_was_skipped_did_not_pass() {
        check(
            &[
                "test limits ... skipped: control groups need root",
                "ok",
                "skipped: partitions need root",
                "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            ],
            "1 passed, 0 failed, 2 skipped",
        );
    }

    #[test]
    fn other_lines_count_nothing() {
        check(&["test result: whatever", "3 passed; 1 failed", ""], "0 passed, 0 failed, 0 skipped");
    }
}
