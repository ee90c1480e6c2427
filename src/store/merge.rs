//! Stores of several machines become one: runs are named by what their numbers depend on, so the same name is the same run.

use super::filter::Bind;
use super::inspect::Inspector;
use super::row_hash::Table;
use super::select::bound;
use super::{Error, Store, VERSION, blob, experiment_order, files, numerics, run_hash, schema};
use serde::Serialize;
use sqlx::{Connection, Row, Sqlite, SqliteConnection, Transaction};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

/// What a merge did with one other store.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Merged {
    /// The other store.
    pub path: PathBuf,
    /// Runs that are new here.
    pub added: usize,
    /// Runs that were not done here and are now.
    pub replaced: usize,
    /// Runs that were here already.
    pub known: usize,
    /// Runs of the other store that somebody works on, or that were never begun.
    pub unfinished: usize,
    /// Runs whose numbers are not the same in both; ours were kept.
    pub conflicts: Vec<Refused>,
    /// Runs that were done by other numerics there, and whose numbers are close to ours; ours were kept.
    pub other_numerics: Vec<Refused>,
    /// Runs of the other store that are damaged, and were not taken.
    pub damaged: Vec<Refused>,
    /// Runs that were damaged here, and are those of the other store now.
    pub healed: usize,
    /// Data sets, views and experiments that were damaged here, and are those of the other store now.
    pub healed_rows: usize,
    /// Data sets, views, experiments and environments of the other store that are damaged, and were not taken.
    pub refused_rows: Vec<String>,
    /// Whether an experiment of the other store was run when that machine's clock was ahead.
    pub clock_ahead: bool,
}

/// A run that was not taken.
#[derive(Clone, Debug, Serialize)]
pub struct Refused {
    /// Its id.
    pub run: String,
    /// Its cell's key.
    pub key: String,
    /// Its seed.
    pub seed: Option<i64>,
    /// Why.
    pub why: String,
}

impl Store {
    /// Takes over what another store has and this one lacks. Doing it again changes nothing.
    pub fn merge(&self, other: &Path) -> Result<Merged, Error> {
        files::regular(other)?;
        if !other.is_file() {
            return Err(Error::Missing { path: other.into() });
        }
        let same = |p: &Path| std::fs::canonicalize(p).ok();
        if same(other) == same(&self.path) {
            return Err(Error::NotFound(format!(
                "{}: cannot be merged into itself\n  next: name another store, or another --db",
                other.display()
            )));
        }
        let source = Source::of(other)?;
        self.runtime.block_on(async {
            self.still_there(true).await?;
            let mut connection = self.writer.acquire().await.map_err(self.fail())?;
            let path = files::plain(&source.path).to_string_lossy().into_owned();
            sqlx::query("ATTACH ? AS other").bind(path).execute(&mut *connection).await.map_err(self.fail())?;
            let result = take(&mut connection).await;
            let detached = match result.is_ok() {
                true => sqlx::query("DETACH other").execute(&mut *connection).await.map(|_| drop(connection)),
                false => connection.detach().close_hard().await,
            };
            let mut merged = result.map_err(|e| match Error::of_sqlx(other, e) {
                // Whatever is damaged is the other one: ours was checked when it was opened.
                Error::ReadOnly { why, .. } => Error::ReadOnly { path: self.path.clone(), why },
                Error::Full { .. } => Error::Full { path: self.path.clone() },
                e => e,
            })?;
            detached.map_err(self.fail())?;
            self.still_there(true).await?;
            merged.path = other.into();
            Ok(merged)
        })
    }
}

/// Another store in a form that can be read from: itself, or a migrated copy.
struct Source {
    path: PathBuf,
    _copy: Option<tempfile::TempDir>,
}

