//! Everything that changes the store. Each call is one transaction.

use super::clock::now;
use super::records::*;
use super::row_hash::Table;
use super::{Error, Store, blob, inspect, run_hash};
use crate::dataset::{Dataset, View};
use crate::experiment::Experiment;
use crate::train::Epoch;
use sqlx::{Connection, Row, Sqlite, Transaction};

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

impl Store {
    /// Runs `work` in a transaction that takes the write lock at once (so it can wait for other processes). Only a `durable`
    /// one waits for the disk: what a power failure takes from the others is worked out again.
    ///
    /// Nothing is written to a file that is no longer the one that was opened. A connection on which anything failed is given
    /// up: what SQLite has rolled back by itself (a full disk) and what it has not are not told apart by guessing.
    pub(super) fn transact<T>(
        &self,
        durable: bool,
        work: impl AsyncFnOnce(&mut Transaction<'_, Sqlite>) -> Result<T, sqlx::Error>,
    ) -> Result<T, Error> {
        self.runtime.block_on(async {
            self.still_there(false).await?;
            let mut connection = self.writer.acquire().await.map_err(self.fail())?;
            let result = async {
                if durable {
                    sqlx::query("PRAGMA synchronous = FULL").execute(&mut *connection).await?;
                }
                let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
                count(&mut transaction).await?;
                let result = work(&mut transaction).await?;
                transaction.commit().await?;
                if durable {
                    sqlx::query("PRAGMA synchronous = NORMAL").execute(&mut *connection).await?;
                }
                Ok(result)
            }
            .await;
            match result {
                Ok(result) => {
                    drop(connection);
                    self.still_there(false).await?;
                    Ok(result)
                }
                Err(error) => {
                    let _ = connection.detach().close_hard().await;
                    self.still_there(false).await?;
                    Err(Error::of_sqlx(&self.path, error))
                }
            }
        })
    }

    /// Records a data set; gives its row.
    pub fn put_dataset(&self, dataset: &Dataset) -> Result<i64, Error> {
        let files: serde_json::Map<String, serde_json::Value> =
            dataset.file_hashes.iter().map(|(f, h)| (f.clone(), h.clone().into())).collect();
        let kind = match dataset.manifest.kind {
            crate::dataset::Kind::Real => "real",
            crate::dataset::Kind::Synthetic => "synthetic",
        };
        self.transact(false, async |t| {
            let id: i64 = sqlx::query(
                "INSERT INTO dataset (fingerprint, name, kind, manifest, files, created_at) VALUES (?, ?, ?, ?, ?, ?)
                 ON CONFLICT (fingerprint) DO UPDATE SET name = excluded.name, kind = excluded.kind,
                     manifest = excluded.manifest, files = excluded.files
                 RETURNING id",
            )
            .bind(&dataset.fingerprint)
            .bind(&dataset.manifest.name)
            .bind(kind)
            .bind(json(&dataset.manifest))
            .bind(json(&files))
            .bind(now())
            .fetch_one(&mut **t)
            .await?
            .try_get(0)?;
            Table::Dataset.seal(t, id).await?;
            Ok(id)
        })
    }

    /// Records a view; gives its row.
    pub fn put_view(&self, view: &View, dataset_id: i64) -> Result<i64, Error> {
        use crate::dataset::Split;
        let has_test = !view.test.is_empty();
        let test = has_test.then(|| view.counts(Split::Test));
        let counts = SplitCounts { train: view.counts(Split::Train), val: view.counts(Split::Val), test };
        let clips = |clips: &[usize]| ValClips {
            clips: clips.iter().map(|&c| view.dataset.clips[c].name.clone()).collect(),
            labels: view.labels(clips),
            sounded: clips.iter().map(|&c| view.sounded[c]).collect(),
        };
        let scored = ScoredClips { val: clips(&view.val), test: has_test.then(|| clips(&view.test)) };
        let text = json(&scored);
        let packed = blob::pack_text(&text, view.val.len() + view.test.len()).map_err(|what| self.too_large(what))?;
        self.transact(false, async |t| {
            let id: i64 = sqlx::query(
                "INSERT INTO view (fingerprint, dataset_id, missing, counts, val, created_at, val_hash) VALUES (?, ?, ?, ?, ?, ?, ?)
                 ON CONFLICT (fingerprint) DO UPDATE SET dataset_id = excluded.dataset_id, missing = excluded.missing,
                     counts = excluded.counts, val = excluded.val, val_hash = excluded.val_hash
                 RETURNING id",
            )
            .bind(&view.fingerprint)
            .bind(dataset_id)
            .bind(view.missing.as_ref().map(json))
            .bind(json(&counts))
            .bind(&packed)
            .bind(now())
            .bind(blake3::hash(&packed).to_hex().to_string())
            .fetch_one(&mut **t)
            .await?
            .try_get(0)?;
            Table::View.seal(t, id).await?;
            Ok(id)
        })
    }

    /// Records an experiment as it was resolved, with its cells; gives its row.
    pub fn put_experiment(
        &self,
        experiment: &Experiment,
        dataset: &DatasetKey,
        cells: &[CellRecord],
    ) -> Result<i64, Error> {
        let config = serde_json::to_value(&experiment.config).unwrap_or_default();
        let digest = inspect::experiment_digest(config, &dataset.fingerprint);
        self.transact(false, async |t| {
            let id: i64 = sqlx::query(
                "INSERT INTO experiment (digest, name, dataset_id, config, sets, tables, claims, ledger, created_at, used_at,
                                         declared, used)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9, ?10, (SELECT coalesce(max(used), 0) + 1 FROM experiment))
                 ON CONFLICT (digest) DO UPDATE SET config = ?4, sets = ?5, tables = ?6, claims = ?7, ledger = ?8, used_at = ?9,
                     declared = ?10, used = excluded.used
                 RETURNING id",
            )
            .bind(&digest)
            .bind(&experiment.config.name)
            .bind(dataset.id)
            .bind(json(&experiment.config))
            .bind(json(&experiment.sets))
            .bind(json(&experiment.tables))
            .bind(json(&experiment.claims))
            .bind(json(&experiment.ledger))
            .bind(now())
            .bind(json(&experiment.declared_seeds))
            .fetch_one(&mut **t)
            .await?
            .get(0);
            sqlx::query("DELETE FROM cell WHERE experiment_id = ?").bind(id).execute(&mut **t).await?;
            for (position, cell) in cells.iter().enumerate() {
                sqlx::query("INSERT INTO cell VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")
                    .bind(id)
                    .bind(position as i64)
                    .bind(&cell.key)
                    // A column of few words: what is made elsewhere is a generator there.
                    .bind(match cell.part.kind() {
                        "external" => "generator",
                        kind => kind,
                    })
                    .bind(json(&cell.part))
                    .bind(json(&cell.overrides))
                    .bind(cell.view_id)
                    .bind(&cell.fingerprint)
                    .bind(&cell.skipped)
                    .execute(&mut **t)
                    .await?;
            }
            Table::Experiment.seal(t, id).await?;
            Ok(id)
        })
    }

    /// Notes runs that are about to be worked on, so that others see what is to come. Those that are known stay as they are.
    pub fn declare(&self, runs: &[NewRun]) -> Result<(), Error> {
        if runs.is_empty() {
            return Ok(());
        }
        self.transact(false, async |t| {
            for run in runs {
                sqlx::query(
                    "INSERT INTO run (id, cell, kind, key, seed, view_id, spec, state, created_at)
                     VALUES (?, ?, ?, ?, ?, ?, ?, 'pending', ?) ON CONFLICT (id) DO NOTHING",
                )
                .bind(&run.id)
                .bind(&run.cell)
                .bind(&run.kind)
                .bind(&run.key)
                .bind(run.seed.map(|s| s as i64))
                .bind(run.view_id)
                .bind(run.spec.to_string())
                .bind(now())
                .execute(&mut **t)
                .await?;
            }
            Ok(())
        })
    }

    /// Takes the numbers of a finished run, which other numeric code made, for those of `run`; a copy, which says so.
    /// `false` where there is nothing to do.
    pub fn accept(&self, run: &NewRun, from: &str) -> Result<bool, Error> {
        self.transact(true, async |t| {
            let accepted = sqlx::query(
                "INSERT INTO run (id, cell, kind, key, seed, view_id, spec, state, attempt, host, pid, created_at, started_at,
                                  finished_at, seconds, peak_memory, command, environment_id, accepted_from, numbers_hash,
                                  worker, machine)
                     SELECT ?1, ?2, kind, ?3, seed, ?4, ?5, state, attempt, host, pid, ?6, started_at, finished_at, seconds,
                         peak_memory, command, environment_id, coalesce(accepted_from, id), NULL, worker, machine
                     FROM run WHERE id = ?7 AND state = 'done'
                 ON CONFLICT (id) DO UPDATE SET cell = excluded.cell, kind = excluded.kind, key = excluded.key,
                     seed = excluded.seed, view_id = excluded.view_id, spec = excluded.spec,
                     worker = excluded.worker, machine = excluded.machine, state = excluded.state, attempt = excluded.attempt, host = excluded.host,
                     pid = excluded.pid, heartbeat_at = NULL, error = NULL, started_at = excluded.started_at,
                     finished_at = excluded.finished_at, seconds = excluded.seconds, peak_memory = excluded.peak_memory,
                     command = excluded.command, environment_id = excluded.environment_id,
                     accepted_from = excluded.accepted_from, numbers_hash = NULL
                     WHERE run.state NOT IN ('running', 'done')",
            )
            .bind(&run.id)
            .bind(&run.cell)
            .bind(&run.key)
            .bind(run.view_id)
            .bind(run.spec.to_string())
            .bind(now())
            .bind(from)
            .execute(&mut **t)
            .await?
            .rows_affected();
            if accepted == 0 {
                return Ok(false);
            }
            for sql in [
                "DELETE FROM epoch WHERE run_id = ?1 AND ?2 = ?2",
                "INSERT INTO epoch SELECT ?1, epoch, split, loss, loss_cls, loss_rec, accuracy, feature_error FROM epoch
                     WHERE run_id = ?2",
                "INSERT INTO value SELECT ?1, name, value FROM value WHERE run_id = ?2",
                "INSERT INTO score SELECT ?1, what, clips, classes, present, blob, hash FROM score WHERE run_id = ?2",
                "INSERT INTO bank SELECT ?1, classes, width, fits, blob, hash FROM bank WHERE run_id = ?2",
                "INSERT OR REPLACE INTO weights SELECT ?1, hash, bytes FROM weights WHERE run_id = ?2",
                "INSERT INTO event (at, run_id, level, message) SELECT strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), ?1, 'info',
                     'accepted the numbers of run ' || id || ', made by numeric code ' || coalesce(json_extract(spec, '$.code'), '?')
                     FROM run WHERE id = ?2",
            ] {
                sqlx::query(sql).bind(&run.id).bind(from).execute(&mut **t).await?;
            }
            seal_run(t, &run.id).await?;
            Ok(true)
        })
    }

    /// Takes a run for this worker, unless it is done or a living worker has it. `alive` says of whoever a running run belongs
    /// to whether they still work on it.
    pub fn claim(&self, run: &NewRun, worker: &Worker, alive: &dyn Fn(&Owner) -> bool) -> Result<Claim, Error> {
        self.transact(false, async |t| {
            let row = sqlx::query(
                "SELECT state, attempt, host, pid, heartbeat_at, worker, machine FROM run WHERE id = ?",
            )
            .bind(&run.id)
            .fetch_optional(&mut **t)
            .await?;
            let mut attempt = 0i64;
            let mut abandoned = None;
            if let Some(row) = row {
                let state: &str = row.try_get(0)?;
                attempt = row.try_get(1)?;
                let owner = Owner {
                    host: row.try_get::<Option<String>, _>(2)?.unwrap_or_default(),
                    pid: row.try_get::<Option<i64>, _>(3)?.unwrap_or_default(),
                    heartbeat: row.try_get::<Option<String>, _>(4)?.unwrap_or_default(),
                    worker: row.try_get(5)?,
                    machine: row.try_get(6)?,
                };
                match State::of_word(state) {
                    State::Done => return Ok(Claim::Done),
                    State::Running if alive(&owner) => return Ok(Claim::Theirs(owner)),
                    State::Running => abandoned = Some(owner),
                    _ => {}
                }
            }
            attempt += 1;
            // Again at every claim: until a run refers to it, `gc` takes it for nobody's.
            let environment = put_environment(t, &worker.environment).await?;
            sqlx::query(
                "INSERT INTO run (id, cell, kind, key, seed, view_id, spec, state, attempt, host, pid, heartbeat_at, created_at,
                                  started_at, command, environment_id, worker, machine)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'running', ?8, ?9, ?10, ?11, ?11, ?11, ?12, ?13, ?14, ?15)
                 ON CONFLICT (id) DO UPDATE SET cell = ?2, kind = ?3, key = ?4, seed = ?5, view_id = ?6, spec = ?7,
                     state = 'running', attempt = ?8, host = ?9, pid = ?10, heartbeat_at = ?11,
                     started_at = ?11, finished_at = NULL, error = NULL, command = ?12, environment_id = ?13, worker = ?14,
                     machine = ?15, accepted_from = NULL, numbers_hash = NULL",
            )
            .bind(&run.id)
            .bind(&run.cell)
            .bind(&run.kind)
            .bind(&run.key)
            .bind(run.seed.map(|s| s as i64))
            .bind(run.view_id)
            .bind(run.spec.to_string())
            .bind(attempt)
            .bind(&worker.host)
            .bind(i64::from(worker.pid))
            .bind(now())
            .bind(&worker.command)
            .bind(environment)
            .bind(&worker.id)
            .bind(&worker.machine)
            .execute(&mut **t)
            .await?;
            if let Some(owner) = abandoned {
                let Owner { host, pid, heartbeat, .. } = owner;
                let text = format!("taken over from process {pid} on {host}, whose last sign of life was at {heartbeat}");
                event(t, &run.id, "info", &text).await?;
            }
            Ok(Claim::Ours(attempt))
        })
    }

    /// A sign of life of all runs that a worker's process works on.
    pub fn heartbeat(&self, worker: &Worker) -> Result<(), Error> {
        self.transact(false, async |t| {
            sqlx::query("UPDATE run SET heartbeat_at = ? WHERE state = 'running' AND worker = ?")
                .bind(now())
                .bind(&worker.id)
                .execute(&mut **t)
                .await
                .map(|_| ())
        })
    }

    /// Keeps epochs of a run (again, after a resume). `false`, and nothing is kept, where it is no longer this worker's: it
    /// gave no sign of life for so long that another one took it over.
    pub fn put_epochs(&self, id: &str, worker: &Worker, epochs: &[Epoch]) -> Result<bool, Error> {
        if epochs.is_empty() {
            return Ok(true);
        }
        finite_epochs(id, epochs)?;
        self.transact(true, async |t| {
            if !owns(t, id, worker).await? {
                return Ok(false);
            }
            insert_epochs(t, id, epochs).await?;
            Ok(true)
        })
    }

    /// Marks a run done, with everything it leaves, at once. `false`, and nothing changes, where it is no longer this
    /// worker's (see [`Store::put_epochs`]). A number that is not finite is no result: an error, and the run stays as it is.
    pub fn finish(
        &self,
        id: &str,
        worker: &Worker,
        epochs: &[Epoch],
        result: &RunResult,
        seconds: f64,
        peak_memory: Option<u64>,
    ) -> Result<bool, Error> {
        finite_epochs(id, epochs)?;
        finite_result(id, result)?;
        let mut scores = Vec::new();
        for (what, of) in &result.scores {
            let (packed, hash) = blob::pack(&of.values).map_err(|e| self.too_large(format!("scores {what}: {e}")))?;
            scores.push((what, of, packed, hash));
        }
        let bank = match &result.bank {
            None => None,
            Some(bank) => {
                let mut bytes: Vec<u8> = bank.numbers.iter().flat_map(|v| v.to_le_bytes()).collect();
                bytes.extend(bank.sigmoids.iter().flat_map(|(a, b)| [a.to_le_bytes(), b.to_le_bytes()].concat()));
                Some((bank, blob::seal(&bytes).map_err(|e| self.too_large(format!("SVM bank: {e}")))?))
            }
        };
        self.transact(true, async |t| {
            if !owns(t, id, worker).await? {
                return Ok(false);
            }
            insert_epochs(t, id, epochs).await?;
            // What a result of another kind may have left, under another name.
            for table in ["score", "value", "bank"] {
                let sql = sqlx::AssertSqlSafe(format!("DELETE FROM {table} WHERE run_id = ?"));
                sqlx::query(sql).bind(id).execute(&mut **t).await?;
            }
            for (what, of, packed, hash) in &scores {
                let present: Option<Vec<u8>> =
                    (!of.present.iter().all(|p| *p)).then(|| of.present.iter().map(|p| u8::from(*p)).collect());
                sqlx::query("INSERT INTO score VALUES (?, ?, ?, ?, ?, ?, ?)")
                    .bind(id)
                    .bind(*what)
                    .bind(of.clips() as i64)
                    .bind(of.classes as i64)
                    .bind(present)
                    .bind(packed)
                    .bind(hash)
                    .execute(&mut **t)
                    .await?;
            }
            let values: Vec<(&String, &f64)> = result.values.iter().collect();
            for chunk in values.chunks(ROWS) {
                let mut insert = sqlx::QueryBuilder::new("INSERT INTO value ");
                insert.push_values(chunk, |mut row, (name, value)| {
                    row.push_bind(id).push_bind(*name).push_bind(**value);
                });
                insert.build().execute(&mut **t).await?;
            }
            if let Some((bank, (packed, hash))) = &bank {
                sqlx::query("INSERT INTO bank VALUES (?, ?, ?, ?, ?, ?)")
                    .bind(id)
                    .bind(bank.classes as i64)
                    .bind(bank.width as i64)
                    .bind(json(&bank.fits))
                    .bind(packed)
                    .bind(hash)
                    .execute(&mut **t)
                    .await?;
            }
            sqlx::query(
                "UPDATE run SET state = 'done', finished_at = ?, heartbeat_at = NULL, error = NULL,
                     seconds = coalesce(seconds, 0) + ?, peak_memory = ? WHERE id = ?",
            )
            .bind(now())
            .bind(seconds)
            .bind(peak_memory.map(|p| p as i64))
            .bind(id)
            .execute(&mut **t)
            .await?;
            seal_run(t, id).await?;
            Ok(true)
        })
    }

    /// Marks a worker's run failed or interrupted; one that somebody else took over is left to them.
    pub fn stop(
        &self,
        id: &str,
        worker: &Worker,
        state: State,
        error: Option<&str>,
        seconds: f64,
    ) -> Result<(), Error> {
        self.transact(false, async |t| {
            let stopped = sqlx::query(
                "UPDATE run SET state = ?, error = ?, finished_at = ?, heartbeat_at = NULL, seconds = coalesce(seconds, 0) + ?
                 WHERE id = ? AND state = 'running' AND worker = ?",
            )
            .bind(state.word())
            .bind(error)
            .bind(now())
            .bind(seconds)
            .bind(id)
            .bind(&worker.id)
            .execute(&mut **t)
            .await?;
            if stopped.rows_affected() == 0 {
                return Ok(());
            }
            let level = if state == State::Failed { "error" } else { "info" };
            event(t, id, level, error.unwrap_or(state.word())).await
        })
    }

    fn too_large(&self, what: String) -> Error {
        Error::TooLarge { path: self.path.clone(), what }
    }
}

