//! Matrices laid out as the micro-kernels read them.

use super::Mat;
use super::blocking::DEPTH;
use super::microkernel::kernels;
use super::number::Number;
use crate::buffer_pool::Scratch;
use rayon::prelude::*;
use std::marker::PhantomData;

/// Blocks of the inner dimension are multiples of this, and so of every panel's width: a panel of a transpose lies in one block.
const EVEN: usize = 64;

/// Panels that a task packs.
const CHUNK: usize = 8;

/// Rows that are packed panel by panel before the next ones come, so that what is read stays in the cache.
const STRIP: usize = 16;

/// A (K, N) matrix laid out as micro-kernels read the right-hand side of a product: block after block of the inner dimension
/// K, in each of them panel after panel of columns, in each of them row after row. The last panel's rows end in zeros where
/// N is no multiple of a vector.
///
/// Of [pairs](super::bf16), K is how many there are along the inner dimension, half of its numbers.
pub struct Packed<T = f32> {
    numbers: Scratch,
    /// Where `numbers` begins, so that vectors do not straddle cache lines.
    from: usize,
    k: usize,
    n: usize,
    kind: PhantomData<T>,
}

/// A block of the inner dimension: its first row and its number of rows.
pub(super) type Block = (usize, usize);

/// The widths of a matrix's panels.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    /// Of all panels but the last.
    pub(super) wide: usize,
    /// Of all together.
    padded: usize,
}

impl Layout {
    /// Where a block's panel begins, and the width of its rows.
    pub(super) fn panel(self, (first, deep): Block, panel: usize) -> (usize, usize) {
        let column = panel * self.wide;
        (first * self.padded + column * deep, self.wide.min(self.padded - column))
    }
}

/// How an inner dimension is divided; depends on nothing else.
fn depth(k: usize) -> usize {
    k.div_ceil(k.div_ceil(DEPTH).max(1)).next_multiple_of(EVEN)
}

pub(super) fn blocks(k: usize) -> impl Iterator<Item = Block> + Clone {
    let depth = depth(k);
    (0..k).step_by(depth.max(1)).map(move |first| (first, depth.min(k - first)))
}

/// What a row has in a panel, of the numbers of K rows.
#[inline(always)]
pub(super) fn row_of_panel(numbers: &[f32], layout: Layout, [k, row]: [usize; 2], panel: usize) -> &[f32] {
    let depth = depth(k);
    let first = row / depth * depth;
    let (at, width) = layout.panel((first, depth.min(k - first)), panel);
    &numbers[at + (row - first) * width..][..width]
}

impl<T: Number> Packed<T> {
    /// K rows of N numbers of any value: whoever takes them [puts](Packed::put) every row before reading one.
    pub fn take(k: usize, n: usize) -> Packed<T> {
        let padded = n.next_multiple_of(kernels().lanes);
        let mut numbers = Scratch::take(k * padded + 16);
        if padded > n {
            numbers.fill(0.0);
        }
        let from = numbers.as_ptr().align_offset(64).min(16);
        Packed { numbers, from, k, n, kind: PhantomData }
    }

    /// Hands out every chunk of up to `panels` panels of every block: block, first panel, numbers, and their width where it
    /// is one panel.
    pub(super) fn fill(&mut self, panels: usize, task: impl Fn(Block, usize, &mut [T], usize) + Sync) {
        let (k, wide, padded) = (self.k, kernels().wide(), self.padded());
        let mut rest = self.numbers_mut();
        for block in blocks(k) {
            let (here, after) = std::mem::take(&mut rest).split_at_mut(block.1 * padded);
            let chunks = here.par_chunks_mut((block.1 * wide * panels).max(1)).enumerate();
            chunks.for_each(|(i, numbers)| {
                let width = numbers.len() / block.1;
                task(block, i * panels, numbers, width);
            });
            rest = after;
        }
    }

    /// (K, N).
    pub fn shape(&self) -> (usize, usize) {
        (self.k, self.n)
    }

    /// K.
    pub fn rows(&self) -> usize {
        self.k
    }

    /// N.
    pub fn columns(&self) -> usize {
        self.n
    }

    /// N with the zeros behind it.
    fn padded(&self) -> usize {
        self.n.next_multiple_of(kernels().lanes)
    }

