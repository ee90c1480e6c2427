//! `unmute data import`: a folder of per-clip arrays, as feature extractors leave behind, becomes a data set.
//!
//! The source holds `clips.csv` (`clip,label,split[,has_audio]`) and an array (t, D) for each clip and feature, with a t of its
//! own ([`layout`] says how files may be named, [`READERS`] in which formats). Streams are sampled to T frames, audio features
//! to a fixed number of rows, flattened. What was not used is counted and told ([`Report`]).

mod array;
mod convert;
mod findings;
mod half_loss;
mod layout;
#[cfg(test)]
mod mutations;
mod npy;
mod npz;
mod plan;
mod shape;
mod stamp;

pub use findings::{Finding, Findings, Report};
pub use shape::{Reduce, ReduceBy};

use super::manifest::{MOST_FRAMES, Manifest, check_name};
use super::{Dataset, Error, Precision, clips, folder};
use array::ArrayReader;
use plan::Plan;
use serde::{Deserialize, Serialize};
use stamp::Stamp;
use std::collections::BTreeMap;
use std::path::Path;

/// The formats that arrays are read from.
static READERS: &[&dyn ArrayReader] = &[&npy::Npy, &npz::Npz];

/// How an audio feature of (t, D) becomes one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rows {
    /// This many rows, sampled at the centres of equal segments and laid side by side: n D numbers.
    Sample(usize),
    /// The mean over rows: D numbers.
    Mean,
}

impl std::fmt::Display for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Rows::Sample(n) => write!(f, "{n}"),
            Rows::Mean => write!(f, "mean"),
        }
    }
}

/// What to make of the source folder.
#[derive(Clone, Debug)]
pub struct Options {
    /// T.
    pub frames: usize,
    /// Audio features and how their rows are folded. A feature of the folder that is not named here is a stream.
    pub rows: BTreeMap<String, Rows>,
    /// Whether each of `rows` was asked for by name, and so has to be there.
    pub rows_required: bool,
    /// The data set's name; the source folder's by default.
    pub name: Option<String>,
    /// Numbers on disk.
    pub precision: Precision,
    /// A clip without audio files, or with empty ones, is silent (where clips.csv has no has_audio column) instead of an error.
    pub absent_is_silent: bool,
    /// The visual streams; all features that are no audio by default.
    pub streams: Option<Vec<String>>,
    /// Features that are left out.
    pub skip: Vec<String>,
    /// What becomes of a third axis, by feature; the empty name is for all others.
    pub reduce: BTreeMap<String, Reduce>,
    /// Features whose arrays are (D, t).
    pub transpose: Vec<String>,
    /// Fail where anything was left out or looks doubtful.
    pub strict: bool,
}

impl Default for Options {
    /// 18 frames of all streams, VGGish and AENet as in the paper, f32.
    fn default() -> Self {
        Options {
            frames: 18,
            rows: [("vggish".into(), Rows::Sample(3)), ("aenet".into(), Rows::Mean)].into(),
            rows_required: false,
            name: None,
            precision: Precision::F32,
            absent_is_silent: false,
            streams: None,
            skip: Vec::new(),
            reduce: BTreeMap::new(),
            transpose: Vec::new(),
            strict: false,
        }
    }
}

impl Options {
    /// How arrays of a feature are read.
    fn folding(&self, name: &str) -> shape::Folding {
        let reduce = self.reduce.get(name).or_else(|| self.reduce.get("")).copied();
        shape::Folding { reduce, transpose: self.transpose.iter().any(|n| n == name) }
    }

    fn check(&self) -> Result<(), Error> {
        if self.frames == 0 {
            return Err(Error::Usage("--frames 0: a clip needs at least one frame".into()));
        }
        if self.frames > MOST_FRAMES {
            return Err(Error::Usage(format!("--frames {}: at most {MOST_FRAMES} are possible", self.frames)));
        }
        for (name, rows) in &self.rows {
            check_name(name).map_err(Error::Usage)?;
            match rows {
                Rows::Sample(0) => {
                    return Err(Error::Usage(format!("--rows {name}=0: an audio feature needs at least one row")));
                }
                Rows::Sample(n) if *n > MOST_FRAMES => {
                    return Err(Error::Usage(format!("--rows {name}={n}: at most {MOST_FRAMES} rows are possible")));
                }
                _ => (),
            }
        }
        Ok(())
    }

    /// All that the result depends on, in words.
    fn describe(&self) -> String {
        let Options { frames, rows, name, precision, absent_is_silent, streams, skip, reduce, transpose, .. } = self;
        format!(
            "{frames} {rows:?} {name:?} {precision:?} {absent_is_silent} {streams:?} {skip:?} {reduce:?} {transpose:?}"
        )
    }
}

/// What [`import`] did.
#[derive(Debug)]
pub enum Outcome {
    /// A new data set was written.
    Imported(Manifest, Report),
    /// The destination already held this import of an unchanged source.
    AlreadyThere(Manifest, Report),
    /// The destination held the same, imported by an earlier version that neither hashed the source nor named the rows; it was
    /// replaced.
    Renewed(Manifest, Report),
}

/// Imports `src` into the new folder `dst`; `progress(done, total)` counts clips.
pub fn import(src: &Path, dst: &Path, options: &Options, progress: &dyn Fn(usize, usize)) -> Result<Outcome, Error> {
    options.check()?;
    let clips_path = src.join("clips.csv");
    if std::fs::metadata(&clips_path).is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound) {
        return Err(Error::Usage(format!(
            "{}: nothing to import: no clips.csv in it\n  next: give a folder with clips.csv (clip,label,split) and features/CLIP_NAME.npy",
            src.display()
        )));
    }
    let held = stamp::held(dst)?;
    let rows = clips::read_rows(&clips_path)?;
    let plan = Plan::new(src, &clips_path, rows, options)?;
    let described = options.describe();
    let write = |to: &Path| -> Result<Report, Error> {
        let mut finished = None;
        folder::write(to, |dir| {
            let (report, contents) = plan.write(dir, options, progress)?;
            if options.strict && !report.objections().is_empty() {
                return Err(Error::Strict { path: src.into(), findings: report.objections().join("\n") });
            }
            // What was written is read back as whoever opens it will.
            let result = Dataset::open(dir)?.fingerprint;
            Stamp::new(described.clone(), &plan, contents, result, report.clone())?.write(dir)?;
            finished = Some(report);
            Ok(())
        })?;
        Ok(finished.unwrap_or_default())
    };
    match held {
        stamp::Held::Nothing => Ok(Outcome::Imported(plan.manifest.clone(), write(dst)?)),
        stamp::Held::This(found) => {
            let report = found.still_holds(dst, &described, &plan)?;
            if options.strict && !report.objections().is_empty() {
                return Err(Error::Strict { path: src.into(), findings: report.objections().join("\n") });
            }
            Ok(Outcome::AlreadyThere(Manifest::read(dst)?, report))
        }
        stamp::Held::Earlier => {
            let report = stamp::renew(dst, write)?;
            Ok(Outcome::Renewed(plan.manifest.clone(), report))
        }
    }
}
