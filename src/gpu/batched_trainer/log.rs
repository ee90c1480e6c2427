//! What is measured, kept on the device until the end of an epoch.

use crate::gpu::api::{Buffer, GpuApi, View};
use crate::train::Error;
use std::ops::Range;

/// What a step writes to the log, for every cell: sums over the clips that it worked on.
#[derive(Clone, Copy)]
pub(super) enum Sum {
    Classes,
    Hits,
    Squares,
    Divergences,
}

/// Kinds of [`Sum`].
pub(super) const SUMS: usize = 4;

/// Sums on the device, (pieces, [`SUMS`], G).
pub(super) struct Log<E: GpuApi> {
    pub(super) numbers: Buffer<E>,
    pub(super) cells: usize,
}

impl<E: GpuApi> Log<E> {
    pub(super) fn new(engine: &E, pieces: usize, cells: usize) -> Result<Self, Error> {
        Ok(Log { numbers: Buffer::zeros(engine, pieces * SUMS * cells)?, cells })
    }

    pub(super) fn at(&self, piece: usize, sum: Sum, cells: &Range<usize>) -> Result<View<'_>, Error> {
        self.numbers.all().part((piece * SUMS + sum as usize) * self.cells + cells.start, cells.len())
    }
}

/// Rows that are worked on at once.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) rows: Range<usize>,
    /// Whether reconstruction is measured; for silent clips it is not.
    pub(super) sounded: bool,
    /// Clips of the batch that it is a part of.
    pub(super) batch: usize,
    /// Whether it is the batch's first, and its last.
    pub(super) ends: [bool; 2],
}
