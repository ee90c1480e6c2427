//! `claims.yaml`: what the paper concludes from its tables, as predicates over their rows.
//!
//! A claim compares rows of accuracy tables (`compare`), asks whether two comparisons come out the same way
//! (`same_order`), or whether columns of a table of classes name the same ones (`shared`). It holds where all of these
//! hold, or `at_least` so many. Rows are written as in `tables.yaml`, by key; in a pattern `*` stands for one word and
//! `**` for anything, controls are left out, and where both sides of a comparison have stars, rows with equal words
//! in their place are compared: the matched cells. `best PATTERN` is the best of a group.

use super::layers::Layers;
use super::problem::Problem;
use super::tables::{Table, TableId, Tables};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// Stars of a pattern.
const STARS: usize = 16;
/// Pairs of rows that a comparison stands for.
const PAIRS: usize = 10_000;

/// An accuracy that claims are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// Percent of clips whose class is ranked first.
    Top1,
    /// Percent of clips whose class is among the first five.
    Top5,
}

impl Metric {
    /// Every one.
    pub const ALL: [Metric; 2] = [Metric::Top1, Metric::Top5];

    /// The word in YAML and exports.
    pub fn word(self) -> &'static str {
        match self {
            Metric::Top1 => "top1",
            Metric::Top5 => "top5",
        }
    }

    /// How many of the highest ranks count.
    pub fn k(self) -> usize {
        match self {
            Metric::Top1 => 1,
            Metric::Top5 => 5,
        }
    }
}

/// `rows` beat `beat`, or equal `equal` within a margin. Exactly one of `beat` and `equal` is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    /// The table whose rows are meant.
    pub table: TableId,
    /// A key, a pattern, or `best PATTERN`.
    pub rows: String,
    /// What they should be higher than.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beat: Option<String>,
    /// By more than so many points.
    #[serde(default)]
    pub by: f64,
    /// What they should be as high as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equal: Option<String>,
    /// Give or take so many points.
    #[serde(default)]
    pub within: f64,
}

/// Two comparisons that should come out the same way, whichever that is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SameOrder {
    /// One.
    pub first: Comparison,
    /// The other.
    pub then: Comparison,
}

/// Columns of a table of most improved classes that should name the same ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Shared {
    /// The table.
    pub table: TableId,
    /// Keys of two or more of its columns.
    pub columns: Vec<String>,
    /// How many classes of each count; the table's number by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top: Option<usize>,
    /// How many of them should stand in every column; all by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<usize>,
}

/// One claim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// `C6`.
    pub id: String,
    /// In words of ours.
    pub claim: String,
    /// What it is judged on, each by itself.
    #[serde(default = "both")]
    pub metrics: Vec<Metric>,
    /// Comparisons of rows; every pair counts as one.
    #[serde(default)]
    pub compare: Vec<Comparison>,
    /// Pairs of comparisons; each counts as one.
    #[serde(default)]
    pub same_order: Vec<SameOrder>,
    /// Shared classes; each counts as one.
    #[serde(default)]
    pub shared: Vec<Shared>,
    /// How many of all these have to hold; every one by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<usize>,
    /// Comparisons that are reported beside the claim and do not decide it.
    #[serde(default)]
    pub beside: Vec<Comparison>,
}

fn both() -> Vec<Metric> {
    Metric::ALL.to_vec()
}

