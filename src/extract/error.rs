//! What can go wrong before or beside a clip; [`ClipError`] is what can go wrong with one.

use std::path::PathBuf;

/// An error that ends the command.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What was asked for makes no sense.
    #[error("{0}")]
    Usage(String),
    /// The operating system refused.
    #[error("{}: {}", path.display(), crate::explain_io(source))]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No ffmpeg.
    #[error(
        "{program}: {}\n  next: install ffmpeg {least} or newer (Debian, Ubuntu: apt-get install ffmpeg; conda: conda install -c conda-forge ffmpeg), or name one by UNMUTE_FFMPEG",
        crate::explain_io(source)
    )]
    NoFfmpeg {
        /// What was called.
        program: String,
        /// The least version.
        least: &'static str,
        /// Why it did not start.
        source: std::io::Error,
    },
    /// An ffmpeg that is not understood.
    #[error(
        "{program}: {said}; version {least} or newer is needed\n  next: install a newer ffmpeg, or name one by UNMUTE_FFMPEG"
    )]
    OldFfmpeg {
        /// What was called.
        program: String,
        /// What it says of itself.
        said: String,
        /// The least version.
        least: &'static str,
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
    /// A network does not fit, or is no network.
    #[error("--net {name}: {}: {message}", path.display())]
    Net {
        /// The stream's or audio feature's name.
        name: String,
        /// The ONNX file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// No library to run networks with, or one that does not work.
    #[error("{message}")]
    Runtime {
        /// What is wrong, and the line that mends it.
        message: String,
    },
    /// The destination holds features of other settings.
    #[error(
        "{}: was made with other settings: {difference}\n  next: extract to a new folder, or call with the settings of {}",
        path.display(), path.display()
    )]
    OtherSettings {
        /// Its `extract.json`.
        path: PathBuf,
        /// What differs.
        difference: String,
    },
    /// A file of the destination is not what this program writes.
    #[error("{}: {message}\n  next: extract to a new folder", path.display())]
    Destination {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
}

/// Why there are no features of a clip. The command goes on with the others.
#[derive(Debug, thiserror::Error)]
pub enum ClipError {
    /// Stopped by the user; the clip is not done, and no failure.
    #[error("interrupted")]
    Interrupted,
    /// The file cannot be had.
    #[error("{0}")]
    File(String),
    /// ffmpeg gave up.
    #[error("ffmpeg cannot decode it: {0}")]
    Decode(String),
    /// ffmpeg went on, but `--strict` does not.
    #[error("{undecoded} frame(s) could not be decoded (--strict): {first}")]
    Undecoded {
        /// Their number.
        undecoded: usize,
        /// ffmpeg's first message.
        first: String,
    },
    /// Sound only.
    #[error("it has no video stream")]
    NoVideo,
    /// A video stream, but nothing in it.
    #[error("no frame of it could be decoded{0}")]
    NoFrames(String),
    /// `--short fail`.
    #[error("{seconds:.3} s of sound are too short for {net}, which takes {least:.3} s (--short fail)")]
    ShortSound {
        /// Of the clip.
        seconds: f64,
        /// The network.
        net: String,
        /// What it takes.
        least: f64,
    },
    /// The folder of flow images lacks this clip, or is broken.
    #[error("{0}")]
    Flow(String),
    /// The network refused its input.
    #[error("network {net}: {message}")]
    Network {
        /// The network.
        net: String,
        /// What the runtime said.
        message: String,
    },
    /// The network's output holds NaN or infinity.
    #[error("network {net} made {value} of it (row {row}); features must be finite")]
    NotFinite {
        /// The network.
        net: String,
        /// The row.
        row: usize,
        /// NaN, inf or -inf.
        value: f32,
    },
    /// The destination cannot be written, which ends the command.
    #[error(transparent)]
    Fatal(#[from] Error),
}

/// An error of the operating system at a path.
pub(super) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.into();
    move |source| Error::Io { path, source }
}
