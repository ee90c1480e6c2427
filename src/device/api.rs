//! What runs ask of a device.

use crate::experiment::config::Engine;
use crate::gpu::memory::MemoryPlan;
use crate::model::Sizes;
use crate::model::generator::Generator;
use crate::score::Solver;
use crate::train::cell_trainer::TrainedNetwork;
use crate::train::heads::{Head, TrainedHead};
use crate::train::{Checkpoint, Error, Task, Trainer};

/// Whether the program has dfdx's own CUDA.
pub const HAS_DFDX_CUDA: bool = cfg!(feature = "dfdx-cuda");

/// Why a run of `train.engine: dfdx` cannot be trained on a GPU by a program without dfdx's CUDA.
pub const NO_DFDX: &str = "train.engine is dfdx, and this program was built without dfdx's own CUDA\n  next: use \
                           train.engine: fused, build with --features dfdx-cuda (docs/cuda.md says what that takes)";

/// A device for one run. It stays on its thread, and gives back what it keeps for reuse when it is dropped.
pub trait Device {
    /// How many of these tasks its memory holds side by side as it is now, and what their features and batches have to do
    /// with that. An error says what a single one asks for.
    fn room(&self, tasks: &[Task]) -> Result<MemoryPlan, Error>;

    /// Generators as one trainer. Tasks are of one group ([`crate::runs::grouping`]); checkpoints are of their networks
    /// ([`Task::takes`]) and of one epoch, or there is none; the plan is [`Device::room`]'s of all these tasks.
    fn trainer(
        &self,
        tasks: Vec<Task>,
        from: Vec<Option<Checkpoint>>,
        plan: MemoryPlan,
    ) -> Result<Box<dyn Trainer>, Error>;

    /// Trains a head on a visual stream. `step` is told the steps done and all that there are.
    fn head(
        &self,
        head: &Head,
        engine: Engine,
        step: &mut dyn FnMut(usize, usize) -> Result<(), Error>,
    ) -> Result<TrainedHead, Error>;

    /// A network of these sizes to put trained weights into ([`TrainedNetwork::restore`]).
    fn network(&self, engine: Engine, generator: &Generator, sizes: Sizes) -> Result<Box<dyn TrainedNetwork>, Error>;

    /// What trains SVMs and computes their decision values.
    fn solver(&self) -> Result<Box<dyn Solver>, Error>;
}
