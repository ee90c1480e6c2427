//! Matrices laid out as the micro-kernels read them.

use super::Mat;
use super::kernels::{Left, Tile, kernels};
use crate::scratch::Scratch;
use rayon::prelude::*;
use std::ops::Range;

/// Steps of the inner dimension that a tile adds up before it touches the result again.
const DEPTH: usize = 1024;

/// Blocks of the inner dimension are multiples of this, and so of every panel's width: a panel of a transpose lies in one block.
const EVEN: usize = 64;

/// Panels that stay in the second-level cache while rows go by.
const GROUP: usize = 4;

/// Panels that a task packs.
const STRETCH: usize = 8;

/// Rows of a left-hand side that go by before the next panels come.
const ROWS: usize = 384;

/// Rows that are packed panel by panel before the next ones come, so that what is read stays in the cache.
const STRIP: usize = 16;

/// Multiplications below which a second thread costs more than it gains.
const FEW: usize = 1 << 20;

/// A (K, N) matrix laid out as micro-kernels read the right-hand side of a product: block after block of the inner dimension
/// K, in each of them panel after panel of columns, in each of them row after row. The last panel's rows end in zeros where
/// N is no multiple of a vector.
pub struct Packed {
    numbers: Scratch,
    /// Where `numbers` begins, so that vectors do not straddle cache lines.
    from: usize,
    k: usize,
    n: usize,
}

/// A block of the inner dimension: its first row and its number of rows.
type Block = (usize, usize);

/// The widths of a matrix's panels.
#[derive(Clone, Copy)]
struct Layout {
    /// Of all panels but the last.
    wide: usize,
    /// Of all together.
    padded: usize,
}

impl Layout {
    /// Where a block's panel begins, and the width of its rows.
    fn panel(self, (first, deep): Block, panel: usize) -> (usize, usize) {
        let column = panel * self.wide;
        (first * self.padded + column * deep, self.wide.min(self.padded - column))
    }
}

/// Where tasks write.
struct Shared(*mut f32);

// SAFETY: every task writes to numbers of its own.
unsafe impl Sync for Shared {}

/// How an inner dimension is divided; depends on nothing else.
fn depth(k: usize) -> usize {
    k.div_ceil(k.div_ceil(DEPTH).max(1)).next_multiple_of(EVEN)
}

fn blocks(k: usize) -> impl Iterator<Item = Block> + Clone {
    let depth = depth(k);
    (0..k).step_by(depth.max(1)).map(move |first| (first, depth.min(k - first)))
}

