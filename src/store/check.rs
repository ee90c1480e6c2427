//! Whether the file is whole: SQLite's own checks, the hash of every blob, and that every finished run has what a report
//! needs. Goes on after each thing it finds, so that one learns what can still be read.

use super::{Error, Store, VERSION};
use serde::Serialize;

/// What a check of the file found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Check {
    /// Runs looked at.
    pub runs: usize,
    /// Blobs whose hash was recomputed.
    pub blobs: usize,
    /// What is wrong.
    pub damage: Vec<Damage>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Damage {
    /// The run, where it is about one.
    pub run: Option<String>,
    /// Its cell and seed.
    pub name: Option<String>,
    /// What.
    pub what: String,
}

/// What is said of a run whose numbers do not match their hash.
pub(super) const CHANGED: &str = "its epochs, values or scores are not those that it was finished with";

/// Lines of SQLite's report that are shown.
const LINES: usize = 20;

struct Checked {
    id: String,
    name: String,
    kind: String,
    state: String,
    spec: String,
    seed: Option<i64>,
    view: i64,
    hash: Option<String>,
}

impl Store {
    /// Checks everything that can be checked without the data set. An error is a file that cannot be read at all.
    pub fn check(&self) -> Result<Check, Error> {
        let mut check = Check::default();
        let add = |check: &mut Check, what: String| check.damage.push(Damage { run: None, name: None, what });
        match self.rows(sqlx::query("PRAGMA integrity_check(100)")) {
            Ok(rows) => {
                let lines: Vec<String> = rows.iter().map(|r| self.get(r, 0)).collect::<Result<_, _>>()?;
                let wrong: Vec<&String> = lines.iter().filter(|l| *l != "ok").collect();
                wrong.iter().take(LINES).for_each(|l| add(&mut check, format!("integrity: {}", l.trim())));
                if wrong.len() > LINES {
                    add(&mut check, format!("integrity: {} more", wrong.len() - LINES));
                }
            }
            Err(e) => add(&mut check, format!("integrity: {}", why(&e))),
        }
        if let Some(what) = self.cut_off()? {
            add(&mut check, what);
        }
        match self.rows(sqlx::query("PRAGMA foreign_key_check")) {
            Ok(rows) => {
                for row in rows.iter().take(LINES) {
                    let (table, parent): (String, String) = (self.get(row, 0)?, self.get(row, 2)?);
                    add(&mut check, format!("a row of {table} refers to a row of {parent} that is not there"));
                }
            }
            Err(e) => add(&mut check, format!("references: {}", why(&e))),
        }
        match self.checked_runs() {
            Ok(runs) => {
                for run in &runs {
                    check.runs += 1;
                    for what in self.check_run(run, &mut check.blobs) {
                        check.damage.push(Damage { run: Some(run.id.clone()), name: Some(run.name.clone()), what });
                    }
                }
            }
            Err(e) => add(&mut check, format!("the list of runs: {}", why(&e))),
        }
        match self.experiment_names() {
            Ok(names) => {
                for name in names {
                    if let Err(e) = self.latest_experiment(&name) {
                        add(&mut check, format!("experiment {name:?}: {}", why(&e)));
                    }
                }
            }
            Err(e) => add(&mut check, format!("the experiments: {}", why(&e))),
        }
        Ok(check)
    }

    /// SQLite's quick check: `None` where it finds nothing.
    pub fn quick_check(&self) -> Result<Option<String>, Error> {
        let rows = self.rows(sqlx::query("PRAGMA quick_check(1)"))?;
        let line: String = rows.first().map_or_else(|| Ok("no answer".into()), |r| self.get(r, 0))?;
        Ok((line != "ok").then_some(line))
    }

    fn numbers_hash(&self, id: &str) -> Result<String, Error> {
        let hash = async {
            let mut connection = self.readers.acquire().await?;
            super::run_hash::hash(&mut connection, "main", id).await
        };
        self.runtime.block_on(hash).map_err(|e| Error::of_sqlx(&self.path, e))
    }

    /// Whether the file ends in the middle of a page, which SQLite takes for a page of zeros where it only looks.
    pub(super) fn cut_off(&self) -> Result<Option<String>, Error> {
        let rows = self.rows(sqlx::query("PRAGMA page_size"))?;
        let page: i64 = rows.first().map_or(Ok(0), |r| self.get(r, 0))?;
        let length = self.path.metadata().map_or(0, |m| m.len());
        let cut = page > 0 && !length.is_multiple_of(page.unsigned_abs());
        Ok(cut.then(|| format!("the file is cut off: {length} bytes are no whole number of pages of {page}")))
    }

