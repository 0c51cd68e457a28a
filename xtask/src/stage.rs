//! One gate that is a child process: streams what it prints and counts its tests.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::tally::Tally;
use crate::workspace::Workspace;

/// A named command; what it prints on standard output passes through line by line.
pub struct Stage {
    pub name: &'static str,
    arguments: Vec<String>,
    environment: Vec<(&'static str, String)>,
}

impl Stage {
    pub fn cargo(name: &'static str, arguments: &[&str]) -> Self {
        Self { name, arguments: arguments.iter().map(|a| (*a).to_owned()).collect(), environment: Vec::new() }
    }

    pub fn with_env(mut self, name: &'static str, value: &str) -> Self {
        self.environment.push((name, value.to_owned()));
        self
    }

    /// The line to type to run this alone.
    pub fn command_line(&self) -> String {
        let mut words: Vec<String> =
            self.environment.iter().map(|(name, value)| format!("{name}={}", quote(value))).collect();
        words.push("cargo".to_owned());
        words.extend(self.arguments.iter().map(|word| quote(word)));
        words.join(" ")
    }

    /// Runs to the end. An exit status other than 0 is an error; the tally is of
    /// what was printed before it.
    pub fn run(&self, workspace: &Workspace) -> Result<Tally> {
        let mut tally = Tally::default();
        self.run_into(workspace, &mut tally)?;
        Ok(tally)
    }

    pub fn run_into(&self, workspace: &Workspace, tally: &mut Tally) -> Result<()> {
        let mut child = Command::new(&workspace.cargo)
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (*name, value.as_str())))
            .current_dir(&workspace.root)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting `{}`", self.command_line()))?;
        if let Some(stdout) = child.stdout.take() {
            pass_on(stdout, std::io::stdout(), tally)
                .with_context(|| format!("reading from `{}`", self.command_line()))?;
        }
        let status = child.wait().with_context(|| format!("waiting for `{}`", self.command_line()))?;
        if !status.success() {
            bail!("`{}` ended with {status}", self.command_line());
        }
        Ok(())
    }
}

/// Tests may print bytes that are no text, so lines are taken as bytes.
fn pass_on(source: impl Read, mut sink: impl Write, tally: &mut Tally) -> std::io::Result<()> {
    let mut source = BufReader::new(source);
    let mut line = Vec::new();
    while source.read_until(b'\n', &mut line)? > 0 {
        sink.write_all(&line)?;
        sink.flush()?;
        tally.read_line(&String::from_utf8_lossy(&line));
        line.clear();
    }
    Ok(())
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@+".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("'{word}'") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_can_be_pasted() {
        let stage = Stage::cargo("docs", &["doc", "--no-deps"]).with_env("RUSTDOCFLAGS", "-D warnings");
        assert_eq!(stage.command_line(), "RUSTDOCFLAGS='-D warnings' cargo doc --no-deps");
    }

    #[test]
    fn output_that_is_no_text_is_counted_all_the_same() {
        let printed = b"\xff\xfe\ntest result: ok. 2 passed; 0 failed; 0 ignored; 0 measured\n";
        let (mut tally, mut sink) = (Tally::default(), Vec::new());
        pass_on(&printed[..], &mut sink, &mut tally).unwrap();
        assert_eq!(tally.passed, 2);
        assert_eq!(sink, printed);
    }
}
