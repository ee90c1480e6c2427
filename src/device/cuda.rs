//! A GPU: our own kernels, many cells side by side; the reference engine on dfdx's own CUDA.

use super::api::{Device, HAS_DFDX_CUDA, NO_DFDX};
use super::cpu::{self, cells};
use crate::experiment::config::Engine;
use crate::gpu::batched_trainer::{BatchedTrainer, free_bytes, side_by_side};
use crate::gpu::driver::Driver;
use crate::gpu::forward::ForwardNetwork;
use crate::gpu::memory::{Features, MemoryPlan};
use crate::gpu::svm::OnDevice;
use crate::gpu::{api::GpuApi, heads};
use crate::model::generator::Generator;
use crate::model::{Network, Sizes};
use crate::score::Solver;
use crate::train::cell_trainer::TrainedNetwork;
use crate::train::fused;
use crate::train::heads::{Head, HeadNetwork, TrainedHead, train_head};
#[cfg(feature = "dfdx-cuda")]
use crate::train::reference::{self, ReferenceNetwork};
use crate::train::{Checkpoint, Error, Task, Trainer};
use std::rc::Rc;

/// A GPU.
pub struct OnGpu {
    driver: Rc<Driver>,
    dfdx: Dfdx,
}

impl OnGpu {
    /// The GPU of this number.
    pub fn open(ordinal: usize) -> Result<OnGpu, Error> {
        Ok(OnGpu { driver: Driver::open(ordinal)?, dfdx: Dfdx(ordinal) })
    }
}

/// The reference engine on a GPU: dfdx's own CUDA, where the program was built with it.
#[cfg_attr(not(feature = "dfdx-cuda"), allow(dead_code))]
struct Dfdx(usize);

#[cfg(feature = "dfdx-cuda")]
impl Dfdx {
    fn device(&self) -> Result<dfdx::tensor::Cuda, Error> {
        let device = dfdx::tensor::Cuda::try_build(self.0, 0).map_err(Error::device)?;
        dfdx::tensor::Cache::try_enable_cache(&device).map_err(Error::device)?;
        Ok(device)
    }

    fn head(&self, head: &Head) -> Result<Box<dyn HeadNetwork>, Error> {
        reference::head(self.device()?, head)
    }

    fn network(
        &self,
        _: Engine,
        generator: &Generator,
        network: &Network,
        frames: usize,
        seed: u64,
    ) -> Result<Box<dyn TrainedNetwork>, Error> {
        Ok(Box::new(ReferenceNetwork::new(self.device()?, generator.clone(), network, frames, seed)?))
    }
}

#[cfg(not(feature = "dfdx-cuda"))]
impl Dfdx {
    fn head(&self, _: &Head) -> Result<Box<dyn HeadNetwork>, Error> {
        Err(Error::Unsupported(NO_DFDX.into()))
    }

    /// What has no kernels of ours is the CPU's.
    fn network(
        &self,
        engine: Engine,
        generator: &Generator,
        network: &Network,
        frames: usize,
        seed: u64,
    ) -> Result<Box<dyn TrainedNetwork>, Error> {
        cpu::engine(engine, generator, network, frames, seed)
    }
}

/// Whether our kernels can train a task.
fn has_kernels(task: &Task) -> bool {
    let settings = task.config.train.loss_settings();
    task.config.train.engine == Engine::Fused
        && task.generator.describe().fused().is_some_and(|trunk| !trunk.is_rounded())
        && task.loss.on_gpu(&settings, 1).is_some()
}

/// Whether it trains with rounded factors, which the CPU alone does.
fn is_rounded(task: &Task) -> bool {
    task.generator.describe().fused().is_some_and(|trunk| trunk.is_rounded())
}

/// What of a task has no kernels.
fn what(task: &Task) -> String {
    match task.generator.describe().fused() {
        None => format!("the generator {}", task.generator.architecture()),
        Some(trunk) if trunk.is_rounded() => "lstm.precision: bf16".into(),
        Some(_) => format!("the loss {}", task.loss),
    }
}

impl Device for OnGpu {
    fn room(&self, tasks: &[Task]) -> Result<MemoryPlan, Error> {
        if tasks.iter().all(has_kernels) {
            return side_by_side(tasks, free_bytes(&*self.driver)?);
        }
        let batch = tasks.first().map_or(1, |task| task.config.train.batch);
        let on_cpu = tasks.iter().filter(|task| task.config.train.engine == Engine::Fused);
        let on_cpu = on_cpu.filter(|task| !HAS_DFDX_CUDA || is_rounded(task));
        let words = on_cpu.map(|task| format!("trained on the CPU: the GPU has no kernels for {}", what(task)));
        Ok(MemoryPlan { features: Features::Resident, cells: tasks.len(), part: batch, words: words.collect() })
    }

    fn trainer(
        &self,
        tasks: Vec<Task>,
        from: Vec<Option<Checkpoint>>,
        plan: MemoryPlan,
    ) -> Result<Box<dyn Trainer>, Error> {
        match tasks.iter().all(has_kernels) {
            true => Ok(Box::new(BatchedTrainer::new(self.driver.clone(), tasks, from, &plan)?)),
            false => cells(tasks, from, |task| {
                let engine = task.config.train.engine;
                if is_rounded(task) {
                    return cpu::network(task);
                }
                if engine == Engine::Dfdx && !HAS_DFDX_CUDA {
                    return Err(Error::Unsupported(NO_DFDX.into()));
                }
                self.dfdx.network(engine, &task.generator, &task.network()?, task.vision.frames(), task.seed)
            }),
        }
    }

    fn head(
        &self,
        head: &Head,
        engine: Engine,
        step: &mut dyn FnMut(usize, usize) -> Result<(), Error>,
    ) -> Result<TrainedHead, Error> {
        match engine {
            Engine::Dfdx => train_head(head, &mut *self.dfdx.head(head)?, step),
            Engine::Fused if heads::fits(head, self.driver.free_bytes()?) => heads::train(&*self.driver, head, step),
            // What does not fit is trained by the CPU, batch by batch.
            Engine::Fused => train_head(head, &mut *fused::head(head), step),
        }
    }

    fn network(&self, engine: Engine, generator: &Generator, sizes: Sizes) -> Result<Box<dyn TrainedNetwork>, Error> {
        let network = generator.describe().network(sizes);
        match (engine, generator.describe().fused()) {
            (Engine::Fused, Some(trunk)) => {
                Ok(Box::new(ForwardNetwork::new(self.driver.clone(), trunk, &network, sizes.frames)?))
            }
            _ => self.dfdx.network(engine, generator, &network, sizes.frames, 0),
        }
    }

    fn solver(&self) -> Result<Box<dyn Solver>, Error> {
        let free = self.driver.free_bytes()?;
        Ok(Box::new(OnDevice::new(self.driver.clone(), free)))
    }
}
