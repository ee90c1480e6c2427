//! One hash over everything that a run left, so that a number that changed later is told, wherever it lies.

use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Row};

/// The hash of a run's epochs, values, scores and bank, as they are in `schema` (`main`, or an attached store).
pub(super) async fn hash(connection: &mut SqliteConnection, schema: &str, id: &str) -> Result<String, sqlx::Error> {
    let mut hasher = blake3::Hasher::new();
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
        for row in &rows {
            add(&mut hasher, row)?;
        }
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// The columns of a row, each with its type and length, so that none runs into the next.
fn add(hasher: &mut blake3::Hasher, row: &SqliteRow) -> Result<(), sqlx::Error> {
    use sqlx::{Decode, Sqlite, TypeInfo, ValueRef};
    let wrong = sqlx::Error::Decode;
    for i in 0..row.len() {
        let value = row.try_get_raw(i)?;
        let (kind, bytes) = match value.type_info().name() {
            _ if value.is_null() => (b'0', Vec::new()),
            "REAL" => (b'r', <f64 as Decode<Sqlite>>::decode(value).map(|v| v.to_le_bytes().to_vec()).map_err(wrong)?),
            "INTEGER" => {
                (b'i', <i64 as Decode<Sqlite>>::decode(value).map(|v| v.to_le_bytes().to_vec()).map_err(wrong)?)
            }
            _ => (b'b', <&[u8] as Decode<Sqlite>>::decode(value).map(<[u8]>::to_vec).map_err(wrong)?),
        };
        hasher.update(&[kind]).update(&(bytes.len() as u64).to_le_bytes()).update(&bytes);
    }
    Ok(())
}
