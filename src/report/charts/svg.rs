//! Line plots and bars as inline SVG: no script, no font, colours by class so that the page's style can turn them for dark
//! mode and print.

use std::fmt::Write;

/// How many series the style has a colour and a dash for.
pub const STYLES: usize = 8;

/// One line of a plot.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// Its name: in the legend, on hovering, and at its end where the plot labels its lines.
    pub name: String,
    /// Which colour, from 0.
    pub style: usize,
    /// Which dash, from 0: solid, long, short.
    pub mark: usize,
    /// (x, y), from left to right.
    pub points: Vec<(f64, f64)>,
    /// (x, lowest, highest), where there is a spread.
    pub band: Vec<(f64, f64, f64)>,
}

/// A plot of lines over one x axis.
#[derive(Clone, Debug, Default)]
pub struct Plot {
    /// Unique on the page.
    pub id: String,
    /// What it shows, for those who do not see it.
    pub title: String,
    /// Below the x axis, with its unit.
    pub x: String,
    /// Above the y axis, with its unit.
    pub y: String,
    /// Width and height in units of the drawing.
    pub size: (f64, f64),
    /// The lines.
    pub series: Vec<Series>,
    /// Lowest and highest y, where several plots share a scale; else those of the lines.
    pub range: Option<(f64, f64)>,
    /// Equal ratios of x are equally wide: for rates that are stepped by factors.
    pub log: bool,
    /// The lines' names stand at their ends.
    pub labels: bool,
}

/// Whether an axis with these values is read better by ratios: all above 0, and over more than a factor of 20 in steps of
/// factors.
pub fn wants_log(values: &[f64]) -> bool {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    values.len() > 2 && low > 0.0 && high / low >= 20.0
}

/// A text as an HTML id.
pub fn anchor(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect()
}

/// Text that may stand anywhere in a page.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// A coordinate with as many digits as can be seen.
fn at(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), String::from)
}

/// Round numbers from the lowest to the highest value, about `count` of them.
pub fn ticks(low: f64, high: f64, count: usize) -> Vec<f64> {
    let span = high - low;
    if !(span.is_finite() && span > 0.0) || count == 0 {
        return vec![low];
    }
    let rough = span / count as f64;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|s| *s >= rough).unwrap_or(10.0 * power);
    let first = (low / step).ceil() as i64;
    let last = (high / step + 1e-9).floor() as i64;
    (first..=last).map(|i| i as f64 * step).collect()
}

/// A tick's label: no more decimals than the step asks for.
pub(super) fn label(value: f64, ticks: &[f64]) -> String {
    let step = ticks.windows(2).map(|w| w[1] - w[0]).next().unwrap_or(value.abs().max(1.0));
    let decimals = (-step.log10().floor()).clamp(0.0, 6.0) as usize;
    let text = format!("{value:.decimals$}");
    if text.trim_start_matches('-').chars().all(|c| c == '0' || c == '.') {
        "0".into()
    } else {
        text.replace('-', "\u{2212}")
    }
}

const LEFT: f64 = 46.0;
const RIGHT: f64 = 8.0;
/// Room for names at the ends of lines.
const NAMES: f64 = 150.0;
/// Measured points that are marked; longer lines are curves.
const MARKED: usize = 16;
/// Between two lines of text.
const LINE: f64 = 12.0;
const TOP: f64 = 22.0;
const BOTTOM: f64 = 34.0;

fn open(id: &str, title: &str, (width, height): (f64, f64)) -> String {
    format!(
        "<svg class=\"plot\" role=\"img\" aria-labelledby=\"{id}-title\" viewBox=\"0 0 {} {}\"><title id=\"{id}-title\">{}</title>",
        at(width),
        at(height),
        escape(title)
    )
}

/// A line across the plot at each tick of the y axis, with its label.
fn levels(out: &mut String, ticks: &[f64], sy: impl Fn(f64) -> f64, width: f64) {
    for &y in ticks {
        let (left, label) = (LEFT - 5.0, label(y, ticks));
        let _ = write!(out, "<path class=\"grid\" d=\"M{} {}H{}\"/>", at(LEFT), at(sy(y)), at(width - RIGHT));
        let _ = write!(out, "<text x=\"{}\" y=\"{}\" class=\"end\">{label}</text>", at(left), at(sy(y) + 3.5));
    }
}

