//! Weights that another program changed come back: the tensors of a `state_dict`, under the names that [`super::state_dict`]
//! writes, in place of a run's own. All of them have to be there, and no other; scales are among them.

use super::state_dict::state_dict;
use super::{Portable, transposed};
use crate::dataset::import::npy_archive;
use crate::runs::trained;
use crate::runs::weights::{Tensor, Weights, tensors_of};
use std::path::{Path, PathBuf};

/// Why weights of another program cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that is none of the two formats, or not whole.
    #[error("{}: {why}\n  next: write it with safetensors' save_file, or with numpy.savez", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Tensors with other names, or too few of them.
    #[error(
        "{}: these are not the weights of {of}: {why}\n  next: `unmute export weights {run}` shows the names; `load_state_dict(strict=True)` of examples/pytorch takes the same",
        path.display()
    )]
    Names {
        /// The file.
        path: PathBuf,
        /// The cell and seed.
        of: String,
        /// The run, as it is shown.
        run: String,
        /// What is missing and what is too much.
        why: String,
    },
    /// A tensor of another shape.
    #[error("{}: {why}\n  next: use the settings of the run (`unmute show {run}`)", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor with both shapes.
        why: String,
        /// The run, as it is shown.
        run: String,
    },
    /// A number that is none.
    #[error("{}: {name} holds {value} at place {place}; weights must be finite\n  next: see where the training that made them diverged", path.display())]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Where in it.
        place: usize,
        /// NaN or infinity.
        value: f32,
    },
    /// The run's own weights.
    #[error(transparent)]
    Own(#[from] trained::Error),
}

/// Reads a file of `.safetensors` or `.npz` in place of the weights of a run, whose names and shapes it has to have.
pub fn read(path: &Path, own: &Weights) -> Result<Weights, Error> {
    let wrong = |why: String| Error::File { path: path.into(), why };
    let archive = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("npz"));
    let tensors = match archive {
        true => {
            let arrays = npy_archive(path).map_err(|e| wrong(e.to_string()))?;
            arrays.into_iter().map(|(name, shape, values)| Tensor { name, shape, values }).collect()
        }
        false => {
            let bytes = std::fs::read(path).map_err(|e| wrong(crate::explain_io(&e)))?;
            tensors_of(&bytes).map_err(|why| wrong(format!("no whole safetensors file ({why})")))?
        }
    };
    replaced(path, own, tensors)
}