/// Counts a transaction, so that a log always holds the row that says whose it is.
pub(super) async fn count(t: &mut Transaction<'_, Sqlite>) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE main.store SET sequence = sequence + 1").execute(&mut **t).await.map(|_| ())
}

/// Whether a worker has a run, and nobody else took it over.
async fn owns(t: &mut Transaction<'_, Sqlite>, id: &str, worker: &Worker) -> Result<bool, sqlx::Error> {
    let own = sqlx::query("SELECT 1 FROM run WHERE id = ? AND state = 'running' AND worker = ?");
    Ok(own.bind(id).bind(&worker.id).fetch_optional(&mut **t).await?.is_some())
}

/// Gives a finished run the hash over all that it is.
async fn seal_run(t: &mut Transaction<'_, Sqlite>, id: &str) -> Result<(), sqlx::Error> {
    let hash = run_hash::hash(t, "main", id).await?;
    let update = sqlx::query("UPDATE run SET numbers_hash = ? WHERE id = ?");
    update.bind(hash).bind(id).execute(&mut **t).await.map(|_| ())
}

async fn event(t: &mut Transaction<'_, Sqlite>, run: &str, level: &str, message: &str) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO event (at, run_id, level, message) VALUES (?, ?, ?, ?)")
        .bind(now())
        .bind(run)
        .bind(level)
        .bind(message)
        .execute(&mut **t)
        .await
        .map(|_| ())
}

