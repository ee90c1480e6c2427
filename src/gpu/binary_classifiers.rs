//! The kernels of SVMs in training: one function each, with what it is given checked. A machine tells one class from the
//! others; formulas in `kernels/svm.cu` and [`compute::svm`].

use super::api::{Buffer, GpuApi, View};
use super::column_matrix::{ColumnMatrix, Index, PartialSums, Sums};
use super::kernels::svm::launch;
use crate::train::Error;
use std::ops::Range;

/// Some of P machines.
pub struct BinaryClassifiers<E: GpuApi> {
    index: Index<E>,
    classes: Buffer<E, i64>,
}

/// Rows that machines are trained on: pieces of all N, and the class of each of the N.
#[derive(Clone, Copy)]
pub struct Learned<'a> {
    /// Pieces, in rising order.
    pub pieces: &'a [Range<usize>],
    /// (N).
    pub labels: View<'a, i64>,
    /// 2 C.
    pub c2: f32,
}

impl<E: GpuApi> BinaryClassifiers<E> {
    /// BinaryClassifiers `places` of those with `classes`; an error where places do not rise or are too many.
    pub fn new(engine: &E, classes: &[usize], places: &[usize]) -> Result<Self, Error> {
        let class = |&place: &usize| {
            let missing = || Error::refused(format!("machine {place} of {}", classes.len()));
            classes.get(place).map(|&class| class as i64).ok_or_else(missing)
        };
        let numbers = places.iter().map(class).collect::<Result<Vec<i64>, Error>>()?;
        Ok(BinaryClassifiers { index: Index::new(engine, places)?, classes: Buffer::of(engine, &numbers)? })
    }

    /// Their columns among all machines'.
    pub fn index(&self) -> &Index<E> {
        &self.index
    }

    /// Slopes of the losses: a (N, W) from decision values z (N, P).
    pub fn slopes(&self, engine: &E, rows: &Learned, z: ColumnMatrix, a: ColumnMatrix) -> Result<(), Error> {
        for piece in rows.pieces {
            let labels = rows.labels.part(piece.start, piece.len())?;
            let (z, a) = (z.rows(piece.clone())?, a.rows(piece.clone())?);
            a.indexed(&self.index, z)?;
            let [r, w] = a.sizes();
            let (index, classes) = (self.index.numbers(), self.classes.all());
            // SAFETY: sizes and columns were checked.
            unsafe {
                launch::svm_slopes(
                    engine,
                    a.len(),
                    r,
                    w,
                    z.numbers(),
                    z.width(),
                    index,
                    labels,
                    classes,
                    rows.c2,
                    a.numbers(),
                )
            }?;
        }
        Ok(())
    }

    /// Begins what a line search asks at z + t xs: z (N, P), xs (N, W), t (W); two sums of each machine.
    pub fn line(
        &self,
        engine: &E,
        rows: &Learned,
        z: ColumnMatrix,
        xs: ColumnMatrix,
        t: View,
        sums: &mut Sums<E>,
    ) -> Result<(), Error> {
        t.holds("steps", xs.width())?;
        sums.begin(engine, &lengths(rows.pieces), [xs.width(), 2], &mut |piece, part, sums| {
            let (piece, PartialSums { threads, rows: r, width, block }) = (&rows.pieces[piece], part);
            let labels = rows.labels.part(piece.start, piece.len())?;
            let (z, xs) = (z.rows(piece.clone())?, xs.rows(piece.clone())?);
            xs.indexed(&self.index, z)?;
            let (index, classes) = (self.index.numbers(), self.classes.all());
            // SAFETY: sizes and columns were checked, and the kernel makes two sums of each column.
            unsafe {
                launch::svm_line(
                    engine,
                    threads,
                    r,
                    width,
                    block,
                    z.numbers(),
                    z.width(),
                    index,
                    labels,
                    classes,
                    xs.numbers(),
                    t,
                    sums,
                )
            }
        })
    }
}

/// Begins sums over the slopes a (N, W): of their squares, of their magnitudes, and how many there are.
pub fn losses<E: GpuApi>(
    engine: &E,
    pieces: &[Range<usize>],
    a: ColumnMatrix,
    sums: &mut Sums<E>,
) -> Result<(), Error> {
    sums.begin(engine, &lengths(pieces), [a.width(), 3], &mut |piece, part, sums| {
        let a = a.rows(pieces[piece].clone())?;
        let PartialSums { threads, rows, width, block } = part;
        // SAFETY: the matrix has the size that the kernel is told, which makes three sums of each column.
        unsafe { launch::svm_losses(engine, threads, rows, width, block, a.numbers(), sums) }
    })
}

/// 2 C X v where rows have a loss: `out` from `xv`, (N, V) both, where column i belongs to column `index[i]` of the slopes
/// a (N, W).
pub fn lossy<E: GpuApi>(
    engine: &E,
    rows: &Learned,
    a: ColumnMatrix,
    index: &Index<E>,
    xv: ColumnMatrix,
    out: ColumnMatrix,
) -> Result<(), Error> {
    for piece in rows.pieces {
        let (a, xv, out) = (a.rows(piece.clone())?, xv.rows(piece.clone())?, out.rows(piece.clone())?);
        xv.indexed(index, a)?;
        xv.like(out)?;
        let [r, w] = xv.sizes();
        let (slopes, x) = (a.numbers(), xv.numbers());
        // SAFETY: sizes and columns were checked.
        unsafe {
            launch::svm_lossy(engine, xv.len(), r, w, slopes, a.width(), index.numbers(), x, rows.c2, out.numbers())
        }?;
    }
    Ok(())
}

fn lengths(pieces: &[Range<usize>]) -> Vec<usize> {
    pieces.iter().map(Range::len).collect()
}
