//! Products of numbers rounded to bfloat16 (the upper half of an f32: 8 bits of exponent, 7 of mantissa), added up in f32.
//!
//! Two steps of the inner dimension are one pair, a word of memory: the first number in the lower half, the second in the upper one, a zero
//! where there is none. Processors with AVX512-BF16 (AMD since Zen 4, Intel's Cooper Lake and since Sapphire Rapids) multiply and
//! add a pair where they multiply and add one f32 otherwise. Others unpack pairs and add the second number's product, then the first's, each rounded
//! to f32, as those instructions do: the same bits, as long as no number is so small (below 1.2e-38) that the instructions take it for zero.

mod kernel;
mod packing;

use crate::buffer_pool::Scratch;
use crate::simd;
use rayon::prelude::*;
use std::ops::{Deref, DerefMut};

pub use kernel::in_hardware;
pub(super) use kernel::run;

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

#[cfg(test)]
mod tests {
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
}
