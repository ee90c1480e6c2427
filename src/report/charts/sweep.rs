//! Accuracy along a further axis of the grid with numbers on it, such as the missing rate: every row of a table a line, every
//! point of the other further axes a panel.

use super::svg::{Plot, STYLES, Series, anchor, wants_log};
use crate::experiment::TableId;
use crate::experiment::claims::Metric;
use crate::experiment::fusion_expr::Fusion;
use crate::experiment::grid::AXES;
use crate::experiment::tables::{AccuracyRow, Table, Tables};
use crate::report::choose::{Scope, point};
use crate::report::format::spreadsheet_safe;
use crate::report::resample::{Sample, interval};
use crate::report::results::Results;
use crate::report::scores::Fused;
use crate::report::words;
use crate::store::Error;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Panels in a figure, at most; more points of other axes are left to the tables.
const PANELS: usize = 8;

/// One line of a figure: row, then its points in the order of x.
type Line<'a> = (&'a AccuracyRow, Vec<Point>);

/// A measured point.
struct Point {
    x: f64,
    /// Top-1 in percent, one a seed.
    values: Vec<f64>,
    /// 95 % interval of their mean over clips and seeds, where it can be drawn.
    interval: Option<(f64, f64)>,
}

/// Points whose intervals are drawn together.
#[derive(Default)]
struct Drawn {
    sample: Sample,
    rows: Vec<Vec<usize>>,
}

impl Drawn {
    /// Notes a row; its place among them.
    fn add(&mut self, fused: &Fused) -> Option<usize> {
        let columns = self.sample.add(fused, Metric::Top1).ok()?;
        self.rows.push(columns.into_iter().map(|(_, column)| column).collect());
        Some(self.rows.len() - 1)
    }

    /// The interval of each.
    fn intervals(&self) -> Vec<(f64, f64)> {
        if self.rows.is_empty() {
            Vec::new()
        } else {
            self.sample.draws(&self.rows).into_iter().map(interval).collect()
        }
    }
}

/// A line that is being measured: (x, values, place among the drawn).
type Measured = Vec<(f64, Vec<f64>, Option<usize>)>;

fn points_of(line: Measured, intervals: &[(f64, f64)]) -> Vec<Point> {
    let point = |(x, values, place): (f64, Vec<f64>, Option<usize>)| Point {
        x,
        values,
        interval: place.and_then(|place| intervals.get(place)).copied(),
    };
    let mut points: Vec<Point> = line.into_iter().map(point).collect();
    points.sort_by(|a, b| a.x.total_cmp(&b.x));
    points
}

/// A figure for each accuracy table with an audio feature of its own and each further axis of at least three numbers.
pub fn figures(results: &Results, tables: &[Table]) -> Result<Vec<Value>, Error> {
    let grid = &results.experiment.config.grid;
    let further: Vec<(&String, &Vec<Value>)> = grid.iter().filter(|(axis, _)| !AXES.contains(&axis.as_str())).collect();
    let mut out = Vec::new();
    for (axis, values) in &further {
        let numbers: Vec<f64> = values.iter().filter_map(Value::as_f64).collect();
        if numbers.len() != values.len() || numbers.len() < 3 {
            continue;
        }
        let others: Vec<(&String, &Vec<Value>)> = further.iter().filter(|(a, _)| a != axis).copied().collect();
        for table in tables.iter().filter(|t| !t.accuracy.is_empty() && !t.audio.is_empty()) {
            let scope = Scope { audio: &table.audio, at: &BTreeMap::new(), table: &table.table };
            if results.audio_of(&scope).is_err() {
                continue;
            }
            let mut panels = Vec::new();
            let mut drawn = vec![false; table.accuracy.len()];
            let mut csv = format!("{},row,{axis},mean,sd,n,low,high", names(&others));
            for point in points(&others).into_iter().take(PANELS) {
                let lines = lines(results, table, axis, values, &point)?;
                let id = format!("sweep-{}-{}-{}", anchor(axis), anchor(&table.table.to_string()), panels.len());
                let name = told(&point);
                add_csv(&mut csv, &point, &lines);
                drawn.iter_mut().zip(&lines).for_each(|(drawn, (_, line))| *drawn |= !line.is_empty());
                let measured: Vec<f64> = lines.iter().flat_map(|(_, line)| line.iter().map(|p| p.x)).collect();
                let plot = Plot {
                    id,
                    title: format!(
                        "Top-1 of table {} against {axis}{}{name}",
                        table.table,
                        if name.is_empty() { "" } else { ", " }
                    ),
                    x: (*axis).clone(),
                    y: "top-1 (%)".into(),
                    size: (420.0, 300.0),
                    series: lines.iter().enumerate().map(|(i, line)| series(i, line)).collect(),
                    log: wants_log(&measured),
                    ..Plot::default()
                };
                if let Some(svg) = plot.draw() {
                    panels.push(json!({ "name": name, "svg": svg }));
                }
            }
            if panels.is_empty() {
                continue;
            }
            let legend: Vec<Value> = table
                .accuracy
                .iter()
                .enumerate()
                .filter(|(i, _)| drawn[*i])
                .map(|(i, row)| json!({ "style": i % STYLES, "mark": i / STYLES, "name": full_name(row) }))
                .collect();
            out.push(json!({
                "id": format!("sweep-{}-{}", anchor(axis), anchor(&table.table.to_string())),
                "title": format!("Table {} against {axis}", table.table),
                "panels": panels, "legend": legend, "csv": csv,
            }));
        }
    }
    Ok(out)
}