    /// All of its numbers with the zeros between them: those of matrices of one shape lie alike, and a matrix of one row
    /// begins with that row.
    pub fn numbers(&self) -> &[T] {
        bytemuck::cast_slice(&self.numbers[self.from..self.from + self.k * self.padded()])
    }

    /// [`Packed::numbers`], to be changed; zeros behind columns may become any number.
    pub fn numbers_mut(&mut self) -> &mut [T] {
        let end = self.from + self.k * self.padded();
        bytemuck::cast_slice_mut(&mut self.numbers[self.from..end])
    }

    /// A block's panel and the width of its rows.
    pub(super) fn panel(&self, block: Block, panel: usize) -> (&[T], usize) {
        let layout = self.layout();
        let (at, width) = layout.panel(block, panel);
        (&self.numbers()[at..][..width * block.1], width)
    }

    pub(super) fn layout(&self) -> Layout {
        Layout { wide: kernels().wide(), padded: self.padded() }
    }
}

impl Packed {
    /// Columns of a panel, a divisor of [`EVEN`].
    pub fn wide() -> usize {
        kernels().wide()
    }

    /// K rows of N zeros.
    pub fn zeros(k: usize, n: usize) -> Packed {
        let mut packed = Packed::take(k, n);
        packed.numbers.fill(0.0);
        packed
    }

    /// Packs a matrix.
    pub fn new(b: Mat) -> Packed {
        let ((k, n), (by_col, by_row)) = (b.shape(), b.strides());
        let mut packed = Packed::take(k, n);
        if by_col == 1 {
            packed.put(b.data, |row| (row, false));
            return packed;
        }
        packed.fill(1, |(first, deep), panel, numbers, width| {
            let column = panel * kernels().wide();
            let from = &b.data[first * by_row as usize + column * by_col as usize..];
            transpose_panel(numbers, from, [width.min(n - column), width, deep, by_col as usize]);
        });
        packed
    }

    /// Takes rows in: `place` says of each which row of this it becomes, or is added to where the second is true.
    ///
    /// # Panics
    /// If a row is none of this.
    pub fn put(&mut self, rows: &[f32], place: impl Fn(usize) -> (usize, bool) + Sync) {
        let (n, wide) = (self.n, kernels().wide());
        if n == 0 {
            return;
        }
        let places: Vec<(usize, bool)> = (0..rows.len() / n).map(place).collect();
        assert!(places.iter().all(|(row, _)| *row < self.k), "a row of {}", self.k);
        self.fill(CHUNK, |(first, deep), panel, numbers, _| {
            // Some rows of all these panels, then the next rows: what is read lies together for a while.
            for (strip, rows) in places.chunks(STRIP).zip(rows.chunks(STRIP * n)) {
                let mut column = panel * wide;
                for panel in numbers.chunks_mut(deep * wide) {
                    let width = panel.len() / deep;
                    let used = width.min(n - column);
                    for from in (0..used).step_by(LANES) {
                        for (&(row, add), numbers) in strip.iter().zip(rows.chunks_exact(n)) {
                            if let Some(row) = row.checked_sub(first).filter(|row| *row < deep) {
                                let to = &mut panel[row * width..][from..used.min(from + LANES)];
                                copy_or_add(to, &numbers[column + from..], add);
                            }
                        }
                    }
                    column += wide;
                }
            }
        });
    }

    /// Its transpose, packed.
    pub fn transposed(&self) -> Packed {
        let mut packed = Packed::take(self.n, self.k);
        let wide = kernels().wide();
        packed.fill(1, |(first, deep), panel, numbers, width| {
            // Columns of this panel are rows of ours, all of one block.
            let (row, used) = (panel * wide, width.min(self.k - panel * wide));
            let Some(block) = blocks(self.k).find(|(first, deep)| (*first..first + deep).contains(&row)) else {
                return;
            };
            for (ours, start) in (0..).zip((0..self.n).step_by(wide)).skip_while(|(_, start)| *start < first) {
                if start >= first + deep {
                    break;
                }
                let (from, of_row) = self.panel(block, ours);
                let from = &from[(row - block.0) * of_row..];
                let to = numbers[(start - first) * width..].chunks_exact_mut(width).take(wide);
                for (column, to) in to.enumerate() {
                    let column = from[column..].iter().step_by(of_row);
                    to[..used].iter_mut().zip(column).for_each(|(t, f)| *t = *f);
                    to[used..].fill(0.0);
                }
            }
        });
        packed
    }

