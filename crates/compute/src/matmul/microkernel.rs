//! The gemm crate's micro-kernels, which both its own products and those of [`super::Packed`] are made of.

use super::blocking::Blocking;
use crate::simd::{self, Level};
use gemm_common::microkernel::MicroKernelFn;

/// Micro-kernels of one kind of vectors: a tile of up to `rows` rows and `vectors` vectors of `lanes` columns.
pub struct Kernels {
    /// Numbers in a vector.
    pub(super) lanes: usize,
    vectors: usize,
    rows: usize,
    /// `table[v - 1][r - 1]` makes v vectors of r rows.
    table: &'static [&'static [MicroKernelFn<f32>]],
}

/// Numbers that a tile reads one row after another: number (r, l) lies at `r * by_row + l * by_step`.
#[derive(Clone, Copy)]
pub struct Left<'a, N> {
    pub(super) numbers: &'a [N],
    pub(super) by_row: usize,
    pub(super) by_step: usize,
}

/// A tile of a result: `columns` of `rows` rows, `by_row` apart.
#[derive(Clone, Copy)]
pub struct Tile {
    pub(super) out: *mut f32,
    pub(super) by_row: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
}

impl Kernels {
    /// Columns of a panel.
    pub(super) fn wide(&self) -> usize {
        self.lanes * self.vectors
    }

    /// Rows of the highest tile.
    pub(super) fn highest(&self) -> usize {
        self.rows
    }

    /// How products with them are cut.
    pub(super) fn blocking(&self) -> Blocking {
        Blocking::of(self.wide(), self.rows)
    }

    /// Divides rows into tiles, (first row, height). A tile takes no less time than one of four rows does, so a short one that
    /// would be left over shares its rows with the one before it.
    pub(super) fn tiles(&self, rows: usize) -> impl Iterator<Item = (usize, usize)> + Clone {
        let most = self.rows;
        let whole = rows / most * most;
        let shared = if rows - whole < most.min(4) && whole > 0 && whole < rows { whole - most } else { whole };
        let halves = if shared < whole { 2 } else { 1 };
        let rest = rows - shared;
        let tail = (0..halves).map(move |i| (shared + i * rest / halves, (i + 1) * rest / halves - i * rest / halves));
        (0..shared).step_by(most).map(move |row| (row, most)).chain(tail.filter(|(_, height)| *height > 0))
    }

    /// tile = left panel, or tile += left panel where `add`; the panel has `deep` rows of `width` numbers.
    ///
    /// # Safety
    /// The tile can be written, and nobody else touches it.
    #[inline]
    pub(super) unsafe fn run(&self, tile: Tile, left: Left<f32>, panel: &[f32], [deep, width]: [usize; 2], add: bool) {
        let Tile { out, by_row, rows, columns } = tile;
        assert!(panel.len() == deep * width && columns <= width && deep > 0);
        assert!(left.numbers.len() > (rows - 1) * left.by_row + (deep - 1) * left.by_step);
        let kernel = self.table[((columns - 1) >> self.lanes.trailing_zeros()).min(self.vectors - 1)][rows - 1];
        // SAFETY: the tile can be written (the caller's promise), panel and left-hand side hold what is read (asserted), and
        // the machine has these vectors.
        unsafe {
            #[rustfmt::skip]
            kernel(
                columns, rows, deep,
                out,
                panel.as_ptr(), left.numbers.as_ptr(),
                by_row as isize, 1,
                width as isize, left.by_step as isize, left.by_row as isize,
                1.0, 1.0, u8::from(add),
                false, false, false, std::ptr::null(),
            );
        }
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

/// Those of the machine.
pub(super) fn kernels() -> &'static Kernels {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_are_all_rows_once_and_as_high_as_they_can_be() {
        let kernels = kernels();
        for rows in 0..40 {
            let mut next = 0;
            for (first, height) in kernels.tiles(rows) {
                assert_eq!(first, next);
                assert!((1..=kernels.rows).contains(&height), "{rows}");
                assert!(height >= kernels.rows / 2 || rows < kernels.rows, "{rows} rows: one of {height}");
                next += height;
            }
            assert_eq!(next, rows);
        }
    }
}