impl Source {
    fn of(other: &Path) -> Result<Source, Error> {
        let runtime = files::runtime(other)?;
        let version = runtime.block_on(schema::check(other, false));
        match version {
            Ok(VERSION) => return Ok(Source { path: other.into(), _copy: None }),
            // Older ones, and those in a folder that cannot hold a log, are read from a copy.
            Ok(_) | Err(Error::ReadOnly { .. }) => {}
            Err(e) => return Err(e),
        }
        let io = |e: std::io::Error| Error::ReadOnly { path: other.into(), why: format!("copying it: {e}") };
        let dir = tempfile::tempdir().map_err(io)?;
        let path = dir.path().join("other.db");
        std::fs::copy(other, &path).map_err(io)?;
        let log = files::wal(other);
        if log.is_file() {
            std::fs::copy(&log, files::wal(&path)).map_err(io)?;
        }
        let fail = |e| Error::of_sqlx(other, e);
        runtime.block_on(async {
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(files::plain(&path));
            let mut connection = SqliteConnection::connect_with(&options).await.map_err(fail)?;
            schema::migrate(&mut connection, &path).await?;
            connection.close().await.map_err(fail)
        })?;
        Ok(Source { path, _copy: Some(dir) })
    }
}

/// Takes over tables row by row, then runs; the other store is looked at before anything of it is believed.
async fn take(connection: &mut SqliteConnection) -> Result<Merged, sqlx::Error> {
    let mut t = connection.begin_with("BEGIN IMMEDIATE").await?;
    super::transaction::count(&mut t).await?;
    let mut merged = Merged::default();
    let theirs = tables(&mut Inspector::new(&mut t, "other")).await?;
    let ours = tables(&mut Inspector::new(&mut t, "main")).await?;
    for (table, row, name, what) in &theirs {
        merged.refused_rows.push(format!("{} {row} ({name}): {what}", table.noun()));
    }
    merged.healed_rows += rows_of(&mut t, Table::Dataset, &theirs, &ours).await?;
    merged.healed_rows += rows_of(&mut t, Table::View, &theirs, &ours).await?;
    merged.refused_rows.extend(environments(&mut t).await?);
    merged.refused_rows.extend(loose_ends(&mut t).await?);
    let (bad_there, bad_here) = (ids(&theirs, Table::Experiment), ids(&ours, Table::Experiment));
    let came = experiment_order::take(&mut t, &bad_there, &bad_here).await?;
    merged.healed_rows += came.healed;
    merged.clock_ahead = came.clock_ahead;
    runs(&mut t, &mut merged).await?;
    labels(&mut t).await?;
    sqlx::query(
        "INSERT INTO event (at, run_id, level, message) SELECT at, run_id, level, message FROM other.event e
         WHERE run_id IS NULL AND NOT EXISTS (
             SELECT 1 FROM main.event o WHERE o.run_id IS NULL AND o.at = e.at AND o.level = e.level AND o.message = e.message)",
    )
    .execute(&mut *t)
    .await?;
    t.commit().await?;
    Ok(merged)
}

/// What was said of runs there is said of them here as well.
async fn labels(t: &mut Transaction<'_, Sqlite>) -> Result<(), sqlx::Error> {
    for sql in [
        "INSERT INTO main.tag (run_id, name, at) SELECT run_id, name, at FROM other.tag
             WHERE run_id IN (SELECT id FROM main.run) ON CONFLICT DO NOTHING",
        "INSERT INTO main.note (run_id, at, text) SELECT n.run_id, n.at, n.text FROM other.note n
             WHERE n.run_id IN (SELECT id FROM main.run) AND NOT EXISTS (
                 SELECT 1 FROM main.note o WHERE o.run_id = n.run_id AND o.at = n.at AND o.text = n.text) ORDER BY n.id",
    ] {
        sqlx::query(sql).execute(&mut **t).await?;
    }
    Ok(())
}

/// A damaged row: its table, id, name, and what is wrong.
type DamagedRow = (Table, i64, String, String);

/// Rows of data sets, views and experiments that are damaged.
async fn tables(inspector: &mut Inspector<'_>) -> Result<Vec<DamagedRow>, sqlx::Error> {
    let mut damaged = Vec::new();
    for table in Table::ALL {
        for (id, name) in inspector.list(table).await? {
            if let Some(what) = all_of(&inspector.of_table(table, id).await) {
                damaged.push((table, id, name, what));
            }
        }
    }
    Ok(damaged)
}

