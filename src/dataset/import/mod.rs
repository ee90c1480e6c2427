//! `unmute data import`: a folder of per-clip arrays, as feature extractors leave behind, becomes a data set.
//!
//! The source holds `clips.csv` (`clip,label,split[,has_audio]`) and an array (t, D) for each clip and feature, with a t of its
//! own ([`layout`] says how files may be named, [`formats`] what they may be). Streams are sampled to T frames, audio features
//! to a fixed number of rows, flattened. What was not used is counted and told ([`Report`]).

pub(super) mod array;
mod convert;
mod findings;
mod formats;
mod half_loss;
mod layout;
pub(super) mod npy;
mod npz;
mod options;
mod plan;
mod scores;
mod shape;
mod stamp;
mod states;

pub use findings::{Finding, Findings, Report};
pub use options::{Options, Rows};
pub use shape::{Reduce, ReduceBy};

use super::manifest::Manifest;
use super::{Dataset, Error, clips, folder};
use array::ArrayReader;
use plan::Plan;
use stamp::Stamp;
use std::path::Path;

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

/// An array by its name: shape, numbers as f32.
pub type NamedArray = (String, Vec<usize>, Vec<f32>);

/// The arrays of a NumPy archive.
pub fn npy_archive(path: &Path) -> Result<Vec<NamedArray>, Error> {
    let mut arrays = Vec::new();
    for entry in npz::Npz.list(path)? {
        let array = npz::Npz.read(path, entry.member.as_deref())?;
        arrays.push((entry.member.unwrap_or_default(), array.shape, array.values));
    }
    Ok(arrays)
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
            plan.copy_external(dir)?;
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
            // What was generated since is no part of the data set, and comes along.
            plan.copy_external(dst)?;
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

#[cfg(test)]
mod mutations;
