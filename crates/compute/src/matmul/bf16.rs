//! Products of numbers rounded to bfloat16 (the upper half of an f32: 8 bits of exponent, 7 of mantissa), added up in f32.
//!
//! Two steps of the inner dimension are one pair, a word of memory: the first number in the lower half, the second in the upper one, a zero
//! where there is none. Processors with AVX512-BF16 (AMD since Zen 4, Intel's Cooper Lake and since Sapphire Rapids) multiply and
//! add a pair where they multiply and add one f32 otherwise. Others unpack pairs and add the second number's product, then the first's, each rounded
//! to f32, as those instructions do: the same bits, as long as no number is so small (below 1.2e-38) that the instructions take it for zero.

use super::microkernel::{Left, Tile};
use super::packed::{Packed, row_of_panel};
use crate::buffer_pool::Scratch;
use crate::simd::{self, Level};
use rayon::prelude::*;
use std::ops::{Deref, DerefMut};

/// The bits of the nearest bfloat16, of two equally near ones the even; what is not a number stays so.
#[inline(always)]
fn rounded(x: f32) -> u32 {
    let bits = x.to_bits();
    let nearest = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    if bits & 0x7fff_ffff > 0x7f80_0000 { bits >> 16 | 0x40 } else { nearest }
}

/// The nearest bfloat16, as the f32 that it is.
pub fn nearest(x: f32) -> f32 {
    f32::from_bits(rounded(x) << 16)
}

#[inline(always)]
fn pair(first: f32, second: f32) -> u32 {
    rounded(first) | rounded(second) << 16
}

/// How many pairs so many numbers are.
pub fn pairs(numbers: usize) -> usize {
    numbers.div_ceil(2)
}

/// The pairs of a row.
#[inline(always)]
fn round_along(row: &[f32], to: &mut [u32]) {
    let (whole, rest) = row.as_chunks::<2>();
    to.iter_mut().zip(whole).for_each(|(to, [first, second])| *to = pair(*first, *second));
    if let [last] = rest {
        to[whole.len()] = pair(*last, 0.0);
    }
}

/// The pairs of two rows, number by number.
#[inline(always)]
fn round_across(first: &[f32], second: &[f32], to: &mut [u32]) {
    to.iter_mut().zip(first.iter().zip(second)).for_each(|(to, (a, b))| *to = pair(*a, *b));
}

/// The pairs of a row of numbers, an even number of them but for the last of a matrix's.
pub fn round(row: &[f32], to: &mut [u32]) {
    simd::vectorise(
        #[inline(always)]
        || round_along(row, to),
    );
}

/// Pairs in a buffer that comes back.
pub struct Pairs(Scratch);

impl Pairs {
    /// `n` pairs of any value.
    pub fn take(n: usize) -> Pairs {
        Pairs(Scratch::take(n))
    }

    /// Of a matrix, row-major, each row by itself: the left-hand side of a product.
    pub fn along(rows: &[f32], columns: usize) -> Pairs {
        let wide = pairs(columns).max(1);
        let mut made = Pairs::take(rows.len() / columns.max(1) * wide);
        let rows = made.par_chunks_exact_mut(wide).zip(rows.par_chunks_exact(columns.max(1))).with_min_len(16);
        rows.for_each(|(to, row)| round(row, to));
        made
    }

    /// Of a matrix, row-major, each two rows together: the left-hand side of a transposed product.
    pub fn across(rows: &[f32], columns: usize) -> Pairs {
        let wide = columns.max(1);
        let mut made = Pairs::take(pairs(rows.len() / wide) * wide);
        let rows = made.par_chunks_exact_mut(wide).zip(rows.par_chunks(2 * wide)).with_min_len(8);
        rows.for_each(|(to, rows)| two_rows(rows, columns, to));
        made
    }
}

impl Deref for Pairs {
    type Target = [u32];
    fn deref(&self) -> &[u32] {
        bytemuck::cast_slice(&self.0)
    }
}

impl DerefMut for Pairs {
    fn deref_mut(&mut self) -> &mut [u32] {
        bytemuck::cast_slice_mut(&mut self.0)
    }
}