impl Packed {
    /// K rows of N numbers of any value: whoever takes them [puts](Packed::put) every row before reading one.
    pub fn take(k: usize, n: usize) -> Packed {
        let padded = n.next_multiple_of(kernels().lanes);
        let mut numbers = Scratch::take(k * padded + 16);
        if padded > n {
            numbers.fill(0.0);
        }
        let from = numbers.as_ptr().align_offset(64).min(16);
        Packed { numbers, from, k, n }
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
            turn(numbers, from, [width.min(n - column), width, deep, by_col as usize]);
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
        self.fill(STRETCH, |(first, deep), panel, numbers, _| {
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
                                take_in(to, &numbers[column + from..], add);
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

    /// Hands out every stretch of up to `panels` panels of every block: block, first panel, numbers, and their width where it
    /// is one panel.
    fn fill(&mut self, panels: usize, task: impl Fn(Block, usize, &mut [f32], usize) + Sync) {
        let (k, wide, padded) = (self.k, kernels().wide(), self.padded());
        let mut rest = self.numbers_mut();
        for block in blocks(k) {
            let (here, after) = std::mem::take(&mut rest).split_at_mut(block.1 * padded);
            let stretches = here.par_chunks_mut((block.1 * wide * panels).max(1)).enumerate();
            stretches.for_each(|(i, numbers)| {
                let width = numbers.len() / block.1;
                task(block, i * panels, numbers, width);
            });
            rest = after;
        }
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
    pub fn numbers(&self) -> &[f32] {
        &self.numbers[self.from..self.from + self.k * self.padded()]
    }

    /// [`Packed::numbers`], to be changed; zeros behind columns may become any number.
    pub fn numbers_mut(&mut self) -> &mut [f32] {
        let end = self.from + self.k * self.padded();
        &mut self.numbers[self.from..end]
    }

    /// A block's panel and the width of its rows.
    fn panel(&self, block: Block, panel: usize) -> (&[f32], usize) {
        let layout = self.layout();
        let (at, width) = layout.panel(block, panel);
        (&self.numbers()[at..][..width * block.1], width)
    }

    fn layout(&self) -> Layout {
        Layout { wide: kernels().wide(), padded: self.padded() }
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

    /// Divides panels among threads: `task` is told which ones are its.
    fn share(&self, multiplications: usize, task: impl Fn(Range<usize>) + Sync) {
        let panels = self.n.div_ceil(kernels().wide());
        let threads = if multiplications < FEW { 1 } else { rayon::current_num_threads() };
        if threads == 1 {
            return task(0..panels);
        }
        // A few tasks a thread, so that one that is held up holds up little.
        let shares = (4 * threads).min(panels);
        (0..shares).into_par_iter().for_each(|i| task(i * panels / shares..(i + 1) * panels / shares));
    }

    /// out = a b, or out += a b where `add`, with this as b; a (M, K) and out (M, N), row-major.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn product(&self, out: &mut [f32], a: &[f32], add: bool) {
        let (k, n) = (self.k, self.n);
        let m = out.len() / n.max(1);
        assert!(a.len() == m * k && out.len() == m * n, "a {m} x {k} matrix times {k} x {n}");
        if k == 0 && !add {
            out.fill(0.0);
        }
        if m == 0 || n == 0 || k == 0 {
            return;
        }
        let (kernels, layout, numbers) = (kernels(), self.layout(), self.numbers());
        let result = Shared(out.as_mut_ptr());
        self.share(m * n * k, |panels| {
            let result = &result;
            for rows in (0..m).step_by(ROWS) {
                let some = ROWS.min(m - rows);
                for (block, group) in self.groups(panels.clone()) {
                    for (row, height) in kernels.tiles(some) {
                        let row = rows + row;
                        let rows = &a[row * k + block.0..(row + height - 1) * k + block.0 + block.1];
                        let left = Left { numbers: rows, by_row: k, by_step: 1 };
                        for panel in group.clone() {
                            let (at, width) = layout.panel(block, panel);
                            let right = &numbers[at..at + width * block.1];
                            let column = panel * layout.wide;
                            // SAFETY: the tile lies inside `out`, which has m rows of n numbers and is borrowed mutably,
                            // and no two tasks share a panel.
                            unsafe {
                                let out = result.0.add(row * n + column);
                                let tile = Tile { out, by_row: n, rows: height, columns: width.min(n - column) };
                                kernels.run(tile, left, right, [block.1, width], add || block.0 > 0);
                            }
                        }
                    }
                }
            }
        });
    }

    /// out = a^T b, or out += a^T b where `add`, with this as b; a (K, M), row-major, and out (M, N).
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn transposed_product(&self, out: &mut Packed, a: &[f32], add: bool) {
        let (k, n, m) = (self.k, self.n, out.k);
        assert!(a.len() == k * m && out.n == n, "a {m} x {k} matrix times {k} x {n}");
        if k == 0 && !add {
            out.numbers_mut().fill(0.0);
        }
        if m == 0 || n == 0 || k == 0 {
            return;
        }
        // The result's panels are as wide as ours.
        let (kernels, layout, numbers) = (kernels(), self.layout(), self.numbers());
        // Tiles lie in one block of the result each.
        let tiles =
            blocks(m).flat_map(|block| kernels.tiles(block.1).map(move |(row, height)| (block, block.0 + row, height)));
        let tiles: Vec<(Block, usize, usize)> = tiles.collect();
        let left = by_tiles(a, &tiles, [k, m]);
        let result = Shared(out.numbers_mut().as_mut_ptr());
        self.share(m * n * k, |panels| {
            let result = &result;
            for (block, group) in self.groups(panels) {
                for &(of_result, row, height) in &tiles {
                    let left = &left[block.0 * m + row * block.1..][..height * block.1];
                    let left = Left { numbers: left, by_row: 1, by_step: height };
                    for panel in group.clone() {
                        let (at, width) = layout.panel(block, panel);
                        let right = &numbers[at..at + width * block.1];
                        let at = layout.panel(of_result, panel).0 + (row - of_result.0) * width;
                        // SAFETY: the tile lies in this panel of `out`'s block, as [`Packed`] has it; `out` is borrowed
                        // mutably, and no two tasks share a panel.
                        unsafe {
                            let columns = width.min(n - panel * layout.wide);
                            let tile = Tile { out: result.0.add(at), by_row: width, rows: height, columns };
                            kernels.run(tile, left, right, [block.1, width], add || block.0 > 0);
                        }
                    }
                }
            }
        });
    }

    /// Panels as rows go by them: groups of them, block after block.
    fn groups(&self, panels: Range<usize>) -> impl Iterator<Item = (Block, Range<usize>)> + use<> {
        let end = panels.end;
        blocks(self.k).flat_map(move |block| {
            panels.clone().step_by(GROUP).map(move |first| (block, first..(first + GROUP).min(end)))
        })
    }
}

/// The transpose of a (K, M) matrix in tiles of rows, block after block of K: tile after tile, in each of them the numbers of
/// one step after another.
fn by_tiles(a: &[f32], tiles: &[(Block, usize, usize)], [k, m]: [usize; 2]) -> Scratch {
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
        // A stretch of tiles a task; a few steps at a time, so that what is read stays in the cache.
        of_tiles.par_chunks_mut(32).for_each(|tiles| {
            for strip in (0..deep).step_by(STRIP) {
                for (tile, row, height) in tiles.iter_mut() {
                    let tile = &mut tile[strip * *height..deep.min(strip + STRIP) * *height];
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

/// Numbers that [`take_in`] takes at once.
const LANES: usize = 16;

/// to = from, or to += from where `add`; the first numbers of `from`.
#[inline(always)]
fn take_in(to: &mut [f32], from: &[f32], add: bool) {
    let from = &from[..to.len()];
    // A known length is worth a few instructions, any length a call.
    match (<&mut [f32; LANES]>::try_from(&mut *to), <&[f32; LANES]>::try_from(from)) {
        (Ok(to), Ok(from)) if add => to.iter_mut().zip(from).for_each(|(t, f)| *t += f),
        (Ok(to), Ok(from)) => *to = *from,
        _ if add => to.iter_mut().zip(from).for_each(|(t, f)| *t += f),
        _ => to.copy_from_slice(from),
    }
}

/// Copies rows of N numbers that lie `by_row` apart.
#[inline(always)]
fn copy_rows<const N: usize>(to: &mut [f32], from: &[f32], by_row: usize) {
    for (to, from) in to.as_chunks_mut::<N>().0.iter_mut().zip(from.chunks(by_row)) {
        to.iter_mut().zip(from).for_each(|(t, f)| *t = *f);
    }
}

/// Fills a panel of `deep` rows of `width` columns, `used` of which the matrix has, from one whose columns lie together.
fn turn(panel: &mut [f32], from: &[f32], [used, width, deep, by_col]: [usize; 4]) {
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
    use super::super::product;
    use super::super::tests::random;
    use super::*;

    const SHAPES: [[usize; 3]; 6] =
        [[7, 13, 5], [128, 512, 700], [33, 2500, 130], [1, 40, 257], [200, 64, 64], [500, 9, 17]];

    fn apart(a: &[f32], b: &[f32]) -> f32 {
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    }

    /// How far sums of K products of unit variance, which are about sqrt(K), may lie from those in another order.
    fn near(k: usize) -> f32 {
        1e-5 * (k as f32).sqrt()
    }

    fn turned(a: &[f32], rows: usize, cols: usize) -> Vec<f32> {
        (0..rows * cols).map(|i| a[(i % rows) * cols + i / rows]).collect()
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
                assert!([2, 5].into_iter().all(|threads| run(threads) == one), "{m} x {k} x {n}");
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
            let run = |threads: usize| {
                let mut out = Packed::new(Mat::new(&start, m, n));
                on(threads, || Packed::new(Mat::new(&b, k, n)).transposed_product(&mut out, &a, true));
                out.to_rows()
            };
            let one = run(1);
            assert!(apart(&one, &want) < near(k), "{m} x {k} x {n}: {}", apart(&one, &want));
            assert!([2, 5].into_iter().all(|threads| run(threads) == one), "{m} x {k} x {n}");
        }
    }

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
}
