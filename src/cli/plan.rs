//! `unmute plan`: what `run` would do, and why.

use super::args::PlanArgs;
use super::{Exit, Failure, open, print, print_json, run};
use crate::device::choice::Choice;
use crate::experiment::config::Engine;
use crate::report::format::{bytes, duration};
use crate::runs::estimate::Estimates;
use crate::runs::memory;
use crate::runs::plan::Open;
use crate::runs::plan::cost;
use crate::runs::rates::Rates;
use crate::runs::why::History;
use crate::runs::{Plan, checkpoint, queue};
use crate::store::{Selection, State, Values};
use serde_json::json;
use std::collections::{BTreeMap, HashMap};

pub(super) fn plan(args: &PlanArgs) -> Result<Exit, Failure> {
    run::choose(&args.device)?;
    let (experiment, plan) = open::plan(&args.experiment)?;
    let choice = run::choose_for(&args.device, &plan)?;
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
    let mut rates = match choice.gpu {
        Some(_) => None,
        None => Some((Rates::of_finished(store.as_ref(), &runs, &plan)?, Estimates::new(rayon::current_num_threads()))),
    };
    let free = memory::free();
    let mut largest = 0;
    let mut cells = Vec::new();
    let mut seconds = rates.as_ref().map(|_| 0.0);
    let mut estimates: HashMap<&str, Option<f64>> = HashMap::new();
    let mut seen = std::collections::HashSet::new();
    for planned in &plan.cells {
        let done = planned.runs.iter().filter(|(_, id)| states.get(id) == Some(&State::Done)).count();
        let open: Vec<_> = planned.runs.iter().filter(|(_, id)| states.get(id) != Some(&State::Done)).collect();
        let need = memory::need(planned);
        let too_large = free.filter(|free| choice.gpu.is_none() && need > *free);
        // Nothing is timed for what is not going to run.
        let nothing = open.is_empty() || planned.skipped.is_some() || too_large.is_some();
        if !nothing {
            largest = largest.max(need);
        }
        let no_room = too_large.filter(|_| !open.is_empty()).map(|free| {
            format!("fails: it needs {} of memory at the least, and {} are free", bytes(need), bytes(free))
        });
        let estimate = rates.as_mut().map(|(rates, timed)| match nothing {
            true => 0.0,
            false => rates.measured(planned).unwrap_or_else(|| timed.seconds(planned)),
        });
        estimates.insert(planned.fingerprint.as_str(), estimate);
        if planned.skipped.is_none() {
            let new = open.iter().filter(|(_, id)| seen.insert(id.clone())).count() as f64;
            seconds = seconds.zip(estimate).map(|(sum, estimate)| sum + estimate * new);
        }
        cells.push(json!({
            "cell": planned.cell.key(),
            "kind": planned.cell.part.kind(),
            "fingerprint": planned.fingerprint,
            "runs": planned.runs.len(),
            "done": done,
            "seeds": planned.runs.iter().map(|(seed, _)| seed).collect::<Vec<_>>(),
            "skipped": planned.skipped,
            "engine": planned.engine(),
            "why": if open.is_empty() { None } else { no_room.or_else(|| history.why(planned)) },
            "memory_bytes": need,
            "seconds": estimate.map(|estimate| estimate * open.len() as f64),
        }));
    }
    let threads = rayon::current_num_threads();
    let seconds = seconds.map(|seconds| seconds / threads as f64);
    let open = plan.open(&states);
    let to_do = open.len();
    let groups = queue::groups(
        open,
        args.device.cells.unwrap_or(choice.device().side_by_side()),
        queue::checkpointed(&checkpoint::folder(db)),
    );
    let groups: Vec<&Vec<Open>> = groups.iter().filter(|group| group.len() > 1).collect();
    if args.json {
        print_json(&json!({
            "experiment": experiment.config.name,
            "dataset": plan.dataset.manifest.name,
            "dataset_fingerprint": plan.dataset.fingerprint,
            "to_do": to_do,
            "device": choice.device().name(),
            "seconds": seconds,
            "free_memory_bytes": free,
            "side_by_side": groups.iter().map(|group| json!({
                "name": queue::name(group),
                "runs": group.iter().map(|run| run.id).collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
            "cells": cells,
            "runs": runs_to_address(&plan, &states, &estimates),
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
        let mut next = text("skipped").or(text("why")).unwrap_or_else(|| "done".into());
        if cell["kind"] == "stream" && cell["engine"].is_null() {
            next += "; its scores come with the data set";
        }
        if cell["engine"] == "dfdx" && cell["skipped"].is_null() {
            next += match experiment.config.train.engine {
                Engine::Dfdx => "; engine dfdx",
                Engine::Fused => "; engine dfdx, since it has no fused form",
            };
        }
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
    let sizes: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    out += &summary(to_do, seconds, threads, &choice, &sizes);
    if largest > 0 && choice.gpu.is_none() {
        let of = free.map_or_else(String::new, |free| format!(", of {} that are free", bytes(free)));
        out +=
            &format!("memory: {} for the largest run{of}; runs that fit beside each other share it\n", bytes(largest));
    }
    print(&out)?;
    Ok(Exit::Done)
}

/// Every run as other programs address it: what it needs, what it costs, whether it is done.
fn runs_to_address(
    plan: &Plan,
    states: &BTreeMap<String, State>,
    estimates: &HashMap<&str, Option<f64>>,
) -> Vec<serde_json::Value> {
    let mut banks: HashMap<&str, Vec<&str>> = HashMap::new();
    let mut all = Vec::new();
    for run in plan.runs() {
        let planned = run.planned;
        let needs = banks.entry(&planned.fingerprint).or_insert_with(|| {
            plan.bank_of(planned).map_or_else(Vec::new, |bank| bank.runs.iter().map(|(_, id)| id.as_str()).collect())
        });
        let state = states.get(run.id).copied();
        all.push(json!({
            "id": run.id,
            "cell": planned.cell.key(),
            "kind": planned.cell.part.kind(),
            "seed": run.seed,
            "state": state.map_or("new", State::word),
            "cost": cost(planned),
            "seconds": if state == Some(State::Done) { Some(0.0) } else { estimates.get(&*planned.fingerprint).copied().flatten() },
            "memory_bytes": memory::need(planned),
            "needs": needs,
        }));
    }
    all
}

/// What there is to do, how long it may take, and the sizes of the groups that are trained side by side.
fn summary(to_do: usize, seconds: Option<f64>, threads: usize, choice: &Choice, groups: &[usize]) -> String {
    if to_do == 0 {
        return "\nall done; nothing to train\n".into();
    }
    let mut out = match seconds {
        Some(seconds) => format!("\n{to_do} runs to do, about {} on {threads} thread(s)\n", duration(seconds)),
        None => format!("\n{to_do} runs to do on {}; the time is not estimated on a GPU\n", choice.device().name()),
    };
    let mut sizes: BTreeMap<usize, usize> = BTreeMap::new();
    groups.iter().for_each(|cells| *sizes.entry(*cells).or_default() += 1);
    let told: Vec<String> = sizes.iter().rev().map(|(cells, times)| format!("{times} x {cells} cells")).collect();
    if !told.is_empty() {
        let unless = if choice.gpu.is_some() { ", fewer where its memory does not hold them" } else { " (in turns)" };
        out += &format!("generators trained side by side: {}{unless}\n", told.join(", "));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_gpu_takes_is_not_estimated_and_groups_are_told_by_their_size() {
        let [cpu, gpu] = [None, Some(1)].map(|gpu| Choice { gpu, say: None });
        assert_eq!(summary(0, None, 2, &gpu, &[]), "\nall done; nothing to train\n");
        assert_eq!(summary(3, Some(2.0), 2, &cpu, &[]), "\n3 runs to do, about 2 s on 2 thread(s)\n");
        let told = summary(40, None, 2, &gpu, &[8, 3, 8, 2]);
        assert!(told.contains("40 runs to do on cuda:1; the time is not estimated on a GPU\n"), "{told}");
        assert!(told.contains("side by side: 2 x 8 cells, 1 x 3 cells, 1 x 2 cells, fewer where"), "{told}");
        assert!(summary(3, Some(2.0), 2, &cpu, &[2]).ends_with("1 x 2 cells (in turns)\n"));
    }
}
