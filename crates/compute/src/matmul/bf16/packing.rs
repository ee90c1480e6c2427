//! Right-hand sides of rounded products, packed as micro-kernels read them.

use super::{pair, pairs, round_across, round_along};
use crate::matmul::packed::{Packed, row_of_panel};
use crate::simd;
use std::ops::Range;

impl Packed<u32> {
    /// From K rows of N numbers.
    pub fn of_rows(rows: &[f32], n: usize) -> Packed<u32> {
        let k = rows.len() / n.max(1);
        let row = |row: usize, columns: Range<usize>| (row < k).then(|| &rows[row * n..][columns]);
        Packed::of(k, n, row)
    }

    /// From a packed matrix (K, N).
    pub fn rounded(whole: &Packed) -> Packed<u32> {
        let (k, n) = whole.shape();
        let (numbers, layout, wide) = (whole.numbers(), whole.layout(), Packed::wide());
        let row = |row: usize, columns: Range<usize>| {
            (row < k).then(|| &row_of_panel(numbers, layout, [k, row], columns.start / wide)[..columns.len()])
        };
        Packed::of(k, n, row)
    }

    /// From what rows have in a panel's columns; none behind the last row.
    fn of<'a>(k: usize, n: usize, row: impl Fn(usize, Range<usize>) -> Option<&'a [f32]> + Sync) -> Packed<u32> {
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

#[cfg(test)]
mod tests {
    use super::super::{Pairs, nearest};
    use super::*;
    use crate::matmul::packed::blocks;
    use crate::matmul::tests::{SHAPES, random, turned};
    use crate::matmul::{Factors, Mat, product};

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
}
