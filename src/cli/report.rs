//! `unmute report`.

use super::args::ReportArgs;
use super::progress::say;
use super::{Exit, Failure, open, print};
use crate::report::html::{self, Request};
use crate::store::{Check, DatasetRecord, Pick};
use std::io::Write;
use std::path::{Path, PathBuf};

pub(super) fn report(args: &ReportArgs) -> Result<Exit, Failure> {
    let store = open::store(&args.db.db)?;
    let recorded = open::recorded(&store, &args.experiment, &args.pick.pick())?;
    recorded.tell();
    let other = args.against.as_ref().map(|db| open::store(db)).transpose()?;
    let against = match &other {
        Some(other) => Some((other, open::recorded(other, &args.experiment, &Pick::default())?.record)),
        None => None,
    };
    let damage = damage(&store.check()?);
    if let Some(first) = damage.first() {
        let more = if damage.len() > 1 { format!(", and {} more", damage.len() - 1) } else { String::new() };
        say(&format!("warning: this store does not verify, and the report says so: {first}{more}"));
        say(&format!("next: unmute verify --db {} tells all", store.path().display()));
    }
    let page = html::render(&Request {
        store: &store,
        experiment: &recorded.record,
        departures: &recorded.departures,
        damage: &damage,
        against: against.as_ref().map(|(store, record)| (*store, record)),
        anonymous: args.anonymous,
    })?;
    let dataset = store.dataset(recorded.record.dataset_id)?;
    let failed = |path: &Path, e: &std::io::Error| Failure {
        exit: Exit::Failed,
        message: format!("{}: {}\n  next: give another folder with --out DIR", path.display(), crate::explain_io(e)),
    };
    std::fs::create_dir_all(&args.out).map_err(|e| failed(&args.out, &e))?;
    let name = match (&args.pick.variant, recorded.variant.latest) {
        (Some(_), false) => format!("{}.{}", recorded.record.name, recorded.variant.number),
        _ => recorded.record.name.clone(),
    };
    let path = place(&args.out, &name, &dataset);
    write_whole(&path, page.as_bytes()).map_err(|e| failed(&path, &e))?;
    say("the report, to be opened in a browser:");
    print(&format!("{}\n", path.display()))?;
    Ok(Exit::Done)
}

/// Damage that is told in a report, at most.
const TOLD: usize = 10;

/// What `verify` finds wrong, a line each.
fn damage(check: &Check) -> Vec<String> {
    let line = |d: &crate::store::Damage| match (&d.name, &d.run) {
        (Some(name), Some(run)) => format!("{name} ({}): {}", open::short(run), d.what),
        _ => d.what.clone(),
    };
    let mut lines: Vec<String> = check.damage.iter().take(TOLD).map(line).collect();
    if check.damage.len() > TOLD {
        lines.push(format!("and {} more", check.damage.len() - TOLD));
    }
    lines
}

/// Where the report goes: `NAME.html`, unless the one that is there is of another data set, which is not overwritten.
fn place(out: &Path, name: &str, dataset: &DatasetRecord) -> PathBuf {
    let plain = |text: &str| -> String {
        let kept = |c: char| if c.is_alphanumeric() || "-_~@".contains(c) { c } else { '_' };
        text.chars().map(|c| if c == '.' { c } else { kept(c) }).collect::<String>().trim_start_matches('.').into()
    };
    let first = out.join(format!("{}.html", plain(name)));
    let fingerprint = dataset.fingerprint.get(..8).unwrap_or(&dataset.fingerprint);
    match html::data_of(&first) {
        Some(other) if other != dataset.fingerprint => {
            out.join(format!("{}@{}-{fingerprint}.html", plain(name), plain(&dataset.manifest.name)))
        }
        _ => first,
    }
}

/// Writes a file whole or not at all: a browser may have the old one open. Nothing is left of what fails.
fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let part = path.with_extension(format!("{}.part", std::process::id()));
    // What a killed process of the same number left; a link that stands there is not followed.
    let _ = std::fs::remove_file(&part);
    let write = || {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&part, path)
    };
    let written = write();
    if written.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_written_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.html");
        write_whole(&path, b"one").unwrap();
        // A folder that is not empty cannot be replaced by a file.
        let folder = dir.path().join("b.html");
        std::fs::create_dir_all(folder.join("c")).unwrap();
        assert!(write_whole(&folder, b"two").is_err());
        let names: Vec<String> =
            std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        assert!(names.len() == 2 && names.iter().all(|n| n.ends_with(".html")), "{names:?}");
    }
}
