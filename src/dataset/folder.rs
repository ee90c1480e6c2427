//! Data sets are built in a folder beside their destination and renamed when they are whole, so that the destination is
//! whole or not there.

use super::Error;
use rustix::fs::FlockOperation;
use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

static STOP: AtomicBool = AtomicBool::new(false);

/// From now on Ctrl-C, SIGTERM and a hang-up ask whatever is being written to stop at the next opportunity and to leave
/// nothing behind; the second of a kind ends the process at once. What the caller set to be ignored (`nohup`) stays ignored.
pub fn stop_on_signals() {
    extern "C" fn stop(_: libc::c_int) {
        STOP.store(true, Ordering::Relaxed);
    }
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: plain calls of sigaction with initialised structures; the handler stores to an atomic and nothing else.
        // Where one fails, the signal ends the process, and the next import clears what it left.
        unsafe {
            let mut before: libc::sigaction = std::mem::zeroed();
            if libc::sigaction(signal, std::ptr::null(), &mut before) != 0 || before.sa_sigaction == libc::SIG_IGN {
                continue;
            }
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = stop as *const () as usize;
            action.sa_flags = libc::SA_RESTART | libc::SA_RESETHAND;
            libc::sigemptyset(&mut action.sa_mask);
            libc::sigaction(signal, &action, std::ptr::null_mut());
        }
    }
}

/// Fails once it was asked to stop.
pub(super) fn go_on() -> Result<(), Error> {
    if STOP.load(Ordering::Relaxed) { Err(Error::Stopped) } else { Ok(()) }
}

/// Builds a folder beside `dst` and renames it when `fill` succeeded. What killed processes left of earlier attempts at the
/// same `dst` is removed.
pub(super) fn write(dst: &Path, fill: impl FnOnce(&Path) -> Result<(), Error>) -> Result<(), Error> {
    let io = |source| Error::Io { path: dst.into(), source };
    let name = dst.file_name().ok_or_else(|| Error::Usage(format!("{}: not a name for a folder", dst.display())))?;
    let name = name.to_string_lossy();
    let parent = match dst.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(parent).map_err(io)?;
    clear_abandoned(parent, &name);
    let part = parent.join(format!(".{name}.{}.part", std::process::id()));
    std::fs::create_dir(&part).map_err(io)?;
    let lock = lock(&part);
    let result = fill(&part).and_then(|()| go_on()).and_then(|()| std::fs::rename(&part, dst).map_err(io));
    if result.is_err() {
        let _ = std::fs::remove_dir_all(&part);
    }
    drop(lock);
    result
}

/// A lock on the folder that the system lets go of when this process ends, however it ends. None where the file system
/// knows no such locks.
fn lock(part: &Path) -> Option<File> {
    let folder = File::open(part).ok()?;
    rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive).ok()?;
    Some(folder)
}

/// Removes the folders of attempts at `name` whose process is gone.
fn clear_abandoned(parent: &Path, name: &str) {
    let Ok(entries) = std::fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let file = entry.file_name().to_string_lossy().into_owned();
        let id = file.strip_prefix(&format!(".{name}.")).and_then(|rest| rest.strip_suffix(".part"));
        let Some(id) = id.and_then(|id| id.parse::<i32>().ok()) else { continue };
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_folder && abandoned(&entry.path(), id) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// Nobody holds the folder's lock, and either no process has this number or the folder has lain untouched for a minute (the
/// number may have passed to another process).
fn abandoned(part: &Path, id: i32) -> bool {
    let gone = rustix::process::Pid::from_raw(id)
        .is_none_or(|pid| rustix::process::test_kill_process(pid).is_err_and(|e| e == rustix::io::Errno::SRCH));
    let untouched = || {
        let modified = std::fs::metadata(part).and_then(|m| m.modified());
        modified.is_ok_and(|at| at.elapsed().is_ok_and(|since| since > Duration::from_secs(60)))
    };
    lock(part).is_some() && (gone || untouched())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_is_cleared_and_what_a_living_one_writes_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let dst = dir.path().join("data");
        // No process has this number.
        let dead = dir.path().join(format!(".data.{}.part", i32::MAX));
        let living = dir.path().join(format!(".data.{}.part", std::os::unix::process::parent_id()));
        let held = dir.path().join(format!(".data.{}.part", i32::MAX - 1));
        let other = dir.path().join(format!(".other.{}.part", i32::MAX));
        for folder in [&dead, &living, &held, &other] {
            std::fs::create_dir(folder).unwrap();
            std::fs::write(folder.join("rgb.safetensors"), "half").unwrap();
        }
        let _lock = lock(&held).unwrap();
        write(&dst, |part| {
            assert!(!dead.exists() && living.exists() && held.exists() && other.exists());
            std::fs::write(part.join("file"), "").map_err(|source| Error::Io { path: part.into(), source })
        })
        .unwrap();
        assert!(dst.join("file").exists());
    }

    #[test]
    fn a_failure_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let failed = write(&dir.path().join("data"), |_| Err(Error::Usage("no".into())));
        assert!(failed.is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