/// The pairs of two rows of so many columns, or of one and zeros.
fn two_rows(rows: &[f32], columns: usize, to: &mut [u32]) {
    let (first, second) = rows.split_at(columns);
    simd::vectorise(
        #[inline(always)]
        || match second.is_empty() {
            true => to.iter_mut().zip(first).for_each(|(to, a)| *to = pair(*a, 0.0)),
            false => round_across(first, second, to),
        },
    );
}

impl Packed<u32> {
    /// From K rows of N numbers.
    pub fn of_rows(rows: &[f32], n: usize) -> Packed<u32> {
        let k = rows.len() / n.max(1);
        let row = |row: usize, columns: std::ops::Range<usize>| (row < k).then(|| &rows[row * n..][columns]);
        Packed::of(k, n, row)
    }

    /// From a packed matrix (K, N).
    pub fn rounded(whole: &Packed) -> Packed<u32> {
        let (k, n) = whole.shape();
        let (numbers, layout, wide) = (whole.numbers(), whole.layout(), Packed::wide());
        let row = |row: usize, columns: std::ops::Range<usize>| {
            (row < k).then(|| &row_of_panel(numbers, layout, [k, row], columns.start / wide)[..columns.len()])
        };
        Packed::of(k, n, row)
    }

    /// From what rows have in a panel's columns; none behind the last row.
    fn of<'a>(
        k: usize,
        n: usize,
        row: impl Fn(usize, std::ops::Range<usize>) -> Option<&'a [f32]> + Sync,
    ) -> Packed<u32> {
        let mut packed = Packed::<u32>::take(pairs(k), n);
        let wide = Packed::wide();
        packed.fill(1, |(first, _), panel, numbers, width| {
            let columns = panel * wide..n.min(panel * wide + width);
            simd::vectorise(
                #[inline(always)]
                || {
                    for (step, to) in (first..).zip(numbers.chunks_exact_mut(width)) {
                        let (to, behind) = to.split_at_mut(columns.len());
                        match (row(2 * step, columns.clone()), row(2 * step + 1, columns.clone())) {
                            (Some(a), Some(b)) => round_across(a, b, to),
                            (Some(a), None) => to.iter_mut().zip(a).for_each(|(to, a)| *to = pair(*a, 0.0)),
                            _ => to.fill(0),
                        }
                        behind.fill(0);
                    }
                },
            );
        });
        packed
    }

    /// The transpose (N, K) of a packed matrix (K, N).
    pub fn transpose_of(whole: &Packed) -> Packed<u32> {
        let (k, n) = whole.shape();
        let (from, layout, wide) = (whole.numbers(), whole.layout(), Packed::wide());
        let mut packed = Packed::<u32>::take(pairs(n), k);
        packed.fill(1, |(first, deep), panel, numbers, width| {
            // Columns of this panel are rows of theirs.
            let rows = panel * wide..k.min(panel * wide + width);
            let mut turned = vec![0; pairs(wide) * width];
            for theirs in 2 * first / wide..n.min(2 * (first + deep)).div_ceil(wide) {
                let columns = theirs * wide..n.min((theirs + 1) * wide);
                let steps = pairs(columns.len());
                simd::vectorise(
                    #[inline(always)]
                    || {
                        for (row, to) in rows.clone().zip(turned.chunks_exact_mut(pairs(wide))) {
                            round_along(&row_of_panel(from, layout, [k, row], theirs)[..columns.len()], to);
                        }
                    },
                );
                let to = numbers[(columns.start / 2 - first) * width..].chunks_exact_mut(width).take(steps);
                for (step, to) in to.enumerate() {
                    let (to, behind) = to.split_at_mut(rows.len());
                    to.iter_mut().zip(turned[step..].iter().step_by(pairs(wide))).for_each(|(t, f)| *t = *f);
                    behind.fill(0);
                }
            }
        });
        packed
    }
}

/// Columns that the portable kernel adds up at once.
const LANES: usize = 16;

