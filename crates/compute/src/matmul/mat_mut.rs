//! Parts of row-major matrices that several threads write at once.

use super::microkernel::Tile;
use std::marker::PhantomData;

/// A rectangle of a row-major matrix, other parts of which may be in use on other threads.
pub struct MatMut<'a> {
    first: *mut f32,
    by_row: usize,
    rows: usize,
    columns: usize,
    matrix: PhantomData<&'a mut [f32]>,
}

// SAFETY: as the slice that it is a part of; no two rectangles share a number.
unsafe impl Send for MatMut<'_> {}

impl<'a> MatMut<'a> {
    /// All of a matrix.
    pub fn whole(matrix: &'a mut [f32], columns: usize) -> MatMut<'a> {
        let rows = matrix.len() / columns.max(1);
        MatMut { first: matrix.as_mut_ptr(), by_row: columns, rows, columns, matrix: PhantomData }
    }

    /// Its columns in chunks of so many; the last one may have fewer.
    ///
    /// # Panics
    /// If that is none.
    pub fn column_chunks(self, columns: usize) -> impl Iterator<Item = MatMut<'a>> {
        let MatMut { by_row, rows, columns: all, .. } = self;
        (0..all).step_by(columns).map(move |from| {
            // SAFETY: inside the first row, if there is one.
            let first = if rows == 0 { self.first } else { unsafe { self.first.add(from) } };
            MatMut { first, by_row, rows, columns: columns.min(all - from), matrix: PhantomData }
        })
    }

    /// (rows, columns).
    pub fn shape(&self) -> (usize, usize) {
        (self.rows, self.columns)
    }

    /// Its part of a row.
    ///
    /// # Panics
    /// If there is no such row.
    #[inline(always)]
    pub fn row(&mut self, row: usize) -> &mut [f32] {
        assert!(row < self.rows, "a row of {}", self.rows);
        // SAFETY: the row is one of the matrix, which is borrowed mutably, and these columns are nobody else's.
        unsafe { std::slice::from_raw_parts_mut(self.first.add(row * self.by_row), self.columns) }
    }

    /// A part of it, for a micro-kernel.
    ///
    /// # Panics
    /// If it is none.
    pub(super) fn tile(&mut self, [row, column]: [usize; 2], [rows, columns]: [usize; 2]) -> Tile {
        assert!(row + rows <= self.rows && column + columns <= self.columns, "a part of {:?}", self.shape());
        // SAFETY: inside the rectangle.
        Tile { out: unsafe { self.first.add(row * self.by_row + column) }, by_row: self.by_row, rows, columns }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_all_columns_once() {
        for (rows, columns, wide) in [(3, 10, 4), (1, 4, 4), (2, 3, 9), (0, 5, 2), (4, 0, 3)] {
            let mut matrix = vec![0.0; rows * columns];
            for (i, mut part) in MatMut::whole(&mut matrix, columns).column_chunks(wide).enumerate() {
                for row in 0..part.shape().0 {
                    part.row(row).iter_mut().for_each(|v| *v += (row * 100 + i + 1) as f32);
                }
            }
            let want = (0..rows * columns).map(|at| (at / columns * 100 + at % columns / wide + 1) as f32);
            assert_eq!(matrix, want.collect::<Vec<_>>());
        }
    }
}
