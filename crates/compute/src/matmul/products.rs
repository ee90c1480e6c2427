//! Products with matrices laid out as the micro-kernels read them.

use super::blocking;
use super::mat_mut::MatMut;
use super::microkernel::{Kernels, Left, Tile, kernels};
use super::number::Number;
use super::packed::{Block, Layout, Packed, blocks};
use crate::buffer_pool::Scratch;
use rayon::prelude::*;
use std::ops::Range;

/// Multiplications below which a second thread costs more than it gains.
const FEW: usize = 1 << 20;

/// Where tasks write.
struct Shared(*mut f32);

// SAFETY: every task writes to numbers of its own.
unsafe impl Sync for Shared {}

impl<T: Number> Packed<T> {
    /// out = a b, or out += a b where `add`, with this as b; a (M, K) and out (M, N), row-major.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn product(&self, out: &mut [f32], a: &[T], add: bool) {
        let (k, n, wide) = (self.rows(), self.columns(), kernels().wide());
        let m = out.len() / n.max(1);
        assert!(out.len() == m * n && a.len() == m * k, "a {m} x {k} matrix times {k} x {n}");
        let parts = MatMut::whole(out, n).parts(task([m, n], wide, m * n * k)).collect::<Vec<_>>();
        parts.into_par_iter().for_each(|([row, column], mut out)| {
            let rows = row..row + out.shape().0;
            self.product_of(column, &mut out, &a[rows.start * k..rows.end * k], add);
        });
    }

    /// Some columns of a product, from `first` on, on this thread: out = a b, or out += a b where `add`, with those columns of
    /// this as b; a (M, K), row-major.
    ///
    /// # Panics
    /// If the shapes do not fit, or no panel begins at the first column.
    pub fn product_of(&self, first: usize, out: &mut MatMut, a: &[T], add: bool) {
        let (kernels, layout, numbers, k) = (kernels(), self.layout(), self.numbers(), self.rows());
        let (m, n) = out.shape();
        assert!(a.len() == m * k && first + n <= self.columns(), "a {m} x {k} matrix times {k} x {n}");
        assert!(first.is_multiple_of(layout.wide), "panels of {} columns", layout.wide);
        if k == 0 && !add {
            (0..m).for_each(|row| out.row(row).fill(0.0));
        }
        if m == 0 || n == 0 || k == 0 {
            return;
        }
        let panels = first / layout.wide..(first + n).div_ceil(layout.wide);
        let blocking = kernels.blocking();
        for rows in (0..m).step_by(blocking.rows) {
            let some = blocking.rows.min(m - rows);
            for block in blocks(k) {
                for group in groups(panels.clone(), blocking.group) {
                    for (row, height) in kernels.tiles(some) {
                        let row = rows + row;
                        let rows = &a[row * k + block.0..(row + height - 1) * k + block.0 + block.1];
                        let left = Left { numbers: rows, by_row: k, by_step: 1 };
                        for panel in group.clone() {
                            let (at, width) = layout.panel(block, panel);
                            let right = &numbers[at..at + width * block.1];
                            let column = panel * layout.wide - first;
                            let tile = out.tile([row, column], [height, width.min(n - column)]);
                            // SAFETY: the tile is one of `out`'s, which is borrowed mutably.
                            unsafe { T::run(kernels, tile, left, right, [block.1, width], add || block.0 > 0) };
                        }
                    }
                }
            }
        }
    }
}