/// What is wrong with something in one line, as `verify` says it line by line.
fn all_of(wrong: &[String]) -> Option<String> {
    (!wrong.is_empty()).then(|| wrong.join("; "))
}

fn ids(damaged: &[DamagedRow], table: Table) -> HashSet<i64> {
    damaged.iter().filter(|(of, ..)| *of == table).map(|(_, id, ..)| *id).collect()
}

/// Takes over the whole rows of a table that are new here, or damaged here; gives how many were damaged.
async fn rows_of(
    t: &mut Transaction<'_, Sqlite>,
    table: Table,
    theirs: &[DamagedRow],
    ours: &[DamagedRow],
) -> Result<usize, sqlx::Error> {
    let (bad_there, bad_here) = (ids(theirs, table), ids(ours, table));
    let (columns, from) = match table {
        Table::Dataset => ("name, kind, manifest, files, created_at, row_hash", "SELECT fingerprint, name, kind, manifest, files, created_at, row_hash FROM other.dataset WHERE id = ?1"),
        _ => (
            "dataset_id, missing, counts, val, created_at, val_hash, row_hash",
            "SELECT v.fingerprint, ours.id, v.missing, v.counts, v.val, v.created_at, v.val_hash, v.row_hash FROM other.view v
                 JOIN other.dataset theirs ON theirs.id = v.dataset_id
                 JOIN main.dataset ours ON ours.fingerprint = theirs.fingerprint WHERE v.id = ?1",
        ),
    };
    let name = table.name();
    let updates: Vec<String> = columns.split(", ").map(|column| format!("{column} = excluded.{column}")).collect();
    let pairs = format!(
        "SELECT theirs.id, ours.id FROM other.{name} theirs LEFT JOIN main.{name} ours ON ours.fingerprint = theirs.fingerprint"
    );
    let mut healed = 0;
    for row in bound(&pairs, &[]).fetch_all(&mut **t).await? {
        let (there, here): (i64, Option<i64>) = (row.try_get(0)?, row.try_get(1)?);
        if bad_there.contains(&there) || here.is_some_and(|here| !bad_here.contains(&here)) {
            continue;
        }
        let sql = format!(
            "INSERT INTO main.{name} (fingerprint, {columns}) {from} ON CONFLICT (fingerprint) DO UPDATE SET {}",
            updates.join(", ")
        );
        let written = bound(&sql, &[Bind::Integer(there)]).execute(&mut **t).await?.rows_affected();
        healed += usize::from(written > 0 && here.is_some());
    }
    Ok(healed)
}

/// What explains numbers, where it is what its digest says; gives those that are not.
async fn environments(t: &mut Transaction<'_, Sqlite>) -> Result<Vec<String>, sqlx::Error> {
    let mut refused = Vec::new();
    let rows = sqlx::query("SELECT digest, record, id FROM other.environment ORDER BY id").fetch_all(&mut **t).await?;
    for row in rows {
        let (digest, record): (&str, &str) = (row.try_get(0)?, row.try_get(1)?);
        if blake3::hash(record.as_bytes()).to_hex().as_str() == digest {
            let insert = "INSERT INTO environment (digest, record) VALUES (?, ?)
                 ON CONFLICT (digest) DO UPDATE SET record = excluded.record";
            sqlx::query(insert).bind(digest).bind(record).execute(&mut **t).await?;
        } else {
            refused.push(format!("environment {}: it is not what was recorded", row.try_get::<i64, _>(2)?));
        }
    }
    Ok(refused)
}

/// Rows of the other store that refer to nothing; they are not taken, and what they were of is gone there.
async fn loose_ends(t: &mut Transaction<'_, Sqlite>) -> Result<BTreeSet<String>, sqlx::Error> {
    let rows = sqlx::query("PRAGMA other.foreign_key_check").fetch_all(&mut **t).await?;
    let told = rows.iter().map(|row| {
        let (table, parent): (String, String) = (row.try_get(0)?, row.try_get(2)?);
        Ok(format!("a row of {table} refers to a row of {parent} that is not there"))
    });
    told.collect()
}

