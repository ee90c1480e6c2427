//! Stores of several machines become one: runs are named by what their numbers depend on, so the same name is the same run.

use super::filter::Bind;
use super::select::bound;
use super::{Error, Store, VERSION, blob, run_hash, schema};
use serde::Serialize;
use sqlx::{Connection, Row, Sqlite, SqliteConnection, Transaction};
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
    /// Runs of the other store that are damaged, and were not taken.
    pub damaged: Vec<Refused>,
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
            let mut connection = self.writer.acquire().await.map_err(self.fail())?;
            let path = super::plain(&source.path).to_string_lossy().into_owned();
            sqlx::query("ATTACH ? AS other").bind(path).execute(&mut *connection).await.map_err(self.fail())?;
            let result = take(&mut connection).await;
            let detached = sqlx::query("DETACH other").execute(&mut *connection).await;
            let mut merged = result.map_err(|e| match Error::of_sqlx(other, e) {
                // Whatever is damaged is the other one: ours was checked when it was opened.
                Error::ReadOnly { why, .. } => Error::ReadOnly { path: self.path.clone(), why },
                Error::Full { .. } => Error::Full { path: self.path.clone() },
                e => e,
            })?;
            detached.map_err(self.fail())?;
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
        let runtime = super::runtime(other)?;
        let version = runtime.block_on(super::check(other, false));
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
        let log = super::wal(other);
        if log.is_file() {
            std::fs::copy(&log, super::wal(&path)).map_err(io)?;
        }
        let fail = |e| Error::of_sqlx(other, e);
        runtime.block_on(async {
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(super::plain(&path));
            let mut connection = SqliteConnection::connect_with(&options).await.map_err(fail)?;
            schema::migrate(&mut connection, &path).await?;
            connection.close().await.map_err(fail)
        })?;
        Ok(Source { path, _copy: Some(dir) })
    }
}

