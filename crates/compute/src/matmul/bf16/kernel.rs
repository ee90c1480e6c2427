//! Tiles of rounded products, with the processor's instructions for pairs and without.

use crate::matmul::microkernel::{Left, Tile};
use crate::simd::{self, Level};

/// Columns that the portable kernel adds up at once, where a panel has as many.
const LANES: usize = 16;

/// Columns of the panels of plain code.
const FEW: usize = 2;

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
pub unsafe fn run(tile: Tile, left: Left<u32>, panel: &[u32], [deep, width]: [usize; 2], add: bool) {
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
            true => unsafe { sums::<R, LANES, true>(tile, left, panel, width, add) },
            // SAFETY: the caller's promise.
            false => unsafe { sums::<R, FEW, false>(tile, left, panel, width, add) },
        },
    );
}

/// # Safety
/// As for [`run`].
#[inline(always)]
unsafe fn sums<const R: usize, const LANES: usize, const FMA: bool>(
    tile: Tile,
    left: Left<u32>,
    panel: &[u32],
    width: usize,
    add: bool,
) {
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
    use super::super::Pairs;
    use super::*;
    use crate::matmul::packed::Packed;
    use crate::matmul::tests::random;

    #[test]
    fn kernels_with_and_without_instructions_of_their_own_give_the_same_bits() {
        let (deep, width) = (37, Packed::wide());
        let (mut a, b) = (random(6 * 2 * deep, 1), random(2 * deep * width, 2));
        // A row each of numbers that are none, and of what sums up to none.
        a[2 * deep] = f32::NAN;
        a[4 * deep..4 * deep + 2].copy_from_slice(&[f32::INFINITY, f32::NEG_INFINITY]);
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
                    let bits = |numbers: Vec<f32>| -> Vec<Option<u32>> {
                        numbers.into_iter().map(|v| (!v.is_nan()).then(|| v.to_bits())).collect()
                    };
                    assert!(bits(made(false)) == bits(made(true)), "{rows} x {columns}");
                }
            }
        }
    }
}
