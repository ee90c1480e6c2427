//! What can be wrong with a data set: each complaint names the file, the clip and the value.

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
    /// What the caller asked for makes no sense.
    #[error("{0}")]
    Usage(String),
    /// Silent clips are needed, and there are none; or no clip sounds.
    #[error("{0}")]
    Sound(String),
}
