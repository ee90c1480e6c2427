//! What `unmute doctor` asks of a store and the disk under it.

use super::{Error, State, Store};
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
    /// The machine.
    pub host: String,
    /// The process.
    pub pid: i64,
    /// Its last sign of life.
    pub heartbeat_at: String,
}

/// The disk under a path.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Disk {
    /// Bytes that can still be written.
    pub free_bytes: u64,
    /// Whether it can be written at all.
    pub read_only: bool,
    /// The kind of network file system, where it is one.
    pub network: Option<&'static str>,
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
            wal_bytes: size(&super::wal(&self.path)),
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
            sqlx::query("SELECT id, key, seed, host, pid, heartbeat_at FROM run WHERE state = ?")
                .bind(State::Running.word()),
        )?;
        let running = rows.iter().map(|r| {
            let (key, seed): (String, Option<i64>) = (self.get(r, 1)?, self.get(r, 2)?);
            Ok(Running {
                run: self.get(r, 0)?,
                name: seed.map_or(key.clone(), |s| format!("{key} seed {}", s as u64)),
                host: self.get::<Option<String>>(r, 3)?.unwrap_or_default(),
                pid: self.get::<Option<i64>>(r, 4)?.unwrap_or_default(),
                heartbeat_at: self.get::<Option<String>>(r, 5)?.unwrap_or_default(),
            })
        });
        running.collect()
    }
}

/// The disk that a path is on, or would be.
pub fn disk(path: &Path) -> std::io::Result<Disk> {
    let there = path.ancestors().find(|p| p.exists()).unwrap_or(Path::new("."));
    let there = if there.as_os_str().is_empty() { Path::new(".") } else { there };
    let v = rustix::fs::statvfs(there)?;
    Ok(Disk {
        free_bytes: v.f_bavail.saturating_mul(v.f_frsize),
        read_only: v.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY),
        network: network(there),
    })
}

/// File systems whose locks cannot be relied on, by the number that `statfs` gives (linux/magic.h).
#[cfg(target_os = "linux")]
fn network(path: &Path) -> Option<&'static str> {
    let kind = rustix::fs::statfs(path).ok()?.f_type as u32;
    match kind {
        0x6969 => Some("nfs"),
        0x517B => Some("smb"),
        0xFE53_4D42 => Some("smb2"),
        0xFF53_4D42 => Some("cifs"),
        0x0102_1997 => Some("9p"),
        0x5346_414F => Some("afs"),
        0x00C3_6400 => Some("ceph"),
        0x0BD0_0BD0 => Some("lustre"),
        0x6573_5546 => Some("fuse"),
        _ => None,
    }
}

#[cfg(not(target_os = "linux"))]
fn network(_: &Path) -> Option<&'static str> {
    None
}
