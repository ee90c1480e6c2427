//! What is wrong with what a store holds, row by row: every hash is made again, what follows from something else (a fingerprint
//! from its parts, an accuracy from scores) is worked out again, and what must be there is.

use super::records::{ScoredClips, SplitCounts, ValClips};
use super::row_hash::Table;
use super::{blob, recount, run_hash};
use crate::dataset::{Manifest, Split, fingerprint};
use crate::score::Scores;
use serde_json::{Map, Value};
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Row};
use std::collections::HashMap;
use std::sync::Arc;

/// What is said of a run whose numbers or identity do not match their hash.
pub(super) const CHANGED: &str = "its place, epochs, values or scores are not those that it was finished with";

/// A view as far as runs are held against it.
pub(super) struct Seen {
    /// The clips that are scored.
    pub(super) clips: ScoredClips,
    /// The data set's.
    manifest: Manifest,
    /// The view's.
    fingerprint: String,
    /// The data set's.
    data: String,
}

/// What of a run is looked at.
struct Run {
    id: String,
    cell: String,
    kind: String,
    seed: Option<i64>,
    view: i64,
    spec: Value,
    spec_text: String,
    done: bool,
    hash: Option<String>,
}

/// Looks at the rows of one store, open (`main`) or attached. What cannot be read is damage as well.
pub(super) struct Inspector<'c> {
    connection: &'c mut SqliteConnection,
    schema: &'static str,
    views: HashMap<i64, Option<Arc<Seen>>>,
    banks: HashMap<(String, Split), Option<Arc<Scores>>>,
    /// Blobs whose hash was made again.
    pub(super) blobs: usize,
}

type Read<T> = Result<T, sqlx::Error>;