/// Whether this machine multiplies pairs.
pub fn in_hardware() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        simd::level() == Level::Avx512 && std::arch::is_x86_feature_detected!("avx512bf16")
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// tile = left panel, or tile += left panel where `add`; the panel has `deep` rows of `width` pairs.
///
/// # Safety
/// The tile can be written, and nobody else touches it.
#[inline]
pub(super) unsafe fn run(tile: Tile, left: Left<u32>, panel: &[u32], [deep, width]: [usize; 2], add: bool) {
    assert!(panel.len() == deep * width && tile.columns <= width && tile.columns > 0 && deep > 0);
    assert!(left.numbers.len() > (tile.rows - 1) * left.by_row + (deep - 1) * left.by_step);
    #[cfg(target_arch = "x86_64")]
    if in_hardware() && width.is_multiple_of(16) {
        let kernel = avx512::TABLE[tile.columns.div_ceil(16) - 1][tile.rows - 1];
        // SAFETY: the tile can be written (the caller's promise), panel and left-hand side hold what is read (asserted), and the machine
        // has these instructions.
        return unsafe { kernel(tile, left, panel, [deep, width], add) };
    }
    // SAFETY: the caller's promise.
    unsafe { portable(tile, left, panel, width, add) }
}

/// [`run`] without instructions of its own.
///
/// # Safety
/// As for [`run`].
unsafe fn portable(tile: Tile, left: Left<u32>, panel: &[u32], width: usize, add: bool) {
    macro_rules! of_height {
        ($($rows:literal)+) => {
            match tile.rows {
                // SAFETY: the caller's promise.
                $($rows => unsafe { of_rows::<$rows>(tile, left, panel, width, add) },)+
                // No kernels have higher tiles.
                _ => (0..tile.rows).for_each(|row| {
                    let left = Left { numbers: &left.numbers[row * left.by_row..], ..left };
                    // SAFETY: a row of the tile.
                    let tile = Tile { out: unsafe { tile.out.add(row * tile.by_row) }, rows: 1, ..tile };
                    // SAFETY: the caller's promise.
                    unsafe { of_rows::<1>(tile, left, panel, width, add) }
                }),
            }
        };
    }
    of_height!(1 2 3 4 5 6);
}

/// [`portable`] for a height.
///
/// # Safety
/// As for [`run`].
unsafe fn of_rows<const R: usize>(tile: Tile, left: Left<u32>, panel: &[u32], width: usize, add: bool) {
    let fused = simd::level() != Level::Scalar;
    simd::vectorise(
        #[inline(always)]
        || match fused {
            // SAFETY: the caller's promise.
            true => unsafe { sums::<R, true>(tile, left, panel, width, add) },
            // SAFETY: the caller's promise.
            false => unsafe { sums::<R, false>(tile, left, panel, width, add) },
        },
    );
}

