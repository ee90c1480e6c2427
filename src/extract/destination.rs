//! The folder that features go to. Whatever is in it is whole: files are written aside and renamed, and a clip is done when
//! its record says so, which is written last. Several processes and machines may work on one folder.
//!
//! ```text
//! clips.csv                 clip,label,split,has_audio, of the clips that are done
//! features/CLIP_NAME.npy    (t, D) f32; of silent clips no audio features
//! scores/CLIP_NAME.npy      (K,) class probabilities, scores/classes.txt their order
//! extract.json              settings, networks, versions, warnings by clip
//! failures.csv              clip,path,reason, of the clips that failed
//! .extract/                 a record for each clip, claims of those that are worked on
//! ```

use super::error::{ClipError, Error, io};
use super::list::{Clip, List, UNLABELLED};
use super::npy;
use super::settings::Report;
use crate::files;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Bytes of what is kept of an extraction that are read: `extract.json` has a line or two for each clip.
const LARGEST_JSON: u64 = 1 << 30;

/// What is known of a finished clip.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The video's path as it was listed.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// When it was modified, in nanoseconds since 1970.
    pub modified: u64,
    /// When it was changed in any way, its inode, and BLAKE3 of its contents; earlier versions noted none of them.
    #[serde(default)]
    pub changed: u64,
    #[serde(default)]
    pub inode: u64,
    #[serde(default)]
    pub content: String,
    /// Whether it has sound.
    pub has_audio: bool,
    /// By network, what was made.
    pub nets: BTreeMap<String, NetRecord>,
    /// Frames and packets that could not be decoded.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub undecoded: usize,
    /// Everything a reader should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// What a network made of a clip.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct NetRecord {
    /// The hash of its settings.
    pub settings: String,
    /// Rows of its features; 0 where the clip is silent.
    pub rows: usize,
    /// Numbers of a row.
    pub width: usize,
    /// Class probabilities, 0 where it gives none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub classes: usize,
}

/// A failed clip.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Failed {
    pub path: String,
    pub reason: String,
}

/// The opened folder.
pub(super) struct Destination {
    dir: PathBuf,
    counter: AtomicUsize,
}

/// The state of a video: two that are equal have the same contents, unless a file was written twice within a tick of the file
/// system's clock. The device is left out, which differs where several machines see one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub size: u64,
    pub modified: u64,
    pub changed: u64,
    pub inode: u64,
}

/// Some file systems keep times to two seconds only.
const COARSEST_CLOCK_NS: u64 = 2_000_000_000;

impl State {
    /// Of the file as it is now; what is no ordinary file is an error.
    pub(super) fn of(path: &Path) -> std::io::Result<State> {
        let meta = files::open(path)?.metadata()?;
        let ns = |seconds: i64, ns: i64| u64::try_from(seconds.saturating_mul(1_000_000_000) + ns).unwrap_or(0);
        Ok(State {
            size: meta.len(),
            modified: ns(meta.mtime(), meta.mtime_nsec()),
            changed: ns(meta.ctime(), meta.ctime_nsec()),
            inode: meta.ino(),
        })
    }
}

/// BLAKE3 of a file's contents.
fn content(path: &Path) -> std::io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(files::open(path)?)?;
    Ok(hasher.finalize().to_hex().to_string())
}

impl Record {
    /// Of a video that is about to be read.
    pub(super) fn of(path: &Path, shown: &str) -> std::io::Result<Record> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64);
        let state = State::of(path)?;
        // A change that soon after the last one may not show: next time the contents are looked at.
        let settled = state.changed.saturating_add(COARSEST_CLOCK_NS) < now;
        Ok(Record {
            path: shown.into(),
            size: state.size,
            modified: state.modified,
            changed: if settled { state.changed } else { 0 },
            inode: state.inode,
            content: content(path)?,
            ..Record::default()
        })
    }

    /// Whether a video is the one that this was made of. Its contents are read only where its state leaves a doubt.
    pub(super) fn is_of(&self, path: &Path) -> bool {
        let Ok(now) = State::of(path) else { return false };
        let Record { size, modified, changed, inode, .. } = *self;
        if now.size != size {
            return false;
        }
        // An earlier version knew no more than this.
        if self.content.is_empty() {
            return now.modified == modified;
        }
        now == State { size, modified, changed, inode } || content(path).is_ok_and(|hash| hash == self.content)
    }

    /// Whether two are of the same contents, under one name.
    pub(super) fn same_source(&self, other: &Record) -> bool {
        let known = !self.content.is_empty() && !other.content.is_empty();
        let same = if known { self.content == other.content } else { self.modified == other.modified };
        self.path == other.path && self.size == other.size && same
    }
}

impl Destination {
    /// Opens or makes it.
    pub(super) fn open(dir: &Path) -> Result<Destination, Error> {
        if dir.exists() && !dir.is_dir() {
            return Err(Error::Usage(format!("{}: is a file; a folder is needed", dir.display())));
        }
        let destination = Destination { dir: dir.into(), counter: AtomicUsize::new(0) };
        for sub in ["features", ".extract/done", ".extract/failed", ".extract/claims", ".extract/tmp"] {
            let path = dir.join(sub);
            std::fs::create_dir_all(&path).map_err(io(path))?;
        }
        destination.sweep();
        Ok(destination)
    }

