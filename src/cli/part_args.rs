//! Flags by which one experiment is worked on in many places: which runs, from what, and where they go.

use super::Failure;
use super::progress::say;
use super::run_args::RunArgs;
use crate::runs::{Plan, selection};
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(super) struct RunCall {
    #[command(flatten)]
    pub run: RunArgs,
    #[command(flatten)]
    pub part: PartArgs,
}

/// A part of the experiment; all of it where nothing is said.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Part of an experiment")]
pub(super) struct PartArgs {
    /// Train these runs only, and the SVM banks that they need: ids as `unmute plan --json` lists them (or unique
    /// beginnings), @FILE with one on each line, or @tasks.json:N
    #[arg(long, value_name = "ID,...|@FILE")]
    pub only: Option<Vec<String>>,
    /// Begin with what this store has; it is only read
    #[arg(long, value_name = "START.db", requires = "publish")]
    pub from: Option<PathBuf>,
    /// Work in a store in $TMPDIR in place of --db, and put a copy here after each run and at the end, whole or not at
    /// all; `unmute merge` takes it over. One that is there is gone on from
    #[arg(long, value_name = "PART.db")]
    pub publish: Option<PathBuf>,
    /// Where checkpoints lie; FILE.checkpoints beside the store by default, and beside what is published
    #[arg(long, value_name = "DIR")]
    pub checkpoints: Option<PathBuf>,
}

impl PartArgs {
    /// Keeps the plan to the runs that are meant.
    pub(super) fn select(&self, plan: &mut Plan) -> Result<(), Failure> {
        let Some(only) = &self.only else { return Ok(()) };
        let selected = selection::select(plan, only).map_err(|e| Failure::usage(e.to_string()))?;
        let (named, all) = (selected.len(), plan.runs().len());
        plan.only = Some(selection::with_needs(plan, selected));
        say(&format!("{named} of {all} runs were asked for"));
        Ok(())
    }

    /// Where checkpoints lie, where they do not lie beside the store.
    pub(super) fn checkpoints(&self) -> Option<PathBuf> {
        let beside = || self.publish.as_deref().map(crate::runs::checkpoint::folder);
        self.checkpoints.clone().or_else(beside)
    }
}