impl<'c> Inspector<'c> {
    /// Of the store that is `main` or `other` on a connection.
    pub(super) fn new(connection: &'c mut SqliteConnection, schema: &'static str) -> Inspector<'c> {
        Inspector { connection, schema, views: HashMap::new(), banks: HashMap::new(), blobs: 0 }
    }

    /// The connection that it looks through.
    pub(super) fn connection(&mut self) -> &mut SqliteConnection {
        self.connection
    }

    /// Rows of a table with what names them to a reader.
    pub(super) async fn list(&mut self, table: Table) -> Result<Vec<(i64, String)>, sqlx::Error> {
        let name = if table == Table::View { "substr(fingerprint, 1, 12)" } else { "name" };
        let sql = format!("SELECT id, {name} FROM {}.{} ORDER BY id", self.schema, table.name());
        let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut *self.connection).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
    }

    async fn rows(&mut self, sql: &str, id: &str) -> Read<Vec<SqliteRow>> {
        let sql = sql.replace("{}", self.schema);
        sqlx::query(AssertSqlSafe(sql)).bind(id).fetch_all(&mut *self.connection).await
    }

    async fn row(&mut self, sql: &str, id: i64) -> Read<Option<SqliteRow>> {
        let sql = sql.replace("{}", self.schema);
        sqlx::query(AssertSqlSafe(sql)).bind(id).fetch_optional(&mut *self.connection).await
    }

    /// What is wrong with a row of a table whose rows have hashes.
    pub(super) async fn of_table(&mut self, table: Table, id: i64) -> Vec<String> {
        let found = match table {
            Table::Dataset => self.dataset(id).await,
            Table::View => self.view(id).await,
            Table::Experiment => self.experiment(id).await,
        };
        let mut wrong = found.unwrap_or_else(|e| vec![why(&e)]);
        // What is named already needs no second word.
        if wrong.is_empty() {
            match table.holds(self.connection, self.schema, id).await {
                Ok(true) => {}
                Ok(false) => wrong.push(match table {
                    Table::Experiment => "it or its cells are not what was recorded".into(),
                    _ => "it is not what was recorded".into(),
                }),
                Err(e) => wrong.push(why(&e)),
            }
        }
        wrong
    }

    async fn dataset(&mut self, id: i64) -> Read<Vec<String>> {
        let sql = "SELECT fingerprint, name, kind, manifest, files FROM {}.dataset WHERE id = ?";
        let Some(row) = self.row(sql, id).await? else { return Ok(vec!["it is not there".into()]) };
        let mut wrong = Vec::new();
        let (name, kind): (&str, &str) = (row.try_get(1)?, row.try_get(2)?);
        let manifest: Result<Manifest, _> = serde_json::from_str(row.try_get(3)?);
        let files: Result<Map<String, Value>, _> = serde_json::from_str(row.try_get(4)?);
        let (manifest, files) = match (manifest, files) {
            (Ok(manifest), Ok(files)) => (manifest, files),
            (Err(e), _) => return Ok(vec![format!("its manifest cannot be read: {e}")]),
            (_, Err(e)) => return Ok(vec![format!("its files cannot be read: {e}")]),
        };
        if name != manifest.name || serde_json::json!(manifest.kind) != kind {
            wrong.push("its name or kind is not that of its manifest".into());
        }
        let hash = manifest.content_hash();
        if files.get(Manifest::FILE).and_then(Value::as_str) != Some(&hash) {
            wrong.push(format!("its manifest is not the {} that its fingerprint is of", Manifest::FILE));
        }
        let files: Vec<(String, String)> =
            files.into_iter().map(|(file, hash)| (file, hash.as_str().unwrap_or_default().into())).collect();
        if fingerprint(&files) != row.try_get::<&str, _>(0)? {
            wrong.push("its fingerprint is not that of its files".into());
        }
        Ok(wrong)
    }

    async fn view(&mut self, id: i64) -> Read<Vec<String>> {
        let sql = "SELECT counts, val, val_hash FROM {}.view WHERE id = ?";
        let Some(row) = self.row(sql, id).await? else { return Ok(vec!["it is not there".into()]) };
        let counts: SplitCounts = match serde_json::from_str(row.try_get(0)?) {
            Ok(counts) => counts,
            Err(e) => return Ok(vec![format!("its counts cannot be read: {e}")]),
        };
        let seen = match scored_clips(row.try_get(1)?, row.try_get(2)?, counts) {
            Err(why) => return Ok(vec![why]),
            Ok(clips) => clips,
        };
        let count = |clips: &ValClips| {
            let sounded = clips.sounded.iter().filter(|s| **s).count();
            (sounded, clips.clips.len() - sounded)
        };
        if counts.val != count(&seen.val) || counts.test != seen.test.as_ref().map(count) {
            return Ok(vec!["its counts are not those of its val clips".into()]);
        }
        match self.seen(id).await? {
            None => Ok(vec!["its data set is not there, or does not have its labels".into()]),
            Some(_) => Ok(Vec::new()),
        }
    }

    async fn experiment(&mut self, id: i64) -> Read<Vec<String>> {
        let sql = "SELECT e.digest, e.config, d.fingerprint FROM {}.experiment e
             LEFT JOIN {}.dataset d ON d.id = e.dataset_id WHERE e.id = ?";
        let Some(row) = self.row(sql, id).await? else { return Ok(vec!["it is not there".into()]) };
        let config: Value = match serde_json::from_str(row.try_get(1)?) {
            Ok(config) => config,
            Err(e) => return Ok(vec![format!("its configuration cannot be read: {e}")]),
        };
        let Some(data) = row.try_get::<Option<&str>, _>(2)? else {
            return Ok(vec!["its data set is not there".into()]);
        };
        let same = experiment_digest(config, data) == row.try_get::<&str, _>(0)?;
        Ok(if same { Vec::new() } else { vec!["its digest is not that of its configuration and data set".into()] })
    }

    /// A view that can be used, whatever else is wrong with it.
    async fn seen(&mut self, id: i64) -> Read<Option<Arc<Seen>>> {
        if let Some(known) = self.views.get(&id) {
            return Ok(known.clone());
        }
        let sql = "SELECT v.counts, v.val, v.val_hash, v.fingerprint, d.fingerprint, d.manifest FROM {}.view v
             JOIN {}.dataset d ON d.id = v.dataset_id WHERE v.id = ?";
        let seen = match self.row(sql, id).await? {
            None => None,
            Some(row) => {
                let manifest: Option<Manifest> = serde_json::from_str(row.try_get(5)?).ok();
                let counts = serde_json::from_str(row.try_get(0)?).ok();
                let val =
                    counts.and_then(|counts| scored_clips(row.try_get(1).ok()?, row.try_get(2).ok()?, counts).ok());
                let labelled = |m: &Manifest, c: &ScoredClips| {
                    let mut labels = c.val.labels.iter().chain(c.test.iter().flat_map(|test| &test.labels));
                    labels.all(|l| *l < m.classes.len())
                };
                match (manifest, val) {
                    (Some(manifest), Some(clips)) if labelled(&manifest, &clips) => {
                        Some(Arc::new(Seen { clips, manifest, fingerprint: row.try_get(3)?, data: row.try_get(4)? }))
                    }
                    _ => None,
                }
            }
        };
        self.views.insert(id, seen.clone());
        Ok(seen)
    }

    /// What is wrong with a run.
    pub(super) async fn run(&mut self, id: &str) -> Vec<String> {
        self.look_at_run(id).await.unwrap_or_else(|e| vec![why(&e)])
    }

    async fn look_at_run(&mut self, id: &str) -> Read<Vec<String>> {
        let sql = "SELECT id, cell, kind, seed, view_id, spec, state, numbers_hash FROM {}.run WHERE id = ?";
        let rows = self.rows(sql, id).await?;
        let Some(row) = rows.first() else { return Ok(vec!["it cannot be found by its id".into()]) };
        let text: String = row.try_get(5)?;
        let run = Run {
            id: row.try_get(0)?,
            cell: row.try_get(1)?,
            kind: row.try_get(2)?,
            seed: row.try_get(3)?,
            view: row.try_get(4)?,
            spec: serde_json::from_str(&text).unwrap_or_default(),
            spec_text: text,
            done: row.try_get::<&str, _>(6)? == "done",
            hash: row.try_get(7)?,
        };
        let seen = self.seen(run.view).await?;
        let mut wrong = places(&run, seen.as_deref());
        let scores = self.scores(&run, seen.as_deref(), &mut wrong).await?;
        self.bank(&run, seen.as_deref(), &mut wrong).await?;
        self.curve(&run, &mut wrong).await?;
        let values = self.values(&run, &mut wrong).await?;
        // What is named already needs no second word.
        if !wrong.is_empty() || !run.done {
            return Ok(wrong);
        }
        match &run.hash {
            None => wrong.push("it is done and its numbers have no hash".into()),
            Some(hash) if run_hash::hash(self.connection, self.schema, &run.id).await? != *hash => {
                return Ok(vec![CHANGED.into()]);
            }
            Some(_) => {}
        }
        if let Some(seen) = &seen {
            let real =
                [self.real(&run, &scores, seen, Split::Val).await?, self.real(&run, &scores, seen, Split::Test).await?];
            let of_split = |split: Split| real[usize::from(split == Split::Test)].clone();
            let again = recount::accuracies(&scores, &of_split, &seen.clips);
            wrong.extend(recount::differing(&values, &again));
        }
        Ok(wrong)
    }

    async fn scores(
        &mut self,
        run: &Run,
        seen: Option<&Seen>,
        wrong: &mut Vec<String>,
    ) -> Read<HashMap<String, Scores>> {
        let sql = "SELECT what, clips, classes, present, blob, hash FROM {}.score WHERE run_id = ? ORDER BY what";
        let rows = self.rows(sql, &run.id).await?;
        if run.done && rows.is_empty() {
            wrong.push("it is done and has no scores".into());
        }
        let mut all = HashMap::new();
        for row in &rows {
            self.blobs += 1;
            let what: String = row.try_get(0)?;
            let bad = |why: String| format!("scores {what:?}: {why}");
            match scores_of(row, &what, seen)? {
                Ok(scores) => match scores.values.iter().position(|p| !p.is_finite()) {
                    None => drop(all.insert(what, scores)),
                    Some(at) => wrong.push(bad(not_finite(at, &scores, &what, seen))),
                },
                Err(why) => wrong.push(bad(why)),
            }
        }
        Ok(all)
    }

    async fn bank(&mut self, run: &Run, seen: Option<&Seen>, wrong: &mut Vec<String>) -> Read<()> {
        let rows = self.rows("SELECT classes, width, fits, blob, hash FROM {}.bank WHERE run_id = ?", &run.id).await?;
        let Some(row) = rows.first() else {
            if run.done && run.kind == "bank" {
                wrong.push("it is done and has no SVM bank".into());
            }
            return Ok(());
        };
        self.blobs += 1;
        let audio = run.spec["part"]["audio"].as_str().unwrap_or_default();
        let known = seen.and_then(|s| Some((s.manifest.classes.len(), s.manifest.audio(audio)?.width)));
        let bank = blob::bank(row.try_get(3)?, row.try_get(4)?, (row.try_get(0)?, row.try_get(1)?), known);
        match bank {
            Err(why) => wrong.push(format!("SVM bank: {why}")),
            Ok((numbers, sigmoids)) => {
                let finite = numbers.iter().all(|v| v.is_finite())
                    && sigmoids.iter().all(|(a, b)| a.is_finite() && b.is_finite());
                if !finite {
                    wrong.push("SVM bank: not all of its numbers are finite".into());
                }
            }
        }
        Ok(())
    }

    async fn curve(&mut self, run: &Run, wrong: &mut Vec<String>) -> Read<()> {
        let sql = "SELECT epoch, split, loss, loss_cls, loss_rec, accuracy, feature_error FROM {}.epoch
             WHERE run_id = ? ORDER BY epoch, split";
        let rows = self.rows(sql, &run.id).await?;
        let mut epochs: Vec<i64> = rows.iter().map(|row| row.try_get(0)).collect::<Read<_>>()?;
        epochs.dedup();
        let last = epochs.last().copied().unwrap_or(0);
        if epochs.len() as i64 != last {
            wrong.push(format!("epochs: {} of {last} are there", epochs.len()));
        }
        for row in &rows {
            let numbers: Vec<Option<f64>> = (2..7).map(|i| row.try_get(i)).collect::<Read<_>>()?;
            if numbers.iter().flatten().any(|v| !v.is_finite()) {
                wrong.push(format!("epoch {}: not all of its numbers are finite", row.try_get::<i64, _>(0)?));
            }
        }
        Ok(())
    }

    async fn values(&mut self, run: &Run, wrong: &mut Vec<String>) -> Read<HashMap<String, f64>> {
        let rows = self.rows("SELECT name, value FROM {}.value WHERE run_id = ?", &run.id).await?;
        let values: HashMap<String, f64> =
            rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect::<Read<_>>()?;
        if run.done && values.is_empty() {
            wrong.push("it has no values".into());
        }
        for (name, _) in values.iter().filter(|(_, value)| !value.is_finite()) {
            wrong.push(format!("its {name} is not finite"));
        }
        Ok(values)
    }

    /// Scores of real audio that a run's accuracies were counted with: its own, or those of the SVM bank that it was scored
    /// with.
    async fn real(
        &mut self,
        run: &Run,
        own: &HashMap<String, Scores>,
        seen: &Seen,
        split: Split,
    ) -> Read<Option<Arc<Scores>>> {
        let what = format!("{}real", split.prefix());
        if let Some(real) = own.get(&what) {
            return Ok(Some(Arc::new(real.clone())));
        }
        let Some(bank) = recount::bank_id(&run.spec) else { return Ok(None) };
        if let Some(known) = self.banks.get(&(bank.clone(), split)) {
            return Ok(known.clone());
        }
        let sql = "SELECT s.what, s.clips, s.classes, s.present, s.blob, s.hash FROM {}.score s
             JOIN {}.run r ON r.id = s.run_id WHERE s.run_id = ? AND r.state = 'done'";
        let rows = self.rows(sql, &bank).await?;
        let mut real = None;
        for row in &rows {
            if row.try_get::<&str, _>(0)? == what {
                real = scores_of(row, &what, Some(seen))?.ok().map(Arc::new);
            }
        }
        self.banks.insert((bank, split), real.clone());
        Ok(real)
    }
}

