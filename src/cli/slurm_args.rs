//! Flags of `unmute slurm`.

use super::run_args::{RunArgs, StoreArgs};
use clap::{Args, Subcommand};
use std::path::PathBuf;

pub(super) const EXAMPLES: &str = "Examples:
  unmute slurm submit experiments/corsmal --dataset data/corsmal --db runs.db -- --time=2:00:00
  unmute slurm submit experiments/corsmal --dataset data/corsmal --tasks 40 -- --gres=gpu:1
  unmute slurm submit experiments/corsmal --dataset data/corsmal --db runs.db --dry-run > job.sh
  unmute slurm status --db runs.db
  unmute slurm cancel --db runs.db

docs/guide/cluster.md goes from a laptop to an array step by step.";

#[derive(Debug, Args)]
pub(super) struct SlurmArgs {
    #[command(subcommand)]
    pub what: SlurmWhat,
}

#[derive(Debug, Subcommand)]
pub(super) enum SlurmWhat {
    /// Submit what is missing: a job for what all need, an array of tasks, and one that gathers and goes on
    #[command(after_help = "Examples:
  unmute slurm submit experiments/corsmal --dataset data/corsmal -- --time=2:00:00 --mem=4G
  unmute slurm submit experiments/corsmal --dataset data/corsmal --tasks 16 --at-once 8 -- -p short

Everything behind -- goes to sbatch as it is. Stdout is the id of the array. The store may lie on the file system that all
nodes share: no job works in it, and the last one replaces it whole. What is done already is not submitted; failed runs only
with --retry-failed.")]
    Submit(Box<SubmitArgs>),
    /// Show what is done, by the parts that tasks have published, and what Slurm says of the jobs
    #[command(after_help = "Example:\n  unmute slurm status --db runs.db --json")]
    Status(StoreArgs),
    /// End a campaign: tasks keep what they have, the last job takes it over, nothing is submitted any more
    #[command(after_help = "Example:\n  unmute slurm cancel --db runs.db")]
    Cancel(StoreArgs),
    /// What the last job of a round does
    #[command(hide = true)]
    Collect(CollectArgs),
}

#[derive(Debug, Args)]
pub(super) struct SubmitArgs {
    #[command(flatten)]
    pub run: RunArgs,
    /// How long a task should take, by what its runs cost
    #[arg(long, default_value_t = 30.0, value_name = "M", conflicts_with = "tasks")]
    pub task_minutes: f64,
    /// How many tasks, instead of how long each should take
    #[arg(long, value_name = "N")]
    pub tasks: Option<usize>,
    /// Tasks of an array that may run at once; as many as Slurm has room for by default
    #[arg(long, value_name = "N")]
    pub at_once: Option<usize>,
    /// Rounds at most: what a round leaves undone (a time limit, a lost node) is submitted again while there is progress
    #[arg(long, default_value_t = 3, value_name = "N")]
    pub rounds: usize,
    /// Submit runs again that failed
    #[arg(long)]
    pub retry_failed: bool,
    /// Print the script of the tasks, say what would be submitted, and submit nothing
    #[arg(long)]
    pub dry_run: bool,
    /// With --dry-run: print the tasks instead, with their runs and what these cost
    #[arg(long, requires = "dry_run")]
    pub json: bool,
    /// Options of sbatch
    #[arg(last = true, value_name = "SBATCH OPTIONS", allow_hyphen_values = true)]
    pub sbatch: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct CollectArgs {
    /// The campaign's folder
    #[arg(long)]
    pub folder: PathBuf,
    /// Its round
    #[arg(long)]
    pub round: usize,
}