impl Packed {
    /// The sum of a^T b over factors a (K, M), row-major, and b (K, N), piece by piece: `with` is given a piece of the sum and the
    /// same piece of the numbers of each of `of`, (M, N), to which it belongs. A zero where there are no factors.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn transposed_products<const N: usize>(
        factors: &[Factors],
        mut of: [&mut Packed; N],
        with: impl Fn([&mut [f32]; N], &[f32]) + Sync,
    ) {
        let Some((m, n)) = of.first().map(|of| of.shape()) else { return };
        assert!(of.iter().all(|of| of.shape() == (m, n)), "matrices of one shape");
        assert!(factors.iter().all(|factors| factors.fit([m, n])), "{m} x K matrices times K x {n}");
        if m == 0 || n == 0 {
            return;
        }
        let (kernels, layout) = (kernels(), of[0].layout());
        // Tiles lie in one block of the result each.
        let tiles =
            blocks(m).flat_map(|block| kernels.tiles(block.1).map(move |(row, height)| (block, block.0 + row, height)));
        let tiles: Vec<OfBlock> = tiles.collect();
        let lefts: Vec<Scratch> = factors.iter().map(|factors| factors.left_by_tiles(&tiles, m)).collect();
        // What is added up: blocks of the inner dimensions, in their order.
        let terms = factors.iter().zip(&lefts).flat_map(|(factors, left)| {
            blocks(factors.inner()).map(move |block| Term {
                kernels,
                layout,
                b: factors,
                left: &left[block.0 * m..],
                block,
            })
        });
        let terms: Vec<Term> = terms.collect();
        let blocking = kernels.blocking();
        let [rows, columns] = task([m, n], layout.wide, terms.iter().map(|term| m * n * term.block.1).sum());
        // Strips of rows stay in a cache while groups of panels go by; a piece of a strip is handed out at a time. Sums of several
        // terms are pieces as long as strips, so that a term's panels are read once for each.
        let strip = rows.min(blocking.rows).div_ceil(kernels.highest());
        let piece = if terms.len() > 1 { strip } else { strip.min(blocking.piece.div_ceil(kernels.highest())) };
        let strips: Vec<&[OfBlock]> = tiles.chunk_by(|a, b| a.0 == b.0).flat_map(|tiles| tiles.chunks(strip)).collect();
        let results = of.each_mut().map(|of| Shared(of.numbers_mut().as_mut_ptr()));
        let chunks = (0..n).step_by(columns);
        let chunks = chunks.map(|first| first / layout.wide..n.min(first + columns).div_ceil(layout.wide));
        let of_task = strips.len().div_ceil(m.div_ceil(rows));
        let tasks = chunks.flat_map(|panels| strips.chunks(of_task).map(move |strips| (panels.clone(), strips)));
        tasks.collect::<Vec<_>>().into_par_iter().for_each(|(panels, strips)| {
            let results = &results;
            let mut sum = Scratch::zeros(piece * kernels.highest() * layout.wide * blocking.group.min(panels.len()));
            let pieces = strips.iter().flat_map(|strip| {
                let groups = groups(panels.clone(), blocking.group);
                groups.flat_map(move |group| strip.chunks(piece).map(move |tiles| (group.clone(), tiles)))
            });
            for (group, tiles) in pieces {
                let (of_result, first) = (tiles[0].0, tiles[0].1);
                let rows: usize = tiles.iter().map(|(.., height)| height).sum();
                // Where rows of a panel of the results lie: all of them together.
                let place = |panel: usize, row: usize, rows: usize| {
                    let (at, width) = layout.panel(of_result, panel);
                    (at + (row - of_result.0) * width, rows * width)
                };
                let mut rest = &mut sum[..];
                let of_panels = group.clone().map(|panel| {
                    let (here, after) = std::mem::take(&mut rest).split_at_mut(place(panel, first, rows).1);
                    rest = after;
                    (panel, here)
                });
                let mut of_panels: Vec<(usize, &mut [f32])> = of_panels.collect();
                if terms.is_empty() {
                    of_panels.iter_mut().for_each(|(_, sum)| sum.fill(0.0));
                }
                for (i, term) in terms.iter().enumerate() {
                    for &(_, row, height) in tiles {
                        for (panel, sum) in &mut of_panels {
                            if i + 1 == terms.len() {
                                let (at, len) = place(*panel, row, height);
                                results.iter().for_each(|of| fetch(of.0.wrapping_add(at), len));
                            }
                            term.add_to(sum, [row - first, *panel], [row, height], i > 0);
                        }
                    }
                }
                for (panel, sum) in of_panels {
                    let (at, len) = place(panel, first, rows);
                    // SAFETY: the matrices are borrowed mutably, and no other task or piece has these rows of this panel.
                    let parts =
                        results.each_ref().map(|of| unsafe { std::slice::from_raw_parts_mut(of.0.add(at), len) });
                    with(parts, sum);
                }
            }
        });
    }
}

/// What a product of a transpose is made of: a (K, M), row-major, and b (K, N).
pub enum Factors<'a> {
    /// Numbers as they are.
    Whole(&'a [f32], &'a Packed),
    /// Pairs of rounded ones, of two rows each.
    Rounded(&'a [u32], &'a Packed<u32>),
}

impl Factors<'_> {
    fn fit(&self, [m, n]: [usize; 2]) -> bool {
        match self {
            Factors::Whole(a, b) => a.len() == b.rows() * m && b.columns() == n,
            Factors::Rounded(a, b) => a.len() == b.rows() * m && b.columns() == n,
        }
    }

    /// K.
    fn inner(&self) -> usize {
        match self {
            Factors::Whole(_, b) => b.rows(),
            Factors::Rounded(_, b) => b.rows(),
        }
    }

    /// The left one [by tiles](by_tiles), as the words of memory that it is.
    fn left_by_tiles(&self, tiles: &[OfBlock], m: usize) -> Scratch {
        match self {
            Factors::Whole(a, b) => by_tiles(a, tiles, [b.rows(), m]),
            Factors::Rounded(a, b) => by_tiles(bytemuck::cast_slice(a), tiles, [b.rows(), m]),
        }
    }
}

