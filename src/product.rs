//! Dense products of row-major f32 matrices, in one place: everything heavy that dfdx does not do itself goes through
//! [`product`], or through [`Packed`] where one matrix meets many small ones.
//!
//! Products run on the threads of the current rayon pool. These share rows and columns, never the inner dimension, so a
//! result does not depend on their number (tested below). Vectors are as wide as [`simd::level`] says.

use crate::scratch::Scratch;
use crate::simd::{self, Level};
use gemm_common::Parallelism;
use gemm_common::microkernel::MicroKernelFn;
use rayon::prelude::*;

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
        #[cfg(target_arch = "x86_64")]
        Level::Scalar => narrow::scalar,
        _ => gemm_f32::gemm::f32::get_gemm_fn(),
    }
}

#[cfg(target_arch = "x86_64")]
mod narrow {
    use gemm_common::Parallelism;
    use gemm_common::gemm::gemm_basic_generic;
    use gemm_common::simd::{MixedSimd, Scalar, V3};

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
    gemm_with!(avx2, V3, fma, 8);
    gemm_with!(scalar, Scalar, scalar, 1);
}

/// Micro-kernels of one kind of vectors: a tile of up to `rows` rows and `vectors` vectors of `lanes` columns.
struct Kernels {
    lanes: usize,
    vectors: usize,
    rows: usize,
    /// `table[v - 1][r - 1]` makes v vectors of r rows.
    table: &'static [&'static [MicroKernelFn<f32>]],
}

impl Kernels {
    /// Columns of a panel.
    fn wide(&self) -> usize {
        self.lanes * self.vectors
    }
}

macro_rules! kernels {
    ($module:ident, $lanes:literal, [$($v:literal),+]) => {{
        use gemm_f32::microkernel::$module::f32::{MR_DIV_N, NR, UKR};
        static ROWS: [[MicroKernelFn<f32>; NR]; MR_DIV_N] = UKR;
        static TABLE: [&[MicroKernelFn<f32>]; MR_DIV_N] = [$(&ROWS[$v]),+];
        static KERNELS: Kernels = Kernels { lanes: $lanes, vectors: MR_DIV_N, rows: NR, table: &TABLE };
        &KERNELS
    }};
}

fn kernels() -> &'static Kernels {
    match simd::level() {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => kernels!(avx512f, 16, [0, 1, 2, 3]),
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => kernels!(fma, 8, [0, 1]),
        #[cfg(target_arch = "aarch64")]
        Level::Neon => kernels!(neon, 4, [0, 1, 2, 3]),
        _ => kernels!(scalar, 1, [0, 1]),
    }
}

/// Steps of the inner dimension that a tile adds up before it touches the result again.
const DEPTH: usize = 512;

/// Panels that stay in the second-level cache while rows go by.
const GROUP: usize = 8;

/// How an inner dimension is divided; depends on nothing else.
fn depth(k: usize) -> usize {
    k.div_ceil(k.div_ceil(DEPTH).max(1)).max(1)
}

/// The right-hand side of many products with few rows each: laid out once as the gemm crate's micro-kernels read it,
/// block after block of the inner dimension, in each of them panel after panel of columns.
pub struct Packed {
    numbers: Scratch,
    /// Where `numbers` begins, so that vectors do not straddle cache lines.
    from: usize,
    k: usize,
    n: usize,
}

impl Packed {
    /// Packs a matrix.
    pub fn new(b: Mat) -> Packed {
        let ((k, n), (by_col, by_row)) = (b.shape(), b.strides());
        let kernels = kernels();
        let (wide, depth, padded) = (kernels.wide(), depth(k), n.next_multiple_of(kernels.lanes));
        let mut numbers = Scratch::take(k * padded + 16);
        let from = numbers.as_ptr().align_offset(64).min(16);
        let blocks = numbers[from..from + k * padded].chunks_mut((depth * padded).max(1));
        for (numbers, start) in blocks.zip((0..).step_by(depth)) {
            let rows = numbers.len() / padded;
            numbers.par_chunks_mut(rows * wide).enumerate().for_each(|(panel, numbers)| {
                let width = numbers.len() / rows;
                let from = &b.data[start * by_row as usize + panel * wide * by_col as usize..];
                pack(numbers, from, width.min(n - panel * wide), width, [by_row as usize, by_col as usize]);
            });
        }
        Packed { numbers, from, k, n }
    }

    /// N.
    pub fn columns(&self) -> usize {
        self.n
    }

