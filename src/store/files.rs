//! The files of a store and how SQLite is to open them.

use super::Error;
use sqlx::sqlite::SqliteConnectOptions;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a writer waits for another process's transaction.
pub(super) const BUSY: Duration = Duration::from_secs(60);

/// The write-ahead log of a store.
pub(super) fn wal(path: &Path) -> PathBuf {
    beside(path, "-wal")
}

/// What it rolls back with until it has a write-ahead log.
pub(super) fn journal(path: &Path) -> PathBuf {
    beside(path, "-journal")
}

pub(super) fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

/// Fails where a path, or a log beside it, is there and is no file: opening a pipe would wait without end.
pub(super) fn regular(path: &Path) -> Result<(), Error> {
    for path in [path.to_path_buf(), wal(path), journal(path)] {
        let Ok(metadata) = path.metadata() else { continue };
        let kind = metadata.file_type();
        let what = match () {
            () if kind.is_file() => continue,
            () if kind.is_dir() => "a folder",
            () if kind.is_fifo() => "a named pipe",
            () if kind.is_socket() => "a socket",
            () => "a device",
        };
        return Err(Error::NotAFile { path, what });
    }
    Ok(())
}

/// No thread of its own: where no thread can be started, opening a store should fail with an error.
pub(super) fn runtime(path: &Path) -> Result<tokio::runtime::Runtime, Error> {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(|e| Error::Sql { path: path.into(), source: sqlx::Error::Io(e) })
}

/// Rows that SQLite's thread may be ahead of the one that reads them; few would make the two wait for each other.
const AHEAD: usize = 2048;

/// What all connections have in common.
pub(super) fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(plain(path))
        .busy_timeout(BUSY)
        .row_buffer_size(AHEAD)
        // Files come from strangers: what their schema calls, and what their pages claim, is not believed.
        .pragma("trusted_schema", "OFF")
        .pragma("cell_size_check", "ON")
}

/// A path that SQLite takes for nothing but a file's: not `:memory:`, not a URI, not the empty name of a temporary one.
pub(super) fn plain(path: &Path) -> PathBuf {
    if path.is_absolute() { path.into() } else { Path::new(".").join(path) }
}
