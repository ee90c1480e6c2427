//! The declared tables, computed: mean and standard deviation over seeds beside the published values.

use super::agreement::{self, Agreement, Terms};
use super::resample::Sample;
use super::scores::{Results, Scope, per_class};
use crate::experiment::claims::Metric;
use crate::experiment::fusion_expr::Fusion;
use crate::experiment::tables::{Count, Published, Table};
use crate::experiment::{TableId, Tables};
use crate::store::{Error, ExperimentRecord, State, Store};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// One number of one table.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// The table.
    pub table: TableId,
    /// The row's (or column's) name in exports.
    pub key: String,
    /// Its heading; in tables of classes, the class.
    pub row: String,
    /// `top1`, `top5` (percent), `train`, `val` (clips), `difference` (points).
    pub metric: String,
    /// Mean over seeds.
    pub mean: Option<f64>,
    /// Sample standard deviation over seeds; `None` for fewer than two.
    pub sd: Option<f64>,
    /// Seeds (1 where the result does not depend on one).
    pub n: usize,
    /// The paper's value.
    pub published: Option<f64>,
    /// mean - published.
    pub delta: Option<f64>,
    /// Why there is no number.
    pub skipped: Option<String>,
    /// 95 % interval of the mean, over clips and seeds.
    pub interval: Option<(f64, f64)>,
    /// How ours stands to the published value; `None` where there is none.
    pub verdict: Option<Agreement>,
    /// Why the verdict is not plain.
    pub why: Option<String>,
    /// Values that were declared, one a seed.
    pub declared: usize,
    /// Whether it depends on a seed.
    #[serde(skip)]
    pub seeded: bool,
    /// The published value as printed, or the published class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub published_text: Option<String>,
    /// Single values, by seed.
    #[serde(skip)]
    pub values: Vec<f64>,
}

/// A row with its entries.
#[derive(Clone, Debug)]
pub struct Row {
    /// Headings above it.
    pub group: Vec<String>,
    /// Its heading.
    pub row: String,
    /// Its key.
    pub key: String,
    /// Whether it is a control.
    pub control: bool,
    /// Its numbers, one for each column.
    pub entries: Vec<Entry>,
    /// What it stands on: cells, and whether they were chosen.
    pub cells: Vec<(String, bool)>,
    /// Runs that went in.
    pub runs: Vec<String>,
    /// Seeds, in the order of its entries' values; one `None` where it depends on none.
    pub seeds: Vec<Option<u64>>,
    /// In tables of classes: every class with its mean difference, the largest first.
    pub gains: Vec<(String, f64)>,
}

/// A computed table.
#[derive(Clone, Debug)]
pub struct EvaluatedTable {
    /// Its number.
    pub id: TableId,
    /// Its heading.
    pub title: String,
    /// Text below it.
    pub note: String,
    /// `counts`, `accuracy` or `improvement`.
    pub kind: &'static str,
    /// Column headings.
    pub columns: Vec<String>,
    /// Its rows; of `improvement`, one for each column, with one entry a rank.
    pub rows: Vec<Row>,
    /// Why the whole table is skipped.
    pub skipped: Option<String>,
}

/// How much of what was declared is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// Runs declared by cells and seeds, skipped cells left out.
    pub declared: usize,
    /// Of them done.
    pub done: usize,
    /// Of them failed.
    pub failed: usize,
    /// Cells that cannot run on this data set.
    pub skipped_cells: usize,
}

/// Computes every table of an experiment from the store.
pub fn evaluate(store: &Store, experiment: &ExperimentRecord, tables: &Tables) -> Result<Vec<EvaluatedTable>, Error> {
    evaluate_at(&Results::new(store, experiment)?, tables)
}

