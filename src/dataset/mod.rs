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
pub mod external;
pub mod features;
mod folder;
mod guard;
mod identity;
pub mod import;
pub mod manifest;
mod memory;
mod missing;
mod order;
mod partial;
mod range;
mod staged;
pub mod standardise;
pub mod stats;
pub mod synth;
mod view;
mod writer;

pub use check::fingerprint;
pub use clips::{Clip, Split, Unlabelled};
pub use error::Error;
pub use features::{Features, Precision};
pub use folder::stop_on_signals;
pub use manifest::{Feature, Kind, Manifest};
pub use missing::{Missing, MissingBy};
pub use partial::Partial;
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
    /// `clips.csv`, in the order of the features' rows.
    pub clips: Vec<Clip>,
    /// The streams in the manifest's order, one row a clip.
    pub streams: Vec<Features>,
    /// The audio features in the manifest's order, one row for each clip with audio.
    pub audio: Vec<Features>,
    /// Class probabilities, one row a clip, of the streams that the manifest lists under `scores`, in its order.
    pub scores: Vec<Features>,
    /// For each clip its row in the audio features, if it has audio.
    pub audio_row: Vec<Option<usize>>,
    /// BLAKE3 over all contents that matter to a run, 64 hexadecimal digits.
    pub fingerprint: String,
    /// The hash of each file's contents, so that a change can be named.
    pub file_hashes: Vec<(String, String)>,
    /// What whoever opened it should be told: rows that were put in order, files that do not name their rows.
    pub notes: Vec<String>,
    /// Files that are taken for copies until they have been read.
    staged: staged::Staged,
}

impl Dataset {
    /// Opens a data set and checks shapes, labels, splits and that every number is finite.
    ///
    /// Rows belong to clips by name: where `clips.csv` was sorted in another way, its lines are put back in the order of
    /// the rows. Numbers are read once: the result is remembered in a small file beside them (`.unmute-check.json`) for as
    /// long as the files stay what they are (device, inode, length, times of writing and of change).
    pub fn open(dir: &Path) -> Result<Dataset, Error> {
        Dataset::open_with(dir, false)
    }

    /// The same for whoever asks [`Dataset::check_unchanged`] before anything is kept: what seems to be a copy of a data set
    /// that was checked (`cp -r` to a node's own disk) is not read before it is used, but meanwhile.
    pub fn open_staged(dir: &Path) -> Result<Dataset, Error> {
        Dataset::open_with(dir, true)
    }

    fn open_with(dir: &Path, staged: bool) -> Result<Dataset, Error> {
        let manifest = Manifest::read(dir)?;
        let clips_path = dir.join("clips.csv");
        let mut clips = clips::read(&clips_path, &manifest.classes)?;
        clips::check(&clips_path, &clips, &manifest.classes)?;
        let audio_rows = clips.iter().filter(|c| c.has_audio).count();
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
        let scores = manifest
            .scores
            .iter()
            .map(|s| Features::open(dir, &Manifest::scores_file(s), &[clips.len(), manifest.classes.len()]))
            .collect::<Result<Vec<_>, _>>()?;
        let of_all: Vec<&Features> = streams.iter().chain(&scores).collect();
        let notes = order::by_name(&clips_path, &mut clips, &of_all, &audio)?;
        let mut rows = 0..;
        let audio_row = clips.iter().map(|c| c.has_audio.then(|| rows.next()).flatten()).collect();
        let mut dataset = Dataset {
            dir: dir.into(),
            manifest,
            clips,
            streams,
            audio,
            scores,
            audio_row,
            fingerprint: String::new(),
            file_hashes: Vec::new(),
            notes,
            staged: staged::Staged::default(),
        };
        let parts = check::Parts {
            dir,
            manifest: &dataset.manifest,
            clips: &dataset.clips,
            streams: &dataset.streams,
            audio: &dataset.audio,
            scores: &dataset.scores,
            audio_row: &dataset.audio_row,
        };
        dataset.file_hashes = check::contents(&parts, staged.then_some(&dataset.staged))?;
        dataset.fingerprint = check::fingerprint(&dataset.file_hashes);
        Ok(dataset)
    }

    /// Fails where a feature file was written to, cut short or could not be read since the data set was opened: whatever
    /// was computed from it may not be kept under its fingerprint. Costs a system call for each file; to be asked before
    /// a result is stored.
    pub fn check_unchanged(&self) -> Result<(), Error> {
        self.staged.confirm(&self.dir)?;
        check::unchanged(self.features(), &self.file_hashes)
    }

    /// The streams, then the audio features, then scores.
    fn features(&self) -> impl Iterator<Item = &Features> {
        self.streams.iter().chain(&self.audio).chain(&self.scores)
    }

