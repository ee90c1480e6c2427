//! The report: one self-contained HTML file. The template says how it looks; everything that is said is settled here.

use super::claims::{Judgement, Paper, judge};
use super::evaluate::{Entry, EvaluatedTable, Row, coverage, evaluate};
use super::format::{bytes, decimals, duration, mean_sd, number, signed};
use super::paired::Ours;
use super::scores::Results;
use crate::dataset::Kind;
use crate::experiment::Part;
use crate::store::{CellRecord, Error, ExperimentRecord, RunRecord, Store};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const TEMPLATE: &str = include_str!("../../reports/templates/report.html");
const STYLE: &str = include_str!("../../reports/templates/style.css");

#[derive(Serialize)]
struct Fact {
    name: String,
    value: String,
}

fn fact(name: &str, value: impl Into<String>) -> Fact {
    Fact { name: name.into(), value: value.into() }
}

/// Renders an experiment's report from the store. The same store gives the same bytes.
pub fn render(store: &Store, experiment: &ExperimentRecord) -> Result<String, Error> {
    let results = Results::new(store, experiment)?;
    let tables = evaluate(store, experiment, &experiment.tables)?;
    let runs = all_runs(&results)?;
    let config = &experiment.config;
    let context = json!({
        "name": experiment.name,
        "title": if config.title.is_empty() { &experiment.name } else { &config.title },
        "description": config.description,
        "style": STYLE,
        "version": env!("CARGO_PKG_VERSION"),
        "synthetic": results.dataset.manifest.kind == Kind::Synthetic,
        "reductions": reductions(experiment, &results)?,
        "facts": facts(experiment, &results, &runs)?,
        "tables": tables.iter().map(|t| table(t, config)).collect::<Vec<_>>(),
        "cells": generators(experiment, &results)?,
        "ledger": ledger(experiment),
        "claims": claims(experiment, &results)?,
        "settings": settings(experiment),
        "environments": environments(store, &runs)?,
    });
    // The template is part of the program and rendered in a test; it does not fail on data.
    let fail = |e: tera::Error| Error::NotFound(format!("the report's template: {e}"));
    let mut tera = tera::Tera::new();
    tera.add_raw_template("report.html", TEMPLATE).map_err(fail)?;
    let context = tera::Context::from_serialize(&context).map_err(fail)?;
    tera.render("report.html", &context).map_err(fail)
}

/// Finished runs of all cells, each once.
fn all_runs(results: &Results) -> Result<Vec<RunRecord>, Error> {
    let mut seen = BTreeSet::new();
    let mut runs = Vec::new();
    for cell in &results.experiment.cells {
        runs.extend(results.done(cell)?.into_iter().filter(|r| seen.insert(r.id.clone())));
    }
    Ok(runs)
}

/// In what the results fall short of the declaration.
fn reductions(experiment: &ExperimentRecord, results: &Results) -> Result<Vec<String>, Error> {
    let mut lines: Vec<String> = Vec::new();
    if !experiment.sets.is_empty() {
        lines.push(format!("Changed on the command line: {}.", experiment.sets.join(", ")));
    }
    let coverage = coverage(results)?;
    if coverage.done < coverage.declared {
        let failed = if coverage.failed > 0 { format!(", {} failed", coverage.failed) } else { String::new() };
        lines.push(format!("{} of {} declared runs are done{failed}.", coverage.done, coverage.declared));
    }
    Ok(lines)
}

