//! `unmute diff A B`: only what differs between two runs.

use super::args::DiffArgs;
use super::{Exit, Failure, open, print_json, print_text};
use crate::store::{Comparison, Difference, RunRecord};
use serde_json::{Value, json};

pub(super) fn diff(args: &DiffArgs) -> Result<Exit, Failure> {
    let store = open::store(&args.store.db.db)?;
    let (a, b) = (open::run(&store, &args.a)?, open::run(&store, &args.b)?);
    let comparison = store.compare(&a, &b)?;
    if args.store.json {
        let side = |r: &RunRecord| json!({ "id": r.id, "key": r.key, "seed": r.seed, "state": r.state });
        let mut all = json!(comparison);
        if let Some(map) = all.as_object_mut() {
            map.insert("a".into(), side(&a));
            map.insert("b".into(), side(&b));
            map.insert("same_numbers".into(), json!(comparison.same_numbers()));
        }
        print_json(&all)?;
    } else {
        print_text(&describe(&a, &b, &comparison))?;
    }
    Ok(Exit::Done)
}

fn describe(a: &RunRecord, b: &RunRecord, comparison: &Comparison) -> String {
    let head = |which: &str, r: &RunRecord| {
        let seed = r.seed.map_or_else(String::new, |s| format!(" seed {s}"));
        format!("{which}  {}  {}{seed}  {}\n", open::short(&r.id), r.key, r.state.word())
    };
    let mut out = head("A", a) + &head("B", b);
    let mut section = |title: &str, differences: &[Difference]| {
        if differences.is_empty() {
            return;
        }
        let rows: Vec<[String; 3]> = differences.iter().map(|d| [d.key.clone(), cut(&d.a), cut(&d.b)]).collect();
        let width = |i: usize| rows.iter().map(|r| r[i].chars().count()).max().unwrap_or(0);
        let (key, left) = (width(0), width(1));
        out += &format!("\n{title}\n");
        for [k, x, y] in &rows {
            out += &format!("  {k:<key$}  {x:<left$}  {y}\n");
        }
    };
    section("depends on", &comparison.spec);
    section("environment", &comparison.environment);
    section("values", &comparison.values);
    if let Some(p) = &comparison.curve {
        let side = |v: Option<f64>| v.map_or_else(|| "(ended)".into(), |v| v.to_string());
        out += &format!("\ncurves part in epoch {}: {}  {}  {}\n", p.epoch, p.quantity, side(p.a), side(p.b));
    }
    if !comparison.scores.is_empty() {
        out += "\nscores\n";
    }
    for s in &comparison.scores {
        out += &match (&s.why, s.largest) {
            (Some(why), _) => format!("  {}: {why}\n", s.what),
            (None, largest) => {
                let place = |p: &Option<String>| p.clone().unwrap_or_else(|| "?".into());
                let (clip, class) = (place(&s.clip), place(&s.class));
                let largest = largest.unwrap_or_default();
                format!("  {}: {} clips differ, most by {largest:.3e} (clip {clip}, class {class})\n", s.what, s.clips)
            }
        };
    }
    if a.id == b.id {
        out += "\nthe same run\n";
    } else if comparison.same_numbers() {
        out += "\nvalues, curves and scores are the same, bit for bit\n";
    }
    out
}

/// A value on one line.
fn cut(value: &Value) -> String {
    let text = match value {
        Value::Null => "-".into(),
        Value::String(text) => text.replace('\n', " "),
        other => other.to_string(),
    };
    match text.char_indices().nth(48) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
