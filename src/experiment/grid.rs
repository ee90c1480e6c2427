//! From the declared axes to cells: every point of the grid, and the stream heads, SVM banks and controls they need.

use super::config::{Architecture, Classifier, Config, Control, Loss};
use super::document::Problem;
use super::layers::{Layers, plain};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What one cell trains.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Part {
    /// The linear head of one visual stream.
    Stream {
        /// The stream.
        stream: String,
    },
    /// The SVM bank of one audio feature, scoring real features.
    Bank {
        /// The audio feature.
        audio: String,
    },
    /// A generator of one audio feature.
    Generator {
        /// The audio feature.
        audio: String,
        /// The network.
        generator: Architecture,
        /// The reconstruction loss.
        loss: Loss,
        /// With or without the classifier branch.
        classifier: Classifier,
    },
    /// A stand-in for a generator.
    Control {
        /// The audio feature.
        audio: String,
        /// Which.
        control: Control,
    },
}

impl Part {
    /// `rgb`, `vggish`, `vggish/lstm/l2/with`, `vggish/oracle`.
    pub fn key(&self) -> String {
        match self {
            Part::Stream { stream } => stream.clone(),
            Part::Bank { audio } => audio.clone(),
            Part::Generator { audio, generator, loss, classifier } => {
                format!("{audio}/{generator}/{loss}/{classifier}")
            }
            Part::Control { audio, control } => format!("{audio}/{control}"),
        }
    }

    /// `stream`, `bank`, `generator` or `control`.
    pub fn kind(&self) -> &'static str {
        match self {
            Part::Stream { .. } => "stream",
            Part::Bank { .. } => "bank",
            Part::Generator { .. } => "generator",
            Part::Control { .. } => "control",
        }
    }

    /// The audio feature, if it is about one.
    pub fn audio(&self) -> Option<&str> {
        match self {
            Part::Stream { .. } => None,
            Part::Bank { audio } | Part::Generator { audio, .. } | Part::Control { audio, .. } => Some(audio),
        }
    }

    /// Whether its result depends on the run's seed. SVM banks and controls are deterministic and run once.
    pub fn seeded(&self) -> bool {
        matches!(self, Part::Stream { .. } | Part::Generator { .. })
    }
}

/// One point of the grid.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// What it trains.
    pub part: Part,
    /// Values of the axes beyond the four named ones (`missing.rate`: 0.2).
    pub overrides: BTreeMap<String, Value>,
    /// The experiment's configuration with the overrides applied.
    pub config: Arc<Config>,
}

impl Cell {
    /// The part's key, and the overrides: `vggish/lstm/l2/with missing.rate=0.2`.
    pub fn key(&self) -> String {
        let mut key = self.part.key();
        for (axis, value) in &self.overrides {
            key += &format!(" {axis}={value}");
        }
        key
    }
}

/// The four axes that have a meaning of their own.
pub const AXES: [&str; 4] = ["audio", "generator", "loss", "classifier"];

/// Every cell of an experiment on a data set that has `streams`: stream heads, then for each audio feature its bank,
/// its generators and its controls; all of it for each combination of further axes.
pub fn cells(config: &Config, layers: &Layers, streams: &[String]) -> Result<Vec<Cell>, Problem> {
    let empty = |axis: &str| {
        layers.at(&format!("grid.{axis}"), format!("grid.{axis} is empty; a grid needs a value on every axis"))
    };
    let words = |axis: &str, valid: &[&str]| -> Result<Vec<String>, Problem> {
        let values = config.grid.get(axis).ok_or_else(|| {
            let example = if valid.is_empty() { "vggish".into() } else { valid.join(", ") };
            layers.at("grid", format!("grid has no axis {axis:?}")).help(format!("add {axis}: [{example}]"))
        })?;
        if values.is_empty() {
            return Err(empty(axis));
        }
        let mut words = Vec::new();
        for (i, value) in values.iter().enumerate() {
            let path = format!("grid.{axis}[{i}]");
            let Value::String(word) = value else {
                return Err(layers.at(&path, format!("{path}: {value} should be a word")));
            };
            if !valid.is_empty() && !valid.contains(&word.as_str()) {
                return Err(layers.at(&path, format!("{axis} {word:?} is not known")).suggest(word, valid));
            }
            if words.contains(word) {
                return Err(layers.at(&path, format!("{word:?} stands twice")));
            }
            words.push(word.clone());
        }
        Ok(words)
    };
    let audios = words("audio", &[])?;
    let generators = words("generator", &Architecture::words())?;
    let losses = words("loss", &Loss::words())?;
    let classifiers = words("classifier", &Classifier::words())?;
    check_excludes(config, layers)?;
    let mut cells: Vec<Cell> = Vec::new();
    for (overrides, config) in variants(config, layers)? {
        let mut add = |part: Part| {
            if !excluded(&config, &part, &overrides) {
                cells.push(Cell { part, overrides: overrides.clone(), config: config.clone() });
            }
        };
        for stream in streams {
            add(Part::Stream { stream: stream.clone() });
        }
        for audio in &audios {
            add(Part::Bank { audio: audio.clone() });
            for generator in generators.iter().filter_map(|w| Architecture::of_word(w)) {
                for loss in losses.iter().filter_map(|w| Loss::of_word(w)) {
                    for classifier in classifiers.iter().filter_map(|w| Classifier::of_word(w)) {
                        add(Part::Generator { audio: audio.clone(), generator, loss, classifier });
                    }
                }
            }
            for &control in &config.controls {
                add(Part::Control { audio: audio.clone(), control });
            }
        }
    }
    if !cells.iter().any(|c| matches!(c.part, Part::Generator { .. } | Part::Control { .. })) {
        return Err(layers.at("exclude", "exclude leaves no cell of the grid; nothing would be trained"));
    }
    Ok(cells)
}

