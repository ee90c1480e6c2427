//! The page: its parts as HTML, made here from what the store says. The template says how they look.

use super::grid::{Grid, Placed, Standing};
use super::pace::pace;
use crate::cli::Failure;
use crate::report::charts::svg::{Plot, Series, anchor};
use crate::report::evaluate::evaluate_at;
use crate::report::format::{duration, mean_sd, number};
use crate::report::results::Results;
use crate::report::table::{Entry, EvaluatedTable};
use crate::store::{ExperimentRecord, RunRecord, State, Store, now, seconds_of};
use crate::train::Epoch;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const TEMPLATES: [(&str, &str); 2] = [
    ("watch.html", include_str!("../../../reports/templates/watch.html")),
    ("watch-parts.html", include_str!("../../../reports/templates/watch-parts.html")),
];
/// The report's style, and what the page has beyond it.
pub(super) const STYLE: &str =
    concat!(include_str!("../../../reports/templates/style.css"), include_str!("../../../reports/templates/watch.css"));
pub(super) const SCRIPT: &str = include_str!("../../../reports/templates/watch.js");

/// Curves that are drawn at most.
const CURVES: usize = 12;

/// Where a part of the page begins in what the template gives.
const MARK: &str = "<!--part ";

/// The page's parts by name, in their order on the page.
#[derive(Clone, Debug, Default)]
pub(super) struct Page {
    title: String,
    pub parts: Vec<(String, Arc<str>)>,
}

/// The tables, which take longer to compute than all else: again only where runs were done since, and not more often than a
/// tenth of the time.
#[derive(Default)]
pub(super) struct Tables {
    of: Option<(String, usize)>,
    shown: Value,
    next: Option<Instant>,
}

impl Tables {
    fn get(&mut self, store: &Store, experiment: &ExperimentRecord, done: usize) -> Value {
        let of = Some((experiment.digest.clone(), done));
        let other = self.of.as_ref().map(|(digest, _)| digest) != Some(&experiment.digest);
        if self.of != of && (other || self.next.is_none_or(|at| Instant::now() >= at)) {
            let began = Instant::now();
            let evaluated =
                Results::new(store, experiment).and_then(|results| evaluate_at(&results, &experiment.tables));
            self.shown = match evaluated {
                Ok(tables) => json!({ "tables": tables.iter().filter_map(table).collect::<Vec<_>>() }),
                Err(e) => json!({ "error": e.to_string(), "tables": [] }),
            };
            self.of = of;
            self.next = Some(Instant::now() + (10 * began.elapsed()).max(Duration::from_secs(2)));
        }
        self.shown.clone()
    }
}

impl Page {
    /// A page without a grid: why.
    pub(super) fn told(db: &Path, why: &str) -> Result<Page, Failure> {
        Page::of(&json!({ "title": "unmute watch", "db": db, "at": now(), "told": why }))
    }

    fn of(context: &Value) -> Result<Page, Failure> {
        let text = render("watch-parts.html", context)?;
        let part = |piece: &str| {
            let (name, html) = piece.split_once("-->")?;
            Some((name.trim().to_string(), Arc::from(html.trim())))
        };
        let title = context["title"].as_str().unwrap_or_default().to_string();
        Ok(Page { title, parts: text.split(MARK).skip(1).filter_map(part).collect() })
    }

    /// In one file, as it is now.
    pub(super) fn whole(&self) -> String {
        self.html(false)
    }

    /// As it is served: what changes afterwards is sent.
    pub(super) fn live(&self) -> String {
        self.html(true)
    }

    fn html(&self, live: bool) -> String {
        let parts: Vec<Value> = self.parts.iter().map(|(name, html)| json!({ "name": name, "html": **html })).collect();
        let context = json!({
            "title": self.title, "parts": parts, "live": live, "style": STYLE, "version": env!("CARGO_PKG_VERSION"),
        });
        render("watch.html", &context).unwrap_or_else(|failure| failure.message)
    }
}

fn render(name: &str, context: &Value) -> Result<String, Failure> {
    let fail = |e: tera::Error| Failure::usage(format!("the page's template: {e}"));
    let mut tera = tera::Tera::new();
    tera.add_raw_templates(TEMPLATES).map_err(fail)?;
    let context = tera::Context::from_serialize(context).map_err(fail)?;
    tera.render(name, &context).map_err(fail)
}

/// The page of an experiment.
pub(super) fn page(store: &Store, experiment: &ExperimentRecord, tables: &mut Tables) -> Result<Page, Failure> {
    let grid = Grid::read(store, experiment)?;
    let counts = grid.counts();
    let total = grid.runs.len();
    let count = |standing: Standing| counts.get(&standing).copied().unwrap_or(0);
    let done = count(Standing::Done);
    let at = now();
    let clock = seconds_of(&at).unwrap_or_default();
    let live: BTreeMap<&str, f64> = grid
        .runs
        .iter()
        .filter(|p| p.standing == Standing::Running)
        .map(|p| (p.run.id.as_str(), p.epochs.map_or(0.0, |(behind, of)| behind as f64 / of.max(1) as f64)))
        .collect();
    let runs: Vec<&RunRecord> = grid.runs.iter().map(|p| &p.run).collect();
    let pace = pace(&runs, &live, clock);
    let open = total - done - count(Standing::Failed);
    let config = &experiment.config;
    let context = json!({
        "title": if config.title.is_empty() { &experiment.name } else { &config.title },
        "name": experiment.name,
        "dataset": store.dataset(experiment.dataset_id)?.manifest.name,
        "db": store.path(),
        "at": at,
        "told": Value::Null,
        "total": total,
        "done": done,
        "failed": count(Standing::Failed),
        "counts": Standing::ALL.iter().filter(|s| count(**s) > 0).map(|s| json!({ "word": s.word(), "n": count(*s) })).collect::<Vec<_>>(),
        "skipped": grid.skipped.iter().map(|(why, n)| json!({ "why": why, "n": n })).collect::<Vec<_>>(),
        "ended": total > 0 && open == 0,
        "idle": open > 0 && live.is_empty(),
        "per_minute": pace.per_minute.map(|rate| if rate >= 10.0 { number(rate, 0) } else { number(rate, 1) }),
        "left": pace.left.map(duration),
        "working": grid.working(clock),
        "grid": grid.table(),
        "curves": curves(store, &grid)?,
        "failures": grid.failures(),
        "tables": tables.get(store, experiment, done),
    });
    Page::of(&context)
}

