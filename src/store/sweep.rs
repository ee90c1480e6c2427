//! What a store can do without: runs that newer code has made again, and rows that nothing refers to.

use super::{Error, Store};
use serde::Serialize;
use sqlx::Row;
use std::collections::{BTreeMap, BTreeSet};

/// What there is to sweep, or was.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Sweep {
    /// Runs that the same configuration, data and seed superseded with newer code, and that no experiment refers to and
    /// nobody has tagged or noted anything of.
    pub superseded: Vec<Superseded>,
    /// Rows that nothing refers to, by table.
    pub orphans: BTreeMap<String, u64>,
}

/// A run that another one took the place of.
#[derive(Clone, Debug, Serialize)]
pub struct Superseded {
    /// Its id.
    pub run: String,
    /// Its cell's key.
    pub key: String,
    /// Its seed.
    pub seed: Option<u64>,
    /// The run that took its place.
    pub by: String,
    /// Bytes of its blobs.
    pub bytes: u64,
}

/// Tables and what makes a row of them an orphan, in an order in which one makes orphans of the next. A process that just
/// starts records its data first and what refers to it after, hence the hour.
const ORPHANS: [(&str, &str); 9] = [
    ("epoch", "run_id NOT IN (SELECT id FROM run)"),
    ("value", "run_id NOT IN (SELECT id FROM run)"),
    ("score", "run_id NOT IN (SELECT id FROM run)"),
    ("bank", "run_id NOT IN (SELECT id FROM run)"),
    ("event", "run_id IS NOT NULL AND run_id NOT IN (SELECT id FROM run)"),
    ("run", "state = 'pending' AND cell NOT IN (SELECT fingerprint FROM cell WHERE fingerprint IS NOT NULL)"),
    (
        "view",
        "id NOT IN (SELECT view_id FROM run) AND id NOT IN (SELECT view_id FROM cell WHERE view_id IS NOT NULL)
             AND created_at < strftime('%Y-%m-%dT%H:%M:%S', 'now', '-1 hour')",
    ),
    (
        "dataset",
        "id NOT IN (SELECT dataset_id FROM view) AND id NOT IN (SELECT dataset_id FROM experiment)
             AND created_at < strftime('%Y-%m-%dT%H:%M:%S', 'now', '-1 hour')",
    ),
    ("environment", "id NOT IN (SELECT environment_id FROM run WHERE environment_id IS NOT NULL)"),
];

struct Candidate {
    id: String,
    key: String,
    seed: Option<i64>,
    done: bool,
    code: String,
    finished: String,
    /// Rows are counted up, whatever the clocks said.
    row: i64,
    referred: bool,
    /// Whether somebody has said something of it.
    labelled: bool,
    bytes: i64,
}

impl Store {
    /// What [`Store::sweep`] would delete. Runs that ended after `before` are left alone.
    pub fn to_sweep(&self, before: &str) -> Result<Sweep, Error> {
        let mut sweep = Sweep { superseded: self.superseded(before)?, ..Default::default() };
        for (table, condition) in ORPHANS {
            let sql = format!("SELECT count(*) FROM {table} WHERE {condition}");
            let rows = self.rows(sqlx::query(sqlx::AssertSqlSafe(sql)))?;
            let count: i64 = rows.first().map_or(Ok(0), |r| self.get(r, 0))?;
            if count > 0 {
                sweep.orphans.insert(table.into(), count as u64);
            }
        }
        Ok(sweep)
    }

    /// Deletes what [`Store::to_sweep`] lists, and then gives the space back to the file system.
    pub fn sweep(&self, before: &str) -> Result<Sweep, Error> {
        let superseded = self.superseded(before)?;
        let orphans = self.transact(true, async |t| {
            for run in &superseded {
                sqlx::query("DELETE FROM run WHERE id = ?").bind(&run.run).execute(&mut **t).await?;
            }
            let mut orphans = BTreeMap::new();
            for (table, condition) in ORPHANS {
                let sql = format!("DELETE FROM {table} WHERE {condition}");
                let count = sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut **t).await?.rows_affected();
                if count > 0 {
                    orphans.insert(table.to_string(), count);
                }
            }
            Ok(orphans)
        })?;
        self.runtime
            .block_on(async {
                let mut connection = self.writer.acquire().await?;
                sqlx::query("VACUUM").execute(&mut *connection).await?;
                sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_all(&mut *connection).await
            })
            .map_err(self.fail())?;
        Ok(Sweep { superseded, orphans })
    }

    fn superseded(&self, before: &str) -> Result<Vec<Superseded>, Error> {
        let rows = self.rows(sqlx::query(
            "SELECT id, key, seed, state, json_extract(spec, '$.code'), coalesce(finished_at, created_at),
                 EXISTS (SELECT 1 FROM cell WHERE cell.fingerprint = run.cell),
                 (SELECT coalesce(sum(length(blob)), 0) FROM score WHERE run_id = run.id)
                     + (SELECT coalesce(sum(length(blob)), 0) FROM bank WHERE run_id = run.id),
                 json_remove(spec, '$.code'), rowid,
                 id IN (SELECT run_id FROM tag) OR id IN (SELECT run_id FROM note)
             FROM run WHERE state != 'running'",
        ))?;
        let mut alike: BTreeMap<(String, Option<i64>), Vec<Candidate>> = BTreeMap::new();
        for r in &rows {
            let candidate = Candidate {
                id: self.get(r, 0)?,
                key: self.get(r, 1)?,
                seed: self.get(r, 2)?,
                done: self.get::<&str>(r, 3)? == "done",
                code: self.get::<Option<String>>(r, 4)?.unwrap_or_default(),
                finished: self.get(r, 5)?,
                referred: self.get(r, 6)?,
                bytes: self.get(r, 7)?,
                row: self.get(r, 9)?,
                labelled: self.get(r, 10)?,
            };
            alike.entry((self.get(r, 8)?, candidate.seed)).or_default().push(candidate);
        }
        let mut superseded = Vec::new();
        for runs in alike.into_values() {
            let Some(newest) = runs.iter().filter(|r| r.done).max_by_key(|r| (r.referred, r.row)) else {
                continue;
            };
            let old = |r: &&Candidate| {
                let before_it = newest.referred || r.row <= newest.row;
                r.code != newest.code && before_it && !r.referred && !r.labelled && r.finished.as_str() < before
            };
            superseded.extend(runs.iter().filter(old).map(|r| Superseded {
                run: r.id.clone(),
                key: r.key.clone(),
                seed: r.seed.map(|s| s as u64),
                by: newest.id.clone(),
                bytes: r.bytes as u64,
            }));
        }
        superseded.sort_by(|a, b| a.run.cmp(&b.run));
        Ok(superseded)
    }

    /// Ids of runs that may still need their checkpoint.
    pub fn unfinished(&self) -> Result<BTreeSet<String>, Error> {
        let rows = self.rows(sqlx::query("SELECT id FROM run WHERE state != 'done'"))?;
        rows.iter().map(|r| r.try_get(0).map_err(self.fail())).collect()
    }
}