impl Plot {
    /// The drawing; `None` where no line has a point.
    pub fn draw(&self) -> Option<String> {
        let x_of = |x: f64| if self.log { x.log10() } else { x };
        let finite = |p: &&(f64, f64)| x_of(p.0).is_finite() && p.1.is_finite();
        let points = || self.series.iter().flat_map(|s| s.points.iter().filter(finite));
        points().next()?;
        let bands = || self.series.iter().flat_map(|s| s.band.iter()).filter(|b| b.1.is_finite() && b.2.is_finite());
        let lowest = |values: &mut dyn Iterator<Item = f64>| values.fold(f64::INFINITY, f64::min);
        let highest = |values: &mut dyn Iterator<Item = f64>| values.fold(f64::NEG_INFINITY, f64::max);
        let (x0, x1) = (lowest(&mut points().map(|p| x_of(p.0))), highest(&mut points().map(|p| x_of(p.0))));
        let own = (
            lowest(&mut points().map(|p| p.1).chain(bands().map(|b| b.1))),
            highest(&mut points().map(|p| p.1).chain(bands().map(|b| b.2))),
        );
        let (y0, y1) = self.range.filter(|(a, b)| a.is_finite() && b.is_finite()).unwrap_or(own);
        // A flat line still needs an axis around it.
        let widen = |a: f64, b: f64, by: f64| if b - a > 1e-12 { (a, b) } else { (a - by, b + by) };
        let (x0, x1) = widen(x0, x1, 0.5);
        let (y0, y1) = widen(y0, y1, y0.abs().max(1e-3) * 0.1);
        let (width, height) = self.size;
        let right = if self.labels { NAMES } else { RIGHT };
        let sx = |x: f64| LEFT + (x_of(x) - x0) / (x1 - x0) * (width - LEFT - right);
        let sy = |y: f64| height - BOTTOM - (y - y0) / (y1 - y0) * (height - TOP - BOTTOM);
        let mut out = open(&self.id, &self.title, self.size);
        levels(&mut out, &ticks(y0, y1, 4), sy, width - right);
        self.x_axis(&mut out, (x0, x1), &sx, right);
        let _ = write!(out, "<text x=\"{}\" y=\"12\">{}</text>", at(2.0), escape(&self.y));
        let mut ends: Vec<(f64, usize, &str)> = Vec::new();
        for series in &self.series {
            let style = series.style % STYLES;
            let band: Vec<&(f64, f64, f64)> =
                series.band.iter().filter(|b| b.1.is_finite() && b.2.is_finite()).collect();
            if band.len() > 1 {
                let upper = band.iter().map(|b| format!("{} {}", at(sx(b.0)), at(sy(b.2))));
                let lower = band.iter().rev().map(|b| format!("{} {}", at(sx(b.0)), at(sy(b.1))));
                let path: Vec<String> = upper.chain(lower).collect();
                let _ = write!(out, "<path class=\"band s{style}\" d=\"M{}Z\"/>", path.join("L"));
            }
            let drawn: Vec<(f64, f64)> = series.points.iter().filter(finite).map(|p| (sx(p.0), sy(p.1))).collect();
            let Some(end) = drawn.last() else { continue };
            ends.push((end.1, style, &series.name));
            if drawn.len() > 1 {
                let line: Vec<String> = drawn.iter().map(|(x, y)| format!("{} {}", at(*x), at(*y))).collect();
                let _ = write!(
                    out,
                    "<path class=\"line s{style} m{}\" d=\"M{}\"><title>{}</title></path>",
                    series.mark % 3,
                    line.join("L"),
                    escape(&series.name)
                );
            }
            if drawn.len() <= MARKED {
                drawn.iter().for_each(|(x, y)| marker(&mut out, style, *x, *y));
            }
        }
        if self.labels {
            names(&mut out, ends, width - right + 8.0, height - BOTTOM);
        }
        out.push_str("</svg>");
        Some(out)
    }

