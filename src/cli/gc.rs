//! `unmute gc`: deletes what no report and no resumed run needs.

use super::args::GcArgs;
use super::{Exit, Failure, open, print_json, print_text};
use crate::report::format::bytes;
use crate::runs::checkpoint;
use crate::store::{self, Store, Sweep, timestamp};
use serde_json::json;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A file that can go, and its size.
type Leftover = (PathBuf, u64);

pub(super) fn gc(args: &GcArgs) -> Result<Exit, Failure> {
    let age = args.older_than.as_deref().map_or(Ok(Duration::ZERO), age)?;
    let limit = SystemTime::now().checked_sub(age).unwrap_or(UNIX_EPOCH);
    let since = limit.duration_since(UNIX_EPOCH).unwrap_or_default();
    // Without an age no clock is asked: one that was ahead when a run ended keeps nothing.
    let before = match args.older_than {
        Some(_) => timestamp(since.as_secs() as i64, since.subsec_millis()),
        None => "9999".into(),
    };
    let db = &args.store.db.db;
    // An empty store is nothing to make here.
    let reading = open::store(db)?;
    // The folder first: a run that begins after this has no file in the list.
    let files = checkpoints(db);
    let mut files = leftovers(files, &reading.unfinished()?, limit);
    files.extend(store::left_behind(db).into_iter().map(|path| {
        let size = file_size(&path);
        (path, size)
    }));
    let mut weights = unneeded_weights(&reading, limit)?;
    let (sweep, in_store) = if args.dry_run {
        let sweep = reading.to_sweep(&before)?;
        let freed = sweep.superseded.iter().map(|s| s.bytes).sum();
        (sweep, freed)
    } else {
        drop(reading);
        let store = Store::open(db)?;
        let size = || ["", "-wal"].iter().map(|end| file_size(&with_end(db, end))).sum::<u64>();
        let held = size();
        // The files first: their room may be what the sweeping needs.
        for (path, _) in &files {
            match std::fs::remove_file(path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    let message = format!("{}: {}", path.display(), crate::explain_io(&e));
                    return Err(Failure { exit: Exit::Failed, message });
                }
                _ => {}
            }
        }
        let sweep = store.sweep(&before)?;
        // Those of superseded runs are among them now.
        weights = unneeded_weights(&store, limit)?;
        for (path, _) in &weights {
            let _ = std::fs::remove_file(path);
        }
        // Only where nothing is left in them.
        let _ = std::fs::remove_dir(checkpoint::folder(db));
        let _ = std::fs::remove_dir(crate::runs::weights::folder(db));
        (sweep, held.saturating_sub(size()))
    };
    let in_files: u64 = files.iter().chain(&weights).map(|(_, size)| size).sum();
    if args.store.json {
        let weights: Vec<_> = weights.iter().map(|(path, size)| json!({ "path": path, "bytes": size })).collect();
        let files: Vec<_> = files.iter().map(|(path, size)| json!({ "path": path, "bytes": size })).collect();
        print_json(&json!({
            "dry_run": args.dry_run,
            "checkpoints": files,
            "weights": weights,
            "superseded": sweep.superseded,
            "orphans": sweep.orphans,
            "bytes": in_files + in_store,
        }))?;
    } else {
        print_text(&describe(&files, &weights, &sweep, in_files + in_store, args.dry_run))?;
    }
    Ok(Exit::Done)
}

/// Files of weights that no run needs, as old as was asked for.
fn unneeded_weights(store: &Store, limit: SystemTime) -> Result<Vec<Leftover>, Failure> {
    let mut files = crate::runs::weights::unneeded(store)?;
    files.retain(|(path, _)| path.metadata().and_then(|m| m.modified()).is_ok_and(|at| at <= limit));
    Ok(files)
}

fn describe(files: &[Leftover], weights: &[Leftover], sweep: &Sweep, freed: u64, dry: bool) -> String {
    let mut out = String::new();
    for (path, size) in files {
        let what = if path.to_string_lossy().ends_with(".backup.part") { "part" } else { "checkpoint" };
        out += &format!("{what:<11} {}  {}\n", path.display(), bytes(*size));
    }
    for (path, size) in weights {
        out += &format!("weights     {}  {}\n", path.display(), bytes(*size));
    }
    for s in &sweep.superseded {
        let seed = s.seed.map_or_else(String::new, |s| format!(" seed {s}"));
        out += &format!("superseded  {} {}{seed}, by {}\n", open::short(&s.run), s.key, open::short(&s.by));
    }
    for (table, rows) in &sweep.orphans {
        out += &format!("orphans     {rows} rows of {table}\n");
    }
    if out.is_empty() {
        out += "nothing to delete\n";
    }
    out + &if dry { format!("would free at least {}\n", bytes(freed)) } else { format!("freed {}\n", bytes(freed)) }
}

/// The files in the checkpoints' folder.
fn checkpoints(db: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(checkpoint::folder(db)).into_iter().flatten().flatten();
    entries.map(|e| e.path()).collect()
}

/// Checkpoints of runs that are done or unknown, and parts of ones that were never finished.
fn leftovers(files: Vec<PathBuf>, unfinished: &BTreeSet<String>, limit: SystemTime) -> Vec<Leftover> {
    let mut out = Vec::new();
    for path in files {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (Ok(metadata), Some((run, end))) = (path.metadata(), name.split_once('.')) else { continue };
        let needed = match end.strip_suffix(".part") {
            // RUN.WRITER-PID.part is being written as long as that process lives.
            Some(writer) => {
                let pid = writer.rsplit('-').next().unwrap_or(writer);
                pid.parse().is_ok_and(crate::runs::environment::process_runs)
            }
            None => end != "safetensors" || unfinished.contains(run),
        };
        if metadata.is_file() && !needed && metadata.modified().is_ok_and(|at| at <= limit) {
            out.push((path, metadata.len()));
        }
    }
    out.sort();
    out
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

fn file_size(path: &Path) -> u64 {
    path.metadata().map_or(0, |m| m.len())
}

/// `30d`, `12h`, `45m`.
fn age(text: &str) -> Result<Duration, Failure> {
    let wrong = || Failure::usage(format!("--older-than {text}: should be a number and d, h or m, such as 30d"));
    let unit = match text.chars().last() {
        Some('d') => 86_400,
        Some('h') => 3600,
        Some('m') => 60,
        _ => return Err(wrong()),
    };
    let count: u32 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    Ok(Duration::from_secs(u64::from(count) * unit))
}
