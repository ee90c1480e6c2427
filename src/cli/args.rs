//! Every verb and flag, with an example for each.

use super::{Exit, Failure};
use crate::dataset::Precision;
use crate::dataset::synth::Preset;
use crate::report::export::Format;
use clap::{Args, CommandFactory, Parser, Subcommand};
use std::path::PathBuf;

/// Generates audio features for silent videos from their visual features, and holds the results against a paper's tables.
///
/// An experiment is a folder of YAML that declares a grid; `unmute run` trains every cell, keeps every run in one SQLite file, and `unmute report` renders the tables from it.
#[derive(Debug, Parser)]
#[command(name = "unmute", version, max_term_width = 100)]
#[command(after_help = "Example:
  unmute data synth data/mini --preset mini
  unmute run experiments/icassp2019 --dataset data/mini
  unmute report experiments/icassp2019

Exit codes: 0 done, 1 failed, 2 usage, 3 finished with failed runs or a claim that fails, 130 interrupted.")]
pub struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show the cells of an experiment: what is done, what would run and why, and how long it may take
    #[command(after_help = "Example:\n  unmute plan experiments/corsmal --dataset data/corsmal")]
    Plan(PlanArgs),
    /// Train and score every cell that is not done
    #[command(after_help = "Examples:
  unmute run experiments/icassp2019 --dataset data/mini
  unmute run experiments/corsmal --dataset data/corsmal --seeds 0,1 --set train.epochs=5
  unmute run experiments/icassp2019 --dataset data/mini --set 'grid.audio=[vggish]' --db /tmp/try.db

Interrupt with Ctrl-C at any time; the same command goes on where it stopped.")]
    Run(RunArgs),
    /// Show how many runs of each experiment are done, running or failed
    #[command(after_help = "Example:\n  unmute status --json")]
    Status(StoreArgs),
    /// List runs, the newest first
    #[command(after_help = "Example:\n  unmute ls --db runs.db --json")]
    Ls(StoreArgs),
    /// Show all that is known of one run
    #[command(after_help = "Example:\n  unmute show 3fa9c1      (any unique beginning of a run's id)")]
    Show(ShowArgs),
    /// Render the tables of an experiment as one HTML file, from the database alone
    #[command(after_help = "Example:\n  unmute report experiments/corsmal --out reports/out")]
    Report(ReportArgs),
    /// Hold the paper's claims against our results, or against its own published tables
    #[command(after_help = "Examples:
  unmute claims experiments/icassp2019 --published
  unmute claims experiments/corsmal --db runs.db --json

Exit code 3 when a claim fails. On our results a comparison is decided where its p value, paired by clip and seed and corrected for all comparisons (Holm), is at most 0.05; from one seed nothing is.")]
    Claims(ClaimsArgs),
    /// Write tables or schemas for other programs
    #[command(after_help = "Examples:
  unmute export tables experiments/corsmal --format json
  unmute export tables corsmal --db runs.db --format latex
  unmute export schema experiment")]
    Export(ExportArgs),
    /// Make, import and inspect data sets
    #[command(after_help = "Examples:
  unmute data synth data/mini --preset mini
  unmute data import features/ data/mine --rows vggish=3 --rows aenet=mean
  unmute data stats data/mine")]
    Data(DataArgs),
    /// Print shell completions
    #[command(after_help = "Example:\n  unmute completions bash > ~/.local/share/bash-completion/completions/unmute")]
    Completions(CompletionsArgs),
}

#[derive(Debug, Args)]
pub(super) struct DbArg {
    /// The store, one SQLite file
    #[arg(long, env = "UNMUTE_DB", default_value = ".unmute/runs.db", value_name = "FILE")]
    pub db: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct ExperimentArgs {
    /// The experiment's folder
    pub experiment: PathBuf,
    /// The data set's folder; the experiment's own by default
    #[arg(long, value_name = "DIR")]
    pub dataset: Option<PathBuf>,
    /// Override a key of experiment.yaml (repeatable)
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
    /// Seeds, instead of the experiment's
    #[arg(long, value_delimiter = ',', value_name = "N,...")]
    pub seeds: Option<Vec<u64>>,
    #[command(flatten)]
    pub db: DbArg,
}

#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    pub experiment: ExperimentArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    pub experiment: ExperimentArgs,
    /// Runs worked on at once; as many as there are threads by default
    #[arg(long, value_name = "N")]
    pub workers: Option<usize>,
    /// Stop at the first failed run instead of going on with the others
    #[arg(long)]
    pub fail_fast: bool,
    /// Where to train: auto or cpu (cuda needs a binary built with --features cuda)
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    pub device: String,
    /// Seconds between checkpoints of a training
    #[arg(long, default_value_t = 30.0, value_name = "S")]
    pub checkpoint_every: f64,
}

