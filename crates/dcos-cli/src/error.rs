//! Failures as people read them: what failed, why, what to run next.
//!
//! Form: `Error: <what>`, then one line per refused field, `  cause: …`, `  hint: …`.
//! Invariant: never a type name, a stack trace or a token.

use std::fmt::{self, Display};
use std::io::Write;
use std::process::ExitCode;

pub type Result<T> = std::result::Result<T, Failure>;

/// Exit code when `--wait=<time>` ran out.
pub const TIMED_OUT: u8 = 124;

#[derive(Debug)]
pub struct Failure {
    message: String,
    details: Vec<String>,
    cause: Option<String>,
    hint: Option<String>,
    code: u8,
    quiet: bool,
}

impl Failure {
    pub fn new(message: impl Into<String>) -> Self {
        Failure {
            message: message.into(),
            details: Vec::new(),
            cause: None,
            hint: None,
            code: 1,
            quiet: false,
        }
    }

    /// The reader of our output has left; nobody is there to be told.
    pub fn closed_pipe() -> Self {
        Failure { code: 0, quiet: true, ..Failure::new("") }
    }

    pub fn details(mut self, details: Vec<String>) -> Self {
        self.details = details;
        self
    }

    pub fn cause(mut self, cause: impl Display) -> Self {
        self.cause = Some(cause.to_string());
        self
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub fn code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    pub fn show(&self) -> ExitCode {
        if !self.quiet {
            // Nothing can be done about a closed standard error.
            let _ = writeln!(std::io::stderr(), "{self}");
        }
        ExitCode::from(self.code)
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error: {}", self.message)?;
        for detail in &self.details {
            write!(f, "\n  {detail}")?;
        }
        if let Some(cause) = &self.cause {
            write!(f, "\n  cause: {}", cause.trim().replace('\n', "\n         "))?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {}", hint.replace('\n', "\n        "))?;
        }
        Ok(())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Failure::closed_pipe();
        }
        Failure::new("cannot write the output").cause(error)
    }
}
