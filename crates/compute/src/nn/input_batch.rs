//! The input of a network for one batch, which operations read where it lies.

use crate::buffer_pool::Scratch;
use crate::matmul::Packed;
use rayon::prelude::*;
use std::sync::Arc;

/// Rows of a network's input. Where several are the same (a clip of fewer than T frames repeats some of them), they lie
/// here once: a product with the distinct rows does for all.
#[derive(Clone, Debug, Default)]
pub struct InputBatch {
    /// The distinct rows, one after another.
    pub numbers: Arc<Vec<f32>>,
    /// Rows of the network's input, T B or B.
    pub rows: usize,
    /// Numbers in a row.
    pub cols: usize,
    /// The distinct row that each row is; none where all rows are distinct and lie in order. Distinct rows are numbered as
    /// they first appear.
    pub index: Option<Arc<Vec<u32>>>,
}

impl InputBatch {
    /// An input of which every row is given.
    pub fn all(numbers: Arc<Vec<f32>>, rows: usize) -> InputBatch {
        InputBatch { cols: numbers.len() / rows.max(1), numbers, rows, index: None }
    }

    /// Number of distinct rows.
    pub fn distinct(&self) -> usize {
        self.numbers.len() / self.cols.max(1)
    }

    /// Every row, repeated ones too.
    pub fn all_rows(&self) -> std::borrow::Cow<'_, [f32]> {
        match &self.index {
            None => self.numbers[..].into(),
            Some(index) => {
                let row = |at: &u32| &self.numbers[*at as usize * self.cols..][..self.cols];
                index.iter().flat_map(row).copied().collect::<Vec<f32>>().into()
            }
        }
    }

    /// The memory of `numbers`, to be filled anew.
    pub fn memory(&mut self) -> &mut Vec<f32> {
        // Whoever still reads the old numbers keeps them.
        if Arc::get_mut(&mut self.numbers).is_none() {
            self.numbers = Arc::default();
        }
        Arc::make_mut(&mut self.numbers)
    }

    /// One row of `width` numbers for every row of the input, from one for each distinct row.
    pub fn repeat_rows(&self, distinct: Scratch, width: usize) -> Scratch {
        let Some(index) = &self.index else { return distinct };
        let mut all = Scratch::take(self.rows * width);
        let rows = all.par_chunks_exact_mut(width).zip(&index[..]).with_min_len(64);
        rows.for_each(|(row, at)| row.copy_from_slice(&distinct[*at as usize * width..][..width]));
        all
    }

    /// The distinct rows that some rows are, each with whether it was there before; `seen` knows of each distinct row.
    pub(super) fn distinct_rows(&self, rows: std::ops::Range<usize>, seen: &mut [bool]) -> Vec<(usize, bool)> {
        let distinct = |row| self.index.as_ref().map_or(row, |index| index[row] as usize);
        rows.map(distinct).map(|at| (at, std::mem::replace(&mut seen[at], true))).collect()
    }

    /// The transpose of [`InputBatch::repeat_rows`], packed: for each distinct row the sum of the rows that are it, in their order.
    pub fn sum_rows(&self, all: &[f32], width: usize) -> Packed {
        let mut packed = Packed::take(self.distinct(), width);
        let rows = self.distinct_rows(0..self.rows, &mut vec![false; self.distinct()]);
        packed.put(all, |row| rows[row]);
        packed
    }
}
