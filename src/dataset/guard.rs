//! A read-only memory map that outlives its file being cut short.
//!
//! Reading a mapped page that the file no longer has (or that the disk cannot deliver) raises SIGBUS, which ends a process
//! without a word. Here a handler puts a page of zeros in its place and marks the map as damaged: the reader goes on with
//! zeros, and whoever is about to keep a result asks [`GuardedMap::damaged`] first. Reading costs nothing more than before,
//! where copying every row by `pread` would cost a system call each.

use memmap2::Mmap;
use std::fs::File;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

/// Bytes that are announced in one call: systems read no more of one, many of them 128 KiB.
const AT_ONCE: usize = 128 << 10;

/// A mapped file.
#[derive(Debug)]
pub(super) struct GuardedMap {
    map: Mmap,
    slot: &'static Slot,
}

/// An address range that the handler looks after. Slots form a list that only grows and are used again, so that the handler
/// can walk it whatever the thread that it interrupts was doing.
#[derive(Debug)]
struct Slot {
    start: AtomicUsize,
    end: AtomicUsize,
    damaged: AtomicBool,
    taken: AtomicBool,
    next: *const Slot,
}

// SAFETY: `next` is written once, before the slot is published, and points to a slot that is never freed.
unsafe impl Send for Slot {}
// SAFETY: as above; all other fields are atomic.
unsafe impl Sync for Slot {}

static FIRST: AtomicPtr<Slot> = AtomicPtr::new(std::ptr::null_mut());
static PAGE: AtomicUsize = AtomicUsize::new(0);
/// What SIGBUS did before.
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

impl GuardedMap {
    /// Maps a whole file.
    pub fn new(file: &File) -> std::io::Result<GuardedMap> {
        install()?;
        // SAFETY: the map is read only. A data set is not rewritten in place while it is open (importing and synthesising
        // write a new folder and rename it); what other programs do to the file, `Dataset::check_unchanged` finds, and that
        // they cut it short is the handler's business.
        let map = unsafe { Mmap::map(file)? };
        let slot = Slot::take();
        slot.damaged.store(false, Ordering::Relaxed);
        slot.end.store(map.as_ptr() as usize + map.len(), Ordering::Relaxed);
        slot.start.store(map.as_ptr() as usize, Ordering::Release);
        Ok(GuardedMap { map, slot })
    }

    /// As [`GuardedMap::new`], for places in no order: nothing around a place that is read is read along, but what is [announced](Self::announce).
    pub fn scattered(file: &File) -> std::io::Result<GuardedMap> {
        let map = GuardedMap::new(file)?;
        // Advice; a system that has none reads on as it likes.
        #[cfg(unix)]
        let _ = map.map.advise(memmap2::Advice::Random);
        Ok(map)
    }

    /// Says that these bytes will be read soon, so that what is not in memory yet comes meanwhile.
    pub fn announce(&self, bytes: std::ops::Range<usize>) {
        debug_assert!(bytes.end <= self.map.len());
        #[cfg(unix)]
        for first in bytes.clone().step_by(AT_ONCE) {
            let some = AT_ONCE.min(bytes.end - first);
            if self.map.advise_range(memmap2::Advice::WillNeed, first, some).is_err() {
                // Read page by page it would be slower than without any advice.
                let _ = self.map.advise(memmap2::Advice::Normal);
                return;
            }
        }
    }

    /// Whether a part of it could not be read since it was mapped, and reads as zeros.
    pub fn damaged(&self) -> bool {
        self.slot.damaged.load(Ordering::Acquire)
    }
}

impl std::ops::Deref for GuardedMap {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}

impl Drop for GuardedMap {
    fn drop(&mut self) {
        self.slot.start.store(0, Ordering::Relaxed);
        self.slot.end.store(0, Ordering::Relaxed);
        self.slot.taken.store(false, Ordering::Release);
    }
}

impl Slot {
    /// One that nobody uses, or a new one.
    fn take() -> &'static Slot {
        for slot in slots() {
            if slot.taken.compare_exchange(false, true, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return slot;
            }
        }
        let slot = Box::leak(Box::new(Slot {
            start: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
            damaged: AtomicBool::new(false),
            taken: AtomicBool::new(true),
            next: std::ptr::null(),
        }));
        loop {
            let first = FIRST.load(Ordering::Acquire);
            slot.next = first;
            if FIRST.compare_exchange(first, slot, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return slot;
            }
        }
    }
}

fn slots() -> impl Iterator<Item = &'static Slot> {
    let mut next: *const Slot = FIRST.load(Ordering::Acquire);
    std::iter::from_fn(move || {
        // SAFETY: null or a published slot, which is never freed.
        let slot = unsafe { next.as_ref() }?;
        next = slot.next;
        Some(slot)
    })
}

/// Sets the handler, once.
fn install() -> std::io::Result<()> {
    static DONE: OnceLock<Option<i32>> = OnceLock::new();
    let failed = DONE.get_or_init(|| {
        PAGE.store(rustix::param::page_size(), Ordering::Release);
        // SAFETY: plain calls of sigaction with initialised structures; the former action is kept before ours can run.
        unsafe {
            let mut before: libc::sigaction = std::mem::zeroed();
            if libc::sigaction(libc::SIGBUS, std::ptr::null(), &mut before) != 0 {
                return std::io::Error::last_os_error().raw_os_error();
            }
            let _ = BEFORE.set(before);
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_bus_error as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigemptyset(&mut action.sa_mask);
            if libc::sigaction(libc::SIGBUS, &action, std::ptr::null_mut()) != 0 {
                return std::io::Error::last_os_error().raw_os_error();
            }
        }
        None
    });
    failed.map_or(Ok(()), |code| Err(std::io::Error::from_raw_os_error(code)))
}

