//! A confusion matrix as a heat map.

use super::svg::escape;
use crate::report::inside::Confusion;
use std::fmt::Write;

/// Shades from none to all.
const SHADES: usize = 8;
/// Classes that are named at the rows, and of which each has room for its numbers.
const NAMED: usize = 40;

/// Rows are the classes that clips are of, columns those that they are taken for; the darker, the larger a part of the row's
/// clips. Cells of one shade are one path.
pub fn svg(id: &str, title: &str, confusion: &Confusion) -> String {
    let k = confusion.classes.len();
    let named = k <= NAMED;
    let side: f64 = if named { 22.0 } else { (640.0 / k.max(1) as f64).max(2.0) };
    let longest = confusion.classes.iter().map(|c| c.chars().count()).max().unwrap_or(0).min(24);
    let (left, top) = if named { (6.2 * longest as f64 + 14.0, 18.0) } else { (18.0, 18.0) };
    let (width, height) = (left + side * k as f64 + 4.0, top + side * k as f64 + 4.0);
    let mut out = format!(
        "<svg class=\"plot heat\" viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-labelledby=\"{id}-title\" style=\"max-width:{width:.0}px\"><title id=\"{id}-title\">{}</title>",
        escape(title)
    );
    let mut paths = vec![String::new(); SHADES];
    let mut numbers = String::new();
    for label in 0..k {
        let all = confusion.clips(label);
        for (class, &n) in confusion.row(label).iter().enumerate().filter(|(_, n)| **n > 0) {
            let share = n as f64 / all.max(1) as f64;
            let shade = ((share * SHADES as f64).ceil() as usize).clamp(1, SHADES) - 1;
            let (x, y) = (left + side * class as f64, top + side * label as f64);
            let _ = write!(paths[shade], "M{x:.1} {y:.1}h{side:.1}v{side:.1}h-{side:.1}z");
            if named {
                let light = if shade >= SHADES / 2 { " class=\"on\"" } else { "" };
                let percent = (100.0 * share).round();
                let (x, y) = (x + side / 2.0, y + side / 2.0 + 3.5);
                let _ = write!(
                    numbers,
                    "<text{light} x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{percent:.0}</text>"
                );
            }
        }
        if named {
            let name: String = confusion.classes[label].chars().take(24).collect();
            let y = top + side * label as f64 + side / 2.0 + 3.5;
            let _ = write!(
                numbers,
                "<text x=\"{:.1}\" y=\"{y:.1}\" text-anchor=\"end\">{}</text>",
                left - 5.0,
                escape(&name)
            );
        }
    }
    for (shade, path) in paths.iter().enumerate().filter(|(_, path)| !path.is_empty()) {
        let opacity = (shade + 1) as f64 / SHADES as f64;
        let _ = write!(out, "<path class=\"cell\" fill-opacity=\"{opacity:.3}\" d=\"{path}\"/>");
    }
    let (w, h) = (side * k as f64, side * k as f64);
    let _ = write!(out, "<rect class=\"frame\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{w:.1}\" height=\"{h:.1}\"/>");
    let _ = write!(out, "<text x=\"{left:.1}\" y=\"11\">taken for, in the same order \u{2192}</text>{numbers}</svg>");
    out
}
