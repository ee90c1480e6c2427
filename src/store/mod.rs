//! The store: one SQLite file that holds every run and all that a report needs.
//!
//! Calls block; inside, one connection writes (so a process never waits for itself) and several read. Row types stay in
//! here: what goes in and comes out are the program's own.

pub mod blob;
mod check;
mod claim;
mod clock;
mod compare;
mod declare;
mod describe;
mod disk;
mod error;
mod experiment_order;
mod files;
mod filter;
mod health;
mod inspect;
mod labels;
mod merge;
mod numerics;
mod part;
mod place;
mod presence;
pub mod query;
mod read;
pub mod records;
mod recount;
mod results;
mod row_hash;
mod run_fields;
mod run_hash;
mod sandbox;
mod schema;
mod select;
mod sweep;
mod transaction;
mod variants;
mod weights;

pub use check::{Check, Damage};
pub use clock::{now, seconds_of, timestamp};
pub use compare::{Comparison, Difference, Parting, ScoreDifference, differences, parting, score_difference};
pub use declare::DatasetKey;
pub use describe::describe_schema;
pub use disk::{Disk, disk};
pub use error::Error;
pub use filter::Filter;
pub use health::{Health, Running, left_behind};
pub use labels::{no_note, no_tag};
pub use merge::{Merged, Refused};
pub use numerics::{Mixed, numerics_of};
pub use place::allow_network;
pub use records::*;
pub use run_fields::{FIELDS, Name, Names, flatten};
pub use schema::VERSION;
pub use select::{Counts, Selection, Values};
pub use sweep::{Superseded, Sweep};
pub use variants::{Pick, PickError, Variant};
pub use weights::KeptWeights;

use files::{BUSY, beside, journal, options, plain, regular, runtime, wal};
use presence::Presence;
use sqlx::Sqlite;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

