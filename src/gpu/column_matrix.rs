//! Matrices with a column for each of many problems, and what conjugate gradients do with them: columns are chosen, scaled
//! and added, and sums over rows are taken of each, in double precision. Kernels in `kernels/columns.cu`.

use super::api::{Buffer, Factor, GpuApi, Product, View};
use super::kernels::columns::launch as columns;
use crate::train::Error;
use std::ops::Range;

/// A matrix with a column for each problem, row-major and without gaps.
#[derive(Clone, Copy, Debug)]
pub struct ColumnMatrix<'a> {
    numbers: View<'a>,
    rows: usize,
    width: usize,
}

impl<'a> ColumnMatrix<'a> {
    /// (`rows`, `width`) at the beginning of `numbers`; an error where there are not so many.
    pub fn new(numbers: View<'a>, rows: usize, width: usize) -> Result<Self, Error> {
        Ok(ColumnMatrix { numbers: numbers.part(0, rows * width)?, rows, width })
    }

    /// Its rows `rows`.
    pub fn rows(self, rows: Range<usize>) -> Result<Self, Error> {
        let numbers = self.numbers.part(rows.start * self.width, rows.len() * self.width)?;
        Ok(ColumnMatrix { numbers, rows: rows.len(), ..self })
    }

    /// Its numbers, row after row.
    pub fn numbers(self) -> View<'a> {
        self.numbers
    }

    /// How many columns.
    pub fn width(self) -> usize {
        self.width
    }

    /// Its rows and columns.
    pub(super) fn sizes(self) -> [usize; 2] {
        [self.rows, self.width]
    }

    /// How many numbers.
    pub(super) fn len(self) -> usize {
        self.rows * self.width
    }

    /// An error unless `other` has the same rows and columns.
    pub(super) fn like(self, other: ColumnMatrix) -> Result<(), Error> {
        self.shaped(other.rows, other.width)
    }

    /// An error unless it has so many rows and columns.
    pub(super) fn shaped(self, rows: usize, width: usize) -> Result<(), Error> {
        if (self.rows, self.width) != (rows, width) {
            let (r, w) = (self.rows, self.width);
            return Err(Error::refused(format!("a matrix of {r} x {w} on the device, {rows} x {width} is needed")));
        }
        Ok(())
    }

    /// An error unless `of` has the same rows and `index` names a column of it for each of these.
    pub(super) fn indexed<E: GpuApi>(self, index: &Index<E>, of: ColumnMatrix) -> Result<(), Error> {
        of.shaped(self.rows, of.width)?;
        if index.len != self.width || index.end > of.width {
            let (named, end, width) = (index.len, index.end, of.width);
            return Err(Error::refused(format!("{named} columns up to {end} of a matrix with {width} columns")));
        }
        Ok(())
    }

    /// Becomes columns `index` of `from`.
    pub fn select<E: GpuApi>(self, engine: &E, from: ColumnMatrix, index: &Index<E>) -> Result<(), Error> {
        self.indexed(index, from)?;
        let [rows, width] = self.sizes();
        // SAFETY: sizes and columns were checked.
        unsafe {
            columns::select_columns(
                engine,
                self.len(),
                rows,
                width,
                from.numbers,
                from.width,
                index.numbers(),
                self.numbers,
            )
        }
    }

    /// Its columns `index` += by from; `by` has a number for each column of `from`.
    pub fn add<E: GpuApi>(self, engine: &E, index: &Index<E>, by: View, from: ColumnMatrix) -> Result<(), Error> {
        from.indexed(index, self)?;
        by.holds("factors", from.width)?;
        let [rows, width] = from.sizes();
        // SAFETY: sizes and columns were checked, and no column is named twice.
        unsafe {
            columns::add_columns(
                engine,
                from.len(),
                rows,
                width,
                self.numbers,
                self.width,
                index.numbers(),
                by,
                from.numbers,
            )
        }
    }

    /// v = z + by v; `by` has a number for each column.
    pub fn turn<E: GpuApi>(self, engine: &E, by: View, z: ColumnMatrix) -> Result<(), Error> {
        self.like(z)?;
        by.holds("factors", self.width)?;
        let [rows, width] = self.sizes();
        // SAFETY: sizes were checked.
        unsafe { columns::turn_columns(engine, self.len(), rows, width, self.numbers, by, z.numbers) }
    }

    /// Becomes a b, or where `add`, this is added to it; a is (rows, `inner`), or its transpose where so marked.
    pub fn product<E: GpuApi>(self, engine: &E, a: Factor, b: ColumnMatrix, add: bool) -> Result<(), Error> {
        b.shaped(b.rows, self.width)?;
        let (b_factor, out) = (Factor::new(b.numbers, 0), Factor::new(self.numbers, 0));
        Product { cells: 1, sizes: [self.rows, b.rows, self.width], a, b: b_factor, out, add }.run(engine)
    }
}