    /// The matrix, row after row.
    pub fn to_rows(&self) -> Vec<f32> {
        let mut rows = vec![0.0; self.k * self.n];
        let wide = kernels().wide();
        for block in blocks(self.k) {
            for (panel, column) in (0..).zip((0..self.n).step_by(wide)) {
                let (from, width) = self.panel(block, panel);
                let to = rows[block.0 * self.n..].chunks_exact_mut(self.n);
                for (to, from) in to.zip(from.chunks_exact(width)) {
                    let used = width.min(self.n - column);
                    to[column..column + used].copy_from_slice(&from[..used]);
                }
            }
        }
        rows
    }

    /// Its parts of so many columns, each for so many of the rows that are put; those for the same columns come first. Each can be
    /// written on a thread of its own.
    ///
    /// # Panics
    /// If panels do not end where parts do, a row is none of this, or two parts could write the same row.
    pub fn parts<'a>(
        &'a mut self,
        places: &'a Places,
        [rows, columns]: [usize; 2],
    ) -> impl Iterator<Item = Panels<'a>> {
        let (layout, k, n) = (self.layout(), self.k, self.n);
        assert!(columns > 0 && columns.is_multiple_of(layout.wide), "panels of {} columns", layout.wide);
        assert!(places.end <= k, "a row of {k}");
        assert!(places.different || rows >= places.rows.len(), "rows of their own");
        let numbers = self.numbers_mut().as_mut_ptr();
        (0..n).step_by(columns).flat_map(move |first| {
            let columns = columns.min(n - first);
            places.rows.chunks(rows).map(move |rows| Panels {
                numbers,
                layout,
                k,
                first,
                columns,
                rows,
                matrix: PhantomData,
            })
        })
    }
}

/// Rows of a matrix to which rows of numbers go: each is put there, or added where the second is true.
pub struct Places {
    rows: Vec<(usize, bool)>,
    /// Behind the last of them.
    end: usize,
    /// Whether no two are the same.
    different: bool,
}

impl Places {
    /// For these rows, in this order.
    pub fn new(rows: Vec<(usize, bool)>) -> Places {
        let mut sorted: Vec<usize> = rows.iter().map(|(row, _)| *row).collect();
        sorted.sort_unstable();
        let different = sorted.windows(2).all(|pair| pair[0] < pair[1]);
        Places { end: sorted.last().map_or(0, |row| row + 1), rows, different }
    }

    /// Whether no two rows go to the same place, so that tasks can share them.
    pub fn different(&self) -> bool {
        self.different
    }
}

/// Some columns of a packed matrix for some of the rows that are put, others of which may be in use on other threads.
pub struct Panels<'a> {
    numbers: *mut f32,
    layout: Layout,
    k: usize,
    first: usize,
    columns: usize,
    rows: &'a [(usize, bool)],
    matrix: PhantomData<&'a mut [f32]>,
}

// SAFETY: as the matrix; no two of them share a number.
unsafe impl Send for Panels<'_> {}

impl Panels<'_> {
    /// Takes the numbers of its `i`-th row in, as the [`Places`] have it.
    ///
    /// # Panics
    /// If it has no such row, or the numbers are too few or too many.
    #[inline(always)]
    pub fn put(&mut self, i: usize, numbers: &[f32]) {
        assert!(numbers.len() == self.columns, "{} numbers, not {}", self.columns, numbers.len());
        let (row, add) = self.rows[i];
        let depth = depth(self.k);
        let first = row / depth * depth;
        let block = (first, depth.min(self.k - first));
        let panel = self.first / self.layout.wide;
        for (panel, numbers) in (panel..).zip(numbers.chunks(self.layout.wide)) {
            let (at, width) = self.layout.panel(block, panel);
            // SAFETY: a row of one of these panels, which nobody else has; rows are the matrix's (asserted where the parts were made).
            let to =
                unsafe { std::slice::from_raw_parts_mut(self.numbers.add(at + (row - first) * width), numbers.len()) };
            for (to, from) in to.chunks_mut(LANES).zip(numbers.chunks(LANES)) {
                copy_or_add(to, from, add);
            }
        }
    }
}

