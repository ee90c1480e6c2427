//! Everything that is read from the store.

use super::records::*;
use super::{Error, Store, blob};
use crate::score::Scores;
use crate::train::{Epoch, Measures};
use serde::de::DeserializeOwned;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use std::collections::BTreeMap;

impl Store {
    fn damaged(&self, why: impl Into<String>) -> Error {
        Error::Damaged { path: self.path.clone(), why: why.into() }
    }

    fn json<T: DeserializeOwned>(&self, text: &str, what: &str) -> Result<T, Error> {
        serde_json::from_str(text).map_err(|e| self.damaged(format!("{what}: {e}")))
    }

    fn rows(
        &self,
        query: sqlx::query::Query<'_, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>,
    ) -> Result<Vec<SqliteRow>, Error> {
        self.runtime.block_on(query.fetch_all(&self.readers)).map_err(self.fail())
    }

    /// State of each of these runs that the store knows.
    pub fn states(&self) -> Result<BTreeMap<String, State>, Error> {
        let rows = self.rows(sqlx::query("SELECT id, state FROM run"))?;
        Ok(rows.iter().map(|r| (r.get(0), State::of_word(r.get(1)))).collect())
    }

    /// The experiment of that name that was run last.
    pub fn latest_experiment(&self, name: &str) -> Result<Option<ExperimentRecord>, Error> {
        let rows = self.rows(
            sqlx::query("SELECT * FROM experiment WHERE name = ? ORDER BY used_at DESC, id DESC LIMIT 1").bind(name),
        )?;
        rows.first().map(|row| self.experiment(row)).transpose()
    }

    /// Names of all experiments, the last used first.
    pub fn experiment_names(&self) -> Result<Vec<String>, Error> {
        let rows = self.rows(sqlx::query("SELECT name FROM experiment GROUP BY name ORDER BY max(used_at) DESC"))?;
        Ok(rows.iter().map(|r| r.get(0)).collect())
    }

