//! Versions of the schema. `PRAGMA user_version` counts the migrations that a file has seen.

use super::files::{beside, options};
use super::{Error, presence, row_hash, run_hash};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, Row, SqliteConnection};
use std::path::{Path, PathBuf};

/// The migrations, oldest first.
pub const MIGRATIONS: &[(&str, &str)] = &[
    ("0001_store.sql", include_str!("../../migrations/0001_store.sql")),
    ("0002_accepted.sql", include_str!("../../migrations/0002_accepted.sql")),
    ("0003_hashes.sql", include_str!("../../migrations/0003_hashes.sql")),
    ("0004_identity.sql", include_str!("../../migrations/0004_identity.sql")),
    ("0005_labels.sql", include_str!("../../migrations/0005_labels.sql")),
];

/// Marks a file as ours (`PRAGMA application_id`): "UNMT".
const APPLICATION_ID: i64 = 0x554E_4D54;

/// The first schema in which every row has a hash.
const WITH_ROW_HASHES: i64 = 4;

/// The schema that this version writes.
pub const VERSION: i64 = MIGRATIONS.len() as i64;

/// Checks that the file is a store, and of no newer version; gives its version, 0 for an empty file.
pub(super) async fn version(connection: &mut SqliteConnection, path: &Path) -> Result<i64, Error> {
    let fail = |e| Error::of_sqlx(path, e);
    // One transaction sees one state: another process may be making the store just now.
    let mut state = connection.begin().await.map_err(fail)?;
    let found: i64 = sqlx::query("PRAGMA user_version").fetch_one(&mut *state).await.map_err(fail)?.get(0);
    let id: i64 = sqlx::query("PRAGMA application_id").fetch_one(&mut *state).await.map_err(fail)?.get(0);
    let schema = sqlx::query(OBJECTS).fetch_all(&mut *state).await.map_err(fail)?;
    state.commit().await.map_err(fail)?;
    // sqlx takes it for granted that names are text.
    let Some(schema) = schema.iter().map(Object::of).collect::<Option<Vec<Object>>>() else {
        return Err(Error::Damaged { path: path.into(), why: "its schema is no text".into() });
    };
    if id != APPLICATION_ID && (!schema.is_empty() || found > 0) {
        return Err(Error::NotAStore { path: path.into(), why: "an SQLite file of another program".into() });
    }
    if found > VERSION {
        return Err(Error::Newer { path: path.into(), found, known: VERSION });
    }
    if found > 0 {
        ours(&schema, found, path).await?;
    }
    Ok(found)
}

/// What a schema is made of; as bytes, since a damaged file may hold anything.
const OBJECTS: &str = "SELECT CAST(type AS BLOB), CAST(name AS BLOB), CAST(sql AS BLOB) FROM sqlite_master
     WHERE sql IS NOT NULL ORDER BY rowid";

/// A table, an index, a trigger or a view.
#[derive(Clone, PartialEq)]
struct Object {
    kind: String,
    name: String,
    /// Its statement, with single blanks.
    sql: String,
}

impl Object {
    fn of(row: &sqlx::sqlite::SqliteRow) -> Option<Object> {
        let text = |i: usize| String::from_utf8(row.try_get::<Vec<u8>, _>(i).ok()?).ok();
        let sql = text(2)?.split_whitespace().collect::<Vec<_>>().join(" ");
        Some(Object { kind: text(0)?, name: text(1)?, sql })
    }
}

/// Fails where a schema has what could act by itself (a trigger), stand for one of our tables (a view), or is not what the
/// migrations make. A user's own tables and indexes are left alone.
async fn ours(schema: &[Object], version: i64, path: &Path) -> Result<(), Error> {
    let foreign = |what: String| Err(Error::Foreign { path: path.into(), what });
    let expected = expected(version).await.map_err(|e| Error::of_sqlx(path, e))?;
    for object in schema {
        let Object { kind, name, sql } = object;
        let known = expected.iter().find(|e| e.kind == *kind && e.name == *name);
        match (kind.as_str(), known) {
            (_, Some(known)) if known.sql == *sql => {}
            ("table", Some(_)) => return foreign(format!("another table {name:?} than its version of unmute makes")),
            ("index", _) => {}
            ("table", None) if !sql.to_uppercase().starts_with("CREATE VIRTUAL") => {}
            ("table", None) => return foreign(format!("a virtual table {name:?}")),
            _ => return foreign(format!("a {kind} {name:?}")),
        }
    }
    match expected.iter().find(|e| e.kind == "table" && !schema.iter().any(|o| o.kind == "table" && o.name == e.name)) {
        None => Ok(()),
        Some(missing) => {
            Err(Error::Damaged { path: path.into(), why: format!("its table {:?} is not there", missing.name) })
        }
    }
}

