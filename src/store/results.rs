//! What a run leaves: its epochs as they end, and all else at once when it is done. A number that is not finite is no result.

use super::claim::owns;
use super::clock::now;
use super::declare::json;
use super::records::*;
use super::{Error, Store, blob, run_hash};
use crate::train::Epoch;
use sqlx::{Sqlite, Transaction};

impl Store {
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
}

/// Gives a finished run the hash over all that it is.
async fn seal_run(t: &mut Transaction<'_, Sqlite>, id: &str) -> Result<(), sqlx::Error> {
    let hash = run_hash::hash(t, "main", id).await?;
    let update = sqlx::query("UPDATE run SET numbers_hash = ? WHERE id = ?");
    update.bind(hash).bind(id).execute(&mut **t).await.map(|_| ())
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
    use crate::store::claim::tests::{RUN, epoch, result, store, worker};

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
}