/// Only what may be done inside a signal handler: atomics, one mmap, sigaction.
extern "C" fn on_bus_error(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid structure.
    let (code, at) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    // Above 0: raised by an access, not sent by another process.
    if code > 0
        && let Some(slot) =
            slots().find(|s| (s.start.load(Ordering::Acquire)..s.end.load(Ordering::Relaxed)).contains(&at))
    {
        let page = PAGE.load(Ordering::Acquire);
        let start = at / page * page;
        // SAFETY: the page belongs to a map that we own and that is only read.
        let zeros = unsafe {
            rustix::mm::mmap_anonymous(
                start as *mut _,
                page,
                rustix::mm::ProtFlags::READ,
                rustix::mm::MapFlags::PRIVATE | rustix::mm::MapFlags::FIXED,
            )
        };
        if zeros.is_ok() {
            slot.damaged.store(true, Ordering::Release);
            return;
        }
    }
    // SAFETY: the action that was set before ours is called as it asked to be; the default one ends the process.
    unsafe {
        match BEFORE.get() {
            Some(before) if before.sa_sigaction == libc::SIG_IGN && code <= 0 => (),
            Some(before) if before.sa_sigaction != libc::SIG_DFL && before.sa_sigaction != libc::SIG_IGN => {
                if before.sa_flags & libc::SA_SIGINFO != 0 {
                    let call: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
                        std::mem::transmute(before.sa_sigaction);
                    call(signal, info, context);
                } else {
                    let call: extern "C" fn(libc::c_int) = std::mem::transmute(before.sa_sigaction);
                    call(signal);
                }
            }
            _ => {
                let mut default: libc::sigaction = std::mem::zeroed();
                default.sa_sigaction = libc::SIG_DFL;
                libc::sigaction(signal, &default, std::ptr::null_mut());
                if code <= 0 {
                    libc::raise(signal);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_cut_short_reads_as_zeros_and_is_marked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, vec![7u8; 1 << 20]).unwrap();
        let whole = GuardedMap::new(&File::open(&path).unwrap()).unwrap();
        let other = dir.path().join("other");
        std::fs::write(&other, vec![9u8; 1 << 16]).unwrap();
        let untouched = GuardedMap::new(&File::open(&other).unwrap()).unwrap();
        assert_eq!(whole[1 << 19], 7);
        File::options().write(true).open(&path).unwrap().set_len(4096).unwrap();
        assert_eq!((whole[0], whole[1 << 19], whole[(1 << 20) - 1]), (7, 0, 0));
        assert!(whole.damaged());
        assert!(untouched.iter().all(|&b| b == 9) && !untouched.damaged());
        drop(whole);
        let again = GuardedMap::new(&File::open(&other).unwrap()).unwrap();
        assert!(!again.damaged(), "a slot that is used again starts afresh");
    }

    /// Pages of a file from an address on that are in memory, of so many bytes.
    #[cfg(target_os = "linux")]
    fn resident(map: &GuardedMap, bytes: std::ops::Range<usize>) -> usize {
        let page = rustix::param::page_size();
        let mut pages = vec![0u8; bytes.len().div_ceil(page)];
        // SAFETY: whole pages of the map, and a byte for each of them.
        let failed = unsafe { libc::mincore(map[bytes.start..].as_ptr() as *mut _, bytes.len(), pages.as_mut_ptr()) };
        assert_eq!(failed, 0, "{}", std::io::Error::last_os_error());
        pages.iter().filter(|page| **page & 1 == 1).count()
    }

    /// From a file larger than memory whatever is read along is thrown away unread.
    #[test]
    #[cfg(target_os = "linux")]
    fn of_scattered_places_only_what_is_read_or_announced_comes_into_memory() {
        const MIB: usize = 1 << 20;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, vec![7u8; 32 * MIB]).unwrap();
        let file = File::open(&path).unwrap();
        file.sync_all().unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        let map = GuardedMap::scattered(&file).unwrap();
        if resident(&map, 0..32 * MIB) > 0 {
            eprintln!("skipped: this file system keeps files in memory");
            return;
        }
        assert_eq!(map[16 * MIB + 1], 7);
        assert!(resident(&map, 0..32 * MIB) <= 16, "{} pages for a byte", resident(&map, 0..32 * MIB));
        // More than a system reads at once.
        let announced = 20 * MIB..21 * MIB;
        map.announce(announced.clone());
        let pages = announced.len() / rustix::param::page_size();
        let came = (0..1_000_000).any(|_| {
            std::thread::yield_now();
            resident(&map, announced.clone()) == pages
        });
        assert!(came, "{} of {pages} pages that were announced", resident(&map, announced));
        assert!(resident(&map, 0..32 * MIB) <= pages + 32, "{} pages", resident(&map, 0..32 * MIB));
    }

    #[test]
    fn threads_may_fault_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, vec![7u8; 1 << 22]).unwrap();
        let map = GuardedMap::new(&File::open(&path).unwrap()).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
        std::thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| assert!(map.iter().all(|&b| b == 0)));
            }
        });
        assert!(map.damaged());
    }
}