/// The contents of `claims.yaml`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    /// The claims.
    pub claims: Vec<Claim>,
}

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
    fn new(key: &str, message: String) -> Mismatch {
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
    fn other(&self) -> Result<(&'static str, &str), Mismatch> {
        match (&self.beat, &self.equal) {
            (Some(beat), None) => Ok(("beat", beat)),
            (None, Some(equal)) => Ok(("equal", equal)),
            _ => Err(Mismatch::new(
                "rows",
                "say what these rows are compared with: `beat: ROWS` or `equal: ROWS`".into(),
            )),
        }
    }

    fn check(&self, tables: &Tables) -> Result<usize, Mismatch> {
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

    fn check(&self, tables: &Tables) -> Result<usize, Mismatch> {
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

/// A piece of a pattern.
#[derive(Clone, Debug, PartialEq)]
enum Piece {
    Text(String),
    Word,
    Anything,
}

fn parts(pattern: &str) -> Vec<Piece> {
    let mut out = Vec::new();
    let mut rest = pattern;
    while let Some(at) = rest.find('*') {
        if at > 0 {
            out.push(Piece::Text(rest[..at].into()));
        }
        rest = &rest[at + 1..];
        match rest.strip_prefix('*') {
            Some(after) => {
                rest = after;
                out.push(Piece::Anything);
            }
            None => out.push(Piece::Word),
        }
    }
    if !rest.is_empty() {
        out.push(Piece::Text(rest.into()));
    }
    out
}

/// What stands in `text` in place of the stars; `None` where the pattern does not fit. Each star takes as much as it can.
fn captures(parts: &[Piece], text: &str) -> Option<Vec<String>> {
    /// Ends of the stars from piece `piece` on, the last first. `failed` holds the places from which nothing fits, so that no
    /// place is tried twice and the time is bounded by pieces times letters.
    fn fit(
        parts: &[Piece],
        piece: usize,
        text: &str,
        at: usize,
        failed: &mut HashSet<(usize, usize)>,
    ) -> Option<Vec<usize>> {
        let Some(first) = parts.get(piece) else { return (at == text.len()).then(Vec::new) };
        if failed.contains(&(piece, at)) {
            return None;
        }
        let rest = &text[at..];
        let longest = match first {
            Piece::Text(literal) => {
                let fits = rest.starts_with(literal.as_str());
                return if fits { fit(parts, piece + 1, text, at + literal.len(), failed) } else { None };
            }
            Piece::Word => rest.find(|c: char| !c.is_alphanumeric() && !"_-".contains(c)).unwrap_or(rest.len()),
            Piece::Anything => rest.len(),
        };
        for end in (1..=longest).rev().map(|length| at + length).filter(|end| text.is_char_boundary(*end)) {
            if let Some(mut ends) = fit(parts, piece + 1, text, end, failed) {
                ends.push(end);
                return Some(ends);
            }
        }
        failed.insert((piece, at));
        None
    }
    let ends = fit(parts, 0, text, 0, &mut HashSet::new())?;
    let (mut at, mut words, mut ends) = (0, Vec::new(), ends.into_iter().rev());
    for piece in parts {
        match piece {
            Piece::Text(literal) => at += literal.len(),
            Piece::Word | Piece::Anything => {
                let end = ends.next()?;
                words.push(text[at..end].to_string());
                at = end;
            }
        }
    }
    Some(words)
}

impl Claims {
    /// Reads and checks a `claims.yaml`: ids are unique and, where `tables` are those it was written for, every row,
    /// column and table is one of theirs.
    pub fn read(layers: &Layers, tables: Option<&Tables>) -> Result<Claims, Problem> {
        let claims: Claims = layers.read()?;
        let mut ids = HashSet::new();
        for (i, claim) in claims.claims.iter().enumerate() {
            let at = format!("claims[{i}]");
            if !ids.insert(&claim.id) {
                return Err(layers.at(&format!("{at}.id"), format!("{} stands twice", claim.id)));
            }
            if let Some(place) = (1..claim.metrics.len()).find(|i| claim.metrics[..*i].contains(&claim.metrics[*i])) {
                let message = format!("{}: {} stands twice", claim.id, claim.metrics[place].word());
                return Err(layers.at(&format!("{at}.metrics[{place}]"), message));
            }
            if claim.metrics.is_empty() {
                return Err(layers.at(&format!("{at}.metrics"), format!("{}: name a metric: top1, top5", claim.id)));
            }
            if !claim.shared.is_empty() && claim.metrics != [Metric::Top1] {
                let message =
                    format!("{}: classes are ranked by top-1, so `shared` goes with `metrics: [top1]`", claim.id);
                return Err(layers.at(&format!("{at}.shared"), message));
            }
            if let Some(tables) = tables {
                claim.check(tables, |path, mismatch| {
                    let path = format!("{at}.{path}");
                    let message = format!("{}: {}", claim.id, mismatch.message);
                    layers.at(&path, message).suggest(&mismatch.wrong, &mismatch.valid)
                })?;
            }
        }
        Ok(claims)
    }
}

impl Claim {
    fn check(&self, tables: &Tables, problem: impl Fn(&str, Mismatch) -> Problem) -> Result<(), Problem> {
        let mut count = 0;
        let of = |path: String, result: Result<usize, Mismatch>| {
            result.map_err(|mismatch| problem(&format!("{path}.{}", mismatch.key), mismatch))
        };
        for (i, comparison) in self.compare.iter().enumerate() {
            count += of(format!("compare[{i}]"), comparison.check(tables))?;
        }
        for (i, order) in self.same_order.iter().enumerate() {
            for (key, comparison) in [("first", &order.first), ("then", &order.then)] {
                let path = format!("same_order[{i}].{key}");
                let pairs = of(path.clone(), comparison.check(tables))?;
                if pairs != 1 || comparison.beat.is_none() {
                    let message = "an order is between two sides: one row or best of a group, and `beat`".to_string();
                    return Err(problem(&path, Mismatch::new("rows", message)));
                }
            }
            count += 1;
        }
        for (i, shared) in self.shared.iter().enumerate() {
            count += of(format!("shared[{i}]"), shared.check(tables))?;
        }
        for (i, comparison) in self.beside.iter().enumerate() {
            of(format!("beside[{i}]"), comparison.check(tables))?;
        }
        match self.at_least {
            Some(k) if k == 0 || k > count => {
                let message = format!("at_least: from 1 to {count}, the comparisons of this claim");
                Err(problem("at_least", Mismatch::new("at_least", message)))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::yaml::Document;
    use super::*;
    use std::path::Path;

    fn layers(name: &str, text: &str) -> Layers {
        Layers::new(vec![Document::parse(Path::new(name), text).unwrap()])
    }

    fn tables() -> Tables {
        let text = "tables:
  - table: 2
    title: two
    accuracy:
      - {key: baseline, row: b, fuse: aenet}
      - {key: lstm/l2/with, row: r, fuse: aenet(lstm/l2/with)}
      - {key: lstm/kl/with, row: r, fuse: aenet(lstm/kl/with)}
      - {key: autoencoder/l2/with, row: r, fuse: aenet(autoencoder/l2/with)}
      - {key: mean, control: true, row: m, fuse: aenet(mean)}
  - table: classes
    title: five
    improvement:
      - {key: one, column: one, of: rgb+aenet, over: rgb}
      - {key: two, column: two, of: rgb+aenet(best), over: rgb}
";
        Tables::read(&layers("tables.yaml", text), &["aenet".into()]).unwrap()
    }

    fn compare(rows: &str, beat: &str) -> Comparison {
        let (rows, beat) = (rows.to_string(), Some(beat.to_string()));
        Comparison { table: TableId::Number(2), rows, beat, by: 0.0, equal: None, within: 0.0 }
    }

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

    #[test]
    fn a_pattern_of_many_stars_takes_no_longer_than_its_letters() {
        let pattern = "**a".repeat(16) + "b";
        assert_eq!(captures(&parts(&pattern), &"a".repeat(200)), None);
        assert_eq!(captures(&parts("*é*"), "aéb"), Some(vec!["a".into(), "b".into()]));
        let p =
            problem(&format!("    compare:\n      - {{table: 2, rows: \"{}\", beat: baseline}}\n", "*/".repeat(17)));
        assert!(p.to_string().contains("17 stars; at most 16"), "{p}");
    }

    #[test]
    fn a_star_is_one_word() {
        let fit = |pattern: &str, text: &str| captures(&parts(pattern), text);
        assert_eq!(fit("rgb+*(*)", "rgb+aenet(lstm)"), Some(vec!["aenet".into(), "lstm".into()]));
        assert_eq!(fit("rgb+*(*)", "rgb+flow+aenet(lstm)"), None);
        assert_eq!(fit("rgb**", "rgb+flow+aenet(lstm)"), Some(vec!["+flow+aenet(lstm)".into()]));
        assert_eq!(fit("rgb", "rgb"), Some(Vec::new()));
        assert_eq!(fit("*", ""), None);
    }

    fn problem(body: &str) -> Problem {
        let text = format!("claims:\n  - id: C1\n    claim: words\n{body}");
        Claims::read(&layers("claims.yaml", &text), Some(&tables())).unwrap_err()
    }

    #[test]
    fn what_is_not_in_the_tables_is_told_with_its_place() {
        let p = problem("    compare:\n      - {table: 2, rows: lsmt/l2/with, beat: baseline}\n");
        assert_eq!((p.line, p.column), (5, 26), "{p}");
        assert!(p.to_string().contains("did you mean \"lstm/l2/with\"?"), "{p}");
        let p = problem("    compare:\n      - {table: 2, rows: lstm/l2/with, beat: basline}\n");
        assert_eq!((p.line, p.column), (5, 46), "{p}");
        let p = problem("    compare:\n      - {table: 3, rows: lstm/l2/with, beat: baseline}\n");
        assert!(p.line == 5 && p.to_string().contains("valid: 2, classes"), "{p}");
        let p = problem("    metrics: [top1]\n    shared:\n      - {table: classes, columns: [one, twoo]}\n");
        assert!(p.line == 6 && p.to_string().contains("did you mean \"two\"?"), "{p}");
        let p = problem("    metrics: [top2]\n");
        assert!(p.to_string().contains("did you mean \"top"), "{p}");
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        for (body, words) in [
            ("    compare:\n      - {table: 2, rows: baseline}\n", "say what"),
            ("    compare:\n      - {table: 2, rows: baseline, beat: mean, within: 1}\n", "goes with"),
            ("    compare:\n      - {table: 2, rows: baseline, beat: mean, by: -1}\n", "0 or more"),
            ("    compare:\n      - {table: classes, rows: one, beat: two}\n", "no rows of accuracies"),
            ("    compare:\n      - {table: 2, rows: baseline, beat: baseline}\n", "no row of"),
            ("    at_least: 2\n    compare:\n      - {table: 2, rows: baseline, beat: mean}\n", "from 1 to 1"),
            ("    shared:\n      - {table: classes, columns: [one, two]}\n", "metrics: [top1]"),
            (
                "    metrics: [top1]\n    shared:\n      - {table: classes, columns: [one, two], at_least: 4}\n",
                "from 1 to 3",
            ),
            ("    compares: []\n", "did you mean"),
        ] {
            let p = problem(body);
            assert!(p.to_string().contains(words), "{body}: {p}");
        }
    }

    #[test]
    fn claims_of_another_table_file_are_left_to_the_evaluation() {
        let text = "claims:\n  - {id: C1, claim: c, compare: [{table: 9, rows: a, beat: b}]}\n";
        assert!(Claims::read(&layers("claims.yaml", text), None).is_ok());
        let plain: Claims = serde_json::from_str(r#"{"claims": [{"id": "C1", "claim": "in words alone"}]}"#).unwrap();
        assert_eq!(plain.claims[0].metrics, Metric::ALL);
    }
}