fn full_name(row: &AccuracyRow) -> String {
    let mut name = row.group.clone();
    name.push(row.row.clone());
    name.join(", ")
}

fn names(axes: &[(&String, &Vec<Value>)]) -> String {
    if axes.is_empty() { "table".into() } else { axes.iter().map(|(a, _)| a.as_str()).collect::<Vec<_>>().join(",") }
}

/// Every combination of values of these axes.
fn points(axes: &[(&String, &Vec<Value>)]) -> Vec<BTreeMap<String, Value>> {
    let mut out = vec![BTreeMap::new()];
    for (axis, values) in axes {
        out = out
            .into_iter()
            .flat_map(|point| {
                values.iter().map(move |value| {
                    let mut point = point.clone();
                    point.insert((*axis).clone(), value.clone());
                    point
                })
            })
            .collect();
    }
    out
}

fn told(point: &BTreeMap<String, Value>) -> String {
    let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), String::from);
    point.iter().map(|(axis, value)| format!("{axis} {}", text(value))).collect::<Vec<_>>().join(", ")
}

fn lines<'t>(
    results: &Results,
    table: &'t Table,
    axis: &str,
    values: &[Value],
    point: &BTreeMap<String, Value>,
) -> Result<Vec<Line<'t>>, Error> {
    let (mut drawn, mut measured) = (Drawn::default(), Vec::new());
    for row in &table.accuracy {
        let fusion = Fusion::parse(&row.fuse).map_err(Error::NotFound)?;
        let mut line = Vec::new();
        for value in values {
            let mut at = point.clone();
            at.insert(axis.into(), value.clone());
            let scope = Scope { audio: &table.audio, at: &at, table: &table.table };
            if let (Ok(fused), Some(x)) = (results.fused(&scope, &fusion)?, value.as_f64()) {
                line.push((x, fused.top_k(1), drawn.add(&fused)));
            }
        }
        measured.push((row, line));
    }
    let intervals = drawn.intervals();
    Ok(measured.into_iter().map(|(row, line)| (row, points_of(line, &intervals))).collect())
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn series(i: usize, (row, line): &Line) -> Series {
    Series {
        name: full_name(row),
        style: i,
        mark: i / STYLES,
        points: line.iter().map(|p| (p.x, mean(&p.values))).collect(),
        band: band(line),
    }
}

/// The intervals, where there are any.
fn band(line: &[Point]) -> Vec<(f64, f64, f64)> {
    line.iter().filter_map(|p| p.interval.map(|(low, high)| (p.x, low, high))).collect()
}

/// What the first figure of a report draws along an axis: name, what fills the silent clips, and the colour, which is that of
/// the figure of dots.
const LEAD: [(&str, Option<&str>, usize); 4] = [
    ("no sound", None, 6),
    ("recorded sound alone", Some(""), 1),
    ("generated, the best", Some("(best)"), 0),
    ("true feature", Some("(oracle)"), 2),
];