/// Whether every number of a result is finite.
fn finite_result(id: &str, result: &RunResult) -> Result<(), Error> {
    let wrong = |what: String, value: f64| Err(Error::NotFinite { run: id.into(), what, value });
    for (what, scores) in &result.scores {
        if let Some(at) = scores.values.iter().position(|p| !p.is_finite()) {
            let (clip, class) = (at / scores.classes.max(1), at % scores.classes.max(1));
            let place = format!("its {what} score of val clip {} for class {}", clip + 1, class + 1);
            return wrong(place, scores.values[at].into());
        }
    }
    if let Some((name, value)) = result.values.iter().find(|(_, value)| !value.is_finite()) {
        return wrong(format!("its {name}"), *value);
    }
    if let Some(bank) = &result.bank {
        if let Some(at) = bank.numbers.iter().position(|v| !v.is_finite()) {
            return wrong(format!("number {} of its SVM bank", at + 1), bank.numbers[at].into());
        }
        if let Some(at) = bank.sigmoids.iter().position(|(a, b)| !a.is_finite() || !b.is_finite()) {
            return wrong(format!("the sigmoid of class {} of its SVM bank", at + 1), f64::NAN);
        }
    }
    Ok(())
}

/// Whether every loss is finite, and nothing else infinite: NaN stands for what a run does not measure.
fn finite_epochs(id: &str, epochs: &[Epoch]) -> Result<(), Error> {
    for epoch in epochs {
        for (split, m) in [("train", &epoch.train), ("val", &epoch.val)] {
            let measures = [
                ("loss_cls", m.loss_cls),
                ("loss_rec", m.loss_rec),
                ("accuracy", m.accuracy),
                ("error", m.feature_error),
            ];
            let infinite = measures.into_iter().find(|(_, value)| value.is_infinite());
            if let Some((name, value)) = infinite.or((!m.loss.is_finite()).then_some(("loss", m.loss))) {
                let what = format!("the {split} {name} of epoch {}", epoch.epoch);
                return Err(Error::NotFinite { run: id.into(), what, value });
            }
        }
    }
    Ok(())
}

