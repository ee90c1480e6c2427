//! The two generators as diagrams, with the sizes they were trained at.

use super::svg::escape;
use crate::experiment::Config;
use crate::store::DatasetRecord;
use serde_json::{Value, json};
use std::fmt::Write;

/// A box of a diagram: what stands in it, and below it.
struct Stage {
    name: String,
    size: String,
    /// Column and row.
    place: (usize, usize),
}

const WIDTH: f64 = 96.0;
const HEIGHT: f64 = 42.0;
const GAP: f64 = 30.0;

/// One figure an architecture of the grid: `{id, title, svg}`.
pub fn figures(config: &Config, dataset: &DatasetRecord) -> Vec<Value> {
    let m = &dataset.manifest;
    let streams: Vec<String> = m.streams.iter().map(|s| format!("{} {}", s.name, s.width)).collect();
    let wanted = config.grid.get("audio").cloned().unwrap_or_default();
    let audio: Vec<String> = m
        .audio
        .iter()
        .filter(|a| wanted.iter().any(|w| w.as_str() == Some(&a.name)))
        .map(|a| format!("{} {}", a.name, a.width))
        .collect();
    let (input, output) = (m.visual_width(), audio.join(" or "));
    let (frames, classes) = (m.frames, m.classes.len());
    let stage =
        |name: &str, size: String, column: usize, row: usize| Stage { name: name.into(), size, place: (column, row) };
    let has =
        |word: &str| config.grid.get("generator").is_some_and(|values| values.iter().any(|v| v.as_str() == Some(word)));
    let mut out = Vec::new();
    if has("lstm") {
        let hidden = config.lstm.hidden;
        let stages = vec![
            stage("frames", format!("{frames} × {input}"), 0, 0),
            stage("LSTM", format!("{hidden}, {frames} steps"), 1, 0),
            stage("last state", format!("x: {hidden}"), 2, 0),
            stage("feature head", output.clone(), 3, 0),
            stage("classifier", format!("softmax {classes}"), 3, 1),
        ];
        let arrows = [(0, 1), (1, 2), (2, 3), (2, 4)];
        let title = format!("LSTM over {frames} frames ({})", streams.join(", "));
        out.push(json!({ "id": "architecture-lstm", "title": title, "svg": draw("architecture-lstm", &title, &stages, &arrows) }));
    }
    if has("autoencoder") {
        let a = &config.autoencoder;
        let mut stages = vec![stage("one frame", input.to_string(), 0, 0)];
        let mut arrows = Vec::new();
        for (i, width) in a.encoder.iter().enumerate() {
            let name = if i + 1 == a.encoder.len() { "latent (ReLU)" } else { "encoder (ReLU)" };
            stages.push(stage(name, width.to_string(), i + 1, 0));
            arrows.push((i, i + 1));
        }
        let latent = stages.len() - 1;
        for (i, width) in a.decoder.iter().enumerate() {
            stages.push(stage("decoder (ReLU)", width.to_string(), latent + i + 1, 0));
            arrows.push((latent + i, latent + i + 1));
        }
        let last = stages.len() - 1;
        stages.push(stage("feature head", output, last + 1, 0));
        arrows.push((last, last + 1));
        stages.push(stage("classifier", format!("softmax {classes}"), latent + 1, 1));
        arrows.push((latent, last + 2));
        let title = format!("Autoencoder of one frame ({})", streams.join(", "));
        out.push(json!({
            "id": "architecture-autoencoder", "title": title,
            "svg": draw("architecture-autoencoder", &title, &stages, &arrows),
        }));
    }
    out
}

fn draw(id: &str, title: &str, stages: &[Stage], arrows: &[(usize, usize)]) -> String {
    let columns = stages.iter().map(|s| s.place.0 + 1).max().unwrap_or(1) as f64;
    let rows = stages.iter().map(|s| s.place.1 + 1).max().unwrap_or(1) as f64;
    let (width, height) = (columns * (WIDTH + GAP) - GAP + 4.0, rows * (HEIGHT + GAP) - GAP + 4.0);
    let corner = |s: &Stage| (2.0 + s.place.0 as f64 * (WIDTH + GAP), 2.0 + s.place.1 as f64 * (HEIGHT + GAP));
    let mut out = format!(
        "<svg class=\"plot diagram\" role=\"img\" aria-labelledby=\"{id}-title\" viewBox=\"0 0 {width} {height}\"><title id=\"{id}-title\">{}</title>",
        escape(title)
    );
    for (from, to) in arrows {
        let (Some(a), Some(b)) = (stages.get(*from), stages.get(*to)) else { continue };
        let ((ax, ay), (bx, by)) = (corner(a), corner(b));
        let (x0, y0, x1, y1) = (ax + WIDTH, ay + HEIGHT / 2.0, bx, by + HEIGHT / 2.0);
        let bend = (x0 + x1) / 2.0;
        let _ = write!(out, "<path class=\"arrow\" d=\"M{x0} {y0}H{bend}V{y1}H{}\"/>", x1 - 6.0);
        let _ = write!(out, "<path class=\"head\" d=\"M{x1} {y1}l-7 -4v8z\"/>");
    }
    for s in stages {
        let (x, y) = corner(s);
        let middle = x + WIDTH / 2.0;
        let _ = write!(out, "<rect class=\"box\" x=\"{x}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"5\"/>");
        let _ = write!(out, "<text class=\"mid\" x=\"{middle}\" y=\"{}\">{}</text>", y + 17.0, escape(&s.name));
        // Long lists of features are set smaller instead of leaving their box.
        let fit = if s.size.chars().count() > 15 {
            format!(" textLength=\"{}\" lengthAdjust=\"spacingAndGlyphs\"", WIDTH - 8.0)
        } else {
            String::new()
        };
        let _ =
            write!(out, "<text class=\"mid size\" x=\"{middle}\" y=\"{}\"{fit}>{}</text>", y + 33.0, escape(&s.size));
    }
    out + "</svg>"
}
