//! A difference with its interval, and what may be said of it: no word says more than the interval does.

use crate::report::format::signed;
use crate::report::resample::{SEEDS, interval};

/// Mean of a row with what is known of its spread.
#[derive(Clone, Debug)]
pub struct Level {
    /// Top-1 in percent, mean over seeds.
    pub mean: f64,
    /// 95 % interval.
    pub interval: (f64, f64),
    /// Seeds; `None` where it depends on none.
    pub seeds: Option<usize>,
    /// Its mean in each resample of clips and seeds.
    pub(super) draws: Vec<f64>,
}

/// What a difference amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The whole interval lies above 0.
    Up,
    /// The whole interval lies below 0.
    Down,
    /// The whole interval lies within the margin around 0.
    Same,
    /// The interval holds 0 and reaches beyond the margin.
    Open,
    /// One seed decides nothing.
    OneSeed,
}

/// A difference of two rows, in points, paired by clip and seed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// First minus second.
    pub difference: f64,
    /// 95 % interval.
    pub interval: (f64, f64),
    /// What it amounts to.
    pub verdict: Verdict,
}

impl Change {
    /// The difference of two rows of the same resamples; `within` is the margin of what counts as the same, in points.
    pub fn of(a: &Level, b: &Level, within: f64) -> Change {
        let difference = a.mean - b.mean;
        let (low, high) = interval(a.draws.iter().zip(&b.draws).map(|(a, b)| a - b).collect());
        let few = |level: &Level| level.seeds.is_some_and(|n| n < SEEDS);
        let verdict = match () {
            _ if few(a) || few(b) => Verdict::OneSeed,
            _ if low > 0.0 => Verdict::Up,
            _ if high < 0.0 => Verdict::Down,
            _ if low >= -within && high <= within => Verdict::Same,
            _ => Verdict::Open,
        };
        Change { difference, interval: (low, high), verdict }
    }

    /// `+14.8 points [+11.2, +18.4]`.
    pub fn told(&self) -> String {
        let (low, high) = self.interval;
        format!("{} points [{}, {}]", signed(self.difference, 1), signed(low, 1), signed(high, 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(mean: f64, spread: f64, seeds: Option<usize>) -> Level {
        let draws: Vec<f64> = (0..=1000).map(|i| mean + spread * (f64::from(i) / 500.0 - 1.0)).collect();
        Level { mean, interval: interval(draws.clone()), seeds, draws }
    }

    #[test]
    fn no_verdict_says_more_than_its_interval() {
        let base = level(40.0, 0.0, None);
        let verdict = |mean: f64, spread: f64| Change::of(&level(mean, spread, Some(3)), &base, 2.0).verdict;
        assert_eq!(verdict(43.0, 1.0), Verdict::Up);
        assert_eq!(verdict(37.0, 1.0), Verdict::Down);
        assert_eq!(verdict(40.1, 1.0), Verdict::Same);
        assert_eq!(verdict(40.1, 4.0), Verdict::Open);
        assert_eq!(verdict(42.9, 4.0), Verdict::Open);
        assert_eq!(Change::of(&level(45.0, 0.5, Some(1)), &base, 2.0).verdict, Verdict::OneSeed);
        let told = Change::of(&level(43.0, 1.2, Some(3)), &base, 2.0).told();
        assert_eq!(told, "+3.0 points [+1.9, +4.1]");
    }
}
