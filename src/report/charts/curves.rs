//! Training and validation curves of every generator cell, with the seeds' spread.

use super::svg::{Plot, Series, anchor};
use crate::experiment::Part;
use crate::experiment::config::Classifier;
use crate::report::results::Results;
use crate::store::{CellRecord, Curve, Error, Store};
use crate::train::{Epoch, Measures};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;

/// What is drawn: name, where it is found, and whether it means anything without a classifier.
type Quantity = (&'static str, fn(&Measures) -> f64, bool);

/// By epoch: mean, lowest, highest.
type Spread = Vec<(f64, (f64, f64, f64))>;

const QUANTITIES: [Quantity; 3] = [
    ("loss", |m| m.loss, false),
    ("feature error", |m| m.feature_error, false),
    ("classifier top-1 (%)", |m| m.accuracy, true),
];

/// One figure for each generator cell that has runs: `{key, id, plots: [svg], csv}`. Plots of one quantity share their scale:
/// accuracies all, feature errors by audio feature, losses by audio feature and kind of loss.
pub fn figures(store: &Store, results: &Results) -> Result<Vec<Value>, Error> {
    let mut cells: Vec<(&CellRecord, Vec<Curve>, bool)> = Vec::new();
    for cell in &results.experiment.cells {
        let Part::Generator { classifier, .. } = &cell.part else { continue };
        let mut curves: Vec<Curve> = Vec::new();
        for run in results.done(cell)? {
            curves.push(store.curve(&run.id)?);
        }
        curves.retain(|c| !c.is_empty());
        if !curves.is_empty() {
            cells.push((cell, curves, *classifier == Classifier::With));
        }
    }
    let mut ranges: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for (cell, curves, classifier) in &cells {
        for (name, of, needs) in QUANTITIES.iter().filter(|q| *classifier || !q.2) {
            let range = ranges.entry(scale(&cell.part, name, *needs)).or_insert((f64::INFINITY, f64::NEG_INFINITY));
            let values = curves.iter().flatten().flat_map(|e| [of(&e.train), of(&e.val)]);
            for v in values.filter(|v| v.is_finite()) {
                *range = (range.0.min(v), range.1.max(v));
            }
        }
    }
    Ok(cells.iter().map(|(cell, curves, classifier)| figure(cell, curves, *classifier, &ranges)).collect())
}

/// What shares a scale with what.
fn scale(part: &Part, quantity: &str, accuracy: bool) -> String {
    match part {
        Part::Generator { audio, loss, .. } if quantity == "loss" => format!("{quantity} {audio} {loss}"),
        Part::Generator { audio, .. } if !accuracy => format!("{quantity} {audio}"),
        _ => quantity.into(),
    }
}

fn figure(cell: &CellRecord, curves: &[Curve], classifier: bool, ranges: &BTreeMap<String, (f64, f64)>) -> Value {
    let id = format!("curve-{}", anchor(&cell.key));
    let drawn: Vec<&Quantity> = QUANTITIES.iter().filter(|q| classifier || !q.2).collect();
    let plots: Vec<String> = drawn
        .iter()
        .enumerate()
        .filter_map(|(i, (name, of, needs))| {
            Plot {
                id: format!("{id}-{i}"),
                title: format!("{name} of {} over epochs, {} seeds", cell.key, curves.len()),
                x: "epoch".into(),
                y: (*name).into(),
                size: (250.0, 150.0),
                series: vec![series("train", 0, curves, &|e| of(&e.train)), series("val", 1, curves, &|e| of(&e.val))],
                range: ranges.get(&scale(&cell.part, name, *needs)).copied(),
                ..Plot::default()
            }
            .draw()
        })
        .collect();
    json!({ "key": cell.key, "id": id, "plots": plots, "csv": csv(curves, &drawn) })
}

/// Mean over seeds, and lowest to highest.
fn series(name: &str, style: usize, curves: &[Curve], of: &dyn Fn(&Epoch) -> f64) -> Series {
    let mut out = Series { name: name.into(), style, mark: style, ..Default::default() };
    for (epoch, (mean, low, high)) in spread(curves, of) {
        out.points.push((epoch, mean));
        if curves.len() > 1 {
            out.band.push((epoch, low, high));
        }
    }
    out
}

/// By epoch: mean, lowest, highest of the seeds that got so far.
fn spread(curves: &[Curve], of: &dyn Fn(&Epoch) -> f64) -> Spread {
    let last = curves.iter().map(Vec::len).max().unwrap_or(0);
    let at = |i: usize| {
        let values: Vec<f64> = curves.iter().filter_map(|c| c.get(i)).map(of).filter(|v| v.is_finite()).collect();
        let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        (!values.is_empty()).then_some(((i + 1) as f64, (mean, low, high)))
    };
    (0..last).filter_map(at).collect()
}

fn csv(curves: &[Curve], drawn: &[&Quantity]) -> String {
    let mut out = String::from("epoch");
    for (name, ..) in drawn {
        let name = name.split(" (").next().unwrap_or(name).replace(' ', "_");
        for split in ["train", "val"] {
            let _ = write!(out, ",{split}_{name},{split}_{name}_min,{split}_{name}_max");
        }
    }
    let last = curves.iter().map(Vec::len).max().unwrap_or(0);
    let columns: Vec<Spread> = drawn
        .iter()
        .flat_map(|(_, of, _)| {
            let (train, val) = (move |e: &Epoch| of(&e.train), move |e: &Epoch| of(&e.val));
            [spread(curves, &train), spread(curves, &val)]
        })
        .collect();
    for i in 0..last {
        let _ = write!(out, "\n{}", i + 1);
        for column in &columns {
            match column.iter().find(|(epoch, _)| *epoch == (i + 1) as f64) {
                Some((_, (mean, low, high))) => {
                    let _ = write!(out, ",{mean:.5},{low:.5},{high:.5}");
                }
                None => out.push_str(",,,"),
            }
        }
    }
    out
}
