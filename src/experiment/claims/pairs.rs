//! The rows and columns of a table that a claim means.

use super::claim::{Comparison, Shared};
use super::pattern::{Piece, captures, parts};
use crate::experiment::{Table, TableId, Tables};

/// Stars of a pattern.
const STARS: usize = 16;
/// Pairs of rows that a comparison stands for.
const PAIRS: usize = 10_000;

/// One side of a comparison: a row, or the best of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// As a reader would call it.
    pub label: String,
    /// Keys of rows; where there are several, the highest counts.
    pub keys: Vec<String>,
}

/// Two sides to be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// What should be the higher one.
    pub rows: Side,
    /// What it is held against.
    pub other: Side,
}

/// What a comparison says that its table cannot give, and under which of its keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Mismatch {
    /// `table`, `rows`, `beat`, `equal`, `columns[1]`.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// The name that was not found.
    pub wrong: String,
    /// Names that would have been.
    pub valid: Vec<String>,
}

impl Mismatch {
    pub(super) fn new(key: &str, message: String) -> Mismatch {
        Mismatch { key: key.into(), message, wrong: String::new(), valid: Vec::new() }
    }
}

/// The rows that a text means.
struct Named {
    best: bool,
    text: String,
    stars: usize,
    /// Key and the words in place of the stars.
    found: Vec<(String, Vec<String>)>,
}

impl Comparison {
    /// The pairs of rows that are meant, at least one.
    pub fn pairs(&self, tables: &Tables) -> Result<Vec<Pair>, Mismatch> {
        let table = find(tables, &self.table)?;
        if table.accuracy.is_empty() {
            return Err(Mismatch::new("table", format!("table {} has no rows of accuracies to compare", self.table)));
        }
        let (key, other) = self.other()?;
        let left = Named::of(table, "rows", &self.rows)?;
        let right = Named::of(table, key, other)?;
        if left.found.len().saturating_mul(right.found.len()) > PAIRS {
            let message = format!(
                "{} rows with {} others; at most {PAIRS} pairs are compared",
                left.found.len(),
                right.found.len()
            );
            return Err(Mismatch::new("rows", message));
        }
        let pairs = match_up(&left, &right);
        if pairs.is_empty() {
            let message = format!("no row of {:?} has a counterpart in {other:?}", self.rows);
            return Err(Mismatch::new(key, message));
        }
        Ok(pairs)
    }

    /// The other side's key and text.
    pub(super) fn other(&self) -> Result<(&'static str, &str), Mismatch> {
        match (&self.beat, &self.equal) {
            (Some(beat), None) => Ok(("beat", beat)),
            (None, Some(equal)) => Ok(("equal", equal)),
            _ => Err(Mismatch::new(
                "rows",
                "say what these rows are compared with: `beat: ROWS` or `equal: ROWS`".into(),
            )),
        }
    }

    pub(super) fn check(&self, tables: &Tables) -> Result<usize, Mismatch> {
        self.other()?;
        for (key, margin, goes_with) in [("by", self.by, &self.beat), ("within", self.within, &self.equal)] {
            if margin < 0.0 || !margin.is_finite() {
                return Err(Mismatch::new(key, format!("{key}: a margin in points is 0 or more")));
            }
            if margin > 0.0 && goes_with.is_none() {
                return Err(Mismatch::new(key, "`by` goes with `beat`, `within` with `equal`".into()));
            }
        }
        Ok(self.pairs(tables)?.len())
    }
}

impl Shared {
    /// How many classes of each column count in this table.
    pub fn depth(&self, tables: &Tables) -> Result<usize, Mismatch> {
        let table = find(tables, &self.table)?;
        let columns: Vec<String> = table.improvement.iter().map(|c| c.key.clone()).collect();
        if columns.is_empty() {
            return Err(Mismatch::new("table", format!("table {} has no columns of improved classes", self.table)));
        }
        for (i, column) in self.columns.iter().enumerate() {
            if !columns.contains(column) {
                let message = format!("table {} has no column {column:?}", self.table);
                let key = format!("columns[{i}]");
                return Err(Mismatch { key, message, wrong: column.clone(), valid: columns });
            }
        }
        if self.columns.len() < 2 {
            return Err(Mismatch::new("columns", "give two columns or more".into()));
        }
        Ok(self.top.unwrap_or(table.top))
    }

    /// How many classes every column should share.
    pub fn needed(&self, depth: usize) -> usize {
        self.at_least.unwrap_or(depth)
    }

