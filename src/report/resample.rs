//! The pigeonhole bootstrap behind every interval: of single rows, of differences, of shared classes.
//!
//! All rows of an experiment score the same val clips. A clip is right in several seeds or wrong in several: clips and
//! seeds are crossed, and both are drawn anew with replacement for each resample (Owen's pigeonhole bootstrap, Annals of
//! Applied Statistics 1, 2007, which errs towards wide intervals). The best of a group is chosen anew in each resample, so
//! its luck is part of the interval.

use super::claims::{Relation, Spread};
use super::scores::Fused;
use super::stats::quantile;
use crate::experiment::TableId;
use crate::experiment::claims::Metric;
use compute::bootstrap::{Columns, Draw, Statistic};
use std::collections::BTreeMap;

/// Resamples, at least.
const RESAMPLES: usize = 10_000;
/// Resamples for each comparison, at least: the smallest p that n of them can give is 2 / (n + 1), and it has to stay small
/// after a correction for all comparisons.
const RESAMPLES_EACH: usize = 100;
/// Resamples for the intervals of single rows, which need no far tail.
const RESAMPLES_LEVEL: usize = 2_000;
/// Differences of percents that are nothing but rounding of their representation.
const NOTHING: f64 = 1e-9;
pub(super) const CONFIDENCE: f64 = 0.95;
/// Seeds that have to stand behind a decision about trained rows.
pub(super) const SEEDS: usize = 2;

/// A run's seed; `None` where a result depends on none.
pub(super) type Seed = Option<u64>;

/// Everything that is drawn together: the val clips with one column for each (row, metric, seed).
#[derive(Default)]
pub(super) struct Sample {
    clips: Vec<String>,
    labels: Vec<usize>,
    columns: Columns,
    pub(super) index: BTreeMap<(TableId, String, Metric), Vec<(Seed, usize)>>,
}

/// A question made ready to be answered on any draw of clips and seeds.
pub(super) struct Ready {
    /// The number that is resampled: a difference in points, or a number of shared classes.
    pub(super) statistic: Statistic,
    pub(super) claimed: Claimed,
    /// Runs that stand behind it; `usize::MAX` where nothing depends on a seed.
    pub(super) seeds: usize,
}

/// What is said of the statistic.
pub(super) enum Claimed {
    Is(Relation),
    AtLeast(usize),
}

impl Sample {
    /// Adds a row's columns, one a seed; the reason where its clips are not those of the others.
    pub(super) fn add(&mut self, fused: &Fused, metric: Metric) -> Result<Vec<(Seed, usize)>, String> {
        let val = fused.view.shown();
        if self.clips.is_empty() {
            (self.clips, self.labels) = (val.clips.clone(), val.labels.clone());
            self.columns = Columns::new(val.labels.clone());
        } else if self.clips != val.clips || self.labels != val.labels {
            return Err("its rows are not of the same clips".into());
        }
        let right = |ranks: &[u32]| -> Vec<u8> { ranks.iter().map(|r| u8::from((*r as usize) < metric.k())).collect() };
        // A row that stands in several tables is one column.
        Ok(fused.seeds.iter().map(|(seed, ranks)| (*seed, self.columns.add(right(ranks)))).collect())
    }

    /// The results as they are, and for each question its resampled statistic. The same results give the same numbers,
    /// whatever the number of threads.
    pub(super) fn resample(&self, ready: &[&Ready], names: &[String]) -> (Draw, Vec<Vec<f64>>) {
        let statistics: Vec<&Statistic> = ready.iter().map(|r| &r.statistic).collect();
        let resamples = RESAMPLES.max(RESAMPLES_EACH * ready.len());
        (self.columns.observed(&statistics), self.columns.resample(resamples, "claims", &statistics, names))
    }

    /// For each row, given by its columns: its mean over seeds in each resample, in percent of all clips. The same resamples
    /// for all rows, so that two rows are compared clip by clip.
    pub(super) fn draws(&self, rows: &[Vec<usize>]) -> Vec<Vec<f64>> {
        let means: Vec<Statistic> = rows.iter().map(|row| Statistic::Mean(row.clone())).collect();
        self.columns.resample(RESAMPLES_LEVEL, "levels", &means.iter().collect::<Vec<_>>(), &[])
    }
}

