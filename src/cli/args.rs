//! Every verb and flag, with an example for each.

use super::label_args::{NoteArgs, TagArgs};
pub(super) use super::part_args::RunCall;
pub(super) use super::run_args::{ExperimentArgs, RunArgs, StoreArgs};
pub(super) use super::shared_args::{DbArg, DeviceArgs, PickArgs};
use super::use_args::{
    ClipsArgs, GenerateArgs, ImportBackArgs, InsideArgs, PredictArgs, PredictionsArgs, StoreCopyArgs, WeightsArgs,
};
use super::watch_args::WatchArgs;
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
    #[command(after_help = "Examples:\n  unmute plan experiments/corsmal --dataset data/corsmal
  unmute plan experiments/corsmal --dataset data/corsmal --json > plan.json

With --json every run is listed with its id, for `unmute run --only`, what it needs (the bank that it is scored with) and what it
costs in operations, which is the same on every machine.

The time is estimated from finished runs of the kind on a CPU, else from a few steps timed here. On a GPU it is not estimated.")]
    Plan(PlanArgs),
    /// Train and score every cell that is not done
    #[command(after_help = "Examples:
  unmute run experiments/icassp2019 --dataset data/mini
  unmute run experiments/corsmal --dataset data/corsmal --seeds 0,1 --set train.epochs=5
  unmute run experiments/icassp2019 --dataset data/mini --set 'grid.audio=[vggish]' --db /tmp/try.db
  unmute run experiments/corsmal --dataset data/corsmal --only @mine.txt --publish parts/mine.db
  unmute run experiments/corsmal --dataset data/corsmal --quiet --log run.log \\
    --on-finish 'mail -s \"$UNMUTE_STATE\" me </dev/null'

Interrupt with Ctrl-C at any time (or SIGTERM, a hang-up, SIGUSR1): epochs that end in time are kept, and it is said which; the
same command goes on from there. Under nohup a hang-up changes nothing. A run that needs more memory than there is fails by
itself, before it starts; `unmute plan` shows what each needs.")]
    Run(RunCall),
    /// Show a grid filling in a browser: a page on this machine alone, that only reads
    #[command(after_help = super::watch_args::EXAMPLES)]
    Watch(WatchArgs),
    /// Show how many runs of each experiment are done, running or failed
    #[command(after_help = "Example:\n  unmute status --json")]
    Status(StoreArgs),
    /// List runs, the newest first
    #[command(after_help = "Examples:
  unmute ls --where 'generator=lstm and top1>30' --sort -top1
  unmute ls --where 'state=failed or (train.lr>=0.01 and seed!=0)' --columns id,key,seed,top1,error
  unmute ls --sort -r2/silent --limit 10 --json

Conditions are NAME OPERATOR VALUE, joined by and, or and parentheses. Operators: = != < <= > >= and ~ (contains).
Names: audio, generator, loss, classifier, control, stream, kind, state, seed, key, id, experiment, dataset, code, host,
attempt, created, started, finished, seconds, memory, error, tag (one of its tags), tags, note; any number of a run (top1, top5/silent, r2/silent); any key
that it depends on (train.lr, lstm.hidden, missing.rate). `= none` finds runs that have none.")]
    Ls(LsArgs),
    /// Show all that is known of one run
    #[command(after_help = "Example:\n  unmute show 3fa9c1      (any unique beginning of a run's id)")]
    Show(ShowArgs),
    /// Compare two runs: only what differs in configuration, environment, numbers, curves and scores
    #[command(after_help = "Example:\n  unmute diff 3fa9c1 77e0b2")]
    Diff(DiffArgs),
    /// Put a tag on runs, to find them again
    #[command(after_help = super::label_args::TAG_EXAMPLES)]
    Tag(TagArgs),
    /// Write a note beside a run, or read its notes
    #[command(after_help = super::label_args::NOTE_EXAMPLES)]
    Note(NoteArgs),
    /// Ask the store in SQL; it is only read
    #[command(after_help = "Examples:
  unmute query 'SELECT state, count(*) AS runs FROM run GROUP BY state'
  unmute query --csv \\
    \"SELECT key, seed, value AS top1 FROM run JOIN value ON run_id = id WHERE name = 'top1'\"

docs/schema.md, or `unmute export schema store`, describes the tables.")]
    Query(QueryArgs),
    /// Render the tables of an experiment as one HTML file, from the database alone
    #[command(
        after_help = "Examples:\n  unmute report experiments/corsmal --out reports/out\n  unmute report experiments/corsmal --db mine.db --against theirs.db"
    )]
    Report(ReportArgs),
    /// Run the alternatives of the ledger, one at a time, and show how far each moves the tables
    #[command(after_help = "Examples:
  unmute sensitivity experiments/corsmal --dataset data/corsmal
  unmute sensitivity experiments/corsmal --dataset data/corsmal --only A4,A11 --json

