//! What every format is given, and what it has to do.

use crate::experiment::tables::TableKind;
use crate::report::format::{mean_sd, signed};
use crate::report::table::{Entry, EvaluatedTable, Standing};

/// Tables to be written, with what has to be said about all of them.
pub struct Document<'a> {
    /// The experiment's name; labels are made of it.
    pub experiment: &'a str,
    /// The tables.
    pub tables: &'a [EvaluatedTable],
    /// In what the numbers are not those of the experiment as it is declared; every format has to say it.
    pub notes: &'a [String],
    /// Whether printed tables go over both columns of a page.
    pub wide: bool,
}

/// A format.
pub trait Exporter {
    /// The tables as text.
    fn write(&self, document: &Document) -> String;
}

impl Document<'_> {
    /// Every number of every table, in order.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.tables.iter().flat_map(|t| t.rows.iter().flat_map(|r| r.entries.iter()))
    }
}

/// One cell of a printed table.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Cell {
    pub text: String,
    /// The 95 % interval of a number of ours.
    pub interval: Option<String>,
    /// Whether it is the best of its column, or not significantly worse.
    pub best: bool,
}

impl From<String> for Cell {
    fn from(text: String) -> Cell {
        Cell { text, ..Cell::default() }
    }
}

/// A table as lines of cells, as it is printed.
pub(super) struct Printed {
    /// Headings over several columns, each with how many: the first column has none.
    pub spans: Vec<(String, usize)>,
    /// Headings below them.
    pub header: Vec<String>,
    /// The rows.
    pub lines: Vec<Vec<Cell>>,
}

/// What stands where there is nothing.
const NOTHING: &str = "-";

fn or_nothing(text: Option<String>) -> String {
    text.unwrap_or_else(|| NOTHING.into())
}

/// Lays out a table: by rank where its columns are lists of classes, else by row.
pub(super) fn printed(table: &EvaluatedTable) -> Printed {
    if table.kind == TableKind::Improvement {
        let ranks = table.rows.iter().map(|r| r.entries.len()).max().unwrap_or(0);
        let line = |rank: usize| {
            let mut line = vec![Cell::from((rank + 1).to_string())];
            for row in &table.rows {
                let entry = row.entries.get(rank);
                let ours = entry.and_then(|e| e.mean.map(|m| format!("{} ({})", e.row, signed(m, 2))));
                line.push(or_nothing(ours).into());
                line.push(or_nothing(entry.and_then(|e| e.published_text.clone())).into());
            }
            line
        };
        return Printed {
            spans: table.columns.iter().map(|c| (c.clone(), 2)).collect(),
            header: ["Rank"]
                .into_iter()
                .chain(table.columns.iter().flat_map(|_| ["ours", "published"]))
                .map(String::from)
                .collect(),
            lines: (0..ranks).map(line).collect(),
        };
    }
    let line = |row: &crate::report::table::Row| {
        let mut line = vec![Cell::from(row.full_name())];
        for e in &row.entries {
            let interval = e.interval.filter(|_| e.mean.is_some()).map(|(low, high)| {
                let number = |v| crate::report::format::number(v, e.metric.decimals());
                format!("[{}, {}]", number(low), number(high))
            });
            let best = matches!(e.standing, Some(Standing::Best | Standing::Tied));
            line.push(Cell { text: or_nothing(mean_sd(e)), interval, best });
            line.push(or_nothing(e.published_text.clone()).into());
            line.push(or_nothing(e.delta.map(|d| signed(d, e.metric.decimals()))).into());
        }
        line
    };
    Printed {
        spans: table.columns.iter().map(|c| (c.clone(), 3)).collect(),
        header: [""]
            .into_iter()
            .chain(table.columns.iter().flat_map(|_| ["ours", "published", "difference"]))
            .map(String::from)
            .collect(),
        lines: table.rows.iter().map(line).collect(),
    }
}

/// Why numbers are not there, each reason once.
pub(super) fn skipped(table: &EvaluatedTable) -> Option<String> {
    let why = table.rows.iter().flat_map(|r| &r.entries).filter_map(|e| e.skipped.clone());
    let mut reasons: Vec<String> = why.collect();
    reasons.dedup();
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

/// Text on one line: line breaks and other control characters become spaces.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || c == '\u{2028}' || c == '\u{2029}' { ' ' } else { c }).collect()
}
