//! Fused operations on dfdx's tape: parameters stay in buffers of our own, and only what flows between operations is a
//! tensor of dfdx.

use super::engine::{Buffer, Engine, View};
use super::lstm::{self, Trace};
use super::weight::OnEngine;
use super::{affine, kernels};
use crate::train::device::Buffer as Storage;
use crate::train::{Backend, Error, Host, Matrix};
use dfdx::prelude::*;
use std::rc::Rc;

/// An engine whose memory is that of a dfdx device: addresses of dfdx's buffers mean the same to both, and both work in one
/// queue.
pub trait Bridge<D: Backend>: Engine + Sized + 'static {
    /// The engine of a device.
    fn of(device: &D) -> Result<Rc<Self>, Error>;

    /// Where a buffer of dfdx begins.
    fn address_of(buffer: &Storage<D>) -> u64;

    /// Copies a tensor's numbers, row after row.
    fn take(&self, tensor: &Matrix<D>, to: View) -> Result<(), Error>;

    /// What dfdx's tape hands on where an operation of ours failed.
    fn failed(error: Error) -> D::Err;
}

/// A buffer of dfdx as our operations see it.
///
/// # Safety
/// It has at least `len` numbers and outlives what is done with the view.
unsafe fn view_of<'a, D: Backend, E: Bridge<D>>(buffer: &Storage<D>, len: usize) -> View<'a> {
    // SAFETY: the caller's promise.
    unsafe { View::new(E::address_of(buffer), len) }
}

/// A tensor with numbers of ours. dfdx lets nobody write into a tensor; but a gradient can be written, and taken as one.
fn tensor<D: Backend, E: Bridge<D>>(
    engine: &E,
    device: &D,
    numbers: View,
    shape: (usize, usize),
) -> Result<Matrix<D>, Error> {
    let place: Matrix<D> = device.try_zeros_like(&shape).map_err(Error::device)?;
    let mut grads = Gradients::leaky();
    let buffer = grads.get_or_alloc_mut(&place).map_err(Error::device)?;
    // SAFETY: the gradient of a tensor of this shape, alive in `grads`; the queue keeps the order of what follows.
    let to = unsafe { view_of::<D, E>(buffer, shape.0 * shape.1) };
    numbers.copy_to(engine, to)?;
    Ok(grads.get(&place))
}

/// A copy of a gradient of dfdx.
///
/// # Safety
/// It has at least `len` numbers.
unsafe fn gradient<D: Backend, E: Bridge<D>>(engine: &E, buffer: &Storage<D>, len: usize) -> Result<Buffer<E>, Error> {
    // SAFETY: the caller's promise; the buffer outlives this function, and the queue keeps the order of what follows.
    let from = unsafe { view_of::<D, E>(buffer, len) };
    let ours = Buffer::zeros(engine, len)?;
    from.copy_to(engine, ours.all())?;
    Ok(ours)
}

/// All rows of a network's input, (N, D). Rows that are the same cross the bus once.
fn rows<E: Engine>(engine: &E, x: &Host) -> Result<Buffer<E>, Error> {
    let distinct = Buffer::of(engine, &x.numbers)?;
    let Some(places) = &x.places else { return Ok(distinct) };
    let places: Vec<i64> = places.iter().map(|&place| i64::from(place)).collect();
    let all = Buffer::zeros(engine, x.rows * x.cols)?;
    kernels::rows(engine, distinct.all(), x.cols, &places, all.all())?;
    Ok(all)
}