fn facts(experiment: &ExperimentRecord, results: &Results, runs: &[RunRecord]) -> Result<Vec<Fact>, Error> {
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

fn table(table: &EvaluatedTable, config: &crate::experiment::Config) -> Value {
    let mut notes: Vec<String> = Vec::new();
    if !table.note.is_empty() {
        notes.push(table.note.clone());
    }
    for row in &table.rows {
        let chosen: Vec<&str> = row.cells.iter().filter(|(_, chosen)| *chosen).map(|(key, _)| key.as_str()).collect();
        if !chosen.is_empty() {
            notes.push(format!("{}: chosen as best: {}.", row.row, chosen.join(", ")));
        }
    }
    let mut why: Vec<String> = Vec::new();
    for row in &table.rows {
        if let Some(reason) = row.entries.iter().find_map(|e| e.skipped.clone())
            && table.skipped.is_none()
        {
            why.push(format!("{}: no number of ours: {reason}.", row.row));
        }
    }
    notes.extend(why);
    let n: BTreeSet<usize> = table.rows.iter().flat_map(|r| &r.entries).map(|e| e.n).filter(|n| *n > 0).collect();
    let seeds = match (n.first(), n.last()) {
        (Some(a), Some(b)) if a == b => format!("{a} seed{}", if *a == 1 { "" } else { "s" }),
        (Some(a), Some(b)) => format!("{a} to {b} seeds"),
        _ => "no runs".into(),
    };
    let caption = match table.kind {
        "counts" => format!("Clips; published on {}.", published_on(config)),
        "improvement" => format!("Classes by gain, {seeds}; shaded where a class is also published in that column."),
        _ => format!("Percent of val clips, {seeds}; published on {}.", published_on(config)),
    };
    json!({
        "id": table.id.to_string(),
        "title": table.title,
        "kind": table.kind,
        "columns": table.columns,
        "width": 1 + 3 * table.columns.len(),
        "caption": caption,
        "skipped": table.skipped,
        "notes": notes,
        "rows": rows(table),
        "ranks": ranks(table),
    })
}

fn published_on(config: &crate::experiment::Config) -> &str {
    if config.published_on.is_empty() { "the paper's data" } else { &config.published_on }
}

fn rows(table: &EvaluatedTable) -> Vec<Value> {
    if table.kind == "improvement" {
        return Vec::new();
    }
    let best = |column: usize, of: fn(&Entry) -> Option<f64>| -> Option<f64> {
        let values = table.rows.iter().filter(|r| !r.control).filter_map(|r| r.entries.get(column).and_then(of));
        (table.kind == "accuracy")
            .then(|| values.fold(None, |b: Option<f64>, v| Some(b.map_or(v, |b| b.max(v)))))
            .flatten()
    };
    let ours: Vec<Option<f64>> = (0..table.columns.len()).map(|c| best(c, |e| e.mean)).collect();
    let published: Vec<Option<f64>> = (0..table.columns.len()).map(|c| best(c, |e| e.published)).collect();
    let mut group: Vec<String> = Vec::new();
    let mut out = Vec::new();
    for row in &table.rows {
        let Row { entries, control, .. } = row;
        // Headings that have changed since the row before.
        let shared = group.iter().zip(&row.group).take_while(|(a, b)| a == b).count();
        let headings: Vec<String> = if shared < row.group.len() { vec![row.group.join(", ")] } else { Vec::new() };
        group = row.group.clone();
        let cells: Vec<Value> = entries
            .iter()
            .enumerate()
            .map(|(c, e)| {
                json!({
                    "ours": mean_sd(e).unwrap_or_else(|| "–".into()),
                    "best": !control && e.mean.is_some() && e.mean == ours[c],
                    "published": e.published_text.clone().unwrap_or_else(|| "–".into()),
                    "published_best": !control && e.published.is_some() && e.published == published[c],
                    "delta": e.delta.map_or_else(|| "–".into(), |d| signed(d, decimals(&e.metric))),
                })
            })
            .collect();
        out.push(json!({
            "name": row.row, "control": control, "deep": !row.group.is_empty(), "headings": headings, "cells": cells,
        }));
    }
    out
}

fn ranks(table: &EvaluatedTable) -> Vec<Vec<Value>> {
    if table.kind != "improvement" {
        return Vec::new();
    }
    let count = table.rows.iter().map(|r| r.entries.len()).max().unwrap_or(0);
    let line = |rank: usize| {
        let cell = |row: &Row| {
            let entry = row.entries.get(rank);
            let named: Vec<&str> = row.entries.iter().filter_map(|e| e.published_text.as_deref()).collect();
            let ours = entry.and_then(|e| e.mean.map(|m| format!("{} {}", e.row, signed(m, 2))));
            json!({
                "match": entry.is_some_and(|e| e.mean.is_some() && named.contains(&e.row.as_str())),
                "ours": ours.unwrap_or_else(|| "–".into()),
                "published": entry.and_then(|e| e.published_text.clone()).unwrap_or_else(|| "–".into()),
            })
        };
        table.rows.iter().map(cell).collect()
    };
    (0..count).map(line).collect()
}

/// Generators and controls with their feature errors.
fn generators(experiment: &ExperimentRecord, results: &Results) -> Result<Vec<Value>, Error> {
    let mut out = Vec::new();
    let wanted = |c: &&CellRecord| matches!(c.part, Part::Generator { .. } | Part::Control { .. });
    for cell in experiment.cells.iter().filter(wanted) {
        let runs = results.done(cell)?;
        let all = results.runs(cell)?;
        let declared = if cell.part.seeded() { experiment.config.seeds.len() } else { 1 };
        let mean = |of: &dyn Fn(&RunRecord) -> Option<f64>| -> Option<f64> {
            let values: Vec<f64> = runs.iter().filter_map(of).collect();
            (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
        };
        let value = |name: &str, decimals: usize| {
            let mean = mean(&|r: &RunRecord| r.values.get(name).copied());
            mean.map_or_else(|| "–".into(), |m| number(m, decimals).replace('-', "\u{2212}"))
        };
        let why = cell.skipped.clone().or_else(|| {
            runs.is_empty().then(|| all.iter().find_map(|r| r.error.clone()).unwrap_or_else(|| "not run yet".into()))
        });
        out.push(json!({
            "key": cell.key,
            "runs": if cell.skipped.is_some() { "–".to_string() } else { format!("{}/{declared}", runs.len()) },
            "why": why,
            "values": [
                value("top1/silent", 2), value("top5/silent", 2), value("r2/sounded", 3), value("r2/silent", 3),
                value("cosine/silent", 3), value("parameters", 0),
                mean(&|r: &RunRecord| r.seconds).map_or_else(|| "–".into(), duration),
            ],
        }));
    }
    Ok(out)
}

/// Claims with their verdicts on the published tables and on ours.
fn claims(experiment: &ExperimentRecord, results: &Results) -> Result<Vec<Value>, Error> {
    let (claims, tables) = (&experiment.claims, &experiment.tables);
    let published = judge(claims, tables, &Paper(tables))?;
    let ours = judge(claims, tables, &Ours::new(results, tables))?;
    let told = |j: &Judgement| {
        let counts = &j.detail[..j.detail.find([';', ':']).unwrap_or(j.detail.len())];
        let mut lines: Vec<String> = Vec::new();
        for c in &j.comparisons {
            let beside = if c.decides { "" } else { "beside: " };
            let line = format!("{beside}{}: {}", c.verdict.words(), c.text);
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
        json!({ "verdict": j.verdict.words(), "counts": counts, "lines": lines })
    };
    let of_claim = |claim: &crate::experiment::claims::Claim| {
        let both = published.iter().zip(&ours).filter(|(_, j)| j.id == claim.id);
        let lines: Vec<Value> = both.map(|(p, o)| json!({ "metric": o.metric, "told": [told(p), told(o)] })).collect();
        json!({ "id": claim.id, "claim": claim.claim, "lines": lines })
    };
    Ok(claims.claims.iter().map(of_claim).collect())
}

fn ledger(experiment: &ExperimentRecord) -> Vec<Value> {
    let config = serde_json::to_value(&experiment.config).unwrap_or_default();
    let look_up = |key: &str| key.split('.').try_fold(&config, |place, part| place.get(part));
    let entry = |e: &crate::experiment::ledger::Entry| {
        let values: Vec<String> =
            e.keys.iter().filter_map(|k| look_up(k).map(|v| format!("{k}: {}", plain(v)))).collect();
        let alternatives: Vec<&str> = e.alternatives.iter().map(|a| a.name.as_str()).collect();
        json!({
            "id": e.id, "question": e.question, "decision": e.decision, "values": values.join("; "),
            "alternatives": if alternatives.is_empty() { "–".to_string() } else { alternatives.join("; ") },
            "touches": e.touches,
        })
    };
    experiment.ledger.ledger.iter().map(entry).collect()
}

/// A JSON value as one would write it.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), String::from)
}

/// Every key of the configuration with its value, by dotted name.
fn settings(experiment: &ExperimentRecord) -> Vec<Fact> {
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

/// The distinct environments of the runs.
fn environments(store: &Store, runs: &[RunRecord]) -> Result<Vec<Vec<Fact>>, Error> {
    let ids: BTreeSet<i64> = runs.iter().filter_map(|r| r.environment_id).collect();
    let mut out = Vec::new();
    for id in ids {
        let record = store.environment(id)?;
        let of_it: Vec<&RunRecord> = runs.iter().filter(|r| r.environment_id == Some(id)).collect();
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
