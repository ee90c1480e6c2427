//! The declared tables as the template lays them out, with what stands behind each number.

use crate::experiment::Config;
use crate::experiment::tables::TableKind;
use crate::report::charts::svg::anchor;
use crate::report::export::{self, Document, Format};
use crate::report::format::{mean_sd, number, signed};
use crate::report::table::{Entry, EvaluatedTable, Row, Standing};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// A table with everything that stands around it.
pub(super) fn table(table: &EvaluatedTable, config: &Config, departures: &[String], split: &str) -> Value {
    let (mut notes, mut compare_notes): (Vec<String>, Vec<String>) = Default::default();
    if !table.note.is_empty() {
        notes.push(table.note.clone());
    }
    for row in &table.rows {
        let chosen: Vec<&str> = row.cells.iter().filter(|(_, chosen)| *chosen).map(|(key, _)| key.as_str()).collect();
        if !chosen.is_empty() {
            notes.push(format!("{}: chosen as best: {}.", row.row, chosen.join(", ")));
        }
    }
    // Rows without numbers, by reason.
    let mut why: Vec<(String, Vec<&str>)> = Vec::new();
    for row in table.rows.iter().filter(|_| table.skipped.is_none()) {
        if let Some(reason) = row.entries.iter().find_map(|e| e.skipped.clone()) {
            // Rows of a larger grid than the one that was run have one reason, not one each.
            let reason =
                if reason.ends_with(NO_CELL) { format!("the grid as it was run{NO_CELL_AT_ALL}") } else { reason };
            match why.iter_mut().find(|(known, _)| *known == reason) {
                Some((_, rows)) => rows.push(&row.row),
                None => why.push((reason, vec![&row.row])),
            }
        }
    }
    notes.extend(why.iter().map(|(reason, rows)| format!("No number of ours, because {reason}: {}.", rows.join("; "))));
    // One reason for all needs to be told once; that the data are others is told at the top.
    let open: BTreeSet<&str> = table
        .rows
        .iter()
        .flat_map(|r| &r.entries)
        .filter(|e| e.mean.is_some())
        .filter_map(|e| e.why.as_deref())
        .collect();
    if let [why] = open.iter().collect::<Vec<_>>()[..] {
        compare_notes.push(format!("No value here is held against the published one: {why}."));
    }
    let standings: Vec<Standing> = table.rows.iter().flat_map(|r| &r.entries).filter_map(|e| e.standing).collect();
    if standings.contains(&Standing::Tied) {
        notes.push(
            "\u{25c7} marks the highest of a column and what is not significantly lower (paired by clip and seed, Holm): a tie. A \
             control among them does as well as a generator."
                .into(),
        );
    }
    if standings.contains(&Standing::Best) {
        notes.push("\u{2605} marks what is significantly higher than every other row of its column.".into());
    }
    let compares = table.rows.iter().flat_map(|r| &r.entries).any(|e| e.published_text.is_some());
    let n: BTreeSet<usize> = table.rows.iter().flat_map(|r| &r.entries).map(|e| e.n).filter(|n| *n > 0).collect();
    let seeds = match (n.first(), n.last()) {
        (Some(a), Some(b)) if a == b => format!("{a} seed{}", if *a == 1 { "" } else { "s" }),
        (Some(a), Some(b)) => format!("{a} to {b} seeds"),
        _ => "no runs".into(),
    };
    let caption = match table.kind {
        TableKind::Counts => "Clips of each split.".into(),
        TableKind::Improvement => {
            format!("Classes by gain, {seeds}; shaded where a class is also published in that column.")
        }
        _ if n.is_empty() => format!("Percent of {split} clips, {seeds}."),
        _ => format!("Percent of {split} clips, {seeds}, 95 % intervals in brackets."),
    };
    let document =
        Document { experiment: &config.name, tables: std::slice::from_ref(table), notes: departures, wide: false };
    let copy = |format| export::tables(&document, format);
    json!({
        "id": table.id.to_string(),
        "title": table.title,
        "kind": table.kind.word(),
        "columns": table.columns,
        "width": 1 + 3 * table.columns.len(),
        "caption": caption,
        "published_on": published_on(config),
        "unrun": table.rows.iter().all(|r| r.entries.iter().all(|e| e.mean.is_none())),
        "skipped": table.skipped,
        "notes": notes,
        "compare_notes": compare_notes,
        "compares": compares,
        "rows": rows(table),
        "ranks": ranks(table),
        "behind": behind(table),
        "copies": [
            { "name": "CSV", "text": copy(Format::Csv) },
            { "name": "Markdown", "text": copy(Format::Md) },
            { "name": "LaTeX", "text": copy(Format::Latex) },
        ],
    })
}

/// How the reason ends that a row's cell is none of the grid's.
const NO_CELL: &str = "is not a cell of the grid";
const NO_CELL_AT_ALL: &str = " has no such cells";

fn published_on(config: &Config) -> &str {
    if config.published_on.is_empty() { "the paper's data" } else { &config.published_on }
}

