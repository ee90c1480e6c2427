//! Per-dimension standardisation: x' = (x - mean) / sd, with sd = 1 where a dimension never varies.

use super::Features;
use rayon::prelude::*;

/// Means and inverse standard deviations of D dimensions.
#[derive(Clone, Debug, PartialEq)]
pub struct Standardiser {
    /// Means, (D,).
    pub mean: Vec<f32>,
    /// 1 / sd, (D,); population sd (divided by n).
    pub inverse_sd: Vec<f32>,
}

/// Rows that one partial sum covers; fixed, so that the result does not depend on the number of threads.
const BLOCK: usize = 256;

impl Standardiser {
    /// Leaves numbers as they are.
    pub fn identity(width: usize) -> Standardiser {
        Standardiser { mean: vec![0.0; width], inverse_sd: vec![1.0; width] }
    }

    /// Subtracts the mean of each dimension and divides all of them by one number, the root of their mean variance. Where some
    /// dimensions hardly vary on the sample (VGGish has many that are almost always 0), standardising each on its own would
    /// let one of them rule every sum of squares.
    pub fn centring(values: &[f32], width: usize) -> Standardiser {
        let each = Standardiser::of_matrix(values, width);
        let mut squares = 0.0f64;
        for row in values.chunks_exact(width) {
            squares += row.iter().zip(&each.mean).map(|(x, m)| f64::from(x - m).powi(2)).sum::<f64>();
        }
        let sd = (squares / values.len().max(1) as f64).sqrt();
        let inverse = if sd > 1e-37 { (1.0 / sd) as f32 } else { 1.0 };
        Standardiser { inverse_sd: vec![inverse; width], mean: each.mean }
    }

    /// Statistics of `rows` of a feature file over all of a row's frames: a row of T x D numbers gives T samples of
    /// D = `width` dimensions. Two passes (mean, then squared deviations), sums in f64.
    pub fn of_features(features: &Features, rows: &[usize], width: usize) -> Standardiser {
        Standardiser::fit(rows, width, features.row_len(), |row, out| features.read_row(row, out))
    }

    /// Statistics of a matrix with `width` columns, row-major.
    pub fn of_matrix(values: &[f32], width: usize) -> Standardiser {
        let rows: Vec<usize> = (0..values.len() / width).collect();
        Standardiser::fit(&rows, width, width, |row, out| out.copy_from_slice(&values[row * width..][..width]))
    }

    fn fit(rows: &[usize], width: usize, row_len: usize, read: impl Fn(usize, &mut [f32]) + Sync) -> Standardiser {
        let samples = (rows.len() * row_len / width).max(1) as f64;
        let sums = |add: &(dyn Fn(usize, f64) -> f64 + Sync)| -> Vec<f64> {
            let partial: Vec<Vec<f64>> = rows
                .par_chunks(BLOCK)
                .map(|block| {
                    let mut sum = vec![0.0f64; width];
                    let mut values = vec![0.0f32; row_len];
                    for &row in block {
                        read(row, &mut values);
                        for sample in values.chunks_exact(width) {
                            for (d, (s, &x)) in sum.iter_mut().zip(sample).enumerate() {
                                *s += add(d, f64::from(x));
                            }
                        }
                    }
                    sum
                })
                .collect();
            let mut total = vec![0.0f64; width];
            for part in partial {
                total.iter_mut().zip(part).for_each(|(t, p)| *t += p);
            }
            total.iter_mut().for_each(|t| *t /= samples);
            total
        };
        let mean = sums(&|_, x| x);
        let var = sums(&|d, x| (x - mean[d]).powi(2));
        let inverse = |(&v, &m): (&f64, &f64)| {
            let sd = v.sqrt();
            // A constant dimension keeps a deviation of rounding size, relative to its value: not to be blown up.
            // Its inverse has to fit into single precision too.
            if sd > 1e-7 * m.abs() && sd > 1e-37 { (1.0 / sd) as f32 } else { 1.0 }
        };
        Standardiser {
            inverse_sd: var.iter().zip(&mean).map(inverse).collect(),
            mean: mean.into_iter().map(|m| m as f32).collect(),
        }
    }

    /// Number of dimensions.
    pub fn width(&self) -> usize {
        self.mean.len()
    }

    /// Standardises rows of `width` numbers in place.
    pub fn apply(&self, values: &mut [f32]) {
        for row in values.chunks_exact_mut(self.width()) {
            for ((x, m), i) in row.iter_mut().zip(&self.mean).zip(&self.inverse_sd) {
                *x = (*x - m) * i;
            }
        }
    }

    /// Undoes [`apply`](Self::apply).
    pub fn undo(&self, values: &mut [f32]) {
        for row in values.chunks_exact_mut(self.width()) {
            for ((x, m), i) in row.iter_mut().zip(&self.mean).zip(&self.inverse_sd) {
                *x = *x / i + m;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standardised_columns_have_zero_mean_and_unit_variance_and_come_back() {
        let values: Vec<f32> =
            (0..60).map(|i| ((i * 7) % 13) as f32 * if i % 3 == 2 { 0.0 } else { 2.5 } + 4.0).collect();
        let s = Standardiser::of_matrix(&values, 3);
        let mut z = values.clone();
        s.apply(&mut z);
        for d in 0..2 {
            let column: Vec<f32> = z.iter().skip(d).step_by(3).copied().collect();
            let mean = column.iter().sum::<f32>() / 20.0;
            let var = column.iter().map(|x| x * x).sum::<f32>() / 20.0;
            assert!(mean.abs() < 1e-5 && (var - 1.0).abs() < 1e-5, "{mean} {var}");
        }
        assert!(z.iter().skip(2).step_by(3).all(|&x| x == 0.0), "a constant column becomes zero");
        s.undo(&mut z);
        assert!(z.iter().zip(&values).all(|(a, b)| (a - b).abs() < 1e-4));
    }
}
