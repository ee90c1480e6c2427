//! Every verb and flag, with an example for each.

pub(super) use super::data_args::{DataArgs, DataWhat, ImportArgs};
pub(super) use super::export_args::{ExportArgs, ExportWhat, RunsArgs, RunsFormat};
use super::label_args::{NoteArgs, TagArgs};
pub(super) use super::part_args::RunCall;
pub(super) use super::run_args::{ExperimentArgs, RunArgs, StoreArgs};
pub(super) use super::shared_args::{DbArg, DeviceArgs, PickArgs};
pub(super) use super::store_args::{DiffArgs, DoctorArgs, GcArgs, LsArgs, MergeArgs, QueryArgs, ShowArgs, VerifyArgs};
use super::use_args::{GenerateArgs, ImportBackArgs, PredictArgs};
use super::watch_args::WatchArgs;
use super::{Exit, Failure};
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
  unmute export runs --format wandb-offline --out wandb && wandb sync wandb/offline-run-*
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