/// The schema that the migrations up to a version make.
async fn expected(version: i64) -> Result<Vec<Object>, sqlx::Error> {
    static KNOWN: std::sync::Mutex<Vec<(i64, Vec<Object>)>> = std::sync::Mutex::new(Vec::new());
    if let Ok(known) = KNOWN.lock()
        && let Some((_, schema)) = known.iter().find(|(of, _)| *of == version)
    {
        return Ok(schema.clone());
    }
    let options = SqliteConnectOptions::new().in_memory(true);
    let mut connection = SqliteConnection::connect_with(&options).await?;
    let count = usize::try_from(version).unwrap_or(0).min(MIGRATIONS.len());
    for (_, sql) in &MIGRATIONS[..count] {
        sqlx::raw_sql(*sql).execute(&mut connection).await?;
    }
    let rows = sqlx::query(OBJECTS).fetch_all(&mut connection).await?;
    connection.close().await?;
    let schema: Vec<Object> = rows.iter().filter_map(Object::of).collect();
    if let Ok(mut known) = KNOWN.lock() {
        known.push((version, schema.clone()));
    }
    Ok(schema)
}

/// The schema version of a file that is there, without changing it.
pub(super) async fn check(path: &Path, immutable: bool) -> Result<i64, Error> {
    if !immutable {
        presence::check_log(path).await?;
    }
    let options = options(path);
    match check_with(path, options.clone().read_only(true).immutable(immutable)).await {
        // A process that was killed may have left a transaction to roll back, which only a writer can.
        Err(Error::ReadOnly { why, .. }) if !immutable => {
            check_with(path, options).await.map_err(|_| Error::ReadOnly { path: path.into(), why })
        }
        other => other,
    }
}

pub(super) async fn check_with(path: &Path, options: SqliteConnectOptions) -> Result<i64, Error> {
    let fail = |e| Error::of_sqlx(path, e);
    let mut connection = sqlx::SqliteConnection::connect_with(&options).await.map_err(fail)?;
    let version = version(&mut connection, path).await;
    connection.close().await.map_err(fail)?;
    version
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
    if found < WITH_ROW_HASHES {
        row_hash::adopt(&mut transaction).await.map_err(fail)?;
        run_hash::adopt(&mut transaction).await.map_err(fail)?;
    }
    let mark = format!("PRAGMA user_version = {VERSION}; PRAGMA application_id = {APPLICATION_ID}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(mark)).execute(&mut *transaction).await.map_err(fail)?;
    transaction.commit().await.map_err(fail)?;
    // From now on the file itself says whose it is, and not its log alone. Another process may keep it from that for now.
    let _ = sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").fetch_all(&mut *connection).await;
    Ok(copied)
}

/// Where the copy of an older version lies.
fn backup(path: &Path, version: i64) -> PathBuf {
    beside(path, &format!(".schema-{version}.bak"))
}

/// How the name of a backup ends that is not whole yet.
const PART: &str = ".backup.part";

fn part_prefix(path: &Path) -> String {
    format!(".{}.", path.file_name().unwrap_or_default().to_string_lossy())
}

/// Parts of backups of a store whose making was killed: nobody holds them any more.
pub(super) fn left_behind(path: &Path) -> Vec<PathBuf> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let prefix = part_prefix(path);
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let parts = entries.filter(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        // Of the journal beside a part as well.
        name.strip_prefix(&prefix).is_some_and(|rest| rest.ends_with(PART) || rest.ends_with(".backup.part-journal"))
    });
    let free = |path: &PathBuf| {
        let file = std::fs::File::open(path);
        file.is_ok_and(|f| rustix::fs::flock(&f, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_ok())
    };
    parts.filter(|e| e.file_type().is_ok_and(|kind| kind.is_file())).map(|e| e.path()).filter(free).collect()
}