    fn experiment(&self, row: &SqliteRow) -> Result<ExperimentRecord, Error> {
        let id: i64 = row.get("id");
        let text = |column: &str| row.get::<String, _>(column);
        let cells = self.rows(sqlx::query("SELECT * FROM cell WHERE experiment_id = ? ORDER BY position").bind(id))?;
        Ok(ExperimentRecord {
            id,
            name: text("name"),
            dataset_id: row.get("dataset_id"),
            config: self.json(&text("config"), "experiment.config")?,
            sets: self.json(&text("sets"), "experiment.sets")?,
            tables: self.json(&text("tables"), "experiment.tables")?,
            claims: self.json(&text("claims"), "experiment.claims")?,
            ledger: self.json(&text("ledger"), "experiment.ledger")?,
            used_at: text("used_at"),
            cells: cells
                .iter()
                .map(|c| {
                    Ok(CellRecord {
                        key: c.get("key"),
                        part: self.json(&c.get::<String, _>("part"), "cell.part")?,
                        overrides: self.json(&c.get::<String, _>("overrides"), "cell.overrides")?,
                        view_id: c.get("view_id"),
                        fingerprint: c.get("fingerprint"),
                        skipped: c.get("skipped"),
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
            fingerprint: row.get("fingerprint"),
            manifest: self.json(&row.get::<String, _>("manifest"), "dataset.manifest")?,
            files: self.json(&row.get::<String, _>("files"), "dataset.files")?,
        })
    }

    /// A view by row.
    pub fn view(&self, id: i64) -> Result<ViewRecord, Error> {
        let rows = self.rows(sqlx::query("SELECT * FROM view WHERE id = ?").bind(id))?;
        let row = rows.first().ok_or_else(|| self.damaged(format!("no view {id}")))?;
        let packed: Vec<u8> = row.get("val");
        let text = zstd::stream::decode_all(&packed[..]).map_err(|e| self.damaged(format!("view {id}: {e}")))?;
        Ok(ViewRecord {
            id,
            dataset_id: row.get("dataset_id"),
            missing: row.get::<Option<String>, _>("missing").map(|t| self.json(&t, "view.missing")).transpose()?,
            counts: self.json(&row.get::<String, _>("counts"), "view.counts")?,
            val: self.json(&String::from_utf8_lossy(&text), "view.val")?,
        })
    }

    /// Runs of a cell, by seed; only finished ones where `done`.
    pub fn runs_of_cell(&self, cell: &str, done: bool) -> Result<Vec<RunRecord>, Error> {
        let sql = "SELECT * FROM run WHERE cell = ? AND (state = 'done' OR NOT ?) ORDER BY seed";
        let rows = self.rows(sqlx::query(sql).bind(cell).bind(done))?;
        rows.iter().map(|r| self.run_of(r)).collect()
    }

    /// A run by its whole id.
    pub fn run(&self, id: &str) -> Result<Option<RunRecord>, Error> {
        let rows = self.rows(sqlx::query("SELECT * FROM run WHERE id = ?").bind(id))?;
        rows.first().map(|r| self.run_of(r)).transpose()
    }

    /// Every run, the newest first.
    pub fn runs(&self) -> Result<Vec<RunRecord>, Error> {
        let rows = self.rows(sqlx::query("SELECT * FROM run ORDER BY created_at DESC, id"))?;
        rows.iter().map(|r| self.run_of(r)).collect()
    }

    fn run_of(&self, row: &SqliteRow) -> Result<RunRecord, Error> {
        let id: String = row.get("id");
        let values = self.rows(sqlx::query("SELECT name, value FROM value WHERE run_id = ?").bind(id.clone()))?;
        Ok(RunRecord {
            cell: row.get("cell"),
            kind: row.get("kind"),
            key: row.get("key"),
            seed: row.get::<Option<i64>, _>("seed").map(|s| s as u64),
            state: State::of_word(row.get("state")),
            attempt: row.get("attempt"),
            host: row.get("host"),
            pid: row.get("pid"),
            heartbeat_at: row.get("heartbeat_at"),
            started_at: row.get("started_at"),
            finished_at: row.get("finished_at"),
            seconds: row.get("seconds"),
            peak_memory: row.get("peak_memory"),
            command: row.get("command"),
            spec: self.json(&row.get::<String, _>("spec"), "run.spec")?,
            error: row.get("error"),
            environment_id: row.get("environment_id"),
            view_id: row.get("view_id"),
            values: values.iter().map(|v| (v.get(0), v.get(1))).collect(),
            id,
        })
    }

    /// A run's scores of one kind; `None` where it has none.
    pub fn scores(&self, run: &str, what: &str) -> Result<Option<Scores>, Error> {
        let sql = "SELECT clips, classes, present, blob, hash FROM score WHERE run_id = ? AND what = ?";
        let rows = self.rows(sqlx::query(sql).bind(run).bind(what))?;
        let Some(row) = rows.first() else { return Ok(None) };
        let (clips, classes) = (row.get::<i64, _>(0) as usize, row.get::<i64, _>(1) as usize);
        let present: Option<Vec<u8>> = row.get(2);
        let values = blob::unpack(&row.get::<Vec<u8>, _>(3), row.get(4), clips * classes)
            .map_err(|why| self.damaged(format!("scores {what:?} of run {run}: {why}")))?;
        let present = present.map_or_else(|| vec![true; clips], |p| p.iter().map(|&b| b != 0).collect());
        if present.len() != clips {
            return Err(self.damaged(format!("scores {what:?} of run {run}: {} of {clips} marks", present.len())));
        }
        Ok(Some(Scores { classes, values, present }))
    }

    /// A run's SVM bank; `None` where it has none.
    pub fn bank(&self, run: &str) -> Result<Option<BankRecord>, Error> {
        let rows =
            self.rows(sqlx::query("SELECT classes, width, fits, blob, hash FROM bank WHERE run_id = ?").bind(run))?;
        let Some(row) = rows.first() else { return Ok(None) };
        let (classes, width) = (row.get::<i64, _>(0) as usize, row.get::<i64, _>(1) as usize);
        let numbers = 2 * width + classes * (width + 1);
        let packed: Vec<u8> = row.get(3);
        let bad = |why: String| self.damaged(format!("SVM bank of run {run}: {why}"));
        let bytes = blob::open(&packed, row.get(4), numbers * 4 + classes * 16)
            .or_else(|_| blob::open(&packed, row.get(4), numbers * 4))
            .map_err(bad)?;
        let (floats, sigmoids) = bytes.split_at(numbers * 4);
        let double = |b: &[u8]| f64::from_le_bytes(b.try_into().unwrap_or_default());
        Ok(Some(BankRecord {
            classes,
            width,
            fits: self.json(&row.get::<String, _>(2), "bank.fits")?,
            numbers: floats.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
            sigmoids: sigmoids.chunks_exact(16).map(|b| (double(&b[..8]), double(&b[8..]))).collect(),
        }))
    }

    /// A run's epochs, in order.
    pub fn curve(&self, run: &str) -> Result<Curve, Error> {
        let sql = "SELECT epoch, split, loss, loss_cls, loss_rec, accuracy, feature_error FROM epoch WHERE run_id = ? ORDER BY epoch, split";
        let mut curve: BTreeMap<i64, Epoch> = BTreeMap::new();
        for row in self.rows(sqlx::query(sql).bind(run))? {
            let number: i64 = row.get(0);
            let value = |i: usize| row.get::<Option<f64>, _>(i).unwrap_or(f64::NAN);
            let measures = Measures {
                loss: value(2),
                loss_cls: value(3),
                loss_rec: value(4),
                accuracy: value(5),
                feature_error: value(6),
            };
            let epoch = curve.entry(number).or_insert(Epoch {
                epoch: number as usize,
                train: Measures::default(),
                val: Measures::default(),
            });
            match row.get::<&str, _>(1) {
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
        self.json(&row.get::<String, _>(0), "environment.record")
    }

    /// The fingerprint of the data set behind an earlier run of the experiment, if it was another one: for telling what
    /// changed.
    pub fn datasets_named(&self, name: &str) -> Result<Vec<DatasetRecord>, Error> {
        let rows = self.rows(sqlx::query("SELECT id FROM dataset WHERE name = ? ORDER BY id DESC").bind(name))?;
        rows.iter().map(|r| self.dataset(r.get(0))).collect()
    }
}