/// # Safety
/// As for [`run`].
#[inline(always)]
unsafe fn sums<const R: usize, const FMA: bool>(tile: Tile, left: Left<u32>, panel: &[u32], width: usize, add: bool) {
    let (lower, upper) = (|word: u32| f32::from_bits(word << 16), |word: u32| f32::from_bits(word & 0xffff_0000));
    let fma = |a: f32, b: f32, c: f32| if FMA { a.mul_add(b, c) } else { a * b + c };
    for column in (0..tile.columns).step_by(LANES) {
        let some = LANES.min(width - column);
        let mut sums = [[0.0; LANES]; R];
        for (step, row) in panel.chunks_exact(width).enumerate() {
            let mut words = [0; LANES];
            match row.get(column..column + LANES) {
                Some(whole) => words.copy_from_slice(whole),
                None => words[..some].copy_from_slice(&row[column..column + some]),
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let word = left.numbers[r * left.by_row + step * left.by_step];
                for (sum, b) in sums.iter_mut().zip(words) {
                    *sum = fma(upper(word), upper(b), *sum);
                }
                for (sum, b) in sums.iter_mut().zip(words) {
                    *sum = fma(lower(word), lower(b), *sum);
                }
            }
        }
        let some = LANES.min(tile.columns - column);
        for (r, sums) in sums.iter().enumerate() {
            // SAFETY: columns of a row of the tile.
            let to = unsafe { std::slice::from_raw_parts_mut(tile.out.add(r * tile.by_row + column), some) };
            match add {
                true => to.iter_mut().zip(sums).for_each(|(to, sum)| *to += sum),
                false => to.copy_from_slice(&sums[..some]),
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use super::{Left, Tile};
    use std::arch::x86_64::{
        __m512bh, _mm512_add_ps, _mm512_dpbf16_ps, _mm512_loadu_si512, _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps,
        _mm512_set1_epi32, _mm512_setzero_ps,
    };

    type Kernel = unsafe fn(Tile, Left<u32>, &[u32], [usize; 2], bool);

    macro_rules! table {
        ($($v:literal)+) => { [$([tile::<1, $v>, tile::<2, $v>, tile::<3, $v>, tile::<4, $v>, tile::<5, $v>, tile::<6, $v>]),+] };
    }

    /// `TABLE[v - 1][r - 1]` makes v vectors of r rows.
    pub(super) static TABLE: [[Kernel; 6]; 4] = table!(1 2 3 4);

    /// R rows of V vectors, the last of which may be a part of one: as many sums as there are registers for, one word of a row at a
    /// time for all of them.
    ///
    /// # Safety
    /// As for [`super::run`], on a machine with AVX512-BF16.
    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn tile<const R: usize, const V: usize>(
        tile: Tile,
        left: Left<u32>,
        panel: &[u32],
        [deep, width]: [usize; 2],
        add: bool,
    ) {
        let mut sums = [[_mm512_setzero_ps(); V]; R];
        let (a, b) = (left.numbers.as_ptr(), panel.as_ptr());
        for step in 0..deep {
            // SAFETY: inside the panel, whose rows hold V vectors, and inside the left-hand side (asserted by the caller).
            unsafe {
                let mut words = [as_pairs(_mm512_loadu_si512(b.add(step * width).cast())); V];
                for (v, words) in words.iter_mut().enumerate() {
                    *words = as_pairs(_mm512_loadu_si512(b.add(step * width + 16 * v).cast()));
                }
                for (r, sums) in sums.iter_mut().enumerate() {
                    let word = *a.add(r * left.by_row + step * left.by_step);
                    let word = as_pairs(_mm512_set1_epi32(word.cast_signed()));
                    for (sum, words) in sums.iter_mut().zip(words) {
                        *sum = _mm512_dpbf16_ps(*sum, word, words);
                    }
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            for (v, sum) in sums.iter().enumerate() {
                let columns = tile.columns - 16 * v;
                let mask = if columns < 16 { (1u16 << columns) - 1 } else { u16::MAX };
                // SAFETY: numbers of a row of the tile; the mask leaves out what is none.
                unsafe {
                    let to = tile.out.add(r * tile.by_row + 16 * v);
                    let before = if add { _mm512_maskz_loadu_ps(mask, to) } else { _mm512_setzero_ps() };
                    _mm512_mask_storeu_ps(to, mask, _mm512_add_ps(before, *sum));
                }
            }
        }
    }

    /// The same bits as pairs.
    #[inline(always)]
    fn as_pairs(words: std::arch::x86_64::__m512i) -> __m512bh {
        // SAFETY: both are 64 bytes that may be anything.
        unsafe { std::mem::transmute(words) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::packed::blocks;
    use super::super::tests::{SHAPES, random, turned};
    use super::super::{Factors, Mat, product};
    use super::*;

    #[test]
    fn numbers_go_to_the_nearest_of_seven_bits_and_ties_to_the_even_one() {
        let last = 2.0_f32.powi(-7);
        for (x, want) in [
            (1.0, 1.0),
            (1.0 + 0.49 * last, 1.0),
            (1.0 + 0.5 * last, 1.0),
            (1.0 + 0.51 * last, 1.0 + last),
            (1.0 + 1.5 * last, 1.0 + 2.0 * last),
            (-1.0 - 1.5 * last, -1.0 - 2.0 * last),
            (0.0, 0.0),
            (f32::INFINITY, f32::INFINITY),
            (f32::MAX, f32::INFINITY),
        ] {
            assert_eq!(nearest(x), want, "{x}");
        }
        assert_eq!(nearest(-0.0).to_bits(), (-0.0_f32).to_bits());
        // All of its mantissa's ones lie in the half that goes.
        assert!(nearest(f32::from_bits(0x7f80_0001)).is_nan() && nearest(f32::from_bits(0xffff_ffff)).is_nan());
    }

    fn all_nearest(numbers: &[f32]) -> Vec<f32> {
        numbers.iter().map(|x| nearest(*x)).collect()
    }

    fn apart(a: &[f32], b: &[f32]) -> f32 {
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    }

    fn near(k: usize) -> f32 {
        1e-5 * (k as f32).sqrt()
    }

    #[test]
    fn rounded_products_are_those_of_rounded_numbers_on_any_number_of_threads() {
        for [m, k, n] in SHAPES {
            let (a, b, start) = (random(m * k, 5), random(k * n, 6), random(m * n, 7));
            let mut want = start.clone();
            product(&mut want, Mat::new(&all_nearest(&a), m, k), Mat::new(&all_nearest(&b), k, n), 1.0, true);
            let whole = Packed::new(Mat::new(&b, k, n));
            let of_rows = Packed::<u32>::of_rows(&b, n);
            let turned = Packed::<u32>::transpose_of(&Packed::new(Mat::new(&turned(&b, k, n), n, k)));
            for right in [&of_rows, &Packed::<u32>::rounded(&whole), &turned] {
                assert_eq!(right.shape(), (pairs(k), n));
                let run = |threads: usize| {
                    let mut out = start.clone();
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                    pool.install(|| right.product(&mut out, &Pairs::along(&a, k), true));
                    out
                };
                let one = run(1);
                assert!(apart(&one, &want) < near(k), "{m} x {k} x {n}: {}", apart(&one, &want));
                assert!([2, 5].into_iter().all(|threads| run(threads) == one), "{m} x {k} x {n}");
            }
        }
    }

    #[test]
    fn rounded_transposed_products_are_those_of_rounded_numbers() {
        for [m, k, n] in SHAPES {
            let (a, b) = (random(k * m, 5), random(k * n, 6));
            let mut want = vec![0.0; m * n];
            product(&mut want, Mat::new(&all_nearest(&a), k, m).t(), Mat::new(&all_nearest(&b), k, n), 1.0, true);
            // Beside a term that is not rounded.
            product(&mut want, Mat::new(&a, k, m).t(), Mat::new(&b, k, n), 1.0, true);
            let (left, right) = (Pairs::across(&a, m), Packed::rounded(&Packed::new(Mat::new(&b, k, n))));
            let mut out = Packed::zeros(m, n);
            let whole = Packed::new(Mat::new(&b, k, n));
            let factors = [Factors::Rounded(&left, &right), Factors::Whole(&a, &whole)];
            Packed::transposed_products(&factors, [&mut out], |[out], sum| out.copy_from_slice(sum));
            assert!(apart(&out.to_rows(), &want) < 2.0 * near(k), "{m} x {k} x {n}");
        }
    }

    #[test]
    fn a_transpose_is_that_of_the_numbers_whatever_lies_behind_them() {
        for [_, k, n] in SHAPES {
            let b = random(k * n, 8);
            let mut whole = Packed::new(Mat::new(&b, k, n));
            // Zeros behind columns are nobody's.
            let layout = whole.layout();
            for block in blocks(k) {
                let panel = n.saturating_sub(1) / Packed::wide();
                let (at, width) = layout.panel(block, panel);
                let used = n - panel * Packed::wide();
                let numbers = whole.numbers_mut();
                (0..block.1).for_each(|row| numbers[at + row * width + used..at + (row + 1) * width].fill(f32::NAN));
            }
            let want = Packed::<u32>::of_rows(&turned(&b, k, n), k);
            assert!(Packed::<u32>::transpose_of(&whole).numbers() == want.numbers(), "{k} x {n}");
            assert!(Packed::<u32>::rounded(&whole).numbers() == Packed::<u32>::of_rows(&b, n).numbers());
        }
    }

    #[test]
    fn kernels_with_and_without_instructions_of_their_own_give_the_same_bits() {
        let (deep, width) = (37, Packed::wide());
        let (a, b) = (random(6 * 2 * deep, 1), random(2 * deep * width, 2));
        let (left, right) = (Pairs::along(&a, 2 * deep), Packed::<u32>::of_rows(&b, width));
        for rows in 1..=6 {
            for columns in 1..=width {
                for add in [false, true] {
                    let made = |portable: bool| {
                        let mut out = vec![1.0; rows * width];
                        let tile = Tile { out: out.as_mut_ptr(), by_row: width, rows, columns };
                        let left = Left { numbers: &left, by_row: deep, by_step: 1 };
                        // SAFETY: the tile is of `out`.
                        unsafe {
                            match portable {
                                true => super::portable(tile, left, right.numbers(), width, add),
                                false => run(tile, left, right.numbers(), [deep, width], add),
                            }
                        }
                        out
                    };
                    assert!(made(false) == made(true), "{rows} x {columns}");
                }
            }
        }
    }
}
