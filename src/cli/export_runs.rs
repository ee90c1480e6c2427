//! `unmute export runs`: one row a run, for a spreadsheet or a data frame.

use super::args::{RunsArgs, RunsFormat};
use super::{Exit, Failure, open, print, print_json};
use crate::report::format::spreadsheet_safe;
use crate::store::{FIELDS, Filter, Name, RunRecord, Selection, flatten};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

pub(super) fn runs(args: &RunsArgs) -> Result<Exit, Failure> {
    let store = open::store(&args.db.db)?;
    let filter = args.condition.as_ref().map(|text| {
        Filter::parse(text, &store.names()?).map_err(|problem| Failure::usage(format!("--where: {problem}")))
    });
    let mut runs = store.select(&Selection { filter: filter.transpose()?, ..Default::default() })?;
    // In the order in which they were begun, so that an export that is made again only grows.
    runs.reverse();
    let (columns, rows) = rows(&runs);
    match args.format {
        RunsFormat::Csv => print(&csv(&columns, &rows)?)?,
        RunsFormat::Json => {
            let row = |row: &Vec<Value>| columns.iter().cloned().zip(row.iter().cloned()).collect::<Map<_, _>>();
            print_json(&rows.iter().map(row).collect::<Vec<_>>())?;
        }
    }
    Ok(Exit::Done)
}

/// Fields, then all numbers, then all keys that any of the runs depends on.
fn rows(runs: &[RunRecord]) -> (Vec<String>, Vec<Vec<Value>>) {
    let fields: Vec<Name> = FIELDS.iter().map(Name::Field).collect();
    let values: BTreeSet<&String> = runs.iter().flat_map(|r| r.values.keys()).collect();
    let flat = |r: &RunRecord| -> Map<String, Value> {
        let mut keys: Map<String, Value> = flatten(&r.spec)
            .into_iter()
            .filter(|(key, _)| !key.starts_with("part.") && !["code", "data"].contains(&key.as_str()))
            .collect();
        keys.extend(
            flatten(&r.missing).into_iter().map(|(k, v)| (format!("missing.{k}"), v)).filter(|(k, _)| k != "missing."),
        );
        keys
    };
    let keys: Vec<Map<String, Value>> = runs.iter().map(flat).collect();
    let all_keys: BTreeSet<&String> = keys.iter().flat_map(Map::keys).collect();
    let columns = (fields.iter().map(Name::text))
        .chain(values.iter().map(|v| Name::Value(v.to_string()).text()))
        .chain(all_keys.iter().map(|k| k.to_string()))
        .collect();
    let row = |(run, keys): (&RunRecord, &Map<String, Value>)| {
        (fields.iter().map(|f| f.of(run)))
            .chain(values.iter().map(|v| run.values.get(*v).map_or(Value::Null, |v| Value::from(*v))))
            .chain(all_keys.iter().map(|k| keys.get(*k).cloned().unwrap_or_default()))
            .collect()
    };
    (columns, runs.iter().zip(&keys).map(row).collect())
}

/// Comma-separated values; null is empty, and no text is taken for a formula.
pub(super) fn csv(columns: &[String], rows: &[Vec<Value>]) -> Result<String, Failure> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(columns.iter().map(|name| spreadsheet_safe(name)))?;
    for row in rows {
        writer.write_record(row.iter().map(|value| match value {
            Value::Null => String::new(),
            Value::String(text) => spreadsheet_safe(text),
            other => other.to_string(),
        }))?;
    }
    let bytes = writer.into_inner().map_err(|e| std::io::Error::other(e.to_string()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
