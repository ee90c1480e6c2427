//! In what results are not those of the experiment as it is declared: other settings, fewer seeds, a declaration that was
//! edited after the run. Nothing of the kind agrees with a published value, and every report and export says it.

use crate::experiment::Config;
use crate::model::settings;
use crate::store::{ExperimentRecord, flatten};
use serde_json::{Map, Value};

/// What departs from the declaration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Departures {
    /// `--set` values of the run.
    pub sets: Vec<String>,
    /// Seeds that the results are of, and those that were declared, where they are fewer or others.
    pub seeds: Option<(Vec<u64>, Vec<u64>)>,
    /// What `experiment.yaml` says now, key by key: `train.lr: 0.001 when run, 0.5 now`.
    pub edits: Vec<String>,
}

/// Keys that no number depends on.
const WORDS_ALONE: [&str; 6] = ["name", "title", "description", "published_on", "dataset", "extends"];

impl Departures {
    /// What the store alone knows, given the declared seeds where it does.
    pub fn of(record: &ExperimentRecord, declared: Option<&[u64]>) -> Departures {
        let seeds = &record.config.seeds;
        let other =
            declared.filter(|declared| declared.iter().any(|s| !seeds.contains(s)) || seeds.len() < declared.len());
        Departures {
            sets: record.sets.clone(),
            seeds: other.map(|declared| (seeds.clone(), declared.to_vec())),
            edits: Vec::new(),
        }
    }

    /// As sentences, for the reader of a table.
    pub fn sentences(&self) -> Vec<String> {
        let mut out = Vec::new();
        if !self.sets.is_empty() {
            out.push(format!("Changed on the command line: {}.", self.sets.join(", ")));
        }
        if let Some((seeds, declared)) = &self.seeds {
            let kept = declared.iter().filter(|s| seeds.contains(s)).count();
            let all = declared.len();
            out.push(match seeds.iter().all(|s| declared.contains(s)) {
                true => format!("{kept} of {all} declared seeds: the numbers are those of {}.", counted(seeds)),
                false => format!(
                    "{kept} of {all} declared seeds ({}): the numbers are those of {}.",
                    list(declared),
                    counted(seeds)
                ),
            });
        }
        if !self.edits.is_empty() {
            out.push(format!(
                "experiment.yaml has changed since the run, and the numbers are those of the run: {}.",
                self.edits.join("; ")
            ));
        }
        out
    }

    /// Why nothing agrees with or differs from a published value; a smaller grid alone makes no other runs.
    pub fn obstacle(&self) -> Option<String> {
        let changed: Vec<&str> = self.sets.iter().map(String::as_str).filter(|s| !s.starts_with("grid.")).collect();
        if !changed.is_empty() {
            return Some(format!("changed: {}", changed.join(", ")));
        }
        if let Some((seeds, declared)) = &self.seeds {
            let kept = declared.iter().filter(|s| seeds.contains(s)).count();
            return Some(format!("{kept} of {} declared seeds", declared.len()));
        }
        (!self.edits.is_empty()).then(|| "experiment.yaml has changed since the run".to_string())
    }
}

fn list(seeds: &[u64]) -> String {
    seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
}

fn counted(seeds: &[u64]) -> String {
    format!("seed{} {}", if seeds.len() == 1 { "" } else { "s" }, list(seeds))
}

/// What is another value now than when the experiment was run, key by key. Seeds are told by [`Departures::of`].
pub fn edits(run: &Config, now: &Config) -> Vec<String> {
    let keys = |config: &Config| -> Map<String, Value> {
        let counts = |(key, value): &(String, Value)| {
            let first = key.split('.').next().unwrap_or(key);
            !WORDS_ALONE.contains(&first) && first != "seeds" && !is_empty(value)
        };
        flatten(&settings::whole(config)).into_iter().filter(counts).collect()
    };
    let (run, now) = (keys(run), keys(now));
    let mut names: Vec<&String> = run.keys().chain(now.keys()).collect();
    names.sort();
    names.dedup();
    let told = |value: Option<&Value>| value.map_or_else(|| "not set".to_string(), plain);
    names
        .into_iter()
        .filter(|name| !same(run.get(*name), now.get(*name)))
        .map(|name| format!("{name}: {} when run, {} now", told(run.get(name)), told(now.get(name))))
        .collect()
}

fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), String::from)
}

/// Whether two values are the same; 1 and 1.0 are.
fn same(a: Option<&Value>, b: Option<&Value>) -> bool {
    match (a, b) {
        (Some(Value::Number(a)), Some(Value::Number(b))) => a == b || a.as_f64() == b.as_f64(),
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(Some(a), Some(b)))
        }
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            a.len() == b.len() && a.iter().all(|(key, value)| same(Some(value), b.get(key)))
        }
        (a, b) => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::Experiment;
    use std::path::Path;

    fn config(sets: &[&str]) -> Config {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/icassp2019");
        Experiment::load(&dir, &sets.iter().map(|s| s.to_string()).collect::<Vec<_>>()).unwrap().config
    }

    #[test]
    fn edits_are_told_key_by_key() {
        let run = config(&[]);
        assert_eq!(edits(&run, &config(&["title=another", "seeds=[7]"])), Vec::<String>::new());
        let now = config(&["train.lr=0.5", "fusion.weights={rgb: 0}", "svm.c=1.0"]);
        assert_eq!(
            edits(&run, &now),
            ["fusion.weights.rgb: not set when run, 0.0 now", "train.lr: 0.001 when run, 0.5 now"]
        );
    }

    #[test]
    fn what_departs_is_said_and_agrees_with_nothing() {
        let seeds = |ours: &[u64], declared: &[u64]| Departures {
            seeds: Some((ours.to_vec(), declared.to_vec())),
            ..Departures::default()
        };
        let fewer = seeds(&[0, 1], &[0, 1, 2, 3, 4]);
        assert_eq!(fewer.sentences(), ["2 of 5 declared seeds: the numbers are those of seeds 0, 1."]);
        assert_eq!(fewer.obstacle().unwrap(), "2 of 5 declared seeds");
        let others = seeds(&[9], &[0, 1]);
        assert_eq!(others.sentences(), ["0 of 2 declared seeds (0, 1): the numbers are those of seed 9."]);
        let grid = Departures { sets: vec!["grid.audio=[vggish]".into()], ..Departures::default() };
        assert!(grid.obstacle().is_none() && grid.sentences().len() == 1);
        let set = Departures { sets: vec!["train.epochs=5".into()], ..Departures::default() };
        assert_eq!(set.obstacle().unwrap(), "changed: train.epochs=5");
        let edited = Departures { edits: vec!["svm.c: 1 when run, 2 now".into()], ..Departures::default() };
        assert!(edited.sentences()[0].contains("svm.c: 1 when run, 2 now") && edited.obstacle().is_some());
        assert_eq!(Departures::default().sentences(), Vec::<String>::new());
    }
}
