//! Lists of facts: about the data and the runs, every setting, every environment, and the checklist that conferences ask for.

use super::fact::{Fact, fact, plain};
use crate::dataset::Kind;
use crate::experiment::Part;
use crate::report::coverage::coverage;
use crate::report::format::{bytes, duration, number};
use crate::report::results::Results;
use crate::store::{CellRecord, Error, ExperimentRecord, Mixed, RunRecord, Store, numerics_of};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// In what the results fall short of the declaration.
pub(super) fn reductions(store: &Store, results: &Results, runs: &[RunRecord]) -> Result<Vec<String>, Error> {
    let mut lines = results.departures.sentences();
    if let Some(mixed) = mixed(store, runs)?.sentence() {
        lines.push(format!("{}{}.", mixed[..1].to_uppercase(), &mixed[1..]));
    }
    let coverage = coverage(results)?;
    if coverage.done < coverage.declared {
        let failed = if coverage.failed > 0 { format!(", {} failed", coverage.failed) } else { String::new() };
        lines.push(format!("{} of {} declared runs are done{failed}.", coverage.done, coverage.declared));
    }
    Ok(lines)
}

/// What was run on what.
pub(super) fn facts(experiment: &ExperimentRecord, results: &Results, runs: &[RunRecord]) -> Result<Vec<Fact>, Error> {
    let m = &results.dataset.manifest;
    let kind = match m.kind {
        Kind::Real => "real features",
        Kind::Synthetic => "synthetic features",
    };
    let shapes = |features: &[crate::dataset::Feature]| {
        features.iter().map(|f| format!("{} {}", f.name, f.width)).collect::<Vec<_>>().join(", ")
    };
    let coverage = coverage(results)?;
    let seeds: Vec<String> = experiment.config.seeds.iter().map(u64::to_string).collect();
    let mut facts = vec![
        fact("Data set", format!("{} ({kind}), {} classes, {} frames a clip", m.name, m.classes.len(), m.frames)),
        fact("Features", format!("streams {}; audio {}", shapes(&m.streams), shapes(&m.audio))),
    ];
    if !m.scores.is_empty() {
        let value = format!(
            "class probabilities of {} come with the data set; no head was trained on them",
            m.scores.join(", ")
        );
        facts.push(fact("Scores of streams", value));
    }
    if let Some(missing) = &experiment.config.missing {
        let by = if missing.by == crate::dataset::MissingBy::Class { "with rates by class" } else { "at random" };
        facts.push(fact(
            "Missing sound",
            format!("simulated: {} % {by}, seed {}", number(100.0 * missing.rate, 1), missing.seed),
        ));
    }
    if !m.made_by.is_empty() {
        facts.push(fact("Made by", m.made_by.clone()));
    }
    facts.push(fact("Fingerprint", results.dataset.fingerprint.clone()));
    let skipped = match coverage.skipped_cells {
        0 => String::new(),
        n => format!("; {n} cells cannot run on this data set"),
    };
    facts.push(fact("Runs", format!("{} of {} done{skipped}", coverage.done, coverage.declared)));
    facts.push(fact("Seeds", seeds.join(", ")));
    if !experiment.config.published_on.is_empty() {
        facts.push(fact("Published values", format!("measured on {}", experiment.config.published_on)));
    }
    let seconds: f64 = runs.iter().filter_map(|r| r.seconds).sum();
    facts.push(fact("Time", format!("{} of work in {} runs", duration(seconds), runs.len())));
    Ok(facts)
}