/// A data set's row and fingerprint.
#[derive(Clone, Debug)]
pub struct DatasetKey {
    /// Row.
    pub id: i64,
    /// Fingerprint.
    pub fingerprint: String,
}

/// Records what explains a number; gives its row.
async fn put_environment(t: &mut Transaction<'_, Sqlite>, record: &str) -> Result<i64, sqlx::Error> {
    let digest = blake3::hash(record.as_bytes()).to_hex().to_string();
    let known =
        sqlx::query("SELECT id FROM environment WHERE digest = ?").bind(&digest).fetch_optional(&mut **t).await?;
    if let Some(row) = known {
        return row.try_get(0);
    }
    let insert = sqlx::query("INSERT INTO environment (digest, record) VALUES (?, ?) RETURNING id");
    insert.bind(&digest).bind(record).fetch_one(&mut **t).await?.try_get(0)
}

/// Rows of one statement: few calls, and few enough parameters.
const ROWS: usize = 200;

async fn insert_epochs(t: &mut Transaction<'_, Sqlite>, id: &str, epochs: &[Epoch]) -> Result<(), sqlx::Error> {
    let rows: Vec<_> = epochs.iter().flat_map(|e| [(e.epoch, "train", &e.train), (e.epoch, "val", &e.val)]).collect();
    for chunk in rows.chunks(ROWS) {
        let mut insert = sqlx::QueryBuilder::new("INSERT OR REPLACE INTO epoch ");
        insert.push_values(chunk, |mut row, (epoch, split, m)| {
            row.push_bind(id).push_bind(*epoch as i64).push_bind(*split);
            for measure in [m.loss, m.loss_cls, m.loss_rec, m.accuracy, m.feature_error] {
                row.push_bind(measure);
            }
        });
        insert.build().execute(&mut **t).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::Scores;
    use crate::train::Measures;

    const RUN: &str = "fedcba9876543210fedcba9876543210";

    fn worker(id: &str) -> Worker {
        Worker {
            id: id.into(),
            machine: "m".into(),
            host: "h".into(),
            pid: 1,
            command: "c".into(),
            environment: "{}".into(),
        }
    }

    /// A store with a failed run of two val clips and two classes, and the run to be claimed.
    fn store() -> (tempfile::TempDir, Store, NewRun) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("runs.db");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { super::super::schema::old_store(&path, 3).await.close().await.unwrap() });
        let store = Store::open(&path).unwrap();
        let known = store.run(RUN).unwrap().unwrap();
        let new = NewRun {
            id: known.id,
            cell: known.cell,
            kind: known.kind,
            key: known.key,
            seed: known.seed,
            view_id: known.view_id,
            spec: known.spec,
        };
        (dir, store, new)
    }

    fn result(score: f32) -> RunResult {
        RunResult {
            scores: vec![("generated".into(), Scores::complete(vec![score, 0.5, 0.25, 0.75], 2))],
            values: [("top1".to_string(), 50.0)].into(),
            bank: None,
            head: None,
        }
    }

    fn epoch(loss: f64) -> Epoch {
        let measures = Measures { loss, loss_cls: f64::NAN, loss_rec: 0.5, accuracy: 50.0, feature_error: f64::NAN };
        Epoch { epoch: 1, train: measures, val: measures }
    }

    #[test]
    fn a_worker_whose_run_was_taken_over_changes_it_no_more() {
        let (_dir, store, run) = store();
        let (first, second) = (worker("first"), worker("second"));
        assert_eq!(store.claim(&run, &first, &|_| true).unwrap(), Claim::Ours(2));
        assert!(
            matches!(store.claim(&run, &second, &|_| true).unwrap(), Claim::Theirs(o) if o.worker.as_deref() == Some("first"))
        );
        assert_eq!(store.claim(&run, &second, &|_| false).unwrap(), Claim::Ours(3));
        assert!(store.events(RUN).unwrap().iter().any(|e| e.message.starts_with("taken over from process 1 on h")));
        // It was only stopped, and goes on.
        store.heartbeat(&first).unwrap();
        assert!(!store.put_epochs(RUN, &first, &[epoch(1.0)]).unwrap());
        assert!(!store.finish(RUN, &first, &[epoch(1.0)], &result(0.5), 1.0, None).unwrap());
        store.stop(RUN, &first, State::Failed, Some("x"), 1.0).unwrap();
        assert_eq!(store.run(RUN).unwrap().unwrap().state, State::Running);
        assert!(store.put_epochs(RUN, &second, &[epoch(1.0)]).unwrap());
        assert!(store.finish(RUN, &second, &[epoch(1.0)], &result(0.5), 1.0, None).unwrap());
        assert_eq!(store.claim(&run, &first, &|_| false).unwrap(), Claim::Done);
    }

    #[test]
    fn what_is_not_finite_is_refused_with_its_place_and_nothing_of_it_is_kept() {
        let (_dir, store, run) = store();
        let worker = worker("w");
        store.claim(&run, &worker, &|_| false).unwrap();
        let told = |epochs: &[Epoch], result: &RunResult| match store.finish(RUN, &worker, epochs, result, 1.0, None) {
            Err(error @ Error::NotFinite { .. }) => error.to_string(),
            other => panic!("{other:?}"),
        };
        let mut bad = result(f32::NAN);
        assert!(told(&[], &bad).contains("its generated score of val clip 1 for class 1 is NaN"));
        bad = result(0.5);
        bad.values.insert("r2/silent".into(), f64::NEG_INFINITY);
        assert!(told(&[], &bad).contains("its r2/silent is -inf"));
        bad = result(0.5);
        let bank =
            BankRecord { classes: 1, width: 1, fits: vec![], numbers: vec![0.0, 1.0, f32::NAN], sigmoids: vec![] };
        bad.bank = Some(bank);
        assert!(told(&[], &bad).contains("number 3 of its SVM bank is NaN"));
        assert!(told(&[epoch(f64::NAN)], &result(0.5)).contains("the train loss of epoch 1 is NaN"));
        assert!(matches!(store.put_epochs(RUN, &worker, &[epoch(f64::INFINITY)]), Err(Error::NotFinite { .. })));
        assert_eq!(store.run(RUN).unwrap().unwrap().state, State::Running);
        assert!(store.score_kinds(RUN).unwrap().is_empty());
        assert!(store.finish(RUN, &worker, &[epoch(1.0)], &result(0.5), 1.0, None).unwrap());
    }

    #[test]
    fn a_transaction_that_failed_does_not_spoil_the_next() {
        let (_dir, store, _) = store();
        for _ in 0..3 {
            // As on a disk that is full: SQLite may roll back by itself, and then there is nothing to roll back.
            let full = store.transact(true, async |t| {
                sqlx::query("PRAGMA max_page_count = 1").execute(&mut **t).await?;
                sqlx::query("INSERT INTO environment (digest, record) VALUES ('d', hex(zeroblob(500000)))")
                    .execute(&mut **t)
                    .await?;
                Ok(())
            });
            assert!(matches!(full, Err(Error::Full { .. })), "{full:?}");
            let gone = store.transact(true, async |t| {
                sqlx::query("INSERT INTO environment (digest, record) VALUES ('gone', '')").execute(&mut **t).await?;
                sqlx::query("ROLLBACK").execute(&mut **t).await?;
                Err::<(), _>(sqlx::Error::RowNotFound)
            });
            assert!(gone.is_err());
            store.heartbeat(&worker("w")).unwrap();
        }
        let left = store.transact(false, async |t| {
            sqlx::query("SELECT count(*) FROM environment WHERE digest IN ('d', 'gone')")
                .fetch_one(&mut **t)
                .await?
                .try_get::<i64, _>(0)
        });
        assert_eq!(left.unwrap(), 0);
    }
}
