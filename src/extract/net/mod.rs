//! The user's networks: what they are called with, what they are fed with, and what runs them.

pub mod network;
pub mod onnx;
mod onnxruntime;
pub mod preset;
#[cfg(feature = "rten")]
mod rten;
pub mod runtime;
pub mod spec;

use super::error::{ClipError, Error};
use network::{Device, Network, Outputs};
use onnx::Graph;
use preset::Input;
use runtime::Runtime;
use spec::NetSpec;
use std::path::PathBuf;

/// Patches or crops in one call at most; more than one only where it is the same for every clip.
const BATCH: usize = 16;

/// A network whose file, input and outputs have been checked.
#[derive(Clone, Debug)]
pub struct Net {
    /// The stream's or audio feature's name.
    pub name: String,
    /// The preset's name.
    pub preset: &'static str,
    /// What it is fed with.
    pub input: Input,
    /// Its file.
    pub file: PathBuf,
    /// BLAKE3 of the file.
    pub hash: String,
    /// The output that the features are.
    pub output: String,
    /// The output that class scores are, where they are wanted.
    pub scores: Option<String>,
    /// The file's bytes, with all wanted outputs.
    bytes: Vec<u8>,
    /// Whether an output was added to them.
    changed: bool,
    /// The input's shape, None where the batch is.
    shape: Vec<Option<usize>>,
    /// Channels come last.
    channels_last: bool,
}

/// Bytes of a network that are read; ONNX itself ends at 2 GiB.
const LARGEST_FILE: u64 = 4 << 30;

impl Net {
    /// Reads and checks a network's file; `scores` names the output with class scores.
    pub fn open(spec: &NetSpec, crops: Option<&str>, scores: Option<&str>) -> Result<Net, Error> {
        let bad = |message: String| Error::Net { name: spec.name.clone(), path: spec.file.clone(), message };
        let mut bytes = crate::files::read(&spec.file, LARGEST_FILE).map_err(|e| bad(crate::explain_io(&e)))?;
        let hash = blake3::hash(&bytes);
        let graph = Graph::read(&bytes).map_err(bad)?;
        let [input] = &graph.inputs[..] else {
            let names: Vec<&str> = graph.inputs.iter().map(|i| i.name.as_str()).collect();
            return Err(bad(format!("it takes {} inputs ({}); one is given", names.len(), names.join(", "))));
        };
        if input.kind != onnx::FLOAT && input.kind != 0 {
            return Err(bad(format!(
                "its input {:?} is not float32\n  next: export the network in float32",
                input.name
            )));
        }
        let unknown = vec![None; 4];
        let shape = input.shape.clone().unwrap_or(unknown);
        let channels = match shape[..] {
            [_, Some(channels), height, width] if width == height || channels <= 128 => Some(channels),
            _ => None,
        };
        let channels = if shape.len() == 4 && shape[3] == Some(3) { Some(3) } else { channels };
        let front = spec.input(channels, crops).map_err(bad)?;
        let channels_last = fits(&shape, &front).ok_or_else(|| {
            let preset = spec.preset.name();
            let wanted: Vec<Option<usize>> = [None].into_iter().chain(front.shape().into_iter().map(Some)).collect();
            bad(format!(
                "its input is {}, but preset {preset} gives {}\n  next: choose the preset that the network was trained with, or change what differs, such as {preset},crop=299",
                onnx::shown(&shape),
                onnx::shown(&wanted)
            ))
        })?;
        let mut changed = false;
        let mut output = |name: Option<&str>| match name {
            None => match &graph.outputs[..] {
                [only] => Ok(only.name.clone()),
                all => {
                    let names: Vec<String> = all.iter().map(described).collect();
                    Err(bad(format!(
                        "it has {} outputs: {}\n  next: name the one that the features are, {}#{}",
                        all.len(),
                        names.join(", "),
                        spec.file.display(),
                        all.first().map_or("name", |t| &t.name)
                    )))
                }
            },
            Some(name) => {
                if !graph.outputs.iter().any(|o| o.name == name) {
                    if !graph.layers.iter().any(|l| l == name) {
                        let names: Vec<&String> = graph.outputs.iter().map(|o| &o.name).chain(&graph.layers).collect();
                        let hint = crate::suggest::nearest(name, &names);
                        return Err(bad(format!("no output or layer is called {name:?}{hint}")));
                    }
                    bytes = onnx::with_output(&bytes, name);
                    changed = true;
                }
                Ok(name.to_string())
            }
        };
        let scores = scores.map(|name| output(Some(name))).transpose()?;
        let output = match (&spec.output, &scores) {
            // Of two outputs the one that is not the scores.
            (None, Some(scores)) if graph.outputs.len() == 2 && graph.outputs.iter().any(|o| o.name == *scores) => {
                graph.outputs.iter().map(|o| &o.name).find(|n| *n != scores).cloned().unwrap_or_default()
            }
            (name, _) => output(name.as_deref())?,
        };
        Ok(Net {
            name: spec.name.clone(),
            preset: spec.preset.name(),
            input: front,
            file: spec.file.clone(),
            hash: hash.to_hex().to_string(),
            output,
            scores,
            bytes,
            changed,
            shape,
            channels_last,
        })
    }

