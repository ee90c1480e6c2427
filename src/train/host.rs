//! A network's input on the host, where operations on the CPU read it in place.

use super::device::{Backend, Matrix, matrix};
use super::error::Error;
use compute::buffer_pool::Scratch;
use compute::matmul::Packed;
use rayon::prelude::*;
use std::sync::Arc;

/// Rows of a network's input. Where several are the same (a clip of fewer than T frames repeats some of them), they lie
/// here once: a product with the distinct rows does for all.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// The distinct rows, one after another.
    pub numbers: Arc<Vec<f32>>,
    /// Rows of the network's input, T B or B.
    pub rows: usize,
    /// Numbers in a row.
    pub cols: usize,
    /// The distinct row that each row is; none where all rows are distinct and lie in order. Distinct rows are numbered as
    /// they first appear.
    pub places: Option<Arc<Vec<u32>>>,
}

impl Host {
    /// An input of which every row is given.
    pub fn all(numbers: Arc<Vec<f32>>, rows: usize) -> Host {
        Host { cols: numbers.len() / rows.max(1), numbers, rows, places: None }
    }

    /// Number of distinct rows.
    pub fn distinct(&self) -> usize {
        self.numbers.len() / self.cols.max(1)
    }

    /// All rows on a device.
    pub fn to<D: Backend>(&self, device: &D) -> Result<Matrix<D>, Error> {
        let Some(places) = &self.places else {
            return matrix(device, &self.numbers, self.rows, self.cols);
        };
        let row = |place: &u32| &self.numbers[*place as usize * self.cols..][..self.cols];
        matrix(device, &places.iter().flat_map(row).copied().collect::<Vec<f32>>(), self.rows, self.cols)
    }

    /// The memory of `numbers`, to be filled anew.
    pub(super) fn memory(&mut self) -> &mut Vec<f32> {
        // Whoever still reads the old numbers keeps them.
        if Arc::get_mut(&mut self.numbers).is_none() {
            self.numbers = Arc::default();
        }
        Arc::make_mut(&mut self.numbers)
    }

    /// One row of `width` numbers for every row of the input, from one for each distinct row.
    pub(super) fn spread(&self, distinct: Scratch, width: usize) -> Scratch {
        let Some(places) = &self.places else { return distinct };
        let mut all = Scratch::take(self.rows * width);
        let rows = all.par_chunks_exact_mut(width).zip(&places[..]).with_min_len(64);
        rows.for_each(|(row, place)| row.copy_from_slice(&distinct[*place as usize * width..][..width]));
        all
    }

    /// The distinct rows that some rows are, each with whether it was there before; `seen` knows of each distinct row.
    pub(super) fn places(&self, rows: std::ops::Range<usize>, seen: &mut [bool]) -> Vec<(usize, bool)> {
        let place = |row| self.places.as_ref().map_or(row, |places| places[row] as usize);
        rows.map(place).map(|place| (place, std::mem::replace(&mut seen[place], true))).collect()
    }

    /// The transpose of [`Host::spread`], packed: for each distinct row the sum of the rows that are it, in their order.
    pub(super) fn add_up(&self, all: &[f32], width: usize) -> Packed {
        let mut packed = Packed::take(self.distinct(), width);
        let places = self.places(0..self.rows, &mut vec![false; self.distinct()]);
        packed.put(all, |row| places[row]);
        packed
    }
}
