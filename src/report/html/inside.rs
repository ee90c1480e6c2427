//! The section that looks into the best sum of each audio feature.

use crate::experiment::Tables;
use crate::report::charts::heat;
use crate::report::charts::svg::anchor;
use crate::report::format::number;
use crate::report::inside::{Look, TurnedClip, looks, nearest_csv, turned_csv};
use crate::report::results::Results;
use crate::report::words;
use crate::store::Error;
use serde_json::{Value, json};

/// Turned clips that are listed on the page; the data below have them all.
const LISTED: usize = 30;

pub(super) fn inside(results: &Results, tables: &Tables) -> Result<Vec<Value>, Error> {
    // What has not run is said by the tables.
    Ok(looks(results, tables)?.into_iter().flatten().map(|look| one(&look)).collect())
}

fn one(look: &Look) -> Value {
    let c = &look.confusion;
    let id = format!("inside-{}", anchor(&look.audio));
    let name = words::feature(&look.audio);
    let title = format!("Confusion of {} with generated {name}", look.of);
    let figure = |value: Option<f64>| value.map_or_else(|| "\u{2013}".into(), |v| number(v, 1));
    let rows: Vec<Value> = (0..c.classes.len())
        .filter(|class| c.clips(*class) > 0)
        .map(|class| {
            let other = c.taken_for(class).map(|(other, n)| {
                let share = 100.0 * n as f64 / c.clips(class).max(1) as f64;
                format!("{} ({} %)", c.classes[other], number(share, 0))
            });
            json!({
                "class": c.classes[class], "clips": number(c.clips(class) as f64 / c.seeds.max(1) as f64, 0),
                "recall": figure(c.recall(class)), "precision": figure(c.precision(class)),
                "other": other.unwrap_or_else(|| "\u{2013}".into()),
            })
        })
        .collect();
    let (right, wrong): (Vec<&TurnedClip>, Vec<&TurnedClip>) =
        look.turned.iter().partition(|t| t.to_right > t.to_wrong);
    let wrong: Vec<&TurnedClip> = wrong.into_iter().filter(|t| t.to_wrong > t.to_right).rev().collect();
    let listed = |of: &[&TurnedClip]| -> Vec<Value> {
        of.iter()
            .take(LISTED)
            .map(|t| {
                let taken = |class: &str| if class.is_empty() { "nothing".to_string() } else { class.to_string() };
                json!({
                    "clip": t.clip, "label": t.label, "sounded": t.sounded,
                    "seeds": format!("{} of {}", t.to_right.max(t.to_wrong), t.seeds),
                    "before": taken(&t.before), "after": taken(&t.after),
                })
            })
            .collect()
    };
    let near = |of: &Option<(String, f64)>| {
        of.as_ref().map_or_else(|| "\u{2013}".into(), |(class, p)| format!("{class} ({} %)", number(*p, 0)))
    };
    let nearest: Vec<Value> = look
        .nearest
        .iter()
        .filter(|n| n.clips > 0)
        .map(|n| {
            json!({
                "class": n.class, "clips": n.clips, "truth": near(&n.of_true), "generated": near(&n.of_generated),
                "same": figure(n.same),
            })
        })
        .collect();
    json!({
        "id": id, "audio": name, "of": look.of, "over": look.over, "seeds": c.seeds,
        "svg": heat::svg(&id, &title, c), "classes": rows, "confusion_csv": c.csv(),
        "right": listed(&right), "right_all": right.len(), "wrong": listed(&wrong), "wrong_all": wrong.len(),
        "turned_csv": turned_csv(&look.turned),
        "nearest": nearest, "nearest_csv": nearest_csv(&look.nearest),
    })
}