/// A tile of rows of a result: the block in which it lies, its first row and its height.
type OfBlock = (Block, usize, usize);

/// A block of the inner dimension of a^T b.
struct Term<'a> {
    kernels: &'static Kernels,
    layout: Layout,
    b: &'a Factors<'a>,
    /// a's part in it, [by tiles](by_tiles).
    left: &'a [f32],
    block: Block,
}

impl Term<'_> {
    /// Writes a tile of `height` rows from `row` on into those of a panel, where it begins at row `at`, or adds it to them.
    #[inline(always)]
    fn add_to(&self, rows: &mut [f32], [at, panel]: [usize; 2], [row, height]: [usize; 2], add: bool) {
        let deep = self.block.1;
        let (from, width) = self.layout.panel(self.block, panel);
        let left = &self.left[row * deep..][..height * deep];
        let rows = &mut rows[at * width..(at + height) * width];
        let tile = Tile { out: rows.as_mut_ptr(), by_row: width, rows: height, columns: width };
        let (right, size) = (from..from + width * deep, [deep, width]);
        // SAFETY: the tile is all of these rows, which are borrowed mutably.
        unsafe {
            match self.b {
                Factors::Whole(_, b) => {
                    let left = Left { numbers: left, by_row: 1, by_step: height };
                    f32::run(self.kernels, tile, left, &b.numbers()[right], size, add);
                }
                Factors::Rounded(_, b) => {
                    let left = Left { numbers: bytemuck::cast_slice(left), by_row: 1, by_step: height };
                    u32::run(self.kernels, tile, left, &b.numbers()[right], size, add);
                }
            }
        };
    }
}

/// How many rows and columns of a matrix a task takes where tasks share it, columns in multiples of `even`; see [`blocking::task`].
pub fn task(shape: [usize; 2], even: usize, multiplications: usize) -> [usize; 2] {
    let threads = if multiplications < FEW { 1 } else { rayon::current_num_threads() };
    blocking::task(shape, [kernels().highest(), even], threads)
}