/// A run of the other store, and what it is here.
struct Both {
    id: String,
    key: String,
    seed: Option<i64>,
    state: String,
    ours: Option<String>,
    /// Whether theirs is a later attempt at what is not done here.
    later: bool,
    /// Whether it is done in both, has the hash that it was finished with in both, and the same one.
    same: bool,
}

async fn runs(t: &mut Transaction<'_, Sqlite>, merged: &mut Merged) -> Result<(), sqlx::Error> {
    let rows = sqlx::query(
        "SELECT theirs.id, theirs.key, theirs.seed, theirs.state, ours.state, theirs.numbers_hash, ours.numbers_hash,
             theirs.attempt > ours.attempt AND ours.state NOT IN ('done', 'running')
         FROM other.run theirs LEFT JOIN main.run ours ON ours.id = theirs.id ORDER BY theirs.rowid",
    )
    .fetch_all(&mut **t)
    .await?;
    let mut all = Vec::new();
    for row in &rows {
        let mut both = Both {
            id: row.try_get(0)?,
            key: row.try_get(1)?,
            seed: row.try_get(2)?,
            state: row.try_get(3)?,
            ours: row.try_get(4)?,
            later: row.try_get::<Option<bool>, _>(7)?.unwrap_or(false),
            same: false,
        };
        let (there, here): (Option<String>, Option<String>) = (row.try_get(5)?, row.try_get(6)?);
        if both.state == "done" && both.ours.as_deref() == Some("done") && there.is_some() && there == here {
            both.same = Some(run_hash::hash(t, "other", &both.id).await?) == there
                && Some(run_hash::hash(t, "main", &both.id).await?) == here;
        }
        all.push(both);
    }
    // Everything of theirs that may be taken is looked at whole, and of ours what may be damaged.
    let (mut wrong_there, mut wrong_here) = (HashMap::new(), HashMap::new());
    let mut there = Inspector::new(t, "other");
    let unfinished = |state: &str| matches!(state, "running" | "pending");
    for both in all.iter().filter(|both| !both.same && !unfinished(&both.state)) {
        wrong_there.insert(both.id.clone(), all_of(&there.run(&both.id).await));
    }
    let mut here = Inspector::new(t, "main");
    for both in all.iter().filter(|both| !both.same && both.ours.as_deref() == Some("done")) {
        wrong_here.insert(both.id.clone(), all_of(&here.run(&both.id).await));
    }
    for both in &all {
        let id = &both.id;
        // Nothing can be taken that hangs on a view which was not.
        let homeless = both.ours.is_none() && !unfinished(&both.state) && !has_view(t, id).await?;
        let refused = |why: String| Refused { run: id.clone(), key: both.key.clone(), seed: both.seed, why };
        let (bad_there, bad_here) = (wrong_there.get(id).cloned().flatten(), wrong_here.get(id).cloned().flatten());
        match (both.ours.as_deref(), both.state.as_str()) {
            (_, state) if unfinished(state) => merged.unfinished += 1,
            _ if both.same => merged.known += 1,
            (_, "done") if bad_there.is_some() => merged.damaged.extend(bad_there.map(refused)),
            (Some("done"), "done") if bad_here.is_some() => {
                copy(t, id).await?;
                merged.healed += 1;
            }
            (Some("done"), "done") => match conflict(t, id).await? {
                Some(Conflict { why, far }) => {
                    let here = numerics::of_run(t, "main", id).await?;
                    let there = numerics::of_run(t, "other", id).await?;
                    let explained = !here.is_empty() && !there.is_empty() && here != there && far <= CLOSE;
                    match explained {
                        true => merged.other_numerics.push(refused(format!("{why} ({here} here, {there} there)"))),
                        false => merged.conflicts.push(refused(why)),
                    }
                }
                None => merged.known += 1,
            },
            (Some(_), "failed" | "interrupted") if !both.later => merged.known += 1,
            _ if bad_there.is_some() => merged.damaged.extend(bad_there.map(refused)),
            _ if homeless => merged.damaged.push(refused("its data set or view is damaged there".into())),
            (ours, _) => {
                copy(t, id).await?;
                *(if ours.is_some() { &mut merged.replaced } else { &mut merged.added }) += 1;
            }
        }
    }
    Ok(())
}

