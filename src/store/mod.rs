//! The store: one SQLite file that holds every run and all that a report needs.
//!
//! Calls block; inside, one connection writes (so a process never waits for itself) and several read. Row types stay in
//! here: what goes in and comes out are the program's own.

pub mod blob;
mod check;
mod compare;
mod describe;
mod error;
mod filter;
mod health;
mod merge;
pub mod query;
mod read;
pub mod records;
mod run_fields;
mod run_hash;
mod schema;
mod select;
mod sweep;
mod variants;
mod weights;
mod write;

pub use check::{Check, Damage};
pub use compare::{Comparison, Difference, Parting, ScoreDifference, differences, parting, score_difference};
pub use describe::describe_schema;
pub use error::Error;
pub use filter::Filter;
pub use health::{Disk, Health, Running, disk};
pub use merge::{Merged, Refused};
pub use records::*;
pub use run_fields::{FIELDS, Name, Names, flatten};
pub use schema::VERSION;
pub use select::{Counts, Selection, Values};
pub use sweep::{Superseded, Sweep};
pub use variants::{Pick, PickError, Variant};
pub use weights::KeptWeights;
pub use write::DatasetKey;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// An open store.
pub struct Store {
    path: PathBuf,
    runtime: tokio::runtime::Runtime,
    writer: SqlitePool,
    readers: SqlitePool,
    migrated: Option<PathBuf>,
}

/// How long a writer waits for another process's transaction.
const BUSY: Duration = Duration::from_secs(60);

impl Store {
    /// Opens a store to write in, making or migrating it where needed.
    ///
    /// ```
    /// use unmute::store::Store;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// let path = folder.path().join("runs.db");
    /// let store = Store::open(&path)?;
    /// assert!(store.states()?.is_empty());
    /// drop(store);
    /// assert!(Store::open_to_read(&path)?.experiment_names()?.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    pub fn open(path: &Path) -> Result<Store, Error> {
        if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            std::fs::create_dir_all(parent).map_err(|e| Error::ReadOnly { path: path.into(), why: e.to_string() })?;
        }
        let options = options(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // Consistent at any moment; what must also survive a power failure asks for it (`Store::transact`).
            .synchronous(SqliteSynchronous::Normal)
            .foreign_keys(true);
        let runtime = runtime(path)?;
        let (writer, readers, migrated) = runtime.block_on(async {
            let fail = |e| Error::of_sqlx(path, e);
            // Before anything is written (switching to WAL is a write), the file must prove to be ours.
            if path.metadata().is_ok_and(|m| m.len() > 0) {
                check(path, false).await?;
            }
            let writer = SqlitePoolOptions::new().max_connections(1).acquire_timeout(BUSY * 10);
            let writer = writer.connect_with(options.clone()).await.map_err(fail)?;
            let mut connection = writer.acquire().await.map_err(fail)?;
            let migrated = schema::migrate(&mut connection, path).await?;
            drop(connection);
            let readers = SqlitePoolOptions::new()
                .max_connections(4)
                .connect_lazy_with(options.read_only(true).create_if_missing(false));
            Ok::<_, Error>((writer, readers, migrated))
        })?;
        Ok(Store { path: path.into(), runtime, writer, readers, migrated })
    }

    /// Opens a store that must be there, to read only; a file or folder that cannot be written is fine. A store of an
    /// earlier schema is migrated first, as by [`Store::open`].
    pub fn open_to_read(path: &Path) -> Result<Store, Error> {
        if !path.is_file() {
            return Err(Error::Missing { path: path.into() });
        }
        match Store::open_current(path) {
            Err(Error::Outdated { found, .. }) => {
                let migrated = Store::open(path).map_err(|e| match e {
                    Error::ReadOnly { why, .. } => Error::Outdated { path: path.into(), found, why },
                    e => e,
                })?;
                let backup = migrated.migrated.clone();
                drop(migrated);
                let mut store = Store::open_current(path)?;
                store.migrated = backup;
                Ok(store)
            }
            other => other,
        }
    }

    fn open_current(path: &Path) -> Result<Store, Error> {
        let runtime = runtime(path)?;
        let readers = runtime.block_on(async {
            let options = options(path);
            // A write-ahead log beside the file needs a writable folder; without one, and without a log, the file alone is
            // all there is.
            let options = match check(path, false).await {
                Ok(version) => {
                    outdated(path, version)?;
                    // A connection that may write leaves no log behind when it closes; it is kept from writing anything else.
                    let writable = std::fs::OpenOptions::new().write(true).open(path).is_ok();
                    options.read_only(!writable).pragma("query_only", "ON")
                }
                Err(Error::ReadOnly { why, .. }) => {
                    let logs = [wal(path), journal(path)];
                    if let Some(log) = logs.iter().find(|log| log.metadata().is_ok_and(|m| m.len() > 0)) {
                        let why = format!(
                            "its log {} holds what is newest, and needs a writable folder; {why}",
                            log.display()
                        );
                        return Err(Error::ReadOnly { path: path.into(), why });
                    }
                    outdated(path, check(path, true).await?)?;
                    options.read_only(true).immutable(true)
                }
                Err(e) => return Err(e),
            };
            Ok(SqlitePoolOptions::new().max_connections(4).connect_lazy_with(options))
        })?;
        Ok(Store { path: path.into(), runtime, writer: readers.clone(), readers, migrated: None })
    }

    /// The copy that was made of the file before it was migrated by opening it.
    pub fn migrated(&self) -> Option<&Path> {
        self.migrated.as_deref()
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn fail(&self) -> impl Fn(sqlx::Error) -> Error + Copy + '_ {
        |e| Error::of_sqlx(&self.path, e)
    }
}

