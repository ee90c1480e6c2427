//! Experiments of two stores in one order: which was run last is counted in each store, and clocks are asked only between the
//! two, as far as they can be right.

use super::clock::now;
use super::row_hash::Table;
use sqlx::{Row, Sqlite, Transaction};
use std::collections::HashSet;

/// An experiment's place among those of a store.
#[derive(Clone, Debug, PartialEq)]
struct Place {
    digest: String,
    used: i64,
    at: String,
}

/// What came of taking experiments over.
#[derive(Default)]
pub(super) struct Taken {
    /// Experiments that were damaged here.
    pub(super) healed: usize,
    /// Whether one was run when its machine's clock was ahead.
    pub(super) clock_ahead: bool,
}

/// A time that is later than now is known to be wrong, and comes before all others.
fn plausible<'a>(at: &'a str, now: &str) -> &'a str {
    if at > now { "" } else { at }
}

/// Takes experiments over that are new here, damaged here, or were run later there, with their cells. Seeds are those of both,
/// so that a report expects all of them.
pub(super) async fn take(
    t: &mut Transaction<'_, Sqlite>,
    bad_there: &HashSet<i64>,
    bad_here: &HashSet<i64>,
) -> Result<Taken, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT theirs.id, theirs.digest, theirs.config, theirs.used_at, theirs.used, ours.id, ours.config, ours.used_at, dataset.id
         FROM other.experiment theirs JOIN other.dataset d ON d.id = theirs.dataset_id
         JOIN main.dataset dataset ON dataset.fingerprint = d.fingerprint
         LEFT JOIN main.experiment ours ON ours.digest = theirs.digest ORDER BY theirs.used, theirs.id",
    )
    .fetch_all(&mut **t)
    .await?;
    let now = now();
    let (mut taken, mut came) = (Vec::new(), Taken::default());
    for row in rows {
        let (theirs, digest): (i64, String) = (row.try_get(0)?, row.try_get(1)?);
        if bad_there.contains(&theirs) {
            continue;
        }
        let (config, at): (String, String) = (row.try_get(2)?, row.try_get(3)?);
        let ours: Option<i64> = row.try_get(5)?;
        let damaged = ours.is_some_and(|id| bad_here.contains(&id));
        came.healed += usize::from(damaged);
        came.clock_ahead |= at.as_str() > now.as_str();
        let (config_here, at_here): (Option<String>, Option<String>) = (row.try_get(6)?, row.try_get(7)?);
        let later = damaged || at_here.is_none_or(|here| plausible(&at, &now) > plausible(&here, &now));
        let known = config_here.filter(|_| !damaged);
        let newest = if later { &config } else { known.as_ref().unwrap_or(&config) };
        let both = known.as_ref().map_or_else(|| config.clone(), |ours| with_seeds_of_both(newest, [ours, &config]));
        if known.as_ref() == Some(&both) && !later {
            continue;
        }
        let id: i64 = sqlx::query(
            "INSERT INTO experiment (digest, name, dataset_id, config, sets, tables, claims, ledger, created_at, used_at, declared)
                 SELECT digest, name, ?2, ?3, sets, tables, claims, ledger, created_at, used_at, declared
                 FROM other.experiment WHERE id = ?1
             ON CONFLICT (digest) DO UPDATE SET name = excluded.name, dataset_id = ?2, config = ?3 RETURNING id",
        )
        .bind(theirs)
        .bind(row.try_get::<i64, _>(8)?)
        .bind(&both)
        .fetch_one(&mut **t)
        .await?
        .try_get(0)?;
        if later {
            cells_and_tables(t, id, theirs).await?;
            taken.push(Place { digest, used: row.try_get(4)?, at });
        }
        Table::Experiment.seal(t, id).await?;
    }
    if !taken.is_empty() {
        renumber(t, taken, &now).await?;
    }
    Ok(came)
}

