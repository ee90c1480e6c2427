//! Losses of G cells side by side, their gradients, and what else is counted of a batch; formulas in [`crate::model::loss`].
//!
//! What is measured is a sum over the clips of a batch, one number a cell, so that parts of a batch add up. A gradient is
//! that of the same sum times `scale` (1 / clips, say) times a weight of each cell's own.

use super::api::{Buffer, GpuApi, View};
use super::kernels::affine::{BLOCK, column_sums};
use super::kernels::{cross_entropy, reconstruction};
use crate::train::Error;
use std::ops::Range;

/// The classes of clips, on the device, checked.
pub struct Labels<E: GpuApi> {
    labels: Buffer<E, i64>,
    classes: usize,
}

impl<E: GpuApi> Labels<E> {
    /// An error for a label that is not below `classes`.
    pub fn new(engine: &E, labels: &[usize], classes: usize) -> Result<Self, Error> {
        if let Some(label) = labels.iter().find(|&&label| label >= classes) {
            return Err(Error::refused(format!("a label {label} of {classes} classes")));
        }
        let numbers: Vec<i64> = labels.iter().map(|&label| label as i64).collect();
        Ok(Labels { labels: Buffer::of(engine, &numbers)?, classes })
    }

    /// Logits of G cells, (G, N, K), for the N clips of a range.
    pub fn of<'a>(&'a self, cells: usize, clips: Range<usize>, logits: View<'a>) -> Result<Classified<'a>, Error> {
        let labels = self.labels.all().part(clips.start, clips.len())?;
        logits.holds("logits", cells * clips.len() * self.classes)?;
        Ok(Classified { cells, rows: clips.len(), classes: self.classes, logits, labels })
    }
}

/// What classifiers say of clips, and the truth.
#[derive(Clone, Copy, Debug)]
pub struct Classified<'a> {
    cells: usize,
    rows: usize,
    classes: usize,
    logits: View<'a>,
    labels: View<'a, i64>,
}

impl Classified<'_> {
    /// The logits' log sum exp, (G, N).
    pub fn log_sums<E: GpuApi>(&self, engine: &E) -> Result<Buffer<E>, Error> {
        log_sums(engine, [self.cells * self.rows, self.classes], self.logits)
    }

    /// Cross-entropy, added up over the clips: (G). `sums` are [`Classified::log_sums`].
    pub fn losses<E: GpuApi>(&self, engine: &E, sums: View, total: View) -> Result<(), Error> {
        let rows = self.cells * self.rows;
        sums.holds("log sums", rows)?;
        let losses = Buffer::zeros(engine, rows)?;
        let Classified { cells, rows: n, classes, logits, labels } = *self;
        // SAFETY: sizes were checked, and labels when they were made.
        unsafe {
            cross_entropy::launch::label_losses(engine, rows, cells, n, classes, logits, sums, labels, losses.all())
        }?;
        column_sums(engine, [self.cells, self.rows, 1], losses.all(), total)
    }

    /// Clips whose first greatest logit is the label's: (G).
    pub fn hits<E: GpuApi>(&self, engine: &E, total: View) -> Result<(), Error> {
        let rows = self.cells * self.rows;
        let hits = Buffer::zeros(engine, rows)?;
        let Classified { cells, rows: n, classes, logits, labels } = *self;
        // SAFETY: as above.
        unsafe { cross_entropy::launch::label_hits(engine, rows, cells, n, classes, logits, labels, hits.all()) }?;
        column_sums(engine, [self.cells, self.rows, 1], hits.all(), total)
    }

    /// The gradient of cross-entropy, (G, N, K); `weights` (G). A cell of weight 0 gets zeros.
    pub fn gradient<E: GpuApi>(
        &self,
        engine: &E,
        sums: View,
        weights: View,
        scale: f32,
        gradient: View,
    ) -> Result<(), Error> {
        let threads = self.cells * self.rows * self.classes;
        sums.holds("log sums", self.cells * self.rows)?;
        weights.holds("weights", self.cells)?;
        gradient.holds("a gradient", threads)?;
        let Classified { cells, rows, classes, logits, labels } = *self;
        // SAFETY: as above.
        unsafe {
            cross_entropy::launch::label_gradient(
                engine, threads, cells, rows, classes, logits, sums, labels, weights, scale, gradient,
            )
        }
    }
}

/// What cells generated for clips, and the truth, which they share.
#[derive(Clone, Copy, Debug)]
pub struct Generated<'a> {
    cells: usize,
    rows: usize,
    width: usize,
    output: View<'a>,
    target: View<'a>,
}

/// log sum exp of outputs (G, N) and of targets (N).
pub struct LogSums<E: GpuApi> {
    output: Buffer<E>,
    target: Buffer<E>,
}

