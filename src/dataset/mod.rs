//! A data set is a folder: `dataset.yaml`, `clips.csv`, and one memory-mapped `NAME.safetensors` for each visual
//! stream (N, T, D) and audio feature (N_with_audio, D_a; rows in the order of the clips that have audio).
//!
//! [`Dataset::open`] checks all of it, so that what follows can index without fear.
//!
//! ```
//! use unmute::dataset::{Dataset, synth};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! let dir = folder.path().join("mini");
//! let options =
//!     synth::Options { preset: synth::Preset::Mini, seed: 0, train_clips: Some(40), val_clips: Some(20), sounded: false };
//! synth::synth(&dir, &options, &|_, _| {})?;
//! let dataset = Dataset::open(&dir)?;
//! assert_eq!((dataset.clips.len(), dataset.classes()), (60, 20));
//! assert!(dataset.stream("rgb").is_some() && dataset.audio("vggish").is_some());
//!
//! // What is wrong with a data set is told when it is opened.
//! std::fs::write(dir.join("clips.csv"), "clip,label,split,has_audio\nc0,humming,train,true\n")?;
//! let error = Dataset::open(&dir).unwrap_err().to_string();
//! assert!(error.contains("clips.csv") && error.contains("humming"), "{error}");
//! # Ok(())
//! # }
//! ```

mod check;
pub mod clips;
mod error;
pub mod features;
pub mod import;
pub mod manifest;
mod missing;
mod npy;
pub mod standardise;
pub mod stats;
pub mod synth;
mod view;

pub use clips::{Clip, Split};
pub use error::Error;
pub use features::{Features, Precision};
pub use manifest::{Feature, Kind, Manifest};
pub use missing::{Missing, MissingBy};
pub use standardise::Standardiser;
pub use view::View;

use std::path::{Path, PathBuf};

/// An opened and checked data set.
#[derive(Debug)]
pub struct Dataset {
    /// Its folder.
    pub dir: PathBuf,
    /// `dataset.yaml`.
    pub manifest: Manifest,
    /// `clips.csv`, in file order.
    pub clips: Vec<Clip>,
    /// The streams in the manifest's order, one row a clip.
    pub streams: Vec<Features>,
    /// The audio features in the manifest's order, one row for each clip with audio.
    pub audio: Vec<Features>,
    /// For each clip its row in the audio features, if it has audio.
    pub audio_row: Vec<Option<usize>>,
    /// BLAKE3 over all contents that matter to a run, 64 hexadecimal digits.
    pub fingerprint: String,
    /// The hash of each file's contents, so that a change can be named.
    pub file_hashes: Vec<(String, String)>,
}

impl Dataset {
    /// Opens a data set and checks shapes, labels, splits and that every number is finite.
    ///
    /// Numbers are read once: the result is remembered in a small file beside them (`.unmute-check.json`) for as
    /// long as sizes and modification times stay.
    pub fn open(dir: &Path) -> Result<Dataset, Error> {
        let manifest = Manifest::read(dir)?;
        let clips_path = dir.join("clips.csv");
        let clips = clips::read(&clips_path, &manifest.classes)?;
        clips::check(&clips_path, &clips, &manifest.classes)?;
        let mut audio_rows = 0;
        let audio_row: Vec<Option<usize>> = clips
            .iter()
            .map(|c| {
                c.has_audio.then(|| {
                    audio_rows += 1;
                    audio_rows - 1
                })
            })
            .collect();
        let streams = manifest
            .streams
            .iter()
            .map(|s| Features::open(dir, &s.name, &[clips.len(), manifest.frames, s.width]))
            .collect::<Result<Vec<_>, _>>()?;
        let audio = manifest
            .audio
            .iter()
            .map(|a| Features::open(dir, &a.name, &[audio_rows, a.width]))
            .collect::<Result<Vec<_>, _>>()?;
        let mut dataset = Dataset {
            dir: dir.into(),
            manifest,
            clips,
            streams,
            audio,
            audio_row,
            fingerprint: String::new(),
            file_hashes: Vec::new(),
        };
        dataset.file_hashes = check::contents(&dataset)?;
        dataset.fingerprint = check::fingerprint(&dataset.file_hashes);
        Ok(dataset)
    }

    /// The audio feature `name`'s rows.
    pub fn audio(&self, name: &str) -> Option<&Features> {
        self.audio.iter().find(|f| f.name() == name)
    }

    /// The stream `name`'s rows.
    pub fn stream(&self, name: &str) -> Option<&Features> {
        self.streams.iter().find(|f| f.name() == name)
    }

    /// Number of classes, K.
    pub fn classes(&self) -> usize {
        self.manifest.classes.len()
    }

    /// Frames per clip, T.
    pub fn frames(&self) -> usize {
        self.manifest.frames
    }
}

/// Builds a data set in a temporary folder beside `dst` and renames it when `fill` succeeded, so that `dst` is whole or
/// not there.
fn write_folder(dst: &Path, fill: impl FnOnce(&Path) -> Result<(), Error>) -> Result<(), Error> {
    let io = |source| Error::Io { path: dst.into(), source };
    let name = dst.file_name().ok_or_else(|| Error::Usage(format!("{}: not a name for a folder", dst.display())))?;
    let parent = match dst.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(parent).map_err(io)?;
    let part = parent.join(format!(".{}.{}.part", name.to_string_lossy(), std::process::id()));
    std::fs::create_dir(&part).map_err(io)?;
    let result = fill(&part).and_then(|()| std::fs::rename(&part, dst).map_err(io));
    if result.is_err() {
        let _ = std::fs::remove_dir_all(&part);
    }
    result
}

fn write_manifest(dir: &Path, manifest: &Manifest) -> Result<(), Error> {
    let path = dir.join(Manifest::FILE);
    let text =
        serde_yaml::to_string(manifest).map_err(|e| Error::Manifest { path: path.clone(), message: e.to_string() })?;
    std::fs::write(&path, text).map_err(|source| Error::Io { path, source })
}
