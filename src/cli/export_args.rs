//! Flags of `unmute export`.

use super::shared_args::{DbArg, PickArgs};
use super::use_args::{ClipsArgs, InsideArgs, PredictionsArgs, StoreCopyArgs, WeightsArgs};
use crate::report::export::Format;
use clap::{Args, Subcommand};
use std::path::PathBuf;

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
    /// The folder for mlflow, tensorboard and wandb-offline; what is there of other runs stays
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
    /// A folder of offline runs for Weights & Biases; needs --out
    WandbOffline,
}
