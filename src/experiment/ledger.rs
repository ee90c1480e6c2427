//! `ledger.yaml`: the choices that the paper leaves open, the decision taken for each, and what else could be chosen.

use super::config::Config;
use super::layers::Layers;
use super::problem::Problem;
use super::same::same;
use crate::brief::shortened;
use crate::model::settings;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};

/// Another reading of an open choice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Alternative {
    /// A few words.
    pub name: String,
    /// The keys of `experiment.yaml` that bring it about, by dotted name.
    #[serde(default)]
    pub set: BTreeMap<String, serde_json::Value>,
}

/// One open choice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// `A4`.
    pub id: String,
    /// What the paper does not say.
    pub question: String,
    /// What is done here; `{train.epochs}` stands for the experiment's own value.
    pub decision: String,
    /// Why.
    #[serde(default)]
    pub because: String,
    /// The keys of `experiment.yaml` that hold the decision.
    #[serde(default)]
    pub keys: Vec<String>,
    /// What else could be done.
    #[serde(default)]
    pub alternatives: Vec<Alternative>,
    /// Which cells and tables it touches.
    #[serde(default)]
    pub touches: String,
    /// The values of `keys` that the decision was written for, as its own folder has them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(skip)]
    pub written_for: BTreeMap<String, serde_json::Value>,
    /// Values that stand in place of those, by key, where an experiment that inherits the ledger, or `--set`, says otherwise: the
    /// decision does not hold there as it is written.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(skip)]
    pub here: BTreeMap<String, serde_json::Value>,
}

impl Entry {
    /// The decision in words, with what is otherwise here put first.
    pub fn told(&self) -> String {
        // A key in braces is shown with its value here, so that the decision speaks of this experiment.
        let shown = |key: &str| self.decision.contains(&format!("{{{key}}}"));
        let others = self.here.iter().filter(|(key, _)| !shown(key));
        let otherwise: Vec<String> = others.map(|(key, value)| format!("{key} is {}", plain(value))).collect();
        if otherwise.is_empty() {
            return self.decision.clone();
        }
        format!("Here {}. Of the experiment that the ledger was written for: {}", otherwise.join(", "), self.decision)
    }
}

impl Alternative {
    /// Whether a configuration has all of its values already, so that it is no alternative there.
    pub fn is_the_setting(&self, config: &Config) -> bool {
        let config = settings::whole(config);
        // What an open map does not name has the value that it has by default: a weight of 1.
        let here = |key: &str| match at(&config, key) {
            None if key.starts_with("fusion.weights.") => Some(1.into()),
            other => other.cloned(),
        };
        let flat = self.set.iter().flat_map(|(key, value)| match (key.as_str(), value) {
            ("fusion.weights", serde_json::Value::Object(map)) => {
                map.iter().map(|(name, weight)| (format!("{key}.{name}"), weight.clone())).collect()
            }
            _ => vec![(key.clone(), value.clone())],
        });
        let mut set = flat.peekable();
        set.peek().is_some() && set.all(|(key, value)| here(&key).is_some_and(|here| same(&here, &value)))
    }
}

/// A value as one would write it in YAML.
fn plain(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| shortened(&value.to_string(), 60), String::from)
}

/// The value at a dotted key.
fn at<'a>(config: &'a serde_json::Value, key: &str) -> Option<&'a serde_json::Value> {
    key.split('.').try_fold(config, |place, part| place.get(part))
}

/// The contents of `ledger.yaml`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    /// The open choices.
    pub ledger: Vec<Entry>,
}

impl Ledger {
    /// Reads and checks a `ledger.yaml`: ids are unique, and every key is one of `config`.
    pub fn read(layers: &Layers, config: &serde_json::Value) -> Result<Ledger, Problem> {
        let ledger: Ledger = layers.read()?;
        let mut ids = HashSet::new();
        for (i, entry) in ledger.ledger.iter().enumerate() {
            if !entry.written_for.is_empty() || !entry.here.is_empty() {
                let path = format!("ledger[{i}]");
                return Err(layers.at(&path, "`written_for` and `here` are found, not written").help("take them out"));
            }
            if !ids.insert(&entry.id) {
                return Err(layers.at(&format!("ledger[{i}].id"), format!("{} stands twice", entry.id)));
            }
            for (j, key) in entry.keys.iter().enumerate() {
                known(config, key).map_err(|hint| {
                    layers
                        .at(&format!("ledger[{i}].keys[{j}]"), format!("{key:?} is not a key of the experiment{hint}"))
                })?;
            }
            for key in placeholders(&entry.decision) {
                known(config, key).map_err(|hint| {
                    let path = format!("ledger[{i}].decision");
                    layers.at(&path, format!("{{{key}}} is not a key of the experiment{hint}"))
                })?;
            }
            for (j, alternative) in entry.alternatives.iter().enumerate() {
                if entry.alternatives[..j].iter().any(|other| other.name == alternative.name) {
                    let path = format!("ledger[{i}].alternatives[{j}].name");
                    return Err(layers.at(&path, format!("{}: {:?} stands twice", entry.id, alternative.name)));
                }
                for key in alternative.set.keys() {
                    known(config, key).map_err(|hint| {
                        let path = format!("ledger[{i}].alternatives[{j}].set.{key}");
                        layers.at_key(&path, format!("{key:?} is not a key of the experiment{hint}"))
                    })?;
                }
                possible(config, alternative).map_err(|(key, message)| {
                    layers.at(&format!("ledger[{i}].alternatives[{j}].set.{key}"), format!("{key}: {message}"))
                })?;
            }
        }
        Ok(ledger)
    }
}

