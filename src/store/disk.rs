//! The disk under a path.

use serde::Serialize;
use std::path::Path;

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
