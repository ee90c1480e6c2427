//! One function for each kernel of `kernels.cu`, where formulas and shapes stand: each checks that what it is given has the
//! sizes that the kernel will touch.

use super::api::{Argument, Buffer, GpuApi, Kernel, View};
use crate::train::Error;
use bytemuck::Pod;

pub(super) fn count(n: usize) -> Argument {
    Argument::Count(n as i64)
}

pub(super) fn at<T: Pod>(view: View<T>) -> Argument {
    Argument::Address(view.address())
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
    #[rustfmt::skip]
    let arguments = [
        count(s.cells), count(s.batch), count(s.hidden), at(gates), count(s.gates), at(bias), at(c_before), at(c), at(h),
        count(s.state), at(tanh_c), count(s.tanh),
    ];
    // SAFETY: the kernel's arguments in its order; sizes were checked.
    unsafe { engine.launch(Kernel("gates_forward"), s.threads(), &arguments) }
}

/// A step backward; `dh` and `dc` (G, B, H) without gaps.
pub fn gates_backward<E: GpuApi>(engine: &E, s: &Step, trace: &Trace, dh: View, dc: View) -> Result<(), Error> {
    trace.check(s)?;
    dh.holds("dh", s.threads())?;
    dc.holds("dc", s.threads())?;
    #[rustfmt::skip]
    let arguments = [
        count(s.cells), count(s.batch), count(s.hidden), at(trace.gates), count(s.gates), at(trace.c_before), count(s.state),
        at(trace.tanh_c), count(s.tanh), at(dh), at(dc),
    ];
    // SAFETY: the kernel's arguments in its order; sizes were checked.
    unsafe { engine.launch(Kernel("gates_backward"), s.threads(), &arguments) }
}

/// Numbers that one thread sums: enough threads to fill a device, few enough partial sums.
pub(super) const BLOCK: usize = 64;

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
    let arguments = [count(cells), count(rows), count(width), count(block), at(numbers), at(sums)];
    // SAFETY: the kernel's arguments in its order; sizes were checked.
    unsafe { engine.launch(Kernel("column_sums"), threads, &arguments) }
}

/// Adds a bias (G, E) to every row of y (G, N, E).
pub fn add_bias<E: GpuApi>(engine: &E, [cells, rows, width]: [usize; 3], y: View, bias: View) -> Result<(), Error> {
    y.holds("y", cells * rows * width)?;
    bias.holds("the bias", cells * width)?;
    let arguments = [count(cells), count(rows), count(width), at(y), at(bias)];
    // SAFETY: the kernel's arguments in its order; sizes were checked.
    unsafe { engine.launch(Kernel("add_bias"), cells * rows * width, &arguments) }
}

/// x = max(x, 0), in place.
pub fn relu_forward<E: GpuApi>(engine: &E, x: View) -> Result<(), Error> {
    // SAFETY: the kernel's arguments in its order.
    unsafe { engine.launch(Kernel("relu_forward"), x.len(), &[count(x.len()), at(x)]) }
}

/// The gradient of the same, in place: 0 wherever `y`, what it gave, is not above 0.
pub fn relu_backward<E: GpuApi>(engine: &E, y: View, gradient: View) -> Result<(), Error> {
    gradient.holds("a gradient", y.len())?;
    // SAFETY: the kernel's arguments in its order; sizes were checked.
    unsafe { engine.launch(Kernel("relu_backward"), y.len(), &[count(y.len()), at(y), at(gradient)]) }
}

/// Adam's numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Guard against division by zero.
    pub eps: f64,
    /// L2 penalty, added to the gradient.
    pub decay: f64,
}

/// Parameters of any shape, one behind the other, with what Adam keeps of them.
#[derive(Clone, Copy, Debug)]
pub struct Learned<'a> {
    /// Values.
    pub value: View<'a>,
    /// First moments.
    pub moment1: View<'a>,
    /// Second moments.
    pub moment2: View<'a>,
    /// Gradients.
    pub gradient: View<'a>,
}

/// Step `t` (from 1) of Adam. Its numbers are rounded to f32 before anything is computed of them, as dfdx does.
pub fn adam<E: GpuApi>(engine: &E, adam: &Adam, t: i32, learned: &Learned) -> Result<(), Error> {
    let Learned { value, moment1, moment2, gradient } = *learned;
    let n = value.len();
    for (what, view) in [("the first moment", moment1), ("the second moment", moment2), ("the gradient", gradient)] {
        view.holds(what, n)?;
    }
    let (beta1, beta2) = (adam.beta1 as f32, adam.beta2 as f32);
    let correction = |beta: f32| (1.0 - beta.powi(t)).recip();
    let numbers =
        [adam.lr as f32, beta1, beta2, adam.eps as f32, correction(beta1), correction(beta2), adam.decay as f32];
    let mut arguments = vec![count(n), at(value), at(moment1), at(moment2), at(gradient)];
    arguments.extend(numbers.map(Argument::Number));
    // SAFETY: the kernel's arguments in its order; sizes were checked.
    unsafe { engine.launch(Kernel("adam"), n, &arguments) }
}

/// A number that features are kept as.
pub trait Kept: Pod {
    /// The kernel that gathers them.
    const GATHER: Kernel;
}

impl Kept for f32 {
    const GATHER: Kernel = Kernel("gather_f32");
}

impl Kept for half::f16 {
    const GATHER: Kernel = Kernel("gather_f16");
}

/// Features of clips on the device, (N, F, D), with the statistics of their dimensions, (D) each.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a, T> {
    /// (N, F, D).
    pub features: View<'a, T>,
    /// F.
    pub frames: usize,
    /// D.
    pub width: usize,
    /// Means.
    pub mean: View<'a>,
    /// 1 / sd.
    pub inverse_sd: View<'a>,
}

/// Standardised rows of `clips` (B) in columns `from..from + D` of `out` (R, `width`): frames 0 to `steps` - 1 of each clip,
/// time-major, or the frame that `frames` (B) names, and then `steps` is 1.
///
/// # Safety
/// `clips` are below N and `frames` below F: what lies on the device cannot be checked here.
pub(super) unsafe fn gather<E: GpuApi, T: Kept>(
    engine: &E,
    source: &Source<T>,
    steps: usize,
    clips: View<i64>,
    frames: Option<View<i64>>,
    out: View,
    [width, from]: [usize; 2],
) -> Result<(), Error> {
    let (rows, batch) = (steps * clips.len(), clips.len());
    if let Some(frames) = frames {
        frames.holds("frames", batch)?;
    }
    if from + source.width > width || steps > source.frames || (frames.is_some() && steps != 1) {
        return Err(Error::refused(format!("{steps} steps, columns from {from} of {width}: no such batch")));
    }
    source.mean.holds("means", source.width)?;
    source.inverse_sd.holds("deviations", source.width)?;
    out.holds("a batch", rows * width)?;
    #[rustfmt::skip]
    let arguments = [
        count(steps), count(batch), count(source.frames), count(source.width), at(source.features), at(clips),
        frames.map_or(Argument::Address(0), at), at(source.mean), at(source.inverse_sd), at(out), count(width), count(from),
    ];
    // SAFETY: the kernel's arguments in its order; sizes were checked, and the caller answers for clips and frames.
    unsafe { engine.launch(T::GATHER, rows * source.width, &arguments) }
}
