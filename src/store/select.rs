//! Lists of runs: filtered, sorted and cut off by SQLite, so that a long store is not read to show its top.

use super::filter::{Bind, Filter};
use super::records::*;
use super::run_fields::{Name, Names};
use super::{Error, Store};
use sqlx::AssertSqlSafe;
use sqlx::sqlite::SqliteRow;
use std::collections::{BTreeMap, HashMap};

/// Which runs, in which order, with which of their numbers.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Only these.
    pub filter: Option<Filter>,
    /// By what, and whether the largest comes first; the newest first where not given. Runs without it come last.
    pub sort: Option<(Name, bool)>,
    /// No more than these.
    pub limit: Option<usize>,
    /// Their numbers.
    pub values: Values,
}

/// Which numbers of a run to read.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Values {
    /// All.
    #[default]
    All,
    /// Some, by name.
    Only(Vec<String>),
}

/// How many runs are in each state.
pub type Counts = BTreeMap<String, i64>;

/// Ids in one statement.
const CHUNK: usize = 500;

pub(super) const RUN: &str = "SELECT run.*, dataset.name AS dataset, view.missing AS missing
    FROM run LEFT JOIN view ON view.id = run.view_id LEFT JOIN dataset ON dataset.id = view.dataset_id";

impl Store {
    /// The names that runs of this store can be filtered, sorted and shown by.
    pub fn names(&self) -> Result<Names, Error> {
        // Jumps from name to name in the index instead of reading it.
        let rows = self.rows(sqlx::query(
            "WITH RECURSIVE known (name) AS (
                 SELECT min(name) FROM value
                 UNION ALL SELECT (SELECT min(name) FROM value WHERE name > known.name) FROM known WHERE known.name IS NOT NULL
             ) SELECT name FROM known WHERE name IS NOT NULL",
        ))?;
        Ok(Names::new(rows.iter().map(|r| self.get(r, 0)).collect::<Result<_, _>>()?))
    }

    /// The runs of a selection.
    pub fn select(&self, selection: &Selection) -> Result<Vec<RunRecord>, Error> {
        let (sql, binds) = ids(selection);
        let rows = self.rows(bound(&sql, &binds))?;
        let ids: Vec<String> = rows.iter().map(|r| self.get(r, 0)).collect::<Result<_, _>>()?;
        let mut found: HashMap<String, RunRecord> = HashMap::with_capacity(ids.len());
        for chunk in ids.chunks(CHUNK) {
            let marks = vec!["?"; chunk.len()].join(", ");
            let sql = format!("{RUN} WHERE run.id IN ({marks})");
            let binds: Vec<Bind> = chunk.iter().map(|id| Bind::Text(id.clone())).collect();
            for run in self.records(&self.rows(bound(&sql, &binds))?, &selection.values)? {
                found.insert(run.id.clone(), run);
            }
        }
        Ok(ids.iter().filter_map(|id| found.remove(id)).collect())
    }

    /// Every run with all its numbers, the newest first.
    pub fn runs(&self) -> Result<Vec<RunRecord>, Error> {
        self.select(&Selection::default())
    }

    /// How many runs are in each state.
    pub fn counts(&self) -> Result<Counts, Error> {
        let rows = self.rows(sqlx::query("SELECT state, count(*) FROM run GROUP BY state"))?;
        rows.iter().map(|r| Ok((self.get(r, 0)?, self.get(r, 1)?))).collect()
    }

    /// How many runs of each experiment, as it was last run, are in each state; the last used experiment first.
    pub fn counts_by_experiment(&self) -> Result<Vec<(String, Counts)>, Error> {
        let mut all: Vec<(String, Counts)> =
            self.experiment_names()?.into_iter().map(|name| (name, Counts::new())).collect();
        let rows = self.rows(sqlx::query(
            "SELECT e.name, r.state, count(DISTINCT r.id) FROM experiment e
             JOIN cell c ON c.experiment_id = e.id JOIN run r ON r.cell = c.fingerprint
             WHERE e.id = (SELECT o.id FROM experiment o WHERE o.name = e.name ORDER BY o.used DESC, o.id DESC LIMIT 1)
             GROUP BY e.name, r.state",
        ))?;
        for row in &rows {
            if let Some((_, counts)) = all.iter_mut().find(|(name, _)| Some(name.as_str()) == self.get(row, 0).ok()) {
                counts.insert(self.get(row, 1)?, self.get(row, 2)?);
            }
        }
        Ok(all)
    }

    /// The one run whose id begins so; or those that do, a few of them, or none.
    pub fn run_beginning(&self, start: &str) -> Result<Result<RunRecord, Vec<String>>, Error> {
        // Ids are lower-case hexadecimal, so '~' comes after every one that begins so.
        let rows = self.rows(
            sqlx::query("SELECT id FROM run WHERE id >= ?1 AND id < ?1 || '~' LIMIT 6").bind(start.to_lowercase()),
        )?;
        let ids: Vec<String> = rows.iter().map(|r| self.get(r, 0)).collect::<Result<_, _>>()?;
        match &ids[..] {
            [id] => Ok(self.run(id)?.ok_or(Vec::new())),
            _ => Ok(Err(ids)),
        }
    }

    /// Makes records of rows of [`RUN`], with one query for the numbers of all.
    pub(super) fn records(&self, rows: &[SqliteRow], wanted: &Values) -> Result<Vec<RunRecord>, Error> {
        let mut runs = rows.iter().map(|r| self.run_of(r)).collect::<Result<Vec<_>, _>>()?;
        for chunk in runs.chunks_mut(CHUNK) {
            self.label(chunk)?;
        }
        if matches!(wanted, Values::Only(names) if names.is_empty()) {
            return Ok(runs);
        }
        for chunk in runs.chunks_mut(CHUNK) {
            let mut binds: Vec<Bind> = chunk.iter().map(|run| Bind::Text(run.id.clone())).collect();
            let mut sql = format!(
                "SELECT run_id, name, value FROM value WHERE run_id IN ({})",
                vec!["?"; chunk.len()].join(", ")
            );
            if let Values::Only(names) = wanted {
                sql += &format!(" AND name IN ({})", vec!["?"; names.len()].join(", "));
                binds.extend(names.iter().map(|n| Bind::Text(n.clone())));
            }
            let places: HashMap<String, usize> = chunk.iter().enumerate().map(|(i, r)| (r.id.clone(), i)).collect();
            for row in self.rows(bound(&sql, &binds))? {
                if let Some(&i) = places.get(self.get::<&str>(&row, 0)?) {
                    let (name, value): (String, f64) = (self.get(&row, 1)?, self.get(&row, 2)?);
                    if !value.is_finite() {
                        return Err(self.damaged(format!("{name} of run {} is {value}", chunk[i].id)));
                    }
                    chunk[i].values.insert(name, value);
                }
            }
        }
        Ok(runs)
    }
}

