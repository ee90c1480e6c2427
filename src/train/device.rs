//! What training asks of a device beyond dfdx's own operations.
//!
//! Everything is generic over [`Backend`], a dfdx device with what may have a faster form on it: trained matrices with
//! their optimiser, the affine map, and the LSTM. Their plain forms ([`super::weight::OnTape`], `composite`) are made of dfdx's own
//! operations, run anywhere, and are the reference that the fast forms are tested against.

use super::error::Error;
use super::host::Host;
use super::program::Program;
use super::trainer::{Checkpoint, Task};
use super::tsn::{self, Head};
use super::turns::Turns;
use super::weight::{InPlace, Weight};
use super::{affine, lstm};
use crate::cuda::memory::{Features, Plan};
#[cfg(feature = "cuda")]
use crate::cuda::{
    driver::Driver,
    engine::Engine,
    program::{Together, free_bytes, side_by_side},
    svm::OnDevice,
    tape,
    tape::Bridge,
    weight::OnEngine,
};
use crate::score::solver::{OnCpu, Solver};
use compute::buffer_pool::Scratch;
use dfdx::prelude::*;

/// A matrix on a device, with or without a tape.
pub type Matrix<D, T = NoneTape> = Tensor<(usize, usize), f32, D, T>;

/// A device's storage of numbers.
pub type Buffer<D> = <D as Storage<f32>>::Vec;

/// A device that generators and heads can be trained on.
pub trait Backend: Device<f32> {
    /// Which device of its kind: nothing for the CPU, a number for a GPU. Devices themselves stay on their thread.
    type Which: Clone + Send + Sync;

    /// A device for one run: its memory is not mixed with other runs' and goes when the run ends.
    fn open(which: &Self::Which) -> Result<Self, Error>;

    /// `cpu`, `cuda:0`.
    fn name(which: &Self::Which) -> String;

    /// A trained matrix.
    type Weight: Weight<Self>;

    /// Generators that it trains side by side at most, where its memory holds them and nobody wants fewer.
    const SIDE_BY_SIDE: usize;

    /// How many of these tasks its memory holds side by side as it is now, and what their features and batches have to do
    /// with that. An error says what a single one asks for.
    fn room(&self, tasks: &[Task]) -> Result<Plan, Error>;

    /// Generators as one program. Tasks are of one group ([`crate::cuda::group`]); checkpoints are of their networks
    /// ([`Task::takes`]) and of one epoch, or there is none; the plan is [`Backend::room`]'s of all these tasks.
    fn program(&self, tasks: Vec<Task>, from: Vec<Option<Checkpoint>>, plan: Plan) -> Result<Box<dyn Program>, Error>;

    /// y = x W + b; x (N, D), W (D, E), b (1, E), y (N, E). The gradient of x is computed only where `wants_dx`.
    fn affine<T: Tape<f32, Self> + 'static>(
        x: Matrix<Self, T>,
        w: &Self::Weight,
        b: &Self::Weight,
        wants_dx: bool,
    ) -> Result<Matrix<Self, T>, Error>;

    /// The affine map of a network's input, which gets no gradient.
    fn affine_of_input<T: Tape<f32, Self> + 'static>(
        &self,
        x: &Host,
        tape: T,
        w: &Self::Weight,
        b: &Self::Weight,
    ) -> Result<Matrix<Self, T>, Error>;

    /// h_T of an LSTM, (B, H), from a network's input x (T B, D), time-major, which gets no gradient; see [`lstm`].
    fn lstm<T: Tape<f32, Self> + 'static>(
        &self,
        x: &Host,
        tape: T,
        steps: usize,
        weights: [&Self::Weight; 3],
    ) -> Result<Matrix<Self, T>, Error>;

    /// Trains a head on a visual stream: probabilities of its val clips, (M, K), and the final train loss. `step` is told the
    /// steps done and all that there are.
    fn head(
        &self,
        head: &Head,
        step: &mut dyn FnMut(usize, usize) -> Result<(), Error>,
    ) -> Result<(Vec<f32>, f64), Error> {
        tsn::on_tape(self, head, step)
    }

    /// What trains SVMs and computes their decision values.
    fn solver(&self) -> Result<Box<dyn Solver>, Error>;

    /// Gives back what the device of one run keeps for reuse; called when all of its tensors are gone.
    fn end_run(&self);

    /// A buffer's numbers, on the host.
    fn to_host(&self, buffer: &Buffer<Self>) -> Result<Vec<f32>, Error>;

    /// A buffer on the device.
    fn to_device(&self, values: Vec<f32>) -> Result<Buffer<Self>, Error>;
}

/// The plan of a device that takes one cell after another, all of its memory given to each.
fn in_turn(tasks: &[Task]) -> Plan {
    let batch = tasks.first().map_or(1, |task| task.config.train.batch);
    Plan { features: Features::Resident, cells: tasks.len(), part: batch, words: Vec::new() }
}

impl Backend for Cpu {
    type Which = ();

    fn open((): &()) -> Result<Self, Error> {
        let device = Cpu::default();
        device.enable_cache();
        Ok(device)
    }

    fn name((): &()) -> String {
        "cpu".into()
    }

    type Weight = InPlace;

    const SIDE_BY_SIDE: usize = 1;

    fn room(&self, tasks: &[Task]) -> Result<Plan, Error> {
        Ok(in_turn(tasks))
    }

    fn program(&self, tasks: Vec<Task>, from: Vec<Option<Checkpoint>>, _: Plan) -> Result<Box<dyn Program>, Error> {
        Ok(Box::new(Turns::new(self, tasks, from)?))
    }

