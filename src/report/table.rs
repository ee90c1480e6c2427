//! A computed table as data: rows, numbers, what stands behind each, and how it compares to the published value.

use super::measure::Measure;
use crate::experiment::TableId;
use crate::experiment::tables::TableKind;
use serde::Serialize;

/// How a number stands to the published one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Agreement {
    /// As near as the margin asks, all uncertainty counted in.
    Agrees,
    /// Further apart than chance explains.
    Differs,
    /// Not decided.
    Inconclusive,
    /// There is no number of ours.
    NotRun,
}

impl Agreement {
    /// As in a sentence.
    pub fn words(self) -> &'static str {
        match self {
            Agreement::Agrees => "agrees",
            Agreement::Differs => "differs",
            Agreement::Inconclusive => "inconclusive",
            Agreement::NotRun => "not run",
        }
    }
}

/// How a number stands in its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Significantly higher than every other row.
    Best,
    /// The highest, or not significantly lower than it.
    Tied,
    /// No row of its own right but a bound of what others can reach, such as the true feature.
    Bound,
}

/// One number of one table.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// The table.
    pub table: TableId,
    /// The row's (or column's) name in exports.
    pub key: String,
    /// Its heading; in tables of classes, the class.
    pub row: String,
    /// What it measures.
    pub metric: Measure,
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
    /// How it stands in its column; `None` where it is significantly lower than the best, or nothing can be said.
    #[serde(skip)]
    pub standing: Option<Standing>,
}

/// A row with its entries.
#[derive(Clone, Debug, Default)]
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

impl Row {
    /// Its heading with those above it.
    pub fn full_name(&self) -> String {
        let mut name = self.group.clone();
        name.push(self.row.clone());
        name.join(", ")
    }
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
    /// What its rows are.
    pub kind: TableKind,
    /// Column headings.
    pub columns: Vec<String>,
    /// Its rows; of [`TableKind::Improvement`], one for each column, with one entry a rank.
    pub rows: Vec<Row>,
    /// Why the whole table is skipped.
    pub skipped: Option<String>,
}

impl Entry {
    /// Mean, deviation and difference of one number, by its values.
    pub fn of(table: &TableId, key: &str, row: &str, metric: Measure, values: Vec<f64>) -> Entry {
        let n = values.len();
        let mean = (n > 0).then(|| values.iter().sum::<f64>() / n as f64);
        let sd = mean
            .filter(|_| n > 1)
            .map(|m| (values.iter().map(|v| (v - m).powi(2)).sum::<f64>() / (n - 1) as f64).sqrt());
        Entry {
            table: table.clone(),
            key: key.into(),
            row: row.into(),
            metric,
            mean,
            sd,
            n,
            published: None,
            delta: None,
            skipped: None,
            interval: None,
            verdict: None,
            why: None,
            declared: 1,
            seeded: false,
            published_text: None,
            values,
            standing: None,
        }
    }
}
