//! What an affine map needs beside its products: its bias, and sums over rows, which the gradient of a bias is.

use super::launcher::kernels;
use crate::gpu::api::{Buffer, GpuApi, View};
use crate::train::Error;

kernels! { "affine":
    add_bias(cells: usize, rows: usize, width: usize, y: View, bias: View);
    column_sums(cells: usize, rows: usize, width: usize, block: usize, numbers: View, sums: View);
}

/// Numbers that one thread sums: enough threads to fill a device, few enough partial sums.
pub(in crate::gpu) const BLOCK: usize = 64;

/// Sums over rows, (G, N, E) -> (G, E), in an order that depends on N alone: partial sums, and sums of these.
pub fn column_sums<E: GpuApi>(
    engine: &E,
    [cells, rows, width]: [usize; 3],
    numbers: View,
    sums: View,
) -> Result<(), Error> {
    sums.holds("sums", cells * width)?;
    let parts = rows.div_ceil(BLOCK);
    if parts <= 1 {
        return partial_sums(engine, [cells, rows, width], BLOCK, numbers, sums);
    }
    let partial = Buffer::zeros(engine, cells * parts * width)?;
    partial_sums(engine, [cells, rows, width], BLOCK, numbers, partial.all())?;
    column_sums(engine, [cells, parts, width], partial.all(), sums)
}

/// [`column_sums`] that are added to what `sums` holds where `add`.
pub fn collect_sums<E: GpuApi>(
    engine: &E,
    [cells, rows, width]: [usize; 3],
    numbers: View,
    sums: View,
    add: bool,
) -> Result<(), Error> {
    if !add {
        return column_sums(engine, [cells, rows, width], numbers, sums);
    }
    let beside = Buffer::zeros(engine, cells * width)?;
    column_sums(engine, [cells, rows, width], numbers, beside.all())?;
    add_bias(engine, [1, 1, cells * width], sums, beside.all())
}

/// Sums over blocks of rows, (G, N, E) -> (G, ceil(N / block), E).
pub fn partial_sums<E: GpuApi>(
    engine: &E,
    [cells, rows, width]: [usize; 3],
    block: usize,
    numbers: View,
    sums: View,
) -> Result<(), Error> {
    if block == 0 {
        return Err(Error::refused("sums over blocks of no rows"));
    }
    let threads = cells * rows.div_ceil(block) * width;
    numbers.holds("rows to sum", cells * rows * width)?;
    sums.holds("sums", threads)?;
    // SAFETY: sizes were checked.
    unsafe { launch::column_sums(engine, threads, cells, rows, width, block, numbers, sums) }
}

/// Adds a bias (G, E) to every row of y (G, N, E).
pub fn add_bias<E: GpuApi>(engine: &E, [cells, rows, width]: [usize; 3], y: View, bias: View) -> Result<(), Error> {
    y.holds("y", cells * rows * width)?;
    bias.holds("the bias", cells * width)?;
    // SAFETY: sizes were checked.
    unsafe { launch::add_bias(engine, cells * rows * width, cells, rows, width, y, bias) }
}