fn rows(table: &EvaluatedTable) -> Vec<Value> {
    if table.kind == TableKind::Improvement {
        return Vec::new();
    }
    // The best published value of a column, of those that are compared at all.
    let published: Vec<Option<f64>> = (0..table.columns.len())
        .map(|column| {
            let values = table.rows.iter().filter(|r| !r.control).filter_map(|r| r.entries.get(column)?.published);
            let best = values.fold(None, |b: Option<f64>, v| Some(b.map_or(v, |b| b.max(v))));
            best.filter(|_| table.kind == TableKind::Accuracy)
        })
        .collect();
    let mut group: Vec<String> = Vec::new();
    let mut out = Vec::new();
    for (i, row) in table.rows.iter().enumerate() {
        let Row { entries, control, .. } = row;
        // A row without a number of ours is told below; it stands here for its published value alone.
        let empty = entries.iter().all(|e| e.mean.is_none());
        if empty && entries.iter().all(|e| e.published_text.is_none()) {
            continue;
        }
        // Headings that have changed since the row before.
        let shared = group.iter().zip(&row.group).take_while(|(a, b)| a == b).count();
        let headings: Vec<String> = if shared < row.group.len() { vec![row.group.join(", ")] } else { Vec::new() };
        group = row.group.clone();
        let cells: Vec<Value> = entries
            .iter()
            .enumerate()
            .map(|(c, e)| {
                json!({
                    "ours": mean_sd(e).unwrap_or_else(|| "–".into()),
                    "there": e.mean.is_some() && !row.runs.is_empty(),
                    "interval": e.interval.filter(|_| e.mean.is_some()).map(|(low, high)| {
                        format!("[{}, {}]", number(low, e.metric.decimals()), number(high, e.metric.decimals()))
                    }),
                    "verdict": e.verdict.map(|v| v.words()),
                    "why": e.why,
                    "seeds": (e.mean.is_some() && e.n < e.declared).then(|| format!("{} of {} seeds", e.n, e.declared)),
                    "best": e.standing == Some(Standing::Best),
                    "tied": e.standing == Some(Standing::Tied),
                    "bound": e.standing == Some(Standing::Bound),
                    "published": e.published_text.clone().unwrap_or_else(|| "–".into()),
                    "published_best": !control && e.published.is_some() && e.published == published[c],
                    "delta": e.delta.map_or_else(|| "–".into(), |d| signed(d, e.metric.decimals())),
                })
            })
            .collect();
        out.push(json!({
            "name": row.row, "control": control, "empty": empty && table.skipped.is_none(), "deep": !row.group.is_empty(), "headings": headings, "cells": cells,
            "link": row_anchor(table, i),
        }));
    }
    out
}

fn ranks(table: &EvaluatedTable) -> Vec<Vec<Value>> {
    if table.kind != TableKind::Improvement {
        return Vec::new();
    }
    let count = table.rows.iter().map(|r| r.entries.len()).max().unwrap_or(0);
    let line = |rank: usize| {
        let cell = |(column, row): (usize, &Row)| {
            let entry = row.entries.get(rank);
            let named: Vec<&str> = row.entries.iter().filter_map(|e| e.published_text.as_deref()).collect();
            let ours = entry.and_then(|e| e.mean.map(|m| format!("{} {}", e.row, signed(m, 2))));
            json!({
                "link": (entry.is_some_and(|e| e.mean.is_some()) && !row.runs.is_empty()).then(|| row_anchor(table, column)),
                "match": entry.is_some_and(|e| e.mean.is_some() && named.contains(&e.row.as_str())),
                "ours": ours.unwrap_or_else(|| "–".into()),
                "published": entry.and_then(|e| e.published_text.clone()).unwrap_or_else(|| "–".into()),
            })
        };
        table.rows.iter().enumerate().map(cell).collect()
    };
    (0..count).map(line).collect()
}

/// Where the runs behind a row are listed.
fn row_anchor(table: &EvaluatedTable, row: usize) -> String {
    format!("row-{}-{row}", anchor(&table.id.to_string()))
}

/// For each row that has numbers: the value of every seed, and the cells and runs behind it.
fn behind(table: &EvaluatedTable) -> Vec<Value> {
    let line = |(i, row): (usize, &Row)| {
        if row.runs.is_empty() {
            return None;
        }
        let mut cells: Vec<Value> = Vec::new();
        for (key, chosen) in &row.cells {
            let cell = json!({ "key": key, "link": format!("cell-{}", anchor(key)), "chosen": chosen });
            if !cells.contains(&cell) {
                cells.push(cell);
            }
        }
        let seed = |s: &Option<u64>| s.map_or_else(|| "any".to_string(), |s| s.to_string());
        let values = |e: &Entry| -> String {
            let all = e.values.iter().map(|v| number(*v, e.metric.decimals()));
            all.collect::<Vec<_>>().join(", ")
        };
        let numbers: Vec<Value> = row
            .entries
            .iter()
            .map(|e| {
                let name =
                    if table.kind == TableKind::Improvement { e.row.clone() } else { e.metric.word().to_string() };
                json!({ "name": name, "values": values(e) })
            })
            .collect();
        Some(json!({
            "id": row_anchor(table, i), "name": row.full_name(), "cells": cells, "numbers": numbers,
            "seeds": row.seeds.iter().map(seed).collect::<Vec<_>>().join(", "),
            "runs": row.runs.iter().map(|id| id.get(..12).unwrap_or(id)).collect::<Vec<_>>(),
        }))
    };
    table.rows.iter().enumerate().filter_map(line).collect()
}