/// Values of the further axes, and the configuration that they give.
type Variant = (BTreeMap<String, Value>, Arc<Config>);

/// The configurations that the further axes span, each with its values.
fn variants(config: &Config, layers: &Layers) -> Result<Vec<Variant>, Problem> {
    let mut points: Vec<BTreeMap<String, Value>> = vec![BTreeMap::new()];
    for (axis, values) in config.grid.iter().filter(|(axis, _)| !AXES.contains(&axis.as_str())) {
        let path = format!("grid.{axis}");
        if values.is_empty() {
            return Err(layers.at(&path, format!("{path} is empty; a grid needs a value on every axis")));
        }
        points = points
            .into_iter()
            .flat_map(|point| {
                values.iter().map(move |value| {
                    let mut point = point.clone();
                    point.insert(axis.clone(), value.clone());
                    point
                })
            })
            .collect();
    }
    points.into_iter().map(|point| Ok((point.clone(), Arc::new(apply(config, layers, &point)?)))).collect()
}

/// `config` with dotted keys replaced.
fn apply(config: &Config, layers: &Layers, point: &BTreeMap<String, Value>) -> Result<Config, Problem> {
    let mut json = serde_json::to_value(config).unwrap_or_default();
    for (axis, value) in point {
        let path = format!("grid.{axis}");
        let mut place = &mut json;
        let keys: Vec<&str> = axis.split('.').collect();
        for (i, key) in keys.iter().enumerate() {
            if place.is_null() && keys[0] == "missing" {
                *place = serde_json::json!({ "rate": 0.0, "by": "random", "seed": 0 });
            }
            let Some(map) = place.as_object_mut() else {
                return Err(layers.at_key(&path, format!("{axis:?} is neither an axis nor a key of the experiment")));
            };
            let known: Vec<String> =
                map.keys().cloned().chain(if i == 0 { AXES.map(String::from).to_vec() } else { vec![] }).collect();
            let identity = ["name", "seeds", "grid", "exclude", "extends", "dataset", "controls", "fusion"];
            place = match map.get_mut(*key) {
                Some(next) if i > 0 || !identity.contains(key) => next,
                _ => {
                    let message = format!("{axis:?} is neither an axis nor a key that a grid can vary");
                    return Err(layers.at_key(&path, message).suggest(key, &known));
                }
            };
        }
        *place = value.clone();
    }
    let varied: Config = serde_path_to_error::deserialize(&json).map_err(|e| {
        let path = format!("grid.{}", e.path());
        layers.at(&path, format!("{}: {}", e.path(), plain(&e.inner().to_string())))
    })?;
    varied.check().map_err(|(path, message)| layers.at(&format!("grid.{path}"), format!("{path}: {message}")))?;
    Ok(varied)
}

fn check_excludes(config: &Config, layers: &Layers) -> Result<(), Problem> {
    let axes: Vec<&String> = config.grid.keys().collect();
    for (i, entry) in config.exclude.iter().enumerate() {
        let path = format!("exclude[{i}]");
        if entry.is_empty() {
            return Err(layers.at(&path, "an empty entry would leave out every cell"));
        }
        for (axis, value) in entry {
            let path = format!("{path}.{axis}");
            let Some(values) = config.grid.get(axis) else {
                return Err(layers.at_key(&path, format!("{axis:?} is not an axis of the grid")).suggest(axis, &axes));
            };
            if !values.contains(value) {
                let valid: Vec<String> =
                    values.iter().map(|v| v.as_str().map_or(v.to_string(), String::from)).collect();
                let wrong = value.as_str().map_or(value.to_string(), String::from);
                return Err(layers.at(&path, format!("{wrong} is not on the axis {axis:?}")).suggest(&wrong, &valid));
            }
        }
    }
    Ok(())
}

/// Whether an entry of `exclude` names nothing that the cell contradicts, and something that it has.
fn excluded(config: &Config, part: &Part, overrides: &BTreeMap<String, Value>) -> bool {
    let axis = |name: &str| -> Option<Value> {
        match (name, part) {
            ("audio", _) => part.audio().map(Value::from),
            ("generator", Part::Generator { generator, .. }) => Some(generator.word().into()),
            ("loss", Part::Generator { loss, .. }) => Some(loss.word().into()),
            ("classifier", Part::Generator { classifier, .. }) => Some(classifier.word().into()),
            _ => overrides.get(name).cloned(),
        }
    };
    config.exclude.iter().any(|entry| entry.iter().all(|(name, value)| axis(name).as_ref() == Some(value)))
}
