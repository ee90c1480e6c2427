//! The command line: one file a verb. Data goes to stdout, progress and messages to stderr.

mod args;
mod claims;
mod data;
mod diff;
mod doctor;
mod export;
mod export_runs;
mod gc;
mod ls;
mod merge;
mod open;
mod plan;
mod progress;
mod query;
mod report;
mod run;
mod sensitivity;
mod show;
mod verify;

pub use args::Cli;

use args::Command;

/// How a command ends; its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0.
    Done = 0,
    /// 1: something went wrong.
    Failed = 1,
    /// 2: the call makes no sense.
    Usage = 2,
    /// 3: finished, with failed runs or a claim or verification that does not hold.
    NotAll = 3,
    /// 130: stopped by Ctrl-C.
    Interrupted = 130,
}

/// An error that is shown to the user.
pub struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    fn usage(message: impl Into<String>) -> Failure {
        Failure { exit: Exit::Usage, message: message.into() }
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure { exit: Exit::Failed, message: error.to_string() }
    }
}

/// Runs a command to its exit code.
pub fn run(cli: Cli) -> i32 {
    let result = match cli.command {
        Command::Plan(args) => plan::plan(&args),
        Command::Run(args) => run::run(&args),
        Command::Ls(args) => ls::ls(&args),
        Command::Status(args) => ls::status(&args),
        Command::Show(args) => show::show(&args),
        Command::Diff(args) => diff::diff(&args),
        Command::Query(args) => query::query(&args),
        Command::Gc(args) => gc::gc(&args),
        Command::Doctor(args) => doctor::doctor(&args),
        Command::Verify(args) => verify::verify(&args),
        Command::Merge(args) => merge::merge(&args),
        Command::Report(args) => report::report(&args),
        Command::Sensitivity(args) => sensitivity::sensitivity(&args),
        Command::Claims(args) => claims::claims(&args),
        Command::Export(args) => export::export(&args),
        Command::Data(args) => data::data(&args),
        Command::Completions(args) => args.print(),
    };
    match result {
        Ok(exit) => exit as i32,
        Err(failure) => {
            progress::say(&format!("error: {}", failure.message));
            failure.exit as i32
        }
    }
}

/// Prints to stdout; a reader that has gone away (`| head`) is no error.
fn print(text: &str) -> Result<(), Failure> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// Prints JSON to stdout.
fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    print(&(serde_json::to_string_pretty(value)? + "\n"))
}
