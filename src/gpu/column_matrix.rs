//! Matrices with a column for each of many problems, and what conjugate gradients do with them: columns are chosen, scaled
//! and added, and sums over rows are taken of each, in double precision. Kernels in `kernels.cu`.

use super::api::{Argument, Buffer, Factor, GpuApi, Kernel, Product, View};
use super::kernels::{at, count};
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

    /// Where it begins, for a kernel.
    pub(super) fn at(self) -> Argument {
        at(self.numbers)
    }

    /// Its sizes, for a kernel.
    pub(super) fn sizes(self) -> [Argument; 2] {
        [count(self.rows), count(self.width)]
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
        let arguments = [rows, width, from.at(), count(from.width), index.at(), self.at()];
        // SAFETY: the kernel's arguments in its order; sizes and columns were checked.
        unsafe { engine.launch(Kernel("select_columns"), self.len(), &arguments) }
    }

    /// Its columns `index` += by from; `by` has a number for each column of `from`.
    pub fn add<E: GpuApi>(self, engine: &E, index: &Index<E>, by: View, from: ColumnMatrix) -> Result<(), Error> {
        from.indexed(index, self)?;
        by.holds("factors", from.width)?;
        let [rows, width] = from.sizes();
        let arguments = [rows, width, self.at(), count(self.width), index.at(), at(by), from.at()];
        // SAFETY: the kernel's arguments in its order; sizes and columns were checked, and no column is named twice.
        unsafe { engine.launch(Kernel("add_columns"), from.len(), &arguments) }
    }

    /// v = z + by v; `by` has a number for each column.
    pub fn turn<E: GpuApi>(self, engine: &E, by: View, z: ColumnMatrix) -> Result<(), Error> {
        self.like(z)?;
        by.holds("factors", self.width)?;
        let [rows, width] = self.sizes();
        // SAFETY: the kernel's arguments in its order; sizes were checked.
        unsafe { engine.launch(Kernel("turn_columns"), self.len(), &[rows, width, self.at(), at(by), z.at()]) }
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

    /// Where it begins, for a kernel.
    pub(super) fn at(&self) -> Argument {
        at(self.numbers.all())
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
        // SAFETY: the kernel makes one sum of each column, and both matrices have the sizes that it is told.
        unsafe {
            self.begin(engine, Kernel("column_dots"), &[a.rows], [a.width, 1], &mut |_, sizes, sums| {
                Ok([&sizes[..], &[a.at(), b.at(), sums]].concat())
            })
        }
    }

    /// Begins `of` sums of each of `width` columns by a kernel that makes partial ones, (parts, `of`, `width`). Rows come in
    /// pieces of so many; `arguments` makes the kernel's of a piece's place among them, of rows, columns and rows of a
    /// thread, and of where partial sums go.
    ///
    /// # Safety
    /// The kernel is one that makes such sums, and what `arguments` gives it has the sizes that it is told.
    pub(super) unsafe fn begin(
        &mut self,
        engine: &E,
        kernel: Kernel,
        pieces: &[usize],
        [width, of]: [usize; 2],
        arguments: &mut dyn FnMut(usize, [Argument; 3], Argument) -> Result<Vec<Argument>, Error>,
    ) -> Result<(), Error> {
        let block = match pieces {
            [rows] => block(*rows),
            _ => self.block,
        };
        let mut made = 0;
        for (piece, &rows) in pieces.iter().enumerate() {
            let parts = rows.div_ceil(block);
            let sums = self.partial.all().part(made * of * width, parts * of * width)?;
            let arguments = arguments(piece, [count(rows), count(width), count(block)], at(sums))?;
            // SAFETY: the caller's promise; there is room for the partial sums.
            unsafe { engine.launch(kernel, parts * width, &arguments) }?;
            made += parts;
        }
        let totals = self.totals.all().part(self.begun, of * width)?;
        self.partial.all().holds("partial sums", made * of * width)?;
        let arguments = [count(made), count(of * width), at(self.partial.all()), at(totals)];
        // SAFETY: the kernel's arguments in its order; sizes were checked.
        unsafe { engine.launch(Kernel("add_parts"), of * width, &arguments) }?;
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
