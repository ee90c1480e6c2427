//! `unmute query SQL`.

use super::args::QueryArgs;
use super::visible::visible;
use super::{Exit, Failure, open, print, print_json, print_text};
use crate::store::Error;
use crate::store::query::{Answer, Limits, Refusal};
use serde_json::{Map, Value};
use std::collections::HashSet;
use std::time::Duration;

pub(super) fn query(args: &QueryArgs) -> Result<Exit, Failure> {
    let store = open::store(&args.store.db.db)?;
    let limits = Limits { time: Duration::from_secs(args.seconds), ..Limits::default() };
    let answer = match store.query(&args.sql, limits)? {
        Ok(answer) => answer,
        Err(Refusal::Damaged(why)) => return Err(Error::Damaged { path: args.store.db.db.clone(), why }.into()),
        Err(refusal @ (Refusal::Slow(_) | Refusal::Large(_))) => return Err(refusal.into()),
        // The statement was wrong, not the store.
        Err(refusal) => return Err(Failure::usage(refusal.to_string())),
    };
    if args.store.json {
        let names = told_apart(&answer.columns);
        let row = |row: &Vec<Value>| names.iter().cloned().zip(row.iter().cloned()).collect::<Map<_, _>>();
        print_json(&answer.rows.iter().map(row).collect::<Vec<_>>())?;
    } else if args.csv {
        print(&super::export_runs::csv(&answer.columns, &answer.rows)?)?;
    } else {
        print_text(&table(&answer))?;
    }
    Ok(Exit::Done)
}

/// Names of columns, with a number behind those that were there before: an object has each name once.
fn told_apart(columns: &[String]) -> Vec<String> {
    let mut seen: HashSet<String> = columns.iter().cloned().collect();
    let mut first = HashSet::new();
    let mut name = |column: &String| {
        if first.insert(column.clone()) {
            return column.clone();
        }
        let mut numbered = (2u32..).map(|n| format!("{column}_{n}"));
        let free = numbered.find(|name| !seen.contains(name)).unwrap_or_default();
        seen.insert(free.clone());
        free
    };
    columns.iter().map(&mut name).collect()
}

/// Columns as wide as what is in them; numbers to the right.
fn table(answer: &Answer) -> String {
    let text = |v: &Value| match v {
        Value::Null => "-".to_string(),
        Value::String(s) => visible(&s.replace(['\n', '\t'], " ")).into_owned(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_one_name_are_told_apart() {
        let named = |names: &[&str]| told_apart(&names.iter().map(|n| n.to_string()).collect::<Vec<_>>());
        assert_eq!(named(&["id", "id", "id_2", "id"]), ["id", "id_3", "id_2", "id_4"]);
        assert_eq!(named(&["a", "b"]), ["a", "b"]);
    }
}
