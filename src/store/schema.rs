//! Versions of the schema. `PRAGMA user_version` counts the migrations that a file has seen.

use super::Error;
use sqlx::{Connection, Row, SqliteConnection};
use std::path::{Path, PathBuf};

/// The migrations, oldest first.
pub const MIGRATIONS: &[(&str, &str)] = &[
    ("0001_store.sql", include_str!("../../migrations/0001_store.sql")),
    ("0002_accepted.sql", include_str!("../../migrations/0002_accepted.sql")),
    ("0003_hashes.sql", include_str!("../../migrations/0003_hashes.sql")),
    ("0004_identity.sql", include_str!("../../migrations/0004_identity.sql")),
    ("0009_weights.sql", include_str!("../../migrations/0009_weights.sql")),
];

/// Marks a file as ours (`PRAGMA application_id`): "UNMT".
const APPLICATION_ID: i64 = 0x554E_4D54;

/// The schema that this version writes.
pub const VERSION: i64 = MIGRATIONS.len() as i64;

/// Checks that the file is a store, and of no newer version; gives its version, 0 for an empty file.
pub(super) async fn version(connection: &mut SqliteConnection, path: &Path) -> Result<i64, Error> {
    let fail = |e| Error::of_sqlx(path, e);
    // One transaction sees one state: another process may be making the store just now.
    let mut state = connection.begin().await.map_err(fail)?;
    let found: i64 = sqlx::query("PRAGMA user_version").fetch_one(&mut *state).await.map_err(fail)?.get(0);
    let id: i64 = sqlx::query("PRAGMA application_id").fetch_one(&mut *state).await.map_err(fail)?.get(0);
    let schema = sqlx::query("SELECT CAST(sql AS BLOB) FROM sqlite_master WHERE sql IS NOT NULL");
    let schema = schema.fetch_all(&mut *state).await.map_err(fail)?;
    state.commit().await.map_err(fail)?;
    // sqlx takes it for granted that names are text.
    if schema.iter().any(|row| std::str::from_utf8(row.get(0)).is_err()) {
        return Err(Error::Damaged { path: path.into(), why: "its schema is no text".into() });
    }
    if id != APPLICATION_ID && (!schema.is_empty() || found > 0) {
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
/// others find it done. Gives the copy, where one was made.
pub(super) async fn migrate(connection: &mut SqliteConnection, path: &Path) -> Result<Option<PathBuf>, Error> {
    let fail = |e| Error::of_sqlx(path, e);
    let found = version(connection, path).await?;
    if found == VERSION {
        return Ok(None);
    }
    if found > 0 {
        back_up(connection, path, found).await?;
    }
    let copied = (found > 0).then(|| backup(path, found));
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(fail)?;
    let found = version(&mut transaction, path).await?;
    for (_, sql) in &MIGRATIONS[found as usize..] {
        sqlx::raw_sql(*sql).execute(&mut *transaction).await.map_err(fail)?;
    }
    let mark = format!("PRAGMA user_version = {VERSION}; PRAGMA application_id = {APPLICATION_ID}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(mark)).execute(&mut *transaction).await.map_err(fail)?;
    transaction.commit().await.map_err(fail)?;
    Ok(copied)
}

/// Where the copy of an older version lies.
fn backup(path: &Path, version: i64) -> PathBuf {
    super::beside(path, &format!(".schema-{version}.bak"))
}

/// Copies the store as it is, whole or not at all. Another process may migrate it meanwhile: a copy of what that left is
/// no backup, and that process has made one.
async fn back_up(connection: &mut SqliteConnection, path: &Path, version: i64) -> Result<(), Error> {
    let fail = |e| Error::of_sqlx(path, e);
    let backup = backup(path, version);
    let told = |e: std::io::Error| Error::of_file(&backup, &e);
    let folder = backup.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let part = tempfile::Builder::new().prefix(".backup-").suffix(".part").tempfile_in(folder).map_err(told)?;
    let text = part.path().to_string_lossy().into_owned();
    sqlx::query("VACUUM INTO ?").bind(text).execute(&mut *connection).await.map_err(fail)?;
    if super::check(part.path(), false).await? == version {
        // What was written through another name of the file.
        part.as_file().sync_all().map_err(told)?;
        part.persist(&backup).map_err(|e| told(e.error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use sqlx::sqlite::SqliteConnectOptions;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    /// Columns that came after the first version.
    const ADDED: [&str; 9] = [
        "quote(accepted_from)",
        "quote(numbers_hash)",
        "quote(val_hash)",
        "quote(row_hash)",
        "quote(declared)",
        "quote(used)",
        "quote(worker)",
        "quote(machine)",
        "quote(sequence)",
    ];

    /// Everything that is in the tables of a version, as text.
    async fn contents(connection: &mut SqliteConnection, tables: &[String]) -> Vec<String> {
        let mut all = Vec::new();
        for table in tables {
            let columns: Vec<String> = sqlx::query(sqlx::AssertSqlSafe(format!("PRAGMA table_info({table})")))
                .fetch_all(&mut *connection)
                .await
                .unwrap()
                .iter()
                .map(|r| format!("quote({})", r.get::<String, _>(1)))
                .filter(|c| !ADDED.contains(&c.as_str()))
                .collect();
            let sql = format!("SELECT {} FROM {table} ORDER BY 1", columns.join(" || ',' || "));
            let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(&mut *connection).await.unwrap();
            all.extend(rows.iter().map(|r| format!("{table}: {:?}", r.get::<Option<String>, _>(0))));
        }
        all
    }

    /// A store as version `n` made it, with a row or more in every table.
    async fn old(path: &Path, n: usize) -> (Vec<String>, Vec<String>) {
        let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        for (_, sql) in &MIGRATIONS[..n] {
            sqlx::raw_sql(*sql).execute(&mut connection).await.unwrap();
        }
        let rows = include_str!("../../tests/fixtures/store.sql");
        sqlx::raw_sql(rows).execute(&mut connection).await.unwrap();
        let mark = format!("PRAGMA user_version = {n}; PRAGMA application_id = {APPLICATION_ID}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(mark)).execute(&mut connection).await.unwrap();
        let tables: Vec<String> =
            sqlx::query("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY 1")
                .fetch_all(&mut connection)
                .await
                .unwrap()
                .iter()
                .map(|r| r.get(0))
                .collect();
        let inside = contents(&mut connection, &tables).await;
        connection.close().await.unwrap();
        (tables, inside)
    }

    #[test]
    fn every_earlier_version_is_backed_up_and_migrated_with_all_that_is_inside() {
        for n in 1..MIGRATIONS.len() {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("runs.db");
            let (tables, inside) = runtime().block_on(old(&path, n));
            assert!(tables.iter().all(|t| inside.iter().any(|row| row.starts_with(&format!("{t}:")))), "{tables:?}");
            // A reader migrates as a writer does.
            let store = Store::open_to_read(&path).unwrap();
            assert_eq!(store.migrated(), Some(backup(&path, n as i64).as_path()));
            assert!(store.check().unwrap().damage.iter().all(|d| !d.what.starts_with("integrity")));
            assert_eq!(store.run("0123456789abcdef0123456789abcdef").unwrap().unwrap().attempt, 3);
            drop(store);
            let again = |path: &Path| {
                runtime().block_on(async {
                    let options = SqliteConnectOptions::new().filename(path);
                    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
                    let found: i64 =
                        sqlx::query("PRAGMA user_version").fetch_one(&mut connection).await.unwrap().get(0);
                    let all = contents(&mut connection, &tables).await;
                    connection.close().await.unwrap();
                    (found, all)
                })
            };
            assert!(again(&path) == (VERSION, inside.clone()), "version {n}");
            assert!(again(&backup(&path, n as i64)) == (n as i64, inside), "the backup of version {n}");
            // A schema that was migrated is the one that is made anew.
            let fresh = dir.path().join("fresh.db");
            drop(Store::open(&fresh).unwrap());
            let schema = |path: &Path| {
                runtime().block_on(async {
                    let options = SqliteConnectOptions::new().filename(path);
                    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
                    let sql = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY 1";
                    let rows = sqlx::query(sql).fetch_all(&mut connection).await.unwrap();
                    rows.iter().map(|r| r.get::<String, _>(0)).collect::<Vec<_>>()
                })
            };
            assert_eq!(schema(&path), schema(&fresh));
        }
    }

    #[test]
    fn many_that_start_at_once_on_an_old_store_migrate_it_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("runs.db");
        let (_, inside) = runtime().block_on(old(&path, 1));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| drop(Store::open(&path).unwrap()));
            }
        });
        assert!(!inside.is_empty());
        assert_eq!(Store::open_to_read(&path).unwrap().runs().unwrap().len(), 2);
        let kept = runtime().block_on(crate::store::check(&backup(&path, 1), false)).unwrap();
        assert_eq!(kept, 1, "the backup is of the old version");
        let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "{names:?}");
    }

    #[test]
    fn a_migration_that_cannot_be_backed_up_is_not_begun() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("runs.db");
        runtime().block_on(old(&path, 1));
        // Where the backup should be lies something that cannot be replaced.
        std::fs::create_dir_all(backup(&path, 1).join("full")).unwrap();
        assert!(matches!(Store::open(&path), Err(Error::ReadOnly { .. })));
        assert_eq!(runtime().block_on(crate::store::check(&path, false)).unwrap(), 1);
    }
}
