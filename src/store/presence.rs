//! Whether the file that a store was opened as is still the one under its name. SQLite goes on writing to a file that was
//! deleted, and over one that was copied onto it, without a word.

use super::Error;
use super::files::{beside, options, wal};
use sqlx::{Connection, Row, SqliteConnection};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// How long what was read from the file is taken for granted; a look at its name costs nothing and is always taken.
const TRUSTED: Duration = Duration::from_secs(2);

/// A file, whatever its name: device and inode.
type FileId = (u64, u64);

fn file_id(metadata: &Metadata) -> FileId {
    (metadata.dev(), metadata.ino())
}

/// What is known of a store's file.
pub(super) struct Presence {
    path: PathBuf,
    file: FileId,
    /// The id in its one row of `store`.
    id: String,
    /// The log, as soon as there is one.
    log: OnceLock<FileId>,
    /// Whether the id was found in the file itself, without its log. From then on it must be there.
    written: AtomicBool,
    looked: Mutex<Option<Instant>>,
    /// What became of the file.
    lost: OnceLock<&'static str>,
}

impl Presence {
    /// Of a store that was just opened, and whose id is this.
    pub(super) fn new(path: &Path, id: String) -> std::io::Result<Presence> {
        Ok(Presence {
            path: path.into(),
            file: file_id(&path.metadata()?),
            id,
            log: OnceLock::new(),
            written: AtomicBool::new(false),
            looked: Mutex::new(None),
            lost: OnceLock::new(),
        })
    }

    /// What became of the file, if it is no longer the one that was opened: "deleted" or "replaced by another file".
    pub(super) async fn lost(&self, thoroughly: bool) -> Option<&'static str> {
        if let Some(lost) = self.lost.get() {
            return Some(*lost);
        }
        let lost = match self.path.metadata() {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Some("deleted"),
            Err(_) => None,
            Ok(now) if file_id(&now) != self.file => Some("replaced by another file"),
            Ok(_) => self.overwritten(thoroughly).await.then_some("overwritten with another file"),
        };
        if let Some(lost) = lost {
            return Some(*self.lost.get_or_init(|| lost));
        }
        if self.log.get().is_none()
            && let Ok(log) = wal(&self.path).metadata()
        {
            let _ = self.log.set(file_id(&log));
        }
        None
    }

    /// Whether what was copied over the file, or cut from it, left another store or none.
    async fn overwritten(&self, thoroughly: bool) -> bool {
        let recent = |looked: &Option<Instant>| looked.is_some_and(|at| at.elapsed() < TRUSTED);
        if !thoroughly && self.looked.lock().is_ok_and(|looked| recent(&looked)) {
            return false;
        }
        // While another process folds its log into the file a page may be read half written.
        for attempt in 0..4 {
            if attempt > 0 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            match id_in_file(&self.path).await {
                Ok(Some(id)) if id == self.id => {
                    self.written.store(true, Ordering::Relaxed);
                    break;
                }
                Ok(Some(_)) if attempt == 3 => return true,
                // A file that is new has nothing yet but its log.
                Ok(None) | Err(_) if !self.written.load(Ordering::Relaxed) => break,
                // No database at all. Any other error says nothing: a disk that is full, or another process that folds in its log,
                // leaves pages that only make sense with the log, and that log must stay.
                Err(e) if attempt == 3 => return is_no_database(&e),
                Ok(None) if attempt == 3 => return true,
                _ => {}
            }
        }
        if let Ok(mut looked) = self.looked.lock() {
            *looked = Some(Instant::now());
        }
        false
    }

    /// The error that says so.
    pub(super) fn error(&self, how: &'static str, rescued: Option<PathBuf>) -> Error {
        Error::Gone { path: self.path.clone(), how, rescued }
    }

    /// Whether it was said that the file is lost.
    pub(super) fn is_lost(&self) -> bool {
        self.lost.get().is_some()
    }

    /// Whether the lost file can still be read: it has no name any more, but nothing was written over it.
    pub(super) fn can_be_rescued(&self) -> bool {
        self.lost.get().is_some_and(|how| !how.starts_with("overwritten"))
    }

    /// Moves our log away from the file that now has our name: played over it, it would damage it.
    pub(super) fn take_log_away(&self) {
        let log = wal(&self.path);
        let ours = log.metadata().is_ok_and(|now| self.log.get() == Some(&file_id(&now)));
        if self.is_lost() && ours {
            let _ = std::fs::rename(&log, beside(&log, ".orphan"));
        }
    }
}

fn is_no_database(e: &sqlx::Error) -> bool {
    let code = e.as_database_error().and_then(|e| e.code()).and_then(|c| c.parse::<i32>().ok());
    code.is_some_and(|code| code & 0xff == 26)
}

/// The id of the store in a file, without what its log holds; `None` where the file has no such row.
pub(super) async fn id_in_file(path: &Path) -> Result<Option<String>, sqlx::Error> {
    let options = options(path).read_only(true).immutable(true);
    let mut connection = SqliteConnection::connect_with(&options).await?;
    let id = id(&mut connection).await;
    connection.close().await?;
    id
}

/// The id of the store that a connection sees, its log included.
pub(super) async fn id(connection: &mut SqliteConnection) -> Result<Option<String>, sqlx::Error> {
    let known = sqlx::query("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'store'");
    if known.fetch_optional(&mut *connection).await?.is_none() {
        return Ok(None);
    }
    let row = sqlx::query("SELECT id FROM store").fetch_optional(&mut *connection).await?;
    row.map(|row| row.try_get(0)).transpose()
}

/// Fails where the log beside a file is another store's: SQLite would play it over this one.
pub(super) async fn check_log(path: &Path) -> Result<(), Error> {
    if !wal(path).metadata().is_ok_and(|m| m.len() > 0) {
        return Ok(());
    }
    let fail = |e| Error::of_sqlx(path, e);
    let Ok(Some(in_file)) = id_in_file(path).await else { return Ok(()) };
    let mut connection = SqliteConnection::connect_with(&options(path).read_only(true)).await.map_err(fail)?;
    let with_log = id(&mut connection).await;
    // A reader leaves the log as it is.
    connection.close().await.map_err(fail)?;
    match with_log.map_err(fail)? {
        Some(id) if id == in_file => Ok(()),
        _ => Err(Error::ForeignLog { path: path.into(), log: wal(path) }),
    }
}