/// The same from results that are open already.
pub fn evaluate_at(results: &Results, tables: &Tables) -> Result<Vec<EvaluatedTable>, Error> {
    let terms = Terms::of(results, tables)?;
    let mut sample = Sample::default();
    let mut columns = Vec::new();
    let mut out = Vec::new();
    for table in &tables.tables {
        out.push(one(results, table, &mut |row, entry, fused, metric| {
            // Rows of other clips than the rest have no interval; there are none in stores of ours.
            if let Ok(of_row) = sample.add(fused, metric) {
                let (seeds, places): (Vec<Option<u64>>, Vec<usize>) = of_row.into_iter().unzip();
                columns.push(((table.table.clone(), row, entry, seeds.iter().any(Option::is_some)), places));
            }
        })?);
    }
    let places: Vec<Vec<usize>> = columns.iter().map(|(_, places)| places.clone()).collect();
    for (((id, row, entry, seeded), _), interval) in columns.iter().zip(sample.levels(&places)) {
        let table = out.iter_mut().find(|t| t.id == *id);
        if let Some(entry) = table.and_then(|t| t.rows.get_mut(*row)).and_then(|r| r.entries.get_mut(*entry)) {
            entry.interval = Some(interval);
            entry.seeded = *seeded;
        }
    }
    let seeds = results.experiment.config.seeds.len();
    for (table, declared) in out.iter_mut().zip(&tables.tables) {
        for (r, row) in table.rows.iter_mut().enumerate() {
            for (e, entry) in row.entries.iter_mut().enumerate() {
                entry.declared = if entry.seeded { seeds } else { 1 };
                (entry.verdict, entry.why) = match (declared.counts.get(r), declared.accuracy.get(r)) {
                    (Some(row), _) => {
                        let of = [&row.published.train, &row.published.val];
                        agreement::count(entry, of.get(e).and_then(|p| p.as_ref()), &terms)
                    }
                    (_, Some(row)) => {
                        let of = [&row.published.top1, &row.published.top5];
                        agreement::percentage(entry, of.get(e).and_then(|p| p.as_ref()), &terms)
                    }
                    _ => (None, None),
                };
            }
        }
    }
    Ok(out)
}

/// Takes a row's scores to where its interval is drawn: row, entry, scores, metric.
type Collect<'c> = dyn FnMut(usize, usize, &super::scores::Fused, Metric) + 'c;

/// Counts runs.
pub fn coverage(results: &Results) -> Result<Coverage, Error> {
    let mut coverage = Coverage::default();
    let mut seen = std::collections::HashSet::new();
    for cell in &results.experiment.cells {
        let Some(fingerprint) = &cell.fingerprint else {
            coverage.skipped_cells += 1;
            continue;
        };
        if !seen.insert(fingerprint.clone()) {
            continue;
        }
        let seeds = &results.experiment.config.seeds;
        let runs = results.runs(cell)?;
        let declared: Vec<Option<u64>> =
            if cell.part.seeded() { seeds.iter().map(|s| Some(*s)).collect() } else { vec![None] };
        coverage.declared += declared.len();
        let with = |state: State| runs.iter().filter(|r| r.state == state && declared.contains(&r.seed)).count();
        coverage.done += with(State::Done);
        coverage.failed += with(State::Failed);
    }
    Ok(coverage)
}

fn one(results: &Results, table: &Table, collect: &mut Collect) -> Result<EvaluatedTable, Error> {
    let at = point(results.experiment, table);
    let scope = Scope { audio: &table.audio, at: &at, table: &table.table };
    let mut out = EvaluatedTable {
        id: table.table.clone(),
        title: table.title.clone(),
        note: table.note.clone(),
        kind: "accuracy",
        columns: vec!["Top-1 (%)".into(), "Top-5 (%)".into()],
        rows: Vec::new(),
        skipped: None,
    };
    if !at.is_empty() {
        let point: Vec<String> = at.iter().map(|(axis, value)| format!("{axis} = {value}")).collect();
        out.note = format!("{}{}At {}.", out.note, if out.note.is_empty() { "" } else { " " }, point.join(", "));
    }
    if !table.audio.is_empty() {
        out.skipped = results.audio_of(&scope).err();
    }
    if !table.counts.is_empty() {
        out.kind = "counts";
        out.columns = vec!["Train".into(), "Val".into()];
        counts(results, table, &mut out)?;
    } else if !table.accuracy.is_empty() {
        for (r, row) in table.accuracy.iter().enumerate() {
            out.rows.push(accuracy(results, table, &scope, row, &mut |entry, fused, metric| {
                collect(r, entry, fused, metric);
            })?);
        }
    } else {
        out.kind = "improvement";
        out.columns = table.improvement.iter().map(|c| c.column.clone()).collect();
        for column in &table.improvement {
            out.rows.push(improvement(results, table, &scope, column)?);
        }
    }
    Ok(out)
}

