//! Which numerics made which runs: vectors of a CPU or a GPU. A run's id says what was asked for; its last bits depend on these
//! as well, since sums are grouped otherwise.

use super::{Error, Store};
use serde::Serialize;
use sqlx::{Sqlite, Transaction};
use std::collections::{BTreeMap, BTreeSet};

/// Cells that a sentence names.
const NAMED: usize = 5;

/// Finished runs by their numerics.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Mixed {
    /// Runs of each; those of which nobody knows are not among them.
    pub runs: BTreeMap<String, usize>,
    /// Keys of cells that have runs of several.
    pub cells: Vec<String>,
}

impl Mixed {
    /// Of runs as (cell, key, numerics).
    pub fn of<'a>(runs: impl IntoIterator<Item = (&'a str, &'a str, String)>) -> Mixed {
        let mut mixed = Mixed::default();
        let mut cells: BTreeMap<&str, (&str, BTreeSet<String>)> = BTreeMap::new();
        for (cell, key, numerics) in runs.into_iter().filter(|(.., numerics)| !numerics.is_empty()) {
            *mixed.runs.entry(numerics.clone()).or_default() += 1;
            cells.entry(cell).or_insert((key, BTreeSet::new())).1.insert(numerics);
        }
        let several = cells.into_values().filter(|(_, numerics)| numerics.len() > 1);
        mixed.cells = several.map(|(key, _)| key.to_string()).collect();
        mixed.cells.sort();
        mixed
    }

    /// What whoever reads tables of these runs should know; `None` where all were made alike.
    pub fn sentence(&self) -> Option<String> {
        if self.runs.len() < 2 {
            return None;
        }
        let of: Vec<String> = self.runs.iter().map(|(numerics, runs)| format!("{numerics} ({runs} runs)")).collect();
        let more = self.cells.len().saturating_sub(NAMED);
        let named = self.cells.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
        let cells = match (self.cells.is_empty(), more) {
            (true, _) => "no cell mixes them".to_string(),
            (false, 0) => format!("cells that mix them: {named}"),
            (false, more) => format!("cells that mix them: {named} and {more} more"),
        };
        Some(format!(
            "runs were made with different numerics, {}, whose numbers agree closely but not to the last bit; {cells}",
            of.join(" and ")
        ))
    }
}

/// `avx512`, `avx2`, `cuda`, by an environment record; empty where it does not say. Earlier versions told a GPU alone.
pub fn numerics_of(environment: &serde_json::Value) -> String {
    match (environment["numerics"].as_str(), environment["device"].as_str()) {
        (Some(numerics), _) => numerics.into(),
        (None, Some(device)) if device.starts_with("cuda") => "cuda".into(),
        _ => String::new(),
    }
}

impl Store {
    /// The numerics of all finished runs.
    pub fn numerics(&self) -> Result<Mixed, Error> {
        let sql = "SELECT run.cell, run.key, e.record FROM run JOIN environment e ON e.id = run.environment_id
            WHERE run.state = 'done'";
        let rows = self.rows(sqlx::query(sql))?;
        let mut runs = Vec::with_capacity(rows.len());
        let mut known: BTreeMap<&str, String> = BTreeMap::new();
        for row in &rows {
            let record: &str = self.get(row, 2)?;
            let numerics = known.entry(record).or_insert_with(|| read(record)).clone();
            runs.push((self.get::<&str>(row, 0)?, self.get::<&str>(row, 1)?, numerics));
        }
        Ok(Mixed::of(runs))
    }
}

/// The numerics of a run in one of two stores.
pub(super) async fn of_run(t: &mut Transaction<'_, Sqlite>, schema: &str, id: &str) -> Result<String, sqlx::Error> {
    let sql = format!(
        "SELECT e.record FROM {schema}.run r JOIN {schema}.environment e ON e.id = r.environment_id WHERE r.id = ?"
    );
    let row = sqlx::query_scalar::<_, String>(sqlx::AssertSqlSafe(sql)).bind(id).fetch_optional(&mut **t).await?;
    Ok(row.map(|record| read(&record)).unwrap_or_default())
}

fn read(record: &str) -> String {
    serde_json::from_str(record).map(|record| numerics_of(&record)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixing_is_told_by_cell() {
        let of = |runs: &[(&'static str, &'static str)]| {
            Mixed::of(runs.iter().map(|(cell, numerics)| (*cell, *cell, numerics.to_string())))
        };
        assert_eq!(of(&[("a", "avx512"), ("b", "avx512"), ("c", "")]).sentence(), None);
        let mixed = of(&[("a", "avx512"), ("a", "avx2"), ("b", "avx2")]);
        assert_eq!((mixed.runs["avx2"], &mixed.cells[..]), (2, &["a".to_string()][..]));
        let told = mixed.sentence().unwrap();
        assert!(told.contains("avx2 (2 runs) and avx512 (1 runs)") && told.ends_with("mix them: a"), "{told}");
        let apart = of(&[("a", "avx512"), ("b", "cuda")]).sentence().unwrap();
        assert!(apart.ends_with("no cell mixes them"), "{apart}");
        let many: Vec<_> = ["a", "b", "c", "d", "e", "f", "g"].iter().flat_map(|c| [(*c, "x"), (*c, "y")]).collect();
        assert!(of(&many).sentence().unwrap().ends_with("a, b, c, d, e and 2 more"));
    }

    #[test]
    fn what_an_environment_says_is_read() {
        use serde_json::json;
        assert_eq!(numerics_of(&json!({ "numerics": "avx2", "device": "cpu" })), "avx2");
        assert_eq!(numerics_of(&json!({ "device": "cuda:0" })), "cuda");
        assert_eq!(numerics_of(&json!({ "device": "cpu" })), "");
        assert_eq!(read("no JSON"), "");
    }
}
