//! What storing numbers as f16 costs: what underflows, what is kept with fewer digits, and what is lost in a large offset.
//!
//! f16 has 11 significant bits from 6.1e-5 to 65504, fewer below, and nothing below 3e-8. Its rounding is harmless where it is
//! small beside what distinguishes clips, so for each dimension the mean squared rounding error is held against the variance.

use half::f16;

/// Sums over the rows that were written so far, for each of D dimensions.
#[derive(Debug)]
pub(super) struct HalfLoss {
    /// The first row; sums are of differences to it, so that an offset costs no digits.
    origin: Vec<f32>,
    rows: usize,
    sum: Vec<f64>,
    squares: Vec<f64>,
    errors: Vec<f64>,
    /// Whether f16 kept any difference to the first row.
    varies: Vec<bool>,
    /// Numbers that are not 0 and became 0.
    pub underflowed: usize,
    /// Numbers below the normal range of f16, kept with fewer than 11 bits.
    pub coarse: usize,
    nonzero: usize,
}

/// What the loss amounts to.
#[derive(Debug, PartialEq)]
pub(super) enum Verdict {
    /// Rounding and nothing more.
    Fine,
    /// This many dimensions of those that vary carry errors of more than a tenth of their deviation.
    Some { lost: usize, varying: usize },
    /// So much is lost that the feature is no longer itself; says what.
    Refused(String),
}

/// An error with a tenth of the deviation.
const MOST_ERROR: f64 = 0.01;

impl HalfLoss {
    pub fn new() -> HalfLoss {
        HalfLoss {
            origin: Vec::new(),
            rows: 0,
            sum: Vec::new(),
            squares: Vec::new(),
            errors: Vec::new(),
            varies: Vec::new(),
            underflowed: 0,
            coarse: 0,
            nonzero: 0,
        }
    }

    /// Takes rows of D numbers.
    pub fn add(&mut self, values: &[f32], width: usize) {
        if self.origin.is_empty() {
            self.origin = values[..width].to_vec();
            (self.sum, self.squares, self.errors) = (vec![0.0; width], vec![0.0; width], vec![0.0; width]);
            self.varies = vec![false; width];
        }
        for row in values.chunks_exact(width) {
            self.rows += 1;
            for (d, &x) in row.iter().enumerate() {
                let half = f16::from_f32(x);
                let back = half.to_f32();
                let (from, error) = (f64::from(x) - f64::from(self.origin[d]), f64::from(x) - f64::from(back));
                self.sum[d] += from;
                self.squares[d] += from * from;
                self.errors[d] += error * error;
                self.varies[d] |= back != f16::from_f32(self.origin[d]).to_f32();
                if x != 0.0 {
                    self.nonzero += 1;
                    self.underflowed += usize::from(back == 0.0);
                    self.coarse += usize::from(back != x && back != 0.0 && x.abs() < f16::MIN_POSITIVE.to_f32());
                }
            }
        }
    }

    /// The verdict over all rows.
    pub fn verdict(&self) -> Verdict {
        if self.nonzero > 0 && 2 * self.underflowed > self.nonzero {
            return Verdict::Refused(format!(
                "{} of its {} numbers other than 0 are too small for f16 and would become 0",
                self.underflowed, self.nonzero
            ));
        }
        let n = self.rows.max(1) as f64;
        let (mut varying, mut lost, mut flat) = (0, 0, 0);
        for d in 0..self.sum.len() {
            let mean = self.sum[d] / n;
            let variance = self.squares[d] / n - mean * mean;
            // Rounding of the sums themselves is no variance.
            if variance <= 1e-12 * (self.squares[d] / n) || variance <= 0.0 {
                continue;
            }
            varying += 1;
            lost += usize::from(self.errors[d] / n > MOST_ERROR * variance);
            flat += usize::from(!self.varies[d]);
        }
        if 2 * lost > varying {
            let flat = if flat > 0 { format!(", and {flat} would no longer vary at all") } else { String::new() };
            return Verdict::Refused(format!(
                "in {lost} of {varying} dimensions f16 is off by more than a tenth of what distinguishes clips{flat}"
            ));
        }
        if lost > 0 { Verdict::Some { lost, varying } } else { Verdict::Fine }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of 2 numbers, offset + scale (k mod 7).
    fn loss(offset: f32, scale: f32) -> HalfLoss {
        let values: Vec<f32> = (0..200).map(|k| offset + scale * ((k * 5 % 7) as f32 + 0.3)).collect();
        let mut loss = HalfLoss::new();
        loss.add(&values[..100], 2);
        loss.add(&values[100..], 2);
        loss
    }

    #[test]
    fn ordinary_numbers_are_only_rounded() {
        for (offset, scale) in [(0.0, 1.0), (10.0, 1.0), (0.0, 1e-3), (0.0, 9000.0), (-3.0, 0.5), (5.0, 0.0)] {
            let loss = loss(offset, scale);
            assert_eq!((loss.verdict(), loss.underflowed), (Verdict::Fine, 0), "{offset} {scale}");
        }
    }

    #[test]
    fn what_would_be_zeroed_or_flattened_is_refused() {
        let refused = |offset, scale| match loss(offset, scale).verdict() {
            Verdict::Refused(why) => why,
            other => panic!("{offset} {scale}: {other:?}"),
        };
        assert!(refused(0.0, 1e-9).contains("200 of its 200 numbers"));
        assert!(refused(0.0, 3e-8).contains("dimensions"), "kept as multiples of 6e-8");
        assert!(refused(10_000.0, 0.1).contains("no longer vary"));
        assert!(loss(0.0, 1e-6).coarse > 100);
    }

    #[test]
    fn a_part_that_is_lost_is_counted() {
        let values: Vec<f32> =
            (0..300).map(|k| if k % 3 == 0 { 1e-9 * (k % 7) as f32 } else { (k % 7) as f32 }).collect();
        let mut loss = HalfLoss::new();
        loss.add(&values, 3);
        assert_eq!(loss.verdict(), Verdict::Some { lost: 1, varying: 3 });
        assert!(loss.underflowed > 80);
    }
}
