//! Buffers that come back: a training step needs the same large vectors every time, and asking the system for fresh pages
//! costs more than filling them.
//!
//! Each thread keeps its own; [`clear`] gives them back to the system when a run ends.

use rayon::prelude::*;
use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

thread_local! {
    static FREE: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// A vector that returns to its thread's pool when dropped.
#[derive(Debug)]
pub struct Scratch(Vec<f32>);

impl Scratch {
    /// `n` numbers of any value: whoever takes them writes them all before reading one.
    pub fn take(n: usize) -> Scratch {
        let fit = FREE.with_borrow_mut(|free| {
            let fits = |v: &(usize, &Vec<f32>)| v.1.capacity() >= n && v.1.capacity() <= 2 * n + 1024;
            let best = free.iter().enumerate().filter(fits).min_by_key(|(_, v)| v.capacity()).map(|(i, _)| i);
            best.map(|i| free.swap_remove(i))
        });
        let mut values = fit.unwrap_or_else(|| in_large_pages(n));
        values.resize(n, 0.0);
        Scratch(values)
    }

    /// `n` zeros.
    pub fn zeros(n: usize) -> Scratch {
        let mut scratch = Scratch::take(n);
        scratch.fill(0.0);
        scratch
    }

    /// `row`, `times` times over.
    pub fn repeat(row: &[f32], times: usize) -> Scratch {
        let mut scratch = Scratch::take(row.len() * times);
        let rows = scratch.par_chunks_exact_mut(row.len().max(1)).with_min_len(64);
        rows.for_each(|to| to.copy_from_slice(row));
        scratch
    }
}

impl Deref for Scratch {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.0
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let values = std::mem::take(&mut self.0);
        // A thread that is ending has no pool any more.
        let _ = FREE.try_with(|free| free.borrow_mut().push(values));
    }
}

/// Room for `n` numbers, in pages of 2 MiB where the system has some: a product reads whole matrices, and looking up a small page costs more
/// than reading it, on a virtual machine twice.
fn in_large_pages(n: usize) -> Vec<f32> {
    let values = Vec::with_capacity(n);
    #[cfg(target_os = "linux")]
    if let Some(pages) = large_pages(values.as_ptr() as usize, n * size_of::<f32>()) {
        // SAFETY: pages inside the vector's memory; the advice changes nothing that is in them. A system that has none refuses.
        unsafe { libc::madvise(pages.start as *mut libc::c_void, pages.len(), libc::MADV_HUGEPAGE) };
    }
    values
}

/// The whole large pages of some bytes from an address on, where there are enough of these.
#[cfg(target_os = "linux")]
fn large_pages(start: usize, bytes: usize) -> Option<std::ops::Range<usize>> {
    const LARGE: usize = 2 << 20;
    let pages = start.next_multiple_of(LARGE)..(start + bytes) / LARGE * LARGE;
    (bytes >= 2 * LARGE && pages.start < pages.end).then_some(pages)
}

/// Gives this thread's buffers back to the system.
pub fn clear() {
    FREE.with_borrow_mut(Vec::clear);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn large_pages_lie_inside_what_was_asked_for() {
        const MIB: usize = 1 << 20;
        assert_eq!(large_pages(MIB, 6 * MIB), Some(2 * MIB..6 * MIB));
        assert_eq!(large_pages(2 * MIB, 4 * MIB), Some(2 * MIB..6 * MIB));
        assert_eq!(large_pages(16, 4 * MIB), Some(2 * MIB..4 * MIB));
        assert_eq!(large_pages(16, 4 * MIB - 1), None);
        // What lies there counts as before.
        let mut scratch = Scratch::zeros(2 * MIB);
        scratch[MIB] = 1.0;
        assert_eq!(scratch.iter().sum::<f32>(), 1.0);
    }

    #[test]
    fn buffers_are_used_again() {
        clear();
        let first = Scratch::repeat(&[1.0, 2.0], 500);
        let place = first.as_ptr();
        drop(first);
        let second = Scratch::take(900);
        assert_eq!((second.as_ptr(), second.len()), (place, 900));
        assert!(Scratch::zeros(10).iter().all(|v| *v == 0.0));
        drop(second);
        clear();
        FREE.with_borrow(|free| assert!(free.is_empty()));
    }
}
