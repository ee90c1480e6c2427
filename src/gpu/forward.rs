//! One trained generator on an engine, for forward passes: what `unmute generate` and `predict` compute there.

use super::api::{Buffer, GpuApi};
use super::batched_params::BatchedParams;
use super::network::{Network, Pass};
use crate::model;
use crate::model::generator::FusedTrunk;
use crate::model::network::Sees;
use crate::train::Error;
use crate::train::batches::Batch;
use crate::train::cell_trainer::{StepOutcome, TrainedNetwork};
use crate::train::objective::Objective;
use crate::train::trainer::SavedParam;
use compute::buffer_pool::Scratch;
use compute::nn::{AdamConfig, InputBatch, ParamState};
use std::rc::Rc;

/// A network whose parameters are put there, and not trained.
pub struct ForwardNetwork<E: GpuApi> {
    engine: Rc<E>,
    trunk: FusedTrunk,
    frames: usize,
    /// Rows of a clip.
    rows: usize,
    network: Network<E>,
}

impl<E: GpuApi + 'static> ForwardNetwork<E> {
    /// With fresh parameters, drawn with seed 0.
    pub fn new(engine: Rc<E>, trunk: FusedTrunk, network: &model::Network, frames: usize) -> Result<Self, Error> {
        let fresh = network.params.iter().map(|param| SavedParam {
            name: param.name.clone(),
            shape: param.shape,
            state: ParamState::fresh(param.initial(0)),
        });
        let rows = match network.sees {
            Sees::Frames => frames,
            Sees::OneFrame => 1,
        };
        let on_device = of(&engine, &trunk, frames, &fresh.collect::<Vec<_>>(), 0)?;
        Ok(ForwardNetwork { network: on_device, engine, trunk, frames, rows })
    }
}

fn of<E: GpuApi>(
    engine: &Rc<E>,
    trunk: &FusedTrunk,
    frames: usize,
    params: &[SavedParam],
    steps: i32,
) -> Result<Network<E>, Error> {
    let params = BatchedParams::new(engine, &[params], steps)?;
    Network::new(params, trunk, frames, std::slice::from_ref(&(0..1)))
}

impl<E: GpuApi + 'static> TrainedNetwork for ForwardNetwork<E> {
    fn step(&mut self, _: &AdamConfig, _: &Objective, _: &Batch) -> Result<StepOutcome, Error> {
        Err(Error::Unsupported("this network is there for forward passes alone".into()))
    }

    fn outputs(&self, x: &InputBatch) -> Result<(Scratch, Scratch), Error> {
        let engine = &*self.engine;
        let input = Rc::new(Buffer::of(engine, &x.all_rows())?);
        let mut pass = Pass::forward_only(&self.network, 0..1, x.rows / self.rows.max(1));
        let trunks = pass.trunks(input)?;
        let logits = pass.logits(&trunks)?.value.all().read(engine)?;
        let branch = self.network.branches.first().ok_or(Error::Nothing)?;
        let audio = pass.audio(&trunks, branch)?.value.all().read(engine)?;
        let [logits, audio] = [logits, audio].map(|numbers| Scratch::repeat(&numbers, 1));
        Ok((logits, audio))
    }

    fn steps(&self) -> i32 {
        self.network.params.step()
    }

    fn save(&self) -> Result<Vec<SavedParam>, Error> {
        self.network.params.save(0)
    }

    fn restore(&mut self, saved: Vec<SavedParam>, steps: i32) -> Result<(), Error> {
        let ours = self.save()?;
        let same = |(a, b): (&SavedParam, &SavedParam)| a.name == b.name && a.shape == b.shape;
        if ours.len() != saved.len() || !ours.iter().zip(&saved).all(same) {
            return Err(Error::OtherNetwork);
        }
        self.network = of(&self.engine, &self.trunk, self.frames, &saved, steps)?;
        Ok(())
    }

    fn count(&self) -> usize {
        self.network.params.count(0)
    }
}
