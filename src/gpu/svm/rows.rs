//! Rows on the device, and products with them.

use super::work::block;
use crate::gpu::api::{Buffer, Factor, GpuApi};
use crate::gpu::column_matrix::{ColumnMatrix, Index};
use crate::score::solver::{InMemory, Rows};
use crate::train::Error;
use std::collections::BTreeMap;
use std::ops::Range;

/// A matrix with `width` columns, turned over.
pub(super) fn transposed(numbers: &[f32], width: usize) -> Vec<f32> {
    let rows = numbers.len() / width.max(1);
    (0..numbers.len()).map(|i| numbers[i % rows * width + i / rows]).collect()
}

/// Rows on the device.
pub(super) struct OnRows<'a, E: GpuApi> {
    pub(super) engine: &'a E,
    pub(super) free: u64,
    /// (N, D + 1).
    pub(super) x: Buffer<E>,
    /// (N).
    pub(super) labels: Buffer<E, i64>,
    pub(super) rows: usize,
    pub(super) width: usize,
    pub(super) c: f32,
    pub(super) tolerance: f64,
    /// X^T X, on the host; empty until it is asked for.
    pub(super) gram: Vec<f32>,
    /// Preconditioners by their level, on the host.
    pub(super) inverses: BTreeMap<i32, Vec<f32>>,
    /// The one that is on the device, and its level.
    pub(super) inverse: Buffer<E>,
    pub(super) level: Option<i32>,
    /// The same rows for the problems that the host solves.
    pub(super) host: InMemory,
}

impl<'a, E: GpuApi> OnRows<'a, E> {
    pub(super) fn new(engine: &'a E, rows: Rows, free: u64) -> Result<Self, Error> {
        let (x, width, labels) = (&rows.x, rows.width, &rows.labels);
        // One problem at least has to have room, before anything is copied.
        block(labels.len(), width, 1, free).map_err(Error::Memory)?;
        let numbers: Vec<i64> = labels.iter().map(|&label| label as i64).collect();
        Ok(OnRows {
            x: Buffer::of(engine, x)?,
            labels: Buffer::of(engine, &numbers)?,
            inverse: Buffer::zeros(engine, width * width)?,
            rows: labels.len(),
            width,
            c: rows.c,
            tolerance: rows.tolerance,
            free,
            gram: Vec::new(),
            inverses: BTreeMap::new(),
            level: None,
            engine,
            host: InMemory::for_the_dual(rows),
        })
    }

    /// X of some rows.
    pub(super) fn x(&self, rows: &Range<usize>) -> Result<Factor<'_>, Error> {
        Ok(Factor::new(self.x.all().part(rows.start * self.width, rows.len() * self.width)?, 0))
    }

    /// A matrix (N, `width`).
    pub(super) fn long<'b>(&self, buffer: &'b Buffer<E>, width: usize) -> Result<ColumnMatrix<'b>, Error> {
        ColumnMatrix::new(buffer.all(), self.rows, width)
    }

    /// A matrix (D + 1, `width`).
    pub(super) fn short<'b>(&self, buffer: &'b Buffer<E>, width: usize) -> Result<ColumnMatrix<'b>, Error> {
        ColumnMatrix::new(buffer.all(), self.width, width)
    }

    /// X v for the rows of all pieces: v (D + 1, W) -> out (N, W).
    pub(super) fn forward(&self, pieces: &[Range<usize>], v: ColumnMatrix, out: ColumnMatrix) -> Result<(), Error> {
        pieces.iter().try_for_each(|piece| out.rows(piece.clone())?.product(self.engine, self.x(piece)?, v, false))
    }

    /// out += X^T a over the rows of all pieces: a (N, W), out (D + 1, W).
    pub(super) fn backward(&self, pieces: &[Range<usize>], a: ColumnMatrix, out: ColumnMatrix) -> Result<(), Error> {
        pieces.iter().try_for_each(|piece| out.product(self.engine, self.x(piece)?.t(), a.rows(piece.clone())?, true))
    }

    /// to += by from, (N, W), over the rows of all pieces.
    pub(super) fn move_along(
        &self,
        pieces: &[Range<usize>],
        to: ColumnMatrix,
        index: &Index<E>,
        by: &Buffer<E>,
        from: ColumnMatrix,
    ) -> Result<(), Error> {
        pieces
            .iter()
            .try_for_each(|piece| to.rows(piece.clone())?.add(self.engine, index, by.all(), from.rows(piece.clone())?))
    }
}