    /// Ticks, their labels and the axis' name.
    fn x_axis(&self, out: &mut String, (x0, x1): (f64, f64), sx: &dyn Fn(f64) -> f64, right: f64) {
        let (width, height) = self.size;
        // On an axis of ratios the measured values are the ticks.
        let marks: Vec<f64> = if self.log {
            let mut all: Vec<f64> = self.series.iter().flat_map(|s| s.points.iter().map(|p| p.0)).collect();
            all.sort_by(f64::total_cmp);
            all.dedup();
            all
        } else {
            ticks(x0, x1, 5)
        };
        for &x in &marks {
            let text = if self.log { x.to_string() } else { label(x, &marks) };
            let (x, y) = (at(sx(x)), at(height - BOTTOM + 14.0));
            let _ = write!(out, "<text x=\"{x}\" y=\"{y}\" class=\"mid\">{text}</text>");
        }
        let _ = write!(out, "<path class=\"axis\" d=\"M{} {}H{}\"/>", at(LEFT), at(height - BOTTOM), at(width - right));
        let (middle, low) = (at((LEFT + width - right) / 2.0), at(height - 4.0));
        let _ = write!(out, "<text x=\"{middle}\" y=\"{low}\" class=\"mid\">{}</text>", escape(&self.x));
    }
}

/// A measured point; another shape for each colour, for those who see none and for print.
fn marker(out: &mut String, style: usize, x: f64, y: f64) {
    let (x, y) = (at(x), at(y));
    let shape = match (style % 4 + style / 4) % 4 {
        0 => "m-3 0a3 3 0 1 0 6 0a3 3 0 1 0 -6 0z",
        1 => "m-2.7 -2.7h5.4v5.4h-5.4z",
        2 => "m0 -3.6l3.6 3.6l-3.6 3.6l-3.6 -3.6z",
        _ => "m0 -3.4l3.2 5.8h-6.4z",
    };
    let _ = write!(out, "<path class=\"dot s{style}\" d=\"M{x} {y}{shape}\"/>");
}

/// Names at the ends of lines, moved apart where they would lie on each other.
fn names(out: &mut String, mut ends: Vec<(f64, usize, &str)>, x: f64, lowest: f64) {
    ends.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut places: Vec<f64> = ends.iter().map(|(y, ..)| *y).collect();
    for i in 1..places.len() {
        places[i] = places[i].max(places[i - 1] + LINE);
    }
    // What was moved below the plot is moved up again, from below.
    let mut floor = lowest;
    for place in places.iter_mut().rev() {
        *place = place.min(floor);
        floor = *place - LINE;
    }
    for ((_, style, name), y) in ends.iter().zip(places) {
        let (x, y) = (at(x), at(y + 3.5));
        let short: String = name.chars().take(26).collect();
        let _ = write!(out, "<text class=\"end-name t{style}\" x=\"{x}\" y=\"{y}\">{}</text>", escape(&short));
    }
}