#[derive(Debug, Args)]
pub(super) struct StoreArgs {
    #[command(flatten)]
    pub db: DbArg,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// The run's id, or a unique beginning of it
    pub run: String,
    #[command(flatten)]
    pub store: StoreArgs,
}

#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    /// The experiment's folder, or its name in the store
    pub experiment: PathBuf,
    #[command(flatten)]
    pub db: DbArg,
    /// Where to write NAME.html
    #[arg(long, default_value = "reports/out", value_name = "DIR")]
    pub out: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct ClaimsArgs {
    /// The experiment's folder, or its name in the store
    pub experiment: PathBuf,
    /// Judge the published values of tables.yaml; needs no store
    #[arg(long)]
    pub published: bool,
    #[command(flatten)]
    pub store: StoreArgs,
}

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    #[command(subcommand)]
    pub what: ExportWhat,
}

#[derive(Debug, Subcommand)]
pub(super) enum ExportWhat {
    /// The computed tables, published values beside ours
    Tables {
        /// The experiment's folder, or its name in the store
        experiment: PathBuf,
        #[command(flatten)]
        db: DbArg,
        /// How to write them
        #[arg(long, value_enum, default_value_t = Format::Md)]
        format: Format,
    },
    /// JSON Schema of a YAML file, for editors
    Schema {
        /// experiment, tables, claims or ledger
        kind: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct DataArgs {
    #[command(subcommand)]
    pub what: DataWhat,
}

#[derive(Debug, Subcommand)]
pub(super) enum DataWhat {
    /// Make a synthetic data set; same seed, same bytes
    Synth {
        /// The new folder
        dst: PathBuf,
        /// mini: seconds to make and train on; paper: the paper's sizes, 8 GB
        #[arg(long, value_enum, default_value_t = Preset::Mini)]
        preset: Preset,
        /// Seed
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// Train clips, if not the preset's
        #[arg(long, value_name = "N")]
        train: Option<usize>,
        /// Val clips, if not the preset's
        #[arg(long, value_name = "N")]
        val: Option<usize>,
        /// Keep the sound of the clips that would be silent, for experiments that silence clips themselves
        #[arg(long)]
        sounded: bool,
    },
    /// Turn a folder of per-clip .npy files (clips.csv, features/CLIP_NAME.npy) into a data set
    Import {
        /// The folder to read
        src: PathBuf,
        /// The new folder
        dst: PathBuf,
        /// Frames per clip, T, taken at the centres of T equal segments
        #[arg(long, default_value_t = 18)]
        frames: usize,
        /// An audio feature and how its rows become one vector: a number of rows laid side by side, or `mean`
        #[arg(long, value_name = "NAME=N", default_values = ["vggish=3", "aenet=mean"])]
        rows: Vec<String>,
        /// The data set's name; the folder's by default
        #[arg(long)]
        name: Option<String>,
        /// Numbers on disk
        #[arg(long, value_enum, default_value_t = Precision::F32)]
        precision: Precision,
        /// Clips without audio files are silent, instead of an error
        #[arg(long)]
        absent_is_silent: bool,
    },
    /// Count clips and classes, sounded and silent; list streams and widths
    Stats {
        /// The data set's folder
        dir: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

impl CompletionsArgs {
    pub(super) fn print(&self) -> Result<Exit, Failure> {
        let mut out = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "unmute", &mut out);
        super::print(&String::from_utf8_lossy(&out))?;
        Ok(Exit::Done)
    }
}
