//! `unmute query SQL`.

use super::args::QueryArgs;
use super::{Exit, Failure, open, print, print_json};
use crate::store::Error;
use crate::store::query::{self, Answer};
use serde_json::{Map, Value};

pub(super) fn query(args: &QueryArgs) -> Result<Exit, Failure> {
    query::check(&args.sql).map_err(|refusal| Failure::usage(refusal.to_string()))?;
    let store = open::store(&args.store.db.db)?;
    let answer = store.query(&args.sql).map_err(|e| match e {
        // The statement was wrong, not the store.
        Error::Sql { source: sqlx::Error::Database(why), .. } => Failure::usage(format!(
            "{}\n  next: docs/schema.md, or `unmute export schema store`, has the tables",
            why.message()
        )),
        Error::ReadOnly { why, .. } => Failure::usage(format!("{why}: query only reads")),
        e => e.into(),
    })?;
    if args.store.json {
        let row = |row: &Vec<Value>| answer.columns.iter().cloned().zip(row.iter().cloned()).collect::<Map<_, _>>();
        print_json(&answer.rows.iter().map(row).collect::<Vec<_>>())?;
    } else if args.csv {
        print(&super::export_runs::csv(&answer.columns, &answer.rows)?)?;
    } else {
        print(&table(&answer))?;
    }
    Ok(Exit::Done)
}

/// Columns as wide as what is in them; numbers to the right.
fn table(answer: &Answer) -> String {
    let text = |v: &Value| match v {
        Value::Null => "-".to_string(),
        Value::String(s) => s.replace('\n', " "),
        other => other.to_string(),
    };
    let rows: Vec<Vec<String>> = answer.rows.iter().map(|row| row.iter().map(text).collect()).collect();
    let widths: Vec<usize> = (0..answer.columns.len())
        .map(|i| rows.iter().chain([&answer.columns]).map(|row| row[i].chars().count()).max().unwrap_or(0))
        .collect();
    let number: Vec<bool> = (0..answer.columns.len())
        .map(|i| answer.rows.iter().all(|row| row[i].is_number() || row[i].is_null()) && !answer.rows.is_empty())
        .collect();
    let line = |row: &[String]| {
        let cells = row.iter().zip(&widths).zip(&number).map(|((text, &width), &number)| match number {
            true => format!("{text:>width$}"),
            false => format!("{text:<width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_string() + "\n"
    };
    line(&answer.columns) + &rows.iter().map(|row| line(row)).collect::<String>()
}
