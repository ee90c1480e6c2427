//! Copies of a data set that was checked elsewhere: `cp -r` to a node's own disk, a folder on another machine's mount.
//!
//! What was found of a file is remembered beside it, and a copy brings that along. A copy is another file, so nothing says
//! that its contents are the same; but a length and some pages say that they very likely are. Such a copy is opened at once,
//! and read whole by a thread of its own meanwhile. Nothing is kept that was computed from it before that has ended, and
//! nothing at all where it proves to be another file.

use super::error::Error;
use super::features::Features;
use super::identity::now_ns;
use super::memory::{Memory, Seen, hash, sample};
use super::range::SMALLEST;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

/// Files that are taken for copies until they have been read.
#[derive(Debug, Default)]
pub(super) struct Staged(Mutex<Vec<Pending>>);

#[derive(Debug)]
struct Pending {
    file: String,
    path: PathBuf,
    /// What its contents should be.
    seen: Seen,
    /// Whether they are.
    reading: JoinHandle<bool>,
}

/// Whether a file is very likely a copy of one that was checked. The very file that was, and was written to since, is none.
pub(super) fn is_copy(features: &Features, seen: &Seen) -> bool {
    let another = seen.identity.is_another(&features.identity());
    another && seen.sample.as_ref().is_some_and(|known| *known == sample(features))
}

impl Staged {
    /// Reads a file in the background; it should be what `seen` says of another.
    pub(super) fn read(&self, features: &Features, file: &str, seen: &Seen) -> Result<(), Error> {
        // A file of its own: the thread may outlive the data set.
        let (again, identity) = (features.again()?, features.identity());
        let expected = seen.hash.clone();
        let work = move || {
            if again.identity() != identity {
                return false;
            }
            // One thread: the others train meanwhile.
            let Ok(alone) = rayon::ThreadPoolBuilder::new().num_threads(1).build() else { return false };
            alone.install(|| {
                let survey = again.survey();
                let in_range = survey.refused.is_none() && (survey.largest == 0.0 || survey.largest >= SMALLEST);
                in_range && hash(&again) == expected && again.identity_now().is_ok_and(|now| now == Some(identity))
            })
        };
        let reading = std::thread::Builder::new().name("reading a copy".into()).spawn(work);
        let reading = reading.map_err(|source| Error::Io { path: features.path().into(), source })?;
        let seen = Seen { identity, at_ns: now_ns(), ..seen.clone() };
        self.pending().push(Pending { file: file.into(), path: features.path().into(), seen, reading });
        Ok(())
    }

    /// Waits until all have been read, and remembers what was found; fails where one is no copy.
    pub(super) fn confirm(&self, dir: &Path) -> Result<(), Error> {
        let mut pending = self.pending();
        let mut found: BTreeMap<String, Seen> = BTreeMap::new();
        for Pending { file, path, seen, reading } in pending.drain(..) {
            if !reading.join().unwrap_or(false) {
                // Whoever opens it next reads it whole.
                let _ = std::fs::remove_file(Memory::path(dir));
                return Err(Error::NoCopy { path, dir: dir.into() });
            }
            found.insert(file, seen);
        }
        if !found.is_empty() {
            Memory::add(&Memory::path(dir), found);
        }
        Ok(())
    }

    fn pending(&self) -> std::sync::MutexGuard<'_, Vec<Pending>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::memory::{END, PAGE, PAGES};
    use super::super::{Dataset, synth};
    use super::*;

    fn mini(dir: &Path) -> Dataset {
        let options = synth::Options {
            preset: synth::Preset::Mini,
            seed: 0,
            train_clips: Some(200),
            val_clips: Some(40),
            sounded: false,
        };
        synth::synth(dir, &options, &|_, _| {}).unwrap();
        Dataset::open(dir).unwrap()
    }

    /// `cp -r`.
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }

    /// Changes a number of a copy of rgb where no page is looked at.
    fn change_between_pages(first: &Dataset, path: &Path) {
        use std::io::{Seek, SeekFrom, Write};
        let length = first.streams[0].bytes().len();
        let apart = length / (PAGES + 1);
        let at = (apart * (PAGES / 2) + PAGE) / 4 * 4 + 8;
        assert!(apart > PAGE + 16 && at > END && at + END < length, "{length}");
        let mut file = std::fs::File::options().write(true).open(path).unwrap();
        file.seek(SeekFrom::End(at as i64 - length as i64)).unwrap();
        file.write_all(&0.125f32.to_le_bytes()).unwrap();
    }

    fn remembered(dir: &Path) -> String {
        std::fs::read_to_string(dir.join(".unmute-check.json")).unwrap_or_default()
    }

    #[test]
    fn a_copy_is_opened_at_once_and_confirmed_before_anything_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let [here, there] = ["here", "there"].map(|name| dir.path().join(name));
        let first = mini(&here);
        copy(&here, &there);
        let before = remembered(&there);
        let staged = Dataset::open_staged(&there).unwrap();
        assert_eq!(staged.fingerprint, first.fingerprint);
        assert_eq!(staged.staged.pending().len(), staged.features().count(), "nothing was read yet");
        staged.check_unchanged().unwrap();
        assert!(staged.staged.pending().is_empty());
        assert_ne!(remembered(&there), before, "the next one need not read it");
        let next = Dataset::open_staged(&there).unwrap();
        assert!(next.staged.pending().is_empty() || !first.features().all(|f| f.identity().settled(now_ns())));
    }

    #[test]
    fn a_copy_that_was_changed_is_found_before_anything_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let [here, there] = ["here", "there"].map(|name| dir.path().join(name));
        let first = mini(&here);
        copy(&here, &there);
        change_between_pages(&first, &there.join("rgb.safetensors"));
        let staged = Dataset::open_staged(&there).unwrap();
        assert_eq!(staged.fingerprint, first.fingerprint, "not known yet");
        let message = staged.check_unchanged().unwrap_err().to_string();
        assert!(message.contains("rgb.safetensors") && message.contains("next:"), "{message}");
        assert_ne!(Dataset::open_staged(&there).unwrap().fingerprint, first.fingerprint, "it was read whole");
    }

    #[test]
    fn a_file_that_took_anothers_place_is_no_copy() {
        let dir = tempfile::tempdir().unwrap();
        let here = dir.path().join("here");
        let first = mini(&here);
        // As rsync, an archive or an editor writes: another file of the same length, time and name.
        let (path, beside) = (here.join("rgb.safetensors"), here.join(".rgb.safetensors.new"));
        let time = std::fs::metadata(&path).unwrap().modified().unwrap();
        std::fs::copy(&path, &beside).unwrap();
        change_between_pages(&first, &beside);
        std::fs::File::options().write(true).open(&beside).unwrap().set_modified(time).unwrap();
        std::fs::rename(&beside, &path).unwrap();
        assert_ne!(Dataset::open_staged(&here).unwrap().fingerprint, first.fingerprint);
    }

    #[test]
    fn a_copy_of_other_pages_is_read_whole_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let [here, there] = ["here", "there"].map(|name| dir.path().join(name));
        let first = mini(&here);
        copy(&here, &there);
        let path = there.join("vggish.safetensors");
        let mut bytes = std::fs::read(&path).unwrap();
        let last = bytes.len() - 4;
        bytes[last..].copy_from_slice(&0.125f32.to_le_bytes());
        std::fs::write(&path, bytes).unwrap();
        assert_ne!(Dataset::open_staged(&there).unwrap().fingerprint, first.fingerprint);
    }
}
