//! G LSTMs on one input, formulas as in [`compute::nn::lstm`], each with numbers of its own: what one cell computes does not
//! depend on its company.
//!
//! Forward: one product for all frames of all cells, then for each step one small product and one kernel. Backward: the
//! same in reverse, then one product each for dW and dU over all steps. All in one queue, and nothing waits.

use super::api::{Buffer, Factor, GpuApi, Product, View};
use super::kernels::affine::collect_sums;
use super::kernels::lstm::{Step, Trace as At, gates_backward, gates_forward};
use crate::train::Error;

/// Sizes of G LSTMs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// G.
    pub cells: usize,
    /// T.
    pub steps: usize,
    /// B.
    pub batch: usize,
    /// D_v.
    pub input: usize,
    /// H.
    pub hidden: usize,
}

impl Shape {
    /// Numbers of one cell's state, B H.
    fn state(&self) -> usize {
        self.batch * self.hidden
    }

    fn step(&self) -> Step {
        Step {
            cells: self.cells,
            batch: self.batch,
            hidden: self.hidden,
            gates: self.steps * 4 * self.state(),
            state: (self.steps + 1) * self.state(),
            tanh: self.steps * self.state(),
        }
    }

    /// h U or its transpose in a step: (B, H) x (H, 4H).
    fn recurrent(&self) -> [usize; 3] {
        [self.batch, self.hidden, 4 * self.hidden]
    }

    /// Bytes of a [`Trace`] and of what a backward pass takes beside it.
    pub fn bytes(&self) -> usize {
        let numbers = self.steps * 4 + 2 * (self.steps + 1) + self.steps + 2;
        self.cells * self.state() * numbers * size_of::<f32>()
    }
}

/// What the backward pass needs of the forward pass.
pub struct Trace<E: GpuApi> {
    /// Gate activations, (G, T, B, 4H); the backward pass leaves their gradients here.
    gates: Buffer<E>,
    /// c_0 to c_T, (G, T + 1, B, H).
    c: Buffer<E>,
    /// tanh of c_1 to c_T, (G, T, B, H).
    tanh_c: Buffer<E>,
    /// h_0 to h_T, (G, T + 1, B, H).
    h: Buffer<E>,
    shape: Shape,
}

impl<E: GpuApi> Trace<E> {
    /// Room for one, with h_0 = c_0 = 0.
    pub fn new(engine: &E, shape: Shape) -> Result<Self, Error> {
        let step = shape.step();
        let zeros = |stride: usize| Buffer::zeros(engine, shape.cells * stride);
        Ok(Trace {
            gates: zeros(step.gates)?,
            c: zeros(step.state)?,
            tanh_c: zeros(step.tanh)?,
            h: zeros(step.state)?,
            shape,
        })
    }

    /// h_T of one cell, (B, H).
    pub fn last(&self, cell: usize) -> Result<View<'_>, Error> {
        let (one, stride) = (self.shape.state(), self.shape.step().state);
        self.h.all().part(cell * stride + self.shape.steps * one, one)
    }

    /// What the step that makes h_{t+1} reads and writes.
    fn at(&self, t: usize) -> Result<At<'_>, Error> {
        let one = self.shape.state();
        Ok(At {
            gates: self.gates.all().from(t * 4 * one)?,
            c_before: self.c.all().from(t * one)?,
            c: self.c.all().from((t + 1) * one)?,
            tanh_c: self.tanh_c.all().from(t * one)?,
            h: self.h.all().from((t + 1) * one)?,
        })
    }
}

/// Runs x (T B, D_v) through the LSTMs; w (G, D_v, 4H), u (G, H, 4H), b (G, 4H).
pub fn forward<E: GpuApi>(engine: &E, x: View, [w, u, b]: [View; 3], trace: &Trace<E>) -> Result<(), Error> {
    let s = trace.shape;
    let (step, wide) = (s.step(), 4 * s.hidden);
    let all = Factor::new(trace.gates.all(), step.gates);
    let sizes = [s.steps * s.batch, s.input, wide];
    let (x, w) = (Factor::new(x, 0), Factor::new(w, s.input * wide));
    Product { cells: s.cells, sizes, a: x, b: w, out: all, add: false }.run(engine)?;
    for t in 0..s.steps {
        let at = trace.at(t)?;
        if t > 0 {
            let before = Factor::new(trace.h.all().from(t * s.state())?, step.state);
            let (u, out) = (Factor::new(u, s.hidden * wide), Factor::new(at.gates, step.gates));
            Product { cells: s.cells, sizes: s.recurrent(), a: before, b: u, out, add: true }.run(engine)?;
        }
        gates_forward(engine, &step, &at, b)?;
    }
    Ok(())
}

/// From dh_T, (G, B, H), which becomes dh_1: dW, dU and db, shaped as what they are gradients of, or where `add`, what is
/// added to them. The trace is used up.
pub fn backward<E: GpuApi>(
    engine: &E,
    x: View,
    u: View,
    trace: Trace<E>,
    dh: View,
    [dw, du, db]: [View; 3],
    add: bool,
) -> Result<(), Error> {
    let s = trace.shape;
    let (step, wide, one) = (s.step(), 4 * s.hidden, s.state());
    let dc = Buffer::zeros(engine, s.cells * one)?;
    for t in (0..s.steps).rev() {
        let at = trace.at(t)?;
        gates_backward(engine, &step, &at, dh, dc.all())?;
        if t > 0 {
            let [m, k, n] = s.recurrent();
            let (da, u) = (Factor::new(at.gates, step.gates), Factor::new(u, s.hidden * wide).t());
            let out = Factor::new(dh, one);
            Product { cells: s.cells, sizes: [m, n, k], a: da, b: u, out, add: false }.run(engine)?;
        }
    }
    let rows = s.steps * s.batch;
    let (x, da) = (Factor::new(x, 0).t(), Factor::new(trace.gates.all(), step.gates));
    let out = Factor::new(dw, s.input * wide);
    Product { cells: s.cells, sizes: [s.input, rows, wide], a: x, b: da, out, add }.run(engine)?;
    collect_sums(engine, [s.cells, rows, wide], trace.gates.all(), db, add)?;
    // h_{t-1} meets a_t: all steps in one product. h_0 = 0 adds nothing and is left out.
    let later = rows - s.batch;
    if later == 0 {
        return if add { Ok(()) } else { du.fill_zeros(engine) };
    }
    let before = Factor::new(trace.h.all().from(one)?, step.state).t();
    let after = Factor::new(trace.gates.all().from(4 * one)?, step.gates);
    let out = Factor::new(du, s.hidden * wide);
    Product { cells: s.cells, sizes: [s.hidden, later, wide], a: before, b: after, out, add }.run(engine)
}
