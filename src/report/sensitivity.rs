//! How far each open choice moves the tables: variants of an experiment, one alternative of its ledger each, beside the
//! experiment itself.
//!
//! A variant is kept in the store as an experiment of its own, `NAME~A4.1` for the first alternative of A4. It counts only
//! where it is of the same data set and differs from the experiment in that alternative alone.

use super::claims::{Judgement, judge};
use super::evaluate::evaluate_at;
use super::format::signed;
use super::measure::Measure;
use super::paired::Ours;
use super::results::Results;
use super::table::{EvaluatedTable, Row};
use crate::experiment::claims::Metric;
use crate::experiment::ledger::Alternative;
use crate::experiment::tables::TableKind;
use crate::store::{Error, ExperimentRecord, Store};
use serde::Serialize;
use std::collections::BTreeMap;

/// What an alternative does to one metric of one table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Move {
    /// The table.
    pub table: String,
    /// `top1`, `top5`.
    pub metric: String,
    /// Rows with a number on both sides.
    pub rows: usize,
    /// Of them moved at all.
    pub moved: usize,
    /// Mean over rows of variant minus experiment, points.
    pub mean: f64,
    /// The movement that is furthest from 0, points.
    pub largest: f64,
    /// The row that moved so far.
    pub row: String,
}

/// A claim whose verdict an alternative changes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Flip {
    /// `C3`.
    pub claim: String,
    /// `top1`.
    pub metric: String,
    /// The experiment's verdict.
    pub from: String,
    /// The variant's.
    pub to: String,
}

/// An alternative with what it does.
#[derive(Clone, Debug, Serialize)]
pub struct Movement {
    /// The open choice, `A4`.
    pub choice: String,
    /// The alternative in words.
    pub alternative: String,
    /// The keys that it sets.
    pub set: Vec<String>,
    /// Why there is nothing to compare.
    pub skipped: Option<String>,
    /// Seeds of the variant, where they are fewer or others than the experiment's.
    pub seeds: Option<Vec<u64>>,
    /// By table and metric.
    pub moves: Vec<Move>,
    /// Claims that change.
    pub flips: Vec<Flip>,
}

/// The name under which the store keeps a variant; alternatives count from 0.
pub fn variant_name(experiment: &str, choice: &str, alternative: usize) -> String {
    format!("{experiment}~{choice}.{}", alternative + 1)
}

/// An alternative as values for `--set`.
pub fn sets(alternative: &Alternative) -> Vec<String> {
    alternative.set.iter().map(|(key, value)| format!("{key}={value}")).collect()
}

/// What is said of such an alternative.
pub const IN_FORCE: &str = "is what the experiment has already, so there is nothing to compare";

/// An experiment's tables and verdicts.
type Judged = (Vec<EvaluatedTable>, Vec<Judgement>);

/// Every alternative of the ledger that the store has something of; with `all`, also the others, and why they are not there.
/// `tables` and `judged` are the experiment's own. A variant of fewer seeds is held against the experiment at these seeds.
pub fn movements(
    store: &Store,
    base: &ExperimentRecord,
    tables: &[EvaluatedTable],
    judged: &[Judgement],
    all: bool,
) -> Result<Vec<Movement>, Error> {
    let mut at_seeds: BTreeMap<Vec<u64>, Judged> = BTreeMap::new();
    let mut out = Vec::new();
    for entry in &base.ledger.ledger {
        for (i, alternative) in entry.alternatives.iter().enumerate().filter(|(_, a)| !a.set.is_empty()) {
            let mut movement = Movement {
                choice: entry.id.clone(),
                alternative: alternative.name.clone(),
                set: sets(alternative),
                skipped: None,
                seeds: None,
                moves: Vec::new(),
                flips: Vec::new(),
            };
            if alternative.is_the_setting(&base.config) {
                movement.skipped = Some(IN_FORCE.into());
                out.push(movement);
                continue;
            }
            let variant = store.latest_experiment(&variant_name(&base.name, &entry.id, i))?;
            match variant.map(|v| comparable(base, v, &movement.set)) {
                None if !all => continue,
                None => movement.skipped = Some("not run".into()),
                Some(Err(_)) if !all => continue,
                Some(Err(why)) => movement.skipped = Some(why),
                Some(Ok(variant)) => {
                    let seeds = variant.config.seeds.clone();
                    movement.seeds = Some(seeds.clone()).filter(|s| *s != base.config.seeds);
                    let mut beside = (tables, judged);
                    if !alternative.set.contains_key("seeds") {
                        if !at_seeds.contains_key(&seeds) {
                            at_seeds.insert(seeds.clone(), evaluated(store, base, &seeds)?);
                        }
                        beside = at_seeds.get(&seeds).map_or(beside, |(t, j)| (t, j));
                    }
                    compare(&evaluated(store, &variant, &seeds)?, beside, &mut movement);
                }
            }
            out.push(movement);
        }
    }
    Ok(out)
}