impl<'a> Generated<'a> {
    /// Outputs (G, N, E) and targets (N, E).
    pub fn new([cells, rows, width]: [usize; 3], output: View<'a>, target: View<'a>) -> Result<Generated<'a>, Error> {
        output.holds("outputs", cells * rows * width)?;
        target.holds("targets", rows * width)?;
        Ok(Generated { cells, rows, width, output, target })
    }

    /// The same with every block of `block` dimensions as a row of its own.
    pub fn blocks(self, block: usize) -> Result<Generated<'a>, Error> {
        if block == 0 || !self.width.is_multiple_of(block) {
            return Err(Error::refused(format!("{} dimensions in blocks of {block}", self.width)));
        }
        Ok(Generated { rows: self.rows * (self.width / block), width: block, ..self })
    }

    fn numbers(&self) -> usize {
        self.cells * self.rows * self.width
    }

    /// Adds up partial sums, (G, N, P) -> (G).
    fn total<E: GpuApi>(&self, engine: &E, partial: Buffer<E>, total: View) -> Result<(), Error> {
        column_sums(engine, [self.cells, self.rows * self.width.div_ceil(BLOCK), 1], partial.all(), total)
    }

    fn partial<E: GpuApi>(&self, engine: &E) -> Result<Buffer<E>, Error> {
        Buffer::zeros(engine, self.cells * self.rows * self.width.div_ceil(BLOCK))
    }

    /// Squared errors, added up over clips and dimensions: (G).
    pub fn squares<E: GpuApi>(&self, engine: &E, total: View) -> Result<(), Error> {
        let partial = self.partial(engine)?;
        let sums = partial.all();
        let Generated { cells, rows, width, output, target } = *self;
        // SAFETY: sizes were checked.
        unsafe {
            reconstruction::launch::squared_errors(engine, sums.len(), cells, rows, width, BLOCK, output, target, sums)
        }?;
        self.total(engine, partial, total)
    }

    /// The gradient of [`Generated::squares`], (G, N, E); `weights` (G).
    pub fn l2_gradient<E: GpuApi>(&self, engine: &E, weights: View, scale: f32, gradient: View) -> Result<(), Error> {
        weights.holds("weights", self.cells)?;
        gradient.holds("a gradient", self.numbers())?;
        let Generated { cells, rows, width, output, target } = *self;
        // SAFETY: as above.
        unsafe {
            reconstruction::launch::l2_gradient(
                engine,
                self.numbers(),
                cells,
                rows,
                width,
                output,
                target,
                weights,
                scale,
                gradient,
            )
        }
    }

    /// What the divergence and its gradient are made of.
    pub fn log_sums<E: GpuApi>(&self, engine: &E) -> Result<LogSums<E>, Error> {
        let output = log_sums(engine, [self.cells * self.rows, self.width], self.output)?;
        Ok(LogSums { output, target: log_sums(engine, [self.rows, self.width], self.target)? })
    }

    /// KL(softmax(target) || softmax(output)), added up over rows: (G).
    pub fn divergences<E: GpuApi>(&self, engine: &E, sums: &LogSums<E>, total: View) -> Result<(), Error> {
        let partial = self.partial(engine)?;
        let [output_sums, target_sums] = self.checked(sums)?;
        let Generated { cells, rows, width, output, target } = *self;
        let to = partial.all();
        // SAFETY: as above.
        unsafe {
            reconstruction::launch::divergences(
                engine,
                to.len(),
                cells,
                rows,
                width,
                BLOCK,
                output,
                output_sums,
                target,
                target_sums,
                to,
            )
        }?;
        self.total(engine, partial, total)
    }

    /// The gradient of [`Generated::divergences`], (G, N, E); `weights` (G).
    pub fn kl_gradient<E: GpuApi>(
        &self,
        engine: &E,
        sums: &LogSums<E>,
        weights: View,
        scale: f32,
        gradient: View,
    ) -> Result<(), Error> {
        weights.holds("weights", self.cells)?;
        gradient.holds("a gradient", self.numbers())?;
        let [output_sums, target_sums] = self.checked(sums)?;
        let Generated { cells, rows, width, output, target } = *self;
        // SAFETY: as above.
        unsafe {
            reconstruction::launch::kl_gradient(
                engine,
                self.numbers(),
                cells,
                rows,
                width,
                output,
                output_sums,
                target,
                target_sums,
                weights,
                scale,
                gradient,
            )
        }
    }

    fn checked<'s, E: GpuApi>(&self, sums: &'s LogSums<E>) -> Result<[View<'s>; 2], Error> {
        let output = sums.output.all().holds("log sums of outputs", self.cells * self.rows)?;
        Ok([output, sums.target.all().holds("log sums of targets", self.rows)?])
    }
}

/// log sum exp of rows, (R, E) -> (R), by way of blocks of columns.
fn log_sums<E: GpuApi>(engine: &E, [rows, width]: [usize; 2], x: View) -> Result<Buffer<E>, Error> {
    let parts = width.div_ceil(BLOCK);
    x.holds("rows", rows * width)?;
    let sums = Buffer::zeros(engine, rows * parts)?;
    // SAFETY: sizes were checked.
    unsafe { cross_entropy::launch::log_sums(engine, rows * parts, rows, width, BLOCK, x, sums.all()) }?;
    if parts <= 1 { Ok(sums) } else { log_sums(engine, [rows, parts], sums.all()) }
}
