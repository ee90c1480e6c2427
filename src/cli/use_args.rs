//! Flags of the verbs that use what was trained.

use super::shared_args::{DbArg, DeviceArgs, PickArgs};
use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(super) struct GenerateArgs {
    /// The run's id, or a unique beginning of it
    #[arg(required_unless_present = "cell", conflicts_with = "cell")]
    pub run: Option<String>,
    /// The best seed of this cell instead, such as vggish/lstm/l2/with
    #[arg(long, value_name = "CELL")]
    pub cell: Option<String>,
    /// The experiment that the cell is of, a folder or a name in the store; the one that was run last by default
    #[arg(long, value_name = "EXPERIMENT", requires = "cell")]
    pub experiment: Option<PathBuf>,
    /// The clips: a data set with the streams that the generator was trained on; labels and sound are not needed
    #[arg(long, value_name = "DIR")]
    pub dataset: PathBuf,
    /// Where to write; a new or empty folder
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Only clips of this split
    #[arg(long, value_name = "SPLIT")]
    pub split: Option<String>,
    /// Only clips without sound; on the run's own data set, those that its experiment silenced count as silent
    #[arg(long)]
    pub silent_only: bool,
    /// How to write the features
    #[arg(long, value_enum, default_value_t = FeatureFormat::Npy, conflicts_with = "as_dataset")]
    pub format: FeatureFormat,
    /// Write a data set instead: all clips and streams, the feature recorded where a clip sounds and generated where it is
    /// silent
    #[arg(long, conflicts_with_all = ["split", "silent_only"])]
    pub as_dataset: bool,
    #[command(flatten)]
    pub db: DbArg,
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// How `generate` writes features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum FeatureFormat {
    /// One CLIP_FEATURE.npy a clip, as `unmute data import` reads
    Npy,
    /// One FEATURE.safetensors, a row a clip in the order of clips.csv
    Safetensors,
}

#[derive(Debug, Args)]
pub(super) struct PredictArgs {
    /// Runs that vote (streams, generators, SVM banks), by unique beginnings of their ids; or an experiment, with --fuse
    #[arg(required = true, value_name = "RUN")]
    pub what: Vec<String>,
    /// What votes, as in tables.yaml: 'rgb+flow+vggish(lstm)'; all runs given by default
    #[arg(long, value_name = "TERMS")]
    pub fuse: Option<String>,
    /// The seed of runs that --fuse finds; the best generator's by default
    #[arg(long, value_name = "N", requires = "fuse")]
    pub seed: Option<u64>,
    /// The clips: a data set with the streams that the runs were trained on; labels and sound are not needed
    #[arg(long, value_name = "DIR")]
    pub dataset: PathBuf,
    /// Only clips of this split
    #[arg(long, value_name = "SPLIT")]
    pub split: Option<String>,
    /// Most probable classes to name
    #[arg(long, default_value_t = 5, value_name = "K")]
    pub top: usize,
    /// How to write them
    #[arg(long, value_enum, default_value_t = PredictionFormat::Csv)]
    pub format: PredictionFormat,
    /// Where to write; stdout by default (csv, json)
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub db: DbArg,
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// How predictions are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum PredictionFormat {
    /// A row a clip: its most probable classes, then the probability of every class
    Csv,
    /// The same as a record a clip
    Json,
    /// The probabilities alone, (clips, classes) f32, in the order of the data set's clips
    Npy,
}

#[derive(Debug, Args)]
pub(super) struct PredictionsArgs {
    /// The experiment's folder, or its name in the store
    pub experiment: PathBuf,
    /// Most probable classes to name
    #[arg(long, default_value_t = 5, value_name = "K")]
    pub top: usize,
    /// How to write them
    #[arg(long, value_enum, default_value_t = RowsFormat::Csv)]
    pub format: RowsFormat,
    #[command(flatten)]
    pub pick: PickArgs,
    #[command(flatten)]
    pub db: DbArg,
}

#[derive(Debug, Args)]
pub(super) struct ClipsArgs {
    /// The experiment's folder
    pub experiment: PathBuf,
    /// The data set's folder
    #[arg(long, value_name = "DIR")]
    pub dataset: PathBuf,
    /// Override a key of experiment.yaml (repeatable)
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct InsideArgs {
    /// The experiment's folder, or its name in the store
    pub experiment: PathBuf,
    /// The audio feature; the grid's first by default
    #[arg(long, value_name = "FEATURE")]
    pub audio: Option<String>,
    /// The sum to look into; all streams and FEATURE(best) by default
    #[arg(long, value_name = "TERMS")]
    pub of: Option<String>,
    /// The sum that it is compared with; all streams and FEATURE by default
    #[arg(long, value_name = "TERMS")]
    pub over: Option<String>,
    /// How to write them
    #[arg(long, value_enum, default_value_t = RowsFormat::Csv)]
    pub format: RowsFormat,
    #[command(flatten)]
    pub pick: PickArgs,
    #[command(flatten)]
    pub db: DbArg,
}

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum RowsFormat {
    /// Comma-separated values
    Csv,
    /// A list of records
    Json,
}

#[derive(Debug, Args)]
pub(super) struct WeightsArgs {
    /// The run's id, or a unique beginning of it: a generator, a stream or an SVM bank
    pub run: String,
    /// How to write them
    #[arg(long, value_enum, default_value_t = WeightsFormat::Safetensors)]
    pub format: WeightsFormat,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    #[command(flatten)]
    pub db: DbArg,
}

/// How `export weights` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum WeightsFormat {
    /// safetensors, named and laid out as PyTorch's state_dict
    Safetensors,
    /// NumPy's .npz with the same names
    TorchNpz,
    /// A graph for ONNX Runtime, scales included
    Onnx,
}

#[derive(Debug, Args)]
pub(super) struct ImportBackArgs {
    #[command(subcommand)]
    pub what: ImportWhat,
}

#[derive(Debug, Subcommand)]
pub(super) enum ImportWhat {
    /// Generate with weights that another program changed, in the place of a run's own, and say how well they do
    #[command(after_help = "Example:
  unmute export weights 3fa9c1 --out lstm.safetensors  (train on in PyTorch, save_file(...))
  unmute import weights 3fa9c1 tuned.safetensors --as tuned --dataset data/corsmal \\
    --out features/tuned
  unmute run experiments/corsmal --dataset data/corsmal --features features/tuned \\
    --set 'grid.generator=[lstm, external:tuned]'

Names and shapes are those that `export weights` writes; nothing of the run or the store changes.")]
    Weights(ImportWeightsArgs),
}

#[derive(Debug, Args)]
pub(super) struct ImportWeightsArgs {
    /// The run whose architecture they have: a generator's id, or a unique beginning of it
    pub run: String,
    /// The weights, .safetensors or .npz, named and laid out as `unmute export weights` writes them
    pub file: PathBuf,
    /// What the outcome is called: external:NAME of a grid
    #[arg(long = "as", value_name = "NAME", default_value = "imported")]
    pub name: String,
    /// The clips: the run's data set, or another one with the same streams
    #[arg(long, value_name = "DIR")]
    pub dataset: PathBuf,
    /// Where to write the generated features; a new or empty folder
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    #[command(flatten)]
    pub db: DbArg,
    #[command(flatten)]
    pub device: DeviceArgs,
}

#[derive(Debug, Args)]
pub(super) struct StoreCopyArgs {
    /// The copy; a new file
    pub out: PathBuf,
    /// Take the kept weights inside, so that the copy can be used on its own
    #[arg(long)]
    pub with_weights: bool,
    #[command(flatten)]
    pub db: DbArg,
}
