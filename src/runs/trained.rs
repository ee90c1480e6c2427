//! Trained networks in use: a generator makes the audio feature of clips, a head classifies them by a stream, an SVM bank by
//! an audio feature.

use super::footage::Footage;
use super::weights::{Description, Weights};
use super::work;
use crate::dataset::{Feature, Features, Standardiser};
use crate::device::Device;
use crate::experiment::Part;
use crate::model::Sizes;
use crate::model::generator::{Generator, TestFrame};
use crate::model::network::Sees;
use crate::score::{Bank, Scores};
use crate::store::{RunRecord, State, Store};
use crate::train;
use crate::train::cell_trainer::TrainedNetwork;
use crate::train::trainer::SavedParam;
use compute::nn::{InputBatch, ParamState};
use std::sync::Arc;

/// Why a trained network cannot be used on a data set.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A stream or audio feature that is not there.
    #[error(
        "data set {dataset} has no {kind} {name:?}, which {of} was trained on (it has {has})\n  next: extract it, or use a run that was trained on the streams that are there (`unmute ls`)"
    )]
    NoFeature {
        /// The data set.
        dataset: String,
        /// `stream` or `audio feature`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The cell and seed.
        of: String,
        /// What is there.
        has: String,
    },
    /// Class probabilities that came with the run's data set and do not come with this one.
    #[error(
        "data set {dataset} brings no class scores of {stream} along for the run's classes; the run's own data set did, so no head was trained\n  next: extract them (`unmute extract --scores`) and import, or train heads on a data set without scores (`unmute data import --no-scores`)"
    )]
    NoGivenScores {
        /// The stream.
        stream: String,
        /// The data set.
        dataset: String,
    },
    /// A width that is another one.
    #[error(
        "{name} of data set {dataset} is {here} numbers wide, and {of} was trained on {there}\n  next: use features of the same extractor"
    )]
    Width {
        /// The data set.
        dataset: String,
        /// The stream or audio feature.
        name: String,
        /// Its width.
        here: usize,
        /// The width in training.
        there: usize,
        /// The cell and seed.
        of: String,
    },
    /// Another number of frames.
    #[error(
        "data set {dataset} has {here} frames a clip, and {of} was trained on {there}\n  next: import it with --frames {there}"
    )]
    Frames {
        /// The data set.
        dataset: String,
        /// Frames here.
        here: usize,
        /// Frames in training.
        there: usize,
        /// The cell and seed.
        of: String,
    },
    /// What comes out is no number.
    #[error(
        "clip {clip:?}: the {what} that comes out is not finite\n  next: see that the clip's features are (`unmute data stats`)"
    )]
    NotFinite {
        /// The clip.
        clip: String,
        /// `feature` or `probability`.
        what: &'static str,
    },
    /// Weights that do not fit what they say of themselves.
    #[error(
        "the weights of {of} are not whole: {why}\n  next: train the run again (`unmute verify RUN --dataset DIR --keep-weights`)"
    )]
    Broken {
        /// The cell and seed.
        of: String,
        /// What is wrong.
        why: String,
    },
    /// A generator that cannot be written in a format.
    #[error(
        "{of}: the generator {generator} has no ONNX form\n  next: --format safetensors or torch-npz has its weights"
    )]
    NoForm {
        /// The cell and seed.
        of: String,
        /// The generator.
        generator: &'static str,
    },
    /// No bank scores a generated feature.
    #[error(
        "the SVM bank of {audio} that {of} was scored with is not in the store\n  next: run its experiment again, or merge the store that has it"
    )]
    NoBank {
        /// The audio feature.
        audio: String,
        /// The cell and seed.
        of: String,
    },
    /// The network or the device.
    #[error(transparent)]
    Train(#[from] train::Error),
    /// The SVM bank.
    #[error(transparent)]
    Score(#[from] crate::score::Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] crate::store::Error),
}

/// A trained generator.
pub struct TrainedGenerator {
    /// What it is.
    pub description: Description,
    /// The audio feature that it generates.
    pub audio: Feature,
    generator: Generator,
    sees: Sees,
    network: Box<dyn TrainedNetwork>,
    input: Standardiser,
    target: Standardiser,
    matched: Option<(Standardiser, Standardiser)>,
}

/// Clips that one forward pass handles, as in training's measures.
const BATCH: usize = 64;

fn broken(of: &Description, why: impl Into<String>) -> Error {
    Error::Broken { of: of.name(), why: why.into() }
}

/// The generator that weights are of, with its settings.
pub fn generator(weights: &Weights) -> Result<(Generator, Sizes, Feature), Error> {
    let d = &weights.description;
    let Part::Generator { generator, .. } = &d.part else { return Err(broken(d, "they are of no generator")) };
    let audio = d.audio.clone().ok_or_else(|| broken(d, "no audio feature"))?;
    let generator = Generator::from_json(*generator, d.settings.clone()).map_err(|e| broken(d, e.to_string()))?;
    let visual = d.streams.iter().map(|s| s.width).sum();
    Ok((generator, Sizes { frames: d.frames, visual, audio: audio.width, classes: d.classes.len() }, audio))
}

impl TrainedGenerator {
    /// From its weights.
    pub fn of(weights: &Weights, device: &dyn Device) -> Result<TrainedGenerator, Error> {
        let d = &weights.description;
        let (generator, sizes, audio) = generator(weights)?;
        let mut network = device.network(d.engine, &generator, sizes)?;
        let params = d.params.iter().map(|name| {
            let tensor = weights.get(name).ok_or_else(|| broken(d, format!("no {name}")))?;
            let &[rows, columns] = &tensor.shape[..] else { return Err(broken(d, format!("{name} is no matrix"))) };
            let state = ParamState::fresh(tensor.values.clone());
            Ok(SavedParam { name: name.clone(), shape: (rows, columns), state })
        });
        network.restore(params.collect::<Result<_, Error>>()?, 0)?;
        let scale = |name: &str, width: usize| {
            let scale = weights.scale(name).filter(|s| s.width() == width);
            scale.ok_or_else(|| broken(d, format!("no scale {name:?} of {width} dimensions")))
        };
        let matched = match weights.get("match.from.mean") {
            None => None,
            Some(_) => Some((scale("match.from", sizes.audio)?, scale("match.to", sizes.audio)?)),
        };
        Ok(TrainedGenerator {
            input: scale("input", sizes.visual)?,
            target: scale("target", sizes.audio)?,
            sees: generator.describe().network(sizes).sees,
            description: d.clone(),
            audio,
            generator,
            network,
            matched,
        })
    }

    /// The generated feature of clips on the raw feature's scale, (N, D_a), as the run's own scores were made from; `step` is
    /// told the clips done.
    pub fn generate(&self, footage: &Footage, clips: &[usize], step: &mut dyn FnMut(usize)) -> Result<Vec<f32>, Error> {
        let streams = streams(footage, &self.description)?;
        let frames = footage.frames;
        let shown: Vec<usize> = match (self.sees, self.generator.describe().test_frame()) {
            (Sees::Frames, _) => vec![0],
            (Sees::OneFrame, TestFrame::Centre) => vec![frames / 2],
            (Sees::OneFrame, TestFrame::Mean) => (0..frames).collect(),
        };
        let (width, steps) = (self.input.width(), if self.sees == Sees::Frames { frames } else { 1 });
        let mut out = Vec::with_capacity(clips.len() * self.target.width());
        for (i, batch) in clips.chunks(BATCH).enumerate() {
            let mut sum = vec![0.0; batch.len() * self.target.width()];
            for &first in &shown {
                let mut x = vec![0.0; steps * batch.len() * width];
                for (b, &clip) in batch.iter().enumerate() {
                    for t in 0..steps {
                        let row = &mut x[(t * batch.len() + b) * width..][..width];
                        footage.frame(&streams, &self.input, clip, first + t, row);
                    }
                }
                let audio = self.network.outputs(&InputBatch::all(Arc::new(x), steps * batch.len()))?.1;
                let part = shown.len() as f32;
                match shown.len() {
                    1 => sum.copy_from_slice(&audio),
                    _ => sum.iter_mut().zip(audio.iter()).for_each(|(s, a)| *s += a / part),
                }
            }
            out.extend(sum);
            step((i * BATCH + batch.len()).min(clips.len()));
        }
        self.target.undo(&mut out);
        if let Some((from, to)) = &self.matched {
            from.apply(&mut out);
            to.undo(&mut out);
        }
        finite(footage, clips, &out, self.target.width(), "feature")?;
        Ok(out)
    }
}

/// Class probabilities that the clips' own data set brings along, in the order of `classes`, (N, K): what stands for a stream's head
/// where the run's data set brought them too.
pub fn given(footage: &Footage, stream: &str, classes: &[String], clips: &[usize]) -> Result<Scores, Error> {
    let none = || Error::NoGivenScores { stream: stream.into(), dataset: footage.name.clone() };
    let dataset = footage.dataset.as_ref().ok_or_else(none)?;
    let given = dataset.scores(stream).ok_or_else(none)?;
    let place = |class: &String| dataset.manifest.classes.iter().position(|c| c == class).ok_or_else(none);
    let order: Vec<usize> = classes.iter().map(place).collect::<Result<_, _>>()?;
    let mut row = vec![0.0; given.row_len()];
    let mut p = Vec::with_capacity(clips.len() * order.len());
    for &clip in clips {
        given.read_row(clip, &mut row);
        p.extend(order.iter().map(|&k| row[k]));
    }
    Ok(Scores::complete(p, classes.len()))
}

/// Class probabilities of clips by the head on a stream, (N, K).
pub fn by_stream(weights: &Weights, footage: &Footage, clips: &[usize]) -> Result<Scores, Error> {
    let d = &weights.description;
    let streams = streams(footage, d)?;
    let (width, classes) = (d.streams.iter().map(|s| s.width).sum::<usize>(), d.classes.len());
    let scale = weights.scale("input").filter(|s| s.width() == width).ok_or_else(|| broken(d, "no scale"))?;
    let values = |name: &str, numbers: usize| {
        let tensor = weights.get(name).filter(|t| t.values.len() == numbers);
        tensor.map(|t| t.values.clone()).ok_or_else(|| broken(d, format!("no {name}")))
    };
    let head = [values("head.w", width * classes)?, values("head.b", classes)?];
    let head = train::fused::head_of(head, width, classes);
    let mut frame = vec![0.0; width];
    let mut means = Vec::with_capacity(clips.len() * width);
    for &clip in clips {
        let mut sum = vec![0.0f64; width];
        for t in 0..footage.frames {
            footage.frame(&streams, &scale, clip, t, &mut frame);
            sum.iter_mut().zip(&frame).for_each(|(s, &x)| *s += f64::from(x));
        }
        means.extend(sum.into_iter().map(|s| (s / footage.frames as f64) as f32));
    }
    let p = if clips.is_empty() { Vec::new() } else { head.probabilities(&means)? };
    finite(footage, clips, &p, classes, "probability")?;
    Ok(Scores::complete(p, classes))
}

/// Class probabilities by an SVM bank of the recorded feature of those clips that sound, (N, K); others are absent.
pub fn by_sound(
    bank: &Bank,
    (audio, classes): (&Feature, usize),
    footage: &Footage,
    clips: &[usize],
    device: &dyn Device,
) -> Result<Scores, Error> {
    let mut scores = Scores { classes, values: vec![0.0; clips.len() * classes], present: vec![false; clips.len()] };
    let Some(features) = footage.features(&audio.name) else { return Ok(scores) };
    let of = "the SVM bank";
    same_width(footage, &audio.name, features.row_len(), audio.width, of)?;
    let rows: Vec<(usize, usize)> = clips
        .iter()
        .enumerate()
        .filter(|(_, clip)| footage.clips[**clip].sounded)
        .filter_map(|(place, clip)| Some((place, footage.clips[*clip].audio_row?)))
        .collect();
    let mut x = vec![0.0; rows.len() * audio.width];
    x.chunks_exact_mut(audio.width).zip(&rows).for_each(|(x, (_, row))| features.read_row(*row, x));
    let p = bank.probabilities(&x, classes, &*device.solver()?)?;
    for (p, (place, _)) in p.chunks_exact(classes).zip(rows) {
        scores.values[place * classes..][..classes].copy_from_slice(p);
        scores.present[place] = true;
    }
    Ok(scores)
}

/// The SVM bank that a run's features were scored with: its own, or the one of the same data and settings.
pub fn bank(store: &Store, run: &RunRecord, d: &Description) -> Result<Bank, Error> {
    let audio = d.part.audio().unwrap_or_default();
    let missing = || Error::NoBank { audio: audio.into(), of: d.name() };
    let record = match store.bank(&run.id)? {
        Some(own) => own,
        None => {
            let without = |spec: &serde_json::Value| {
                let mut svm = spec["svm"].clone();
                svm.as_object_mut().map(|map| map.remove("train_on"));
                svm
            };
            let same = |other: &&RunRecord| {
                other.kind == "bank"
                    && other.state == State::Done
                    && other.spec["part"]["audio"] == audio
                    && other.spec["data"] == run.spec["data"]
                    && without(&other.spec) == without(&run.spec)
            };
            let runs = store.runs()?;
            // One of the same code, where there are several.
            let of_code = |other: &&&RunRecord| other.spec["code"] == run.spec["code"];
            let found: Vec<&RunRecord> = runs.iter().filter(same).collect();
            let found = found.iter().find(of_code).or(found.first()).ok_or_else(missing)?;
            store.bank(&found.id)?.ok_or_else(missing)?
        }
    };
    Ok(work::bank_of_record(record, &d.svm))
}

/// The bank that a run trained itself.
pub fn bank_of(store: &Store, run: &RunRecord) -> Result<Bank, Error> {
    let svm: crate::experiment::config::Svm = serde_json::from_value(run.spec["svm"].clone()).unwrap_or_default();
    let missing = || Error::NoBank { audio: run.key.clone(), of: run.key.clone() };
    Ok(work::bank_of_record(store.bank(&run.id)?.ok_or_else(missing)?, &svm))
}

/// The streams that weights were trained on, in their order; widths and frames have to be the same.
fn streams<'f>(footage: &'f Footage, d: &Description) -> Result<Vec<&'f Features>, Error> {
    let streams = d.streams.iter().map(|wanted| {
        let found = footage.streams.iter().find(|s| s.name == wanted.name);
        let missing = || Error::NoFeature {
            dataset: footage.name.clone(),
            kind: "stream",
            name: wanted.name.clone(),
            of: d.name(),
            has: footage.streams.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(", "),
        };
        same_width(footage, &wanted.name, found.ok_or_else(missing)?.width, wanted.width, &d.name())?;
        footage.features(&wanted.name).ok_or_else(missing)
    });
    let streams = streams.collect::<Result<Vec<_>, Error>>()?;
    if footage.frames != d.frames {
        let (here, there) = (footage.frames, d.frames);
        return Err(Error::Frames { dataset: footage.name.clone(), here, there, of: d.name() });
    }
    Ok(streams)
}

fn same_width(footage: &Footage, name: &str, here: usize, there: usize, of: &str) -> Result<(), Error> {
    match here == there {
        true => Ok(()),
        false => Err(Error::Width { dataset: footage.name.clone(), name: name.into(), here, there, of: of.into() }),
    }
}

fn finite(footage: &Footage, clips: &[usize], numbers: &[f32], width: usize, what: &'static str) -> Result<(), Error> {
    let mut rows = numbers.chunks_exact(width.max(1)).zip(clips);
    match rows.find(|(row, _)| row.iter().any(|x| !x.is_finite())) {
        None => Ok(()),
        Some((_, &clip)) => Err(Error::NotFinite { clip: footage.clips[clip].name.clone(), what }),
    }
}
