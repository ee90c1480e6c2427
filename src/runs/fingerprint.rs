//! What a run's numbers depend on, as canonical JSON, and its hash.

use crate::dataset::View;
use crate::dataset::external::External;
use crate::experiment::config::{Classifier, Control, Engine, Loss};
use crate::experiment::{Cell, Part};
use serde_json::{Value, json};

/// The digest of the code that numbers depend on, made when the program was built.
pub const CODE: &str = env!("UNMUTE_CODE");

/// Everything that the numbers of a cell depend on, without its seed, and nothing else: a key that the cell does not
/// read (the decoder's width for an LSTM) is left out, so that changing it repeats nothing. Features that another program generated
/// are named by their contents.
pub fn spec(cell: &Cell, view: &View, external: Option<&External>) -> Value {
    let c = &cell.config;
    let data = match cell.part {
        // Sound plays no part in the heads.
        Part::Stream { .. } => &view.dataset.fingerprint,
        _ => &view.fingerprint,
    };
    let mut spec = json!({ "part": cell.part, "data": data, "code": CODE });
    let mut add = |key: &str, value: Value| {
        if let Some(map) = spec.as_object_mut() {
            map.insert(key.into(), value);
        }
    };
    match &cell.part {
        // What comes with the data set depends on no setting; its contents are part of `data`.
        Part::Stream { stream } if view.dataset.scores(stream).is_some() => add("scores", json!("given")),
        Part::Stream { .. } => {
            add("tsn", json!(c.tsn));
            if c.train.engine != Engine::Fused {
                add("engine", json!(c.train.engine));
            }
        }
        Part::Bank { .. } => add("svm", svm(cell)),
        Part::Generator { generator, loss, classifier, .. } => {
            let mut train = json!(c.train);
            if let Some(train) = train.as_object_mut() {
                // Keys that other losses read.
                let unread = Loss::ALL.iter().flat_map(|other| other.reads()).filter(|key| !loss.reads().contains(key));
                unread.for_each(|key| drop(train.remove(*key)));
                if *classifier == Classifier::Without {
                    train.remove("w_cls");
                }
            }
            add("train", train);
            add(generator.word(), c.generator(*generator).to_json());
            add("match_generated", json!(c.match_generated));
            add("svm", json!(c.svm));
        }
        Part::External { .. } => {
            add("features", json!(external.map(|external| &external.fingerprint)));
            add("svm", svm(cell));
        }
        Part::Control { control, .. } => {
            match control {
                Control::Knn => add("knn", json!(c.knn)),
                Control::Ridge => add("ridge", json!(c.ridge)),
                Control::Zero | Control::Mean | Control::Oracle => {}
            }
            add("svm", svm(cell));
        }
    }
    canonical(spec)
}

/// Banks are always fitted on real audio, and so are those that controls and features from elsewhere are scored with.
fn svm(cell: &Cell) -> Value {
    let mut svm = json!(cell.config.svm);
    svm.as_object_mut().map(|map| map.remove("train_on"));
    svm
}

/// The fingerprint of a cell (no seed) or run.
pub fn fingerprint(spec: &Value, seed: Option<u64>) -> String {
    let text = match seed {
        None => spec.to_string(),
        Some(seed) => format!("{spec} seed {seed}"),
    };
    blake3::hash(text.as_bytes()).to_hex().as_str()[..32].to_string()
}

/// Keys in alphabetical order, at every depth.
pub(super) fn canonical(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<(String, Value)> = map.into_iter().map(|(k, v)| (k, canonical(v))).collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(entries.into_iter().collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(canonical).collect()),
        other => other,
    }
}