/// Whether the view of a run of theirs is here.
async fn has_view(t: &mut Transaction<'_, Sqlite>, id: &str) -> Result<bool, sqlx::Error> {
    let sql = "SELECT 1 FROM other.run r JOIN other.view v ON v.id = r.view_id
         JOIN main.view ours ON ours.fingerprint = v.fingerprint WHERE r.id = ?";
    Ok(sqlx::query(sql).bind(id).fetch_optional(&mut **t).await?.is_some())
}

/// One score of a run: what, size, marks, blob, hash.
type Score = (String, i64, i64, Option<Vec<u8>>, Vec<u8>, String);

async fn scores(t: &mut Transaction<'_, Sqlite>, schema: &str, id: &str) -> Result<Vec<Score>, sqlx::Error> {
    let sql =
        format!("SELECT what, clips, classes, present, blob, hash FROM {schema}.score WHERE run_id = ? ORDER BY what");
    let rows = bound(&sql, &[Bind::Text(id.into())]).fetch_all(&mut **t).await?;
    let read = |r: &sqlx::sqlite::SqliteRow| {
        Ok((r.try_get(0)?, r.try_get(1)?, r.try_get(2)?, r.try_get(3)?, r.try_get(4)?, r.try_get(5)?))
    };
    rows.iter().map(read).collect()
}

fn numbers(score: &Score) -> Result<Vec<f32>, String> {
    let n = usize::try_from(score.1.saturating_mul(score.2)).unwrap_or(usize::MAX);
    blob::unpack(&score.4, &score.5, n)
}

/// Class probabilities of one run by two kinds of numerics are at most so far apart: what is further is no rounding.
const CLOSE: f32 = 0.05;

/// How a run differs that is done in both stores.
struct Conflict {
    why: String,
    /// The largest difference of two scores; infinite where they cannot be compared.
    far: f32,
}

/// How a run that is done in both stores differs, if it does.
async fn conflict(t: &mut Transaction<'_, Sqlite>, id: &str) -> Result<Option<Conflict>, sqlx::Error> {
    let incomparable = |why: String| Ok(Some(Conflict { why, far: f32::INFINITY }));
    let (ours, theirs) = (scores(t, "main", id).await?, scores(t, "other", id).await?);
    let shape = |s: &[Score]| s.iter().map(|s| (s.0.clone(), s.1, s.2, s.3.clone())).collect::<Vec<_>>();
    if shape(&ours) != shape(&theirs) {
        return incomparable("it has other scores there".into());
    }
    let mut parted: Option<Conflict> = None;
    for (a, b) in ours.iter().zip(&theirs) {
        // Another version of the compressor makes other bytes of the same numbers.
        if a.5 == b.5 {
            continue;
        }
        let same = |x: &[f32], y: &[f32]| x.iter().zip(y).all(|(x, y)| x.to_bits() == y.to_bits());
        match (numbers(a), numbers(b)) {
            (Ok(x), Ok(y)) if same(&x, &y) => {}
            (Ok(x), Ok(y)) => {
                let far = x.iter().zip(&y).map(|(x, y)| (x - y).abs()).fold(0.0f32, f32::max);
                if parted.as_ref().is_none_or(|known| far > known.far) {
                    parted = Some(Conflict { why: format!("its {} scores differ by up to {far:e}", a.0), far });
                }
            }
            (Err(why), _) => return incomparable(format!("our {} scores: {why}", a.0)),
            (_, Err(why)) => return incomparable(format!("their {} scores: {why}", a.0)),
        }
    }
    if parted.is_some() {
        return Ok(parted);
    }
    for (table, columns, what) in [
        ("value", "name, value", "name"),
        ("epoch", "epoch, split, loss, loss_cls, loss_rec, accuracy, feature_error", "'epoch ' || epoch"),
    ] {
        let rows = |a: &str, b: &str| {
            format!(
                "SELECT * FROM (SELECT {columns} FROM {a}.{table} WHERE run_id = ?1
                     EXCEPT SELECT {columns} FROM {b}.{table} WHERE run_id = ?1)"
            )
        };
        let sql = format!(
            "SELECT {what} FROM ({} UNION ALL {}) ORDER BY 1 LIMIT 1",
            rows("main", "other"),
            rows("other", "main")
        );
        if let Some(row) = bound(&sql, &[Bind::Text(id.into())]).fetch_optional(&mut **t).await? {
            let why = format!("its {} is another number there", row.try_get::<String, _>(0)?);
            return Ok(Some(Conflict { why, far: 0.0 }));
        }
    }
    Ok(None)
}

