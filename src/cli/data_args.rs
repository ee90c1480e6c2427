//! Flags of `unmute data`.

use crate::dataset::Precision;
use crate::dataset::synth::Preset;
use clap::{Args, Subcommand};
use std::path::PathBuf;

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