    /// Makes it ready and runs it once on zeros, so that what it cannot take is told before anything is decoded.
    pub fn load(&self, runtime: &Runtime, device: Device) -> Result<Ready, Error> {
        let bad = |message: String| Error::Net { name: self.name.clone(), path: self.file.clone(), message };
        let outputs: Vec<String> = [&self.output].into_iter().chain(&self.scores).cloned().collect();
        let file = (!self.changed).then_some(self.file.as_path());
        let network = runtime.network(&self.bytes, file, &outputs, device).map_err(bad)?;
        let mut ready = Ready {
            network,
            item: self.input.shape().iter().product(),
            shape: self.shape.clone(),
            item_shape: self.input.shape(),
            channels_last: self.channels_last,
            batch: BATCH,
            widths: Vec::new(),
        };
        if let Some(Some(n)) = self.shape.first() {
            ready.batch = *n;
        }
        let zeros = vec![0.0; ready.item];
        let outputs = ready.run(&zeros).map_err(bad)?;
        if outputs.iter().any(|rows| rows.is_empty() || rows[0].is_empty()) {
            return Err(bad("its output is empty".into()));
        }
        ready.widths = outputs.iter().map(|rows| rows[0].len()).collect();
        Ok(ready)
    }
}

/// Whether a network's input takes what a preset gives: Some(true) where its channels come last.
fn fits(shape: &[Option<usize>], front: &Input) -> Option<bool> {
    let wanted = front.shape();
    let matches = |axes: &[Option<usize>], wanted: &[usize]| {
        axes.len() == wanted.len() && axes.iter().zip(wanted).all(|(a, w)| a.is_none_or(|a| a == *w))
    };
    let axes = shape.get(1..)?;
    if matches(axes, &wanted) {
        return Some(false);
    }
    let last = [wanted[1], wanted[2], wanted[0]];
    if matches(axes, &last) || (wanted[0] == 1 && matches(axes, &last[..2])) {
        return Some(wanted[0] != 1);
    }
    None
}

fn described(tensor: &onnx::Tensor) -> String {
    match &tensor.shape {
        Some(shape) => format!("{} {}", tensor.name, onnx::shown(shape)),
        None => tensor.name.clone(),
    }
}

/// A network that runs.
pub struct Ready {
    network: Box<dyn Network>,
    /// Numbers of one patch or crop.
    item: usize,
    item_shape: Vec<usize>,
    shape: Vec<Option<usize>>,
    channels_last: bool,
    batch: usize,
    widths: Vec<usize>,
}

impl Ready {
    /// Numbers of a row of each wanted output.
    pub fn widths(&self) -> &[usize] {
        &self.widths
    }

