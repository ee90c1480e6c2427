//! `unmute plan`: what `run` would do, and why.

use super::args::PlanArgs;
use super::{Exit, Failure, open, print, print_json};
use crate::report::format::duration;
use crate::runs::estimate::Estimates;
use crate::runs::plan::cost;
use crate::runs::why::History;
use crate::runs::{Plan, Planned};
use crate::store::{RunRecord, Selection, State, Values};
use serde_json::json;
use std::collections::BTreeMap;

pub(super) fn plan(args: &PlanArgs) -> Result<Exit, Failure> {
    let (experiment, plan) = open::plan(&args.experiment)?;
    let db = &args.experiment.db.db;
    let store = if db.is_file() { Some(open::store(db)?) } else { None };
    let light = Selection { values: Values::Only(Vec::new()), ..Default::default() };
    let runs = store.as_ref().map_or_else(|| Ok(Vec::new()), |s| s.select(&light))?;
    let mut states: BTreeMap<String, State> = runs.iter().map(|r| (r.id.clone(), r.state)).collect();
    let history = History::new(store.as_ref(), &runs)?;
    let of_other_code = history.of_other_code(&plan);
    if args.experiment.accept_changed_code {
        states.extend(of_other_code.iter().map(|(_, _, id, _)| (id.to_string(), State::Done)));
    }
    let mut rates = Rates::measure(&runs, &plan);
    let mut cells = Vec::new();
    let mut seconds = 0.0;
    let mut seen = std::collections::HashSet::new();
    for planned in &plan.cells {
        let done = planned.runs.iter().filter(|(_, id)| states.get(id) == Some(&State::Done)).count();
        let open: Vec<_> = planned.runs.iter().filter(|(_, id)| states.get(id) != Some(&State::Done)).collect();
        // Nothing is timed for what is not going to run.
        let estimate = if open.is_empty() || planned.skipped.is_some() { 0.0 } else { rates.seconds(planned) };
        if planned.skipped.is_none() {
            seconds += estimate * open.iter().filter(|(_, id)| seen.insert(id.clone())).count() as f64;
        }
        cells.push(json!({
            "cell": planned.cell.key(),
            "kind": planned.cell.part.kind(),
            "fingerprint": planned.fingerprint,
            "runs": planned.runs.len(),
            "done": done,
            "seeds": planned.runs.iter().map(|(seed, _)| seed).collect::<Vec<_>>(),
            "skipped": planned.skipped,
            "why": if open.is_empty() { None } else { history.why(planned) },
            "seconds": if planned.skipped.is_some() { 0.0 } else { estimate * open.len() as f64 },
        }));
    }
    let threads = rayon::current_num_threads() as f64;
    let open = plan.open(&states).len();
    if args.json {
        print_json(&json!({
            "experiment": experiment.config.name,
            "dataset": plan.dataset.manifest.name,
            "dataset_fingerprint": plan.dataset.fingerprint,
            "to_do": open,
            "seconds": seconds / threads,
            "cells": cells,
        }))?;
        return Ok(Exit::Done);
    }
    let mut out = format!(
        "{} on {} ({}), seeds {:?}\n\n{:<40} {:>9}  {}\n",
        experiment.config.name,
        plan.dataset.manifest.name,
        &plan.dataset.fingerprint[..12],
        experiment.config.seeds,
        "cell",
        "done",
        "next"
    );
    for cell in &cells {
        let text = |key: &str| cell[key].as_str().map(String::from);
        let done =
            if cell["skipped"].is_null() { format!("{}/{}", cell["done"], cell["runs"]) } else { "skipped".into() };
        let next = text("skipped").or(text("why")).unwrap_or_else(|| "done".into());
        out += &format!("{:<40} {done:>9}  {next}\n", text("cell").unwrap_or_default());
    }
    if !of_other_code.is_empty() {
        out += &match args.experiment.accept_changed_code {
            true => format!("\n{} runs of other numeric code would be accepted as they are\n", of_other_code.len()),
            false => format!(
                "\n{} runs differ in the numeric code only; --accept-changed-code takes them as they are\n",
                of_other_code.len()
            ),
        };
    }
    out += &if open == 0 {
        "\nall done; nothing to train\n".to_string()
    } else {
        format!("\n{open} runs to do, about {} on {threads} thread(s)\n", duration(seconds / threads))
    };
    print(&out)?;
    Ok(Exit::Done)
}

/// Seconds of a run: from finished runs of its kind where there are any, else from steps timed here.
struct Rates {
    /// Seconds per floating-point operation.
    by_kind: BTreeMap<String, f64>,
    estimates: Estimates,
}

impl Rates {
    fn measure(runs: &[RunRecord], plan: &Plan) -> Rates {
        let mut sums: BTreeMap<String, (f64, f64)> = BTreeMap::new();
        for planned in &plan.cells {
            for (_, id) in &planned.runs {
                let finished = runs.iter().find(|r| r.id == *id && r.state == State::Done);
                if let Some(seconds) = finished.and_then(|r| r.seconds) {
                    let sum = sums.entry(kind(planned)).or_default();
                    sum.0 += seconds;
                    sum.1 += cost(planned);
                }
            }
        }
        let by_kind = sums.into_iter().map(|(kind, (seconds, cost))| (kind, seconds / cost.max(1.0))).collect();
        Rates { by_kind, estimates: Estimates::new(rayon::current_num_threads()) }
    }

    fn seconds(&mut self, planned: &Planned) -> f64 {
        match self.by_kind.get(&kind(planned)) {
            Some(rate) => 0.05 + cost(planned) * rate,
            None => self.estimates.seconds(planned),
        }
    }
}

/// Generators of one architecture cost alike.
fn kind(planned: &Planned) -> String {
    match &planned.cell.part {
        crate::experiment::Part::Generator { generator, .. } => generator.word().into(),
        part => part.kind().into(),
    }
}