/// Curves of what is trained now; where nothing is, of what was done last.
fn curves(store: &Store, grid: &Grid) -> Result<Vec<Value>, Failure> {
    let trained = |p: &&Placed| p.run.kind == "generator";
    let mut chosen: Vec<&Placed> =
        grid.runs.iter().filter(trained).filter(|p| p.standing == Standing::Running && p.curve.len() > 1).collect();
    chosen.sort_by(|a, b| a.run.started_at.cmp(&b.run.started_at).then_with(|| a.run.key.cmp(&b.run.key)));
    let mut finished: Vec<&Placed> = grid.runs.iter().filter(trained).filter(|p| p.run.state == State::Done).collect();
    finished.sort_by(|a, b| b.run.finished_at.cmp(&a.run.finished_at).then_with(|| a.run.key.cmp(&b.run.key)));
    chosen.extend(finished.into_iter().take(4));
    let mut out = Vec::new();
    for placed in chosen.into_iter().take(CURVES) {
        let read = if placed.curve.is_empty() { Some(store.curve(&placed.run.id)?) } else { None };
        let curve: &[Epoch] = read.as_deref().unwrap_or(&placed.curve);
        let name = match placed.run.seed {
            Some(seed) => format!("{}, seed {seed}", placed.run.key),
            None => placed.run.key.clone(),
        };
        let id = format!("c-{}", anchor(&placed.run.id));
        let plot = |which: usize, y: &str, of: &dyn Fn(&Epoch) -> (f64, f64)| {
            let line = |name: &str, style: usize, value: &dyn Fn(&Epoch) -> f64| Series {
                name: name.into(),
                style,
                mark: style,
                points: curve.iter().map(|e| (e.epoch as f64, value(e))).collect(),
                ..Series::default()
            };
            Plot {
                id: format!("{id}-{which}"),
                title: format!("{y} of {name} over epochs"),
                x: "epoch".into(),
                y: y.into(),
                size: (250.0, 150.0),
                series: vec![line("train", 0, &|e| of(e).0), line("val", 1, &|e| of(e).1)],
                ..Plot::default()
            }
            .draw()
        };
        let mut plots = vec![plot(0, "loss", &|e| (e.train.loss, e.val.loss))];
        // Without the classifier an accuracy means nothing.
        match placed.run.spec.pointer("/part/classifier").and_then(Value::as_str) {
            Some("with") => plots.push(plot(1, "classifier top-1 (%)", &|e| (e.train.accuracy, e.val.accuracy))),
            _ => plots.push(plot(1, "feature error", &|e| (e.train.feature_error, e.val.feature_error))),
        }
        let plots: Vec<String> = plots.into_iter().flatten().collect();
        if !plots.is_empty() {
            out.push(json!({ "name": name, "running": placed.standing == Standing::Running, "plots": plots }));
        }
    }
    Ok(out)
}

/// A table with what is there of it; `None` where it holds nothing that a run makes.
fn table(table: &EvaluatedTable) -> Option<Value> {
    use crate::experiment::tables::TableKind;
    let entries = || table.rows.iter().flat_map(|r| &r.entries);
    if table.kind == TableKind::Counts {
        return None;
    }
    let there = entries().filter(|e| e.mean.is_some()).count();
    let cell = |e: &Entry| {
        let interval = e.interval.filter(|_| e.mean.is_some());
        json!({
            "text": match table.kind {
                TableKind::Improvement => e.mean.map(|m| format!("{} {}", e.row, crate::report::format::signed(m, 1))),
                _ => mean_sd(e),
            },
            "interval": interval.map(|(low, high)| format!("[{}, {}]", number(low, 1), number(high, 1))),
            "seeds": (e.mean.is_some() && e.n < e.declared).then(|| format!("{} of {}", e.n, e.declared)),
        })
    };
    let rows: Vec<Value> = table
        .rows
        .iter()
        .map(|row| json!({ "name": row.full_name(), "cells": row.entries.iter().map(cell).collect::<Vec<_>>() }))
        .collect();
    let ranks = table.rows.iter().map(|r| r.entries.len()).max().unwrap_or(0);
    let columns = match table.kind {
        TableKind::Improvement => (1..=ranks).map(|rank| format!("Rank {rank}")).collect(),
        _ => table.columns.clone(),
    };
    Some(json!({
        "id": table.id.to_string(), "title": table.title, "columns": columns, "rows": rows, "there": there,
        "of": entries().count(), "skipped": table.skipped,
    }))
}
