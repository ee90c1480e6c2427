//! Parts of row-major matrices that several threads write at once.

use super::microkernel::Tile;
use std::marker::PhantomData;

/// A rectangle of a row-major matrix, other parts of which may be in use on other threads.
pub struct MatMut<'a, N = f32> {
    first: *mut N,
    by_row: usize,
    rows: usize,
    columns: usize,
    matrix: PhantomData<&'a mut [N]>,
}

// SAFETY: as the slice that it is a part of; no two rectangles share a number.
unsafe impl<N: Send> Send for MatMut<'_, N> {}

impl<'a, N> MatMut<'a, N> {
    /// All of a matrix.
    pub fn whole(matrix: &'a mut [N], columns: usize) -> MatMut<'a, N> {
        let rows = matrix.len() / columns.max(1);
        MatMut { first: matrix.as_mut_ptr(), by_row: columns, rows, columns, matrix: PhantomData }
    }

    /// Its parts of so many rows and columns, each with its first row and column, those below one another first; the last ones may
    /// have fewer.
    ///
    /// # Panics
    /// If that is none.
    pub fn parts(self, [rows, columns]: [usize; 2]) -> impl Iterator<Item = ([usize; 2], MatMut<'a, N>)> {
        let MatMut { by_row, rows: all_rows, columns: all, .. } = self;
        (0..all).step_by(columns).flat_map(move |column| {
            (0..all_rows).step_by(rows).map(move |row| {
                // SAFETY: inside a row that there is.
                let first = unsafe { self.first.add(row * by_row + column) };
                let (rows, columns) = (rows.min(all_rows - row), columns.min(all - column));
                ([row, column], MatMut { first, by_row, rows, columns, matrix: PhantomData })
            })
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
    pub fn row(&mut self, row: usize) -> &mut [N] {
        assert!(row < self.rows, "a row of {}", self.rows);
        // SAFETY: the row is one of the matrix, which is borrowed mutably, and these columns are nobody else's.
        unsafe { std::slice::from_raw_parts_mut(self.first.add(row * self.by_row), self.columns) }
    }
}

impl MatMut<'_> {
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
    fn parts_are_all_numbers_once() {
        for (rows, columns, high, wide) in
            [(3, 10, 2, 4), (1, 4, 3, 4), (5, 3, 1, 9), (0, 5, 2, 2), (4, 0, 2, 3), (7, 6, 3, 2)]
        {
            let mut matrix = vec![0.0; rows * columns];
            for ([first, column], mut part) in MatMut::whole(&mut matrix, columns).parts([high, wide]) {
                for row in 0..part.shape().0 {
                    let number = |at: usize| ((first + row) * 100 + column + at + 1) as f32;
                    part.row(row).iter_mut().enumerate().for_each(|(at, v)| *v += number(at));
                }
            }
            let want = (0..rows * columns).map(|at| (at / columns * 100 + at % columns + 1) as f32);
            assert_eq!(matrix, want.collect::<Vec<_>>());
        }
    }
}