impl Drop for Store {
    /// Closes the connections, the writing one last: it folds the log into the file and takes it away.
    fn drop(&mut self) {
        self.runtime.block_on(async {
            self.readers.close().await;
            self.writer.close().await;
        });
    }
}

/// The write-ahead log of a store.
fn wal(path: &Path) -> PathBuf {
    beside(path, "-wal")
}

/// What it rolls back with until it has a write-ahead log.
fn journal(path: &Path) -> PathBuf {
    beside(path, "-journal")
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

fn runtime(path: &Path) -> Result<tokio::runtime::Runtime, Error> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .map_err(|e| Error::Sql { path: path.into(), source: sqlx::Error::Io(e) })
}

/// The schema version of a file that is there, without changing it.
async fn check(path: &Path, immutable: bool) -> Result<i64, Error> {
    let options = options(path);
    match check_with(path, options.clone().read_only(true).immutable(immutable)).await {
        // A process that was killed may have left a transaction to roll back, which only a writer can.
        Err(Error::ReadOnly { why, .. }) if !immutable => {
            check_with(path, options).await.map_err(|_| Error::ReadOnly { path: path.into(), why })
        }
        other => other,
    }
}

async fn check_with(path: &Path, options: SqliteConnectOptions) -> Result<i64, Error> {
    use sqlx::Connection;
    let fail = |e| Error::of_sqlx(path, e);
    let mut connection = sqlx::SqliteConnection::connect_with(&options).await.map_err(fail)?;
    let version = schema::version(&mut connection, path).await;
    connection.close().await.map_err(fail)?;
    version
}

/// A reader cannot migrate.
fn outdated(path: &Path, version: i64) -> Result<(), Error> {
    match version {
        VERSION => Ok(()),
        0 => Err(Error::NotAStore { path: path.into(), why: "it is empty".into() }),
        found => Err(Error::Outdated { path: path.into(), found, why: "it is only read".into() }),
    }
}

/// Rows that SQLite's thread may be ahead of the one that reads them; few would make the two wait for each other.
const AHEAD: usize = 2048;

/// What all connections have in common.
fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new().filename(plain(path)).busy_timeout(BUSY).row_buffer_size(AHEAD)
}

/// A path that SQLite takes for nothing but a file's: not `:memory:`, not a URI, not the empty name of a temporary one.
fn plain(path: &Path) -> PathBuf {
    if path.is_absolute() { path.into() } else { Path::new(".").join(path) }
}

/// Now, in UTC, as `2026-11-22T08:30:00.123Z`; sorts as text.
pub fn now() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    timestamp(since.as_secs() as i64, since.subsec_millis())
}

/// Seconds since 1970 as text (Howard Hinnant's days-to-date algorithm).
pub fn timestamp(seconds: i64, millis: u32) -> String {
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let year = yoe + era * 400 + i64::from(month <= 2);
    let (h, m, s) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{millis:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_dates() {
        assert_eq!(timestamp(0, 0), "1970-01-01T00:00:00.000Z");
        assert_eq!(timestamp(951_782_400, 5), "2000-02-29T00:00:00.005Z");
        assert_eq!(timestamp(1_795_336_199, 999), "2026-11-22T07:49:59.999Z".replace("07:49:59", "08:29:59"));
    }

    #[test]
    fn what_a_killed_process_left_half_written_is_rolled_back() {
        let dir = tempfile::tempdir().unwrap();
        let (db, left) = (dir.path().join("runs.db"), dir.path().join("left.db"));
        drop(Store::open(&db).unwrap());
        let runtime = runtime(&db).unwrap();
        runtime.block_on(async {
            use sqlx::Connection;
            let options = SqliteConnectOptions::new().filename(&db).journal_mode(SqliteJournalMode::Delete);
            let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
            // So small a cache that the file is written to before the transaction ends.
            let sql = "PRAGMA cache_size = 1; BEGIN IMMEDIATE;
                WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
                INSERT INTO environment SELECT i, 'digest' || i, hex(zeroblob(500)) FROM n;";
            sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
            std::fs::copy(&db, &left).unwrap();
            std::fs::copy(journal(&db), journal(&left)).unwrap();
            sqlx::raw_sql("ROLLBACK").execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        });
        assert!(journal(&left).metadata().unwrap().len() > 0);
        let copy = |name: &str| {
            let path = dir.path().join(name);
            std::fs::copy(&left, &path).unwrap();
            std::fs::copy(journal(&left), journal(&path)).unwrap();
            path
        };
        for store in [Store::open(&copy("a.db")).unwrap(), Store::open_to_read(&copy("b.db")).unwrap()] {
            assert!(store.check().unwrap().damage.is_empty());
            assert!(store.environment(1).is_err());
        }
    }

    #[test]
    fn files_of_others_and_of_the_future_are_refused_untouched() {
        let dir = tempfile::tempdir().unwrap();
        let text = dir.path().join("text.db");
        std::fs::write(&text, "this is no database, and long enough to be looked at as one ".repeat(20)).unwrap();
        assert!(matches!(Store::open(&text), Err(Error::NotAStore { .. })));
        let db = dir.path().join("runs.db");
        let store = Store::open(&db).unwrap();
        let set = |sql: &'static str| store.runtime.block_on(sqlx::raw_sql(sql).execute(&store.writer)).unwrap();
        set("PRAGMA user_version = 999");
        drop(store);
        let before = std::fs::read(&db).unwrap();
        assert!(matches!(Store::open(&db), Err(Error::Newer { found: 999, .. })));
        assert!(matches!(Store::open_to_read(&db), Err(Error::Newer { .. })));
        assert_eq!(std::fs::read(&db).unwrap(), before);
    }
}