async fn take(connection: &mut SqliteConnection) -> Result<Merged, sqlx::Error> {
    let mut t = connection.begin_with("BEGIN IMMEDIATE").await?;
    let mut merged = Merged::default();
    for sql in [
        "INSERT INTO dataset (fingerprint, name, kind, manifest, files, created_at)
             SELECT fingerprint, name, kind, manifest, files, created_at FROM other.dataset WHERE true
             ON CONFLICT (fingerprint) DO NOTHING",
        "INSERT INTO view (fingerprint, dataset_id, missing, counts, val, created_at, val_hash)
             SELECT v.fingerprint, ours.id, v.missing, v.counts, v.val, v.created_at, v.val_hash FROM other.view v
             JOIN other.dataset theirs ON theirs.id = v.dataset_id
             JOIN main.dataset ours ON ours.fingerprint = theirs.fingerprint WHERE true
             ON CONFLICT (fingerprint) DO NOTHING",
        "INSERT INTO environment (digest, record) SELECT digest, record FROM other.environment WHERE true
             ON CONFLICT (digest) DO NOTHING",
    ] {
        sqlx::query(sql).execute(&mut *t).await?;
    }
    experiments(&mut t).await?;
    let runs = sqlx::query(
        "SELECT theirs.id, theirs.key, theirs.seed, theirs.state, ours.state FROM other.run theirs
         LEFT JOIN main.run ours ON ours.id = theirs.id ORDER BY theirs.rowid",
    )
    .fetch_all(&mut *t)
    .await?;
    for row in runs {
        let (id, state): (String, String) = (row.try_get(0)?, row.try_get(3)?);
        let ours: Option<String> = row.try_get(4)?;
        let refused = |why: String| -> Result<Refused, sqlx::Error> {
            Ok(Refused { run: id.clone(), key: row.try_get(1)?, seed: row.try_get(2)?, why })
        };
        match (ours.as_deref(), state.as_str()) {
            (_, "running" | "pending") => merged.unfinished += 1,
            (Some("done"), "done") => {
                if let Some(why) = conflict(&mut t, &id).await? {
                    merged.conflicts.push(refused(why)?);
                } else {
                    merged.known += 1;
                }
            }
            (Some(_), "failed" | "interrupted") => merged.known += 1,
            (ours, _) => match damage(&mut t, &id, state == "done").await? {
                Some(why) => merged.damaged.push(refused(why)?),
                None => {
                    copy(&mut t, &id).await?;
                    *(if ours.is_some() { &mut merged.replaced } else { &mut merged.added }) += 1;
                }
            },
        }
    }
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

/// Experiments that are new here or were used later there, with their cells. Seeds are those of both, so that a report
/// expects all of them.
async fn experiments(t: &mut Transaction<'_, Sqlite>) -> Result<(), sqlx::Error> {
    let rows = sqlx::query(
        "SELECT theirs.id, theirs.digest, theirs.config, theirs.used_at, ours.config, ours.used_at, dataset.id
         FROM other.experiment theirs JOIN other.dataset d ON d.id = theirs.dataset_id
         JOIN main.dataset dataset ON dataset.fingerprint = d.fingerprint
         LEFT JOIN main.experiment ours ON ours.digest = theirs.digest ORDER BY theirs.id",
    )
    .fetch_all(&mut **t)
    .await?;
    for row in rows {
        let (theirs, digest): (i64, String) = (row.try_get(0)?, row.try_get(1)?);
        let (config, ours): (String, Option<String>) = (row.try_get(2)?, row.try_get(4)?);
        let (used, used_here): (String, Option<String>) = (row.try_get(3)?, row.try_get(5)?);
        let later = used_here.is_none_or(|here| used > here);
        let newest = if later { &config } else { ours.as_ref().unwrap_or(&config) };
        let merged = ours.as_ref().map_or_else(|| config.clone(), |ours| with_seeds_of_both(newest, [ours, &config]));
        if ours.as_ref() != Some(&merged) {
            sqlx::query(
                "INSERT INTO experiment (digest, name, dataset_id, config, sets, tables, claims, ledger, created_at, used_at)
                     SELECT digest, name, ?2, ?3, sets, tables, claims, ledger, created_at, used_at
                     FROM other.experiment WHERE id = ?1
                 ON CONFLICT (digest) DO UPDATE SET config = ?3",
            )
            .bind(theirs)
            .bind(row.try_get::<i64, _>(6)?)
            .bind(&merged)
            .execute(&mut **t)
            .await?;
        }
        if !later {
            continue;
        }
        for sql in [
            "UPDATE experiment SET (sets, tables, claims, ledger, used_at) =
                 (SELECT sets, tables, claims, ledger, used_at FROM other.experiment o WHERE o.digest = ?1) WHERE digest = ?1",
            "DELETE FROM cell WHERE experiment_id = (SELECT id FROM main.experiment WHERE digest = ?1)",
            "INSERT INTO cell (experiment_id, position, key, kind, part, overrides, view_id, fingerprint, skipped)
                 SELECT (SELECT id FROM main.experiment WHERE digest = ?1), c.position, c.key, c.kind, c.part, c.overrides,
                     ours.id, c.fingerprint, c.skipped
                 FROM other.cell c LEFT JOIN other.view v ON v.id = c.view_id
                 LEFT JOIN main.view ours ON ours.fingerprint = v.fingerprint
                 WHERE c.experiment_id = (SELECT id FROM other.experiment WHERE digest = ?1)",
        ] {
            sqlx::query(sql).bind(&digest).execute(&mut **t).await?;
        }
    }
    Ok(())
}

fn with_seeds_of_both(config: &str, both: [&String; 2]) -> String {
    let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap_or_default();
    let mut seeds: Vec<u64> = Vec::new();
    for text in both {
        seeds.extend(read(text)["seeds"].as_array().into_iter().flatten().filter_map(serde_json::Value::as_u64));
    }
    seeds.sort_unstable();
    seeds.dedup();
    let mut config = read(config);
    if let Some(map) = config.as_object_mut() {
        map.insert("seeds".into(), seeds.into());
    }
    config.to_string()
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

/// How a run that is done in both stores differs, if it does.
async fn conflict(t: &mut Transaction<'_, Sqlite>, id: &str) -> Result<Option<String>, sqlx::Error> {
    let (ours, theirs) = (scores(t, "main", id).await?, scores(t, "other", id).await?);
    let shape = |s: &[Score]| s.iter().map(|s| (s.0.clone(), s.1, s.2, s.3.clone())).collect::<Vec<_>>();
    if shape(&ours) != shape(&theirs) {
        return Ok(Some("it has other scores there".into()));
    }
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
                return Ok(Some(format!("its {} scores differ by up to {far:e}", a.0)));
            }
            (Err(why), _) => return Ok(Some(format!("our {} scores: {why}", a.0))),
            (_, Err(why)) => return Ok(Some(format!("their {} scores: {why}", a.0))),
        }
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
            return Ok(Some(format!("its {} is another number there", row.try_get::<String, _>(0)?)));
        }
    }
    Ok(None)
}