    fn affine<T: Tape<f32, Self> + 'static>(
        x: Matrix<Self, T>,
        w: &InPlace,
        b: &InPlace,
        wants_dx: bool,
    ) -> Result<Matrix<Self, T>, Error> {
        affine::fused(x, w, b, wants_dx)
    }

    fn affine_of_input<T: Tape<f32, Self> + 'static>(
        &self,
        x: &Host,
        tape: T,
        w: &InPlace,
        b: &InPlace,
    ) -> Result<Matrix<Self, T>, Error> {
        affine::of_input(self, x, tape, w, b)
    }

    fn lstm<T: Tape<f32, Self> + 'static>(
        &self,
        x: &Host,
        tape: T,
        steps: usize,
        weights: [&InPlace; 3],
    ) -> Result<Matrix<Self, T>, Error> {
        lstm::fused(self, x, tape, steps, weights)
    }

    fn solver(&self) -> Result<Box<dyn Solver>, Error> {
        Ok(Box::new(OnCpu))
    }

    fn end_run(&self) {
        // dfdx's cache has no Drop of its own.
        self.empty_cache();
    }

    fn to_host(&self, buffer: &Buffer<Self>) -> Result<Vec<f32>, Error> {
        Ok(buffer.to_vec())
    }

    fn to_device(&self, values: Vec<f32>) -> Result<Buffer<Self>, Error> {
        let mut buffer = Storage::<f32>::try_alloc_len(self, values.len()).map_err(Error::device)?;
        buffer.copy_from_slice(&values);
        Ok(buffer)
    }
}

#[cfg(feature = "cuda")]
impl Backend for Cuda {
    type Which = usize;

    fn open(ordinal: &usize) -> Result<Self, Error> {
        let device = Cuda::try_build(*ordinal, 0).map_err(Error::device)?;
        device.try_enable_cache().map_err(Error::device)?;
        Ok(device)
    }

    fn name(ordinal: &usize) -> String {
        format!("cuda:{ordinal}")
    }

    type Weight = OnEngine<Driver>;

    const SIDE_BY_SIDE: usize = usize::MAX;

    fn room(&self, tasks: &[Task]) -> Result<Plan, Error> {
        // Its words say what to do.
        side_by_side(tasks, free_bytes::<Self, Driver>(self)?).map_err(Error::Listener)
    }

    fn program(&self, tasks: Vec<Task>, from: Vec<Option<Checkpoint>>, plan: Plan) -> Result<Box<dyn Program>, Error> {
        Ok(Box::new(Together::<Self, Driver>::new(self, tasks, from, &plan)?))
    }

    fn affine<T: Tape<f32, Self> + 'static>(
        x: Matrix<Self, T>,
        w: &Self::Weight,
        b: &Self::Weight,
        wants_dx: bool,
    ) -> Result<Matrix<Self, T>, Error> {
        tape::affine(x, w, b, wants_dx)
    }

    fn affine_of_input<T: Tape<f32, Self> + 'static>(
        &self,
        x: &Host,
        tape: T,
        w: &Self::Weight,
        b: &Self::Weight,
    ) -> Result<Matrix<Self, T>, Error> {
        tape::affine_of_input(self, x, tape, w, b)
    }

    fn lstm<T: Tape<f32, Self> + 'static>(
        &self,
        x: &Host,
        tape: T,
        steps: usize,
        weights: [&Self::Weight; 3],
    ) -> Result<Matrix<Self, T>, Error> {
        tape::lstm(self, x, tape, steps, weights)
    }

    fn head(
        &self,
        head: &Head,
        step: &mut dyn FnMut(usize, usize) -> Result<(), Error>,
    ) -> Result<(Vec<f32>, f64), Error> {
        let engine = Driver::of(self)?;
        // What does not fit comes from the host, batch by batch.
        match crate::cuda::head::fits(head, engine.free_bytes()?) {
            true => crate::cuda::head::train(&*engine, head, step),
            false => tsn::on_tape(self, head, step),
        }
    }

    fn solver(&self) -> Result<Box<dyn Solver>, Error> {
        let engine = Driver::of(self)?;
        let free = engine.free_bytes()?;
        Ok(Box::new(OnDevice::new(engine, free)))
    }

    fn end_run(&self) {
        // Tensors that dfdx keeps for reuse would otherwise stay for good.
        // What cannot be freed now is freed with the process.
        let _ = self.try_empty_cache();
    }

    fn to_host(&self, buffer: &Buffer<Self>) -> Result<Vec<f32>, Error> {
        buffer.device().dtoh_sync_copy(buffer).map_err(Error::device)
    }

    fn to_device(&self, values: Vec<f32>) -> Result<Buffer<Self>, Error> {
        let mut buffer: Buffer<Self> =
            <Cuda as Storage<f32>>::try_alloc_len(self, values.len()).map_err(Error::device)?;
        let device = buffer.device();
        device.htod_copy_into(values, &mut buffer).map_err(Error::device)?;
        Ok(buffer)
    }
}

/// A matrix's numbers, row after row.
pub(crate) fn numbers<D: Backend, T>(matrix: &Matrix<D, T>) -> Scratch {
    let (rows, cols) = *matrix.shape();
    let mut values = Scratch::take(rows * cols);
    matrix.copy_into(&mut values);
    values
}

/// A matrix from numbers, row after row.
///
/// The tensor is asked of the device and filled, not made of a vector: dfdx keeps every dropped tensor for reuse, so
/// vectors made into tensors would pile up.
pub(crate) fn matrix<D: Backend>(device: &D, values: &[f32], rows: usize, cols: usize) -> Result<Matrix<D>, Error> {
    let mut matrix: Matrix<D> = device.try_zeros_like(&(rows, cols)).map_err(Error::device)?;
    matrix.copy_from(values);
    Ok(matrix)
}
