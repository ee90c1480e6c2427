//! Work on a private copy of a store, sent after each run to where others take it from.
//!
//! A store in use belongs on a disk of the machine that uses it. Where many machines work on one experiment, each has a copy of
//! its own in `$TMPDIR`, and publishes it: a whole file, written beside its destination, flushed, and renamed, so that whoever
//! looks there finds the last state or the one before it, never half of one.

use super::weights;
use crate::store::{self, Store};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

/// What a killed process left half written is taken away when it is older.
const ABANDONED: Duration = Duration::from_secs(3600);

/// Where copies of a store go.
#[derive(Debug)]
pub struct Publisher {
    to: PathBuf,
    /// One copy at a time.
    turn: Mutex<()>,
}

impl Publisher {
    /// To this file.
    pub fn new(to: &Path) -> Publisher {
        Publisher { to: to.into(), turn: Mutex::new(()) }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.to
    }

    /// Puts a copy of the store as it is now in the place of the last one. In the copy, nothing is under way, and weights that
    /// were kept are inside.
    pub fn publish(&self, store: &Store) -> Result<(), store::Error> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let scratch = tempfile::Builder::new().prefix("unmute-part-").tempdir();
        let scratch = scratch.map_err(|e| store::Error::of_file(&std::env::temp_dir(), &e))?;
        let copy = scratch.path().join("part.db");
        // What lies on the disk and cannot be read is missed by whoever wants to use it, not here.
        store.write_part(&copy, &store.all_weights()?, &|kept| weights::bytes(store, kept).ok().flatten())?;
        put(&copy, &self.to).map_err(|e| store::Error::of_file(&self.to, &e))
    }
}

/// Copies a file to another place, whole or not at all, so that it survives a power failure there.
fn put(from: &Path, to: &Path) -> std::io::Result<()> {
    let folder = match to.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(folder)?;
    let name = to.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let prefix = format!(".{name}.");
    clear(folder, &prefix);
    let mut part = tempfile::Builder::new().prefix(&prefix).suffix(".part").tempfile_in(folder)?;
    std::io::copy(&mut File::open(from)?, part.as_file_mut())?;
    part.as_file_mut().flush()?;
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    part.as_file().set_permissions(readable)?;
    part.as_file().sync_all()?;
    part.persist(to)?;
    // The name as well; not every file system can.
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
    Ok(())
}

/// Removes what killed processes left of the same file.
fn clear(folder: &Path, prefix: &str) {
    let limit = SystemTime::now() - ABANDONED;
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let old = || entry.metadata().and_then(|m| m.modified()).is_ok_and(|at| at < limit);
        if name.starts_with(prefix) && name.ends_with(".part") && old() {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// A store of this process's own, in `$TMPDIR`; it goes with the value.
pub struct Scratch {
    /// Before the folder that it lies in.
    store: Store,
    _folder: TempDir,
}

impl Scratch {
    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Begins where `part` left off, if it is there, with what `start` has beside it. Nobody else works on any of it.
    pub fn begin(part: &Path, start: Option<&Path>) -> Result<Scratch, store::Error> {
        if let Some(start) = start.filter(|start| !start.is_file()) {
            return Err(store::Error::Missing { path: start.into() });
        }
        let folder = tempfile::Builder::new().prefix("unmute-").tempdir();
        let folder = folder.map_err(|e| store::Error::of_file(&std::env::temp_dir(), &e))?;
        let path = folder.path().join("runs.db");
        let mut given: Vec<&Path> = [part.is_file().then_some(part), start].into_iter().flatten().collect();
        if given.first().is_some_and(|first| Store::is_one_file(first)) {
            let first = given.remove(0);
            copy(first, &path)?;
            // Errors name what was given, and not the copy.
            Store::open(&path).map(drop).map_err(|error| Store::open_to_read(first).err().unwrap_or(error))?;
        }
        let store = Store::open(&path)?;
        for other in given {
            // From a copy as well: the file systems that machines share need not know SQLite's locks. Only what somebody uses, and
            // has a log, is read through SQLite.
            let near = folder.path().join("start.db");
            let from = if Store::is_one_file(other) { copy(other, &near).map(|()| near.as_path())? } else { other };
            store.merge(from).map_err(|error| Store::open_to_read(other).err().unwrap_or(error))?;
        }
        store.disown()?;
        Ok(Scratch { store, _folder: folder })
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), store::Error> {
    std::fs::copy(from, to).map(drop).map_err(|e| store::Error::of_file(from, &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_put_whole_and_what_was_left_behind_goes() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("parts/a.db"));
        std::fs::write(&from, "first").unwrap();
        put(&from, &to).unwrap();
        let left = |name: &str| {
            let path = dir.path().join("parts").join(name);
            std::fs::write(&path, "half").unwrap();
            path
        };
        let [old, young, other] = [".a.db.x.part", ".a.db.y.part", ".b.db.x.part"].map(left);
        for path in [&old, &other] {
            let long_ago = SystemTime::now() - 2 * ABANDONED;
            File::options().write(true).open(path).unwrap().set_modified(long_ago).unwrap();
        }
        std::fs::write(&from, "second").unwrap();
        put(&from, &to).unwrap();
        assert_eq!(std::fs::read_to_string(&to).unwrap(), "second");
        assert!(!old.exists() && young.exists() && other.exists());
    }

    #[test]
    fn a_scratch_begins_with_a_part_and_goes_with_its_value() {
        let dir = tempfile::tempdir().unwrap();
        let [part, start] = ["part.db", "start.db"].map(|name| dir.path().join(name));
        assert!(matches!(Scratch::begin(&part, Some(&start)), Err(store::Error::Missing { .. })));
        drop(Store::open(&start).unwrap());
        let scratch = Scratch::begin(&part, Some(&start)).unwrap();
        let private = scratch.store().path().to_path_buf();
        assert!(private.is_file() && private != start);
        Publisher::new(&part).publish(scratch.store()).unwrap();
        drop(scratch);
        assert!(!private.exists() && Store::is_one_file(&part));
        let again = Scratch::begin(&part, Some(&start)).unwrap();
        assert!(again.store().states().unwrap().is_empty());
        std::fs::write(&part, "somebody's thesis, and long enough to be looked at ".repeat(30)).unwrap();
        assert!(matches!(Scratch::begin(&part, None), Err(store::Error::NotAStore { .. })));
    }
}