/// An open store.
pub struct Store {
    path: PathBuf,
    runtime: tokio::runtime::Runtime,
    writer: SqlitePool,
    readers: SqlitePool,
    migrated: Option<PathBuf>,
    /// Where it is open to write.
    presence: Option<Presence>,
    rescued: OnceLock<Option<PathBuf>>,
    /// Val clips and classes of each view, which never change.
    shapes: Mutex<HashMap<i64, [usize; 3]>>,
}

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
        // Where several switch an old file to its log at once, one may find the journal that it was to delete gone: it begins again.
        let mut opened = Store::open_once(path);
        for _ in 0..50 {
            match &opened {
                Err(e) if e.is_gone_journal() => std::thread::sleep(std::time::Duration::from_millis(20)),
                _ => break,
            }
            opened = Store::open_once(path);
        }
        opened
    }

    fn open_once(path: &Path) -> Result<Store, Error> {
        place::refuse_network(path)?;
        if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            std::fs::create_dir_all(parent).map_err(|e| Error::ReadOnly { path: path.into(), why: e.to_string() })?;
        }
        regular(path)?;
        let options = options(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // Consistent at any moment; what must also survive a power failure asks for it (`Store::transact`).
            .synchronous(SqliteSynchronous::Normal)
            .foreign_keys(true);
        let runtime = runtime(path)?;
        let (writer, readers, migrated, presence) = runtime.block_on(async {
            let fail = |e| Error::of_sqlx(path, e);
            // Before anything is written (switching to WAL is a write), the file must prove to be ours.
            if path.metadata().is_ok_and(|m| m.len() > 0) {
                schema::check(path, false).await?;
            }
            let writer = pool().max_connections(1).acquire_timeout(BUSY * 10);
            let writer = writer.connect_with(options.clone()).await.map_err(fail)?;
            let mut connection = writer.acquire().await.map_err(fail)?;
            let migrated = schema::migrate(&mut connection, path).await?;
            let id = presence::id(&mut connection).await.map_err(fail)?;
            let id =
                id.ok_or_else(|| Error::Damaged { path: path.into(), why: "its table `store` is empty".into() })?;
            let presence = Presence::new(path, id).map_err(|e| Error::of_file(path, &e))?;
            drop(connection);
            let readers = pool().max_connections(4).connect_lazy_with(options.read_only(true).create_if_missing(false));
            Ok::<_, Error>((writer, readers, migrated, presence))
        })?;
        Ok(Store::of(path, runtime, (writer, readers), migrated, Some(presence)))
    }

    /// Opens a store that must be there, to read only; a file or folder that cannot be written is fine. A store of an
    /// earlier schema is migrated first, as by [`Store::open`].
    pub fn open_to_read(path: &Path) -> Result<Store, Error> {
        regular(path)?;
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
            let options = match schema::check(path, false).await {
                Ok(version) => {
                    outdated(path, version)?;
                    // A connection that may write leaves no log behind when it closes; it is kept from writing anything else.
                    // Asked, not tried: closing a file takes away all locks that this process has on it.
                    let writable = rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok();
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
                    outdated(path, schema::check(path, true).await?)?;
                    options.read_only(true).immutable(true)
                }
                Err(e) => return Err(e),
            };
            Ok(pool().max_connections(4).connect_lazy_with(options))
        })?;
        Ok(Store::of(path, runtime, (readers.clone(), readers), None, None))
    }

    fn of(
        path: &Path,
        runtime: tokio::runtime::Runtime,
        (writer, readers): (SqlitePool, SqlitePool),
        migrated: Option<PathBuf>,
        presence: Option<Presence>,
    ) -> Store {
        Store {
            path: path.into(),
            runtime,
            writer,
            readers,
            migrated,
            presence,
            rescued: OnceLock::new(),
            shapes: Mutex::default(),
        }
    }

    /// Fails where the file is no longer the one that was opened; what it held is kept beside it, where that can be.
    async fn still_there(&self, thoroughly: bool) -> Result<(), Error> {
        let Some(presence) = &self.presence else { return Ok(()) };
        let Some(how) = presence.lost(thoroughly).await else { return Ok(()) };
        if self.rescued.get().is_none() {
            let copy = if presence.can_be_rescued() { self.rescue().await } else { None };
            let _ = self.rescued.set(copy);
        }
        Err(presence.error(how, self.rescued.get().cloned().flatten()))
    }

    /// Copies what is still open and has no name any more to `FILE.rescued`.
    async fn rescue(&self) -> Option<PathBuf> {
        let free = |n: &usize| {
            let end = if *n == 1 { ".rescued".to_string() } else { format!(".rescued-{n}") };
            let path = beside(&self.path, &end);
            (path.symlink_metadata().is_err()).then_some(path)
        };
        let path = (1..100usize).find_map(|n| free(&n))?;
        let mut connection = self.idle_writer().await?;
        let copied = sqlx::query("VACUUM INTO ?")
            .bind(plain(&path).to_string_lossy().into_owned())
            .execute(&mut *connection)
            .await;
        match copied {
            Ok(_) => Some(path),
            Err(_) => {
                let _ = std::fs::remove_file(&path);
                None
            }
        }
    }

    /// The connection that writes, if it is open; never a new one, which would open whatever has the file's name now.
    async fn idle_writer(&self) -> Option<PoolConnection<Sqlite>> {
        for _ in 0..50 {
            if let Some(connection) = self.writer.try_acquire() {
                return Some(connection);
            }
            // One that was given back a moment ago is on its way.
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        None
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
    /// Closes the connections, the writing one last: it folds the log into the file and takes it away, unless another file
    /// has taken its place.
    fn drop(&mut self) {
        self.runtime.block_on(async {
            self.readers.close().await;
            if let Some(presence) = &self.presence
                && presence.lost(true).await.is_some()
                && let Some(mut writer) = self.idle_writer().await
            {
                let _ = sandbox::leave_log(&mut writer).await;
            }
            self.writer.close().await;
        });
        if let Some(presence) = &self.presence {
            presence.take_log_away();
        }
    }
}

/// Pools whose connections trust no file.
fn pool() -> SqlitePoolOptions {
    SqlitePoolOptions::new().after_connect(|connection, _| Box::pin(sandbox::defend(connection)))
}

/// A reader cannot migrate.
fn outdated(path: &Path, version: i64) -> Result<(), Error> {
    match version {
        VERSION => Ok(()),
        0 => Err(Error::NotAStore { path: path.into(), why: "it is empty".into() }),
        found => Err(Error::Outdated { path: path.into(), found, why: "it is only read".into() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::sqlite::SqliteConnectOptions;

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
