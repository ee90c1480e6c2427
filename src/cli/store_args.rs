//! Flags of the verbs that look at a store, check it and tend it.

use super::run_args::StoreArgs;
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    pub store: StoreArgs,
    /// Look for this GPU instead (cuda, or cuda:N): where its driver and cuBLAS are looked for and found, and whether a
    /// small training on it computes what the CPU does
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// The run's id, or a unique beginning of it
    pub run: String,
    #[command(flatten)]
    pub store: StoreArgs,
}

#[derive(Debug, Args)]
pub(super) struct LsArgs {
    #[command(flatten)]
    pub store: StoreArgs,
    /// Only runs that this holds for
    #[arg(long = "where", value_name = "CONDITION")]
    pub condition: Option<String>,
    /// Sort by this; -NAME sorts the largest first. The newest come first by default
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    pub sort: Option<String>,
    /// List no more than these; 0 lists all
    #[arg(long, default_value_t = 100, value_name = "N")]
    pub limit: usize,
    /// Show these instead of the usual columns
    #[arg(long, value_delimiter = ',', value_name = "NAME,...")]
    pub columns: Option<Vec<String>>,
}

#[derive(Debug, Args)]
pub(super) struct DiffArgs {
    /// A run's id, or a unique beginning of it
    pub a: String,
    /// Another run's
    pub b: String,
    #[command(flatten)]
    pub store: StoreArgs,
}

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// An experiment's folder, its name in the store, or ids of runs; all experiments on the data set by default
    pub what: Vec<PathBuf>,
    /// Train runs again on this data set and compare
    #[arg(long, value_name = "DIR")]
    pub dataset: Option<PathBuf>,
    /// Where features that other programs generated lie; the data set's folder by default
    #[arg(long, value_name = "DIR", requires = "dataset")]
    pub features: Option<PathBuf>,
    /// How many runs to train again; always the same ones
    #[arg(long, default_value_t = 2, value_name = "N", requires = "dataset")]
    pub sample: usize,
    /// Train with this engine, and say how far its losses, features and scores are from the stored ones
    #[arg(long, value_parser = ["fused", "dfdx"], value_name = "ENGINE", requires = "dataset")]
    pub engine: Option<String>,
    /// Keep the weights of runs that come out the same, for generate, predict and export
    #[arg(long, requires = "dataset", conflicts_with = "engine")]
    pub keep_weights: bool,
    #[command(flatten)]
    pub store: StoreArgs,
}

#[derive(Debug, Args)]
pub(super) struct MergeArgs {
    /// The stores to take from, or folders of them
    #[arg(required = true, value_name = "FILE|DIR")]
    pub others: Vec<PathBuf>,
    /// Use a store on a network file system all the same; one machine at a time
    #[arg(long)]
    pub allow_network_store: bool,
    #[command(flatten)]
    pub store: StoreArgs,
}

#[derive(Debug, Args)]
pub(super) struct QueryArgs {
    /// One statement: SELECT, WITH, VALUES, EXPLAIN or PRAGMA
    pub sql: String,
    #[command(flatten)]
    pub store: StoreArgs,
    /// Print comma-separated values
    #[arg(long, conflicts_with = "json")]
    pub csv: bool,
    /// Stop a statement that runs for longer than this
    #[arg(long, default_value_t = 300, value_name = "N")]
    pub seconds: u64,
}

#[derive(Debug, Args)]
pub(super) struct GcArgs {
    /// Say what would be deleted, and delete nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Only what is older than this: a number and d, h or m
    #[arg(long, value_name = "AGE")]
    pub older_than: Option<String>,
    #[command(flatten)]
    pub store: StoreArgs,
}
