//! The CPU: one cell after another, by the fused engine or the reference.

use super::api::Device;
use crate::experiment::config::Engine;
use crate::gpu::memory::{Features, MemoryPlan};
use crate::model::Sizes;
use crate::model::generator::Generator;
use crate::score::Solver;
use crate::score::solver::OnCpu;
use crate::train::cell_trainer::{CellTrainer, TrainedNetwork};
use crate::train::fused::{self, FusedNetwork};
use crate::train::heads::{Head, TrainedHead, train_head};
use crate::train::reference::{self, ReferenceNetwork};
use crate::train::round_robin::RoundRobin;
use crate::train::{Checkpoint, Error, Task, Trainer};
use dfdx::tensor::Cpu;

/// The CPU.
pub struct OnTheCpu;

impl Device for OnTheCpu {
    fn room(&self, tasks: &[Task]) -> Result<MemoryPlan, Error> {
        let batch = tasks.first().map_or(1, |task| task.config.train.batch);
        Ok(MemoryPlan { features: Features::Resident, cells: tasks.len(), part: batch, words: Vec::new() })
    }

    fn trainer(
        &self,
        tasks: Vec<Task>,
        from: Vec<Option<Checkpoint>>,
        _: MemoryPlan,
    ) -> Result<Box<dyn Trainer>, Error> {
        cells(tasks, from, network)
    }

    fn head(
        &self,
        head: &Head,
        engine: Engine,
        step: &mut dyn FnMut(usize, usize) -> Result<(), Error>,
    ) -> Result<TrainedHead, Error> {
        let mut network = match engine {
            Engine::Fused => fused::head(head),
            Engine::Dfdx => reference::head(cached(), head)?,
        };
        train_head(head, &mut *network, step)
    }

    fn network(&self, on: Engine, generator: &Generator, sizes: Sizes) -> Result<Box<dyn TrainedNetwork>, Error> {
        engine(on, generator, &generator.describe().network(sizes), sizes.frames, 0)
    }

    fn solver(&self) -> Result<Box<dyn Solver>, Error> {
        Ok(Box::new(OnCpu))
    }
}

/// Cells that take turns.
pub(super) fn cells(
    tasks: Vec<Task>,
    from: Vec<Option<Checkpoint>>,
    network: impl Fn(&Task) -> Result<Box<dyn TrainedNetwork>, Error>,
) -> Result<Box<dyn Trainer>, Error> {
    let cells = tasks.into_iter().zip(from).map(|(task, from)| {
        let network = network(&task)?;
        CellTrainer::new(task, network, from)
    });
    Ok(Box::new(RoundRobin::new(cells.collect::<Result<_, Error>>()?)))
}

/// A task's network on the engine that it asks for; on dfdx where it has no fused form.
pub fn network(task: &Task) -> Result<Box<dyn TrainedNetwork>, Error> {
    let frames = task.vision.frames();
    engine(task.config.train.engine, &task.generator, &task.network()?, frames, task.seed)
}

/// A network on an engine; on dfdx where it has no fused form.
pub fn engine(
    engine: Engine,
    generator: &Generator,
    network: &crate::model::Network,
    frames: usize,
    seed: u64,
) -> Result<Box<dyn TrainedNetwork>, Error> {
    Ok(match (engine, generator.describe().fused()) {
        (Engine::Dfdx, Some(trunk)) if trunk.is_rounded() => {
            let message = "lstm.precision: bf16 is the fused engine's: dfdx's operations are f32 throughout";
            return Err(Error::Unsupported(message.into()));
        }
        (Engine::Fused, Some(trunk)) => Box::new(FusedNetwork::new(trunk, network, frames, seed)),
        _ => Box::new(ReferenceNetwork::new(cached(), generator.clone(), network, frames, seed)?),
    })
}

/// dfdx's CPU, which keeps dropped tensors for reuse.
fn cached() -> Cpu {
    let device = Cpu::default();
    dfdx::tensor::Cache::enable_cache(&device);
    device
}