The experiment itself is run first; what is done is not run again, and alternatives that only change how scores are put
together need no training. `unmute report` shows the movements beside the open choices.")]
    Sensitivity(SensitivityArgs),
    /// Hold the paper's claims against our results, or against its own published tables
    #[command(after_help = "Examples:
  unmute claims experiments/icassp2019 --published
  unmute claims experiments/corsmal --db runs.db --json

Exit code 3 when a claim fails. On our results a comparison is decided where its p value, paired by clip and seed and corrected for all comparisons (Holm), is at most 0.05; from one seed nothing is.")]
    Claims(ClaimsArgs),
    /// Generate the audio feature of clips with a trained generator
    #[command(after_help = "Examples:
  unmute generate 3fa9c1 --dataset data/new --out features/new
  unmute generate --cell vggish/lstm/l2/with --dataset data/corsmal --split val --out features/val
  unmute generate --cell vggish/lstm/l2/with --dataset data/corsmal --as-dataset \\
    --out data/corsmal-filled

The best seed of a cell is the one with the highest top-1 on val (or what fusion.select_on says). Which runs' weights stay
is train.keep: best (of each cell), all or none.")]
    Generate(GenerateArgs),
    /// Predict the classes of clips with trained streams, generators and SVM banks
    #[command(after_help = "Examples:
  unmute predict corsmal --fuse 'rgb+flow+vggish(lstm)' --dataset data/new > predictions.csv
  unmute predict 3fa9c1 77e0b2 --dataset data/corsmal --split val --format json
  unmute predict corsmal --fuse 'vggish(best)' --dataset data/new --format npy --out p.npy

Votes are summed with the weights of fusion.weights and shown as shares of one. A clip that sounds is scored with its own
sound in the terms of a generator, unless fusion.sounded is `generated`.")]
    Predict(PredictArgs),
    /// Write tables or schemas for other programs
    #[command(after_help = "Examples:
  unmute export tables experiments/corsmal --format json
  unmute export tables corsmal --db runs.db --format latex
  unmute export runs --db runs.db --format csv > runs.csv
  unmute export runs --where 'experiment=corsmal' --format mlflow --out mlruns
  unmute export runs --format tensorboard --out tb && tensorboard --logdir tb
  unmute export schema experiment
  unmute export schema store > docs/schema.md
  unmute export predictions corsmal --db runs.db > predictions.csv
  unmute export turned corsmal --db runs.db > turned.csv
  unmute export weights 3fa9c1 --format safetensors --out lstm.safetensors
  unmute export store for-colleagues.db --with-weights")]
    Export(ExportArgs),
    /// Bring back what other programs changed
    #[command(after_help = "Example:
  unmute import weights 3fa9c1 tuned.safetensors --as tuned --dataset data/corsmal \\
    --out features/tuned")]
    Import(ImportBackArgs),
    /// Check that the store is whole and, with --dataset, train runs again and compare every bit
    #[command(after_help = "Examples:
  unmute verify                                            (the file: its integrity and hashes)
  unmute verify experiments/icassp2019 --dataset data/mini  (and trains two of its runs again)
  unmute verify 3fa9c1 --dataset data/mini                 (and trains this run again)
  unmute verify 3fa9c1 --dataset data/mini --engine dfdx   (with dfdx's own operations)
  unmute verify 3fa9c1 --dataset data/mini --keep-weights  (and keeps what it trained)

Exit code 3 where something is damaged or differs; the run is named, and the epoch and quantity that parted first.")]
    Verify(VerifyArgs),
    /// Take over the runs of other stores
    #[command(after_help = "Examples:
  unmute merge --db runs.db laptop.db workstation.db
  unmute merge --db runs.db parts          (every store in a folder)

Doing it again changes nothing. A run that is done in both with other numbers is named, ours is kept, and the exit code
is 3; where other numerics (AVX2, AVX-512, a GPU) explain it, it is told and no conflict. Runs that somebody still works on
are not taken.")]
    Merge(MergeArgs),
    /// Delete what is no longer needed: checkpoints of finished runs, superseded runs, rows that nothing refers to
    #[command(
        after_help = "Examples:\n  unmute gc --dry-run\n  unmute gc --older-than 30d\n\nRuns with a tag or a note stay."
    )]
    Gc(GcArgs),
    /// Look at the store, the disk and the machine for what could go wrong
    #[command(after_help = "Examples:\n  unmute doctor --db runs.db\n  unmute doctor --device cuda")]
    Doctor(DoctorArgs),
    /// Turn videos into features by your own networks, for `unmute data import`; `unmute extract flow` writes optical flow
    #[command(after_help = super::extract_args::EXAMPLES)]
    #[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
    Extract(Box<super::extract_args::ExtractArgs>),
    /// Make, import and inspect data sets
    #[command(after_help = "Examples:
  unmute data synth data/mini --preset mini
  unmute data import features/ data/mine --rows vggish=3 --rows aenet=mean
  unmute data stats data/mine")]
    Data(DataArgs),
    /// Work on an experiment with a Slurm cluster: a job for each part, gathered as they end
    #[command(after_help = super::slurm_args::EXAMPLES)]
    Slurm(super::slurm_args::SlurmArgs),
    /// Print shell completions
    #[command(after_help = "Example:\n  unmute completions bash > ~/.local/share/bash-completion/completions/unmute")]
    Completions(CompletionsArgs),
}

