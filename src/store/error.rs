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
    /// The file was deleted or replaced while it was open.
    #[error(
        "{}: the store was {how} while it was in use; nothing more was written to it\n  next: {}",
        path.display(),
        after_loss(path, rescued.as_deref())
    )]
    Gone {
        /// The file.
        path: PathBuf,
        /// `deleted`, `replaced by another file`, `overwritten with another file`.
        how: &'static str,
        /// A copy of what it held, where one could be made.
        rescued: Option<PathBuf>,
    },
    /// The write-ahead log beside the file is another store's.
    #[error(
        "{}: the log beside it, {}, belongs to another store, and SQLite would write it over this one\n  next: move the log away (it is what the earlier file of this name was last told), then run the same command again",
        path.display(),
        log.display()
    )]
    ForeignLog {
        /// The file.
        path: PathBuf,
        /// The log.
        log: PathBuf,
    },
    /// Something in the schema that no version of the program makes.
    #[error(
        "{}: it holds {what}, which no version of unmute makes and which could change what is read or written\n  next: look at it with another SQLite program, and drop it there if the rest is to be trusted; nothing was changed",
        path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// `a trigger "t"`.
        what: String,
    },
    /// A file system that other machines have as well.
    #[error(
        "{}: it is on a network file system ({kind}), where a second machine that uses the store damages it without an error; nothing was written\n  next: give a place on a local disk with --db, and carry results over with `unmute run --publish PART.db` and `unmute merge`; `unmute slurm submit` does so by itself. Where one machine at a time uses it, --allow-network-store (or UNMUTE_ALLOW_NETWORK_STORE=1) takes it as it is",
        path.display()
    )]
    Network {
        /// The file.
        path: PathBuf,
        /// `nfs`.
        kind: String,
    },
    /// A pipe, a device or a folder.
    #[error("{}: it is {what}, not a file\n  next: give the path of a runs.db, or of a new file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// `a named pipe`.
        what: &'static str,
    },
    /// A number of a run that is not finite.
    #[error(
        "run {run}: {what} is {value}, which is no result; the run was not stored\n  next: lower train.lr, or look at its epochs with `unmute show {}`",
        run.get(..12).unwrap_or(run)
    )]
    NotFinite {
        /// The run.
        run: String,
        /// Which number: `top1`, `the score of clip 3 for class 2`.
        what: String,
        /// What it is.
        value: f64,
    },
    /// More than can be stored.
    #[error("{}: {what}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// What, how large, and how large it may be.
        what: String,
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

/// `SQLITE_IOERR_DELETE_NOENT`.
const DELETE_NOENT: i32 = 5898;

impl Error {
    /// What the system says of a file beside the store.
    pub fn of_file(path: &std::path::Path, e: &std::io::Error) -> Error {
        let path = path.to_path_buf();
        match e.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Error::Full { path },
            _ => Error::ReadOnly { path, why: e.to_string() },
        }
    }

    /// Whether it is about this file, and what it holds or how it may be read.
    pub fn path_is(&self, file: &std::path::Path) -> bool {
        match self {
            Error::Newer { path, .. }
            | Error::Outdated { path, .. }
            | Error::NotAStore { path, .. }
            | Error::Missing { path }
            | Error::ForeignLog { path, .. }
            | Error::Foreign { path, .. }
            | Error::NotAFile { path, .. }
            | Error::ReadOnly { path, .. }
            | Error::Damaged { path, .. } => path == file,
            _ => false,
        }
    }

    /// Whether a journal that SQLite wanted to delete was gone already.
    pub(super) fn is_gone_journal(&self) -> bool {
        let Error::Sql { source, .. } = self else { return false };
        let code = source.as_database_error().and_then(|e| e.code());
        code.is_some_and(|c| c.parse() == Ok(DELETE_NOENT))
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
            // A log that cannot be made for want of room is told as one that cannot be opened.
            Some(8 | 14) if is_full(&path) => Error::Full { path },
            Some(8 | 14) => Error::ReadOnly { path, why },
            // So does one whose shared memory cannot grow, or whose log ends early: what there is can be judged once there is room.
            Some(11) if is_full(&path) => Error::Full { path },
            Some(11) => Error::Damaged { path, why },
            Some(26) => Error::NotAStore { path, why },
            // A page that ends early (SQLITE_IOERR_SHORT_READ, or SQLITE_IOERR_READ).
            Some(10) if matches!(code, Some(266 | 522)) => {
                Error::Damaged { path, why: "it ends in the middle of a page, or its disk cannot be read".into() }
            }
            // SQLite reports a full file system as an I/O error while it grows the shared-memory file.
            Some(10) if is_full(&path) => Error::Full { path },
            Some(10) if code == Some(DELETE_NOENT) => Error::Sql { path, source },
            Some(10) => Error::ReadOnly { path, why: format!("{why} (SQLite's code {})", code.unwrap_or_default()) },
            _ => Error::Sql { path, source },
        }
    }
}

/// What to do after a store was lost.
fn after_loss(path: &std::path::Path, rescued: Option<&std::path::Path>) -> String {
    match rescued {
        Some(copy) => format!(
            "all that it held is in {}; `unmute merge --db {} {}` takes it over, then run the same command again",
            copy.display(),
            path.display(),
            copy.display()
        ),
        None => {
            "put the file back from a copy, or run the same command again; checkpoints beside it are still used".into()
        }
    }
}

/// Whether the disk under a path has no room left, or next to none.
fn is_full(path: &std::path::Path) -> bool {
    super::disk::disk(path).is_ok_and(|disk| disk.free_bytes < 64 << 10 && !disk.read_only)
}
