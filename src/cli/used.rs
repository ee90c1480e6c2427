//! What the verbs that use trained networks begin with: which run, which clips; and files that they write.

use super::{Failure, open, progress::say};
use crate::dataset::Split;
use crate::experiment::config::SelectOn;
use crate::runs::footage::Footage;
use crate::runs::merit;
use crate::store::{Pick, RunRecord, State, Store};
use std::path::Path;

/// The run of a cell that `best` means: the finished seed that is best by the selection's metric among those whose weights were
/// kept. Where a better one's were not, that is said.
pub(super) fn best_of_cell(
    store: &Store,
    fingerprint: &str,
    key: &str,
    select_on: SelectOn,
) -> Result<RunRecord, Failure> {
    let mut runs = store.runs_of_cell(fingerprint, true)?;
    // Stable: of equal ones the smallest seed.
    runs.sort_by(|a, b| merit(select_on, &b.values).total_cmp(&merit(select_on, &a.values)));
    let Some(best) = runs.first().cloned() else {
        let db = store.path().display();
        return Err(Failure::usage(format!(
            "{key}: no run of it is finished in {db}\n  next: `unmute ls --db {db}` lists what is there"
        )));
    };
    for run in runs {
        if store.weights(&run.id)?.is_some() {
            if run.id != best.id {
                let seed = |run: &RunRecord| run.seed.unwrap_or(0);
                say(&format!(
                    "note: seed {} is the best of {key}, and its weights were not kept; seed {} is used",
                    seed(&best),
                    seed(&run)
                ));
            }
            return Ok(run);
        }
    }
    // Whoever reads them says why there are none, and what to do.
    Ok(best)
}

/// The run of a cell by its key, in an experiment or in the one that was run last and has it.
pub(super) fn of_key(store: &Store, key: &str, experiment: Option<&Path>) -> Result<RunRecord, Failure> {
    let experiments = match experiment {
        Some(what) => {
            let recorded = open::recorded(store, what, &Pick::default())?;
            recorded.tell();
            vec![recorded.record]
        }
        None => store.experiments()?,
    };
    for record in &experiments {
        if let Some(cell) = record.cells.iter().find(|c| c.key == key)
            && let Some(fingerprint) = &cell.fingerprint
            && (experiment.is_some() || !store.runs_of_cell(fingerprint, true)?.is_empty())
        {
            return best_of_cell(store, fingerprint, key, record.config.fusion.select_on);
        }
    }
    let mut keys: Vec<String> = experiments.iter().flat_map(|e| &e.cells).map(|c| c.key.clone()).collect();
    keys.sort();
    keys.dedup();
    let db = store.path().display();
    Err(Failure::usage(format!(
        "no finished cell {key:?} in {db}{}\n  next: `unmute ls --db {db}` lists what is there",
        crate::suggest::nearest(key, &keys)
    )))
}

/// A run that is finished.
pub(super) fn finished(run: RunRecord) -> Result<RunRecord, Failure> {
    match run.state {
        State::Done => Ok(run),
        _ => Err(Failure::usage(format!(
            "run {} ({}) is not finished: {}\n  next: run its experiment again, and it goes on",
            open::short(&run.id),
            run.key,
            open::state(&run)
        ))),
    }
}

/// The clips; on the data set that a run was trained on, with the silence of its experiment.
pub(super) fn footage(store: &Store, dir: &Path, run: &RunRecord) -> Result<Footage, Failure> {
    let mut footage = Footage::open(dir)?;
    footage.notes.iter().for_each(|note| say(&format!("note: {note}")));
    let view = store.view(run.view_id)?;
    let own = store.dataset(view.dataset_id)?.fingerprint;
    if let Some(dataset) = footage.dataset.as_ref().filter(|d| d.fingerprint != own) {
        tell_variants_on(store, run, &dataset.fingerprint)?;
    }
    if let (Some(dataset), Some(missing)) = (&footage.dataset, &view.missing)
        && dataset.fingerprint == own
    {
        footage.silence(missing)?;
        say(&format!(
            "note: the data set of the run itself; the clips that its experiment silenced ({missing}) count as silent",
            missing = serde_json::json!(missing)
        ));
    }
    Ok(footage)
}

