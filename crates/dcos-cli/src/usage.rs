//! From words to [`Cli`], and what is shown when the words are wrong.
//!
//! Invariant: a usage error goes to standard error and ends with 1, as the original's.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser};

use crate::args::Cli;
use crate::error::Failure;
use crate::output;

/// Instead of a command: a text to show.
pub enum Shown {
    Help(String),
    Wrong(Failure),
}

impl Shown {
    pub fn show(self) -> ExitCode {
        match self {
            Shown::Help(text) => match output::print(&text) {
                Ok(()) => ExitCode::SUCCESS,
                Err(failure) => failure.show(),
            },
            Shown::Wrong(failure) => failure.show(),
        }
    }
}

pub fn parse(words: Vec<OsString>) -> Result<Cli, Shown> {
    if words.get(1).is_some_and(|word| word == "help") {
        // `help a b` is `a b --help`; options are left where they stand.
        let mut asked = words;
        asked.remove(1);
        if asked.len() > 1 {
            asked.push("--help".into());
            return parse(asked);
        }
        return Err(Shown::Help(listing()));
    }
    let error = match Cli::try_parse_from(words) {
        Ok(cli) if cli.command.is_none() && !cli.version => return Err(Shown::Help(listing())),
        Ok(cli) => return Ok(cli),
        Err(error) => error,
    };
    Err(match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let text = error.render().to_string();
            // The top has a listing of its own, in the form that users know.
            Shown::Help(
                if text.contains("\nUsage: dcos [OPTIONS] [COMMAND]\n") || text.starts_with("Usage: dcos [") {
                    listing()
                } else {
                    text
                },
            )
        }
        _ => Shown::Wrong(wrong(&error)),
    })
}

fn wrong(error: &clap::Error) -> Failure {
    let value = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => texts.first().cloned(),
        _ => None,
    };
    let usage = "see `dcos <command> --help`";
    if error.kind() == ErrorKind::InvalidSubcommand {
        let word = value(ContextKind::InvalidSubcommand).unwrap_or_default();
        let hint = match value(ContextKind::SuggestedSubcommand) {
            Some(near) => format!("did you mean '{near}'?"),
            None => usage.to_owned(),
        };
        let top = Cli::command().get_bin_name().unwrap_or("dcos").to_owned();
        let under = error.get(ContextKind::Usage).map(ToString::to_string).unwrap_or_default();
        let message = if under.contains(&format!("{top} [OPTIONS]")) {
            format!("'{word}' is not a dcos command.")
        } else {
            format!("unknown command '{word}'")
        };
        return Failure::new(message).hint(hint);
    }
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let (message, rest) = text.split_once("\n\n").unwrap_or((text, ""));
    let tip = rest.lines().find_map(|line| line.trim().strip_prefix("tip: "));
    let line = rest.lines().find_map(|line| line.strip_prefix("Usage: "));
    let hint = match (tip, line) {
        (Some(tip), _) => tip.to_owned(),
        (None, Some(line)) if error.kind() == ErrorKind::MissingRequiredArgument => format!("usage: {line}"),
        _ => usage.to_owned(),
    };
    Failure::new(message.trim()).hint(hint)
}

/// The first page: one line per command.
pub fn listing() -> String {
    let mut text = String::from(
        "Command line utility for the Mesosphere Datacenter Operating System (DC/OS).\n\n\
         Get detailed command description with 'dcos <command> --help'.\n\nAvailable DC/OS commands:\n\n",
    );
    for command in Cli::command().get_subcommands() {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        text.push_str(&format!("\t{:15}\t{about}\n", command.get_name()));
    }
    text.push_str("\nOptions:\n\n");
    for option in Cli::command().get_arguments() {
        if let (Some(long), Some(help)) = (option.get_long(), option.get_help()) {
            text.push_str(&format!("\t{:15}\t{help}\n", format!("--{long}")));
        }
    }
    text
}
