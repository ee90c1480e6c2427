//! Every cell's runs: ids, seeds, settings, provenance, numbers. The tables' numbers lead here.

use super::fact::plain;
use crate::report::charts::svg::anchor;
use crate::report::format::{bytes, duration};
use crate::report::results::Results;
use crate::store::{CellRecord, Error, RunRecord, flatten};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Cells that have runs, in the order of the grid.
pub(super) fn cells(results: &Results, environments: &[Vec<i64>], anonymous: bool) -> Result<Vec<Value>, Error> {
    let mut seen = BTreeSet::new();
    let mut out = Vec::new();
    for cell in &results.experiment.cells {
        let runs = results.runs(cell)?;
        if !runs.is_empty() && seen.insert(cell.key.clone()) {
            out.push(of_cell(cell, &runs, environments, anonymous));
        }
    }
    Ok(out)
}

/// Notes are written for whoever works with the store; an anonymous report leaves them out.
fn of_cell(cell: &CellRecord, runs: &[RunRecord], environments: &[Vec<i64>], anonymous: bool) -> Value {
    let mut runs: Vec<&RunRecord> = runs.iter().collect();
    runs.sort_by_key(|r| (r.seed, r.id.clone()));
    let settings: Vec<String> = runs.first().map_or_else(Vec::new, |run| {
        let leaves = flatten(&run.spec).into_iter().filter(|(key, _)| !key.starts_with("part"));
        leaves.map(|(key, value)| format!("{key} {}", plain(&value))).collect()
    });
    let names: BTreeSet<&String> = runs.iter().flat_map(|r| r.values.keys()).collect();
    let line = |name: &str, of: &dyn Fn(&RunRecord) -> Option<String>| {
        let cells: Vec<String> = runs.iter().map(|r| of(r).unwrap_or_else(|| "–".into())).collect();
        cells.iter().any(|c| c != "–").then(|| json!({ "name": name, "cells": cells }))
    };
    let place = |r: &RunRecord| {
        r.environment_id.and_then(|id| environments.iter().position(|ids| ids.contains(&id))).map(|i| i + 1)
    };
    let mut lines: Vec<Value> = [
        line("state", &|r| Some(r.state.word().into())),
        line("tags", &|r| (!r.tags.is_empty()).then(|| r.tags.join(" "))),
        line("note", &|r| (!anonymous && !r.notes.is_empty()).then(|| r.notes.join("; "))),
        line("accepted from", &|r| r.accepted_from.as_ref().map(|id| id.get(..12).unwrap_or(id).into())),
        line("error", &|r| r.error.clone()),
        line("host", &|r| r.host.clone()),
        line("begun", &|r| r.started_at.clone()),
        line("ended", &|r| r.finished_at.clone()),
        line("took", &|r| r.seconds.map(duration)),
        line("attempts", &|r| (r.attempt > 1).then(|| r.attempt.to_string())),
        line("peak memory", &|r| r.peak_memory.map(|m| bytes(m.max(0) as u64))),
        line("environment", &|r| place(r).map(|i| i.to_string())),
    ]
    .into_iter()
    .flatten()
    .collect();
    lines.extend(names.into_iter().filter_map(|name| line(name, &|r| r.values.get(name).map(|v| value(*v)))));
    let heads: Vec<Value> = runs
        .iter()
        .map(|r| {
            let seed = r.seed.map_or_else(|| "any seed".into(), |s| format!("seed {s}"));
            json!({ "id": r.id, "short": r.id.get(..12), "seed": seed })
        })
        .collect();
    let curve = matches!(cell.part, crate::experiment::Part::Generator { .. });
    json!({
        "key": cell.key, "id": format!("cell-{}", anchor(&cell.key)), "runs": heads, "lines": lines,
        "settings": settings, "curve": curve.then(|| format!("curve-{}", anchor(&cell.key))),
    })
}

/// As many digits as mean something.
fn value(v: f64) -> String {
    if v == v.trunc() && v.abs() < 1e15 { format!("{v}") } else { format!("{v:.4}") }
}
