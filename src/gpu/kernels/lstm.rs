//! One step of G LSTMs, forward and backward.

use super::launcher::kernels;
use crate::gpu::api::{GpuApi, View};
use crate::train::Error;

kernels! { "lstm":
    gates_forward(
        cells: usize, batch: usize, hidden: usize, a: View, a_stride: usize, bias: View, c_before: View, c: View, h: View,
        state_stride: usize, tanh_c: View, tanh_stride: usize,
    );
    gates_backward(
        cells: usize, batch: usize, hidden: usize, gates: View, a_stride: usize, c_before: View, state_stride: usize,
        tanh_c: View, tanh_stride: usize, dh: View, dc: View,
    );
}

/// Numbers from the first cell's to the end of the last cell's.
fn span(cells: usize, stride: usize, size: usize) -> usize {
    cells.saturating_sub(1) * stride + size
}

/// G LSTMs of one step: G cells, B clips, H numbers of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// G.
    pub cells: usize,
    /// B.
    pub batch: usize,
    /// H.
    pub hidden: usize,
    /// Numbers from one cell's gates to the next one's.
    pub gates: usize,
    /// The same for c and h.
    pub state: usize,
    /// The same for tanh c.
    pub tanh: usize,
}

impl Step {
    fn threads(&self) -> usize {
        self.cells * self.batch * self.hidden
    }
}

/// What a step reads and writes, from its own beginning on.
#[derive(Clone, Copy, Debug)]
pub struct Trace<'a> {
    /// (G, B, 4H): x W + h U before, activations after; backward their gradients.
    pub gates: View<'a>,
    /// c of the step before, (G, B, H).
    pub c_before: View<'a>,
    /// c, (G, B, H).
    pub c: View<'a>,
    /// tanh c, (G, B, H).
    pub tanh_c: View<'a>,
    /// h, (G, B, H).
    pub h: View<'a>,
}

impl Trace<'_> {
    fn check(&self, s: &Step) -> Result<(), Error> {
        let one = s.batch * s.hidden;
        self.gates.holds("gates", span(s.cells, s.gates, 4 * one))?;
        self.c_before.holds("c before", span(s.cells, s.state, one))?;
        self.c.holds("c", span(s.cells, s.state, one))?;
        self.h.holds("h", span(s.cells, s.state, one))?;
        self.tanh_c.holds("tanh c", span(s.cells, s.tanh, one))?;
        Ok(())
    }
}

/// A step forward; `bias` (G, 4H).
pub fn gates_forward<E: GpuApi>(engine: &E, s: &Step, trace: &Trace, bias: View) -> Result<(), Error> {
    trace.check(s)?;
    bias.holds("the bias", s.cells * 4 * s.hidden)?;
    let Trace { gates, c_before, c, tanh_c, h } = *trace;
    // SAFETY: sizes were checked.
    unsafe {
        launch::gates_forward(
            engine,
            s.threads(),
            s.cells,
            s.batch,
            s.hidden,
            gates,
            s.gates,
            bias,
            c_before,
            c,
            h,
            s.state,
            tanh_c,
            s.tanh,
        )
    }
}

/// A step backward; `dh` and `dc` (G, B, H) without gaps.
pub fn gates_backward<E: GpuApi>(engine: &E, s: &Step, trace: &Trace, dh: View, dc: View) -> Result<(), Error> {
    trace.check(s)?;
    dh.holds("dh", s.threads())?;
    dc.holds("dc", s.threads())?;
    let Trace { gates, c_before, tanh_c, .. } = *trace;
    // SAFETY: sizes were checked.
    unsafe {
        launch::gates_backward(
            engine,
            s.threads(),
            s.cells,
            s.batch,
            s.hidden,
            gates,
            s.gates,
            c_before,
            s.state,
            tanh_c,
            s.tanh,
            dh,
            dc,
        )
    }
}