/// Copies one run with all that hangs on it, in place of ours.
async fn copy(t: &mut Transaction<'_, Sqlite>, id: &str) -> Result<(), sqlx::Error> {
    for sql in [
        "INSERT INTO run (id, cell, kind, key, seed, view_id, spec, state, attempt, host, pid, heartbeat_at, created_at,
                          started_at, finished_at, seconds, peak_memory, command, environment_id, error, accepted_from,
                          numbers_hash, worker, machine)
             SELECT r.id, r.cell, r.kind, r.key, r.seed, ours.id, r.spec, r.state, r.attempt, r.host, r.pid, r.heartbeat_at,
                 r.created_at, r.started_at, r.finished_at, r.seconds, r.peak_memory, r.command, environment.id, r.error,
                 r.accepted_from, r.numbers_hash, r.worker, r.machine
             FROM other.run r JOIN other.view v ON v.id = r.view_id JOIN main.view ours ON ours.fingerprint = v.fingerprint
             LEFT JOIN other.environment e ON e.id = r.environment_id
             LEFT JOIN main.environment environment ON environment.digest = e.digest
             WHERE r.id = ?1
         ON CONFLICT (id) DO UPDATE SET cell = excluded.cell, kind = excluded.kind, key = excluded.key, seed = excluded.seed,
             view_id = excluded.view_id, spec = excluded.spec, worker = excluded.worker, machine = excluded.machine,
             state = excluded.state, attempt = excluded.attempt, host = excluded.host,
             pid = excluded.pid, heartbeat_at = excluded.heartbeat_at, started_at = excluded.started_at,
             finished_at = excluded.finished_at, seconds = excluded.seconds, peak_memory = excluded.peak_memory,
             command = excluded.command, environment_id = excluded.environment_id, error = excluded.error,
             accepted_from = excluded.accepted_from, numbers_hash = excluded.numbers_hash",
        "DELETE FROM epoch WHERE run_id = ?1",
        "DELETE FROM value WHERE run_id = ?1",
        "DELETE FROM score WHERE run_id = ?1",
        "DELETE FROM bank WHERE run_id = ?1",
        "INSERT INTO epoch SELECT * FROM other.epoch WHERE run_id = ?1",
        "INSERT INTO value SELECT * FROM other.value WHERE run_id = ?1",
        "INSERT INTO score SELECT * FROM other.score WHERE run_id = ?1",
        "INSERT INTO bank SELECT * FROM other.bank WHERE run_id = ?1",
        "INSERT INTO event (at, run_id, level, message) SELECT at, run_id, level, message FROM other.event e WHERE run_id = ?1
             AND NOT EXISTS (SELECT 1 FROM main.event o WHERE o.run_id = ?1 AND o.at = e.at AND o.message = e.message)",
    ] {
        sqlx::query(sql).bind(id).execute(&mut **t).await?;
    }
    Ok(())
}
