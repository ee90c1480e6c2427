//! Who works on a run: a worker takes it, gives signs of life, and lets go of it.

use super::clock::now;
use super::records::*;
use super::{Error, Store};
use sqlx::{Row, Sqlite, Transaction};

impl Store {
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
}

/// Whether a worker has a run, and nobody else took it over.
pub(super) async fn owns(t: &mut Transaction<'_, Sqlite>, id: &str, worker: &Worker) -> Result<bool, sqlx::Error> {
    let own = sqlx::query("SELECT 1 FROM run WHERE id = ? AND state = 'running' AND worker = ?");
    Ok(own.bind(id).bind(&worker.id).fetch_optional(&mut **t).await?.is_some())
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::score::Scores;
    use crate::train::{Epoch, Measures};
    use sqlx::Connection;

    pub(in crate::store) const RUN: &str = "fedcba9876543210fedcba9876543210";

    pub(in crate::store) fn worker(id: &str) -> Worker {
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
    pub(in crate::store) fn store() -> (tempfile::TempDir, Store, NewRun) {
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

    pub(in crate::store) fn result(score: f32) -> RunResult {
        RunResult {
            scores: vec![("generated".into(), Scores::complete(vec![score, 0.5, 0.25, 0.75], 2))],
            values: [("top1".to_string(), 50.0)].into(),
            bank: None,
            head: None,
        }
    }

    pub(in crate::store) fn epoch(loss: f64) -> Epoch {
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
}
