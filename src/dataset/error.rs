//! What can be wrong with a data set: each complaint names the file, the clip and the value.

use super::range::{LARGEST, SMALLEST};
use std::path::PathBuf;

/// An error of reading, writing or making a data set.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A folder without `dataset.yaml`.
    #[error(
        "{}: not a data set: it has no dataset.yaml\n  next: `unmute data import {} DST` turns a folder of per-clip .npy files into one",
        dir.display(), dir.display()
    )]
    NotADataset {
        /// The folder.
        dir: PathBuf,
    },
    /// The operating system refused.
    #[error("{}: {}", path.display(), crate::explain_io(source))]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// `dataset.yaml` is wrong.
    #[error("{}: {message}", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// `clips.csv` is wrong.
    #[error("{}{}: {message}", path.display(), if *line > 0 { format!(":{line}") } else { String::new() })]
    Clips {
        /// The file.
        path: PathBuf,
        /// The line, 0 where it is about the whole file.
        line: u64,
        /// What is wrong.
        message: String,
    },
    /// A feature file is wrong.
    #[error("{}: {message}", path.display())]
    Feature {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A number is NaN or infinite.
    #[error(
        "{}: clip {clip:?} (row {row}) holds {value} at place {place}; features must be finite\n  next: extract this clip again, or drop its line from clips.csv",
        path.display()
    )]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The clip.
        clip: String,
        /// Its row in the file.
        row: usize,
        /// Where in the row.
        place: usize,
        /// NaN, inf or -inf.
        value: f32,
    },
    /// A number is so large that its square leaves the range of f32.
    #[error(
        "{}: clip {clip:?} (row {row}) holds {value:e} at place {place}; magnitudes above {LARGEST:e} are refused, for sums of their squares overflow\n  next: if it stands for a missing number, extract this clip again or drop its line from clips.csv; if it was measured, scale the features down",
        path.display()
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The clip.
        clip: String,
        /// Its row in the file.
        row: usize,
        /// Where in the row.
        place: usize,
        /// The number.
        value: f32,
    },
    /// Every number is next to nothing.
    #[error(
        "{}: every number is smaller than {SMALLEST:e} (the largest is {largest:e}): too small to be told from a constant\n  next: scale the features up",
        path.display()
    )]
    TooSmall {
        /// The file.
        path: PathBuf,
        /// The largest magnitude.
        largest: f32,
    },
    /// A feature file is not what it was when the data set was opened.
    #[error(
        "{}: {what} while the data set was in use; what was computed from it since belongs to no data set and is not kept\n  next: leave the files alone and run the same command again",
        path.display()
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// How it changed.
        what: &'static str,
    },
    /// A file that came with what was found of another one.
    #[error(
        "{}: is no copy of the file that was checked before it was copied; what was computed from it is not kept\n  next: copy it again, or, where it was meant to change, `unmute data stats {}` reads it whole",
        path.display(), dir.display()
    )]
    NoCopy {
        /// The file.
        path: PathBuf,
        /// The data set.
        dir: PathBuf,
    },
    /// The features belong to other clips than clips.csv lists.
    #[error(
        "{}: {message}\n  next: put clips.csv back as it was, or import the data set again",
        path.display()
    )]
    OtherClips {
        /// The feature file.
        path: PathBuf,
        /// Which clips.
        message: String,
    },
    /// `--strict`, and not everything was used.
    #[error("{}: not everything was used, and --strict was asked for; nothing was written\n{findings}\n  next: mend the source, leave out by name what is not wanted (--skip NAME), or import without --strict", path.display())]
    Strict {
        /// The source.
        path: PathBuf,
        /// What was not used, a line each.
        findings: String,
    },
    /// The user asked to stop.
    #[error("stopped; nothing was written")]
    Stopped,
    /// What the caller asked for makes no sense.
    #[error("{0}")]
    Usage(String),
    /// Silent clips are needed, and there are none; or no clip sounds.
    #[error("{0}")]
    Sound(String),
}