/// Tables and verdicts of an experiment from these seeds alone.
fn evaluated(store: &Store, experiment: &ExperimentRecord, seeds: &[u64]) -> Result<Judged, Error> {
    let results = Results::new(store, experiment)?.only(seeds);
    let tables = evaluate_at(&results, &experiment.tables)?;
    let judged = judge(&experiment.claims, &experiment.tables, &Ours::new(&results, &experiment.tables))?;
    Ok((tables, judged))
}

/// The variant with the experiment's own tables and claims; the reason where it is one of something else.
fn comparable(base: &ExperimentRecord, variant: ExperimentRecord, set: &[String]) -> Result<ExperimentRecord, String> {
    let expected: Vec<&String> = base.sets.iter().chain(set).collect();
    if variant.dataset_id != base.dataset_id {
        return Err("run on another data set".into());
    }
    if !variant.sets.iter().eq(expected) {
        return Err("run with other settings than the experiment has now".into());
    }
    Ok(ExperimentRecord { tables: base.tables.clone(), claims: base.claims.clone(), ..variant })
}

fn compare((theirs, verdicts): &Judged, (tables, judged): (&[EvaluatedTable], &[Judgement]), movement: &mut Movement) {
    for ours in tables.iter().filter(|t| t.kind == TableKind::Accuracy) {
        let Some(theirs) = theirs.iter().find(|t| t.id == ours.id) else { continue };
        movement.moves.extend(Metric::ALL.iter().filter_map(|metric| moved(ours, theirs, *metric)));
    }
    if movement.moves.is_empty() {
        movement.skipped = Some("none of its runs is done".into());
        return;
    }
    movement.flips = judged
        .iter()
        .zip(verdicts)
        .filter(|(a, b)| (a.verdict, a.partial) != (b.verdict, b.partial))
        .map(|(a, b)| Flip { claim: a.id.clone(), metric: a.metric.into(), from: verdict(a), to: verdict(b) })
        .collect();
}

/// A verdict, with that on the comparisons that can be made where not all can.
fn verdict(judgement: &Judgement) -> String {
    match judgement.partial {
        Some(partial) => format!("{} ({} where it can be)", judgement.verdict.words(), partial.words()),
        None => judgement.verdict.words(),
    }
}

fn moved(ours: &EvaluatedTable, theirs: &EvaluatedTable, metric: Metric) -> Option<Move> {
    let mut differences: Vec<(f64, &str)> = Vec::new();
    // Controls do not train, and the movement of a table is that of the paper's rows.
    for row in ours.rows.iter().filter(|r| !r.control) {
        let other = theirs.rows.iter().find(|r| r.key == row.key);
        let value = |row: &Row| row.entries.iter().find(|e| e.metric == Measure::Accuracy(metric)).and_then(|e| e.mean);
        if let Some((a, b)) = value(row).zip(other.and_then(value)) {
            differences.push((b - a, &row.key));
        }
    }
    // The first of those that move as far.
    let furthest = differences.iter().map(|(d, _)| d.abs()).fold(f64::NAN, f64::max);
    let largest = *differences.iter().find(|(d, _)| d.abs() >= furthest)?;
    Some(Move {
        table: ours.id.to_string(),
        metric: metric.word().into(),
        rows: differences.len(),
        moved: differences.iter().filter(|(d, _)| d.abs() > 1e-9).count(),
        mean: differences.iter().map(|(d, _)| d).sum::<f64>() / differences.len() as f64,
        largest: largest.0,
        row: largest.1.into(),
    })
}

impl Move {
    /// In words.
    pub fn told(&self) -> String {
        if self.moved == 0 {
            return format!("table {} {}: nothing moves", self.table, self.metric);
        }
        let (mean, most) = (signed(self.mean, 2), signed(self.largest, 2));
        format!(
            "table {} {}: mean {mean}, most {most} ({}), {} of {} rows move",
            self.table, self.metric, self.row, self.moved, self.rows
        )
    }
}

impl Flip {
    /// In words.
    pub fn told(&self) -> String {
        format!("{} {}: {} \u{2192} {}", self.claim, self.metric, self.from, self.to)
    }
}