/// Whether a run is the one that its id, cell, kind and view say.
fn places(run: &Run, seen: Option<&Seen>) -> Vec<String> {
    let mut wrong = Vec::new();
    if !names(&run.id, &run.spec_text, run.seed) {
        wrong.push("its id is not the fingerprint of what it says that it depends on".into());
    }
    if !names(&run.cell, &run.spec_text, None) {
        wrong.push("its cell is not the fingerprint of what it says that it depends on".into());
    }
    if run.spec["part"]["kind"].as_str() != Some(&run.kind) {
        wrong.push("its kind is not that of what it says that it depends on".into());
    }
    let Some(seen) = seen else {
        wrong.push(format!("its view {} cannot be used", run.view));
        return wrong;
    };
    // Sound plays no part in the heads of streams: theirs is the data set.
    let data = if run.kind == "stream" { &seen.data } else { &seen.fingerprint };
    if run.spec["data"].as_str() != Some(data) {
        wrong.push(format!("view {} is not the data that it says that it depends on", run.view));
    }
    wrong
}

/// Whether `id` is the fingerprint of a run's specification, as it is stored, and seed (of a cell: without one).
pub(super) fn names(id: &str, spec: &str, seed: Option<i64>) -> bool {
    let text = match seed {
        None => spec.to_string(),
        Some(seed) => format!("{spec} seed {}", seed as u64),
    };
    blake3::hash(text.as_bytes()).to_hex().get(..32) == Some(id)
}

