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
        let mut values = fit.unwrap_or_else(|| Vec::with_capacity(n));
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

/// Gives this thread's buffers back to the system.
pub fn clear() {
    FREE.with_borrow_mut(Vec::clear);
}

#[cfg(test)]
mod tests {
    use super::*;

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
