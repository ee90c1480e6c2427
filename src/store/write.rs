//! Everything that changes the store. Each call is one transaction.

use super::records::*;
use super::{Error, Store, blob, now, run_hash};
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
    pub(super) fn transact<T>(
        &self,
        durable: bool,
        work: impl AsyncFnOnce(&mut Transaction<'_, Sqlite>) -> Result<T, sqlx::Error>,
    ) -> Result<T, Error> {
        self.runtime
            .block_on(async {
                let mut connection = self.writer.acquire().await?;
                if durable {
                    sqlx::query("PRAGMA synchronous = FULL").execute(&mut *connection).await?;
                }
                let result = async {
                    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
                    let result = work(&mut transaction).await?;
                    transaction.commit().await?;
                    Ok(result)
                }
                .await;
                if durable {
                    sqlx::query("PRAGMA synchronous = NORMAL").execute(&mut *connection).await?;
                }
                result
            })
            .map_err(self.fail())
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
            sqlx::query(
                "INSERT INTO dataset (fingerprint, name, kind, manifest, files, created_at) VALUES (?, ?, ?, ?, ?, ?)
                 ON CONFLICT (fingerprint) DO UPDATE SET name = excluded.name, manifest = excluded.manifest RETURNING id",
            )
            .bind(&dataset.fingerprint)
            .bind(&dataset.manifest.name)
            .bind(kind)
            .bind(json(&dataset.manifest))
            .bind(json(&files))
            .bind(now())
            .fetch_one(&mut **t)
            .await
            .map(|row| row.get(0))
        })
    }

    /// Records a view; gives its row.
    pub fn put_view(&self, view: &View, dataset_id: i64) -> Result<i64, Error> {
        use crate::dataset::Split;
        let counts = SplitCounts { train: view.counts(Split::Train), val: view.counts(Split::Val) };
        let val = ValClips {
            clips: view.val.iter().map(|&c| view.dataset.clips[c].name.clone()).collect(),
            labels: view.labels(&view.val),
            sounded: view.val.iter().map(|&c| view.sounded[c]).collect(),
        };
        let text = json(&val);
        let packed = zstd::bulk::compress(text.as_bytes(), 3).unwrap_or_default();
        self.transact(false, async |t| {
            sqlx::query(
                "INSERT INTO view (fingerprint, dataset_id, missing, counts, val, created_at, val_hash) VALUES (?, ?, ?, ?, ?, ?, ?)
                 ON CONFLICT (fingerprint) DO UPDATE SET fingerprint = excluded.fingerprint RETURNING id",
            )
            .bind(&view.fingerprint)
            .bind(dataset_id)
            .bind(view.missing.as_ref().map(json))
            .bind(json(&counts))
            .bind(&packed)
            .bind(now())
            .bind(blake3::hash(&packed).to_hex().to_string())
            .fetch_one(&mut **t)
            .await
            .map(|row| row.get(0))
        })
    }

    /// Records an experiment as it was resolved, with its cells; gives its row.
    pub fn put_experiment(
        &self,
        experiment: &Experiment,
        dataset: &DatasetKey,
        cells: &[CellRecord],
    ) -> Result<i64, Error> {
        let mut config = serde_json::to_value(&experiment.config).unwrap_or_default();
        if let Some(map) = config.as_object_mut() {
            map.remove("seeds");
        }
        let digest = blake3::hash(format!("{config}\n{}", dataset.fingerprint).as_bytes()).to_hex().to_string();
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
                    .bind(cell.part.kind())
                    .bind(json(&cell.part))
                    .bind(json(&cell.overrides))
                    .bind(cell.view_id)
                    .bind(&cell.fingerprint)
                    .bind(&cell.skipped)
                    .execute(&mut **t)
                    .await?;
            }
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
                                  finished_at, seconds, peak_memory, command, environment_id, accepted_from, numbers_hash)
                     SELECT ?1, ?2, kind, ?3, seed, ?4, ?5, state, attempt, host, pid, ?6, started_at, finished_at, seconds,
                         peak_memory, command, environment_id, coalesce(accepted_from, id), numbers_hash
                     FROM run WHERE id = ?7 AND state = 'done'
                 ON CONFLICT (id) DO UPDATE SET state = excluded.state, attempt = excluded.attempt, host = excluded.host,
                     pid = excluded.pid, heartbeat_at = NULL, error = NULL, started_at = excluded.started_at,
                     finished_at = excluded.finished_at, seconds = excluded.seconds, peak_memory = excluded.peak_memory,
                     command = excluded.command, environment_id = excluded.environment_id,
                     accepted_from = excluded.accepted_from, numbers_hash = excluded.numbers_hash
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
            Ok(true)
        })
    }

    /// Takes a run for this worker, unless it is done or a living worker has it. `alive` says of a running run's
    /// (host, pid, heartbeat) whether somebody still works on it.
    pub fn claim(
        &self,
        run: &NewRun,
        worker: &Worker,
        alive: &dyn Fn(&str, i64, &str) -> bool,
    ) -> Result<Claim, Error> {
        self.transact(false, async |t| {
            let row = sqlx::query("SELECT state, attempt, host, pid, heartbeat_at FROM run WHERE id = ?")
                .bind(&run.id)
                .fetch_optional(&mut **t)
                .await?;
            let mut attempt = 0i64;
            if let Some(row) = row {
                let state: String = row.get(0);
                attempt = row.get(1);
                let host: Option<String> = row.get(2);
                let (host, pid) = (host.unwrap_or_default(), row.get::<Option<i64>, _>(3).unwrap_or(0));
                let heartbeat: Option<String> = row.get(4);
                match State::of_word(&state) {
                    State::Done => return Ok(Claim::Done),
                    State::Running if alive(&host, pid, heartbeat.as_deref().unwrap_or_default()) => {
                        return Ok(Claim::Theirs { host, pid, heartbeat: heartbeat.unwrap_or_default() });
                    }
                    _ => {}
                }
            }
            attempt += 1;
            // Again at every claim: until a run refers to it, `gc` takes it for nobody's.
            let environment = put_environment(t, &worker.environment).await?;
            sqlx::query(
                "INSERT INTO run (id, cell, kind, key, seed, view_id, spec, state, attempt, host, pid, heartbeat_at, created_at,
                                  started_at, command, environment_id)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'running', ?8, ?9, ?10, ?11, ?11, ?11, ?12, ?13)
                 ON CONFLICT (id) DO UPDATE SET state = 'running', attempt = ?8, host = ?9, pid = ?10, heartbeat_at = ?11,
                     started_at = ?11, finished_at = NULL, error = NULL, command = ?12, environment_id = ?13, accepted_from = NULL,
                     numbers_hash = NULL",
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
            .execute(&mut **t)
            .await?;
            Ok(Claim::Ours(attempt))
        })
    }

    /// A sign of life of all runs that a worker's process works on.
    pub fn heartbeat(&self, worker: &Worker) -> Result<(), Error> {
        self.transact(false, async |t| {
            sqlx::query("UPDATE run SET heartbeat_at = ? WHERE state = 'running' AND host = ? AND pid = ?")
                .bind(now())
                .bind(&worker.host)
                .bind(i64::from(worker.pid))
                .execute(&mut **t)
                .await
                .map(|_| ())
        })
    }

    /// Keeps epochs of a run (again, after a resume).
    pub fn put_epochs(&self, id: &str, epochs: &[Epoch]) -> Result<(), Error> {
        if epochs.is_empty() {
            return Ok(());
        }
        self.transact(true, async |t| insert_epochs(t, id, epochs).await)
    }

    /// Marks a run done, with everything it leaves, at once. One that somebody else has finished stays as it is.
    pub fn finish(
        &self,
        id: &str,
        epochs: &[Epoch],
        result: &RunResult,
        seconds: f64,
        peak_memory: Option<u64>,
    ) -> Result<(), Error> {
        self.transact(true, async |t| {
            let done = sqlx::query("SELECT 1 FROM run WHERE id = ? AND state = 'done'").bind(id);
            if done.fetch_optional(&mut **t).await?.is_some() {
                return Ok(());
            }
            insert_epochs(t, id, epochs).await?;
            for (what, scores) in &result.scores {
                let (packed, hash) = blob::pack(&scores.values);
                let present: Option<Vec<u8>> =
                    (!scores.present.iter().all(|p| *p)).then(|| scores.present.iter().map(|p| u8::from(*p)).collect());
                sqlx::query("INSERT OR REPLACE INTO score VALUES (?, ?, ?, ?, ?, ?, ?)")
                    .bind(id)
                    .bind(what)
                    .bind(scores.clips() as i64)
                    .bind(scores.classes as i64)
                    .bind(present)
                    .bind(packed)
                    .bind(hash)
                    .execute(&mut **t)
                    .await?;
            }
            let values: Vec<(&String, &f64)> = result.values.iter().filter(|(_, v)| v.is_finite()).collect();
            for chunk in values.chunks(ROWS) {
                let mut insert = sqlx::QueryBuilder::new("INSERT OR REPLACE INTO value ");
                insert.push_values(chunk, |mut row, (name, value)| {
                    row.push_bind(id).push_bind(*name).push_bind(**value);
                });
                insert.build().execute(&mut **t).await?;
            }
            if let Some(bank) = &result.bank {
                let mut bytes: Vec<u8> = bank.numbers.iter().flat_map(|v| v.to_le_bytes()).collect();
                bytes.extend(bank.sigmoids.iter().flat_map(|(a, b)| [a.to_le_bytes(), b.to_le_bytes()].concat()));
                let (packed, hash) = blob::seal(&bytes);
                sqlx::query("INSERT OR REPLACE INTO bank VALUES (?, ?, ?, ?, ?, ?)")
                    .bind(id)
                    .bind(bank.classes as i64)
                    .bind(bank.width as i64)
                    .bind(json(&bank.fits))
                    .bind(packed)
                    .bind(hash)
                    .execute(&mut **t)
                    .await?;
            }
            let hash = run_hash::hash(t, "main", id).await?;
            sqlx::query(
                "UPDATE run SET state = 'done', finished_at = ?, heartbeat_at = NULL, error = NULL,
                     seconds = coalesce(seconds, 0) + ?, peak_memory = ?, numbers_hash = ? WHERE id = ?",
            )
            .bind(now())
            .bind(seconds)
            .bind(peak_memory.map(|p| p as i64))
            .bind(hash)
            .bind(id)
            .execute(&mut **t)
            .await
            .map(|_| ())
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
                 WHERE id = ? AND state = 'running' AND host = ? AND pid = ?",
            )
            .bind(state.word())
            .bind(error)
            .bind(now())
            .bind(seconds)
            .bind(id)
            .bind(&worker.host)
            .bind(i64::from(worker.pid))
            .execute(&mut **t)
            .await?;
            if stopped.rows_affected() == 0 {
                return Ok(());
            }
            let level = if state == State::Failed { "error" } else { "info" };
            sqlx::query("INSERT INTO event (at, run_id, level, message) VALUES (?, ?, ?, ?)")
                .bind(now())
                .bind(id)
                .bind(level)
                .bind(error.unwrap_or(state.word()))
                .execute(&mut **t)
                .await
                .map(|_| ())
        })
    }
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
