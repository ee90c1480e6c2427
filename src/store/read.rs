//! Everything that is read from the store.

use super::records::*;
use super::select::{Query, RUN, Values};
use super::{Error, Store, blob, inspect};
use crate::dataset::Split;
use crate::score::Scores;
use crate::train::{Epoch, Measures};
use serde::de::DeserializeOwned;
use sqlx::sqlite::SqliteRow;
use sqlx::{ColumnIndex, Row};
use std::collections::BTreeMap;

impl Store {
    pub(super) fn damaged(&self, why: impl Into<String>) -> Error {
        Error::Damaged { path: self.path.clone(), why: why.into() }
    }

    pub(super) fn json<T: DeserializeOwned>(&self, text: &str, what: &str) -> Result<T, Error> {
        serde_json::from_str(text).map_err(|e| self.damaged(format!("{what}: {e}")))
    }

    pub(super) fn rows(&self, query: Query<'_>) -> Result<Vec<SqliteRow>, Error> {
        self.runtime.block_on(query.fetch_all(&self.readers)).map_err(self.fail())
    }

    /// A column of a row. A damaged file may hold anything in it.
    pub(super) fn get<'r, T>(&self, row: &'r SqliteRow, column: impl ColumnIndex<SqliteRow>) -> Result<T, Error>
    where
        T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
    {
        row.try_get(column).map_err(self.fail())
    }

    /// A size in a row.
    fn size(&self, row: &SqliteRow, column: usize) -> Result<usize, Error> {
        let size: i64 = self.get(row, column)?;
        usize::try_from(size).map_err(|_| self.damaged(format!("a size of {size}")))
    }

    /// Transactions of the store so far: where it is the same as before, nothing was written meanwhile.
    pub fn sequence(&self) -> Result<i64, Error> {
        let rows = self.rows(sqlx::query("SELECT sequence FROM store"))?;
        rows.first().map_or(Ok(0), |row| self.get(row, 0))
    }

    /// State of each of these runs that the store knows.
    pub fn states(&self) -> Result<BTreeMap<String, State>, Error> {
        let rows = self.rows(sqlx::query("SELECT id, state FROM run"))?;
        rows.iter().map(|r| Ok((self.get(r, 0)?, State::of_word(self.get(r, 1)?)))).collect()
    }

    /// The experiment of that name that was run last in this store, whatever the clocks of the machines said.
    pub fn latest_experiment(&self, name: &str) -> Result<Option<ExperimentRecord>, Error> {
        let rows = self.rows(
            sqlx::query("SELECT * FROM experiment WHERE name = ? ORDER BY used DESC, id DESC LIMIT 1").bind(name),
        )?;
        rows.first().map(|row| self.experiment(row)).transpose()
    }

    /// An experiment by row.
    pub(super) fn experiment_at(&self, id: i64) -> Result<ExperimentRecord, Error> {
        let rows = self.rows(sqlx::query("SELECT * FROM experiment WHERE id = ?").bind(id))?;
        let row = rows.first().ok_or_else(|| self.damaged(format!("no experiment {id}")))?;
        self.experiment(row)
    }

    /// Every experiment, the last used first.
    pub fn experiments(&self) -> Result<Vec<ExperimentRecord>, Error> {
        let rows = self.rows(sqlx::query("SELECT * FROM experiment ORDER BY used DESC, id DESC"))?;
        rows.iter().map(|row| self.experiment(row)).collect()
    }

    /// Names of all experiments, the last used first.
    pub fn experiment_names(&self) -> Result<Vec<String>, Error> {
        let rows = self.rows(sqlx::query("SELECT name FROM experiment GROUP BY name ORDER BY max(used) DESC"))?;
        rows.iter().map(|r| self.get(r, 0)).collect()
    }

    fn experiment(&self, row: &SqliteRow) -> Result<ExperimentRecord, Error> {
        let id: i64 = self.get(row, "id")?;
        let text = |column: &str| self.get::<String>(row, column);
        let declared: Option<String> = self.get(row, "declared")?;
        let cells = self.rows(sqlx::query("SELECT * FROM cell WHERE experiment_id = ? ORDER BY position").bind(id))?;
        Ok(ExperimentRecord {
            id,
            digest: text("digest")?,
            name: text("name")?,
            dataset_id: self.get(row, "dataset_id")?,
            config: self.json(&text("config")?, "experiment.config")?,
            sets: self.json(&text("sets")?, "experiment.sets")?,
            tables: self.json(&text("tables")?, "experiment.tables")?,
            claims: self.json(&text("claims")?, "experiment.claims")?,
            ledger: self.json(&text("ledger")?, "experiment.ledger")?,
            declared: declared.map(|text| self.json(&text, "experiment.declared")).transpose()?,
            used_at: text("used_at")?,
            cells: cells
                .iter()
                .map(|c| {
                    Ok(CellRecord {
                        key: self.get(c, "key")?,
                        part: self.json(&self.get::<String>(c, "part")?, "cell.part")?,
                        overrides: self.json(&self.get::<String>(c, "overrides")?, "cell.overrides")?,
                        view_id: self.get(c, "view_id")?,
                        fingerprint: self.get(c, "fingerprint")?,
                        skipped: self.get(c, "skipped")?,
                    })
                })
                .collect::<Result<_, Error>>()?,
        })
    }

    /// A data set by row.
    pub fn dataset(&self, id: i64) -> Result<DatasetRecord, Error> {
        let rows = self.rows(sqlx::query("SELECT * FROM dataset WHERE id = ?").bind(id))?;
        let row = rows.first().ok_or_else(|| self.damaged(format!("no data set {id}")))?;
        Ok(DatasetRecord {
            id,
            fingerprint: self.get(row, "fingerprint")?,
            manifest: self.json(&self.get::<String>(row, "manifest")?, "dataset.manifest")?,
            files: self.json(&self.get::<String>(row, "files")?, "dataset.files")?,
        })
    }

    /// A view by row.
    pub fn view(&self, id: i64) -> Result<ViewRecord, Error> {
        let rows = self.rows(sqlx::query("SELECT * FROM view WHERE id = ?").bind(id))?;
        let row = rows.first().ok_or_else(|| self.damaged(format!("no view {id}")))?;
        let counts: SplitCounts = self.json(&self.get::<String>(row, "counts")?, "view.counts")?;
        let hash: Option<&str> = self.get(row, "val_hash")?;
        let clips = inspect::scored_clips(self.get(row, "val")?, hash, counts)
            .map_err(|why| self.damaged(format!("view {id}: {why}")))?;
        let dataset_id = self.get(row, "dataset_id")?;
        let classes = self.dataset(dataset_id)?.manifest.classes.len();
        let super::records::ScoredClips { val, test } = clips;
        let mut labels = val.labels.iter().chain(test.iter().flat_map(|test| &test.labels));
        if let Some(label) = labels.find(|l| **l >= classes) {
            return Err(self.damaged(format!("view {id}: a label {label} of {classes} classes")));
        }
        Ok(ViewRecord {
            id,
            dataset_id,
            missing: self.get::<Option<String>>(row, "missing")?.map(|t| self.json(&t, "view.missing")).transpose()?,
            counts,
            val,
            test,
        })
    }

    /// Runs of a cell, by seed; only finished ones where `done`.
    pub fn runs_of_cell(&self, cell: &str, done: bool) -> Result<Vec<RunRecord>, Error> {
        let sql = format!("{RUN} WHERE run.cell = ? AND (run.state = 'done' OR NOT ?) ORDER BY run.seed");
        let rows = self.rows(sqlx::query(sqlx::AssertSqlSafe(sql)).bind(cell).bind(done))?;
        self.records(&rows, &Values::All)
    }

    /// A run by its whole id.
    pub fn run(&self, id: &str) -> Result<Option<RunRecord>, Error> {
        let rows = self.rows(sqlx::query(sqlx::AssertSqlSafe(format!("{RUN} WHERE run.id = ?"))).bind(id))?;
        Ok(self.records(&rows, &Values::All)?.pop())
    }

    pub(super) fn run_of(&self, row: &SqliteRow) -> Result<RunRecord, Error> {
        let missing: Option<String> = self.get(row, "missing")?;
        Ok(RunRecord {
            id: self.get(row, "id")?,
            cell: self.get(row, "cell")?,
            kind: self.get(row, "kind")?,
            key: self.get(row, "key")?,
            seed: self.get::<Option<i64>>(row, "seed")?.map(|s| s as u64),
            state: State::of_word(self.get(row, "state")?),
            attempt: self.get(row, "attempt")?,
            host: self.get(row, "host")?,
            pid: self.get(row, "pid")?,
            heartbeat_at: self.get(row, "heartbeat_at")?,
            worker: self.get(row, "worker")?,
            machine: self.get(row, "machine")?,
            created_at: self.get(row, "created_at")?,
            started_at: self.get(row, "started_at")?,
            finished_at: self.get(row, "finished_at")?,
            seconds: self.get(row, "seconds")?,
            peak_memory: self.get(row, "peak_memory")?,
            command: self.get(row, "command")?,
            spec: self.json(self.get::<&str>(row, "spec")?, "run.spec")?,
            error: self.get(row, "error")?,
            accepted_from: self.get(row, "accepted_from")?,
            dataset: self.get::<Option<String>>(row, "dataset")?.unwrap_or_default(),
            missing: missing.map(|text| self.json(&text, "view.missing")).transpose()?.unwrap_or_default(),
            environment_id: self.get(row, "environment_id")?,
            view_id: self.get(row, "view_id")?,
            values: BTreeMap::new(),
            tags: Vec::new(),
            notes: Vec::new(),
        })
    }

    /// The val clips (of scores of test clips, the test clips) and classes of a view, which the scores of its runs have.
    fn shape(&self, view: i64, what: &str) -> Result<(usize, usize), Error> {
        let of = |[val, test, classes]: [usize; 3]| match Split::of_name(what).0 {
            Split::Test => (test, classes),
            Split::Train | Split::Val => (val, classes),
        };
        if let Some(known) = self.shapes.lock().ok().and_then(|shapes| shapes.get(&view).copied()) {
            return Ok(of(known));
        }
        let record = self.view(view)?;
        let test = record.test.map_or(0, |test| test.clips.len());
        let shape = [record.val.clips.len(), test, self.dataset(record.dataset_id)?.manifest.classes.len()];
        if let Ok(mut shapes) = self.shapes.lock() {
            shapes.insert(view, shape);
        }
        Ok(of(shape))
    }

    /// A run's scores of one kind; `None` where it has none. Each of them is finite, and there is one for each val clip and
    /// class of its view.
    pub fn scores(&self, run: &str, what: &str) -> Result<Option<Scores>, Error> {
        let sql = "SELECT s.clips, s.classes, s.present, s.blob, s.hash, r.view_id
            FROM score s JOIN run r ON r.id = s.run_id WHERE s.run_id = ? AND s.what = ?";
        let rows = self.rows(sqlx::query(sql).bind(run).bind(what))?;
        let Some(row) = rows.first() else { return Ok(None) };
        let shape = (self.size(row, 0)?, self.size(row, 1)?);
        let bad = |why: String| self.damaged(format!("scores {what:?} of run {run}: {why}"));
        // Whoever reads scores indexes them by val clip and class; and what a stranger's row claims takes no memory.
        if shape != self.shape(self.get(row, 5)?, what)? {
            return Err(bad(format!("{} x {} do not fit its data set", shape.0, shape.1)));
        }
        let present: Option<&[u8]> = self.get(row, 2)?;
        let scores = blob::scores(self.get(row, 3)?, self.get(row, 4)?, present, shape).map_err(bad)?;
        match scores.values.iter().position(|p| !p.is_finite()) {
            None => Ok(Some(scores)),
            Some(at) => {
                let (clip, class) = (at / shape.1.max(1), at % shape.1.max(1));
                let value = scores.values[at];
                Err(bad(format!("{value} for val clip {} and class {}", clip + 1, class + 1)))
            }
        }
    }

    /// What a run has scores of: `real`, `generated`, `vision`; of test clips `test/real`, `test/generated`, `test/vision`.
    pub fn score_kinds(&self, run: &str) -> Result<Vec<String>, Error> {
        let rows = self.rows(sqlx::query("SELECT what FROM score WHERE run_id = ? ORDER BY what").bind(run))?;
        rows.iter().map(|r| self.get(r, 0)).collect()
    }

    /// A run's SVM bank; `None` where it has none.
    pub fn bank(&self, run: &str) -> Result<Option<BankRecord>, Error> {
        let sql = "SELECT b.classes, b.width, b.fits, b.blob, b.hash, r.view_id, json_extract(r.spec, '$.part.audio')
             FROM bank b JOIN run r ON r.id = b.run_id WHERE b.run_id = ?";
        let rows = self.rows(sqlx::query(sql).bind(run))?;
        let Some(row) = rows.first() else { return Ok(None) };
        let bad = |why: String| self.damaged(format!("SVM bank of run {run}: {why}"));
        let audio: Option<String> = self.get(row, 6)?;
        let manifest = self.dataset(self.view(self.get(row, 5)?)?.dataset_id)?.manifest;
        let known = audio.and_then(|audio| Some((manifest.classes.len(), manifest.audio(&audio)?.width)));
        let shape: (i64, i64) = (self.get(row, 0)?, self.get(row, 1)?);
        let (numbers, sigmoids) = blob::bank(self.get(row, 3)?, self.get(row, 4)?, shape, known).map_err(bad)?;
        let finite =
            numbers.iter().all(|v| v.is_finite()) && sigmoids.iter().all(|(a, b)| a.is_finite() && b.is_finite());
        if !finite {
            return Err(bad("not all of its numbers are finite".into()));
        }
        Ok(Some(BankRecord {
            classes: self.size(row, 0)?,
            width: self.size(row, 1)?,
            fits: self.json(&self.get::<String>(row, 2)?, "bank.fits")?,
            numbers,
            sigmoids,
        }))
    }

    /// A run's epochs, in order.
    pub fn curve(&self, run: &str) -> Result<Curve, Error> {
        let sql = "SELECT epoch, split, loss, loss_cls, loss_rec, accuracy, feature_error FROM epoch WHERE run_id = ? ORDER BY epoch, split";
        let mut curve: BTreeMap<i64, Epoch> = BTreeMap::new();
        for row in self.rows(sqlx::query(sql).bind(run))? {
            let number: i64 = self.get(&row, 0)?;
            let value = |i: usize| Ok::<_, Error>(self.get::<Option<f64>>(&row, i)?.unwrap_or(f64::NAN));
            let measures = Measures {
                loss: value(2)?,
                loss_cls: value(3)?,
                loss_rec: value(4)?,
                accuracy: value(5)?,
                feature_error: value(6)?,
            };
            let epoch = curve.entry(number).or_insert(Epoch {
                epoch: number as usize,
                train: Measures::default(),
                val: Measures::default(),
            });
            match self.get::<&str>(&row, 1)? {
                "train" => epoch.train = measures,
                _ => epoch.val = measures,
            }
        }
        Ok(curve.into_values().collect())
    }

    /// An environment by row.
    pub fn environment(&self, id: i64) -> Result<serde_json::Value, Error> {
        let rows = self.rows(sqlx::query("SELECT record FROM environment WHERE id = ?").bind(id))?;
        let row = rows.first().ok_or_else(|| self.damaged(format!("no environment {id}")))?;
        self.json(&self.get::<String>(row, 0)?, "environment.record")
    }

    /// The data set behind each view, by the view's row.
    pub fn data_of_views(&self) -> Result<BTreeMap<i64, ViewData>, Error> {
        let rows = self.rows(sqlx::query(
            "SELECT v.id, d.name, d.fingerprint, d.files FROM view v JOIN dataset d ON d.id = v.dataset_id",
        ))?;
        rows.iter()
            .map(|r| {
                let files = self.json(self.get::<&str>(r, 3)?, "dataset.files")?;
                Ok((self.get(r, 0)?, ViewData { name: self.get(r, 1)?, fingerprint: self.get(r, 2)?, files }))
            })
            .collect()
    }

    /// What happened to a run, in order: when, how grave, what.
    pub fn events(&self, run: &str) -> Result<Vec<EventRecord>, Error> {
        let rows =
            self.rows(sqlx::query("SELECT at, level, message FROM event WHERE run_id = ? ORDER BY id").bind(run))?;
        rows.iter()
            .map(|r| Ok(EventRecord { at: self.get(r, 0)?, level: self.get(r, 1)?, message: self.get(r, 2)? }))
            .collect()
    }

    /// Experiments whose grid has the cell: name, `--set` values, when it was last run.
    pub fn experiments_with(&self, cell: &str) -> Result<Vec<(String, Vec<String>, String)>, Error> {
        let rows = self.rows(
            sqlx::query(
                "SELECT e.name, e.sets, e.used_at FROM experiment e
                 WHERE e.id IN (SELECT experiment_id FROM cell WHERE fingerprint = ?) ORDER BY e.used DESC",
            )
            .bind(cell),
        )?;
        rows.iter()
            .map(|r| Ok((self.get(r, 0)?, self.json(self.get::<&str>(r, 1)?, "experiment.sets")?, self.get(r, 2)?)))
            .collect()
    }

    /// The fingerprint of the data set behind an earlier run of the experiment, if it was another one: for telling what
    /// changed.
    pub fn datasets_named(&self, name: &str) -> Result<Vec<DatasetRecord>, Error> {
        let rows = self.rows(sqlx::query("SELECT id FROM dataset WHERE name = ? ORDER BY id DESC").bind(name))?;
        rows.iter().map(|r| self.dataset(self.get(r, 0)?)).collect()
    }
}
