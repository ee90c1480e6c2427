//! What trains the machines of a bank: the CPU ([`OnCpu`]), or an engine ([`crate::gpu::svm`]).

use super::error::Error;
use compute::svm::{self, Fit, Prepared, Problem, TrainingSet};
use std::ops::Range;

/// What the machines of a bank learn from.
#[derive(Clone, Debug)]
pub struct Rows {
    /// Features with a last column of 1, (N, D + 1), row-major.
    pub x: Vec<f32>,
    /// D + 1.
    pub width: usize,
    /// Class of each row.
    pub labels: Vec<usize>,
    /// Weight of the losses.
    pub c: f32,
    /// Relative error of the objective to stop at.
    pub tolerance: f64,
}

/// A device that trains linear SVMs (formulas in [`svm`]).
pub trait Solver {
    /// Lays out rows that machines are trained on.
    fn load<'a>(&'a self, rows: Rows) -> Result<Box<dyn Loaded + 'a>, Error>;

    /// Decision values W X^T, (P, N), of rows x (N, `width`) by weights (P, `width`).
    fn decisions(&self, x: &[f32], width: usize, weights: &[f32]) -> Result<Vec<f32>, Error>;
}

/// Rows where a solver wants them.
pub trait Loaded {
    /// Trains every problem on all rows but those left out, from the given weights (P, D + 1), in place.
    fn train(&mut self, out: Range<usize>, problems: &[Problem], weights: &mut [f32]) -> Result<Vec<Fit>, Error>;

    /// Decision values of the rows, (P, rows).
    fn decisions(&mut self, rows: Range<usize>, weights: &[f32]) -> Result<Vec<f32>, Error>;
}

/// The CPU.
#[derive(Clone, Copy, Debug, Default)]
pub struct OnCpu;

impl Solver for OnCpu {
    fn load<'a>(&'a self, rows: Rows) -> Result<Box<dyn Loaded + 'a>, Error> {
        Ok(Box::new(InMemory::new(rows)))
    }

    fn decisions(&self, x: &[f32], width: usize, weights: &[f32]) -> Result<Vec<f32>, Error> {
        Ok(svm::decisions(x, width, weights))
    }
}

/// Rows turned so that those left out come first and the others are a slice.
pub(crate) struct InMemory {
    rows: Rows,
    prepared: Prepared,
    /// The rows that `prepared` lacks; nothing where it lacks all.
    laid_out: Option<Range<usize>>,
    /// Which row comes first.
    first: usize,
}

impl InMemory {
    fn new(rows: Rows) -> InMemory {
        InMemory { prepared: Prepared::new(&rows.x, rows.width), laid_out: Some(0..0), first: 0, rows }
    }

    /// For problems that elsewhere have turned out to be ones for the dual, if there are any: nothing is laid out yet.
    pub(crate) fn for_the_dual(rows: Rows) -> InMemory {
        let mut prepared = Prepared::new(&[], rows.width);
        prepared.begin_with_the_dual();
        InMemory { prepared, laid_out: None, first: 0, rows }
    }

    /// Brings a row to the front.
    fn turn(&mut self, to: usize) {
        let n = self.rows.labels.len();
        let by = (to + n - self.first) % n.max(1);
        self.rows.x.rotate_left(by * self.rows.width);
        self.rows.labels.rotate_left(by);
        self.first = to;
    }
}

impl Loaded for InMemory {
    fn train(&mut self, out: Range<usize>, problems: &[Problem], weights: &mut [f32]) -> Result<Vec<Fit>, Error> {
        self.turn(out.start);
        let Rows { x, width, labels, c, tolerance } = &self.rows;
        let rest = &x[out.len() * width..];
        if self.laid_out.as_ref() != Some(&out) {
            self.prepared.turn_to(rest, *width);
            self.laid_out = Some(out.clone());
        }
        let shared = TrainingSet { x: rest, width: *width, labels: &labels[out.len()..], c: *c, tolerance: *tolerance };
        Ok(svm::train_with(&shared, problems, weights, &mut self.prepared))
    }

    fn decisions(&mut self, rows: Range<usize>, weights: &[f32]) -> Result<Vec<f32>, Error> {
        self.turn(rows.start);
        Ok(svm::decisions(&self.rows.x[..rows.len() * self.rows.width], self.rows.width, weights))
    }
}
