//! Two runs side by side: only what differs.

use super::records::{Curve, RunRecord};
use super::{Error, Store};
use crate::dataset::Split;
use crate::score::Scores;
use crate::train::{Epoch, Measures};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// A key that differs, with both sides; null where one side has none.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The key, dotted.
    pub key: String,
    /// On the first side.
    pub a: Value,
    /// On the second side.
    pub b: Value,
}

/// The first place where two curves part.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Parting {
    /// The epoch.
    pub epoch: usize,
    /// `train loss`, `val accuracy`, ...
    pub quantity: String,
    /// On the first side; null where that curve has ended.
    pub a: Option<f64>,
    /// On the second side.
    pub b: Option<f64>,
}

/// How far two score matrices of one kind are apart.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScoreDifference {
    /// `real`, `generated` or `vision`.
    pub what: String,
    /// The largest difference of a probability; null where they cannot be compared.
    pub largest: Option<f64>,
    /// The val clip of the largest difference.
    pub clip: Option<String>,
    /// Its class.
    pub class: Option<String>,
    /// Clips with any difference.
    pub clips: usize,
    /// Why they cannot be compared.
    pub why: Option<String>,
}

/// All that differs between two runs.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// What the fingerprints are made of, seed and data set included.
    pub spec: Vec<Difference>,
    /// The machines, builds and calls.
    pub environment: Vec<Difference>,
    /// Numbers about the whole runs.
    pub values: Vec<Difference>,
    /// Where the curves part.
    pub curve: Option<Parting>,
    /// How far the scores are apart.
    pub scores: Vec<ScoreDifference>,
}

impl Comparison {
    /// Whether the numbers agree: values, curves and scores.
    pub fn same_numbers(&self) -> bool {
        self.values.is_empty() && self.curve.is_none() && self.scores.is_empty()
    }
}

impl Store {
    /// Compares two runs.
    pub fn compare(&self, a: &RunRecord, b: &RunRecord) -> Result<Comparison, Error> {
        let mut spec = differences(&self.facts(a)?, &self.facts(b)?);
        // Fingerprints of data say nothing where the names of what differs are told.
        if spec.iter().any(|d| d.key.starts_with("data.") || d.key.starts_with("missing")) {
            spec.retain(|d| d.key != "view");
        }
        let environment = |run: &RunRecord| -> Result<Value, Error> {
            let mut all = run.environment_id.map_or(Ok(json!({})), |id| self.environment(id))?;
            if let Some(map) = all.as_object_mut() {
                // Its hash is told; `show --json` has the text.
                map.remove("dirty_diff");
                map.insert("command".into(), json!(run.command));
                map.insert("accepted_from".into(), json!(run.accepted_from));
            }
            Ok(all)
        };
        Ok(Comparison {
            spec,
            environment: differences(&environment(a)?, &environment(b)?),
            values: differences(&json!(a.values), &json!(b.values)),
            curve: parting(&self.curve(&a.id)?, &self.curve(&b.id)?),
            scores: self.compare_scores(a, b)?,
        })
    }

    /// What a run depends on, with its data set told by parts.
    fn facts(&self, run: &RunRecord) -> Result<Value, Error> {
        let mut facts = run.spec.clone();
        let view = self.view(run.view_id)?;
        let dataset = self.dataset(view.dataset_id)?;
        if let Some(map) = facts.as_object_mut() {
            let fingerprint = map.remove("data").unwrap_or_default();
            map.insert("view".into(), fingerprint);
            map.insert("data".into(), json!({ "name": dataset.manifest.name, "files": dataset.files }));
            map.insert("missing".into(), json!(view.missing));
            map.insert("seed".into(), json!(run.seed));
        }
        Ok(facts)
    }

    fn compare_scores(&self, a: &RunRecord, b: &RunRecord) -> Result<Vec<ScoreDifference>, Error> {
        let (of_a, of_b) = (self.score_kinds(&a.id)?, self.score_kinds(&b.id)?);
        let (view_a, view_b) = (self.view(a.view_id)?, self.view(b.view_id)?);
        let classes = self.dataset(view_a.dataset_id)?.manifest.classes;
        let mut out = Vec::new();
        let kinds: BTreeSet<&String> = of_a.iter().chain(&of_b).collect();
        for what in kinds {
            let apart = |why: &str| ScoreDifference {
                what: what.clone(),
                largest: None,
                clip: None,
                class: None,
                clips: 0,
                why: Some(why.into()),
            };
            match (self.scores(&a.id, what)?, self.scores(&b.id, what)?) {
                (Some(_), Some(_)) if view_a.of_scores(what).clips != view_b.of_scores(what).clips => {
                    out.push(apart(&format!("of other {} clips", Split::of_name(what).0.name())));
                }
                (Some(x), Some(y)) => {
                    out.extend(score_difference(what, &x, &y, &view_a.of_scores(what).clips, &classes));
                }
                (None, None) => {}
                (x, _) => {
                    out.push(apart(if x.is_some() { "only the first has them" } else { "only the second has them" }))
                }
            }
        }
        Ok(out)
    }
}

