//! Flags that say which experiment is run, in which store, and how.

use super::shared_args::{DbArg, DeviceArgs, TellArgs};
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(super) struct ExperimentArgs {
    /// The experiment's folder
    pub experiment: PathBuf,
    /// The data set's folder; the experiment's own by default
    #[arg(long, value_name = "DIR")]
    pub dataset: Option<PathBuf>,
    /// Where features that other programs generated lie (generator: [..., external:NAME]), as CLIP_FEATURE.NAME.npy; the data set's
    /// folder by default
    #[arg(long, value_name = "DIR")]
    pub features: Option<PathBuf>,
    /// Override a key of experiment.yaml (repeatable)
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
    /// Seeds, instead of the experiment's
    #[arg(long, value_delimiter = ',', value_name = "N,...")]
    pub seeds: Option<Vec<u64>>,
    /// Take runs that differ in the numeric code only for done, instead of training them again
    #[arg(long)]
    pub accept_changed_code: bool,
    #[command(flatten)]
    pub db: DbArg,
}

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    pub experiment: ExperimentArgs,
    /// Runs worked on at once; as many as there are threads by default. A GPU is always worked by one, which has all
    /// threads and trains cells side by side instead
    #[arg(long, value_name = "N")]
    pub workers: Option<usize>,
    /// Stop at the first failed run instead of going on with the others
    #[arg(long)]
    pub fail_fast: bool,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Try a failed run again, up to N times
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub retries: usize,
    /// Seconds between checkpoints of a training
    #[arg(long, default_value_t = 30.0, value_name = "S")]
    pub checkpoint_every: f64,
    /// Seconds that an epoch may take to end, and be kept, when the program is asked to stop (Ctrl-C, SIGTERM, a hang-up,
    /// SIGUSR1). By default what the queue system leaves: 20 in a Slurm job, the job's last minutes after SIGUSR1, else 7
    #[arg(long, value_name = "S")]
    pub grace: Option<f64>,
    /// Threads in all; by default as many as this process may use, and in a Slurm job no more than it was given
    /// (SLURM_CPUS_PER_TASK, or its share of SLURM_CPUS_ON_NODE); RAYON_NUM_THREADS where it is set
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Use a store on a network file system all the same; one machine at a time
    #[arg(long)]
    pub allow_network_store: bool,
    #[command(flatten)]
    pub tell: TellArgs,
}

#[derive(Debug, Args)]
pub(super) struct StoreArgs {
    #[command(flatten)]
    pub db: DbArg,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