    fn checked_runs(&self) -> Result<Vec<Checked>, Error> {
        let rows = self.rows(sqlx::query(
            "SELECT id, key, seed, kind, state, spec, view_id, numbers_hash FROM run ORDER BY rowid",
        ))?;
        rows.iter()
            .map(|r| {
                let (key, seed): (String, Option<i64>) = (self.get(r, 1)?, self.get(r, 2)?);
                Ok(Checked {
                    id: self.get(r, 0)?,
                    name: seed.map_or(key.clone(), |s| format!("{key} seed {}", s as u64)),
                    seed,
                    kind: self.get(r, 3)?,
                    state: self.get(r, 4)?,
                    spec: self.get(r, 5)?,
                    view: self.get(r, 6)?,
                    hash: self.get(r, 7)?,
                })
            })
            .collect()
    }

    /// What is wrong with one run.
    fn check_run(&self, run: &Checked, blobs: &mut usize) -> Vec<String> {
        let mut wrong = Vec::new();
        // The id is the hash of what the run depends on; it is made again from the text that is stored.
        if !names(&run.id, &run.spec, run.seed) {
            wrong.push("its id is not the fingerprint of what it says that it depends on".into());
        }
        let kinds = self.score_kinds(&run.id).unwrap_or_else(|e| {
            wrong.push(why(&e));
            Vec::new()
        });
        if run.state == "done" && kinds.is_empty() {
            wrong.push("it is done and has no scores".into());
        }
        if run.state == "done" && run.kind == "bank" && matches!(self.bank(&run.id), Ok(None)) {
            wrong.push("it is done and has no SVM bank".into());
        }
        let clips = match self.view(run.view) {
            Ok(view) => Some(view.val.clips.len()),
            Err(e) => {
                wrong.push(why(&e));
                None
            }
        };
        for what in kinds {
            *blobs += 1;
            match self.scores(&run.id, &what) {
                Ok(Some(scores)) => {
                    if clips.is_some_and(|n| n != scores.clips()) {
                        let n = clips.unwrap_or_default();
                        wrong.push(format!("scores {what:?}: {} rows for {n} val clips", scores.clips()));
                    }
                    if scores.values.iter().any(|p| !p.is_finite()) {
                        wrong.push(format!("scores {what:?}: not all are numbers"));
                    }
                }
                Ok(None) => wrong.push(format!("scores {what:?} cannot be found by their run")),
                Err(e) => wrong.push(why(&e)),
            }
        }
        match self.bank(&run.id) {
            Ok(bank) => *blobs += usize::from(bank.is_some()),
            Err(e) => wrong.push(why(&e)),
        }
        match self.curve(&run.id) {
            Ok(curve) => {
                let last = curve.last().map_or(0, |e| e.epoch);
                if curve.len() != last {
                    wrong.push(format!("epochs: {} of {last} are there", curve.len()));
                }
            }
            Err(e) => wrong.push(format!("epochs: {}", why(&e))),
        }
        // What is named already needs no second word.
        if let (true, "done", Some(hash)) = (wrong.is_empty(), run.state.as_str(), &run.hash) {
            match self.numbers_hash(&run.id) {
                Ok(found) if found != *hash => wrong.push(CHANGED.into()),
                Ok(_) => {}
                Err(e) => wrong.push(why(&e)),
            }
        }
        match self.run(&run.id) {
            Ok(Some(found)) if run.state == "done" && found.values.is_empty() => wrong.push("it has no values".into()),
            Ok(Some(_)) => {}
            Ok(None) => wrong.push("it cannot be found by its id".into()),
            Err(e) => wrong.push(why(&e)),
        }
        wrong
    }

    /// The version of the file's schema; it is this program's wherever a store could be opened.
    pub fn schema_version(&self) -> i64 {
        VERSION
    }
}

/// Whether `id` is the fingerprint of a run's specification, as it is stored, and seed.
pub(super) fn names(id: &str, spec: &str, seed: Option<i64>) -> bool {
    let text = match seed {
        None => spec.to_string(),
        Some(seed) => format!("{spec} seed {}", seed as u64),
    };
    blake3::hash(text.as_bytes()).to_hex().get(..32) == Some(id)
}

/// An error without the file's name, which is told once.
fn why(error: &Error) -> String {
    match error {
        Error::Damaged { why, .. } => why.clone(),
        other => other.to_string().lines().next().unwrap_or_default().into(),
    }
}