/// The statement that gives a selection's ids in order.
fn ids(selection: &Selection) -> (String, Vec<Bind>) {
    let (filter, binds) = match &selection.filter {
        Some(filter) => (filter.sql.as_str(), filter.binds.clone()),
        None => ("TRUE", Vec::new()),
    };
    let limit = selection.limit.map_or(-1, |n| i64::try_from(n).unwrap_or(i64::MAX));
    // Rows are counted up, whatever the clocks said.
    let newest = "run.rowid DESC";
    match &selection.sort {
        None => (format!("SELECT run.id FROM run WHERE {filter} ORDER BY {newest} LIMIT {limit}"), binds),
        // The index on (name, value) gives the top without looking at the rest; runs that lack it follow.
        Some((Name::Value(name), descending)) => {
            let (name, way) = (name.replace('\'', "''"), if *descending { "DESC" } else { "ASC" });
            let sql = format!(
                "SELECT id FROM (SELECT run.id FROM value CROSS JOIN run ON run.id = value.run_id
                     WHERE value.name = '{name}' AND {filter} ORDER BY value.value {way}, value.run_id {way} LIMIT {limit})
                 UNION ALL
                 SELECT id FROM (SELECT run.id FROM run
                     WHERE NOT EXISTS (SELECT 1 FROM value x WHERE x.run_id = run.id AND x.name = '{name}') AND {filter}
                     ORDER BY {newest} LIMIT {limit})
                 LIMIT {limit}"
            );
            (sql, [binds.clone(), binds].concat())
        }
        Some((name, descending)) => {
            let (by, way) = (name.sql(), if *descending { "DESC" } else { "ASC" });
            let sql = format!(
                "SELECT run.id FROM run WHERE {filter} ORDER BY {by} IS NULL, {by} {way}, {newest} LIMIT {limit}"
            );
            (sql, binds)
        }
    }
}

pub(super) type Query<'q> = sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

/// A statement that this crate wrote, with its parameters.
pub(super) fn bound<'q>(sql: &str, binds: &[Bind]) -> Query<'q> {
    let mut query = sqlx::query(AssertSqlSafe(sql.to_string()));
    for bind in binds {
        query = match bind {
            Bind::Text(text) => query.bind(text.clone()),
            Bind::Integer(number) => query.bind(*number),
            Bind::Real(number) => query.bind(*number),
        };
    }
    query
}