/// The point of the further axes that a table is of: what it says itself, or the first value of each.
pub(super) fn point(experiment: &ExperimentRecord, table: &Table) -> BTreeMap<String, Value> {
    let axes =
        experiment.config.grid.iter().filter(|(axis, _)| !crate::experiment::grid::AXES.contains(&axis.as_str()));
    axes.filter_map(|(axis, values)| {
        let value = table.at.get(axis).or(values.first())?;
        Some((axis.clone(), value.clone()))
    })
    .collect()
}

fn counts(results: &Results, table: &Table, out: &mut EvaluatedTable) -> Result<(), Error> {
    let view_id = results.experiment.cells.iter().find_map(|c| if c.part.audio().is_some() { c.view_id } else { None });
    let counts = match view_id {
        Some(id) => Some(results.view(id)?.counts),
        None => None,
    };
    for row in &table.counts {
        let of = |(sounded, silent): (usize, usize)| match row.count {
            Count::Sounded => sounded,
            Count::Silent => silent,
            Count::Total => sounded + silent,
        };
        let entry = |metric: &str, count: Option<usize>, published: &Option<Published>| {
            let values: Vec<f64> = count.map(|c| c as f64).into_iter().collect();
            let skipped = values.is_empty().then(|| "not run yet".to_string());
            number(&table.table, &row.key, &row.row, metric, values, published.as_ref(), skipped)
        };
        out.rows.push(Row {
            group: Vec::new(),
            row: row.row.clone(),
            key: row.key.clone(),
            control: false,
            entries: vec![
                entry("train", counts.map(|c| of(c.train)), &row.published.train),
                entry("val", counts.map(|c| of(c.val)), &row.published.val),
            ],
            cells: Vec::new(),
            runs: Vec::new(),
            seeds: Vec::new(),
            gains: Vec::new(),
        });
    }
    Ok(())
}

/// Mean, deviation and difference of one number.
fn number(
    table: &TableId,
    key: &str,
    row: &str,
    metric: &str,
    values: Vec<f64>,
    published: Option<&Published>,
    skipped: Option<String>,
) -> Entry {
    let n = values.len();
    let mean = (n > 0).then(|| values.iter().sum::<f64>() / n as f64);
    let sd =
        mean.filter(|_| n > 1).map(|m| (values.iter().map(|v| (v - m).powi(2)).sum::<f64>() / (n - 1) as f64).sqrt());
    Entry {
        table: table.clone(),
        key: key.into(),
        row: row.into(),
        metric: metric.into(),
        mean,
        sd,
        n,
        published: published.map(|p| p.value),
        delta: mean.zip(published).map(|(m, p)| m - p.value),
        skipped,
        interval: None,
        verdict: None,
        why: None,
        declared: 1,
        seeded: false,
        published_text: published.map(|p| super::format::number(p.value, p.decimals)),
        values,
    }
}

