//! Trains finished runs again, in a store of its own, and compares every bit that they left.

use super::engines::EngineDifference;
use super::why::without_code;
use super::{Event, Options, Plan, Planned, Stop, environment, run_all, run_name, weights};
use crate::dataset::Dataset;
use crate::device::Which;
use crate::experiment::config::{Engine, Keep};
use crate::experiment::grid::{external, externals};
use crate::experiment::{Config, Experiment, Part};
use crate::store::{
    self, Difference, ExperimentRecord, Parting, RunRecord, ScoreDifference, State, Store, differences, parting,
    score_difference,
};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// What training a run again came to.
#[derive(Clone, Debug, Serialize)]
pub struct Verified {
    /// The run.
    pub run: String,
    /// Its cell and seed.
    pub name: String,
    /// Whether every bit is the same (of a run on a GPU: whether it is as near as such runs are).
    pub holds: bool,
    /// Epochs compared.
    pub epochs: usize,
    /// Probabilities compared.
    pub probabilities: usize,
    /// The first epoch and quantity that parted.
    pub curve: Option<Parting>,
    /// Scores that differ.
    pub scores: Vec<ScoreDifference>,
    /// Numbers of the run that differ.
    pub values: Vec<Difference>,
    /// What differs between the environments, where the numbers do.
    pub environment: Vec<Difference>,
    /// Whether the numeric code has changed since.
    pub other_code: bool,
    /// How far the engines lie apart, where it was trained with another one.
    pub engines: Option<EngineDifference>,
    /// Why it could not be trained again.
    pub error: Option<String>,
}

