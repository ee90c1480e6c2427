//! Losses of G cells side by side, their gradients, and what else is counted of a batch; formulas in [`crate::model::loss`].
//!
//! What is measured is a sum over the clips of a batch, one number a cell, so that parts of a batch add up. A gradient is
//! that of the same sum times `scale` (1 / clips, say) times a weight of each cell's own.

use super::api::{Argument, Buffer, GpuApi, Kernel, View};
use super::kernels::{BLOCK, at, column_sums, count};
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
    fn sizes(&self) -> [Argument; 3] {
        [count(self.cells), count(self.rows), count(self.classes)]
    }

    /// The logits' log sum exp, (G, N).
    pub fn log_sums<E: GpuApi>(&self, engine: &E) -> Result<Buffer<E>, Error> {
        log_sums(engine, [self.cells * self.rows, self.classes], self.logits)
    }

    /// Cross-entropy, added up over the clips: (G). `sums` are [`Classified::log_sums`].
    pub fn losses<E: GpuApi>(&self, engine: &E, sums: View, total: View) -> Result<(), Error> {
        let rows = self.cells * self.rows;
        sums.holds("log sums", rows)?;
        let losses = Buffer::zeros(engine, rows)?;
        let [cells, n, k] = self.sizes();
        let arguments = [cells, n, k, at(self.logits), at(sums), at(self.labels), at(losses.all())];
        // SAFETY: the kernel's arguments in its order; sizes were checked, and labels when they were made.
        unsafe { engine.launch(Kernel("label_losses"), rows, &arguments) }?;
        column_sums(engine, [self.cells, self.rows, 1], losses.all(), total)
    }

    /// Clips whose first greatest logit is the label's: (G).
    pub fn hits<E: GpuApi>(&self, engine: &E, total: View) -> Result<(), Error> {
        let rows = self.cells * self.rows;
        let hits = Buffer::zeros(engine, rows)?;
        let [cells, n, k] = self.sizes();
        let arguments = [cells, n, k, at(self.logits), at(self.labels), at(hits.all())];
        // SAFETY: as above.
        unsafe { engine.launch(Kernel("label_hits"), rows, &arguments) }?;
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
        let [cells, n, k] = self.sizes();
        #[rustfmt::skip]
        let arguments = [
            cells, n, k, at(self.logits), at(sums), at(self.labels), at(weights), Argument::Number(scale), at(gradient),
        ];
        // SAFETY: as above.
        unsafe { engine.launch(Kernel("label_gradient"), threads, &arguments) }
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

    fn sizes(&self) -> [Argument; 3] {
        [count(self.cells), count(self.rows), count(self.width)]
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
        let [cells, n, e] = self.sizes();
        let arguments = [cells, n, e, count(BLOCK), at(self.output), at(self.target), at(sums)];
        // SAFETY: the kernel's arguments in its order; sizes were checked.
        unsafe { engine.launch(Kernel("squared_errors"), sums.len(), &arguments) }?;
        self.total(engine, partial, total)
    }

    /// The gradient of [`Generated::squares`], (G, N, E); `weights` (G).
    pub fn l2_gradient<E: GpuApi>(&self, engine: &E, weights: View, scale: f32, gradient: View) -> Result<(), Error> {
        weights.holds("weights", self.cells)?;
        gradient.holds("a gradient", self.numbers())?;
        let [cells, n, e] = self.sizes();
        #[rustfmt::skip]
        let arguments = [
            cells, n, e, at(self.output), at(self.target), at(weights), Argument::Number(scale), at(gradient),
        ];
        // SAFETY: as above.
        unsafe { engine.launch(Kernel("l2_gradient"), self.numbers(), &arguments) }
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
        let [cells, n, e] = self.sizes();
        #[rustfmt::skip]
        let arguments = [
            cells, n, e, count(BLOCK), at(self.output), output_sums, at(self.target), target_sums, at(partial.all()),
        ];
        // SAFETY: as above.
        unsafe { engine.launch(Kernel("divergences"), partial.all().len(), &arguments) }?;
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
        let [cells, n, e] = self.sizes();
        #[rustfmt::skip]
        let arguments = [
            cells, n, e, at(self.output), output_sums, at(self.target), target_sums, at(weights),
            Argument::Number(scale), at(gradient),
        ];
        // SAFETY: as above.
        unsafe { engine.launch(Kernel("kl_gradient"), self.numbers(), &arguments) }
    }

    fn checked<E: GpuApi>(&self, sums: &LogSums<E>) -> Result<[Argument; 2], Error> {
        let output = sums.output.all().holds("log sums of outputs", self.cells * self.rows)?;
        Ok([at(output), at(sums.target.all().holds("log sums of targets", self.rows)?)])
    }
}

/// log sum exp of rows, (R, E) -> (R), by way of blocks of columns.
fn log_sums<E: GpuApi>(engine: &E, [rows, width]: [usize; 2], x: View) -> Result<Buffer<E>, Error> {
    let parts = width.div_ceil(BLOCK);
    x.holds("rows", rows * width)?;
    let sums = Buffer::zeros(engine, rows * parts)?;
    let arguments = [count(rows), count(width), count(BLOCK), at(x), at(sums.all())];
    // SAFETY: the kernel's arguments in its order; sizes were checked.
    unsafe { engine.launch(Kernel("log_sums"), rows * parts, &arguments) }?;
    if parts <= 1 { Ok(sums) } else { log_sums(engine, [rows, parts], sums.all()) }
}