fn accuracy(
    results: &Results,
    table: &Table,
    scope: &Scope,
    row: &crate::experiment::tables::AccuracyRow,
    collect: &mut dyn FnMut(usize, &super::scores::Fused, Metric),
) -> Result<Row, Error> {
    let fusion = Fusion::parse(&row.fuse).map_err(Error::NotFound)?;
    let fused = results.fused(scope, &fusion)?;
    let entry = |metric: &str, k: usize, published: &Option<Published>| {
        let (values, skipped) = match &fused {
            Ok(fused) => (fused.top_k(k), None),
            Err(why) => (Vec::new(), Some(why.clone())),
        };
        number(&table.table, &row.key, &row.row, metric, values, published.as_ref(), skipped)
    };
    let entries = vec![entry("top1", 1, &row.published.top1), entry("top5", 5, &row.published.top5)];
    if let Ok(fused) = &fused {
        collect(0, fused, Metric::Top1);
        collect(1, fused, Metric::Top5);
    }
    let (cells, runs, seeds) = match fused {
        Ok(f) => {
            let seeds = f.seeds.iter().map(|(seed, _)| *seed).collect();
            (f.cells.into_iter().map(|c| (c.key, c.chosen)).collect(), f.runs, seeds)
        }
        Err(_) => Default::default(),
    };
    Ok(Row {
        group: row.group.clone(),
        row: row.row.clone(),
        key: row.key.clone(),
        control: row.control,
        entries,
        cells,
        runs,
        seeds,
        gains: Vec::new(),
    })
}

fn improvement(
    results: &Results,
    table: &Table,
    scope: &Scope,
    column: &crate::experiment::tables::ImprovementColumn,
) -> Result<Row, Error> {
    let parse = |text: &str| Fusion::parse(text).map_err(Error::NotFound);
    let (of, over) = (results.fused(scope, &parse(&column.of)?)?, results.fused(scope, &parse(&column.over)?)?);
    let mut row = Row {
        group: Vec::new(),
        row: column.column.clone(),
        key: column.key.clone(),
        control: false,
        entries: Vec::new(),
        cells: Vec::new(),
        runs: Vec::new(),
        seeds: Vec::new(),
        gains: Vec::new(),
    };
    let classes = &results.dataset.manifest.classes;
    let mut ranked: Vec<(String, Vec<f64>)> = Vec::new();
    let mut skipped = None;
    match (of, over) {
        (Ok(of), Ok(over)) => {
            // Per-class differences, seed by seed.
            let mut differences: Vec<Vec<f64>> = vec![Vec::new(); classes.len()];
            let of_classes = |ranks, labels| per_class(ranks, labels, classes.len());
            for (seed, ranks) in &of.seeds {
                let Some((_, base)) = over.seeds.iter().find(|(s, _)| s == seed || s.is_none()) else { continue };
                let (a, b) = (of_classes(ranks, &of.view.val.labels), of_classes(base, &over.view.val.labels));
                for (class, (a, b)) in a.into_iter().zip(b).enumerate() {
                    differences[class].extend(a.zip(b).map(|(a, b)| a - b));
                }
            }
            ranked = classes.iter().cloned().zip(differences).filter(|(_, d)| !d.is_empty()).collect();
            let mean = |d: &[f64]| d.iter().sum::<f64>() / d.len() as f64;
            ranked.sort_by(|a, b| mean(&b.1).total_cmp(&mean(&a.1)).then_with(|| a.0.cmp(&b.0)));
            row.gains = ranked.iter().map(|(class, d)| (class.clone(), mean(d))).collect();
            row.seeds = of.seeds.iter().map(|(seed, _)| *seed).collect();
            row.cells = of.cells.iter().chain(&over.cells).map(|c| (c.key.clone(), c.chosen)).collect();
            row.cells.dedup();
            row.runs = of.runs.into_iter().chain(over.runs).collect();
            row.runs.sort();
            row.runs.dedup();
        }
        (Err(why), _) | (_, Err(why)) => skipped = Some(why),
    }
    for rank in 0..table.top.max(column.published.len()) {
        let (class, values) = ranked.get(rank).cloned().unwrap_or_default();
        let key = format!("{}/{}", column.key, rank + 1);
        let why = values.is_empty().then(|| skipped.clone().unwrap_or_else(|| "no further class".into()));
        let mut entry = number(&table.table, &key, &class, "difference", values, None, why);
        entry.published_text = column.published.get(rank).cloned();
        row.entries.push(entry);
    }
    Ok(row)
}