    pub(super) fn path(&self, relative: &str) -> PathBuf {
        self.dir.join(relative)
    }

    /// Files half written by processes that are gone: of this place, or whose machine was booted since and that lie there for a day.
    fn sweep(&self) {
        const ABANDONED: std::time::Duration = std::time::Duration::from_secs(86_400);
        let entries = std::fs::read_dir(self.path(".extract/tmp")).into_iter().flatten().flatten();
        for entry in entries {
            let name = entry.file_name().to_string_lossy().into_owned();
            let mut parts = name.rsplitn(3, '.');
            let (_, pid, host) = (parts.next(), parts.next(), parts.next());
            let here = host == Some(&super::claims::place());
            let written = entry.metadata().and_then(|m| m.modified());
            let old = || written.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > ABANDONED));
            let gone = if here { pid.is_some_and(|p| !super::claims::alive(p)) } else { old() };
            if gone {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }

    /// Writes a file so that it is there whole or not at all.
    pub(super) fn write(&self, relative: &str, bytes: &[u8]) -> Result<(), Error> {
        let path = self.path(relative);
        let n = self.counter.fetch_add(1, Ordering::Relaxed);
        let aside = self.path(&format!(".extract/tmp/{}.{}.{n}", super::claims::place(), std::process::id()));
        let result = files::create(&aside)
            .and_then(|mut file| file.write_all(bytes))
            .and_then(|()| std::fs::rename(&aside, &path));
        if result.is_err() {
            let _ = std::fs::remove_file(&aside);
        }
        result.map_err(io(path))
    }

    /// Writes the classes of the scores, one a line.
    pub(super) fn classes(&self, classes: &[String]) -> Result<(), Error> {
        let path = self.path("scores");
        std::fs::create_dir_all(&path).map_err(io(path))?;
        self.write("scores/classes.txt", (classes.join("\n") + "\n").as_bytes())
    }

    fn json<T: serde::de::DeserializeOwned>(&self, relative: &str) -> Option<T> {
        serde_json::from_slice(&files::read(&self.path(relative), LARGEST_JSON).ok()?).ok()
    }

    fn write_json(&self, relative: &str, value: &impl Serialize) -> Result<(), Error> {
        let path = self.path(relative);
        let mut text = serde_json::to_string_pretty(value).map_err(|e| io(path)(e.into()))?;
        text.push('\n');
        self.write(relative, text.as_bytes())
    }

    /// Writes a clip's features of one network.
    pub(super) fn features(&self, clip: &str, net: &str, rows: &[Vec<f32>]) -> Result<(), Error> {
        let width = rows.first().map_or(0, Vec::len);
        self.write(&format!("features/{clip}_{net}.npy"), &npy::bytes(&[rows.len(), width], &rows.concat()))
    }

    /// Writes a clip's class probabilities of one network.
    pub(super) fn scores(&self, clip: &str, net: &str, scores: &[f32]) -> Result<(), Error> {
        self.write(&format!("scores/{clip}_{net}.npy"), &npy::bytes(&[scores.len()], scores))
    }

    /// What is recorded of a clip, if all that the record promises is there.
    pub(super) fn record(&self, clip: &str) -> Option<Record> {
        let record: Record = self.json(&format!(".extract/done/{clip}.json"))?;
        let whole = |relative: String, numbers: usize| {
            std::fs::metadata(self.path(&relative)).is_ok_and(|m| m.len() > 4 * numbers as u64)
        };
        let there = record.nets.iter().all(|(net, made)| {
            (made.rows == 0 || whole(format!("features/{clip}_{net}.npy"), made.rows * made.width))
                && (made.classes == 0 || whole(format!("scores/{clip}_{net}.npy"), made.classes))
        });
        there.then_some(record)
    }

    /// A clip is done.
    pub(super) fn done(&self, clip: &str, record: &Record) -> Result<(), Error> {
        self.write_json(&format!(".extract/done/{clip}.json"), record)?;
        let _ = std::fs::remove_file(self.path(&format!(".extract/failed/{clip}.json")));
        Ok(())
    }

    /// A clip failed.
    pub(super) fn failed(&self, clip: &Clip, reason: &ClipError) -> Result<(), Error> {
        let failed = Failed { path: clip.shown.clone(), reason: reason.to_string() };
        self.write_json(&format!(".extract/failed/{}.json", clip.name), &failed)
    }

