//! Trained matrices in buffers of our own on a device: value, gradient and Adam's moments, which fused operations read and
//! write where they lie.

use super::engine::{Buffer, Engine, View};
use super::kernels::{self, Adam, Learned};
use super::tape::Bridge;
use crate::train::weight::{State, Weight};
use crate::train::{Backend, Error};
use dfdx::optim::{AdamConfig, WeightDecay};
use dfdx::tensor::Gradients;
use std::cell::Cell;
use std::rc::Rc;

/// A matrix on an engine. Clones are the same matrix: an operation on the tape keeps one for its backward pass.
pub struct OnEngine<E: Engine>(Rc<Numbers<E>>);

struct Numbers<E: Engine> {
    engine: Rc<E>,
    rows: usize,
    cols: usize,
    value: Buffer<E>,
    moment1: Buffer<E>,
    moment2: Buffer<E>,
    gradient: Buffer<E>,
    /// Whether a backward pass has written the gradient since the last update.
    reached: Cell<bool>,
}

impl<E: Engine> Clone for OnEngine<E> {
    fn clone(&self) -> Self {
        OnEngine(self.0.clone())
    }
}

impl<E: Engine> OnEngine<E> {
    /// From plain numbers, row-major.
    pub fn on(engine: &Rc<E>, state: &State, rows: usize, cols: usize) -> Result<Self, Error> {
        Ok(OnEngine(Rc::new(Numbers {
            rows,
            cols,
            value: Buffer::of(&**engine, &state.value)?,
            moment1: Buffer::of(&**engine, &state.moment1)?,
            moment2: Buffer::of(&**engine, &state.moment2)?,
            gradient: Buffer::zeros(&**engine, state.value.len())?,
            reached: Cell::new(false),
            engine: engine.clone(),
        })))
    }

    /// (rows, columns).
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.0.rows, self.0.cols)
    }

    /// Where it is.
    pub(super) fn engine(&self) -> &Rc<E> {
        &self.0.engine
    }

    /// The values, row after row.
    pub fn value(&self) -> View<'_> {
        self.0.value.all()
    }

    /// Room for the gradient of a backward pass: its own, or where an earlier pass has filled that, a place beside it.
    pub(super) fn incoming(&self) -> Result<Incoming<'_, E>, Error> {
        let beside = match self.0.reached.replace(true) {
            true => Some(Buffer::zeros(&*self.0.engine, self.0.rows * self.0.cols)?),
            false => None,
        };
        Ok(Incoming { numbers: &self.0, beside })
    }

    /// Step `t` of Adam.
    fn adam(&self, config: &AdamConfig, t: i32) -> Result<(), Error> {
        let n = &self.0;
        if !n.reached.replace(false) {
            n.gradient.all().fill_zeros(&*n.engine)?;
        }
        let decay = match config.weight_decay {
            Some(WeightDecay::L2(decay)) => decay,
            Some(WeightDecay::Decoupled(_)) => {
                return Err(Error::Device("decoupled weight decay has no kernel".into()));
            }
            None => 0.0,
        };
        let [beta1, beta2] = config.betas;
        let adam = Adam { lr: config.lr, beta1, beta2, eps: config.eps, decay };
        let (value, gradient) = (n.value.all(), n.gradient.all());
        let (moment1, moment2) = (n.moment1.all(), n.moment2.all());
        kernels::adam(&*n.engine, &adam, t, &Learned { value, moment1, moment2, gradient })
    }
}

/// Where a backward pass writes a gradient.
pub(super) struct Incoming<'a, E: Engine> {
    numbers: &'a Numbers<E>,
    beside: Option<Buffer<E>>,
}

impl<E: Engine> Incoming<'_, E> {
    /// To be overwritten.
    pub(super) fn view(&self) -> View<'_> {
        self.beside.as_ref().unwrap_or(&self.numbers.gradient).all()
    }

    /// Adds what was written beside an earlier pass's gradient to it.
    pub(super) fn finish(self) -> Result<(), Error> {
        let Some(beside) = &self.beside else { return Ok(()) };
        let sizes = [1, 1, self.numbers.rows * self.numbers.cols];
        kernels::add_bias(&*self.numbers.engine, sizes, self.numbers.gradient.all(), beside.all())
    }
}

impl<D: Backend, E: Bridge<D>> Weight<D> for OnEngine<E> {
    fn new(device: &D, state: State, rows: usize, cols: usize) -> Result<Self, Error> {
        OnEngine::on(&E::of(device)?, &state, rows, cols)
    }

    fn shape(&self) -> (usize, usize) {
        self.sizes()
    }

    fn state(&self) -> Result<State, Error> {
        let n = &self.0;
        let read = |buffer: &Buffer<E>| buffer.all().read(&*n.engine);
        Ok(State { value: read(&n.value)?, moment1: read(&n.moment1)?, moment2: read(&n.moment2)? })
    }

    fn take_gradient(&self, _: &mut Gradients<f32, D>) -> Result<Vec<f32>, Error> {
        match self.0.reached.replace(false) {
            true => self.0.gradient.all().read(&*self.0.engine),
            false => Ok(vec![0.0; self.0.rows * self.0.cols]),
        }
    }

    fn update(&mut self, adam: &AdamConfig, step: i32, _: &mut Gradients<f32, D>) -> Result<(), Error> {
        self.adam(adam, step)
    }
}