    /// out = a b, or out += a b where `add`; a (M, K) and out (M, N), row-major.
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
        let kernels = kernels();
        let panels = n.div_ceil(kernels.wide());
        let threads = if m * n * k < 1 << 20 { 1 } else { rayon::current_num_threads() };
        // A few tasks a thread, so that one that is held up holds up little.
        let shares = if threads == 1 { 1 } else { (4 * threads).min(panels) };
        let result = Shared(out.as_mut_ptr());
        let share = |i: usize| {
            let panels = i * panels / shares..(i + 1) * panels / shares;
            // SAFETY: no two shares have a panel in common, and `out` has m rows of n numbers.
            unsafe { self.panels(kernels, &result, a, m, panels, add) };
        };
        match shares {
            1 => share(0),
            _ => (0..shares).into_par_iter().for_each(share),
        }
    }

    /// All rows times some panels.
    ///
    /// # Safety
    /// `out` has `m` rows of N numbers, and nobody else touches the columns of these panels.
    unsafe fn panels(
        &self,
        kernels: &Kernels,
        out: &Shared,
        a: &[f32],
        m: usize,
        panels: std::ops::Range<usize>,
        add: bool,
    ) {
        let (k, n, wide, depth) = (self.k, self.n, kernels.wide(), depth(self.k));
        let padded = n.next_multiple_of(kernels.lanes);
        for first in (0..k).step_by(depth) {
            let deep = depth.min(k - first);
            for group in panels.clone().step_by(GROUP) {
                for row in (0..m).step_by(kernels.rows) {
                    let height = kernels.rows.min(m - row);
                    let left = &a[row * k + first..(row + height - 1) * k + first + deep];
                    for panel in group..(group + GROUP).min(panels.end) {
                        let (width, columns) = (wide.min(padded - panel * wide), wide.min(n - panel * wide));
                        let right = &self.numbers[self.from + first * padded + panel * wide * deep..][..width * deep];
                        let kernel = kernels.table[columns.div_ceil(kernels.lanes) - 1][height - 1];
                        // SAFETY: the tile lies inside `out` (the caller's promise), `right` holds `deep` rows of the
                        // panel, `left` as many numbers of `height` rows, and the machine has these vectors.
                        unsafe {
                            #[rustfmt::skip]
                            kernel(
                                columns, height, deep,
                                out.0.add(row * n + panel * wide),
                                right.as_ptr(), left.as_ptr(),
                                n as isize, 1,
                                width as isize, 1, k as isize,
                                1.0, 1.0, u8::from(add || first > 0),
                                false, false, false, std::ptr::null(),
                            );
                        }
                    }
                }
            }
        }
    }
}

/// Fills a panel of `width` columns, `used` of which the matrix has.
fn pack(panel: &mut [f32], from: &[f32], used: usize, width: usize, [by_row, by_col]: [usize; 2]) {
    if by_col == 1 {
        for (to, from) in panel.chunks_exact_mut(width).zip(from.chunks(by_row)) {
            to[..used].copy_from_slice(&from[..used]);
        }
    } else {
        // A few rows at a time, so that what is written column by column stays in the cache.
        for (rows, start) in panel.chunks_mut(width * 32).zip((0..).step_by(32)) {
            for column in 0..used {
                let from = from[column * by_col + start..].iter();
                rows[column..].iter_mut().step_by(width).zip(from).for_each(|(t, f)| *t = *f);
            }
        }
    }
    if used < width {
        panel.chunks_exact_mut(width).for_each(|to| to[used..].fill(0.0));
    }
}

/// Where tasks write.
struct Shared(*mut f32);

// SAFETY: every task writes to numbers of its own.
unsafe impl Sync for Shared {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    fn random(n: usize, seed: u64) -> Vec<f32> {
        let mut stream = Stream::new(seed, "test");
        (0..n).map(|_| stream.normal() as f32).collect()
    }

    fn naive(a: &[f32], b: &[f32], m: usize, k: usize, n: usize) -> Vec<f32> {
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
    fn packed_products_agree_with_plain_ones_on_any_number_of_threads() {
        for (m, k, n) in [(7, 13, 5), (128, 512, 700), (33, 1200, 130), (1, 40, 257), (200, 64, 64)] {
            let (a, b, start) = (random(m * k, 5), random(k * n, 6), random(m * n, 7));
            let transposed: Vec<f32> = (0..k * n).map(|i| b[(i % k) * n + i / k]).collect();
            let mut want = start.clone();
            product(&mut want, Mat::new(&a, m, k), Mat::new(&b, k, n), 1.0, true);
            for threads in [1, 2, 5] {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                for b in [Mat::new(&b, k, n), Mat::new(&transposed, n, k).t()] {
                    let mut out = start.clone();
                    pool.install(|| Packed::new(b).product(&mut out, &a, true));
                    let apart = out.iter().zip(&want).map(|(o, w)| (o - w).abs()).fold(0.0, f32::max);
                    assert!(apart < 1e-4, "{m} x {k} x {n} on {threads} threads: {apart}");
                    if threads > 1 {
                        let mut one = start.clone();
                        Packed::new(b).product(&mut one, &a, true);
                        assert!(one == out, "{m} x {k} x {n} on {threads} threads");
                    }
                }
            }
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
