//! A GPU: our own kernels, many cells side by side; the reference engine on dfdx's own CUDA.

use super::api::Device;
use super::cpu::cells;
use crate::experiment::config::Engine;
use crate::gpu::batched_trainer::{BatchedTrainer, free_bytes, side_by_side};
use crate::gpu::driver::Driver;
use crate::gpu::memory::{Features, MemoryPlan};
use crate::gpu::svm::OnDevice;
use crate::gpu::{api::GpuApi, heads};
use crate::model::Sizes;
use crate::model::generator::Generator;
use crate::score::Solver;
use crate::train::cell_trainer::TrainedNetwork;
use crate::train::fused;
use crate::train::heads::{Head, TrainedHead, train_head};
use crate::train::reference::{self, ReferenceNetwork};
use crate::train::{Checkpoint, Error, Task, Trainer};
use dfdx::tensor::{Cache, Cuda};
use std::rc::Rc;

/// A GPU.
pub struct OnGpu {
    ordinal: usize,
    driver: Rc<Driver>,
}

impl OnGpu {
    /// The GPU of this number.
    pub fn open(ordinal: usize) -> Result<OnGpu, Error> {
        Ok(OnGpu { ordinal, driver: Driver::open(ordinal)? })
    }

    fn dfdx(&self) -> Result<Cuda, Error> {
        let device = Cuda::try_build(self.ordinal, 0).map_err(Error::device)?;
        device.try_enable_cache().map_err(Error::device)?;
        Ok(device)
    }

    fn reference(&self, task: &Task) -> Result<Box<dyn TrainedNetwork>, Error> {
        let (network, frames) = (task.network()?, task.vision.frames());
        Ok(Box::new(ReferenceNetwork::new(self.dfdx()?, task.generator.clone(), &network, frames, task.seed)?))
    }
}

/// Whether our kernels can train a task.
fn has_kernels(task: &Task) -> bool {
    let settings = task.config.train.loss_settings();
    task.config.train.engine == Engine::Fused
        && task.generator.describe().fused().is_some()
        && task.loss.on_gpu(&settings, 1).is_some()
}

impl Device for OnGpu {
    fn room(&self, tasks: &[Task]) -> Result<MemoryPlan, Error> {
        if tasks.iter().all(has_kernels) {
            return side_by_side(tasks, free_bytes(&*self.driver)?);
        }
        let batch = tasks.first().map_or(1, |task| task.config.train.batch);
        Ok(MemoryPlan { features: Features::Resident, cells: tasks.len(), part: batch, words: Vec::new() })
    }

    fn trainer(
        &self,
        tasks: Vec<Task>,
        from: Vec<Option<Checkpoint>>,
        plan: MemoryPlan,
    ) -> Result<Box<dyn Trainer>, Error> {
        match tasks.iter().all(has_kernels) {
            true => Ok(Box::new(BatchedTrainer::new(self.driver.clone(), tasks, from, &plan)?)),
            false => cells(tasks, from, |task| self.reference(task)),
        }
    }

    fn head(
        &self,
        head: &Head,
        engine: Engine,
        step: &mut dyn FnMut(usize, usize) -> Result<(), Error>,
    ) -> Result<TrainedHead, Error> {
        match engine {
            Engine::Dfdx => train_head(head, &mut *reference::head(self.dfdx()?, head)?, step),
            Engine::Fused if heads::fits(head, self.driver.free_bytes()?) => heads::train(&*self.driver, head, step),
            // What does not fit is trained by the CPU, batch by batch.
            Engine::Fused => train_head(head, &mut *fused::head(head), step),
        }
    }

    /// On dfdx's operations: our kernels are for training side by side.
    fn network(&self, _: Engine, generator: &Generator, sizes: Sizes) -> Result<Box<dyn TrainedNetwork>, Error> {
        let network = generator.describe().network(sizes);
        Ok(Box::new(ReferenceNetwork::new(self.dfdx()?, generator.clone(), &network, sizes.frames, 0)?))
    }

    fn solver(&self) -> Result<Box<dyn Solver>, Error> {
        let free = self.driver.free_bytes()?;
        Ok(Box::new(OnDevice::new(self.driver.clone(), free)))
    }
}