impl Ready {
    /// Interval and two-sided p from the resampled statistic: twice the smaller share of resamples in which the claim
    /// holds and does not; what lies on the edge counts for both.
    pub(super) fn spread(&self, mut resampled: Vec<f64>) -> Spread {
        resampled.sort_by(f64::total_cmp);
        let share = |of: &dyn Fn(f64) -> bool| {
            (1 + resampled.iter().filter(|d| of(**d)).count()) as f64 / (resampled.len() + 1) as f64
        };
        let (for_it, against) = match self.claimed {
            Claimed::Is(relation) => (share(&|d| relation.may_hold(d)), share(&|d| !relation.holds(d))),
            Claimed::AtLeast(needed) => (share(&|n| n >= needed as f64), share(&|n| n < needed as f64)),
        };
        let tail = (1.0 - CONFIDENCE) / 2.0;
        Spread {
            interval: (quantile(&resampled, tail), quantile(&resampled, 1.0 - tail)),
            p: (2.0 * for_it.min(against)).min(1.0),
            seeds_suffice: self.seeds >= SEEDS,
        }
    }
}

/// The 95 % interval of resampled values; NaN where there are none.
pub(super) fn interval(mut resampled: Vec<f64>) -> (f64, f64) {
    resampled.sort_by(f64::total_cmp);
    let tail = (1.0 - CONFIDENCE) / 2.0;
    (quantile(&resampled, tail), quantile(&resampled, 1.0 - tail))
}