    /// The audio feature `name`'s rows.
    pub fn audio(&self, name: &str) -> Option<&Features> {
        self.audio.iter().find(|f| f.name() == name)
    }

    /// The stream `name`'s rows.
    pub fn stream(&self, name: &str) -> Option<&Features> {
        self.streams.iter().find(|f| f.name() == name)
    }

    /// The class probabilities of a stream, one row a clip, where they come with the data set.
    pub fn scores(&self, stream: &str) -> Option<&Features> {
        let place = self.manifest.scores.iter().position(|s| s == stream)?;
        self.scores.get(place)
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Seek, SeekFrom, Write};

    fn mini(dir: &Path) -> Dataset {
        let options = synth::Options {
            preset: synth::Preset::Mini,
            seed: 0,
            train_clips: Some(40),
            val_clips: Some(20),
            sounded: true,
        };
        synth::synth(dir, &options, &|_, _| ()).unwrap();
        Dataset::open(dir).unwrap()
    }

    /// Overwrites the last four bytes of a file in place.
    fn poke(path: &Path, value: f32) {
        let mut file = File::options().write(true).open(path).unwrap();
        file.seek(SeekFrom::End(-4)).unwrap();
        file.write_all(&value.to_le_bytes()).unwrap();
    }

    /// Gives a file a modification time of long ago.
    fn set_back(path: &Path) {
        let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        File::options().write(true).open(path).unwrap().set_modified(long_ago).unwrap();
    }

    #[test]
    fn contents_decide_whatever_size_and_time_say() {
        let dir = tempfile::tempdir().unwrap();
        let dst = dir.path().join("mini");
        mini(&dst);
        let path = dst.join("vggish.safetensors");
        set_back(&path);
        let first = Dataset::open(&dst).unwrap().fingerprint;
        assert_eq!(Dataset::open(&dst).unwrap().fingerprint, first);
        poke(&path, 0.25);
        set_back(&path);
        assert_ne!(Dataset::open(&dst).unwrap().fingerprint, first, "same length, same time of writing");
        poke(&path, f32::NAN);
        set_back(&path);
        assert!(matches!(Dataset::open(&dst), Err(Error::NotFinite { .. })));
    }

    #[test]
    fn a_change_while_it_is_open_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let dst = dir.path().join("mini");
        let dataset = mini(&dst);
        dataset.check_unchanged().unwrap();
        // Renaming, another link, other rights: the contents are still those that were hashed.
        std::fs::rename(&dst, dir.path().join("moved")).unwrap();
        std::fs::hard_link(dir.path().join("moved/rgb.safetensors"), dir.path().join("link")).unwrap();
        dataset.check_unchanged().unwrap();
        dataset.check_unchanged().unwrap();
        let path = dir.path().join("moved/rgb.safetensors");
        poke(&path, 0.25);
        let message = dataset.check_unchanged().unwrap_err().to_string();
        assert!(message.contains("rgb.safetensors: was changed") && message.contains("next:"), "{message}");
    }

    #[test]
    fn writing_with_the_old_time_restored_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let dst = dir.path().join("mini");
        mini(&dst);
        let path = dst.join("flow.safetensors");
        set_back(&path);
        let dataset = Dataset::open(&dst).unwrap();
        poke(&path, 0.25);
        set_back(&path);
        assert!(matches!(dataset.check_unchanged(), Err(Error::Changed { .. })));
    }

    #[test]
    fn a_file_cut_short_is_an_error_and_no_crash() {
        let dir = tempfile::tempdir().unwrap();
        let dst = dir.path().join("mini");
        let dataset = mini(&dst);
        File::options().write(true).open(dst.join("rgb.safetensors")).unwrap().set_len(4096).unwrap();
        let rgb = &dataset.streams[0];
        let mut row = vec![1.0; rgb.row_len()];
        rgb.read_row(rgb.rows() - 1, &mut row);
        assert!(row.iter().all(|&x| x == 0.0));
        let message = dataset.check_unchanged().unwrap_err().to_string();
        assert!(message.contains("rgb.safetensors: was cut short"), "{message}");
    }

    #[test]
    fn the_memory_is_not_written_through_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let dst = dir.path().join("mini");
        mini(&dst);
        let (victim, memory) = (dir.path().join("victim"), dst.join(".unmute-check.json"));
        std::fs::write(&victim, "precious").unwrap();
        std::fs::remove_file(&memory).unwrap();
        std::os::unix::fs::symlink(&victim, &memory).unwrap();
        Dataset::open(&dst).unwrap();
        assert_eq!(std::fs::read(&victim).unwrap(), b"precious");
    }
}
