//! dfdx's own CUDA, in programs that are built with it: on a GPU, or on the stand-in (`just test-dfdx-cuda`).

use super::on_gpu::{TOLERANCE, config, ordinal};
use crate::support::networks::rows_of;
use crate::support::numbers::{assert_close, normal, wide};
use compute::nn::InputBatch;
use dfdx::prelude::*;
use std::sync::Arc;
use unmute::experiment::config::{Architecture, Classifier, Loss};
use unmute::model::Sizes;
use unmute::train::Batch;
use unmute::train::cell_trainer::TrainedNetwork;
use unmute::train::objective::Objective;
use unmute::train::reference::{DfdxDevice, ReferenceNetwork};

/// Outputs, losses and the gradient of every parameter in dfdx's operations.
fn by_dfdx<D: DfdxDevice>(device: D, architecture: Architecture) -> Vec<Vec<f32>> {
    let (sizes, clips) = (Sizes { frames: 18, visual: 96, audio: 20, classes: 5 }, 33);
    let generator = config().generator(architecture);
    let rows = rows_of(&generator, sizes, clips);
    let described = generator.describe().network(sizes);
    let network = ReferenceNetwork::new(device, generator, &described, sizes.frames, 3).unwrap();
    let batch = Batch {
        x: InputBatch::all(Arc::new(normal(rows * sizes.visual, 1.0, "x")), rows),
        labels: (0..clips).map(|clip| clip % sizes.classes).collect(),
        target: normal(clips * sizes.audio, 1.0, "target"),
    };
    let train = config().train;
    let objective = Objective { loss: Loss::L2, classifier: Classifier::With, train: &train };
    let (logits, audio) = network.outputs(&batch.x).unwrap();
    let (losses, gradients) = network.gradients(&objective, &batch).unwrap();
    let mut numbers = vec![logits.to_vec(), audio.to_vec(), losses.to_vec()];
    numbers.extend(gradients.into_iter().map(|(_, gradient)| gradient));
    numbers
}

#[test]
#[ignore = "needs a GPU: just test-cuda"]
fn dfdxs_outputs_and_gradients_are_those_of_its_cpu() {
    let ordinal = ordinal();
    for &architecture in Architecture::ALL {
        let ours = by_dfdx(Cuda::try_build(ordinal, 0).unwrap(), architecture);
        for (i, (ours, cpu)) in ours.iter().zip(&by_dfdx(Cpu::default(), architecture)).enumerate() {
            assert_close(&format!("{architecture} {i}"), ours, &wide(cpu), TOLERANCE);
        }
    }
}