/// What is wrong with a run of the other store, if anything.
async fn damage(t: &mut Transaction<'_, Sqlite>, id: &str, done: bool) -> Result<Option<String>, sqlx::Error> {
    let spec =
        sqlx::query("SELECT spec, seed, numbers_hash FROM other.run WHERE id = ?").bind(id).fetch_one(&mut **t).await?;
    if !super::check::names(id, spec.try_get(0)?, spec.try_get(1)?) {
        return Ok(Some("its id is not the fingerprint of what it says that it depends on".into()));
    }
    let theirs = scores(t, "other", id).await?;
    if done && theirs.is_empty() {
        return Ok(Some("it is done and has no scores".into()));
    }
    for score in &theirs {
        if let Err(why) = numbers(score) {
            return Ok(Some(format!("its {} scores: {why}", score.0)));
        }
    }
    let banks = sqlx::query("SELECT blob, hash FROM other.bank WHERE run_id = ?").bind(id).fetch_all(&mut **t).await?;
    for bank in banks {
        let (blob, hash): (&[u8], &str) = (bank.try_get(0)?, bank.try_get(1)?);
        if blake3::hash(blob).to_hex().as_str() != hash {
            return Ok(Some("its SVM bank: its bytes do not match their hash".into()));
        }
    }
    let hash: Option<String> = spec.try_get(2)?;
    if let Some(hash) = hash.filter(|_| done)
        && run_hash::hash(t, "other", id).await? != hash
    {
        return Ok(Some(super::check::CHANGED.into()));
    }
    Ok(None)
}

/// Copies one run with all that hangs on it, in place of ours.
async fn copy(t: &mut Transaction<'_, Sqlite>, id: &str) -> Result<(), sqlx::Error> {
    for sql in [
        "INSERT INTO run (id, cell, kind, key, seed, view_id, spec, state, attempt, host, pid, heartbeat_at, created_at,
                          started_at, finished_at, seconds, peak_memory, command, environment_id, error, accepted_from,
                          numbers_hash)
             SELECT r.id, r.cell, r.kind, r.key, r.seed, ours.id, r.spec, r.state, r.attempt, r.host, r.pid, r.heartbeat_at,
                 r.created_at, r.started_at, r.finished_at, r.seconds, r.peak_memory, r.command, environment.id, r.error,
                 r.accepted_from, r.numbers_hash
             FROM other.run r JOIN other.view v ON v.id = r.view_id JOIN main.view ours ON ours.fingerprint = v.fingerprint
             LEFT JOIN other.environment e ON e.id = r.environment_id
             LEFT JOIN main.environment environment ON environment.digest = e.digest
             WHERE r.id = ?1
         ON CONFLICT (id) DO UPDATE SET state = excluded.state, attempt = excluded.attempt, host = excluded.host,
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
        "INSERT INTO event (at, run_id, level, message) SELECT at, run_id, level, message FROM other.event WHERE run_id = ?1",
    ] {
        sqlx::query(sql).bind(id).execute(&mut **t).await?;
    }
    Ok(())
}