/// A row of `score` (what, clips, classes, present, blob, hash), or what is wrong with it.
fn scores_of(row: &SqliteRow, what: &str, seen: Option<&Seen>) -> Read<Result<Scores, String>> {
    let shape = |i: usize| Ok::<_, sqlx::Error>(usize::try_from(row.try_get::<i64, _>(i)?).unwrap_or(usize::MAX));
    let (clips, classes) = (shape(1)?, shape(2)?);
    if let Some(seen) = seen {
        let expected = (seen.clips.of_scores(what).clips.len(), seen.manifest.classes.len());
        if (clips, classes) != expected {
            let ((n, k), split) = (expected, Split::of_name(what).0.name());
            return Ok(Err(format!(
                "{clips} x {classes} numbers, where its data set has {n} {split} clips and {k} classes"
            )));
        }
    }
    Ok(blob::scores(row.try_get(4)?, row.try_get(5)?, row.try_get(3)?, (clips, classes)))
}

/// Where a score is not finite.
fn not_finite(at: usize, scores: &Scores, what: &str, seen: Option<&Seen>) -> String {
    let (clip, class) = (at / scores.classes.max(1), at % scores.classes.max(1));
    let name = seen.and_then(|s| s.clips.of_scores(what).clips.get(clip).cloned());
    let clip = name.unwrap_or_else(|| clip.to_string());
    let class = seen.and_then(|s| s.manifest.classes.get(class).cloned()).unwrap_or_else(|| class.to_string());
    format!("{} for clip {clip:?} and class {class:?}", scores.values[at])
}

