//! Dots, intervals and bars on one scale, a line of text each: tables that are read as figures. Widths are shares of the
//! column, so that the text keeps its size on a phone and in print.

use super::svg::{label, ticks};
use serde_json::{Value, json};

/// A scale that all lines of a figure share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    low: f64,
    high: f64,
}

/// One line of a figure.
#[derive(Clone, Debug, Default)]
pub struct Line {
    /// Its name.
    pub name: String,
    /// A class of the style.
    pub class: String,
    /// The number.
    pub at: f64,
    /// Its interval.
    pub interval: Option<(f64, f64)>,
    /// A published value beside it.
    pub published: Option<f64>,
    /// Whether it is set out from the others.
    pub strong: bool,
    /// The number in text.
    pub value: String,
    /// The interval in text, or a remark.
    pub beside: String,
}

impl Scale {
    /// A scale over all finite values, with a little room on both sides.
    pub fn over(values: impl Iterator<Item = f64>) -> Scale {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for v in values.filter(|v| v.is_finite()) {
            (low, high) = (low.min(v), high.max(v));
        }
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        let room = if high - low > 1e-9 { 0.04 * (high - low) } else { 0.5 };
        Scale { low: low - room, high: high + room }
    }

    /// Where a value lies, in percent of the width.
    fn at(&self, value: f64) -> f64 {
        (100.0 * (value - self.low) / (self.high - self.low)).clamp(0.0, 100.0)
    }

    fn css(value: f64) -> String {
        format!("{value:.2}")
    }

    /// Round numbers along it, for the last line of the figure.
    pub fn axis(&self) -> Vec<Value> {
        let all = ticks(self.low, self.high, 5);
        all.iter().map(|v| json!({ "at": Scale::css(self.at(*v)), "label": label(*v, &all) })).collect()
    }

    /// A dot with its interval.
    pub fn dot(&self, line: &Line) -> Value {
        let range = line.interval.filter(|(a, b)| a.is_finite() && b.is_finite()).map(|(low, high)| {
            let (a, b) = (self.at(low), self.at(high));
            json!({ "left": Scale::css(a), "width": Scale::css(b - a) })
        });
        json!({
            "name": line.name, "class": line.class, "strong": line.strong, "value": line.value, "beside": line.beside,
            "at": line.at.is_finite().then(|| Scale::css(self.at(line.at))),
            "range": range, "bar": null, "published": line.published.map(|p| Scale::css(self.at(p))),
        })
    }

    /// A bar from 0.
    pub fn bar(&self, line: &Line) -> Value {
        let (a, b) = (self.at(line.at.min(0.0)), self.at(line.at.max(0.0)));
        json!({
            "name": line.name, "class": line.class, "strong": line.strong, "value": line.value, "beside": line.beside,
            "range": null, "bar": { "left": Scale::css(a), "width": Scale::css(b - a) }, "published": null,
            "at": line.interval.map(|(far, _)| Scale::css(self.at(far))),
        })
    }

    /// Where 0 is, if it is on the scale.
    pub fn zero(&self) -> Option<String> {
        (self.low <= 0.0 && self.high >= 0.0).then(|| Scale::css(self.at(0.0)))
    }

    /// Where a reference line is.
    pub fn reference(&self, value: f64) -> String {
        Scale::css(self.at(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_stay_within_the_column_whatever_the_values() {
        let scale = Scale::over([10.0, 20.0, f64::NAN].into_iter());
        let dot = scale.dot(&Line { at: 15.0, interval: Some((10.0, 20.0)), ..Line::default() });
        assert_eq!((dot["at"].as_str(), dot["range"]["left"].as_str()), (Some("50.00"), Some("3.70")));
        assert!(scale.zero().is_none() && Scale::over([-1.0, 1.0].into_iter()).zero() == Some("50.00".into()));
        for odd in [f64::NAN, f64::INFINITY, 1e300] {
            let dot = scale.dot(&Line { at: odd, interval: Some((odd, odd)), ..Line::default() });
            let text = dot.to_string();
            assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
        }
        assert!(Scale::over(std::iter::empty()).axis().len() > 1);
        let bar = Scale::over([-2.0, 4.0].into_iter()).bar(&Line { at: 4.0, ..Line::default() });
        assert_eq!(bar["bar"]["left"], "34.57");
    }
}
