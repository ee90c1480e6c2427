//! What `unmute doctor` asks of a store and the disk under it.

use super::{Error, Owner, State, Store};
use serde::Serialize;
use std::path::Path;

/// How a store is.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Health {
    /// Its schema; this program's.
    pub schema: i64,
    /// SQLite's version.
    pub sqlite: String,
    /// `wal` where all is well.
    pub journal: String,
    /// Bytes of the file.
    pub bytes: u64,
    /// Bytes of the log beside it.
    pub wal_bytes: u64,
    /// Bytes of checkpoints.
    pub checkpoint_bytes: u64,
    /// What SQLite's quick check found.
    pub damage: Option<String>,
    /// Runs that are marked as running: id, name, machine, process, last sign of life.
    pub running: Vec<Running>,
}

/// A run that is marked as running.
#[derive(Clone, Debug, Serialize)]
pub struct Running {
    /// Its id.
    pub run: String,
    /// Its cell and seed.
    pub name: String,
    /// Who works on it.
    #[serde(flatten)]
    pub owner: Owner,
}

impl Store {
    /// Asks the store how it is.
    pub fn health(&self, checkpoints: &Path) -> Result<Health, Error> {
        let text = |sql: &'static str| -> Result<String, Error> {
            let rows = self.rows(sqlx::query(sql))?;
            rows.first().map_or_else(|| Ok(String::new()), |row| self.get(row, 0))
        };
        let size = |path: &Path| path.metadata().map_or(0, |m| m.len());
        let in_folder = std::fs::read_dir(checkpoints).into_iter().flatten().flatten();
        Ok(Health {
            schema: self.schema_version(),
            sqlite: text("SELECT sqlite_version()")?,
            journal: text("PRAGMA journal_mode")?,
            bytes: size(&self.path),
            wal_bytes: size(&super::files::wal(&self.path)),
            checkpoint_bytes: in_folder.map(|e| size(&e.path())).sum(),
            damage: match self.cut_off()? {
                Some(what) => Some(what),
                None => self.quick_check()?,
            },
            running: self.running()?,
        })
    }

    /// Runs that are marked as running.
    pub fn running(&self) -> Result<Vec<Running>, Error> {
        let rows = self.rows(
            sqlx::query("SELECT id, key, seed, host, pid, heartbeat_at, worker, machine FROM run WHERE state = ?")
                .bind(State::Running.word()),
        )?;
        let running = rows.iter().map(|r| {
            let (key, seed): (String, Option<i64>) = (self.get(r, 1)?, self.get(r, 2)?);
            Ok(Running {
                run: self.get(r, 0)?,
                name: seed.map_or(key.clone(), |s| format!("{key} seed {}", s as u64)),
                owner: Owner {
                    host: self.get::<Option<String>>(r, 3)?.unwrap_or_default(),
                    pid: self.get::<Option<i64>>(r, 4)?.unwrap_or_default(),
                    heartbeat: self.get::<Option<String>>(r, 5)?.unwrap_or_default(),
                    worker: self.get(r, 6)?,
                    machine: self.get(r, 7)?,
                },
            })
        });
        running.collect()
    }
}

/// Files beside a store that a killed process left, and that nobody needs: parts of backups.
pub fn left_behind(path: &Path) -> Vec<std::path::PathBuf> {
    super::schema::left_behind(path)
}