/// The figure at the top of a sweep's report: vision without sound, with recorded, generated and true sound, along the first
/// further axis of numbers, at the first point of the others; `None` where there is no such axis.
pub fn lead(results: &Results, tables: &Tables) -> Result<Option<Value>, Error> {
    let grid = &results.experiment.config.grid;
    let numeric = |(axis, values): &(&String, &Vec<Value>)| {
        !AXES.contains(&axis.as_str()) && values.len() >= 3 && values.iter().all(|v| v.as_f64().is_some())
    };
    let Some((axis, values)) = grid.iter().find(numeric) else { return Ok(None) };
    let Some(audio) = results.experiment.cells.iter().find_map(|c| c.part.audio()) else { return Ok(None) };
    let mut streams: Vec<&str> = Vec::new();
    for cell in &results.experiment.cells {
        if let crate::experiment::Part::Stream { stream } = &cell.part
            && !streams.contains(&stream.as_str())
        {
            streams.push(stream);
        }
    }
    let about = |t: &&Table| !t.accuracy.is_empty() && t.audio.iter().any(|a| a == audio);
    let first = tables.tables.iter().find(about).map(|t| point(results.experiment, t)).unwrap_or_default();
    let (names, table) = ([audio.to_string()], TableId::Name("lead".into()));
    let mut plots = Vec::new();
    let mut drawn = Drawn::default();
    for with_vision in [true, false] {
        let mut lines: Vec<(&str, usize, Measured)> = Vec::new();
        for (name, sound, style) in LEAD {
            let mut terms: Vec<String> = Vec::new();
            if with_vision {
                terms.extend(streams.iter().map(|s| s.to_string()));
            }
            terms.extend(sound.map(|choice| format!("{audio}{choice}")));
            if terms.is_empty() {
                continue;
            }
            let fusion = Fusion::parse(&terms.join("+")).map_err(Error::NotFound)?;
            let mut line = Vec::new();
            for value in values {
                let mut at = first.clone();
                at.insert(axis.clone(), value.clone());
                let scope = Scope { audio: &names, at: &at, table: &table };
                if let (Ok(fused), Some(x)) = (results.fused(&scope, &fusion)?, value.as_f64()) {
                    line.push((x, fused.top_k(1), drawn.add(&fused)));
                }
            }
            lines.push((name, style, line));
        }
        let what = match with_vision {
            true => format!(
                "{} with {}",
                streams.iter().map(|s| words::feature(s)).collect::<Vec<_>>().join(" + "),
                words::feature(audio)
            ),
            false => format!("{} alone", words::feature(audio)),
        };
        plots.push((what, lines));
    }
    let intervals = drawn.intervals();
    let series = |(name, style, line): (&str, usize, Measured)| {
        let line = points_of(line, &intervals);
        let points = line.iter().map(|p| (p.x, mean(&p.values))).collect();
        Series { name: name.into(), style, mark: 0, points, band: band(&line) }
    };
    let plots: Vec<(String, Vec<Series>)> =
        plots.into_iter().map(|(what, lines)| (what, lines.into_iter().map(series).collect())).collect();
    // One scale for both, so that they can be compared.
    let all = || {
        plots
            .iter()
            .flat_map(|(_, s)| s)
            .flat_map(|s| s.points.iter().map(|p| p.1).chain(s.band.iter().flat_map(|b| [b.1, b.2])))
    };
    let range = (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
    let measured: Vec<f64> = values.iter().filter_map(Value::as_f64).collect();
    let others: BTreeMap<String, Value> = first.into_iter().filter(|(name, _)| name != axis).collect();
    let panels: Vec<Value> = plots
        .into_iter()
        .enumerate()
        .filter_map(|(i, (what, series))| {
            let svg = Plot {
                id: format!("lead-{i}"),
                title: format!("Top-1 of {what} against {axis}"),
                x: axis.clone(),
                y: "top-1 (%)".into(),
                size: (520.0, 260.0),
                series,
                range: Some(range),
                log: wants_log(&measured),
                labels: true,
            }
            .draw()?;
            Some(json!({ "name": what, "svg": svg }))
        })
        .collect();
    Ok((!panels.is_empty()).then(|| json!({ "axis": axis, "at": told(&others), "panels": panels })))
}

fn add_csv(csv: &mut String, point: &BTreeMap<String, Value>, lines: &[Line]) {
    let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), String::from);
    let place = if point.is_empty() { "-".into() } else { point.values().map(text).collect::<Vec<_>>().join(",") };
    for (row, line) in lines {
        let key = spreadsheet_safe(&row.key);
        let key = if key.contains([',', '"', '\n']) { format!("\"{}\"", key.replace('"', "\"\"")) } else { key };
        for Point { x, values, interval } in line {
            let m = mean(values);
            let sd = (values.len() > 1)
                .then(|| (values.iter().map(|v| (v - m).powi(2)).sum::<f64>() / (values.len() - 1) as f64).sqrt());
            let sd = sd.map_or_else(String::new, |sd| format!("{sd:.4}"));
            let (low, high) = interval.map_or_else(Default::default, |(a, b)| (format!("{a:.4}"), format!("{b:.4}")));
            let _ = write!(csv, "\n{place},{key},{x},{m:.4},{sd},{},{low},{high}", values.len());
        }
    }
}