    pub(super) fn check(&self, tables: &Tables) -> Result<usize, Mismatch> {
        let depth = self.depth(tables)?;
        if depth == 0 {
            return Err(Mismatch::new("top", "top: at least one class has to count".into()));
        }
        if !(1..=depth).contains(&self.needed(depth)) {
            return Err(Mismatch::new("at_least", format!("at_least: from 1 to {depth}, the classes that count")));
        }
        Ok(1)
    }
}

fn find<'a>(tables: &'a Tables, id: &TableId) -> Result<&'a Table, Mismatch> {
    tables.tables.iter().find(|t| t.table == *id).ok_or_else(|| {
        let valid = tables.tables.iter().map(|t| t.table.to_string()).collect();
        Mismatch { key: "table".into(), message: format!("there is no table {id}"), wrong: id.to_string(), valid }
    })
}

impl Named {
    fn of(table: &Table, key: &str, text: &str) -> Result<Named, Mismatch> {
        let (best, pattern) = match text.trim().strip_prefix("best ") {
            Some(pattern) => (true, pattern.trim()),
            None => (false, text.trim()),
        };
        let parts = parts(pattern);
        let stars = parts.iter().filter(|p| !matches!(p, Piece::Text(_))).count();
        if stars > STARS {
            return Err(Mismatch::new(key, format!("a pattern of {stars} stars; at most {STARS} are read")));
        }
        let rows = table.accuracy.iter().filter(|row| stars == 0 || !row.control);
        let found: Vec<(String, Vec<String>)> =
            rows.filter_map(|row| captures(&parts, &row.key).map(|words| (row.key.clone(), words))).collect();
        if found.is_empty() {
            let verb = if stars == 0 { "called" } else { "that matches" };
            let message = format!("table {} has no row {verb} {pattern:?}", table.table);
            let valid = table.accuracy.iter().map(|row| row.key.clone()).collect();
            return Err(Mismatch { key: key.into(), message, wrong: pattern.into(), valid });
        }
        Ok(Named { best, text: pattern.into(), stars, found })
    }

    fn sides(&self, without: &[String]) -> Vec<(Side, Vec<String>)> {
        let rows = self.found.iter().filter(|(key, _)| !without.contains(key));
        if self.best {
            let keys: Vec<String> = rows.map(|(key, _)| key.clone()).collect();
            let side = Side { label: format!("best {}", self.text), keys };
            return if side.keys.is_empty() { Vec::new() } else { vec![(side, Vec::new())] };
        }
        rows.map(|(key, words)| (Side { label: key.clone(), keys: vec![key.clone()] }, words.clone())).collect()
    }
}

/// Every row with its counterpart: the one with equal words in place of the stars, or any where one side has no stars. No
/// row is compared with itself.
fn match_up(left: &Named, right: &Named) -> Vec<Pair> {
    let matched = !left.best && !right.best && left.stars > 0 && right.stars > 0;
    let mut pairs = Vec::new();
    for (rows, words) in left.sides(&[]) {
        for (other, others) in right.sides(&rows.keys) {
            if !matched || words == others {
                pairs.push(Pair { rows: rows.clone(), other });
            }
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::super::read::tests::{compare, tables};

    fn named(rows: &str, beat: &str) -> Vec<(String, String)> {
        let pairs = compare(rows, beat).pairs(&tables()).unwrap();
        pairs.into_iter().map(|p| (p.rows.keys.join(" | "), p.other.keys.join(" | "))).collect()
    }

    #[test]
    fn stars_match_words_and_pair_cells() {
        let pair = |a: &str, b: &str| (a.to_string(), b.to_string());
        assert_eq!(named("lstm/*/*", "autoencoder/*/*"), [pair("lstm/l2/with", "autoencoder/l2/with")]);
        assert_eq!(named("*/l2/*", "*/kl/*"), [pair("lstm/l2/with", "lstm/kl/with")]);
        assert_eq!(named("*/*/*", "baseline").len(), 3);
        assert_eq!(named("best lstm/*/*", "mean"), [pair("lstm/l2/with | lstm/kl/with", "mean")]);
        // Controls are no part of a pattern, and no row is compared with itself.
        assert_eq!(named("lstm/l2/with", "**").len(), 3);
        assert_eq!(
            named("baseline", "best **"),
            [pair("baseline", "lstm/l2/with | lstm/kl/with | autoencoder/l2/with")]
        );
    }
}
