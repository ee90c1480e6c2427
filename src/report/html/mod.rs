//! The report: one self-contained HTML file. The templates say how it looks; everything that is said is settled here.

mod anonymous;
mod answer;
mod behind;
mod beside;
mod choices;
mod fact;
mod facts;
mod inside;
mod scoreboard;
mod tables;

use super::answer::Answers;
use super::charts;
use super::claims::judge;
use super::departures::Departures;
use super::evaluate::evaluate_at;
use super::format::number;
use super::paired::Ours;
use super::results::Results;
use super::sensitivity::movements;
use crate::dataset::Kind;
use crate::store::{Error, ExperimentRecord, RunRecord, Store};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;

const TEMPLATES: [(&str, &str); 8] = [
    ("report.html", include_str!("../../../reports/templates/report.html")),
    ("tables.html", include_str!("../../../reports/templates/tables.html")),
    ("claims.html", include_str!("../../../reports/templates/claims.html")),
    ("choices.html", include_str!("../../../reports/templates/choices.html")),
    ("inside.html", include_str!("../../../reports/templates/inside.html")),
    ("charts.html", include_str!("../../../reports/templates/charts.html")),
    ("dots.html", include_str!("../../../reports/templates/dots.html")),
    ("behind.html", include_str!("../../../reports/templates/behind.html")),
];
const STYLE: &str = include_str!("../../../reports/templates/style.css");
const SCRIPT: &str = include_str!("../../../reports/templates/script.js");

/// What a report is made of.
pub struct Request<'a> {
    /// The store.
    pub store: &'a Store,
    /// The experiment.
    pub experiment: &'a ExperimentRecord,
    /// In what the results are not those that were declared.
    pub departures: &'a Departures,
    /// What `verify` finds wrong with the store, told at the top.
    pub damage: &'a [String],
    /// Another store, whose results of the same experiment are set beside these.
    pub against: Option<(&'a Store, &'a ExperimentRecord)>,
    /// Leave out host and user names, and the folders of paths.
    pub anonymous: bool,
}

/// Renders an experiment's report. The same stores give the same bytes.
pub fn render(request: &Request) -> Result<String, Error> {
    let Request { store, experiment, .. } = *request;
    let results = Results::new(store, experiment)?.departing(request.departures.clone());
    let evaluated = evaluate_at(&results, &experiment.tables)?;
    let judged = judge(&experiment.claims, &experiment.tables, &Ours::new(&results, &experiment.tables))?;
    let moved = movements(store, experiment, &evaluated, &judged, false)?;
    let runs = all_runs(&results)?;
    let config = &experiment.config;
    let environments = facts::alike(store, &runs)?;
    let notes = results.departures.sentences();
    let split = results.reported()?.name();
    let mut context = json!({
        "name": experiment.name,
        "title": if config.title.is_empty() { &experiment.name } else { &config.title },
        "description": config.description,
        "style": STYLE,
        "script": SCRIPT,
        "version": env!("CARGO_PKG_VERSION"),
        "synthetic": results.dataset.manifest.kind == Kind::Synthetic,
        "data": results.dataset.fingerprint,
        "damage": request.damage,
        "reductions": facts::reductions(store, &results, &runs)?,
        "banks": super::banks::sentences(&results)?,
        "facts": facts::facts(experiment, &results, &runs)?,
        "within": number(experiment.tables.agree_within, 1),
        "tables": evaluated.iter().map(|t| tables::table(t, config, &notes, split)).collect::<Vec<_>>(),
        "compares": evaluated.iter().flat_map(|t| &t.rows).flat_map(|r| &r.entries).any(|e| e.published_text.is_some()),
        "cells": facts::generators(experiment, &results)?,
        "answer": answer::answer(&Answers::of(&results, &experiment.tables)?, !request.damage.is_empty()),
        "claims": if experiment.claims.claims.is_empty() { Value::Null } else { scoreboard::scoreboard(experiment, &judged)? },
        "ledger": choices::ledger(experiment, &moved),
        "split": split,
        "selection": results.selection()?,
        "tornados": choices::tornados(&moved),
        "movements": moved.iter().any(|m| !m.moves.is_empty()),
        "inside": inside::inside(&results, &experiment.tables)?,
        "architectures": charts::architecture::figures(config, &results.dataset),
        "curves": charts::curves::figures(store, &results)?,
        "classes": charts::classes::figures(&evaluated),
        "lead": charts::sweep::lead(&results, &experiment.tables)?,
        "sweeps": charts::sweep::figures(&results, &experiment.tables.tables)?,
        "against": request.against.map(|(store, record)| beside::beside(&evaluated, store, record)).transpose()?,
        "behind": behind::cells(&results, &environments, request.anonymous)?,
        "checklist": facts::checklist(experiment, &results, store, &runs)?,
        "settings": facts::settings(experiment),
        "environments": facts::environments(store, &runs, &environments, request.anonymous)?,
    });
    if request.anonymous {
        anonymous::scrub(&mut context, &anonymous::hosts(&runs));
    }
    // The templates are part of the program and rendered in a test; they do not fail on data.
    let fail = |e: tera::Error| Error::NotFound(format!("the report's template: {e}"));
    let mut tera = tera::Tera::new();
    tera.add_raw_templates(TEMPLATES).map_err(fail)?;
    let context = tera::Context::from_serialize(&context).map_err(fail)?;
    tera.render("report.html", &context).map_err(fail)
}

/// The fingerprint of the data set that a report is of, if the file is a report.
pub fn data_of(path: &Path) -> Option<String> {
    let mut head = Vec::new();
    crate::files::open(path).ok()?.take(4096).read_to_end(&mut head).ok()?;
    let head = String::from_utf8_lossy(&head);
    let (_, behind) = head.split_once("<meta name=\"unmute-data\" content=\"")?;
    behind.split_once('"').map(|(fingerprint, _)| fingerprint.to_string())
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
