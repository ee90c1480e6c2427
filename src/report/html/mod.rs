//! The report: one self-contained HTML file. The templates say how it looks; everything that is said is settled here.

mod behind;
mod beside;
mod facts;
mod tables;

use super::charts;
use super::claims::{Judgement, Paper, judge};
use super::evaluate::evaluate_at;
use super::format::number;
use super::paired::Ours;
use super::scores::Results;
use super::sensitivity::{Flip, Movement, movements};
use crate::dataset::Kind;
use crate::store::{Error, ExperimentRecord, RunRecord, Store};
use facts::plain;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;

const TEMPLATES: [(&str, &str); 6] = [
    ("report.html", include_str!("../../../reports/templates/report.html")),
    ("tables.html", include_str!("../../../reports/templates/tables.html")),
    ("claims.html", include_str!("../../../reports/templates/claims.html")),
    ("choices.html", include_str!("../../../reports/templates/choices.html")),
    ("charts.html", include_str!("../../../reports/templates/charts.html")),
    ("behind.html", include_str!("../../../reports/templates/behind.html")),
];
const STYLE: &str = include_str!("../../../reports/templates/style.css");
const SCRIPT: &str = include_str!("../../../reports/templates/script.js");

#[derive(Serialize)]
struct Fact {
    name: String,
    value: String,
}

fn fact(name: &str, value: impl Into<String>) -> Fact {
    Fact { name: name.into(), value: value.into() }
}

/// Renders an experiment's report from the store, beside another store's results where one is given. The same stores give
/// the same bytes.
pub fn render(
    store: &Store,
    experiment: &ExperimentRecord,
    against: Option<(&Store, &ExperimentRecord)>,
) -> Result<String, Error> {
    let results = Results::new(store, experiment)?;
    let evaluated = evaluate_at(&results, &experiment.tables)?;
    let judged = judge(&experiment.claims, &experiment.tables, &Ours::new(&results, &experiment.tables))?;
    let moved = movements(store, experiment, &evaluated, &judged, false)?;
    let runs = all_runs(&results)?;
    let config = &experiment.config;
    let environments = environment_rows(&runs);
    let context = json!({
        "name": experiment.name,
        "title": if config.title.is_empty() { &experiment.name } else { &config.title },
        "description": config.description,
        "style": STYLE,
        "script": SCRIPT,
        "version": env!("CARGO_PKG_VERSION"),
        "synthetic": results.dataset.manifest.kind == Kind::Synthetic,
        "reductions": facts::reductions(experiment, &results)?,
        "banks": super::banks::sentences(&results)?,
        "facts": facts::facts(experiment, &results, &runs)?,
        "within": number(experiment.tables.agree_within, 1),
        "tables": evaluated.iter().map(|t| tables::table(t, config)).collect::<Vec<_>>(),
        "cells": facts::generators(experiment, &results)?,
        "claims": claims(experiment, &judged)?,
        "ledger": ledger(experiment, &moved),
        "movements": !moved.is_empty(),
        "architectures": charts::architecture::figures(config, &results.dataset),
        "curves": charts::curves::figures(store, &results)?,
        "classes": charts::classes::figures(&evaluated),
        "sweeps": charts::sweep::figures(&results, &experiment.tables.tables)?,
        "against": against.map(|(store, record)| beside::beside(&evaluated, store, record)).transpose()?,
        "behind": behind::cells(&results, &environments)?,
        "checklist": facts::checklist(experiment, &results, store, &runs)?,
        "settings": facts::settings(experiment),
        "environments": facts::environments(store, &runs)?,
    });
    // The templates are part of the program and rendered in a test; they do not fail on data.
    let fail = |e: tera::Error| Error::NotFound(format!("the report's template: {e}"));
    let mut tera = tera::Tera::new();
    tera.add_raw_templates(TEMPLATES).map_err(fail)?;
    let context = tera::Context::from_serialize(&context).map_err(fail)?;
    tera.render("report.html", &context).map_err(fail)
}

/// Rows of the environments behind these runs, in the order in which the report numbers them.
fn environment_rows(runs: &[RunRecord]) -> Vec<i64> {
    let ids: BTreeSet<i64> = runs.iter().filter_map(|r| r.environment_id).collect();
    ids.into_iter().collect()
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

/// Claims with their verdicts on the published tables and on ours.
fn claims(experiment: &ExperimentRecord, ours: &[Judgement]) -> Result<Vec<Value>, Error> {
    let (claims, tables) = (&experiment.claims, &experiment.tables);
    let published = judge(claims, tables, &Paper(tables))?;
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
        json!({
            "verdict": j.verdict.words(), "partial": j.partial.map(|p| p.words()), "counts": counts, "lines": lines,
        })
    };
    let of_claim = |claim: &crate::experiment::claims::Claim| {
        let both = published.iter().zip(ours).filter(|(_, j)| j.id == claim.id);
        let lines: Vec<Value> = both.map(|(p, o)| json!({ "metric": o.metric, "told": [told(p), told(o)] })).collect();
        json!({ "id": claim.id, "claim": claim.claim, "lines": lines })
    };
    Ok(claims.claims.iter().map(of_claim).collect())
}

/// The open choices, each alternative with what it moves.
fn ledger(experiment: &ExperimentRecord, moved: &[Movement]) -> Vec<Value> {
    let config = serde_json::to_value(&experiment.config).unwrap_or_default();
    let look_up = |key: &str| key.split('.').try_fold(&config, |place, part| place.get(part));
    let entry = |e: &crate::experiment::ledger::Entry| {
        let values: Vec<String> =
            e.keys.iter().filter_map(|k| look_up(k).map(|v| format!("{k}: {}", plain(v)))).collect();
        let alternatives: Vec<Value> = e
            .alternatives
            .iter()
            .map(|a| {
                let movement = moved.iter().find(|m| m.choice == e.id && m.alternative == a.name);
                json!({ "name": a.name, "moves": movement.map(told_moves), "flips": movement.map(told_flips) })
            })
            .collect();
        json!({
            "id": e.id, "question": e.question, "decision": e.told(), "because": e.because,
            "values": values.join("; "), "alternatives": alternatives, "touches": e.touches,
        })
    };
    experiment.ledger.ledger.iter().map(entry).collect()
}

/// One line a table and metric: `table 3 top1: mean +0.52, most +1.75 (lstm/kl/with), 8 of 9 rows move`.
fn told_moves(movement: &Movement) -> Vec<String> {
    if let Some(why) = &movement.skipped {
        return vec![why.clone()];
    }
    let mut lines: Vec<String> = movement.moves.iter().map(|m| m.told()).collect();
    if let Some(seeds) = &movement.seeds {
        let seeds: Vec<String> = seeds.iter().map(u64::to_string).collect();
        lines.push(format!("seeds {}", seeds.join(", ")));
    }
    lines
}

fn told_flips(movement: &Movement) -> Vec<String> {
    movement.flips.iter().map(Flip::told).collect()
}
