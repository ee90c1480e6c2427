//! One hash over what a run is and all that it left, so that a number that changed later is told, wherever it lies, and so is
//! one that was moved to another cell, data set or seed.

use super::row_hash::add;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Row};

/// What of a run is hashed besides its numbers. Views are named by their fingerprints: rows have other numbers elsewhere.
const IDENTITY: &str = "r.id, r.cell, r.kind, r.key, r.seed, r.spec, v.fingerprint, r.accepted_from";

/// The hash of a run's identity, epochs, values, scores and bank, as they are in `schema` (`main`, or an attached store).
pub(super) async fn hash(connection: &mut SqliteConnection, schema: &str, id: &str) -> Result<String, sqlx::Error> {
    let mut hasher = blake3::Hasher::new();
    let sql =
        format!("SELECT {IDENTITY} FROM {schema}.run r LEFT JOIN {schema}.view v ON v.id = r.view_id WHERE r.id = ?");
    let rows = sqlx::query(AssertSqlSafe(sql)).bind(id).fetch_all(&mut *connection).await?;
    hasher.update(b"run\n");
    rows.iter().try_for_each(|row| add(&mut hasher, row))?;
    numbers(connection, schema, id, &mut hasher).await?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// The hash of a run's numbers alone, which stores of the third schema kept.
pub(super) async fn of_numbers(
    connection: &mut SqliteConnection,
    schema: &str,
    id: &str,
) -> Result<String, sqlx::Error> {
    let mut hasher = blake3::Hasher::new();
    numbers(connection, schema, id, &mut hasher).await?;
    Ok(hasher.finalize().to_hex().to_string())
}

async fn numbers(
    connection: &mut SqliteConnection,
    schema: &str,
    id: &str,
    hasher: &mut blake3::Hasher,
) -> Result<(), sqlx::Error> {
    for (table, columns) in [
        ("epoch", "epoch, split, loss, loss_cls, loss_rec, accuracy, feature_error"),
        ("value", "name, value"),
        // Blobs by their own hashes, which are checked apart.
        ("score", "what, clips, classes, present, hash"),
        ("bank", "classes, width, fits, hash"),
    ] {
        let sql = format!("SELECT {columns} FROM {schema}.{table} WHERE run_id = ? ORDER BY 1, 2");
        let rows = sqlx::query(AssertSqlSafe(sql)).bind(id).fetch_all(&mut *connection).await?;
        hasher.update(format!("{table} {}\n", rows.len()).as_bytes());
        rows.iter().try_for_each(|row| add(hasher, row))?;
    }
    Ok(())
}

/// Gives every finished run of a store of an earlier schema the hash of this one. One whose numbers are no longer those that
/// it was finished with keeps its old hash, and so stays damaged.
pub(super) async fn adopt(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let runs = sqlx::query("SELECT id, numbers_hash FROM run WHERE state = 'done'").fetch_all(&mut *connection).await?;
    for run in &runs {
        let (id, before): (String, Option<String>) = (run.try_get(0)?, run.try_get(1)?);
        if let Some(before) = before
            && of_numbers(connection, "main", &id).await? != before
        {
            continue;
        }
        let hash = hash(connection, "main", &id).await?;
        let update = sqlx::query("UPDATE run SET numbers_hash = ? WHERE id = ?");
        update.bind(hash).bind(&id).execute(&mut *connection).await?;
    }
    Ok(())
}