/// The two-sided p that resampled differences are other than 0: twice the smaller share on either side, with what lies at 0
/// on both.
pub(super) fn p_of_difference(resampled: &[f64]) -> f64 {
    let share = |of: &dyn Fn(f64) -> bool| {
        (1 + resampled.iter().filter(|d| of(**d)).count()) as f64 / (resampled.len() + 1) as f64
    };
    (2.0 * share(&|d| d >= -NOTHING).min(share(&|d| d <= NOTHING))).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sample of columns, no two of them equal, that are right on given clips.
    fn sample(columns: Vec<Vec<u8>>) -> Sample {
        let n = columns[0].len();
        let mut sample = Sample { columns: Columns::new((0..n).map(|i| i % 4).collect()), ..Sample::default() };
        for (place, column) in columns.into_iter().enumerate() {
            assert_eq!(sample.columns.add(column), place, "columns that differ");
        }
        sample
    }

    /// The intervals of rows' means.
    fn levels(sample: &Sample, rows: &[Vec<usize>]) -> Vec<(f64, f64)> {
        sample.draws(rows).into_iter().map(interval).collect()
    }

    fn rows(left: Vec<Vec<usize>>, right: Vec<Vec<usize>>, seeds: usize) -> Ready {
        Ready { statistic: Statistic::Difference(left, right), claimed: Claimed::Is(Relation::Beats(0.0)), seeds }
    }

    fn first_right(n: usize, of: usize) -> Vec<u8> {
        (0..of).map(|i| u8::from(i < n)).collect()
    }

    #[test]
    fn the_interval_is_that_of_paired_differences() {
        // 60 of 400 clips are right in the first row alone, 20 in the second alone: the difference is 10 points, and its
        // standard error sqrt((80 - 40^2 / 400) / 400^2) = 2.18 points.
        let left = first_right(60, 400);
        let right: Vec<u8> = (0..400).map(|i| u8::from((60..80).contains(&i))).collect();
        let s = sample(vec![left, right]);
        let question = rows(vec![vec![0]], vec![vec![1]], usize::MAX);
        let (observed, mut resampled) = s.resample(&[&question], &[]);
        assert_eq!(question.statistic.of(&observed, &[]), 10.0);
        let spread = question.spread(resampled.remove(0));
        assert!((spread.interval.0 - (10.0 - 1.96 * 2.18)).abs() < 0.3, "{spread:?}");
        assert!((spread.interval.1 - (10.0 + 1.96 * 2.18)).abs() < 0.3, "{spread:?}");
        assert!(spread.p < 0.001 && spread.seeds_suffice, "{spread:?}");
        // The same again gives the same numbers.
        assert_eq!(question.spread(s.resample(&[&question], &[]).1.remove(0)), spread);
    }

    #[test]
    fn rows_that_agree_on_every_clip_decide_nothing() {
        let s = sample(vec![first_right(10, 40)]);
        let question = rows(vec![vec![0]], vec![vec![0]], usize::MAX);
        let spread = question.spread(s.resample(&[&question], &[]).1.remove(0));
        assert_eq!((spread.interval, spread.p), ((0.0, 0.0), 1.0));
    }

    #[test]
    fn seeds_that_disagree_widen_the_interval() {
        // +20 points in one seed, none in the other.
        let columns = vec![first_right(120, 400), first_right(40, 400)];
        let s = sample(columns);
        let both = rows(vec![vec![0, 1]], vec![vec![1, 1]], 2);
        let one = rows(vec![vec![0]], vec![vec![1]], 1);
        let (_, resampled) = s.resample(&[&both, &one], &[]);
        let spreads: Vec<Spread> = [&both, &one].into_iter().zip(resampled).map(|(q, r)| q.spread(r)).collect();
        assert!(spreads[0].interval.0 <= 0.0 && spreads[0].p > 0.1, "{spreads:?}");
        assert!(spreads[1].interval.0 > 10.0 && !spreads[1].seeds_suffice, "{spreads:?}");
    }

    #[test]
    fn the_best_of_a_group_is_chosen_in_each_resample() {
        let s = sample(vec![first_right(20, 40), (0..40).map(|i| u8::from(i >= 20)).collect()]);
        // Two rows that are equally good on other clips: the better of them is above 50 % in most resamples.
        let question = rows(vec![vec![0], vec![1]], vec![vec![0]], usize::MAX);
        let (observed, mut resampled) = s.resample(&[&question], &[]);
        assert_eq!(question.statistic.of(&observed, &[]), 0.0);
        let spread = question.spread(resampled.remove(0));
        assert!(spread.interval.0 == 0.0 && spread.interval.1 > 10.0 && spread.p > 0.9, "{spread:?}");
    }

    #[test]
    fn levels_are_those_of_a_proportion() {
        // 120 of 400: standard error of a proportion 2.29 points. With one seed no other spread is there.
        let s = sample(vec![first_right(120, 400), first_right(160, 400)]);
        let levels = levels(&s, &[vec![0], vec![0, 1]]);
        assert!((levels[0].0 - (30.0 - 1.96 * 2.29)).abs() < 0.6, "{levels:?}");
        assert!((levels[0].1 - (30.0 + 1.96 * 2.29)).abs() < 0.6, "{levels:?}");
        // Two seeds 10 points apart: the interval of their mean reaches beyond either's.
        assert!(levels[1].1 - levels[1].0 > levels[0].1 - levels[0].0, "{levels:?}");
    }

    #[test]
    fn intervals_agree_with_scipy() {
        let fixture: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/fixtures/bootstrap.json")).unwrap();
        for case in fixture["cases"].as_array().unwrap() {
            let bits = |key: &str| -> Vec<u8> { case[key].as_str().unwrap().bytes().map(|b| b - b'0').collect() };
            let (left, right) = (bits("left"), bits("right"));
            let n = left.len();
            let s = sample(vec![left, right]);
            let question = rows(vec![vec![0]], vec![vec![1]], usize::MAX);
            let difference = question.spread(s.resample(&[&question], &[]).1.remove(0)).interval;
            // Both draw at random: quantiles of 10,000 draws move by about a fiftieth of a standard deviation, and by one
            // clip where the statistic is that coarse.
            let near = |ours: (f64, f64), theirs: &serde_json::Value, slack: f64| {
                let (low, high) = (theirs[0].as_f64().unwrap(), theirs[1].as_f64().unwrap());
                let slack = slack * (high - low) + 100.5 / n as f64;
                assert!((ours.0 - low).abs() < slack && (ours.1 - high).abs() < slack, "{ours:?} {theirs} of {n}");
            };
            near(difference, &case["difference"], 0.02);
            near(levels(&s, &[vec![0]])[0], &case["level"], 0.04);
        }
    }
}