fn replaced(path: &Path, own: &Weights, tensors: Vec<Tensor>) -> Result<Weights, Error> {
    let (of, run) = (own.description.name(), own.description.run.get(..12).unwrap_or_default().to_string());
    let expected = state_dict(&Portable::Network(own.clone()))?;
    let names = |all: Vec<&str>, what: &str| match &all[..] {
        [] => None,
        [first, rest @ ..] if rest.len() > 3 => Some(format!("{first} and {} more {what}", rest.len())),
        some => Some(format!("{} {what}", some.join(", "))),
    };
    let has = |all: &[Tensor], name: &str| all.iter().any(|t| t.name == name);
    let missing = expected.iter().map(|t| t.name.as_str()).filter(|name| !has(&tensors, name)).collect();
    let more = tensors.iter().map(|t| t.name.as_str()).filter(|name| !has(&expected, name)).collect();
    let why: Vec<String> = [names(missing, "missing"), names(more, "unknown")].into_iter().flatten().collect();
    if !why.is_empty() {
        return Err(Error::Names { path: path.into(), of, run, why: why.join("; ") });
    }
    for theirs in &tensors {
        let Some(ours) = expected.iter().find(|t| t.name == theirs.name) else { continue };
        if ours.shape != theirs.shape {
            let why = format!("{} is {:?}, and that of {of} is {:?}", theirs.name, theirs.shape, ours.shape);
            return Err(Error::Shape { path: path.into(), why, run });
        }
        if let Some(place) = theirs.values.iter().position(|v| !v.is_finite()) {
            let value = theirs.values[place];
            return Err(Error::NotFinite { path: path.into(), name: theirs.name.clone(), place, value });
        }
    }
    let found = |name: &str| tensors.iter().find(|t| t.name == name);
    let mut weights = own.clone();
    for tensor in &mut weights.tensors {
        let param = own.description.params.contains(&tensor.name);
        let turned = |from: Option<&Tensor>| from.map(|t| transposed(t).values);
        let flat = |from: Option<&Tensor>| from.map(|t| t.values.clone());
        let values = match (tensor.name.as_str(), tensor.name.rsplit_once('.')) {
            _ if !param => flat(found(&tensor.name.replace('.', "_"))),
            ("lstm.w", _) => turned(found("lstm.weight_ih_l0")),
            ("lstm.u", _) => turned(found("lstm.weight_hh_l0")),
            ("lstm.b", _) => {
                // PyTorch has two biases, which act as their sum.
                let both = flat(found("lstm.bias_ih_l0")).zip(flat(found("lstm.bias_hh_l0")));
                both.map(|(a, b)| a.iter().zip(&b).map(|(a, b)| a + b).collect())
            }
            (_, Some((layer, "w"))) => turned(found(&format!("{layer}.weight"))),
            (_, Some((layer, "g"))) => flat(found(&format!("{layer}.weight"))),
            (_, Some((layer, "b"))) => flat(found(&format!("{layer}.bias"))),
            _ => flat(found(&tensor.name)),
        };
        // The names were compared, so that each is there.
        tensor.values = values.unwrap_or_else(|| std::mem::take(&mut tensor.values));
    }
    Ok(weights)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{Feature, Standardiser};
    use crate::experiment::Part;
    use crate::experiment::config::{Architecture, Classifier, Engine, Loss, Svm};
    use crate::runs::weights::Description;

    fn own() -> Weights {
        let feature = |name: &str, width| Feature { name: name.into(), width };
        let part = Part::Generator {
            audio: "a".into(),
            generator: Architecture::Lstm,
            loss: Loss::L2,
            classifier: Classifier::With,
        };
        let params = ["lstm.w", "lstm.u", "lstm.b", "audio.w", "audio.b"];
        let description = Description {
            format: 1,
            run: "0123456789abcdef".into(),
            cell: part.key(),
            seed: Some(1),
            part,
            dataset: "d".into(),
            frames: 2,
            streams: vec![feature("rgb", 3)],
            audio: Some(feature("a", 2)),
            classes: vec!["x".into(), "y".into()],
            settings: serde_json::json!({ "hidden": 1 }),
            engine: Engine::Fused,
            svm: Svm::default(),
            params: params.map(String::from).into(),
        };
        let numbers = |from: usize, n: usize| (from..from + n).map(|i| i as f32).collect();
        let tensors = vec![
            Tensor::matrix("lstm.w", 4, numbers(0, 12)),
            Tensor::matrix("lstm.u", 4, numbers(20, 4)),
            Tensor::matrix("lstm.b", 4, numbers(30, 4)),
            Tensor::matrix("audio.w", 2, numbers(40, 2)),
            Tensor::matrix("audio.b", 2, numbers(50, 2)),
        ];
        let mut weights = Weights { description, tensors };
        weights.add_scale("input", &Standardiser { mean: vec![1.0, 2.0, 3.0], inverse_sd: vec![1.0; 3] });
        weights
    }

    #[test]
    fn what_is_exported_comes_back_and_what_is_not_it_is_named() {
        let (own, path) = (own(), Path::new("w.safetensors"));
        let mut dict = state_dict(&Portable::Network(own.clone())).unwrap();
        assert_eq!(replaced(path, &own, dict.clone()).unwrap(), own);
        let at = |dict: &[Tensor], name: &str| dict.iter().position(|t| t.name == name).unwrap();
        let hidden = at(&dict, "lstm.bias_hh_l0");
        dict[hidden].values[2] = 0.5;
        assert_eq!(replaced(path, &own, dict.clone()).unwrap().get("lstm.b").unwrap().values[2], 32.5, "the sum");
        let told = |dict: Vec<Tensor>| replaced(path, &own, dict).unwrap_err().to_string();
        let mut other = dict.clone();
        other[0].name = "lstm.weight_ih_l1".into();
        let said = told(other);
        assert!(said.contains("lstm.weight_ih_l0 missing; lstm.weight_ih_l1 unknown"), "{said}");
        let mut other = dict.clone();
        other[0].shape = vec![3, 4];
        assert!(told(other).contains("lstm.weight_ih_l0 is [3, 4], and that of a/lstm/l2/with seed 1 is [4, 3]"));
        dict[1].values[3] = f32::NAN;
        assert!(told(dict).contains("holds NaN at place 3"));
    }
}
