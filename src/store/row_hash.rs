//! Hashes over rows: a data set, a view, an experiment with its cells. What stands in them decides what a number is a number
//! of, so a change is told as one of the number itself would be.

use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Row};

/// A table whose rows have a hash.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Table {
    /// Data sets.
    Dataset,
    /// Data sets with an experiment's silent clips.
    View,
    /// Experiments, with their cells.
    Experiment,
}

impl Table {
    /// All of them, in an order in which one only refers to those before it.
    pub(super) const ALL: [Table; 3] = [Table::Dataset, Table::View, Table::Experiment];

    /// Its name in the database.
    pub(super) fn name(self) -> &'static str {
        match self {
            Table::Dataset => "dataset",
            Table::View => "view",
            Table::Experiment => "experiment",
        }
    }

    /// What one row is called.
    pub(super) fn noun(self) -> &'static str {
        match self {
            Table::Dataset => "data set",
            Table::View => "view",
            Table::Experiment => "experiment",
        }
    }

    /// The queries whose rows are hashed; `?` is the row. Rows of other tables are named by fingerprints, since they have
    /// other numbers in another store. `used_at` and `used` are left out: when an experiment was run decides no number.
    fn queries(self, schema: &str) -> Vec<String> {
        match self {
            Table::Dataset => {
                vec![format!("SELECT fingerprint, name, kind, manifest, files FROM {schema}.dataset WHERE id = ?")]
            }
            Table::View => vec![format!(
                "SELECT v.fingerprint, d.fingerprint, v.missing, v.counts, v.val_hash FROM {schema}.view v
                 LEFT JOIN {schema}.dataset d ON d.id = v.dataset_id WHERE v.id = ?"
            )],
            Table::Experiment => vec![
                format!(
                    "SELECT e.digest, e.name, d.fingerprint, e.config, e.sets, e.tables, e.claims, e.ledger, e.declared
                     FROM {schema}.experiment e LEFT JOIN {schema}.dataset d ON d.id = e.dataset_id WHERE e.id = ?"
                ),
                format!(
                    "SELECT c.position, c.key, c.kind, c.part, c.overrides, v.fingerprint, c.fingerprint, c.skipped
                     FROM {schema}.cell c LEFT JOIN {schema}.view v ON v.id = c.view_id WHERE c.experiment_id = ?
                     ORDER BY c.position"
                ),
            ],
        }
    }

    /// The hash of a row of this table, as it is in `schema`.
    pub(super) async fn hash(
        self,
        connection: &mut SqliteConnection,
        schema: &str,
        id: i64,
    ) -> Result<String, sqlx::Error> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.name().as_bytes());
        for sql in self.queries(schema) {
            let rows = sqlx::query(AssertSqlSafe(sql)).bind(id).fetch_all(&mut *connection).await?;
            hasher.update(&(rows.len() as u64).to_le_bytes());
            rows.iter().try_for_each(|row| add(&mut hasher, row))?;
        }
        Ok(hasher.finalize().to_hex().to_string())
    }

    /// Gives a row that was just written its hash.
    pub(super) async fn seal(self, connection: &mut SqliteConnection, id: i64) -> Result<(), sqlx::Error> {
        let hash = self.hash(connection, "main", id).await?;
        let sql = format!("UPDATE main.{} SET row_hash = ? WHERE id = ?", self.name());
        sqlx::query(AssertSqlSafe(sql)).bind(hash).bind(id).execute(connection).await.map(|_| ())
    }

    /// Whether a row is the one that was written.
    pub(super) async fn holds(
        self,
        connection: &mut SqliteConnection,
        schema: &str,
        id: i64,
    ) -> Result<bool, sqlx::Error> {
        let sql = format!("SELECT row_hash FROM {schema}.{} WHERE id = ?", self.name());
        let row = sqlx::query(AssertSqlSafe(sql)).bind(id).fetch_optional(&mut *connection).await?;
        let stored: Option<String> = row.map_or(Ok(None), |row| row.try_get(0))?;
        Ok(stored.is_some() && stored == Some(self.hash(connection, schema, id).await?))
    }
}

/// Gives every row of a store of an earlier schema its hashes: nothing said until now what should stand in them.
pub(super) async fn adopt(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let views = sqlx::query("SELECT id, val FROM view WHERE val_hash IS NULL").fetch_all(&mut *connection).await?;
    for view in &views {
        let hash = blake3::hash(view.try_get(1)?).to_hex().to_string();
        let update = sqlx::query("UPDATE view SET val_hash = ? WHERE id = ?");
        update.bind(hash).bind(view.try_get::<i64, _>(0)?).execute(&mut *connection).await?;
    }
    for table in Table::ALL {
        let sql = format!("SELECT id FROM {}", table.name());
        let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut *connection).await?;
        for row in &rows {
            table.seal(connection, row.try_get(0)?).await?;
        }
    }
    Ok(())
}

/// Hashes the columns of a row, each with its type and length, so that none runs into the next.
pub(super) fn add(hasher: &mut blake3::Hasher, row: &SqliteRow) -> Result<(), sqlx::Error> {
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