/// Copies the store as it is, whole or not at all. Another process may migrate it meanwhile: a copy of what that left is
/// no backup, and that process has made one.
async fn back_up(connection: &mut SqliteConnection, path: &Path, version: i64) -> Result<(), Error> {
    let fail = |e| Error::of_sqlx(path, e);
    let backup = backup(path, version);
    let told = |e: std::io::Error| Error::of_file(&backup, &e);
    let folder = backup.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // What a migration left that was killed. Another one that is on its way keeps its own open.
    for left in left_behind(path) {
        let _ = std::fs::remove_file(left);
    }
    let prefix = part_prefix(path);
    let part = tempfile::Builder::new().prefix(&prefix).suffix(PART).tempfile_in(folder).map_err(told)?;
    rustix::fs::flock(part.as_file(), rustix::fs::FlockOperation::NonBlockingLockExclusive)
        .map_err(|e| told(e.into()))?;
    let text = part.path().to_string_lossy().into_owned();
    sqlx::query("VACUUM INTO ?").bind(text).execute(&mut *connection).await.map_err(fail)?;
    if check(part.path(), false).await? == version {
        // What was written through another name of the file.
        part.as_file().sync_all().map_err(told)?;
        part.persist(&backup).map_err(|e| told(e.error))?;
    }
    Ok(())
}

/// A store as version `n` made it, with a row or more in every table.
#[cfg(test)]
pub(super) async fn old_store(path: &Path, n: usize) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    for (_, sql) in &MIGRATIONS[..n] {
        sqlx::raw_sql(*sql).execute(&mut connection).await.unwrap();
    }
    let rows = include_str!("../../tests/fixtures/store.sql");
    sqlx::raw_sql(rows).execute(&mut connection).await.unwrap();
    if n >= 4 {
        let rows = "INSERT INTO weights VALUES ('0123456789abcdef0123456789abcdef', 'h3', 7);
            INSERT INTO weights_file VALUES ('h3', x'00FF');";
        sqlx::raw_sql(rows).execute(&mut connection).await.unwrap();
    }
    let mark = format!("PRAGMA user_version = {n}; PRAGMA application_id = {APPLICATION_ID}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(mark)).execute(&mut connection).await.unwrap();
    connection
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

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

    /// A store as version `n` made it: its tables, and all that is inside.
    async fn old(path: &Path, n: usize) -> (Vec<String>, Vec<String>) {
        let mut connection = old_store(path, n).await;
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
    fn a_run_that_was_damaged_before_the_migration_stays_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("runs.db");
        let run = "0123456789abcdef0123456789abcdef";
        let hash = |path: &Path| {
            let store = Store::open_to_read(path).unwrap();
            let sql = format!("SELECT numbers_hash FROM run WHERE id = '{run}'");
            store.query(&sql, Default::default()).unwrap().unwrap().rows[0][0].clone()
        };
        runtime().block_on(async {
            let mut connection = old_store(&path, 3).await;
            // One whole, with the hash of its numbers; a second one, in a copy, with another one.
            let right = run_hash::of_numbers(&mut connection, "main", run).await.unwrap();
            let update = sqlx::query("UPDATE run SET numbers_hash = ? WHERE id = ?");
            update.bind(&right).bind(run).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
            std::fs::copy(&path, dir.path().join("damaged.db")).unwrap();
            let options = SqliteConnectOptions::new().filename(dir.path().join("damaged.db"));
            let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
            let change = format!("UPDATE value SET value = 13.5 WHERE run_id = '{run}' AND name = 'top1'");
            sqlx::raw_sql(sqlx::AssertSqlSafe(change)).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        });
        let told = |path: &Path| Store::open_to_read(path).unwrap().check().unwrap().damage;
        let (whole, damaged) = (hash(&path), hash(&dir.path().join("damaged.db")));
        assert!(whole.is_string() && damaged.is_string() && whole != damaged);
        let changed = |path: &Path| told(path).iter().any(|d| d.what == super::super::inspect::CHANGED);
        assert!(!changed(&path));
        let again = runtime().block_on(async {
            let options = SqliteConnectOptions::new().filename(dir.path().join("damaged.db"));
            let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
            run_hash::hash(&mut connection, "main", run).await.unwrap()
        });
        assert_ne!(damaged, again.as_str(), "the hash was made to fit");
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
        let kept = runtime().block_on(check(&backup(&path, 1), false)).unwrap();
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
        assert_eq!(runtime().block_on(check(&path, false)).unwrap(), 1);
    }
}