/// Why nothing can be trained again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A stored experiment no longer makes sense to this version.
    #[error("the stored experiment {name:?}: {why}")]
    Experiment {
        /// Its name.
        name: String,
        /// Why.
        why: String,
    },
    /// The store, or the temporary one.
    #[error("{0}")]
    Store(#[from] store::Error),
    /// Weights that were to be kept.
    #[error(transparent)]
    Weights(#[from] super::weights::Error),
    /// No place for a temporary store.
    #[error("a temporary folder: {0}\n  next: free some space, or point TMPDIR elsewhere")]
    Folder(std::io::Error),
}

/// Scores of runs on a GPU agree this far, since its sums have no fixed order.
const NEAR: f64 = 1e-3;

/// The runs to train again: `n` of the finished ones, always the same, every kind in turn.
pub fn sample(mut runs: Vec<RunRecord>, n: usize) -> Vec<RunRecord> {
    // Ids are hashes: their order is as good as drawn.
    runs.sort_by(|a, b| a.id.cmp(&b.id));
    let kinds = ["generator", "stream", "bank", "external", "control"];
    let mut by_kind: Vec<Vec<RunRecord>> = kinds.iter().map(|_| Vec::new()).collect();
    for run in runs.into_iter().rev() {
        if let Some(i) = kinds.iter().position(|k| *k == run.kind) {
            by_kind[i].push(run);
        }
    }
    let mut chosen = Vec::new();
    while chosen.len() < n && by_kind.iter().any(|of| !of.is_empty()) {
        for of in &mut by_kind {
            if chosen.len() < n {
                chosen.extend(of.pop());
            }
        }
    }
    chosen
}

/// Trains `runs` again on their data set, with another engine if one is given, and compares.
#[allow(clippy::too_many_arguments)]
pub fn verify(
    which: Which,
    engine: Option<Engine>,
    store: &Store,
    experiments: &[ExperimentRecord],
    dataset: Arc<Dataset>,
    features: Option<&Path>,
    runs: &[RunRecord],
    options: &Options,
    interrupt: &Stop,
    watch: &(dyn Fn(Event) + Sync),
) -> Result<Vec<Verified>, Error> {
    let folder = tempfile::tempdir().map_err(Error::Folder)?;
    let again = Store::open(&folder.path().join("again.db"))?;
    let failures: Mutex<Vec<(String, String)>> = Mutex::default();
    let listen = |event: Event| {
        if let (Event::Failed { name, error }, Ok(mut failures)) = (&event, failures.lock()) {
            failures.push((name.clone(), error.clone()));
        }
        watch(event);
    };
    let mut found: Vec<Option<(Planned, String)>> = vec![None; runs.len()];
    for record in experiments {
        if found.iter().all(Option::is_some) {
            break;
        }
        let plan = replan(record, (dataset.clone(), features), runs, engine)?;
        let mut cells: Vec<Planned> = Vec::new();
        for (run, found) in runs.iter().zip(&mut found).filter(|(_, found)| found.is_none()) {
            let Some(planned) = plan.cells.iter().find(|p| same_but_for_engine(&p.spec, &run.spec, engine)) else {
                continue;
            };
            let Some(again) = planned.runs.iter().find(|(seed, _)| *seed == run.seed) else { continue };
            *found = Some((planned.clone(), again.1.clone()));
            cells.extend(plan.cells.iter().filter(|p| needs(planned, p)).cloned());
            cells.push(Planned { runs: vec![again.clone()], ..planned.clone() });
        }
        if !cells.is_empty() {
            let part = Plan { cells, dataset: plan.dataset.clone(), folder: plan.folder.clone(), only: None };
            run_all(which, &again, &part, options, "verify", interrupt, &listen)?;
        }
    }
    let failures = failures.into_inner().unwrap_or_default();
    let here = environment::record(options.threads, options.workers, &which.name());
    runs.iter()
        .zip(found)
        .map(|(run, found)| {
            let mut verified = empty(run);
            match found {
                None if run.kind == "external" => {
                    let text = "the features that it scored are not here; --features DIR says where they are";
                    verified.error = Some(text.into());
                }
                None => verified.error = Some("no stored experiment has its cell any more".into()),
                Some((planned, id)) => match again.run(&id)? {
                    Some(second) if second.state == State::Done => match engine {
                        None => {
                            compare(store, run, &again, &second, &here, &mut verified)?;
                            if verified.holds && options.keep == Keep::All {
                                weights::adopt(store, run, &again, &second)?;
                            }
                        }
                        Some(engine) => compare_engines(store, run, &again, &second, engine, &mut verified)?,
                    },
                    _ => {
                        let name = run_name(&planned, run.seed);
                        let told = failures.iter().find(|(n, _)| *n == name).or(failures.first());
                        verified.error = Some(told.map_or_else(|| "interrupted".into(), |(_, error)| error.clone()));
                    }
                },
            }
            Ok(verified)
        })
        .collect()
}

/// The plan of a stored experiment, with the seeds of the runs in question.
fn replan(
    record: &ExperimentRecord,
    (dataset, features): (Arc<Dataset>, Option<&Path>),
    runs: &[RunRecord],
    engine: Option<Engine>,
) -> Result<Plan, Error> {
    let seeds: Vec<u64> = runs.iter().filter_map(|r| r.seed).collect::<BTreeSet<_>>().into_iter().collect();
    let wrong = |why: String| Error::Experiment { name: record.name.clone(), why };
    let mut config = record.config.clone();
    config.train.engine = engine.unwrap_or(config.train.engine);
    let plan = |config: Config| {
        let experiment = Experiment::stored(config, record.sets.clone()).map_err(|e| wrong(e.to_string()))?;
        Plan::with_features(&experiment, dataset.clone(), &seeds, features).map_err(|e| wrong(e.to_string()))
    };
    let whole = plan(config.clone());
    if whole.is_ok() || externals(&config).is_empty() {
        return whole;
    }
    // Features from elsewhere need not be there for the others' sake.
    if let Some(words) = config.grid.get_mut("generator") {
        words.retain(|word| word.as_str().is_none_or(|word| external(word).is_none()));
    }
    plan(config).or(whole)
}

/// Whether two specs say the same but for the numeric code, and for the engine where another is wanted.
fn same_but_for_engine(a: &Value, b: &Value, engine: Option<Engine>) -> bool {
    let strip = |spec: &Value| {
        let mut spec = without_code(spec);
        if engine.is_some() {
            spec.as_object_mut().map(|map| map.remove("engine"));
            spec.get_mut("train").and_then(Value::as_object_mut).map(|train| train.remove("engine"));
        }
        spec
    };
    strip(a) == strip(b)
}

/// Whether `other` is the bank that `planned` is scored with.
fn needs(planned: &Planned, other: &Planned) -> bool {
    let (Part::Generator { audio, .. } | Part::External { audio, .. } | Part::Control { audio, .. }) =
        &planned.cell.part
    else {
        return false;
    };
    let view = |p: &Planned| p.view.as_ref().map(|v| v.fingerprint.clone());
    other.cell.part == Part::Bank { audio: audio.clone() }
        && other.cell.overrides == planned.cell.overrides
        && view(other) == view(planned)
}

fn empty(run: &RunRecord) -> Verified {
    Verified {
        run: run.id.clone(),
        name: run.seed.map_or(run.key.clone(), |seed| format!("{} seed {seed}", run.key)),
        holds: false,
        epochs: 0,
        probabilities: 0,
        curve: None,
        scores: Vec::new(),
        values: Vec::new(),
        environment: Vec::new(),
        other_code: run.spec["code"] != super::fingerprint::CODE || run.accepted_from.is_some(),
        engines: None,
        error: None,
    }
}

fn compare_engines(
    store: &Store,
    first: &RunRecord,
    again: &Store,
    second: &RunRecord,
    engine: Engine,
    verified: &mut Verified,
) -> Result<(), Error> {
    let (curve, repeated) = (store.curve(&first.id)?, again.curve(&second.id)?);
    verified.epochs = curve.len();
    let mut found = EngineDifference::new(engine);
    found.see_curves(&curve, &repeated);
    found.see_values(&first.values, &second.values);
    for what in store.score_kinds(&first.id)? {
        if let (Some(a), Some(b)) = (store.scores(&first.id, &what)?, again.scores(&second.id, &what)?) {
            verified.probabilities += a.values.len();
            found.see_scores(&what, &a, &b);
        }
    }
    verified.holds = found.is_near();
    verified.engines = Some(found);
    Ok(())
}

fn compare(
    store: &Store,
    first: &RunRecord,
    again: &Store,
    second: &RunRecord,
    here: &Value,
    verified: &mut Verified,
) -> Result<(), Error> {
    let (curve, repeated) = (store.curve(&first.id)?, again.curve(&second.id)?);
    verified.epochs = curve.len();
    verified.curve = parting(&curve, &repeated);
    verified.values = differences(&json!(first.values), &json!(second.values));
    let view = store.view(first.view_id)?;
    let classes = store.dataset(view.dataset_id)?.manifest.classes;
    let kinds: BTreeSet<String> =
        store.score_kinds(&first.id)?.into_iter().chain(again.score_kinds(&second.id)?).collect();
    for what in kinds {
        match (store.scores(&first.id, &what)?, again.scores(&second.id, &what)?) {
            (Some(x), Some(y)) => {
                verified.probabilities += x.values.len();
                verified.scores.extend(score_difference(&what, &x, &y, &view.of_scores(&what).clips, &classes));
            }
            _ => verified.scores.push(ScoreDifference {
                what,
                largest: None,
                clip: None,
                class: None,
                clips: 0,
                why: Some("only one of the two has them".into()),
            }),
        }
    }
    let recorded = first.environment_id.map_or(Ok(Value::Null), |id| store.environment(id))?;
    let exact = [&recorded["device"], &here["device"]].iter().all(|d| d.as_str().is_none_or(|d| d == "cpu"));
    let same = verified.curve.is_none() && verified.values.is_empty() && verified.scores.is_empty();
    let near = || verified.scores.iter().all(|s| s.largest.is_some_and(|largest| largest <= NEAR));
    verified.holds = same || (!exact && near());
    if !same {
        verified.environment = differences(&recorded, here);
        // Its hash is told; `show --json` has the text.
        verified.environment.retain(|d| d.key != "dirty_diff");
    }
    Ok(())
}
