//! The inverse of a symmetric positive definite matrix, from products alone but for small blocks.

use crate::matmul::{Mat, product};

/// Widths up to which a block is inverted number by number.
const SMALL: usize = 48;

/// The root of the sum of squares: at least the largest eigenvalue of a symmetric matrix.
pub(super) fn norm(matrix: &[f32]) -> f64 {
    matrix.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt()
}

/// The inverse of a symmetric positive definite matrix (N, N), in f32: good to its condition times 1e-7, which is enough
/// for a preconditioner. By halves, with the Schur complement S = D - B^T A^-1 B:
///
/// (A B; B^T D)^-1 = (A^-1 + E S^-1 E^T, -E S^-1; -S^-1 E^T, S^-1), E = A^-1 B.
pub(super) fn inverse_of(matrix: &[f32], n: usize) -> Vec<f32> {
    if n <= SMALL {
        return small(matrix, n);
    }
    let (h, t) = (n / 2, n - n / 2);
    let part = |rows: std::ops::Range<usize>, cols: std::ops::Range<usize>| -> Vec<f32> {
        rows.flat_map(|i| matrix[i * n..][cols.clone()].iter().copied()).collect()
    };
    let a = inverse_of(&part(0..h, 0..h), h);
    let b = part(0..h, h..n);
    let mut e = vec![0.0; h * t];
    product(&mut e, Mat::new(&a, h, h), Mat::new(&b, h, t), 1.0, false);
    let mut s = part(h..n, h..n);
    product(&mut s, Mat::new(&b, h, t).t(), Mat::new(&e, h, t), -1.0, true);
    let s = inverse_of(&s, t);
    let mut es = vec![0.0; h * t];
    product(&mut es, Mat::new(&e, h, t), Mat::new(&s, t, t), 1.0, false);
    let mut first = a;
    product(&mut first, Mat::new(&es, h, t), Mat::new(&e, h, t).t(), 1.0, true);
    let mut out = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..=i {
            // The lower half is made the upper one's mirror, so that the result is symmetric to the last bit.
            let value = match (i < h, j < h) {
                (true, _) => first[i * h + j],
                (false, true) => -es[j * t + i - h],
                (false, false) => s[(i - h) * t + j - h],
            };
            out[i * n + j] = value;
            out[j * n + i] = value;
        }
    }
    out
}

/// Gauss and Jordan without pivoting, in f64.
fn small(matrix: &[f32], n: usize) -> Vec<f32> {
    let mut m: Vec<f64> = matrix.iter().map(|v| f64::from(*v)).collect();
    for k in 0..n {
        // A pivot that rounding made negative: the matrix was not definite to f32's precision.
        let pivot = if m[k * n + k] > 0.0 { m[k * n + k] } else { f64::from(f32::EPSILON) };
        let row: Vec<f64> = m[k * n..][..n].iter().map(|v| v / pivot).collect();
        for i in (0..n).filter(|i| *i != k) {
            let factor = m[i * n + k];
            m[i * n..][..n].iter_mut().zip(&row).for_each(|(v, r)| *v -= factor * r);
            m[i * n + k] = -factor / pivot;
        }
        m[k * n..][..n].copy_from_slice(&row);
        m[k * n + k] = 1.0 / pivot;
    }
    m.into_iter().map(|v| v as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn a_matrix_times_its_inverse_is_one() {
        for n in [1, 7, 48, 49, 200] {
            let mut stream = Rng::new(n as u64, "test");
            let x: Vec<f32> = (0..2 * n * n).map(|_| stream.normal() as f32).collect();
            let mut m = vec![0.0; n * n];
            product(&mut m, Mat::new(&x, 2 * n, n).t(), Mat::new(&x, 2 * n, n), 1.0, false);
            m.iter_mut().step_by(n + 1).for_each(|v| *v += 1.0);
            let inverse = inverse_of(&m, n);
            let mut one = vec![0.0; n * n];
            product(&mut one, Mat::new(&m, n, n), Mat::new(&inverse, n, n), 1.0, false);
            for (i, v) in one.iter().enumerate() {
                let want = if i % (n + 1) == 0 { 1.0 } else { 0.0 };
                assert!((v - want).abs() < 1e-3, "{n}: {v} at {i}");
            }
        }
    }
}