/// Numbers that [`copy_or_add`] takes at once.
const LANES: usize = 16;

/// to = from, or to += from where `add`; the first numbers of `from`.
#[inline(always)]
fn copy_or_add(to: &mut [f32], from: &[f32], add: bool) {
    let from = &from[..to.len()];
    // A known length is worth a few instructions, any length a call.
    match (<&mut [f32; LANES]>::try_from(&mut *to), <&[f32; LANES]>::try_from(from)) {
        (Ok(to), Ok(from)) if add => to.iter_mut().zip(from).for_each(|(t, f)| *t += f),
        (Ok(to), Ok(from)) => *to = *from,
        _ if add => to.iter_mut().zip(from).for_each(|(t, f)| *t += f),
        _ => to.copy_from_slice(from),
    }
}

/// Fills a panel of `deep` rows of `width` columns, `used` of which the matrix has, from one whose columns lie together.
fn transpose_panel(panel: &mut [f32], from: &[f32], [used, width, deep, by_col]: [usize; 4]) {
    // A few rows at a time, so that what is written column by column stays in the cache.
    for (rows, start) in panel.chunks_mut(width * 32).zip((0..deep).step_by(32)) {
        for column in 0..used {
            let from = from[column * by_col + start..].iter();
            rows[column..].iter_mut().step_by(width).zip(from).for_each(|(t, f)| *t = *f);
        }
    }
    if used < width {
        panel.chunks_exact_mut(width).for_each(|to| to[used..].fill(0.0));
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{SHAPES, random, turned};
    use super::*;

    #[test]
    fn a_matrix_comes_back_and_turns() {
        for [_, k, n] in SHAPES {
            let b = random(k * n, 8);
            let transposed = turned(&b, k, n);
            let packed = Packed::new(Mat::new(&b, k, n));
            assert_eq!(packed.to_rows(), b);
            assert_eq!(Packed::new(Mat::new(&transposed, n, k).t()).to_rows(), b);
            assert_eq!(packed.transposed().to_rows(), transposed, "{k} x {n}");
            assert!(packed.numbers() == Packed::new(Mat::new(&transposed, n, k).t()).numbers(), "zeros too");
            let zeros = packed.numbers().len() - k * n;
            assert!(packed.numbers().iter().filter(|v| **v == 0.0).count() >= zeros);
            if k == 1 {
                assert_eq!(packed.numbers()[..n], b);
            }
        }
        let none = Packed::new(Mat::new(&[], 0, 5));
        assert_eq!((none.rows(), none.columns(), none.to_rows().len()), (0, 5, 0));
        let mut out = [1.0; 10];
        none.product(&mut out, &[], false);
        assert_eq!(out, [0.0; 10]);
    }

    #[test]
    fn parts_take_in_what_a_matrix_takes_in() {
        for (k, n) in [(7, 192), (1100, 70), (30, 64)] {
            let rows = random(9 * n, 3);
            let places = [4, 0, 6, 2, 1, 3, 5].map(|row| (row * k / 7, row % 2 == 0));
            let mut want = Packed::zeros(k, n);
            want.put(&rows[..7 * n], |row| places[row]);
            let mut got = Packed::zeros(k, n);
            let places = Places::new(places.to_vec());
            for high in [2, 7, 9] {
                let add = high > 2;
                for (i, mut part) in got.parts(&places, [high, 64]).enumerate() {
                    let (column, first) = (i / 7_usize.div_ceil(high) * 64, i % 7_usize.div_ceil(high) * high);
                    for row in 0..high.min(7 - first) {
                        part.put(row, &rows[(first + row) * n..][column..n.min(column + 64)]);
                    }
                }
                if add {
                    let again = |row: usize| (places.rows[row].0, places.rows[row].1);
                    want.put(&rows[..7 * n], again);
                }
                assert!(got.to_rows() == want.to_rows(), "{k} x {n}, {high} rows");
            }
        }
    }

    #[test]
    #[should_panic(expected = "rows of their own")]
    fn parts_do_not_share_rows() {
        let places = Places::new(vec![(1, false), (0, false), (1, true)]);
        assert!(!places.different());
        let mut matrix = Packed::zeros(2, 64);
        assert_eq!(matrix.parts(&places, [3, 64]).count(), 1);
        let _ = matrix.parts(&places, [2, 64]);
    }
}