/// Generators and controls with their feature errors. Cells that cannot run are one line a reason.
pub(super) fn generators(experiment: &ExperimentRecord, results: &Results) -> Result<Value, Error> {
    let mut out = Vec::new();
    let mut absent: Vec<(String, Vec<&str>)> = Vec::new();
    let prefix = results.reported()?.prefix();
    let wanted =
        |c: &&CellRecord| matches!(c.part, Part::Generator { .. } | Part::External { .. } | Part::Control { .. });
    for cell in experiment.cells.iter().filter(wanted) {
        if let Some(why) = &cell.skipped {
            match absent.iter_mut().find(|(known, _)| known == why) {
                Some((_, cells)) => cells.push(&cell.key),
                None => absent.push((why.clone(), vec![&cell.key])),
            }
            continue;
        }
        let runs = results.done(cell)?;
        let all = results.runs(cell)?;
        let declared = if cell.part.seeded(&results.dataset.manifest) { experiment.config.seeds.len() } else { 1 };
        let mean = |of: &dyn Fn(&RunRecord) -> Option<f64>| -> Option<f64> {
            let values: Vec<f64> = runs.iter().filter_map(of).collect();
            (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
        };
        let value = |name: &str, decimals: usize| {
            // Numbers of the reported clips, where a number is about clips.
            let of_split = format!("{prefix}{name}");
            let mean = mean(&|r: &RunRecord| r.values.get(&of_split).or(r.values.get(name)).copied());
            mean.map_or_else(|| "–".into(), |m| number(m, decimals).replace('-', "\u{2212}"))
        };
        // Of the generated feature alone: what runs are stored with has the recorded one wherever a clip sounds.
        let mut alone: [Vec<f64>; 2] = Default::default();
        for run in &runs {
            for (all, one) in alone.iter_mut().zip(results.generated_alone(run)?) {
                all.extend(one);
            }
        }
        let alone = |of: usize| {
            let n = alone[of].len();
            (n > 0).then(|| alone[of].iter().sum::<f64>() / n as f64).map_or_else(|| "–".into(), |m| number(m, 2))
        };
        let why =
            runs.is_empty().then(|| all.iter().find_map(|r| r.error.clone()).unwrap_or_else(|| "not run yet".into()));
        out.push(json!({
            "key": cell.key,
            "runs": format!("{}/{declared}", runs.len()),
            "why": why,
            "values": [
                alone(0), alone(1), value("r2/sounded", 3), value("r2/silent", 3),
                value("cosine/sounded", 3), value("cosine/silent", 3), value("parameters", 0),
                mean(&|r: &RunRecord| r.seconds).map_or_else(|| "–".into(), duration),
            ],
        }));
    }
    let line = |(why, cells): &(String, Vec<&str>)| {
        let (first, last) = (cells.first().unwrap_or(&""), cells.last().unwrap_or(&""));
        match cells.len() {
            1 => format!("Not run: {first}, because {why}."),
            n => format!("Not run: {n} cells, {first} to {last}, because {why}."),
        }
    };
    Ok(json!({ "cells": out, "absent": absent.iter().map(line).collect::<Vec<_>>() }))
}

/// Every key of the configuration with its value, by dotted name.
pub(super) fn settings(experiment: &ExperimentRecord) -> Vec<Fact> {
    fn walk(path: &str, value: &Value, out: &mut Vec<Fact>) {
        match value {
            Value::Object(map) if !map.is_empty() => {
                for (key, value) in map {
                    walk(&if path.is_empty() { key.clone() } else { format!("{path}.{key}") }, value, out);
                }
            }
            value => out.push(fact(path, plain(value))),
        }
    }
    let mut config = serde_json::to_value(&experiment.config).unwrap_or_default();
    if let Some(map) = config.as_object_mut() {
        for said_above in ["name", "title", "description", "extends", "dataset", "published_on"] {
            map.remove(said_above);
        }
    }
    let mut out = Vec::new();
    walk("", &config, &mut out);
    out
}

/// By which numerics the runs were made.
fn mixed(store: &Store, runs: &[RunRecord]) -> Result<Mixed, Error> {
    let mut known: BTreeMap<i64, String> = BTreeMap::new();
    for id in runs.iter().filter_map(|r| r.environment_id) {
        if let std::collections::btree_map::Entry::Vacant(place) = known.entry(id) {
            place.insert(numerics_of(&store.environment(id)?));
        }
    }
    let of = |r: &RunRecord| r.environment_id.and_then(|id| known.get(&id).cloned()).unwrap_or_default();
    Ok(Mixed::of(runs.iter().map(|r| (r.cell.as_str(), r.key.as_str(), of(r)))))
}

/// Rows of the environments behind these runs, in the order in which the report numbers them. Those of one kind of machine
/// are one, whatever its name and the job that ran there: a cluster would fill the page with them.
pub(super) fn alike(store: &Store, runs: &[RunRecord]) -> Result<Vec<Vec<i64>>, Error> {
    let ids: BTreeSet<i64> = runs.iter().filter_map(|r| r.environment_id).collect();
    let mut groups: Vec<(Value, Vec<i64>)> = Vec::new();
    for id in ids {
        let mut record = store.environment(id)?;
        let of_slurm = record["slurm"].is_object();
        if let (Some(map), true) = (record.as_object_mut(), of_slurm) {
            for of_a_job in ["slurm", "host", "threads", "workers"] {
                map.remove(of_a_job);
            }
        }
        match groups.iter_mut().find(|(known, _)| *known == record) {
            Some((_, ids)) => ids.push(id),
            None => groups.push((record, vec![id])),
        }
    }
    Ok(groups.into_iter().map(|(_, ids)| ids).collect())
}

/// `12 (24 tasks on n1, n2)`, for each job of Slurm's that these environments are of.
fn jobs(store: &Store, ids: &[i64]) -> Result<Option<String>, Error> {
    let mut jobs: BTreeMap<String, (BTreeSet<String>, BTreeSet<String>)> = BTreeMap::new();
    for id in ids {
        let slurm = &store.environment(*id)?["slurm"];
        let text = |key: &str| slurm[key].as_str().map(String::from);
        if let Some(job) = text("SLURM_ARRAY_JOB_ID").or_else(|| text("SLURM_JOB_ID")) {
            let (tasks, nodes) = jobs.entry(job).or_default();
            tasks.extend(text("SLURM_ARRAY_TASK_ID"));
            nodes.extend(text("SLURMD_NODENAME"));
        }
    }
    let told = jobs.into_iter().map(|(job, (tasks, nodes))| {
        let count = if tasks.is_empty() { String::new() } else { format!("{} tasks ", tasks.len()) };
        format!("{job} ({count}on {})", nodes.into_iter().collect::<Vec<_>>().join(", "))
    });
    let told: Vec<String> = told.collect();
    Ok((!told.is_empty()).then(|| told.join("; ")))
}

/// The distinct environments of the runs. A report that is published names no jobs.
pub(super) fn environments(
    store: &Store,
    runs: &[RunRecord],
    groups: &[Vec<i64>],
    anonymous: bool,
) -> Result<Vec<Vec<Fact>>, Error> {
    let mut out = Vec::new();
    for ids in groups {
        let Some(first) = ids.first() else { continue };
        let record = store.environment(*first)?;
        let of_it: Vec<&RunRecord> =
            runs.iter().filter(|r| r.environment_id.is_some_and(|id| ids.contains(&id))).collect();
        let jobs = if anonymous { None } else { jobs(store, ids)? };
        let text = |key: &str| record.get(key).filter(|v| !v.is_null()).map(plain);
        let mut facts = Vec::new();
        let mut add = |name: &str, value: Option<String>| {
            if let Some(value) = value.filter(|v| !v.is_empty()) {
                facts.push(fact(name, value));
            }
        };
        let dirty = if text("dirty").is_some() { " with uncommitted changes" } else { "" };
        add(
            "Program",
            text("version").map(|v| format!("unmute {v}, numeric code {}", text("code").unwrap_or_default())),
        );
        add("Commit", text("commit").map(|c| format!("{c}{dirty}")));
        add("Cargo.lock", text("lock"));
        add("Compiler", text("compiler").map(|c| format!("{c}, {}", text("target").unwrap_or_default())));
        add("System", text("os"));
        add("CPU", text("cpu").map(|c| format!("{c}, {} cores", text("cores").unwrap_or_default())));
        let features =
            record.get("cpu_features").and_then(Value::as_array).map(|f| f.iter().map(plain).collect::<Vec<_>>());
        add("CPU features", features.map(|f| f.join(", ")));
        add("Threads", text("threads").map(|t| format!("{t}, {} runs at once", text("workers").unwrap_or_default())));
        add("Memory", record.get("memory_bytes").and_then(Value::as_u64).map(bytes));
        add("Device", text("device"));
        add("Numerics", text("numerics"));
        add("Jobs of Slurm", jobs);
        let commands: BTreeSet<&String> = of_it.iter().filter_map(|r| r.command.as_ref()).collect();
        add("Commands", Some(commands.into_iter().cloned().collect::<Vec<_>>().join("; ")));
        add("Runs", Some(format!("{}", of_it.len())));
        add("First begun", of_it.iter().filter_map(|r| r.started_at.clone()).min());
        add("Last ended", of_it.iter().filter_map(|r| r.finished_at.clone()).max());
        add("Peak memory", of_it.iter().filter_map(|r| r.peak_memory).max().map(|m| bytes(m as u64)));
        out.push(facts);
    }
    Ok(out)
}

/// What the checklists of conferences ask for, filled in from the store: (item, answer).
pub(super) fn checklist(
    experiment: &ExperimentRecord,
    results: &Results,
    store: &Store,
    runs: &[RunRecord],
) -> Result<Vec<Fact>, Error> {
    let config = &experiment.config;
    let m = &results.dataset.manifest;
    let mut out = Vec::new();
    let view = experiment.cells.iter().find_map(|c| c.view_id);
    let clips = match view {
        Some(id) => {
            let counts = results.view(id)?.counts;
            let told = |(sounded, silent): (usize, usize)| {
                format!("{} clips, {} of them silent", number((sounded + silent) as f64, 0), number(silent as f64, 0))
            };
            let test = counts.test.map(|test| format!(", test {}", told(test))).unwrap_or_default();
            format!("; train {}, val {}{test}", told(counts.train), told(counts.val))
        }
        None => String::new(),
    };
    out.push(fact("Data", format!("{}, fingerprint {}{clips}", m.name, results.dataset.fingerprint)));
    let (mut machines, mut programs) = (BTreeSet::new(), BTreeSet::new());
    for id in runs.iter().filter_map(|r| r.environment_id).collect::<BTreeSet<i64>>() {
        let record = store.environment(id)?;
        let text = |key: &str| record.get(key).filter(|v| !v.is_null()).map_or_else(|| "unknown".into(), plain);
        let memory = record.get("memory_bytes").and_then(Value::as_u64).map_or_else(|| "unknown".into(), bytes);
        machines.insert(format!(
            "{}, {} cores, {memory}, {}, on {}",
            text("cpu"),
            text("cores"),
            text("os"),
            text("device")
        ));
        programs.insert(format!(
            "unmute {}, commit {}, {}, Cargo.lock {}",
            text("version"),
            text("commit"),
            text("compiler"),
            text("lock")
        ));
    }
    let list = |set: BTreeSet<String>| set.into_iter().collect::<Vec<_>>().join("; ");
    out.push(fact("Computing infrastructure", list(machines)));
    out.push(fact("Software", list(programs)));
    let mut times: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for run in runs {
        times.entry(&run.kind).or_default().extend(run.seconds);
    }
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len().max(1) as f64;
    let told: Vec<String> =
        times.iter().map(|(kind, t)| format!("{kind} {} on average ({} runs)", duration(mean(t)), t.len())).collect();
    let total: f64 = runs.iter().filter_map(|r| r.seconds).sum();
    out.push(fact("Run time", format!("{}; {} in all", told.join(", "), duration(total))));
    let mut parameters: BTreeSet<String> = BTreeSet::new();
    for cell in &experiment.cells {
        if let (Part::Generator { audio, generator, .. }, Some(run)) = (&cell.part, results.done(cell)?.first())
            && let Some(count) = run.values.get("parameters")
        {
            parameters.insert(format!("{generator} for {audio} {}", number(*count, 0)));
        }
    }
    out.push(fact("Parameters", if parameters.is_empty() { "no generator has run".into() } else { list(parameters) }));
    let coverage = coverage(results)?;
    let seeds: Vec<String> = config.seeds.iter().map(u64::to_string).collect();
    out.push(fact(
        "Number of runs",
        format!(
            "{} of {} declared; seeds {} for everything that is trained by gradient",
            coverage.done,
            coverage.declared,
            seeds.join(", ")
        ),
    ));
    let axes: Vec<String> = config
        .grid
        .iter()
        .map(|(axis, values)| format!("{axis}: {}", values.iter().map(plain).collect::<Vec<_>>().join(", ")))
        .collect();
    out.push(fact("Grid", axes.join("; ")));
    let searched: Vec<&String> =
        config.grid.keys().filter(|axis| !crate::experiment::grid::AXES.contains(&axis.as_str())).collect();
    out.push(fact(
        "Ranges searched",
        match searched[..] {
            [] => "none: every hyper-parameter has one value, listed under Set-up".to_string(),
            _ => {
                searched.iter().map(|a| a.as_str()).collect::<Vec<_>>().join(", ")
                    + ", as in the grid; every point is reported"
            }
        },
    ));
    out.push(fact("Selection", results.selection()?.join(" ")));
    out.push(fact(
        "Metrics",
        format!(
            "top-1 and top-5 accuracy over all {} clips, in percent; a clip that no part of a row scores is wrong",
            results.reported()?.name()
        ),
    ));
    out.push(fact(
        "Summary statistics",
        "mean and sample standard deviation over seeds; 95 % intervals and paired comparisons by a bootstrap over clips and seeds, corrected for all comparisons (Holm)",
    ));
    let commands: BTreeSet<String> = runs.iter().filter_map(|r| r.command.clone()).collect();
    out.push(fact("Commands", list(commands)));
    Ok(out)
}
