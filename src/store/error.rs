//! What can go wrong with the store, said so that one knows what to do.

use std::path::PathBuf;

/// An error of the store.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file was written by a newer version.
    #[error(
        "{}: written by a newer version (schema {found}, this one knows {known})\n  next: update unmute; the file was not touched",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// The file was written by an older version, and cannot be migrated.
    #[error(
        "{}: written by an older version (schema {found}), and it cannot be migrated ({why})\n  next: copy it to a folder that you can write to",
        path.display()
    )]
    Outdated {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// Why it cannot be migrated.
        why: String,
    },
    /// The file is another program's, or none at all.
    #[error("{}: not a store of unmute ({why})\n  next: give the path of a runs.db, or of a new file; this one was not touched", path.display())]
    NotAStore {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Nothing there.
    #[error("{}: there is no such store\n  next: `unmute run EXPERIMENT --dataset DIR` makes one; --db or UNMUTE_DB names it", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The disk is full.
    #[error("{}: the disk is full\n  next: free some space and run the same command again; what is finished is kept", path.display())]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// The file or its folder cannot be written.
    #[error("{}: cannot be written ({why})\n  next: choose another place with --db, or change its permissions", path.display())]
    ReadOnly {
        /// The file.
        path: PathBuf,
        /// What the system says.
        why: String,
    },
    /// The file is damaged.
    #[error("{}: the file is damaged ({why})\n  next: restore a copy; `unmute verify` tells which runs can still be read", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite or a hash says.
        why: String,
    },
    /// A run or experiment that is not there, or several that fit.
    #[error("{0}")]
    NotFound(String),
    /// Anything else.
    #[error("{}: {source}", path.display())]
    Sql {
        /// The file.
        path: PathBuf,
        /// What sqlx says.
        source: sqlx::Error,
    },
}

impl Error {
    /// What the system says of a file beside the store.
    pub fn of_file(path: &std::path::Path, e: &std::io::Error) -> Error {
        let path = path.to_path_buf();
        match e.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Error::Full { path },
            _ => Error::ReadOnly { path, why: e.to_string() },
        }
    }

    /// Sorts what sqlx says by SQLite's primary result code.
    pub(super) fn of_sqlx(path: &std::path::Path, source: sqlx::Error) -> Error {
        let path = path.to_path_buf();
        if matches!(source, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_)) {
            return Error::Damaged { path, why: source.to_string() };
        }
        let code = source.as_database_error().and_then(|e| e.code()).and_then(|c| c.parse::<i32>().ok());
        let why = source.as_database_error().map_or_else(|| source.to_string(), |e| e.message().to_string());
        // The low byte is the primary code, the rest a detail.
        match code.map(|c| c & 0xff) {
            Some(13) => Error::Full { path },
            Some(8 | 14) => Error::ReadOnly { path, why },
            Some(11) => Error::Damaged { path, why },
            Some(26) => Error::NotAStore { path, why },
            // A page that ends early (SQLITE_IOERR_SHORT_READ, or SQLITE_IOERR_READ).
            Some(10) if matches!(code, Some(266 | 522)) => {
                Error::Damaged { path, why: "it ends in the middle of a page, or its disk cannot be read".into() }
            }
            // SQLite reports a full file system as an I/O error while it grows the shared-memory file.
            Some(10) if is_full(&path) => Error::Full { path },
            Some(10) => Error::ReadOnly { path, why },
            _ => Error::Sql { path, source },
        }
    }
}

/// Whether the disk under a path has no room left, or next to none.
fn is_full(path: &std::path::Path) -> bool {
    super::disk(path).is_ok_and(|disk| disk.free_bytes < 64 << 10 && !disk.read_only)
}
