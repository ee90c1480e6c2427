//! Dense products of row-major f32 matrices, in one place: everything heavy that dfdx does not do itself goes through
//! [`product`], or through [`Packed`] where a matrix lies as products read it.
//!
//! Products run on the threads of the current rayon pool. These share rows and columns, never the inner dimension, so a
//! result does not depend on their number (tested below). Vectors are as wide as [`simd::level`] says.

pub mod bf16;
mod blocking;
mod mat_mut;
mod microkernel;
mod number;
mod packed;
mod products;

use crate::simd::{self, Level};
use gemm_common::Parallelism;
pub use mat_mut::MatMut;
pub use packed::{Packed, Panels, Places};
pub use products::{Factors, task};

/// A row-major matrix, or the transpose of one.
#[derive(Clone, Copy)]
pub struct Mat<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    transposed: bool,
}

impl<'a> Mat<'a> {
    /// A matrix of `rows` x `cols` numbers, row after row.
    ///
    /// # Panics
    /// If `data` holds another number of numbers.
    pub fn new(data: &'a [f32], rows: usize, cols: usize) -> Mat<'a> {
        assert_eq!(data.len(), rows * cols, "a {rows} x {cols} matrix");
        Mat { data, rows, cols, transposed: false }
    }

    /// Its transpose, without moving anything.
    pub fn t(self) -> Mat<'a> {
        Mat { transposed: !self.transposed, ..self }
    }

    fn shape(&self) -> (usize, usize) {
        if self.transposed { (self.cols, self.rows) } else { (self.rows, self.cols) }
    }

    /// (column stride, row stride).
    fn strides(&self) -> (isize, isize) {
        let long = self.cols as isize;
        if self.transposed { (long, 1) } else { (1, long) }
    }
}

/// out = alpha a b, or out += alpha a b where `add`. `out` is row-major.
///
/// # Panics
/// If the shapes do not fit.
pub fn product(out: &mut [f32], a: Mat, b: Mat, alpha: f32, add: bool) {
    let ((m, k), (k2, n)) = (a.shape(), b.shape());
    assert_eq!(k, k2, "inner dimensions");
    assert_eq!(out.len(), m * n, "a {m} x {n} result");
    if m == 0 || n == 0 {
        return;
    }
    if k == 0 {
        if !add {
            out.fill(0.0);
        }
        return;
    }
    let ((acs, ars), (bcs, brs)) = (a.strides(), b.strides());
    let threads = rayon::current_num_threads();
    let parallelism = if threads > 1 { Parallelism::Rayon(threads) } else { Parallelism::None };
    let kernel = gemm();
    // The kernel likes a column-major result, so out^T = b^T a^T is computed.
    // SAFETY: pointers and strides describe the three slices, whose lengths were checked against the shapes; `out` is
    // borrowed mutably, so it overlaps neither input.
    unsafe {
        #[rustfmt::skip]
        kernel(
            n, m, k,
            out.as_mut_ptr(), n as isize, 1, add,
            b.data.as_ptr(), brs, bcs,
            a.data.as_ptr(), ars, acs,
            1.0, alpha,
            false, false, false,
            parallelism,
        );
    }
}

type Gemm = unsafe fn(
    usize,
    usize,
    usize,
    *mut f32,
    isize,
    isize,
    bool,
    *const f32,
    isize,
    isize,
    *const f32,
    isize,
    isize,
    f32,
    f32,
    bool,
    bool,
    bool,
    Parallelism,
);

/// The gemm crate chooses the widest vectors itself; narrower ones are asked for by name.
fn gemm() -> Gemm {
    match simd::level() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => narrow::avx2,
        Level::Scalar => narrow::scalar,
        _ => gemm_f32::gemm::f32::get_gemm_fn(),
    }
}

mod narrow {
    use gemm_common::Parallelism;
    use gemm_common::gemm::gemm_basic_generic;
    use gemm_common::simd::{MixedSimd, Scalar};