/// The clips of a view that are scored, from its blob.
pub(super) fn scored_clips(packed: &[u8], hash: Option<&str>, counts: SplitCounts) -> Result<ScoredClips, String> {
    match hash {
        None => return Err("its val clips have no hash".into()),
        Some(hash) if blake3::hash(packed).to_hex().as_str() != hash => {
            return Err("its val clips do not match their hash".into());
        }
        Some(_) => {}
    }
    let all = [counts.val, counts.test.unwrap_or_default()];
    let text = blob::text(packed, all.iter().fold(0usize, |sum, (a, b)| sum.saturating_add(*a).saturating_add(*b)))?;
    let clips: ScoredClips = serde_json::from_slice(&text).map_err(|e| format!("its val clips cannot be read: {e}"))?;
    let even = |c: &ValClips| c.labels.len() == c.clips.len() && c.sounded.len() == c.clips.len();
    if !even(&clips.val) || !clips.test.iter().all(even) {
        return Err("its clips, labels and sounds are not equally many".into());
    }
    Ok(clips)
}

/// The digest of an experiment: over its configuration, less the seeds, and its data set.
pub(super) fn experiment_digest(mut config: Value, data: &str) -> String {
    if let Some(map) = config.as_object_mut() {
        map.remove("seeds");
    }
    blake3::hash(format!("{config}\n{data}").as_bytes()).to_hex().to_string()
}

/// An error of SQLite's without the file's name, which is told once.
pub(super) fn why(error: &sqlx::Error) -> String {
    error.as_database_error().map_or_else(|| error.to_string(), |e| e.message().to_string())
}
