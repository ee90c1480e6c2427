//! `ledger.yaml`: the choices that the paper leaves open, the decision taken for each, and what else could be chosen.

use super::document::Problem;
use super::layers::Layers;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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
        for (i, entry) in ledger.ledger.iter().enumerate() {
            if ledger.ledger[..i].iter().any(|e| e.id == entry.id) {
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
                for key in alternative.set.keys() {
                    known(config, key).map_err(|hint| {
                        let path = format!("ledger[{i}].alternatives[{j}].set.{key}");
                        layers.at_key(&path, format!("{key:?} is not a key of the experiment{hint}"))
                    })?;
                }
            }
        }
        Ok(ledger)
    }
}

/// The keys in braces of a text, whose values are shown in their place.
fn placeholders(text: &str) -> impl Iterator<Item = &str> {
    text.split('{').skip(1).filter_map(|behind| behind.split_once('}').map(|(key, _)| key))
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
