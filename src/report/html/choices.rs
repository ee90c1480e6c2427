//! The open choices of the ledger, with what their alternatives move.

use super::fact::plain;
use crate::model::settings;
use crate::report::charts::track::{Line, Scale};
use crate::report::format::signed;
use crate::report::sensitivity::{Flip, Movement};
use crate::store::ExperimentRecord;
use serde_json::{Value, json};

/// The open choices, each alternative with what it moves.
pub(super) fn ledger(experiment: &ExperimentRecord, moved: &[Movement]) -> Vec<Value> {
    let config = settings::whole(&experiment.config);
    let look_up = |key: &str| key.split('.').try_fold(&config, |place, part| place.get(part));
    let entry = |e: &crate::experiment::ledger::Entry| {
        let values: Vec<String> =
            e.keys.iter().filter_map(|k| look_up(k).map(|v| format!("{k}: {}", plain(v)))).collect();
        let alternatives: Vec<Value> = e
            .alternatives
            .iter()
            .map(|a| {
                let movement = moved.iter().find(|m| m.choice == e.id && m.alternative == a.name);
                json!({ "name": a.name, "in_force": a.is_the_setting(&experiment.config), "moves": movement.map(told_moves), "flips": movement.map(told_flips) })
            })
            .collect();
        let told = e.told();
        json!({
            "id": e.id, "question": e.question, "because": e.because,
            "decision": with_values(&told, &look_up),
            // A text that has the values themselves says what is in force; one without them says what an alternative replaced.
            "instead": e.here.is_empty() && e.alternatives.iter().any(|a| {
                a.is_the_setting(&experiment.config) && !a.set.keys().all(|key| told.contains(&format!("{{{key}}}")))
            }),
            "values": values.join("; "), "alternatives": alternatives, "touches": e.touches,
        })
    };
    experiment.ledger.ledger.iter().map(entry).collect()
}

/// A decision's words with the experiment's own values in place of `{train.epochs}`, so that an inherited text says what is
/// the case here.
fn with_values<'v>(text: &str, look_up: &dyn Fn(&str) -> Option<&'v Value>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('{') {
        let found = behind.split_once('}').and_then(|(key, after)| look_up(key).map(|value| (value, after)));
        let Some((value, after)) = found else {
            out = out + before + "{";
            rest = behind;
            continue;
        };
        let listed = value.as_array().map(|all| all.iter().map(plain).collect::<Vec<_>>().join(", "));
        out = out + before + &listed.unwrap_or_else(|| plain(value));
        rest = after;
    }
    out + rest
}

/// One line a table and metric: `table 3 top1: mean +0.52, most +1.75 (lstm/kl/with), 8 of 9 rows move`.
fn told_moves(movement: &Movement) -> Vec<String> {
    if let Some(why) = &movement.skipped {
        return vec![why.clone()];
    }
    let mut lines: Vec<String> = movement.moves.iter().map(|m| m.told()).collect();
    if let Some(seeds) = &movement.seeds {
        let seeds: Vec<String> = seeds.iter().map(u64::to_string).collect();
        lines.push(format!("seeds {}", seeds.join(", ")));
    }
    lines
}

fn told_flips(movement: &Movement) -> Vec<String> {
    movement.flips.iter().map(Flip::told).collect()
}

/// For each table that alternatives move: a bar from 0 to each one's mean movement of top-1, the largest first, with a mark
/// at the row that moves furthest.
pub(super) fn tornados(moved: &[Movement]) -> Vec<Value> {
    let mut tables: Vec<&str> = Vec::new();
    for m in moved.iter().flat_map(|m| &m.moves).filter(|m| m.metric == "top1") {
        if !tables.contains(&m.table.as_str()) {
            tables.push(&m.table);
        }
    }
    let of_table = |table: &&str| {
        let mut rows: Vec<(&Movement, f64, f64, &str)> = moved
            .iter()
            .flat_map(|m| m.moves.iter().map(move |of| (m, of)))
            .filter(|(_, of)| of.table == *table && of.metric == "top1" && of.moved > 0)
            .map(|(m, of)| (m, of.mean, of.largest, of.row.as_str()))
            .collect();
        if rows.is_empty() {
            return None;
        }
        rows.sort_by(|a, b| b.2.abs().total_cmp(&a.2.abs()));
        let scale = Scale::over(rows.iter().flat_map(|(_, mean, most, _)| [*mean, *most]).chain([0.0]));
        let lines: Vec<Value> = rows
            .iter()
            .map(|(m, mean, most, row)| {
                scale.bar(&Line {
                    name: format!("{} {}", m.choice, m.alternative),
                    class: if *mean < 0.0 { "fails".into() } else { "holds".into() },
                    at: *mean,
                    interval: Some((*most, *most)),
                    value: signed(*mean, 2),
                    beside: format!("most {} ({row})", signed(*most, 2)),
                    ..Line::default()
                })
            })
            .collect();
        Some(json!({ "table": table, "rows": lines, "axis": scale.axis(), "reference": scale.zero() }))
    };
    tables.iter().filter_map(of_table).collect()
}