/// The keys in braces of a text, whose values are shown in their place.
fn placeholders(text: &str) -> impl Iterator<Item = &str> {
    text.split('{').skip(1).filter_map(|behind| behind.split_once('}').map(|(key, _)| key))
}

impl Ledger {
    /// Keeps the values of every entry's keys in the experiment that the ledger was written for.
    pub(super) fn written_for(&mut self, config: &serde_json::Value) {
        for entry in &mut self.ledger {
            let values = entry.keys.iter().filter_map(|key| Some((key.clone(), at(config, key)?.clone())));
            entry.written_for = values.collect();
        }
    }

    /// Marks in every entry what a configuration says otherwise.
    pub fn hold_against(&mut self, config: &Config) {
        let config = settings::whole(config);
        for entry in &mut self.ledger {
            let values = entry.written_for.iter().filter_map(|(key, before)| {
                let now = at(&config, key)?;
                // A decision that has the value in its words holds whatever it is.
                let worded = entry.decision.contains(&format!("{{{key}}}"));
                (!worded && !same(before, now)).then(|| (key.clone(), now.clone()))
            });
            entry.here = values.collect();
        }
    }
}

/// Whether values of the right kind are given, all of them at once; the key and what is wrong, if not.
fn possible(config: &serde_json::Value, alternative: &Alternative) -> Result<(), (String, String)> {
    let mut changed = config.clone();
    for (key, value) in &alternative.set {
        let mut place = &mut changed;
        for part in key.split('.') {
            if !place.is_object() {
                *place = serde_json::json!({});
            }
            let Some(map) = place.as_object_mut() else { return Ok(()) };
            place = map.entry(part).or_insert(serde_json::Value::Null);
        }
        *place = value.clone();
    }
    // The key that a path belongs to; where it is none of them, what they make together is wrong.
    let key = |path: &str| {
        let keys = alternative.set.keys();
        keys.clone().find(|key| path.starts_with(key.as_str())).or(keys.last()).cloned().unwrap_or_default()
    };
    let config: Config = serde_path_to_error::deserialize(&changed)
        .map_err(|e| (key(&e.path().to_string()), super::layers::plain(&e.inner().to_string())))?;
    config.check().map_err(|(path, message)| (key(&path), message))
}

/// Whether a dotted key leads somewhere in the configuration; what is near, if not.
fn known(config: &serde_json::Value, key: &str) -> Result<(), String> {
    let mut place = config;
    for part in key.split('.') {
        // An absent block (`missing: null`) or an open map (`fusion.weights`) may hold anything.
        let Some(map) = place.as_object().filter(|map| !map.is_empty()) else { return Ok(()) };
        place = map.get(part).ok_or_else(|| {
            let keys: Vec<&String> = map.keys().collect();
            crate::suggest::nearest(part, &keys)
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::yaml::Document;
    use std::path::Path;

    fn config() -> Config {
        serde_json::from_value(serde_json::json!({ "name": "x", "grid": {}, "lstm": { "hidden": 256 } })).unwrap()
    }

    fn read(entry: &str) -> Result<Ledger, Problem> {
        let text = format!("ledger:\n  - {{id: A1, question: q, decision: LSTM 512., {entry}}}\n");
        let layers = Layers::new(vec![Document::parse(Path::new("ledger.yaml"), &text).unwrap()]);
        Ledger::read(&layers, &settings::whole(&config()))
    }

    #[test]
    fn a_decision_that_does_not_hold_here_says_so() {
        let mut ledger = read("keys: [lstm.hidden, train.lr]").unwrap();
        let written = Config { lstm: crate::model::generator::lstm::Lstm::default(), ..config() };
        ledger.written_for(&settings::whole(&written));
        ledger.hold_against(&config());
        let told = ledger.ledger[0].told();
        assert!(told.starts_with("Here lstm.hidden is 256. ") && told.ends_with("LSTM 512."), "{told}");
        let text = serde_json::to_string(&ledger).unwrap();
        assert_eq!(serde_json::from_str::<Ledger>(&text).unwrap(), ledger, "a store keeps it");
    }

    #[test]
    fn an_alternative_that_is_the_setting_is_none() {
        let set = |set: &str| read(&format!("alternatives: [{{name: n, set: {{{set}}}}}]")).unwrap();
        let is = |text: &str| set(text).ledger[0].alternatives[0].is_the_setting(&config());
        assert!(is("lstm.hidden: 256") && is("lstm.hidden: 256, train.lr: 1e-3") && is("svm.c: 1"));
        assert!(is("fusion.weights: {flow: 1}") && is("fusion.weights.flow: 1.0"));
        assert!(!is("lstm.hidden: 512") && !is("lstm.hidden: 256, svm.c: 2") && !is("fusion.weights: {flow: 1.5}"));
        assert!(!is(""));
    }

    #[test]
    fn alternatives_have_values_of_the_right_kind() {
        let told = |set: &str| read(&format!("alternatives: [{{name: n, set: {{{set}}}}}]")).unwrap_err().to_string();
        assert!(told("train.lr: \"1,5\"").contains("train.lr: invalid type"), "{}", told("train.lr: \"1,5\""));
        assert!(told("lstm.hidden: 0").contains("at least 1"));
        assert!(told("svm.probability: plat").contains("svm.probability"));
        assert!(read("alternatives: [{name: n, set: {missing.rate: 0.2}}]").is_ok());
        assert!(read("written_for: {a: 1}").unwrap_err().message.contains("not written"));
    }
}
