//! `--on-finish`: a command of the shell when a call of `run` has ended, however it did.

use super::progress::insist;
use super::{Exit, Failure};
use crate::runs::Summary;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// How a call ended.
pub(super) struct Finished<'a> {
    pub experiment: &'a str,
    pub db: &'a Path,
    pub result: &'a Result<Exit, Failure>,
    pub summary: Summary,
    pub took: Duration,
}

/// Calls the command. What it does changes nothing of how the call ends; that it failed is told.
pub(super) fn call(command: &str, finished: &Finished) {
    let (state, error) = match finished.result {
        Ok(Exit::Done) => ("done", ""),
        Ok(Exit::Interrupted) => ("interrupted", ""),
        Ok(_) => ("failed", ""),
        Err(failure) => ("failed", failure.message.as_str()),
    };
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).stdin(Stdio::null());
    // Stdout is for data, of which `run` has none.
    shell.stdout(Stdio::from(std::io::stderr()));
    shell.env("UNMUTE_STATE", state).env("UNMUTE_ERROR", error).env("UNMUTE_EXPERIMENT", finished.experiment);
    shell.env("UNMUTE_DB", std::path::absolute(finished.db).unwrap_or_else(|_| finished.db.into()));
    shell.env("UNMUTE_DONE", finished.summary.finished.to_string());
    shell.env("UNMUTE_FAILED", finished.summary.failed.to_string());
    shell.env("UNMUTE_SECONDS", format!("{:.0}", finished.took.as_secs_f64()));
    match shell.status() {
        Ok(status) if status.success() => {}
        Ok(status) => insist(&format!("note: --on-finish: the command ended with {status}")),
        Err(e) => insist(&format!("note: --on-finish: sh: {e}")),
    }
}