/// Some columns of a matrix, on the device: in rising order, so none twice.
pub struct Index<E: GpuApi> {
    numbers: Buffer<E, i64>,
    len: usize,
    end: usize,
}

impl<E: GpuApi> Index<E> {
    /// An error where they do not rise.
    pub fn new(engine: &E, columns: &[usize]) -> Result<Self, Error> {
        if columns.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err(Error::refused("columns that do not rise"));
        }
        let numbers: Vec<i64> = columns.iter().map(|&column| column as i64).collect();
        let end = columns.last().map_or(0, |last| last + 1);
        Ok(Index { numbers: Buffer::of(engine, &numbers)?, len: columns.len(), end })
    }

    /// The columns.
    pub(super) fn numbers(&self) -> View<'_, i64> {
        self.numbers.all()
    }
}

/// Sums over rows of every column, read together: each is begun by a kernel, and all are read at once.
pub struct Sums<E: GpuApi> {
    partial: Buffer<E, f64>,
    totals: Buffer<E, f64>,
    /// Rows that one thread sums where they come in pieces.
    block: usize,
    /// Totals that are on their way.
    begun: usize,
}

impl<E: GpuApi> Sums<E> {
    /// Room for `together` sums of matrices with up to `rows` rows, in up to two pieces, and `width` columns; a kernel makes
    /// up to 3 of them at once.
    pub fn new(engine: &E, rows: usize, width: usize, together: usize) -> Result<Self, Error> {
        let block = block(rows);
        Ok(Sums {
            partial: Buffer::zeros(engine, parts(rows, block) * 3 * width)?,
            totals: Buffer::zeros(engine, together * width)?,
            block,
            begun: 0,
        })
    }

    /// Begins sums of the products of two matrices, number by number.
    pub fn dot(&mut self, engine: &E, a: ColumnMatrix, b: ColumnMatrix) -> Result<(), Error> {
        a.like(b)?;
        self.begin(engine, &[a.rows], [a.width, 1], &mut |_, part, sums| {
            let PartialSums { threads, rows, width, block } = part;
            // SAFETY: both matrices have the sizes that the kernel is told, and it makes one sum of each column.
            unsafe { columns::column_dots(engine, threads, rows, width, block, a.numbers, b.numbers, sums) }
        })
    }

    /// Begins `of` sums of each of `width` columns by way of partial ones, (parts, `of`, `width`), which `launch` has a
    /// kernel make. Rows come in pieces of so many; it is given a piece's place among them, sizes, and where the
    /// partial sums go.
    pub(super) fn begin(
        &mut self,
        engine: &E,
        pieces: &[usize],
        [width, of]: [usize; 2],
        launch: &mut LaunchSums,
    ) -> Result<(), Error> {
        let block = match pieces {
            [rows] => block(*rows),
            _ => self.block,
        };
        let mut made = 0;
        for (piece, &rows) in pieces.iter().enumerate() {
            let parts = rows.div_ceil(block);
            let sums = self.partial.all().part(made * of * width, parts * of * width)?;
            launch(piece, PartialSums { threads: parts * width, rows, width, block }, sums)?;
            made += parts;
        }
        let totals = self.totals.all().part(self.begun, of * width)?;
        let partial = self.partial.all().holds("partial sums", made * of * width)?;
        // SAFETY: sizes were checked.
        unsafe { columns::add_parts(engine, of * width, made, of * width, partial, totals) }?;
        self.begun += of * width;
        Ok(())
    }

    /// Waits for all that was begun, in that order.
    pub fn read(&mut self, engine: &E) -> Result<Vec<f64>, Error> {
        let totals = self.totals.all().part(0, self.begun)?;
        self.begun = 0;
        totals.read(engine)
    }
}

/// What a kernel that makes partial sums is told: a thread for each, and rows and columns, with so many rows a thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct PartialSums {
    pub threads: usize,
    pub rows: usize,
    pub width: usize,
    pub block: usize,
}

/// Has a kernel make partial sums of a piece of the rows, by its place.
pub(super) type LaunchSums<'a> = dyn FnMut(usize, PartialSums, View<f64>) -> Result<(), Error> + 'a;

/// Bytes that [`Sums::new`] takes.
pub fn sums_bytes(rows: usize, width: usize, together: usize) -> usize {
    (parts(rows, block(rows)) * 3 + together) * width * size_of::<f64>()
}

/// Rows that one thread sums: about as many as there are partial sums then.
fn block(rows: usize) -> usize {
    rows.isqrt().max(16)
}

/// Partial sums of rows in up to two pieces.
fn parts(rows: usize, block: usize) -> usize {
    rows.div_ceil(block) + 1
}
