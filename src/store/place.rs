//! Where a store may be used: on a disk of this machine.

use super::Error;
use super::disk::disk;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether stores are used on network file systems all the same.
static ALLOWED: AtomicBool = AtomicBool::new(false);

/// From now on stores on network file systems are used all the same: whoever asks for it sees to it that one machine at a
/// time does.
pub fn allow_network() {
    ALLOWED.store(true, Ordering::Relaxed);
}

/// Fails where a store would be written to on a network file system.
///
/// SQLite's log is shared through memory that two machines do not have in common: each believes that it is alone, and both
/// write over one another without an error.
pub(super) fn refuse_network(path: &Path) -> Result<(), Error> {
    if ALLOWED.load(Ordering::Relaxed) {
        return Ok(());
    }
    match disk(path).ok().and_then(|disk| disk.network) {
        Some(kind) => Err(Error::Network { path: path.into(), kind }),
        None => Ok(()),
    }
}
