//! The disk under a path.

use serde::Serialize;
use std::path::{Path, PathBuf};

/// The disk under a path.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Disk {
    /// Bytes that can still be written.
    pub free_bytes: u64,
    /// Whether it can be written at all.
    pub read_only: bool,
    /// The kind of network file system, where it is one.
    pub network: Option<String>,
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

#[cfg(target_os = "linux")]
fn network(path: &Path) -> Option<String> {
    let number = rustix::fs::statfs(path).ok().map(|kind| kind.f_type as u32);
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.into());
    network_of(number.unwrap_or(0), mounted(&mounts, &path).unwrap_or_default())
}

#[cfg(not(target_os = "linux"))]
fn network(_: &Path) -> Option<String> {
    None
}

/// The kind of the file system that a path is on, by the list of mounts: `ext4`, `fuse.sshfs`.
fn mounted<'a>(mounts: &'a str, path: &Path) -> Option<&'a str> {
    let mut found: Option<(usize, &str)> = None;
    for line in mounts.lines() {
        // `36 35 98:0 /root /mount/point options ... - kind source options`
        let Some((place, rest)) = line.split_once(" - ") else { continue };
        let (Some(point), Some(kind)) = (place.split(' ').nth(4), rest.split(' ').next()) else { continue };
        let point = PathBuf::from(unescape(point));
        let depth = point.components().count();
        // Of mounts on one point, the last covers the others.
        if path.starts_with(&point) && found.is_none_or(|(deepest, _)| depth >= deepest) {
            found = Some((depth, kind));
        }
    }
    found.map(|(_, kind)| kind)
}

/// Blanks in mount points stand there as `\040`.
fn unescape(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_string(), |text, (code, char)| text.replace(code, char))
}

/// File systems that several machines mount, by the number that `statfs` gives (linux/magic.h and the vendors' own headers).
const BY_NUMBER: &[(u32, &str)] = &[
    (0x6969, "nfs"),
    (0x517B, "smb"),
    (0xFE53_4D42, "smb2"),
    (0xFF53_4D42, "cifs"),
    (0x0102_1997, "9p"),
    (0x5346_414F, "afs"),
    (0x6B41_4653, "afs"),
    (0x7375_7245, "coda"),
    (0x00C3_6400, "ceph"),
    (0x0BD0_0BD0, "lustre"),
    (0x4750_4653, "gpfs"),
    (0x1983_0326, "beegfs"),
    (0xAAD7_AAEA, "panfs"),
    (0x2003_0528, "orangefs"),
    (0x7461_636F, "ocfs2"),
    (0x0116_1970, "gfs2"),
    (0x786F_4256, "vboxsf"),
    (0xBACB_ACBC, "vmhgfs"),
];

/// The same by the name in the list of mounts.
const BY_NAME: &[&str] = &[
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "9p",
    "afs",
    "coda",
    "ceph",
    "lustre",
    "lustre_tgt",
    "gpfs",
    "beegfs",
    "beegfs_nodev",
    "panfs",
    "wekafs",
    "orangefs",
    "pvfs2",
    "ocfs2",
    "gfs2",
    "vboxsf",
    "vmhgfs",
    "prl_fs",
    "daos",
];

/// What programs mount through FUSE from disks of this machine.
const LOCAL_FUSE: &[&str] = &[
    "fuseblk",
    "fuse.fuse-overlayfs",
    "fuse.ntfs-3g",
    "fuse.exfat",
    "fuse.bindfs",
    "fuse.gocryptfs",
    "fuse.encfs",
    "fuse.cryfs",
    "fuse.mergerfs",
    "virtiofs",
];

/// The number of FUSE: behind it may be anything.
const FUSE: u32 = 0x6573_5546;

/// The network file system that a number and a name mean, if it is one. Of what comes through FUSE only what is known to be
/// local is none: sshfs, glusterfs, s3fs, rclone, dfuse and whatever is next reach across machines.
fn network_of(number: u32, name: &str) -> Option<String> {
    if number == FUSE || name == "fuse" || name.starts_with("fuse.") {
        let known = LOCAL_FUSE.contains(&name);
        let shown = name.strip_prefix("fuse.").filter(|shown| !shown.is_empty()).unwrap_or("fuse");
        return (!known).then(|| shown.to_string());
    }
    let by_number = BY_NUMBER.iter().find(|(known, _)| *known == number).map(|(_, name)| *name);
    by_number.or(BY_NAME.iter().copied().find(|known| *known == name)).map(String::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_machines_share_is_known_by_number_or_name() {
        for (number, name, kind) in [
            (0x6969, "nfs4", Some("nfs")),
            (0x4750_4653, "gpfs", Some("gpfs")),
            (0, "gpfs", Some("gpfs")),
            (0x1983_0326, "beegfs", Some("beegfs")),
            (0, "wekafs", Some("wekafs")),
            (FUSE, "fuse.sshfs", Some("sshfs")),
            (FUSE, "fuse.glusterfs", Some("glusterfs")),
            (FUSE, "fuse", Some("fuse")),
            (FUSE, "", Some("fuse")),
            (FUSE, "fuseblk", None),
            (FUSE, "fuse.fuse-overlayfs", None),
            (FUSE, "virtiofs", None),
            (0xEF53, "ext4", None),
            (0x0102_1994, "tmpfs", None),
            (0x794C_7630, "overlay", None),
        ] {
            assert_eq!(network_of(number, name).as_deref(), kind, "{number:x} {name}");
        }
    }

    #[test]
    fn the_deepest_and_last_mount_of_a_path_counts() {
        let mounts = "22 1 254:0 / / rw - ext4 /dev/vda rw\n\
                      40 22 0:40 / /home rw shared:1 - nfs4 server:/home rw\n\
                      41 40 0:41 / /home/my\\040files rw - fuse.sshfs me@there: rw\n\
                      42 22 0:42 / /mnt rw - tmpfs tmpfs rw\n\
                      43 22 0:43 / /mnt rw - lustre mgs:/scratch rw\n";
        let of = |path: &str| mounted(mounts, Path::new(path));
        assert_eq!(of("/var/tmp"), Some("ext4"));
        assert_eq!(of("/home/me"), Some("nfs4"));
        assert_eq!(of("/homely"), Some("ext4"));
        assert_eq!(of("/home/my files/runs.db"), Some("fuse.sshfs"));
        assert_eq!(of("/mnt/x"), Some("lustre"));
    }

    #[test]
    fn this_disk_is_local() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(disk(dir.path()).unwrap().network, None);
    }
}
