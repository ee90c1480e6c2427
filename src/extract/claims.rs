//! Who works on which clip, where several processes share a folder.
//!
//! A claim is a file that only one process can make. Its owner touches it while it works; one that was not touched for
//! two minutes, or whose process on this machine is gone, is nobody's. Two that work on one clip after all make the same
//! bytes, so that a claim saves time and decides nothing.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, SystemTime};

/// A claim that was not touched for so long is nobody's.
const STALE: Duration = Duration::from_secs(120);
/// How often an owner touches its claims.
pub(super) const TOUCH: Duration = Duration::from_secs(15);

/// Where a process number means something, fit for a file name: this machine's name, and a hash of its boot and of the PID
/// namespace. Containers on one machine may have one name, and each its own process 1.
pub(super) fn place() -> String {
    static PLACE: OnceLock<String> = OnceLock::new();
    PLACE
        .get_or_init(|| {
            let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
            let name: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
            let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
            let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
            let hash = blake3::hash(format!("{boot}{}", namespace.display()).as_bytes()).to_hex();
            format!("{name}-{}", &hash[..12])
        })
        .clone()
}

/// Whether a process of this place lives.
pub(super) fn alive(pid: &str) -> bool {
    Path::new("/proc").join(pid).exists() || !Path::new("/proc/self").exists()
}

/// The claims of this process.
pub(super) struct Claims {
    dir: PathBuf,
    held: Mutex<HashSet<PathBuf>>,
}

impl Claims {
    pub(super) fn new(dir: PathBuf) -> Claims {
        Claims { dir, held: Mutex::default() }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, HashSet<PathBuf>> {
        self.held.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Claims a clip; false where another process that lives has it.
    pub(super) fn take(&self, clip: &str) -> std::io::Result<bool> {
        let path = self.dir.join(clip);
        for _ in 0..2 {
            match std::fs::File::create_new(&path) {
                Ok(mut file) => {
                    std::io::Write::write_all(&mut file, format!("{} {}\n", place(), std::process::id()).as_bytes())?;
                    self.held().insert(path);
                    return Ok(true);
                }
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                    if !self.is_nobodys(&path) {
                        return Ok(false);
                    }
                    let _ = std::fs::remove_file(&path);
                }
                Err(e) => return Err(e),
            }
        }
        Ok(false)
    }

    fn is_nobodys(&self, path: &Path) -> bool {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        if let Some((owner, pid)) = text.trim().split_once(' ')
            && owner == place()
            && !alive(pid)
        {
            return true;
        }
        let Some(touched) = std::fs::metadata(path).ok().and_then(|m| m.modified().ok()) else { return true };
        self.now().duration_since(touched).is_ok_and(|age| age > STALE)
    }

    /// The time by the clock of the file system, which may be another machine's.
    fn now(&self) -> SystemTime {
        let probe = self.dir.join(format!(".clock-{}-{}", place(), std::process::id()));
        let written = std::fs::write(&probe, "").and_then(|()| std::fs::metadata(&probe)).and_then(|m| m.modified());
        let _ = std::fs::remove_file(&probe);
        written.unwrap_or_else(|_| SystemTime::now())
    }

    /// Gives a clip back, done or not.
    pub(super) fn release(&self, clip: &str) {
        let path = self.dir.join(clip);
        let _ = std::fs::remove_file(&path);
        self.held().remove(&path);
    }

    /// Says that this process lives.
    pub(super) fn touch(&self) {
        for path in self.held().iter() {
            if let Ok(text) = std::fs::read_to_string(path) {
                let _ = std::fs::write(path, text);
            }
        }
    }
}

impl Drop for Claims {
    fn drop(&mut self) {
        self.held().iter().for_each(|path| drop(std::fs::remove_file(path)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clip_is_claimed_once_and_the_claims_of_the_dead_are_taken() {
        let dir = tempfile::tempdir().unwrap();
        let (ours, other) = (Claims::new(dir.path().into()), Claims::new(dir.path().into()));
        assert!(ours.take("a").unwrap());
        assert!(!other.take("a").unwrap());
        ours.release("a");
        assert!(other.take("a").unwrap());
        // A number that no process has, here; elsewhere it may be somebody's.
        std::fs::write(dir.path().join("b"), format!("{} 4194999\n", place())).unwrap();
        assert!(ours.take("b").unwrap());
        let here = place();
        let container = format!("{}-0123456789ab 4194999\n", &here[..here.len() - 13]);
        std::fs::write(dir.path().join("c"), container).unwrap();
        assert!(!ours.take("c").unwrap());
        let old = SystemTime::now() - 2 * STALE;
        std::fs::File::options().write(true).open(dir.path().join("c")).unwrap().set_modified(old).unwrap();
        assert!(ours.take("c").unwrap());
        drop(ours);
        assert!(!dir.path().join("b").exists());
    }
}
