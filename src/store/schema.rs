//! Versions of the schema. `PRAGMA user_version` counts the migrations that a file has seen.

use super::Error;
use sqlx::{Connection, Row, SqliteConnection};
use std::path::Path;

/// The migrations, oldest first.
pub const MIGRATIONS: &[(&str, &str)] = &[("0001_store.sql", include_str!("../../migrations/0001_store.sql"))];

/// Marks a file as ours (`PRAGMA application_id`): "UNMT".
const APPLICATION_ID: i64 = 0x554E_4D54;

/// The schema that this version writes.
pub const VERSION: i64 = MIGRATIONS.len() as i64;

/// Checks that the file is a store, and of no newer version; gives its version, 0 for an empty file.
pub(super) async fn version(connection: &mut SqliteConnection, path: &Path) -> Result<i64, Error> {
    let fail = |e| Error::of_sqlx(path, e);
    let found: i64 = sqlx::query("PRAGMA user_version").fetch_one(&mut *connection).await.map_err(fail)?.get(0);
    let id: i64 = sqlx::query("PRAGMA application_id").fetch_one(&mut *connection).await.map_err(fail)?.get(0);
    let tables: i64 =
        sqlx::query("SELECT count(*) FROM sqlite_master").fetch_one(&mut *connection).await.map_err(fail)?.get(0);
    if id != APPLICATION_ID && (tables > 0 || found > 0) {
        return Err(Error::NotAStore { path: path.into(), why: "an SQLite file of another program".into() });
    }
    if found > VERSION {
        return Err(Error::Newer { path: path.into(), found, known: VERSION });
    }
    Ok(found)
}

/// Brings the file to this version. An older one with data inside is first copied to `FILE.schema-N.bak`.
///
/// Everything happens under SQLite's write lock, so that of several processes that start at once one migrates and the
/// others find it done.
pub(super) async fn migrate(connection: &mut SqliteConnection, path: &Path) -> Result<(), Error> {
    let fail = |e| Error::of_sqlx(path, e);
    let found = version(connection, path).await?;
    if found == VERSION {
        return Ok(());
    }
    if found > 0 {
        let backup = format!("{}.schema-{found}.bak", path.display());
        if !Path::new(&backup).exists() {
            sqlx::query("VACUUM INTO ?").bind(&backup).execute(&mut *connection).await.map_err(fail)?;
        }
    }
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(fail)?;
    let found = version(&mut transaction, path).await?;
    for (_, sql) in &MIGRATIONS[found as usize..] {
        sqlx::raw_sql(*sql).execute(&mut *transaction).await.map_err(fail)?;
    }
    let mark = format!("PRAGMA user_version = {VERSION}; PRAGMA application_id = {APPLICATION_ID}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(mark)).execute(&mut *transaction).await.map_err(fail)?;
    transaction.commit().await.map_err(fail)
}
