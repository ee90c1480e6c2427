//! `unmute merge OTHER.db...`, `unmute merge FOLDER`.

use super::args::MergeArgs;
use super::progress::say;
use super::{Exit, Failure, open, print_json, print_text};
use crate::runs::weights::{self, Looked};
use crate::store::{Merged, Store};
use std::path::{Path, PathBuf};

pub(super) fn merge(args: &MergeArgs) -> Result<Exit, Failure> {
    let others = stores(&args.others)?;
    let store = open::writable(&args.store.db.db)?;
    let taken = take(&store, &others)?;
    if args.store.json {
        print_json(&taken.merged)?;
    } else {
        print_text(&taken.merged.iter().map(describe).collect::<String>())?;
    }
    if let Some(mixed) = store.numerics()?.sentence() {
        say(&format!("note: {mixed}"));
    }
    Ok(if taken.whole { Exit::Done } else { Exit::NotAll })
}

/// What came of taking other stores over.
pub(super) struct Taken {
    pub merged: Vec<Merged>,
    /// Whether nothing was left out, and nothing was damaged.
    pub whole: bool,
}

/// The stores that are meant: files, and of a folder those that end in `.db`, in the order of their names.
fn stores(given: &[PathBuf]) -> Result<Vec<Other>, Failure> {
    let mut all = Vec::new();
    for path in given {
        if !path.is_dir() {
            // A mistyped name should not leave an empty store behind.
            if !path.exists() {
                return Err(crate::store::Error::Missing { path: path.clone() }.into());
            }
            all.push(Other { path: path.clone(), of_folder: false });
            continue;
        }
        let found = in_folder(path)?;
        if found.is_empty() {
            return Err(Failure::usage(format!(
                "{}: no store is in this folder (files that end in .db)\n  next: name the folder that `unmute run --publish FOLDER/PART.db` wrote to",
                path.display()
            )));
        }
        all.extend(found.into_iter().map(|path| Other { path, of_folder: true }));
    }
    Ok(all)
}

/// A store to take from.
pub(super) struct Other {
    pub path: PathBuf,
    /// Whether it was found in a folder; one that cannot be read then does not keep the rest from being taken.
    pub of_folder: bool,
}

/// The parts in a folder, in the order of their names. What is still being written has another ending.
pub(super) fn in_folder(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if path.extension().is_some_and(|end| end == "db") && path.is_file() && !hidden {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Takes other stores over, with the weights that they kept.
pub(super) fn take(store: &Store, others: &[Other]) -> Result<Taken, Failure> {
    let mut taken = Taken { merged: Vec::new(), whole: true };
    for other in others {
        let merged = match store.merge(&other.path) {
            Ok(merged) => merged,
            Err(error) if other.of_folder && error.path_is(&other.path) => {
                say(&format!("note: {error}; the others are taken"));
                taken.whole = false;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        taken.whole &= merged.conflicts.is_empty() && merged.damaged.is_empty() && merged.refused_rows.is_empty();
        let Looked { whole, lost, damaged } = weights::take_over(store, &other.path)?;
        if whole + lost > 0 {
            let missing = if lost > 0 { format!("; {lost} are not beside it any more") } else { String::new() };
            say(&format!("{}: weights of {whole} runs taken over{missing}", other.path.display()));
        }
        for (run, why) in &damaged {
            say(&format!("{}: DAMAGED (not taken): weights of run {}: {why}", other.path.display(), open::short(run)));
        }
        taken.whole &= damaged.is_empty();
        taken.merged.push(merged);
    }
    Ok(taken)
}

pub(super) fn describe(m: &Merged) -> String {
    let mut out = format!("{}: {} runs added, {} completed, {} known", m.path.display(), m.added, m.replaced, m.known);
    if m.unfinished > 0 {
        out += &format!(", {} unfinished and left there", m.unfinished);
    }
    if m.healed + m.healed_rows > 0 {
        out += &format!(", {} damaged here and taken from there", m.healed + m.healed_rows);
    }
    out += "\n";
    if m.clock_ahead {
        out += "  note: its clock was ahead when an experiment was run; it counts as run before ours\n";
    }
    for row in &m.refused_rows {
        out += &format!("  DAMAGED (not taken): {row}\n");
    }
    let listed = [
        ("CONFLICT (ours kept)", &m.conflicts),
        ("other numerics (ours kept)", &m.other_numerics),
        ("DAMAGED (not taken)", &m.damaged),
    ];
    for (what, runs) in listed {
        for r in runs {
            let seed = r.seed.map_or_else(String::new, |s| format!(" seed {}", s as u64));
            out += &format!("  {what}: {} {}{seed}: {}\n", open::short(&r.run), r.key, r.why);
        }
    }
    out
}