/// How two matrices differ; `None` where they agree bit for bit.
pub fn score_difference(
    what: &str,
    a: &Scores,
    b: &Scores,
    clips: &[String],
    classes: &[String],
) -> Option<ScoreDifference> {
    let mut difference =
        ScoreDifference { what: what.into(), largest: None, clip: None, class: None, clips: 0, why: None };
    if a.classes != b.classes || a.clips() != b.clips() {
        difference.why = Some(format!("{} x {} and {} x {}", a.clips(), a.classes, b.clips(), b.classes));
        return Some(difference);
    }
    let k = a.classes.max(1);
    let mut differing = BTreeSet::new();
    for (i, (x, y)) in a.values.iter().zip(&b.values).enumerate() {
        if x.to_bits() == y.to_bits() {
            continue;
        }
        differing.insert(i / k);
        let apart = (f64::from(*x) - f64::from(*y)).abs();
        // NaN beside a number is as far as it gets.
        let apart = if apart.is_nan() { f64::INFINITY } else { apart };
        if difference.largest.is_none_or(|largest| apart > largest) {
            difference.largest = Some(apart);
            difference.clip = clips.get(i / k).cloned();
            difference.class = classes.get(i % k).cloned();
        }
    }
    differing.extend((0..a.clips()).filter(|&i| a.present[i] != b.present[i]));
    difference.clips = differing.len();
    if difference.largest.is_none() && difference.clips > 0 {
        difference.why = Some("other clips are absent".into());
    }
    (difference.clips > 0).then_some(difference)
}

/// The leaves that differ between two JSON values.
pub fn differences(a: &Value, b: &Value) -> Vec<Difference> {
    fn walk(path: &str, a: &Value, b: &Value, out: &mut Vec<Difference>) {
        match (a, b) {
            (Value::Object(x), Value::Object(y)) => {
                let keys: BTreeSet<&String> = x.keys().chain(y.keys()).collect();
                for key in keys {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    walk(&path, x.get(key).unwrap_or(&Value::Null), y.get(key).unwrap_or(&Value::Null), out);
                }
            }
            (a, b) if a == b => {}
            (a, b) => out.push(Difference { key: path.into(), a: a.clone(), b: b.clone() }),
        }
    }
    let mut out = Vec::new();
    walk("", a, b, &mut out);
    out
}

/// The first epoch and quantity in which two curves differ by any bit.
pub fn parting(a: &Curve, b: &Curve) -> Option<Parting> {
    let by_number = |curve: &Curve| curve.iter().map(|e| (e.epoch, *e)).collect::<BTreeMap<usize, Epoch>>();
    let (a, b) = (by_number(a), by_number(b));
    let epochs: BTreeSet<usize> = a.keys().chain(b.keys()).copied().collect();
    for epoch in epochs {
        let numbers = |e: Option<&Epoch>| e.map(|e| [measures("train", &e.train), measures("val", &e.val)].concat());
        match (numbers(a.get(&epoch)), numbers(b.get(&epoch))) {
            (Some(x), Some(y)) => {
                let differ = |p: &(&(String, f64), &(String, f64))| {
                    p.0.1.to_bits() != p.1.1.to_bits() && !(p.0.1.is_nan() && p.1.1.is_nan())
                };
                if let Some((p, q)) = x.iter().zip(&y).find(differ) {
                    return Some(Parting { epoch, quantity: p.0.clone(), a: Some(p.1), b: Some(q.1) });
                }
            }
            (x, y) => {
                let first = |n: Option<Vec<(String, f64)>>| n.and_then(|n| n.first().map(|(_, v)| *v));
                return Some(Parting { epoch, quantity: "train loss".into(), a: first(x), b: first(y) });
            }
        }
    }
    None
}

fn measures(split: &str, m: &Measures) -> Vec<(String, f64)> {
    [
        ("loss", m.loss),
        ("loss_cls", m.loss_cls),
        ("loss_rec", m.loss_rec),
        ("accuracy", m.accuracy),
        ("feature_error", m.feature_error),
    ]
    .map(|(name, value)| (format!("{split} {name}"), value))
    .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_told() {
        let a = json!({ "train": { "lr": 0.1, "batch": 2 }, "code": "x" });
        let b = json!({ "train": { "lr": 0.2, "batch": 2 }, "part": 1 });
        let keys: Vec<String> = differences(&a, &b).into_iter().map(|d| d.key).collect();
        assert_eq!(keys, ["code", "part", "train.lr"]);
        assert!(differences(&a, &a).is_empty());
    }

    #[test]
    fn curves_part_at_the_first_differing_bit() {
        let epoch = |n: usize, accuracy: f64| Epoch {
            epoch: n,
            train: Measures { loss_cls: f64::NAN, ..Default::default() },
            val: Measures { accuracy, ..Default::default() },
        };
        let a = vec![epoch(1, 1.0), epoch(2, 2.0), epoch(3, 3.0)];
        assert_eq!(parting(&a, &a.clone()), None);
        let b = vec![epoch(1, 1.0), epoch(2, 2.0 + 1e-15 * 2.0), epoch(3, 9.0)];
        let p = parting(&a, &b).unwrap();
        assert_eq!((p.epoch, p.quantity.as_str(), p.a), (2, "val accuracy", Some(2.0)));
        let p = parting(&a, &a[..2].to_vec()).unwrap();
        assert_eq!((p.epoch, p.b), (3, None));
    }

    #[test]
    fn the_largest_difference_is_named() {
        let a = Scores::complete(vec![0.5, 0.5, 0.25, 0.75], 2);
        let mut b = a.clone();
        assert_eq!(score_difference("real", &a, &b, &[], &[]), None);
        b.values[3] = 0.5;
        b.values[0] = f32::from_bits(0.5f32.to_bits() + 1);
        let names = |n: &[&str]| n.iter().map(|s| s.to_string()).collect::<Vec<_>>();
        let d = score_difference("real", &a, &b, &names(&["p", "q"]), &names(&["x", "y"])).unwrap();
        assert_eq!((d.largest, d.clip.as_deref(), d.class.as_deref(), d.clips), (Some(0.25), Some("q"), Some("y"), 2));
    }
}
