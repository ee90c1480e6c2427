//! Parts: copies of a store that travel between machines. Nobody works on a copy, whatever its rows say.

use super::files::options;
use super::records::Worker;
use super::{Error, KeptWeights, Store, clock::now};
use sqlx::{Connection, SqliteConnection};
use std::collections::BTreeSet;
use std::path::Path;

/// Runs that are under way where a copy was made are interrupted in it.
const DISOWN: &str =
    "UPDATE run SET state = 'interrupted', heartbeat_at = NULL, finished_at = ?1 WHERE state = 'running'";

/// Runs in one statement.
const CHUNK: usize = 500;

impl Store {
    /// Marks runs that are under way as interrupted: for a copy that this process alone has.
    pub fn disown(&self) -> Result<(), Error> {
        self.transact(false, async |t| sqlx::query(DISOWN).bind(now()).execute(&mut **t).await.map(drop))
    }

    /// Writes all of the store as one file that needs no log and that nobody works on, with these files of weights inside, as
    /// far as they can be read; one at a time, for they are large. `to` must not be there.
    pub fn write_part(
        &self,
        to: &Path,
        weights: &[KeptWeights],
        read: &dyn Fn(&KeptWeights) -> Option<Vec<u8>>,
    ) -> Result<(), Error> {
        self.copy_to(to)?;
        let fail = |e| Error::of_sqlx(to, e);
        let begin = async {
            let mut connection = SqliteConnection::connect_with(&options(to).foreign_keys(true)).await?;
            sqlx::query("PRAGMA journal_mode = DELETE").fetch_all(&mut connection).await?;
            let mut t = connection.begin_with("BEGIN IMMEDIATE").await?;
            super::transaction::count(&mut t).await?;
            sqlx::query(DISOWN).bind(now()).execute(&mut *t).await?;
            t.commit().await?;
            Ok(connection)
        };
        let mut connection = self.runtime.block_on(begin).map_err(fail)?;
        for kept in weights {
            let Some(file) = read(kept) else { continue };
            let insert = sqlx::query("INSERT INTO weights_file VALUES (?, ?) ON CONFLICT (hash) DO NOTHING");
            let insert = insert.bind(&kept.hash).bind(file.as_slice()).execute(&mut connection);
            self.runtime.block_on(insert).map_err(fail)?;
        }
        self.runtime.block_on(connection.close()).map_err(fail)
    }

    /// Deletes all runs but these, and gives their space back: for a copy that others are to begin from.
    pub fn keep_runs(&self, wanted: &BTreeSet<String>) -> Result<(), Error> {
        let others: Vec<String> = self.states()?.into_keys().filter(|id| !wanted.contains(id)).collect();
        self.transact(false, async |t| {
            for ids in others.chunks(CHUNK) {
                let mut delete = sqlx::QueryBuilder::new("DELETE FROM run WHERE id IN (");
                let mut list = delete.separated(", ");
                for id in ids {
                    list.push_bind(id);
                }
                delete.push(")").build().execute(&mut **t).await?;
            }
            sqlx::query("DELETE FROM weights_file WHERE hash NOT IN (SELECT hash FROM weights)")
                .execute(&mut **t)
                .await
                .map(drop)
        })
    }

    /// Notes that a worker's run is the `attempt`th: an earlier one was in another store, and left a checkpoint.
    pub fn set_attempt(&self, id: &str, worker: &Worker, attempt: i64) -> Result<(), Error> {
        self.transact(false, async |t| {
            let update = "UPDATE run SET attempt = max(attempt, ?) WHERE id = ? AND state = 'running' AND worker = ?";
            sqlx::query(update).bind(attempt).bind(id).bind(&worker.id).execute(&mut **t).await.map(drop)
        })
    }

    /// Whether a path is that of a log-less file, as parts are: nothing that is newest lies beside it.
    pub fn is_one_file(path: &Path) -> bool {
        !super::wal(path).metadata().is_ok_and(|log| log.len() > 0) && path.is_file()
    }
}

#[cfg(test)]
mod tests {
    use super::super::records::{Claim, NewRun, State};
    use super::*;

    #[test]
    fn a_part_is_one_file_and_nobody_works_on_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("runs.db");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { super::super::schema::old_store(&path, 3).await.close().await.unwrap() });
        let store = Store::open(&path).unwrap();
        let known = store.states().unwrap().into_keys().next().map(|id| store.run(&id).unwrap().unwrap()).unwrap();
        let worker = Worker {
            id: "w".into(),
            machine: "m".into(),
            host: "h".into(),
            pid: 1,
            command: "unmute run".into(),
            environment: "{}".into(),
        };
        for id in ["a", "b"] {
            let run = NewRun {
                id: id.into(),
                cell: known.cell.clone(),
                kind: known.kind.clone(),
                key: known.key.clone(),
                seed: known.seed,
                view_id: known.view_id,
                spec: known.spec.clone(),
            };
            assert_eq!(store.claim(&run, &worker, &|_| false).unwrap(), Claim::Ours(1));
        }
        store.set_attempt("a", &worker, 4).unwrap();
        let part = dir.path().join("part.db");
        store.write_part(&part, &[], &|_| None).unwrap();
        assert!(Store::is_one_file(&part));
        let header = std::fs::read(&part).unwrap();
        assert_eq!(header[18..20], [1, 1], "no log is needed to read it");
        assert_eq!(store.states().unwrap()["a"], State::Running, "the store itself goes on");
        let copy = Store::open(&part).unwrap();
        assert!(["a", "b"].iter().all(|id| copy.states().unwrap()[*id] == State::Interrupted));
        assert_eq!(copy.run("a").unwrap().unwrap().attempt, 4);
        copy.keep_runs(&BTreeSet::from(["b".to_string()])).unwrap();
        assert_eq!(copy.states().unwrap().into_keys().collect::<Vec<_>>(), ["b"]);
    }
}