/// h_T of an LSTM, (B, H), from x (T B, D_v), time-major, which gets no gradient; formulas in [`crate::train::lstm`].
pub fn lstm<D: Backend, E: Bridge<D>, T: Tape<f32, D> + 'static>(
    device: &D,
    x: &Host,
    mut tape: T,
    steps: usize,
    [w, u, b]: [&OnEngine<E>; 3],
) -> Result<Matrix<D, T>, Error> {
    let engine = w.engine().clone();
    let (hidden, batch) = (u.sizes().0, x.rows / steps.max(1));
    let shape = lstm::Shape { cells: 1, steps, batch, input: x.cols, hidden };
    let x = rows(&*engine, x)?;
    let trace = Trace::new(&*engine, shape)?;
    lstm::forward(&*engine, x.all(), [w.value(), u.value(), b.value()], &trace)?;
    let h = tensor(&*engine, device, trace.last(0)?, (batch, hidden))?;
    if T::OWNS_TAPE {
        let (w, u, b, out) = (w.clone(), u.clone(), b.clone(), h.ghost());
        tape.add_backward_op(move |grads| {
            let back = || {
                let of_h = grads.get_or_alloc_mut(&out).map_err(Error::device)?;
                // SAFETY: the gradient of h, (B, H).
                let dh = unsafe { gradient::<D, E>(&engine, of_h, batch * hidden) }?;
                let (dw, du, db) = (w.incoming()?, u.incoming()?, b.incoming()?);
                let into = [dw.view(), du.view(), db.view()];
                lstm::backward(&*engine, x.all(), u.value(), trace, dh.all(), into, false)?;
                dw.finish()?;
                du.finish()?;
                db.finish()
            };
            back().map_err(E::failed)
        });
    }
    Ok(h.put_tape(tape))
}

/// y = x W + b; x (N, D), W (D, E), b (1, E), y (N, E). The gradient of x is computed only where `wants_dx`.
pub fn affine<D: Backend, E: Bridge<D>, T: Tape<f32, D> + 'static>(
    x: Matrix<D, T>,
    w: &OnEngine<E>,
    b: &OnEngine<E>,
    wants_dx: bool,
) -> Result<Matrix<D, T>, Error> {
    let (x, tape) = x.split_tape();
    let ((rows, cols), engine) = (*x.shape(), w.engine());
    let numbers = Buffer::zeros(&**engine, rows * cols)?;
    engine.take(&x, numbers.all())?;
    let input = if wants_dx { Some(&x) } else { None };
    affine_of(x.device(), numbers, rows, tape, [w, b], input)
}

/// [`affine`] of a network's input, which gets no gradient.
pub fn affine_of_input<D: Backend, E: Bridge<D>, T: Tape<f32, D> + 'static>(
    device: &D,
    x: &Host,
    tape: T,
    w: &OnEngine<E>,
    b: &OnEngine<E>,
) -> Result<Matrix<D, T>, Error> {
    affine_of(device, rows(&**w.engine(), x)?, x.rows, tape, [w, b], None)
}

fn affine_of<D: Backend, E: Bridge<D>, T: Tape<f32, D> + 'static>(
    device: &D,
    x: Buffer<E>,
    rows: usize,
    mut tape: T,
    [w, b]: [&OnEngine<E>; 2],
    wants_dx: Option<&Matrix<D>>,
) -> Result<Matrix<D, T>, Error> {
    let engine = w.engine().clone();
    let (from, to) = w.sizes();
    let shape = affine::Shape { cells: 1, rows, from, to, shared: false };
    let y = Buffer::zeros(&*engine, rows * to)?;
    affine::forward(&*engine, &shape, x.all(), w.value(), b.value(), y.all())?;
    let out = tensor(&*engine, device, y.all(), (rows, to))?;
    if T::OWNS_TAPE {
        let (w, b, y, x_ghost) = (w.clone(), b.clone(), out.ghost(), wants_dx.map(|x| x.ghost()));
        tape.add_backward_op(move |grads| {
            let mut back = || {
                let of_y = grads.get_or_alloc_mut(&y).map_err(Error::device)?;
                // SAFETY: the gradient of y, (N, E).
                let dy = unsafe { gradient::<D, E>(&engine, of_y, rows * to) }?;
                let (dw, db) = (w.incoming()?, b.incoming()?);
                affine::backward_weights(&*engine, &shape, x.all(), dy.all(), [dw.view(), db.view()], false)?;
                dw.finish()?;
                db.finish()?;
                let Some(input) = &x_ghost else { return Ok(()) };
                let buffer = grads.get_or_alloc_mut(input).map_err(Error::device)?;
                // SAFETY: the gradient of x, (N, D), alive in `grads`.
                let dx = unsafe { view_of::<D, E>(buffer, rows * from) };
                affine::backward_input(&*engine, &shape, dy.all(), w.value(), dx)
            };
            back().map_err(E::failed)
        });
    }
    Ok(out.put_tape(tape))
}
