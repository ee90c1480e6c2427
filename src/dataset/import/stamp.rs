//! What a data set was imported from, kept beside it, so that a second call is free and one on a changed source is refused.

use super::super::{Dataset, Error};
use super::findings::Report;
use super::plan::Plan;
use crate::files;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Identifies a source, the options it was imported with, and the result.
#[derive(Serialize, Deserialize)]
pub(super) struct Stamp {
    version: u32,
    options: String,
    /// Over the contents of clips.csv and of every array that was used.
    contents: String,
    /// Over the state of every file that was used; none where a later change might not show.
    states: Option<String>,
    /// The data set's fingerprint.
    result: String,
    report: Report,
}

const FILE: &str = ".import.json";
const VERSION: u32 = 2;
const LARGEST_FILE: u64 = 16 << 20;

/// What lies at an import's destination.
pub(super) enum Held {
    /// Nothing.
    Nothing,
    /// An import.
    This(Box<Stamp>),
    /// An import by an earlier version.
    Earlier,
}

/// Looks at the destination.
pub(super) fn held(dst: &Path) -> Result<Held, Error> {
    if std::fs::symlink_metadata(dst).is_err() {
        return Ok(Held::Nothing);
    }
    let text = files::read_own(&dst.join(FILE), LARGEST_FILE).unwrap_or_default();
    let found: Option<serde_json::Value> = serde_json::from_slice(&text).ok();
    let version = found.as_ref().and_then(|v| v["version"].as_u64());
    match (version, found.and_then(|v| serde_json::from_value(v).ok())) {
        (Some(v), Some(stamp)) if v == u64::from(VERSION) => Ok(Held::This(stamp)),
        (Some(1), _) => Ok(Held::Earlier),
        _ => Err(Error::Usage(format!("{}: exists already\n  next: import to a new folder", dst.display()))),
    }
}

impl Stamp {
    pub fn new(options: String, plan: &Plan, contents: String, result: String, report: Report) -> Result<Stamp, Error> {
        Ok(Stamp { version: VERSION, options, contents, states: plan.states.clone(), result, report })
    }

    pub fn write(&self, dir: &Path) -> Result<(), Error> {
        let path = dir.join(FILE);
        let text = serde_json::to_string(self).unwrap_or_default();
        files::replace(&path, text.as_bytes()).map_err(|source| Error::Io { path, source })
    }

    /// Whether an import would give what `dst` holds; the report of the one that made it.
    pub fn still_holds(mut self, dst: &Path, options: &str, plan: &Plan) -> Result<Report, Error> {
        let refused = |what: &str| {
            Err(Error::Usage(format!("{}: {what}\n  next: remove it, or import to another folder", dst.display())))
        };
        if self.options != options {
            return refused("holds an import with other options, or of another source");
        }
        if self.states.is_none() || self.states != plan.states {
            if self.contents != plan.contents()? {
                return refused("holds an import of another or since changed source");
            }
            self.states = plan.states.clone();
            // A memory only: where it cannot be written, contents are read again next time.
            let _ = self.write(dst);
        }
        if Dataset::open(dst)?.fingerprint != self.result {
            return refused("was changed since it was imported");
        }
        Ok(self.report)
    }
}

/// Imports once more beside `dst` and, where the result is the same, puts it in `dst`'s place: names of rows and hashes come
/// with it, and the fingerprint stays.
pub(super) fn renew(dst: &Path, write: impl Fn(&Path) -> Result<Report, Error>) -> Result<Report, Error> {
    let name = dst.file_name().unwrap_or_default().to_string_lossy();
    let beside = dst.with_file_name(format!(".{name}.renewed"));
    let io = |source| Error::Io { path: dst.into(), source };
    if beside.exists() {
        std::fs::remove_dir_all(&beside).map_err(io)?;
    }
    let report = write(&beside)?;
    let same = Dataset::open(&beside).and_then(|new| Ok(new.fingerprint == Dataset::open(dst)?.fingerprint));
    let exchanged = match same {
        Ok(true) => {
            rustix::fs::renameat_with(rustix::fs::CWD, &beside, rustix::fs::CWD, dst, rustix::fs::RenameFlags::EXCHANGE)
                .map_err(|e| io(e.into()))
        }
        Ok(false) => Err(Error::Usage(format!(
            "{}: holds an import of another or since changed source, or one with other options\n  next: remove it, or import to another folder",
            dst.display()
        ))),
        Err(e) => Err(e),
    };
    // Either what was written now, or what was there before.
    std::fs::remove_dir_all(&beside).map_err(io)?;
    exchanged.map(|()| report)
}