/// Asks for numbers that will soon be needed, so that they come while something else is computed. Any address will do.
#[inline(always)]
fn fetch(numbers: *const f32, len: usize) {
    #[cfg(target_arch = "x86_64")]
    for at in (0..len).step_by(16) {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        // SAFETY: it reads nothing, and every such machine has it.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(numbers.wrapping_add(at).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (numbers, len);
}

/// Panels as rows go by them: groups of so many.
fn groups(panels: Range<usize>, group: usize) -> impl Iterator<Item = Range<usize>> {
    let end = panels.end;
    panels.step_by(group).map(move |first| first..(first + group).min(end))
}

/// The transpose of a (K, M) matrix in tiles of rows, block after block of K: tile after tile, in each of them the numbers of
/// one step after another.
fn by_tiles(a: &[f32], tiles: &[OfBlock], [k, m]: [usize; 2]) -> Scratch {
    let mut turned = Scratch::take(k * m);
    let mut rest = &mut turned[..];
    for (first, deep) in blocks(k) {
        let (here, after) = std::mem::take(&mut rest).split_at_mut(deep * m);
        let mut of_tiles = Vec::with_capacity(tiles.len());
        let mut here = here;
        for &(_, row, height) in tiles {
            let (tile, others) = std::mem::take(&mut here).split_at_mut(deep * height);
            of_tiles.push((tile, row, height));
            here = others;
        }
        // A chunk of tiles a task; a few steps at a time, so that what is read stays in the cache.
        let chunk = of_tiles.len().div_ceil(4 * rayon::current_num_threads()).clamp(4, 32);
        of_tiles.par_chunks_mut(chunk).for_each(|tiles| {
            for strip in (0..deep).step_by(STEPS) {
                for (tile, row, height) in tiles.iter_mut() {
                    let tile = &mut tile[strip * *height..deep.min(strip + STEPS) * *height];
                    let from = &a[(first + strip) * m + *row..];
                    match *height {
                        1 => copy_rows::<1>(tile, from, m),
                        2 => copy_rows::<2>(tile, from, m),
                        3 => copy_rows::<3>(tile, from, m),
                        4 => copy_rows::<4>(tile, from, m),
                        5 => copy_rows::<5>(tile, from, m),
                        6 => copy_rows::<6>(tile, from, m),
                        height => {
                            let rows = tile.chunks_exact_mut(height).zip(from.chunks(m));
                            rows.for_each(|(to, from)| to.copy_from_slice(&from[..height]));
                        }
                    }
                }
            }
        });
        rest = after;
    }
    turned
}

/// Steps that [`by_tiles`] takes at a time. Rows of a matrix are often whole multiples of 4 KiB apart and then meet in one set of a
/// first-level cache, which has 8 to 12 places.
const STEPS: usize = 8;

/// Copies rows of N numbers that lie `by_row` apart, and asks for those that come two times [`STEPS`] later: no processor foresees
/// short rows far apart.
#[inline(always)]
fn copy_rows<const N: usize>(to: &mut [f32], from: &[f32], by_row: usize) {
    for (to, from) in to.as_chunks_mut::<N>().0.iter_mut().zip(from.chunks(by_row)) {
        fetch(from.as_ptr().wrapping_add(2 * STEPS * by_row), N);
        to.copy_from_slice(&from[..N]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{SHAPES, random, turned};
    use super::super::{Mat, product};
    use super::*;

    fn apart(a: &[f32], b: &[f32]) -> f32 {
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    }

    /// How far sums of K products of unit variance, which are about sqrt(K), may lie from those in another order.
    fn near(k: usize) -> f32 {
        1e-5 * (k as f32).sqrt()
    }

    fn on<R: Send>(threads: usize, body: impl FnOnce() -> R + Send) -> R {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(body)
    }
    #[test]
    fn products_agree_with_plain_ones_on_any_number_of_threads() {
        for [m, k, n] in SHAPES {
            let (a, b, start) = (random(m * k, 5), random(k * n, 6), random(m * n, 7));
            let transposed = turned(&b, k, n);
            let mut want = start.clone();
            product(&mut want, Mat::new(&a, m, k), Mat::new(&b, k, n), 1.0, true);
            for b in [Mat::new(&b, k, n), Mat::new(&transposed, n, k).t()] {
                let run = |threads: usize| {
                    let mut out = start.clone();
                    on(threads, || Packed::new(b).product(&mut out, &a, true));
                    out
                };
                let one = run(1);
                assert!(apart(&one, &want) < near(k), "{m} x {k} x {n}: {}", apart(&one, &want));
                assert!([2, 5, 16].into_iter().all(|threads| run(threads) == one), "{m} x {k} x {n}");
            }
        }
    }

    #[test]
    fn a_row_of_a_product_does_not_depend_on_the_others() {
        let (m, k, n) = (41, 1700, 70);
        let (a, b) = (random(m * k, 5), Packed::new(Mat::new(&random(k * n, 6), k, n)));
        let mut all = vec![0.0; m * n];
        b.product(&mut all, &a, false);
        for rows in [0..1, 3..10, 38..41] {
            let mut some = vec![0.0; rows.len() * n];
            b.product(&mut some, &a[rows.start * k..rows.end * k], false);
            assert_eq!(some, all[rows.start * n..rows.end * n], "{rows:?}");
        }
    }

    #[test]
    fn transposed_products_agree_with_plain_ones_on_any_number_of_threads() {
        for [m, k, n] in SHAPES {
            let (a, b, start) = (random(k * m, 5), random(k * n, 6), random(m * n, 7));
            let mut want = start.clone();
            product(&mut want, Mat::new(&a, k, m).t(), Mat::new(&b, k, n), 1.0, true);
            // In two terms, and added to what is there.
            let (half, b) = (k / 2, Mat::new(&b, k, n));
            let parts = [0..half, half..k];
            let parts = parts.map(|k| {
                (&a[k.start * m..k.end * m], Packed::new(Mat::new(&b.data[k.start * n..k.end * n], k.len(), n)))
            });
            let pairs = parts.each_ref().map(|(a, b)| Factors::Whole(a, b));
            let run = |threads: usize| {
                let mut out = Packed::new(Mat::new(&start, m, n));
                let add = |[out]: [&mut [f32]; 1], sum: &[f32]| out.iter_mut().zip(sum).for_each(|(o, s)| *o += s);
                on(threads, || Packed::transposed_products(&pairs, [&mut out], add));
                out.to_rows()
            };
            let one = run(1);
            assert!(apart(&one, &want) < near(k), "{m} x {k} x {n}: {}", apart(&one, &want));
            assert!([2, 5, 16].into_iter().all(|threads| run(threads) == one), "{m} x {k} x {n}");
        }
    }
}
