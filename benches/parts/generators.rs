//! Steps of a generator: forward, losses, backward and Adam on one made-up batch.

use super::{Outcome, Part, normal, on_gpu};
use compute::nn::InputBatch;
use std::hint::black_box;
use std::sync::Arc;
use unmute::device::cpu;
use unmute::experiment::Config;
use unmute::experiment::config::{Architecture, Classifier, Engine, Loss};
use unmute::model::Sizes;
use unmute::model::generator::autoencoder::Autoencoder;
use unmute::model::generator::lstm::Precision;
use unmute::train::Batch;
use unmute::train::cell_trainer::{TrainedNetwork, adam};
use unmute::train::objective::Objective;

// What is counted of a step are the multiply-adds of its products, two operations each: forward, for the gradient of a weight, and for
// that of a layer's input where it gets one. Biases, gates, losses and Adam take their time, and count nothing.

pub fn lstm_step(part: &mut Part) -> Outcome {
    let [t, h, dims, batch] = [part.size("frames")?, part.size("hidden")?, part.size("dims")?, part.size("batch")?];
    // Projection and its weight's gradient; the recurrent product, its input's and its weight's gradient, but for the first frame,
    // before which the state is zero and nothing is multiplied.
    let of_gates = batch * 4 * h * (2 * t * dims + 3 * (t - 1) * h);
    part.flops = 2.0 * (of_gates + 3 * batch * heads(part, h, h)?) as f64;
    // How it would be shared on a large machine, whatever this one is.
    let large = rayon::ThreadPoolBuilder::new().num_threads(64).build()?;
    for (what, tasks) in large.install(|| compute::nn::lstm::tasks(dims, [t, batch, h])) {
        part.facts.insert(format!("tasks64_{what}"), tasks.into());
    }
    generator_step(part, Architecture::Lstm, t * batch, t)
}

pub fn autoencoder_step(part: &mut Part) -> Outcome {
    let (batch, dims) = (part.size("batch")?, part.size("dims")?);
    let Autoencoder { encoder, decoder, .. } = Autoencoder::default();
    let widths: Vec<usize> = encoder.iter().chain(&decoder).copied().collect();
    let inner: usize = widths.windows(2).map(|w| w[0] * w[1]).sum();
    let heads = heads(part, encoder[encoder.len() - 1], decoder[decoder.len() - 1])?;
    part.flops = 2.0 * (batch * (2 * dims * widths[0] + 3 * (inner + heads))) as f64;
    generator_step(part, Architecture::Autoencoder, batch, 18)
}

/// Weights of the classifier and the feature head.
fn heads(part: &Part, for_classes: usize, for_audio: usize) -> Result<usize, String> {
    Ok(for_classes * part.size("classes")? + for_audio * part.size("audio")?)
}

/// A generator's network with a batch for it.
pub struct Setup {
    pub config: Config,
    pub architecture: Architecture,
    pub loss: Loss,
    pub sizes: Sizes,
    pub frames: usize,
    pub batch: Batch,
}

/// Forward, losses, backward and Adam on one made-up batch, on the device of `device=` by the engine of `engine=`.
fn generator_step(part: &mut Part, architecture: Architecture, rows: usize, frames: usize) -> Outcome {
    let mut config: Config = serde_json::from_value(serde_json::json!({ "name": "bench", "grid": {} }))?;
    if architecture == Architecture::Lstm {
        config.lstm.hidden = part.size("hidden")?;
    }
    let word = |key: &str, default| part.arguments.get(key).map_or(default, String::as_str);
    config.lstm.precision = Precision::of_word(word("precision", "f32")).ok_or("precision=f32|bf16")?;
    config.train.engine = Engine::of_word(word("engine", "fused")).ok_or("engine=fused|dfdx")?;
    let loss = Loss::of_word(word("loss", "l2")).ok_or_else(|| format!("loss={}", Loss::words().join("|")))?;
    let device = word("device", "cpu").to_string();
    let sizes =
        Sizes { frames, visual: part.size("dims")?, audio: part.size("audio")?, classes: part.size("classes")? };
    let clips = part.size("batch")?;
    let batch = Batch {
        x: InputBatch::all(Arc::new(normal(rows * sizes.visual, "x")), rows),
        labels: (0..clips).map(|i| i % sizes.classes).collect(),
        target: normal(clips * sizes.audio, "target"),
    };
    let setup = Setup { config, architecture, loss, sizes, frames, batch };
    match device.as_str() {
        "cpu" => {
            let generator = setup.config.generator(architecture);
            let network = generator.describe().network(sizes);
            let engine = setup.config.train.engine;
            steps(part, &setup, cpu::engine(engine, &generator, &network, frames, 0)?)
        }
        name => on_gpu::step(part, &setup, name),
    }
}

/// Steps of a network.
pub fn steps(part: &mut Part, setup: &Setup, mut network: Box<dyn TrainedNetwork>) -> Outcome {
    let train = &setup.config.train;
    let objective = Objective { loss: setup.loss, classifier: Classifier::With, train };
    let adam = adam(train);
    part.time(3, || {
        black_box(network.step(&adam, &objective, &setup.batch)?.loss);
        Ok(())
    })
}