/// Says so where a run is of another data set than the clips, and its experiment was run on theirs too.
fn tell_variants_on(store: &Store, run: &RunRecord, data: &str) -> Result<(), Failure> {
    let names: Vec<String> = store.experiments_with(&run.cell)?.into_iter().map(|(name, ..)| name).collect();
    let variants = store.variants()?;
    if let Some(other) = variants.iter().find(|v| v.data == data && names.contains(&v.experiment)) {
        say(&format!(
            "note: {} was trained on another data set than this one; variant {} of {} was run on this one: give its runs by their ids to use them (`unmute ls`)",
            run.key, other.number, other.experiment
        ));
    }
    Ok(())
}

/// The clips of a split, or all.
pub(super) fn clips(footage: &Footage, split: Option<&str>) -> Result<Vec<usize>, Failure> {
    let of = |clip: usize| split.is_none_or(|s| footage.clips[clip].split.as_deref() == Some(s));
    let clips: Vec<usize> = (0..footage.clips.len()).filter(|clip| of(*clip)).collect();
    if let (Some(split), true) = (split, clips.is_empty()) {
        let mut splits: Vec<String> = footage.clips.iter().filter_map(|c| c.split.clone()).collect();
        splits.sort();
        splits.dedup();
        let known = [Split::Train, Split::Val].map(|s| s.name().to_string());
        let splits = if splits.is_empty() { known.to_vec() } else { splits };
        return Err(Failure::usage(format!(
            "--split {split}: data set {} has no such clips{}",
            footage.name,
            crate::suggest::nearest(split, &splits)
        )));
    }
    Ok(clips)
}

/// Builds a folder beside `out` and renames it, so that `out` is whole or not there; an `out` that has something in it is
/// refused.
pub(super) fn write_folder(out: &Path, fill: impl FnOnce(&Path) -> Result<(), Failure>) -> Result<(), Failure> {
    let io = |e: std::io::Error| Failure {
        exit: super::Exit::Failed,
        message: format!("{}: {}", out.display(), crate::explain_io(&e)),
    };
    if out.is_file() || std::fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Failure::usage(format!(
            "--out {}: something is there already\n  next: name a new folder, or take away what is in it",
            out.display()
        )));
    }
    let parent = out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent).map_err(io)?;
    let part = tempfile::Builder::new().prefix(".unmute-").suffix(".part").tempdir_in(parent).map_err(io)?;
    let folder = part.path().join("whole");
    std::fs::create_dir(&folder).map_err(io)?;
    fill(&folder)?;
    if out.is_dir() {
        std::fs::remove_dir(out).map_err(io)?;
    }
    std::fs::rename(&folder, out).map_err(io)
}

/// Writes a file under another name and renames it.
pub(super) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    crate::runs::weights::put(path, bytes).map_err(|e| Failure {
        exit: super::Exit::Failed,
        message: format!("{}: {}", path.display(), crate::explain_io(&e)),
    })
}

/// Numbers as NumPy's .npy, little-endian f32, row-major.
pub(super) fn npy(values: &[f32], shape: &[usize]) -> Vec<u8> {
    let extents: String = shape.iter().map(|n| format!("{n}, ")).collect();
    // One extent keeps its comma, as Python writes tuples.
    let extents = if shape.len() == 1 { extents.trim_end() } else { extents.trim_end_matches(", ") };
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({extents}), }}");
    // Numbers begin at a multiple of 64 bytes; the last byte before them is a line's end.
    let length = (10 + header.len() + 1).next_multiple_of(64) - 10;
    header.extend(std::iter::repeat_n(' ', length - 1 - header.len()));
    header.push('\n');
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    out.extend((length as u16).to_le_bytes());
    out.extend(header.as_bytes());
    out.extend(crate::runs::weights::little_endian(values));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn npy_headers_are_numpys() {
        let file = npy(&[1.0, 2.0], &[2]);
        assert_eq!(file.len(), 128 + 8);
        let text = String::from_utf8_lossy(&file[10..128]).into_owned();
        assert!(text.starts_with("{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }") && text.ends_with('\n'));
        let text = String::from_utf8_lossy(&npy(&[0.0; 6], &[2, 3])[10..128]).into_owned();
        assert!(text.contains("'shape': (2, 3), "), "{text}");
    }

    #[test]
    fn a_folder_is_whole_or_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("a/out");
        let failed = write_folder(&out, |_| Err(Failure::usage("no")));
        assert!(failed.is_err() && !out.exists());
        let write = |part: &Path| Ok(std::fs::write(part.join("x"), "1")?);
        assert!(write_folder(&out, write).is_ok() && out.join("x").is_file());
        assert!(write_folder(&out, |_| Ok(())).is_err_and(|e| e.message.contains("already")));
        assert_eq!(std::fs::read_dir(out.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
    }
}