/// Bars from the highest to the lowest, the first `marked` of them named.
pub fn bars(id: &str, title: &str, values: &[(String, f64)], marked: usize, size: (f64, f64)) -> Option<String> {
    let finite: Vec<&(String, f64)> = values.iter().filter(|(_, v)| v.is_finite()).collect();
    if finite.is_empty() {
        return None;
    }
    let (width, height) = size;
    let low = finite.iter().map(|(_, v)| *v).fold(0.0, f64::min);
    let high = finite.iter().map(|(_, v)| *v).fold(0.0, f64::max);
    let (low, high) = if high - low > 1e-12 { (low, high) } else { (-1.0, 1.0) };
    let sy = |y: f64| height - 12.0 - (y - low) / (high - low) * (height - 12.0 - TOP);
    let step = (width - LEFT - RIGHT) / finite.len() as f64;
    let mut out = open(id, title, size);
    levels(&mut out, &ticks(low, high, 4), sy, width);
    let _ = write!(out, "<text x=\"2\" y=\"12\">points</text>");
    for (i, (name, value)) in finite.iter().enumerate() {
        let (top, bottom) = (sy(value.max(0.0)), sy(value.min(0.0)));
        let class = if i < marked { "bar s1" } else { "bar s0" };
        // A bar of nothing still marks its place.
        let _ = write!(
            out,
            "<rect class=\"{class}\" x=\"{:.2}\" y=\"{}\" width=\"{:.2}\" height=\"{}\"><title>{} {:+.2}</title></rect>",
            LEFT + i as f64 * step,
            at(top),
            (step * 0.85).max(0.3),
            at((bottom - top).max(0.6)),
            escape(name),
            value
        );
    }
    // Names stand at the right, above the lowest bars.
    for (i, (name, value)) in finite.iter().take(marked).enumerate() {
        let short: String = name.chars().take(28).collect();
        let _ = write!(
            out,
            "<text class=\"end name\" x=\"{}\" y=\"{}\">{}. {} {}</text>",
            at(width - RIGHT),
            at(TOP + 4.0 + 13.0 * i as f64),
            i + 1,
            escape(&short),
            crate::report::format::signed(*value, 1)
        );
    }
    out.push_str("</svg>");
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers_within() {
        assert_eq!(ticks(0.0, 0.9, 5), [0.0, 0.2, 0.4, 0.6000000000000001, 0.8]);
        assert_eq!(ticks(23.0, 51.0, 4), [30.0, 40.0, 50.0]);
        assert_eq!(ticks(1.0, 30.0, 5), [10.0, 20.0, 30.0]);
        assert_eq!(ticks(2.0, 2.0, 4), [2.0]);
        assert_eq!(label(0.6000000000000001, &[0.0, 0.2]), "0.6");
        assert_eq!(label(-20.0, &[-20.0, 0.0]), "\u{2212}20");
        assert_eq!(label(0.0, &[0.0, 0.2]), "0");
    }

    #[test]
    fn rates_are_drawn_by_ratios_and_names_do_not_lie_on_each_other() {
        assert!(wants_log(&[1e-4, 1e-3, 1e-2]) && !wants_log(&[0.0, 0.1, 10.0]) && !wants_log(&[0.1, 0.5, 0.9]));
        let series = |name: &str, y: f64| Series {
            name: name.into(),
            points: vec![(1e-3, y), (1e-2, y), (1e-1, y)],
            ..Series::default()
        };
        let plot = Plot {
            id: "p".into(),
            x: "train.lr".into(),
            size: (420.0, 200.0),
            series: vec![series("one", 50.0), series("two", 50.1), series("three", 40.0)],
            log: true,
            labels: true,
            ..Plot::default()
        };
        let svg = plot.draw().unwrap();
        // The middle one of three powers of ten lies in the middle.
        assert!(svg.contains(">0.01</text>") && svg.contains("x=\"158\""), "{svg}");
        let ys: Vec<f64> = svg
            .split("class=\"end-name")
            .skip(1)
            .map(|t| t.split("y=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap())
            .collect();
        assert!(ys.len() == 3 && ys.windows(2).all(|w| w[1] - w[0] >= LINE - 0.11), "{ys:?}");
    }

    #[test]
    fn odd_values_are_drawn_or_left_out() {
        let plot = |points: Vec<(f64, f64)>| Plot {
            id: "p".into(),
            title: "<b>\"t\"".into(),
            x: "epoch".into(),
            y: "loss".into(),
            size: (300.0, 200.0),
            series: vec![Series { name: "a & b".into(), points, ..Default::default() }],
            ..Plot::default()
        };
        assert!(plot(vec![]).draw().is_none());
        assert!(plot(vec![(1.0, f64::NAN)]).draw().is_none());
        for points in
            [vec![(1.0, 2.0)], vec![(1.0, 2.0), (2.0, 2.0)], vec![(1.0, 1e30), (2.0, f64::INFINITY), (3.0, -1e30)]]
        {
            let svg = plot(points).draw().unwrap();
            assert!(svg.contains("&lt;b&gt;&quot;t&quot;") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
        assert!(bars("b", "t", &[], 3, (300.0, 100.0)).is_none());
        let svg = bars("b", "t", &[("<x>".into(), 0.0)], 3, (300.0, 100.0)).unwrap();
        assert!(svg.contains("&lt;x&gt;") && !svg.contains("NaN"), "{svg}");
    }
}