    /// Rows of each wanted output for any number of patches or crops, laid one behind the other.
    pub fn run(&mut self, items: &[f32]) -> Result<Vec<Vec<Vec<f32>>>, String> {
        let mut rows: Vec<Vec<Vec<f32>>> = Vec::new();
        for block in items.chunks(self.item * self.batch) {
            let count = block.len() / self.item;
            let fixed = self.shape.first().copied().flatten();
            // A network with a batch of its own takes no less.
            let size = fixed.unwrap_or(count);
            let mut input = if self.channels_last { channels_last(block, &self.item_shape) } else { block.to_vec() };
            input.resize(size * self.item, 0.0);
            let mut shape: Vec<usize> = vec![size];
            match self.shape.len() {
                3 => shape.extend(&self.item_shape[1..]),
                _ if self.channels_last || (self.item_shape[0] == 1 && self.shape.get(3) == Some(&Some(1))) => {
                    shape.extend([self.item_shape[1], self.item_shape[2], self.item_shape[0]]);
                }
                _ => shape.extend(&self.item_shape),
            }
            let outputs = self.network.run(&shape, &input)?;
            collect(outputs, size, count, &mut rows)?;
        }
        Ok(rows)
    }
}

/// Appends the first `count` of `size` rows of each output.
fn collect(outputs: Outputs, size: usize, count: usize, rows: &mut Vec<Vec<Vec<f32>>>) -> Result<(), String> {
    rows.resize_with(outputs.len(), Vec::new);
    for ((shape, numbers), rows) in outputs.into_iter().zip(rows) {
        if numbers.is_empty() || numbers.len() % size != 0 {
            let shape: Vec<Option<usize>> = shape.into_iter().map(Some).collect();
            return Err(format!(
                "its output is {} for a batch of {size}; a row for each was expected",
                onnx::shown(&shape)
            ));
        }
        rows.extend(numbers.chunks_exact(numbers.len() / size).take(count).map(<[f32]>::to_vec));
    }
    Ok(())
}

/// (n, c, h, w) as (n, h, w, c).
fn channels_last(items: &[f32], shape: &[usize]) -> Vec<f32> {
    let (channels, pixels) = (shape[0], shape[1] * shape[2]);
    let mut out = Vec::with_capacity(items.len());
    for item in items.chunks_exact(channels * pixels) {
        for pixel in 0..pixels {
            out.extend((0..channels).map(|c| item[c * pixels + pixel]));
        }
    }
    out
}

impl ClipError {
    pub(super) fn network(net: &Net, message: String) -> ClipError {
        ClipError::Network { net: net.name.clone(), message }
    }
}

#[cfg(test)]
mod tests {
    use super::preset::Preset;
    use super::*;

    #[test]
    fn shapes_are_held_against_presets() {
        let n = |shape: &[usize]| -> Vec<Option<usize>> { shape.iter().map(|&n| (n > 0).then_some(n)).collect() };
        let rgb = Preset::Imagenet.input(false);
        assert_eq!(fits(&n(&[0, 3, 224, 224]), &rgb), Some(false));
        assert_eq!(fits(&n(&[0, 3, 0, 0]), &rgb), Some(false));
        assert_eq!(fits(&n(&[1, 224, 224, 3]), &rgb), Some(true));
        assert_eq!(fits(&n(&[0, 3, 299, 299]), &rgb), None);
        assert_eq!(fits(&n(&[0, 10, 224, 224]), &rgb), None);
        let sound = Preset::Vggish.input(false);
        for shape in [&[0, 1, 96, 64][..], &[0, 96, 64], &[0, 96, 64, 1]] {
            assert_eq!(fits(&n(shape), &sound), Some(false), "{shape:?}");
        }
        assert_eq!(fits(&n(&[0, 64, 96]), &sound), None);
        assert_eq!(fits(&[], &sound), None);
    }

    #[test]
    fn channels_can_come_last() {
        assert_eq!(channels_last(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[3, 1, 2]), [1.0, 3.0, 5.0, 2.0, 4.0, 6.0]);
    }
}