    macro_rules! gemm_with {
        ($name:ident, $simd:ty, $module:ident, $lanes:literal) => {
            /// # Safety
            /// As for the gemm crate's function.
            #[allow(clippy::too_many_arguments)]
            pub(super) unsafe fn $name(
                m: usize,
                n: usize,
                k: usize,
                dst: *mut f32,
                dst_cs: isize,
                dst_rs: isize,
                read_dst: bool,
                lhs: *const f32,
                lhs_cs: isize,
                lhs_rs: isize,
                rhs: *const f32,
                rhs_cs: isize,
                rhs_rs: isize,
                alpha: f32,
                beta: f32,
                conj_dst: bool,
                conj_lhs: bool,
                conj_rhs: bool,
                parallelism: Parallelism,
            ) {
                use gemm_f32::microkernel::$module::f32::{H_M, H_N, H_UKR, MR_DIV_N, NR, UKR};
                let Some(simd) = <$simd as MixedSimd<f32, f32, f32, f32>>::try_new() else { return };
                // SAFETY: the caller's promise.
                unsafe {
                    #[rustfmt::skip]
                    gemm_basic_generic::<_, f32, $lanes, { MR_DIV_N * $lanes }, NR, MR_DIV_N, H_M, H_N>(
                        simd, m, n, k, dst, dst_cs, dst_rs, read_dst, lhs, lhs_cs, lhs_rs, rhs, rhs_cs, rhs_rs,
                        alpha, beta, conj_dst, conj_lhs, conj_rhs, |a, b, c| a * b + c, &UKR, &H_UKR, false,
                        parallelism,
                    );
                }
            }
        };
    }
    #[cfg(target_arch = "x86_64")]
    gemm_with!(avx2, gemm_common::simd::V3, fma, 8);
    gemm_with!(scalar, Scalar, scalar, 1);
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::rng::Rng;

    pub(super) fn random(n: usize, seed: u64) -> Vec<f32> {
        let mut stream = Rng::new(seed, "test");
        (0..n).map(|_| stream.normal() as f32).collect()
    }

    /// (M, K, N) of products.
    pub(super) const SHAPES: [[usize; 3]; 6] =
        [[7, 13, 5], [128, 512, 700], [33, 2500, 130], [1, 40, 257], [200, 64, 64], [500, 9, 17]];

    /// The transpose.
    pub(super) fn turned(a: &[f32], rows: usize, cols: usize) -> Vec<f32> {
        (0..rows * cols).map(|i| a[(i % rows) * cols + i / rows]).collect()
    }

    pub(super) fn naive(a: &[f32], b: &[f32], m: usize, k: usize, n: usize) -> Vec<f32> {
        let mut out = vec![0.0; m * n];
        for i in 0..m {
            for j in 0..n {
                out[i * n + j] = (0..k).map(|l| f64::from(a[i * k + l]) * f64::from(b[l * n + j])).sum::<f64>() as f32;
            }
        }
        out
    }

    #[test]
    fn products_and_transposes_agree_with_the_definition() {
        let (m, k, n) = (7, 13, 5);
        let (a, b) = (random(m * k, 1), random(k * n, 2));
        let want = naive(&a, &b, m, k, n);
        let transpose =
            |x: &[f32], r: usize, c: usize| -> Vec<f32> { (0..r * c).map(|i| x[(i % r) * c + i / r]).collect() };
        let (at, bt) = (transpose(&a, m, k), transpose(&b, k, n));
        for (a, b) in [
            (Mat::new(&a, m, k), Mat::new(&b, k, n)),
            (Mat::new(&at, k, m).t(), Mat::new(&b, k, n)),
            (Mat::new(&a, m, k), Mat::new(&bt, n, k).t()),
        ] {
            let mut out = vec![1.0; m * n];
            product(&mut out, a, b, 1.0, false);
            assert!(out.iter().zip(&want).all(|(o, w)| (o - w).abs() < 1e-5));
            product(&mut out, a, b, 2.0, true);
            assert!(out.iter().zip(&want).all(|(o, w)| (o - 3.0 * w).abs() < 1e-4));
        }
    }

    #[test]
    fn a_product_is_the_same_on_any_number_of_threads() {
        for (m, k, n) in [(300, 517, 260), (1, 700, 300), (2304, 96, 256), (64, 1200, 3)] {
            let (a, b) = (random(m * k, 3), random(k * n, 4));
            let run = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let mut out = vec![0.0; m * n];
                pool.install(|| product(&mut out, Mat::new(&a, m, k), Mat::new(&b, k, n), 1.0, false));
                out
            };
            let one = run(1);
            for threads in [2, 3, 8] {
                assert!(one == run(threads), "{m} x {k} x {n} on {threads} threads");
            }
        }
    }
}
