//! From the declared axes to cells: every point of the grid, and the stream heads, SVM banks and controls they need.

use super::config::{Architecture, Classifier, Config, Control, Loss};
use super::layers::{Layers, plain};
use super::problem::Problem;
use super::same::{normal, same};
use crate::brief::shortened;
use crate::dataset::Manifest;
use crate::model::settings;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
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
    /// Features of an audio feature that another program generated.
    External {
        /// The audio feature.
        audio: String,
        /// What the program is called: `mygan` of `external:mygan`.
        external: String,
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
            Part::External { audio, external } => format!("{audio}/{EXTERNAL}{external}"),
            Part::Control { audio, control } => format!("{audio}/{control}"),
        }
    }

    /// `stream`, `bank`, `generator`, `external` or `control`.
    pub fn kind(&self) -> &'static str {
        match self {
            Part::Stream { .. } => "stream",
            Part::Bank { .. } => "bank",
            Part::Generator { .. } => "generator",
            Part::External { .. } => "external",
            Part::Control { .. } => "control",
        }
    }

    /// The audio feature, if it is about one.
    pub fn audio(&self) -> Option<&str> {
        match self {
            Part::Stream { .. } => None,
            Part::Bank { audio }
            | Part::Generator { audio, .. }
            | Part::External { audio, .. }
            | Part::Control { audio, .. } => Some(audio),
        }
    }

    /// Whether its result depends on the run's seed. SVM banks and controls are deterministic and run once.
    /// On a data set that brings a stream's scores along, nothing is trained for it either.
    pub fn seeded(&self, on: &Manifest) -> bool {
        match self {
            Part::Stream { stream } => !on.gives_scores(stream),
            Part::Generator { .. } => true,
            Part::Bank { .. } | Part::External { .. } | Part::Control { .. } => false,
        }
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

/// Cells of a grid, at most; each is at least one training.
pub const MOST_CELLS: usize = 20_000;

/// What stands before the name of a generator from elsewhere.
pub const EXTERNAL: &str = "external:";

/// The name of a generator from elsewhere: `mygan` of `external:mygan`.
pub fn external(word: &str) -> Option<&str> {
    word.strip_prefix(EXTERNAL)
}

/// A name that becomes part of file names: letters, digits, '_' and '-'.
pub fn check_external(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    match (1..=64).contains(&name.len()) && name.chars().all(plain) {
        true => Ok(()),
        false => Err(format!(
            "{EXTERNAL}{}: a name of letters, digits, '_' and '-' should follow, after which files are called",
            shortened(name, 40)
        )),
    }
}

/// The generators from elsewhere on the grid.
pub fn externals(config: &Config) -> Vec<&str> {
    let words = config.grid.get("generator").map(Vec::as_slice).unwrap_or_default();
    words.iter().filter_map(|word| external(word.as_str()?)).collect()
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
        let (mut words, mut seen) = (Vec::new(), HashSet::new());
        for (i, value) in values.iter().enumerate() {
            let path = format!("grid.{axis}[{i}]");
            let Value::String(word) = value else {
                let value = shortened(&value.to_string(), 60);
                return Err(layers.at(&path, format!("{path}: {value} should be a word")));
            };
            if let (Some(name), "generator") = (external(word), axis) {
                check_external(name).map_err(|message| layers.at(&path, message))?;
            } else if !valid.is_empty() && !valid.contains(&word.as_str()) {
                return Err(layers.at(&path, format!("{axis} {word:?} is not known")).suggest(word, valid));
            }
            if !seen.insert(word.clone()) {
                return Err(layers.at(&path, format!("{word:?} stands twice")));
            }
            words.push(word.clone());
        }
        Ok(words)
    };
    let audios = words("audio", &[])?;
    let generators = words("generator", &Architecture::words())?;
    // What is made elsewhere has no loss of ours.
    let own = generators.iter().any(|word| external(word).is_none());
    let of_own = |axis: &str, valid: &[&str]| match own || config.grid.contains_key(axis) {
        true => words(axis, valid),
        false => Ok(Vec::new()),
    };
    let losses = of_own("loss", &Loss::words())?;
    let classifiers = of_own("classifier", &Classifier::words())?;
    check_size(config, layers)?;
    check_excludes(config, layers)?;
    check_weights(config, layers, streams, &audios)?;
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
            for word in &generators {
                if let Some(name) = external(word) {
                    add(Part::External { audio: audio.clone(), external: name.into() });
                }
                let Some(generator) = Architecture::of_word(word) else { continue };
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
    let generates = |c: &Cell| matches!(c.part, Part::Generator { .. } | Part::External { .. } | Part::Control { .. });
    if !cells.iter().any(generates) {
        return Err(layers.at("exclude", "exclude leaves no cell of the grid; nothing would be trained"));
    }
    Ok(cells)
}

/// The number of cells, before any is made: those that `exclude` leaves out count as well.
fn check_size(config: &Config, layers: &Layers) -> Result<(), Problem> {
    let mut sizes = BTreeMap::new();
    for (axis, values) in &config.grid {
        sizes.insert(axis.as_str(), values.len());
    }
    let of = |axis: &str| sizes.get(axis).copied().unwrap_or(1);
    let networks = of("generator").saturating_mul(of("loss")).saturating_mul(of("classifier"));
    let of_an_audio = networks.saturating_add(config.controls.len()).saturating_add(1);
    let further = config.grid.keys().filter(|axis| !AXES.contains(&axis.as_str()));
    let points = further.fold(1usize, |points, axis| points.saturating_mul(of(axis)));
    let cells = points.saturating_mul(of("audio").saturating_mul(of_an_audio));
    if cells <= MOST_CELLS {
        return Ok(());
    }
    let axes: Vec<String> = sizes.iter().map(|(axis, values)| format!("{axis} {values}")).collect();
    let message = format!("the grid has {cells} cells; at most {MOST_CELLS} are made (values: {})", axes.join(", "));
    Err(layers.at_key("grid", message).help("take values off an axis, or divide the grid into several experiments"))
}

/// Weights are of streams and audio features that there are; which streams, a data set tells.
fn check_weights(config: &Config, layers: &Layers, streams: &[String], audios: &[String]) -> Result<(), Problem> {
    if streams.is_empty() {
        return Ok(());
    }
    let known: Vec<&String> = streams.iter().chain(audios).collect();
    match config.fusion.weights.keys().find(|name| !known.contains(name)) {
        None => Ok(()),
        Some(name) => {
            let path = format!("fusion.weights.{name}");
            let message = format!("{name:?} is neither a stream of the data set nor an audio feature of the grid");
            Err(layers.at_key(&path, message).suggest(name, &known))
        }
    }
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
        let mut seen = HashSet::new();
        if let Some(i) = values.iter().position(|value| !seen.insert(normal(value).to_string())) {
            let value = shortened(&values[i].to_string(), 60);
            return Err(layers.at(&format!("{path}[{i}]"), format!("{value} stands twice on the axis {axis}")));
        }
        let inside = |other: &&String| other.strip_prefix(axis.as_str()).is_some_and(|rest| rest.starts_with('.'));
        if let Some(other) = config.grid.keys().find(inside) {
            return Err(layers.at_key(&path, format!("the axis {axis} holds all of {other}, which is an axis too")));
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
    let mut json = settings::whole(config);
    for (axis, value) in point {
        let path = format!("grid.{axis}");
        let mut place = &mut json;
        let keys: Vec<&str> = axis.split('.').collect();
        for (i, key) in keys.iter().enumerate() {
            // A block that is not there yet.
            if place.is_null() && keys[0] == "missing" {
                *place = serde_json::json!({ "rate": 0.0, "by": "random", "seed": 0 });
            }
            if place.is_null() && keys[..i] == ["train", "stop"] {
                *place = serde_json::json!({ *key: null });
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
            // A value that `--set`, or whoever extends this, took off the axis leaves nothing to exclude.
            let was_there = || layers.below(&format!("grid.{axis}")).any(|list| lists(list, value));
            if !values.iter().any(|v| same(v, value)) && !was_there() {
                let valid: Vec<String> =
                    values.iter().map(|v| v.as_str().map_or(v.to_string(), String::from)).collect();
                let wrong = shortened(&value.as_str().map_or(value.to_string(), String::from), 60);
                return Err(layers.at(&path, format!("{wrong} is not on the axis {axis:?}")).suggest(&wrong, &valid));
            }
        }
    }
    Ok(())
}

/// Whether a list in a document has a value.
fn lists(list: &serde_yaml::Value, value: &Value) -> bool {
    let values = list.as_sequence().map(Vec::as_slice).unwrap_or_default();
    values.iter().filter_map(|v| serde_json::to_value(v).ok()).any(|v| same(&v, value))
}

/// Whether an entry of `exclude` names nothing that the cell contradicts, and something that it has.
fn excluded(config: &Config, part: &Part, overrides: &BTreeMap<String, Value>) -> bool {
    let axis = |name: &str| -> Option<Value> {
        match (name, part) {
            ("audio", _) => part.audio().map(Value::from),
            ("generator", Part::Generator { generator, .. }) => Some(generator.word().into()),
            ("generator", Part::External { external, .. }) => Some(format!("{EXTERNAL}{external}").into()),
            ("loss", Part::Generator { loss, .. }) => Some(loss.word().into()),
            ("classifier", Part::Generator { classifier, .. }) => Some(classifier.word().into()),
            _ => overrides.get(name).cloned(),
        }
    };
    config.exclude.iter().any(|entry| entry.iter().all(|(name, value)| axis(name).is_some_and(|own| same(&own, value))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::yaml::Document;
    use std::path::Path;

    fn grid(axes: &str, more: &str, streams: &[&str]) -> Result<Vec<Cell>, Problem> {
        let text = format!(
            "name: x\ngrid:\n  audio: [a]\n  generator: [lstm]\n  loss: [l2]\n  classifier: [with]\n{axes}\n{more}"
        );
        let layers = Layers::new(vec![Document::parse(Path::new("experiment.yaml"), &text).unwrap()]);
        let streams: Vec<String> = streams.iter().map(|s| s.to_string()).collect();
        cells(&layers.read().unwrap(), &layers, &streams)
    }

    #[test]
    fn what_is_made_elsewhere_is_a_cell_of_each_audio_feature() {
        let of = |text: &str| {
            let layers = Layers::new(vec![Document::parse(Path::new("experiment.yaml"), text).unwrap()]);
            cells(&layers.read().unwrap(), &layers, &[])
        };
        let both = "name: x\ngrid:\n  audio: [a, b]\n  generator: [lstm, \"external:my-gan\"]\n  loss: [l2, kl]\n  classifier: [with]\n";
        let keys = |cells: Vec<Cell>| cells.iter().map(Cell::key).collect::<Vec<_>>();
        let all = [
            "a",
            "a/lstm/l2/with",
            "a/lstm/kl/with",
            "a/external:my-gan",
            "b",
            "b/lstm/l2/with",
            "b/lstm/kl/with",
            "b/external:my-gan",
        ];
        assert_eq!(keys(of(both).unwrap()), all);
        let some =
            format!("{both}exclude: [{{audio: b, generator: \"external:my-gan\"}}, {{generator: lstm, loss: kl}}]\n");
        assert_eq!(keys(of(&some).unwrap()), ["a", "a/lstm/l2/with", "a/external:my-gan", "b", "b/lstm/l2/with"]);
        let alone = "name: x\ngrid: {audio: [a], generator: [\"external:g\"]}\n";
        assert_eq!(keys(of(alone).unwrap()), ["a", "a/external:g"]);
        for wrong in ["external:", "external:a/b", "external:a b"] {
            let p = of(&both.replace("external:my-gan", wrong)).unwrap_err();
            assert!(p.message.contains("letters, digits"), "{wrong}: {p}");
        }
        assert!(of(&both.replace("external:", "extern:")).unwrap_err().message.contains("is not known"));
    }

    #[test]
    fn a_value_twice_on_an_axis_is_told_however_it_is_written() {
        for axis in ["train.lr: [0.001, 1e-3]", "svm.c: [1, 10, 1.0]", "autoencoder.encoder: [[8, 4], [8, 4.0]]"] {
            let p = grid(&format!("  {axis}"), "", &[]).unwrap_err();
            assert!(p.message.contains("stands twice") && p.line == 7, "{axis}: {p}");
        }
        assert_eq!(grid("  svm.c: [1, 10]", "", &[]).unwrap().len(), 4);
        let p = grid("  train.lr: [0.1]\n  train: [{lr: 0.2}]", "", &[]).unwrap_err();
        assert!(p.message.contains("holds all of train.lr"), "{p}");
    }

    #[test]
    fn an_exclude_finds_its_value_however_it_is_written() {
        let cells = grid("  svm.c: [1, 10]", "exclude: [{svm.c: 1.0}]", &[]).unwrap();
        assert!(cells.iter().all(|c| c.overrides["svm.c"] == 10) && cells.len() == 2);
    }

    #[test]
    fn an_exclude_of_what_a_layer_above_took_off_the_axis_is_no_mistake() {
        let file = "name: x\ngrid: {audio: [a], generator: [lstm], loss: [l2, kl], classifier: [with], svm.c: [1, 10]}\n\
                    exclude: [{loss: kl, svm.c: 10}]\n";
        let cells = |file: &str, sets: &[&str]| {
            let mut layers = Layers::new(vec![Document::parse(Path::new("experiment.yaml"), file).unwrap()]);
            sets.iter().for_each(|set| layers.push(Document::of_set(set).unwrap()));
            cells(&layers.read().unwrap(), &layers, &[]).map(|cells| cells.len())
        };
        assert_eq!(cells(file, &[]).unwrap(), 2 + 3);
        assert_eq!(cells(file, &["grid.loss=[l2]"]).unwrap(), 2 + 2);
        assert_eq!(cells(file, &["grid.svm.c=[1, 2]"]).unwrap(), 2 + 4);
        // A slip is still one, wherever it stands.
        let p = cells(&file.replace("{loss: kl,", "{loss: ki,"), &["grid.loss=[l2]"]).unwrap_err();
        assert!(p.message.contains("ki is not on the axis"), "{p}");
        assert!(cells(file, &["exclude=[{loss: cosine}]"]).unwrap_err().message.contains("cosine is not on the axis"));
        assert!(cells(file, &["exclude=[{lost: kl}]"]).unwrap_err().message.contains("is not an axis"));
    }

    #[test]
    fn a_grid_that_is_too_large_is_told_before_it_is_made() {
        let values: String = (1..=20).map(|i| format!("{i}, ")).collect();
        let axes = ["train.lr", "train.w_cls", "train.w_rec", "svm.c", "train.eps", "ridge.lambda"];
        let axes: String = axes.iter().map(|axis| format!("  {axis}: [{values}]\n")).collect();
        let p = grid(&axes, "", &[]).unwrap_err();
        assert!(p.message.contains("128000000 cells; at most 20000") && p.line == 2, "{p}");
    }

    #[test]
    fn a_weight_of_no_stream_is_told_once_the_streams_are_known() {
        let weights = "fusion: {weights: {rbg: 2}}";
        assert!(grid("", weights, &[]).is_ok());
        let p = grid("", weights, &["rgb", "flow"]).unwrap_err();
        assert!(p.to_string().contains("valid: rgb, flow, a"), "{p}");
        assert!(grid("", "fusion: {weights: {flow: 2, a: 0.5}}", &["rgb", "flow"]).is_ok());
    }
}