/// Everything of an experiment but its configuration is the other one's.
async fn cells_and_tables(t: &mut Transaction<'_, Sqlite>, ours: i64, theirs: i64) -> Result<(), sqlx::Error> {
    for sql in [
        "UPDATE experiment SET (sets, tables, claims, ledger, used_at, declared) =
             (SELECT sets, tables, claims, ledger, used_at, declared FROM other.experiment o WHERE o.id = ?2) WHERE id = ?1",
        "DELETE FROM cell WHERE experiment_id = ?1 AND ?2 = ?2",
        "INSERT INTO cell (experiment_id, position, key, kind, part, overrides, view_id, fingerprint, skipped)
             SELECT ?1, c.position, c.key, c.kind, c.part, c.overrides, ours.id, c.fingerprint, c.skipped
             FROM other.cell c LEFT JOIN other.view v ON v.id = c.view_id
             LEFT JOIN main.view ours ON ours.fingerprint = v.fingerprint WHERE c.experiment_id = ?2",
    ] {
        sqlx::query(sql).bind(ours).bind(theirs).execute(&mut **t).await?;
    }
    Ok(())
}

/// Counts all experiments anew, with those that were taken among ours.
async fn renumber(t: &mut Transaction<'_, Sqlite>, taken: Vec<Place>, now: &str) -> Result<(), sqlx::Error> {
    let rows =
        sqlx::query("SELECT digest, used, used_at FROM experiment ORDER BY used, id").fetch_all(&mut **t).await?;
    let all = rows.iter().map(|r| Ok(Place { digest: r.try_get(0)?, used: r.try_get(1)?, at: r.try_get(2)? }));
    let mut ours = all.collect::<Result<Vec<Place>, sqlx::Error>>()?;
    ours.retain(|place| !taken.iter().any(|of_theirs| of_theirs.digest == place.digest));
    for (used, place) in (1i64..).zip(in_one_order(ours, taken, now)) {
        let update = sqlx::query("UPDATE experiment SET used = ? WHERE digest = ?");
        update.bind(used).bind(&place.digest).execute(&mut **t).await?;
    }
    Ok(())
}

/// Two lists, each in its own order, as one in which both keep theirs; the earlier one first where they meet, ours where they
/// are equal.
fn in_one_order(ours: Vec<Place>, theirs: Vec<Place>, now: &str) -> Vec<Place> {
    let mut all = Vec::with_capacity(ours.len() + theirs.len());
    let (mut ours, mut theirs) = (ours.into_iter().peekable(), theirs.into_iter().peekable());
    while let (Some(a), Some(b)) = (ours.peek(), theirs.peek()) {
        let next = if plausible(&a.at, now) <= plausible(&b.at, now) { ours.next() } else { theirs.next() };
        all.extend(next);
    }
    all.extend(ours);
    all.extend(theirs);
    all
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

#[cfg(test)]
mod tests {
    use super::*;

    fn place(digest: &str, used: i64, at: &str) -> Place {
        Place { digest: digest.into(), used, at: at.into() }
    }

    #[test]
    fn each_keeps_its_own_order_and_a_clock_that_is_ahead_counts_for_nothing() {
        let ours = vec![place("a", 1, "2026-01"), place("b", 2, "2026-03")];
        let theirs = vec![place("x", 1, "2026-02"), place("y", 2, "2026-04")];
        let order = |ours: &[Place], theirs: &[Place]| {
            let all = in_one_order(ours.to_vec(), theirs.to_vec(), "2026-06");
            all.into_iter().map(|p| p.digest).collect::<String>()
        };
        assert_eq!(order(&ours, &theirs), "axby");
        let ahead = vec![place("x", 1, "2030-01"), place("y", 2, "2030-02")];
        assert_eq!(order(&ours, &ahead), "xyab");
        assert_eq!(order(&ahead, &ours), "xyab");
        // A clock that was put right in between does not change what was run after what.
        let mended = vec![place("x", 1, "2030-01"), place("y", 2, "2026-02")];
        assert_eq!(order(&ours, &mended), "xayb");
    }
}
