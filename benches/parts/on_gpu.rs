//! Steps of a generator on a GPU, a cell alone.

use super::generators::Setup;
use super::{Outcome, Part};
use compute::nn::{AdamConfig, ParamState};
use std::hint::black_box;
use std::rc::Rc;
use unmute::device::choice::choose;
use unmute::experiment::config::Engine;
use unmute::gpu::api::Buffer;
use unmute::gpu::batched_params::BatchedParams;
use unmute::gpu::detect::find;
use unmute::gpu::driver::Driver;
use unmute::gpu::kernels::adam::Adam;
use unmute::gpu::losses::{Generated, Labels};
use unmute::gpu::network::{BackwardTape, Network, Pass};
use unmute::gpu::probe::Wanted;
use unmute::model::Network as Described;
use unmute::model::generator::Generator;
use unmute::model::loss::GpuLoss;
use unmute::train::cell_trainer::adam;
use unmute::train::trainer::SavedParam;

/// Steps of dfdx's on its own CUDA.
#[cfg(feature = "dfdx-cuda")]
fn dfdx_step(part: &mut Part, setup: &Setup, ordinal: usize, generator: Generator, network: &Described) -> Outcome {
    let device = dfdx::tensor::Cuda::try_build(ordinal, 0).map_err(|e| format!("{e:?}"))?;
    dfdx::tensor::Cache::enable_cache(&device);
    let network = unmute::train::reference::ReferenceNetwork::new(device, generator, network, setup.frames, 0)?;
    super::generators::steps(part, setup, Box::new(network))
}

#[cfg(not(feature = "dfdx-cuda"))]
fn dfdx_step(_: &mut Part, _: &Setup, _: usize, _: Generator, _: &Described) -> Outcome {
    Err("engine=dfdx on a GPU: this program was built without the feature dfdx-cuda".into())
}

/// Steps on a GPU, a cell alone. Each reads its loss, as those of the peers do.
pub fn step(part: &mut Part, setup: &Setup, name: &str) -> Outcome {
    let wanted = Wanted::parse(name).ok_or_else(|| format!("device={name}: should be cpu, cuda or cuda:N"))?;
    let ordinal = choose(wanted, &find(wanted))?.gpu.ok_or("no GPU was chosen")?;
    let Setup { config, loss, sizes, frames, batch, .. } = setup;
    let generator = config.generator(setup.architecture);
    let network = generator.describe().network(*sizes);
    if config.train.engine == Engine::Dfdx {
        return dfdx_step(part, setup, ordinal, generator, &network);
    }
    let (clips, driver) = (batch.labels.len(), Driver::open(ordinal)?);
    let trunk = generator.describe().fused().ok_or("no kernels for this generator")?;
    let form = loss.on_gpu(&config.train.loss_settings(), sizes.audio).ok_or("no kernels for this loss")?;
    let fresh = network.params.into_iter().map(|p| SavedParam {
        state: ParamState::fresh(p.initial(0)),
        name: p.name,
        shape: p.shape,
    });
    let params = BatchedParams::new(&driver, &[&fresh.collect::<Vec<_>>()], 0)?;
    let network = Network::new(params, &trunk, *frames, std::slice::from_ref(&(0..1)))?;
    let AdamConfig { lr, betas: [beta1, beta2], eps, .. } = adam(&config.train);
    let adam = Adam { lr, beta1, beta2, eps, decay: 0.0 };
    let engine = &*driver;
    let one = Buffer::of(engine, &[1.0f32])?;
    let (cls, rec) = (Buffer::<Driver>::zeros(engine, 1)?, Buffer::<Driver>::zeros(engine, 1)?);
    let share = 1.0 / clips as f32;
    part.time(3, || {
        // The batch comes from the host, as it does where features are not kept on the GPU.
        let x = Rc::new(Buffer::of(engine, &batch.x.numbers)?);
        let target = Buffer::of(engine, &batch.target)?;
        let labels = Labels::new(engine, &batch.labels, sizes.classes)?;
        let mut pass = Pass::recorded(&network, 0..1, clips, false);
        let trunks = pass.trunks(x)?;
        let (logits, audio) = (pass.logits(&trunks)?, pass.audio(&trunks, &network.branches[0])?);
        let said = labels.of(1, 0..clips, logits.value.all())?;
        let sums = said.log_sums(engine)?;
        said.losses(engine, sums.all(), cls.all())?;
        said.gradient(engine, sums.all(), one.all(), share, logits.gradient.all())?;
        let made = Generated::new([1, clips, sizes.audio], audio.value.all(), target.all())?;
        match form {
            GpuLoss::Kl(block) => {
                let made = made.blocks(block)?;
                let sums = made.log_sums(engine)?;
                made.divergences(engine, &sums, rec.all())?;
                made.kl_gradient(engine, &sums, one.all(), share, audio.gradient.all())?;
            }
            GpuLoss::L2Mean | GpuLoss::L2Sum => {
                let scale = if form == GpuLoss::L2Mean { share / sizes.audio as f32 } else { share };
                made.squares(engine, rec.all())?;
                made.l2_gradient(engine, one.all(), scale, audio.gradient.all())?;
            }
        }
        pass.tape.map_or(Ok(()), BackwardTape::backward)?;
        network.params.update(&adam)?;
        black_box((cls.all().read(engine)?, rec.all().read(engine)?));
        Ok(())
    })
}
