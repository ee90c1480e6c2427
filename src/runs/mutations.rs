//! Damaged checkpoints and files of weights: read as they were written, or not at all.

use super::checkpoint;
use super::weights::{Description, FORMAT, Tensor, Weights};
use crate::dataset::{Feature, Standardiser};
use crate::experiment::Part;
use crate::experiment::config::{Engine, Svm};
use crate::fuzz::Target;
use crate::train::trainer::SavedParam;
use crate::train::{Checkpoint, Epoch, Measures};
use compute::nn::ParamState;

const WORDS: [&str; 14] = [
    "\"F16\"",
    "\"I64\"",
    "[",
    "{",
    "}",
    "\"",
    "\\u0000",
    "__metadata__",
    "18446744073709551615",
    "-1",
    "blake3",
    "order",
    "epochs",
    "attempt",
];

#[test]
fn checkpoints() {
    let dir = tempfile::tempdir().unwrap();
    let path = checkpoint::path(dir.path(), "abc");
    let param = |name: &str| SavedParam {
        name: name.into(),
        shape: (2, 1),
        state: ParamState { value: vec![1.0, -2.5], moment1: vec![0.0; 2], moment2: vec![1e-30; 2] },
    };
    let checkpoint = Checkpoint { epoch: 3, step: 12, params: vec![param("z"), param("a")], best: None };
    let measures = Measures { loss: 0.1, loss_cls: 0.2, loss_rec: -0.0, accuracy: 50.0, feature_error: 1e300 };
    let epochs = (1..=3).map(|epoch| Epoch { epoch, train: measures, val: measures }).collect();
    let saved = checkpoint::Saved { checkpoint, epochs, attempt: 2 };
    checkpoint::save(&path, &saved).unwrap();
    let good = [std::fs::read(&path).unwrap()];
    let target = Target { name: "checkpoint", good: &good, words: &WORDS, times: 2000 };
    target.attack(|bytes| {
        std::fs::write(&path, bytes).unwrap();
        checkpoint::epoch(&path);
        match checkpoint::load(&path) {
            // A change that means nothing: blanks in the header, say.
            Some(found) => {
                assert_eq!(found, saved, "another training goes on than was left");
                true
            }
            None => false,
        }
    });
}

#[test]
fn files_of_weights() {
    let description = Description {
        format: FORMAT,
        run: "abc".into(),
        cell: "rgb".into(),
        seed: Some(3),
        part: Part::Stream { stream: "rgb".into() },
        dataset: "tiny".into(),
        frames: 4,
        streams: vec![Feature { name: "rgb".into(), width: 2 }],
        audio: None,
        classes: vec!["a".into(), "b".into()],
        settings: serde_json::Value::Null,
        engine: Engine::Fused,
        svm: Svm::default(),
        params: vec![],
    };
    let mut weights = Weights { description, tensors: vec![Tensor::matrix("head.w", 2, vec![1.0, -2.5, 1e-30, 0.1])] };
    weights.add_scale("input", &Standardiser { mean: vec![0.5, 1.0], inverse_sd: vec![2.0, 3.0] });
    let good = [weights.to_bytes().unwrap()];
    let tried = Target { name: "weights", good: &good, words: &WORDS, times: 2000 }.attack(|bytes| {
        match Weights::of_bytes(bytes) {
            Ok(found) => {
                for tensor in &found.tensors {
                    assert_eq!(tensor.values.len(), tensor.shape.iter().product::<usize>());
                }
                found.scale("input");
                true
            }
            Err(why) => {
                assert!(why.chars().count() < 2000, "a message of a few lines: {why}");
                false
            }
        }
    });
    assert!(tried.taken > 3, "{tried:?}");
}