    /// Holds the settings of this call against those that the folder was made with, and keeps them.
    pub(super) fn settle(&self, report: &Report) -> Result<Report, Error> {
        let _lock = self.lock()?;
        let path = self.path("extract.json");
        let merged = match files::read(&path, LARGEST_JSON) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => report.clone(),
            Err(e) => return Err(io(path)(e)),
            Ok(bytes) => {
                let found: Report = serde_json::from_slice(&bytes).map_err(|e| Error::Destination {
                    path: path.clone(),
                    message: format!("is not what unmute extract writes: {e}"),
                })?;
                found.merged(report).map_err(|difference| Error::OtherSettings { path: path.clone(), difference })?
            }
        };
        self.write_json("extract.json", &merged)?;
        Ok(merged)
    }

    fn lock(&self) -> Result<std::fs::File, Error> {
        let path = self.path(".extract/lock");
        let file = files::create(&path).map_err(io(&path))?;
        // Where a file system has no locks, the last one to write wins; what it writes is whole all the same.
        let _ = file.lock();
        Ok(file)
    }

    /// Writes clips.csv, failures.csv and extract.json from the records, of whichever process.
    pub(super) fn finish(&self, list: &List, report: &Report) -> Result<Finished, Error> {
        let _lock = self.lock()?;
        let mut report = self.json::<Report>("extract.json").unwrap_or_else(|| report.clone());
        let known = if list.labelled { HashMap::new() } else { self.labels() };
        let mut finished = Finished::default();
        let mut clips = csv::Writer::from_writer(Vec::new());
        let mut failures = csv::Writer::from_writer(Vec::new());
        let path = self.path("clips.csv");
        let fail = |e: csv::Error| io(&path)(e.into());
        clips.write_record(["clip", "label", "split", "has_audio"]).map_err(fail)?;
        failures.write_record(["clip", "path", "reason"]).map_err(fail)?;
        report.warnings.clear();
        report.undecoded.clear();
        for clip in &list.clips {
            let record = self.record(&clip.name).filter(|r| report.networks.keys().all(|n| r.nets.contains_key(n)));
            if let Some(record) = record {
                let (label, split) = match known.get(&clip.name) {
                    Some((label, split)) if clip.label == UNLABELLED => (label, split),
                    _ => (&clip.label, &clip.split),
                };
                let has_audio = if record.has_audio { "true" } else { "false" };
                clips.write_record([&clip.name, label, split, has_audio]).map_err(fail)?;
                finished.done += 1;
                finished.silent += usize::from(!record.has_audio);
                if !record.warnings.is_empty() {
                    report.warnings.insert(clip.name.clone(), record.warnings);
                }
                if record.undecoded > 0 {
                    report.undecoded.insert(clip.name.clone(), record.undecoded);
                }
            } else if let Some(failed) = self.json::<Failed>(&format!(".extract/failed/{}.json", clip.name)) {
                failures.write_record([&clip.name, &failed.path, &failed.reason]).map_err(fail)?;
                finished.failed.push((clip.name.clone(), failed.reason));
            }
        }
        let bytes = |writer: csv::Writer<Vec<u8>>| writer.into_inner().unwrap_or_default();
        self.write("clips.csv", &bytes(clips))?;
        self.write("failures.csv", &bytes(failures))?;
        report.clips = Some(super::settings::Counts {
            listed: list.clips.len(),
            done: finished.done,
            silent: finished.silent,
            failed: finished.failed.len(),
        });
        self.write_json("extract.json", &report)?;
        finished.undecoded = report.undecoded;
        Ok(finished)
    }

    /// Labels and splits that somebody has filled in.
    fn labels(&self) -> HashMap<String, (String, String)> {
        let Ok(file) = files::open(&self.path("clips.csv")) else { return HashMap::new() };
        let mut reader = csv::Reader::from_reader(file);
        let rows = reader.deserialize::<(String, String, String, String)>().flatten();
        rows.map(|(clip, label, split, _)| (clip, (label, split))).collect()
    }
}

/// What the folder holds in the end.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Finished {
    pub done: usize,
    pub silent: usize,
    pub failed: Vec<(String, String)>,
    pub undecoded: BTreeMap<String, usize>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_video_is_known_by_its_contents_and_not_by_size_and_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.mp4");
        let long_ago = UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        let write = |path: &Path, bytes: &[u8]| {
            std::fs::write(path, bytes).unwrap();
            std::fs::File::options().write(true).open(path).unwrap().set_modified(long_ago).unwrap();
        };
        write(&path, b"one");
        let record = Record::of(&path, "a.mp4").unwrap();
        assert!(record.is_of(&path) && record.changed == 0, "it was written just now: its contents are looked at");
        write(&path, b"two");
        assert!(!record.is_of(&path), "the same size, the same time of writing");
        // A copy of the folder, or the same contents written anew.
        let copy = dir.path().join("copy.mp4");
        write(&copy, b"one");
        assert!(record.is_of(&copy));
        std::fs::File::options().write(true).open(&copy).unwrap().set_modified(UNIX_EPOCH).unwrap();
        assert!(record.is_of(&copy), "the contents decide");
        // An earlier version knew size and time.
        let earlier = Record { content: String::new(), ..record.clone() };
        assert!(earlier.is_of(&path) && !earlier.is_of(&copy));
        assert!(record.same_source(&Record { inode: 1, modified: 2, ..record.clone() }));
        assert!(!record.same_source(&Record { content: "other".into(), ..record.clone() }));
        assert!(earlier.same_source(&record));
    }

    #[test]
    fn what_is_no_ordinary_file_is_no_video() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe.mp4");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
        assert!(Record::of(&pipe, "pipe.mp4").unwrap_err().to_string().contains("named pipe"));
    }
}