#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    pub experiment: ExperimentArgs,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub(super) struct SensitivityArgs {
    #[command(flatten)]
    pub run: RunArgs,
    /// Only these open choices
    #[arg(long, value_delimiter = ',', value_name = "A4,...")]
    pub only: Option<Vec<String>>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

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
pub(super) struct ReportArgs {
    /// The experiment's folder, or its name in the store
    pub experiment: PathBuf,
    #[command(flatten)]
    pub db: DbArg,
    #[command(flatten)]
    pub pick: PickArgs,
    /// Where to write NAME.html
    #[arg(long, default_value = "reports/out", value_name = "DIR")]
    pub out: PathBuf,
    /// Another store, whose numbers of the same experiment are set beside ours
    #[arg(long, value_name = "FILE")]
    pub against: Option<PathBuf>,
    /// Leave out host and user names and the folders of paths, for a report that is published
    #[arg(long)]
    pub anonymous: bool,
}

#[derive(Debug, Args)]
pub(super) struct ClaimsArgs {
    /// The experiment's folder, or its name in the store
    pub experiment: PathBuf,
    /// Judge the published values of tables.yaml; needs no store
    #[arg(long)]
    pub published: bool,
    /// Only these claims, or those of a verdict: C3, holds, fails, inconclusive, cannot-be-tested
    #[arg(long, value_delimiter = ',', value_name = "C3,...")]
    pub only: Option<Vec<String>>,
    #[command(flatten)]
    pub pick: PickArgs,
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
    #[command(after_help = "Examples:
  unmute export tables experiments/corsmal --format csv > tables.csv
  unmute export tables corsmal --db runs.db --format latex --wide
  unmute export tables corsmal --dataset corsmal --seeds 0")]
    Tables {
        /// The experiment's folder, or its name in the store
        experiment: PathBuf,
        #[command(flatten)]
        db: DbArg,
        /// How to write them
        #[arg(long, value_enum, default_value_t = Format::Md)]
        format: Format,
        /// LaTeX: tables over both columns of a page (table*) instead of one
        #[arg(long)]
        wide: bool,
        #[command(flatten)]
        pick: PickArgs,
    },
    /// One row a run: its parts, its numbers, and all keys that it depends on
    #[command(after_help = "Example:\n  unmute export runs --where 'kind=generator and state=done' > runs.csv")]
    Runs(RunsArgs),
    /// One row a val or test clip and finished run: label, most probable classes, whether it sounds
    #[command(after_help = "Example:\n  unmute export predictions corsmal --top 3 > predictions.csv")]
    Predictions(PredictionsArgs),
    /// Which clips train, and which of them sound in an experiment: for generators from elsewhere
    #[command(after_help = "Example:
  unmute export clips experiments/corsmal --dataset data/corsmal > clips.csv

has_audio says which clips sound in the experiment: those that it silences must not be trained on.")]
    Clips(ClipsArgs),
    /// Which classes are taken for which, with precision and recall: one row a class
    #[command(after_help = "Examples:
  unmute export confusion corsmal > confusion.csv
  unmute export confusion corsmal --of 'rgb+flow' --format json")]
    Confusion(InsideArgs),
    /// The clips that generation turned from wrong to right, and back: one row a clip
    #[command(after_help = "Examples:
  unmute export turned corsmal > turned.csv
  unmute export turned corsmal --of 'vggish(lstm)' --over 'vggish(mean)'")]
    Turned(InsideArgs),
    /// Which classes generated and true features are nearest to by the SVM bank: one row a class
    #[command(after_help = "Example:\n  unmute export nearest corsmal --audio vggish > nearest.csv")]
    Nearest(InsideArgs),
    /// A run's weights for PyTorch, NumPy or ONNX Runtime, scales included
    #[command(after_help = "Example:\n  unmute export weights 3fa9c1 --format safetensors --out lstm.safetensors")]
    Weights(WeightsArgs),
    /// A copy of the store in one file
    #[command(after_help = "Example:\n  unmute export store for-colleagues.db --with-weights")]
    Store(StoreCopyArgs),
    /// JSON Schema of a YAML file, for editors; or what the tables of the store hold, in Markdown
    #[command(
        after_help = "Examples:\n  unmute export schema experiment > experiment.json\n  unmute export schema store"
    )]
    Schema {
        /// experiment, tables, claims, ledger or store
        kind: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct RunsArgs {
    #[command(flatten)]
    pub db: DbArg,
    /// How to write them
    #[arg(long, value_enum, default_value_t = RunsFormat::Csv)]
    pub format: RunsFormat,
    /// Only runs that this holds for, as in `unmute ls`
    #[arg(long = "where", value_name = "CONDITION")]
    pub condition: Option<String>,
    /// The folder for mlflow and tensorboard; what is there of other runs stays
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// How `export runs` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum RunsFormat {
    /// Comma-separated values; what a run does not have is empty
    Csv,
    /// A list of records
    Json,
    /// A folder that MLflow opens (its file store); needs --out
    Mlflow,
    /// A folder of event files for TensorBoard; needs --out
    Tensorboard,
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

#[derive(Debug, Args)]
pub(super) struct DataArgs {
    #[command(subcommand)]
    pub what: DataWhat,
}

#[derive(Debug, Subcommand)]
pub(super) enum DataWhat {
    /// Make a synthetic data set; same seed, same bytes
    #[command(after_help = "Examples:
  unmute data synth data/mini --preset mini
  unmute data synth made --train 60 --val 40 --seed 1")]
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
    /// Turn a folder of per-clip arrays (clips.csv, features/CLIP_NAME.npy) into a data set
    ///
    /// Files may also lie in folders (NAME/CLIP.npy, CLIP/NAME.npy, MODEL/CLIP_NAME.npy) and in archives (CLIP.npz). What was
    /// used and what was not is told at the end.
    #[command(after_help = IMPORT_EXAMPLES)]
    Import(ImportArgs),
    /// Count clips and classes, sounded and silent; list streams and widths
    #[command(after_help = "Example:\n  unmute data stats data/mine --json")]
    Stats {
        /// The data set's folder
        dir: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// The folder to read
    pub src: PathBuf,
    /// The new folder
    pub dst: PathBuf,
    /// Frames per clip, T, taken at the centres of T equal segments
    #[arg(long, default_value_t = 18)]
    pub frames: usize,
    /// An audio feature and how its rows become one vector: a number of rows laid side by side, or `mean`
    /// [default: vggish=3 and aenet=mean, where they are there]
    #[arg(long, value_name = "NAME=N")]
    pub rows: Vec<String>,
    /// The visual streams, with commas between; by default every feature that is not audio
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub streams: Option<Vec<String>>,
    /// Features to leave out, with commas between
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub skip: Vec<String>,
    /// What becomes of a third axis, such as ten crops in (t, 10, D): mean, max or first; behind `:0` of the first axis instead of the
    /// middle one; for one feature with its name
    #[arg(long, value_name = "[NAME=]HOW[:AXIS]")]
    pub reduce: Vec<String>,
    /// Features whose arrays are (D, t) instead of (t, D), with commas between
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub transpose: Vec<String>,
    /// The data set's name; the folder's by default
    #[arg(long)]
    pub name: Option<String>,
    /// Numbers on disk
    #[arg(long, value_enum, default_value_t = Precision::F32)]
    pub precision: Precision,
    /// Clips without audio files, or with empty ones, are silent, instead of an error
    #[arg(long)]
    pub absent_is_silent: bool,
    /// Leave out the class probabilities in scores/ (extract --scores); the heads of the streams are trained as usual
    #[arg(long)]
    pub no_scores: bool,
    /// Fail, and write nothing, where anything was left out or looks doubtful
    #[arg(long)]
    pub strict: bool,
}

const IMPORT_EXAMPLES: &str = "Examples:
  unmute data import path/to/corsmal data/corsmal
  unmute data import i3d data/i3d --rows vggish=mean --skip raft --precision f16
  unmute data import crops data/crops --rows vggish=3 --reduce rgb=mean --strict";

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
