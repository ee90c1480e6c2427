//! Why a cell would run again: which of the things that its numbers depend on is another one than in the runs that the
//! store has.

use super::{Plan, Planned};
use crate::experiment::Part;
use crate::store::{Error, RunRecord, State, Store, ViewData, differences};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, HashSet};

/// What the store knows, arranged for the question.
pub struct History<'a> {
    states: BTreeMap<&'a str, &'a RunRecord>,
    /// One finished run of each cell that trained the same part, the newest first.
    by_part: HashMap<String, Vec<&'a RunRecord>>,
    /// The newest finished run by what it depends on less the code, and seed.
    by_spec: HashMap<(String, Option<u64>), &'a RunRecord>,
    views: BTreeMap<i64, ViewData>,
}

impl<'a> History<'a> {
    /// Of all runs of a store, the newest first.
    pub fn new(store: Option<&Store>, runs: &'a [RunRecord]) -> Result<History<'a>, Error> {
        let mut by_part: HashMap<String, Vec<&RunRecord>> = HashMap::new();
        let mut by_spec = HashMap::new();
        let mut cells = HashSet::new();
        for run in runs.iter().filter(|r| r.state == State::Done) {
            if cells.insert(run.cell.as_str()) {
                by_part.entry(part_key(&run.spec["part"])).or_default().push(run);
            }
            by_spec.entry((without_code(&run.spec).to_string(), run.seed)).or_insert(run);
        }
        let views = store.map_or_else(|| Ok(BTreeMap::new()), Store::data_of_views)?;
        Ok(History { states: runs.iter().map(|r| (r.id.as_str(), r)).collect(), by_part, by_spec, views })
    }

    fn done(&self, id: &str) -> bool {
        self.states.get(id).is_some_and(|r| r.state == State::Done)
    }

    /// Runs of a plan that are not done, but were with other numeric code: what each would be, and the run that it was.
    pub fn of_other_code<'p>(&self, plan: &'p Plan) -> Vec<(&'p Planned, Option<u64>, &'p str, &'a RunRecord)> {
        let mut seen = HashSet::new();
        let mut found = Vec::new();
        for planned in plan.cells.iter().filter(|p| p.skipped.is_none()) {
            let spec = without_code(&planned.spec).to_string();
            for (seed, id) in planned.runs.iter().filter(|(_, id)| !self.done(id)) {
                if let Some(run) = self.by_spec.get(&(spec.clone(), *seed)).filter(|_| seen.insert(id)) {
                    found.push((planned, *seed, id.as_str(), *run));
                }
            }
        }
        found
    }

    /// Why a cell's open runs would run; `None` where all are done.
    pub fn why(&self, planned: &Planned) -> Option<String> {
        if planned.skipped.is_some() {
            return None;
        }
        let open: Vec<&(Option<u64>, String)> = planned.runs.iter().filter(|(_, id)| !self.done(id)).collect();
        let first = open.first()?;
        if let Some(run) = open.iter().find_map(|(_, id)| self.states.get(id.as_str())) {
            match run.state {
                State::Failed => return Some("failed before; would be tried again".into()),
                State::Interrupted => return Some("interrupted; would go on".into()),
                State::Running => {
                    let alive = super::alive(&run.owner());
                    let gone = "begun by a process that is gone; would be taken up again";
                    return Some(if alive { "running" } else { gone }.into());
                }
                State::Pending | State::Done => {}
            }
        }
        if planned.runs.len() > open.len() {
            let seeds: Vec<String> = open.iter().filter_map(|(seed, _)| *seed).map(|s| s.to_string()).collect();
            return Some(format!("new seed{} {}", if seeds.len() == 1 { "" } else { "s" }, seeds.join(", ")));
        }
        // A run of this very cell, with other seeds, says that nothing changed.
        let of_part = self.by_part.get(&part_key(&json!(planned.cell.part)));
        let nearest = of_part.into_iter().flatten().map(|r| self.changes(r, planned)).min_by_key(Vec::len);
        Some(match nearest {
            None => "new".into(),
            Some(changes) if changes.is_empty() => first.0.map_or("new".into(), |seed| format!("new seed {seed}")),
            Some(changes) => changes.join("; "),
        })
    }

    /// `train.lr 0.001 -> 0.003`, `data set changed: flow.safetensors`, `numeric code changed`.
    fn changes(&self, before: &RunRecord, planned: &Planned) -> Vec<String> {
        let mut changes: Vec<String> = Vec::new();
        for d in differences(&before.spec, &planned.spec) {
            match d.key.as_str() {
                "code" => changes.push("numeric code changed".into()),
                "data" => changes.extend(self.changed_data(before, planned)),
                key => changes.push(format!("{key} {} -> {}", d.a, d.b)),
            }
        }
        changes
    }

    fn changed_data(&self, before: &RunRecord, planned: &Planned) -> Vec<String> {
        let unknown = || vec!["data set changed".to_string()];
        let (Some(then), Some(view)) = (self.views.get(&before.view_id), &planned.view) else { return unknown() };
        let now = &view.dataset;
        let mut changes = Vec::new();
        if then.fingerprint != now.fingerprint {
            let files = changed_files(&then.files, &now.file_hashes);
            changes.push(match then.name == now.manifest.name {
                true => format!("data set changed: {}", files.join(", ")),
                false => format!("data set changed: {} -> {}", then.name, now.manifest.name),
            });
        }
        // Sound plays no part in the heads of the streams.
        if !matches!(planned.cell.part, Part::Stream { .. }) {
            let missing = differences(&json!({ "missing": before.missing }), &json!({ "missing": view.missing }));
            changes.extend(missing.into_iter().map(|d| format!("{} {} -> {}", d.key, d.a, d.b)));
        }
        if changes.is_empty() { unknown() } else { changes }
    }
}

/// Files whose contents differ, or that only one side has.
pub fn changed_files(before: &BTreeMap<String, String>, after: &[(String, String)]) -> Vec<String> {
    let mut changed: Vec<String> =
        after.iter().filter(|(file, hash)| before.get(file) != Some(hash)).map(|(file, _)| file.clone()).collect();
    changed.extend(before.keys().filter(|file| !after.iter().any(|(f, _)| f == *file)).cloned());
    changed
}

/// What a run depends on, whatever the version of the code.
pub fn without_code(spec: &Value) -> Value {
    let mut spec = spec.clone();
    if let Some(map) = spec.as_object_mut() {
        // What `remove` does here would change the order of the keys.
        map.shift_remove("code");
    }
    spec
}

/// A part as a key, whatever the order in which it was written.
fn part_key(part: &Value) -> String {
    super::fingerprint::canonical(part.clone()).to_string()
}
