//! `unmute export runs`: one row a run, for a spreadsheet or a data frame; or a folder, for programs that show experiments.

use super::args::{RunsArgs, RunsFormat};
use super::progress::say;
use super::{Exit, Failure, open, print, print_json};
use crate::report::format::spreadsheet_safe;
use crate::runs::trackers::{self, Tracker};
use crate::store::{FIELDS, Filter, Name, RunRecord, Selection, State, Store, flatten};
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::path::Path;

pub(super) fn runs(args: &RunsArgs) -> Result<Exit, Failure> {
    let tracker = match args.format {
        RunsFormat::Mlflow => Some(trackers::mlflow()),
        RunsFormat::Tensorboard => Some(trackers::tensorboard()),
        RunsFormat::WandbOffline => Some(trackers::wandb()),
        RunsFormat::Csv | RunsFormat::Json => None,
    };
    let (tracker, out) = match (tracker, &args.out) {
        (Some(tracker), Some(out)) => (Some(tracker), out.as_path()),
        (None, None) => (None, Path::new("")),
        (Some(_), None) => return Err(Failure::usage("--out DIR is needed: this format is a folder")),
        (None, Some(_)) => {
            return Err(Failure::usage(
                "--out is for mlflow, tensorboard and wandb-offline; csv and json go to stdout",
            ));
        }
    };
    let store = open::store(&args.db.db)?;
    let filter = args.condition.as_ref().map(|text| {
        Filter::parse(text, &store.names()?).map_err(|problem| Failure::usage(format!("--where: {problem}")))
    });
    let mut runs = store.select(&Selection { filter: filter.transpose()?, ..Default::default() })?;
    // In the order in which they were begun, so that an export that is made again only grows.
    runs.reverse();
    if let Some(tracker) = tracker {
        return folder(&store, runs, tracker.as_ref(), out);
    }
    let (columns, rows) = rows(&runs);
    match args.format {
        RunsFormat::Csv => print(&csv(&columns, &rows)?)?,
        RunsFormat::Json | RunsFormat::Mlflow | RunsFormat::Tensorboard | RunsFormat::WandbOffline => {
            let row = |row: &Vec<Value>| columns.iter().cloned().zip(row.iter().cloned()).collect::<Map<_, _>>();
            print_json(&rows.iter().map(row).collect::<Vec<_>>())?;
        }
    }
    Ok(Exit::Done)
}

/// Writes every run that was begun into a folder.
fn folder(store: &Store, mut runs: Vec<RunRecord>, tracker: &dyn Tracker, out: &Path) -> Result<Exit, Failure> {
    runs.retain(|run| run.state != State::Pending);
    let count = runs.len();
    let bar = super::progress::count_bar("runs", count as u64);
    for run in runs {
        let run = trackers::tracked(store, run)?;
        tracker.write(&run, out).map_err(|e| Failure {
            exit: Exit::Failed,
            message: format!("{}: {}: {}", out.display(), run.name, crate::explain_io(&e)),
        })?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    say(&format!("{count} runs; next: {}", tracker.next(out)));
    print(&format!("{}\n", out.display()))?;
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
