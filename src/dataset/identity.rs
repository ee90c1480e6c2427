//! Which state of which file something was read from: device, inode, length, and the times of its last writing and of its
//! last change of any kind.
//!
//! A program can set a file's modification time (`cp -p`, `rsync -t`, `tar` do), but not its change time (ctime), and a copy has
//! another inode. So two equal identities mean equal contents, unless a file was written twice within one tick of the file
//! system's clock; [`Identity::settled`] tells when that can be ruled out.

use serde::{Deserialize, Serialize};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::{SystemTime, UNIX_EPOCH};

/// A file's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    device: u64,
    inode: u64,
    length: u64,
    modified_ns: i64,
    changed_ns: i64,
}

/// Some file systems keep times to two seconds only.
const COARSEST_CLOCK_NS: i64 = 2_000_000_000;

impl Identity {
    /// Of a file whose metadata were just asked for.
    pub fn of(meta: &Metadata) -> Identity {
        let ns = |seconds: i64, ns: i64| seconds.saturating_mul(1_000_000_000).saturating_add(ns);
        Identity {
            device: meta.dev(),
            inode: meta.ino(),
            length: meta.len(),
            modified_ns: ns(meta.mtime(), meta.mtime_nsec()),
            changed_ns: ns(meta.ctime(), meta.ctime_nsec()),
        }
    }

    /// Whether a later change would certainly show: the last one lies further back from `at_ns` than the coarsest clock's tick.
    pub fn settled(&self, at_ns: i64) -> bool {
        self.changed_ns.saturating_add(COARSEST_CLOCK_NS) < at_ns
    }

    /// Whether `later` is the same file with the same length and time of writing: only its name, links or rights may have changed.
    pub fn same_writing(&self, later: &Identity) -> bool {
        Identity { changed_ns: 0, ..*self } == Identity { changed_ns: 0, ..*later }
    }

    /// Whether it is the same file in the same state, seen from whichever machine: what several mount has another device number
    /// on each, and the same everything else.
    pub fn same_on_any_machine(&self, other: &Identity) -> bool {
        Identity { device: 0, ..*self } == Identity { device: 0, ..*other }
    }

    /// Whether it is another file of the same length.
    pub fn is_another(&self, other: &Identity) -> bool {
        self.length == other.length && (self.inode, self.device) != (other.inode, other.device)
    }

    /// Adds this state to a hash.
    pub fn hash_into(&self, hasher: &mut blake3::Hasher) {
        hasher.update(&self.device.to_le_bytes()).update(&self.inode.to_le_bytes()).update(&self.length.to_le_bytes());
        hasher.update(&self.modified_ns.to_le_bytes()).update(&self.changed_ns.to_le_bytes());
    }
}

/// Nanoseconds since 1970.
pub fn now_ns() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX))
}
