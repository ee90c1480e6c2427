//! The pigeonhole bootstrap behind every interval: of single rows, of differences, of shared classes.
//!
//! All rows of an experiment score the same val clips. A clip is right in several seeds or wrong in several: clips and
//! seeds are crossed, and both are drawn anew with replacement for each resample (Owen's pigeonhole bootstrap, Annals of
//! Applied Statistics 1, 2007, which errs towards wide intervals). The best of a group is chosen anew in each resample, so
//! its luck is part of the interval.

use super::claims::{Relation, Spread, shared_by_all};
use super::scores::Fused;
use super::stats::quantile;
use crate::experiment::TableId;
use crate::experiment::claims::Metric;
use compute::rng::Rng;
use rayon::prelude::*;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

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

/// Everything that is drawn together: the val clips with one byte a column, and what is asked of them.
#[derive(Default)]
pub(super) struct Sample {
    clips: Vec<String>,
    labels: Vec<usize>,
    /// One for each (row, metric, seed): whether each clip is right.
    columns: Vec<Vec<u8>>,
    /// Where the column with a hash stands.
    places: HashMap<[u8; 32], usize>,
    pub(super) index: BTreeMap<(TableId, String, Metric), Vec<(Seed, usize)>>,
}

/// Clips in the order of their classes, so that a class's are counted in one go, and the columns that are counted by class.
struct ClassOrder {
    clips: Vec<usize>,
    /// Where each class's clips lie.
    classes: Vec<Range<usize>>,
    /// Columns in that order, by number.
    columns: Vec<(usize, Vec<u8>)>,
}

/// A question made ready to be answered on any draw of clips and seeds.
pub(super) enum Ready {
    /// Columns by row and seed.
    Rows { left: Vec<Vec<usize>>, right: Vec<Vec<usize>>, relation: Relation, seeds: usize },
    /// For each column of the table: (of, over) by seed.
    Classes { columns: Vec<Vec<(usize, usize)>>, depth: usize, needed: usize, seeds: usize },
}

/// How often each clip and which seeds were drawn.
pub(super) struct Draw {
    /// Right clips by column.
    right: Vec<u32>,
    /// Clips drawn, by class.
    clips: Vec<u32>,
    /// Right clips by column and class, of the columns that questions about classes need, in the order of their numbers.
    by_class: Vec<(usize, Vec<u32>)>,
    /// In [0, 1), one a seed; empty for the results as they are.
    seeds: Vec<f64>,
}

impl Sample {
    /// Adds a row's columns, one a seed; the reason where its clips are not those of the others.
    pub(super) fn add(&mut self, fused: &Fused, metric: Metric) -> Result<Vec<(Seed, usize)>, String> {
        let val = fused.view.shown();
        if self.clips.is_empty() {
            (self.clips, self.labels) = (val.clips.clone(), val.labels.clone());
        } else if self.clips != val.clips || self.labels != val.labels {
            return Err("its rows are not of the same clips".into());
        }
        let right = |ranks: &[u32]| -> Vec<u8> { ranks.iter().map(|r| u8::from((*r as usize) < metric.k())).collect() };
        let mut out = Vec::new();
        for (seed, ranks) in &fused.seeds {
            let column = right(ranks);
            // A row that stands in several tables is one column. There are as many as rows and seeds, so they are found by their hash.
            let hash = blake3::hash(&column);
            let place = *self.places.entry(*hash.as_bytes()).or_insert(self.columns.len());
            if place == self.columns.len() {
                self.columns.push(column);
            }
            out.push((*seed, place));
        }
        Ok(out)
    }

    /// Clips by class, with these columns, in the order of their numbers.
    fn class_order(&self, columns: &[usize]) -> ClassOrder {
        let mut clips: Vec<usize> = (0..self.labels.len()).collect();
        clips.sort_by_key(|clip| self.labels[*clip]);
        let end = |class: usize| clips.partition_point(|clip| self.labels[*clip] < class);
        let classes =
            (0..self.labels.iter().max().map_or(0, |m| m + 1)).map(|class| end(class)..end(class + 1)).collect();
        let sorted = |column: &usize| (*column, clips.iter().map(|clip| self.columns[*column][*clip]).collect());
        ClassOrder { columns: columns.iter().map(sorted).collect(), classes, clips }
    }

    /// Counts over clips, each taken so many times.
    fn count(&self, times: &[u16], order: &ClassOrder, seeds: Vec<f64>) -> Draw {
        let sorted: Vec<u16> = order.clips.iter().map(|clip| times[*clip]).collect();
        let of_classes = || order.classes.iter().cloned();
        let by_class = |column: &[u8]| of_classes().map(|of| right(&column[of.clone()], &sorted[of])).collect();
        Draw {
            right: self.columns.iter().map(|column| right(column, times)).collect(),
            clips: of_classes().map(|of| sorted[of].iter().map(|times| u32::from(*times)).sum()).collect(),
            by_class: order.columns.iter().map(|(number, column)| (*number, by_class(column))).collect(),
            seeds,
        }
    }

    /// How often each clip is drawn in a resample of as many.
    fn draw_clips(&self, stream: &mut Rng) -> Vec<u16> {
        let n = self.clips.len();
        let mut times = vec![0u16; n];
        for _ in 0..n {
            let clip = stream.below(n);
            times[clip] = times[clip].saturating_add(1);
        }
        times
    }
}

/// Right clips of a column, each taken so many times.
fn right(column: &[u8], times: &[u16]) -> u32 {
    // Short blocks add up in 16 bits, which a processor does many at a time.
    let of_block = |(column, times): (&[u8], &[u16])| {
        let sum: u16 =
            column.iter().zip(times).fold(0u16, |sum, (c, t)| sum.wrapping_add(u16::from(*c).wrapping_mul(*t)));
        u32::from(sum)
    };
    column.chunks(64).zip(times.chunks(64)).map(of_block).sum()
}

impl Draw {
    /// Which of a question's seeds were drawn.
    pub(super) fn seeds(&self, of: usize) -> Vec<usize> {
        if self.seeds.is_empty() {
            return (0..of).collect();
        }
        self.seeds[..of].iter().map(|u| ((u * of as f64) as usize).min(of - 1)).collect()
    }

    /// The best of some rows, mean over seeds in percent of all clips; the first of equal ones.
    pub(super) fn best(&self, rows: &[Vec<usize>], seeds: &[usize]) -> (usize, f64) {
        let all = f64::from(self.clips.iter().sum::<u32>()) * seeds.len() as f64;
        let mut best = (0, f64::NEG_INFINITY);
        for (i, row) in rows.iter().enumerate() {
            let right: u64 = seeds.iter().map(|s| u64::from(self.right[row[*s]])).sum();
            let percent = 100.0 * right as f64 / all;
            if percent > best.1 {
                best = (i, percent);
            }
        }
        best
    }

    /// The classes with the highest gain, in order; equal ones in the order of `names`.
    pub(super) fn top(
        &self,
        columns: &[(usize, usize)],
        seeds: &[usize],
        depth: usize,
        names: &[String],
    ) -> Vec<usize> {
        let none = vec![0; self.clips.len()];
        let right = |column: usize| match self.by_class.binary_search_by_key(&column, |(number, _)| *number) {
            Ok(at) => &self.by_class[at].1,
            Err(_) => &none,
        };
        // Of whole numbers, so the order of adding does not matter.
        let mut gains = vec![0i64; self.clips.len()];
        for (of, over) in seeds.iter().map(|s| columns[*s]) {
            let both = right(of).iter().zip(right(over));
            gains.iter_mut().zip(both).for_each(|(gain, (of, over))| *gain += i64::from(*of) - i64::from(*over));
        }
        let gain = |class: usize| gains[class] as f64 / f64::from(self.clips[class]);
        let name = |class: usize| names.get(class).map_or("", String::as_str);
        let mut ranked: Vec<(f64, usize)> =
            (0..self.clips.len()).filter(|c| self.clips[*c] > 0).map(|c| (gain(c), c)).collect();
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| name(a.1).cmp(name(b.1))));
        ranked.into_iter().take(depth).map(|(_, class)| class).collect()
    }
}

impl Ready {
    /// How many seeds it is drawn from.
    pub(super) fn width(&self) -> usize {
        let first = match self {
            Ready::Rows { left, .. } => left.first().map(Vec::len),
            Ready::Classes { columns, .. } => columns.first().map(Vec::len),
        };
        first.unwrap_or(1)
    }

    /// The number that is resampled: a difference in points, or a number of shared classes.
    pub(super) fn statistic(&self, draw: &Draw, names: &[String]) -> f64 {
        let seeds = draw.seeds(self.width());
        match self {
            Ready::Rows { left, right, .. } => draw.best(left, &seeds).1 - draw.best(right, &seeds).1,
            Ready::Classes { columns, depth, .. } => {
                let lists: Vec<Vec<usize>> = columns.iter().map(|c| draw.top(c, &seeds, *depth, names)).collect();
                shared_by_all(&lists).len() as f64
            }
        }
    }

    /// Interval and two-sided p from the resampled statistic: twice the smaller share of resamples in which the claim
    /// holds and does not; what lies on the edge counts for both.
    pub(super) fn spread(&self, mut resampled: Vec<f64>) -> Spread {
        resampled.sort_by(f64::total_cmp);
        let share = |of: &dyn Fn(f64) -> bool| {
            (1 + resampled.iter().filter(|d| of(**d)).count()) as f64 / (resampled.len() + 1) as f64
        };
        let (for_it, against, seeds) = match self {
            Ready::Rows { relation, seeds, .. } => {
                (share(&|d| relation.may_hold(d)), share(&|d| !relation.holds(d)), *seeds)
            }
            Ready::Classes { needed, seeds, .. } => {
                (share(&|n| n >= *needed as f64), share(&|n| n < *needed as f64), *seeds)
            }
        };
        let tail = (1.0 - CONFIDENCE) / 2.0;
        Spread {
            interval: (quantile(&resampled, tail), quantile(&resampled, 1.0 - tail)),
            p: (2.0 * for_it.min(against)).min(1.0),
            seeds_suffice: seeds >= SEEDS,
        }
    }
}

impl Sample {
    /// The results as they are, and for each question its resampled statistic. The same results give the same numbers,
    /// whatever the number of threads.
    pub(super) fn resample(&self, ready: &[&Ready], names: &[String]) -> (Draw, Vec<Vec<f64>>) {
        let mut of_class: Vec<usize> = Vec::new();
        for ready in ready {
            if let Ready::Classes { columns, .. } = ready {
                of_class.extend(columns.iter().flatten().flat_map(|(of, over)| [*of, *over]));
            }
        }
        of_class.sort_unstable();
        of_class.dedup();
        let n = self.clips.len();
        let order = self.class_order(&of_class);
        let observed = self.count(&vec![1; n], &order, Vec::new());
        if n == 0 || ready.is_empty() {
            return (observed, vec![Vec::new(); ready.len()]);
        }
        let most = ready.iter().map(|r| r.width()).max().unwrap_or(1);
        let drawn: Vec<Vec<f64>> = (0..RESAMPLES.max(RESAMPLES_EACH * ready.len()))
            .into_par_iter()
            .map(|r| {
                let mut stream = Rng::new(r as u64, "claims");
                let seeds: Vec<f64> = (0..most).map(|_| stream.uniform()).collect();
                let draw = self.count(&self.draw_clips(&mut stream), &order, seeds);
                ready.iter().map(|question| question.statistic(&draw, names)).collect()
            })
            .collect();
        let values = (0..ready.len()).map(|q| drawn.iter().map(|stats| stats[q]).collect()).collect();
        (observed, values)
    }

    /// For each row, given by its columns: its mean over seeds in each resample, in percent of all clips. The same resamples
    /// for all rows, so that two rows are compared clip by clip.
    pub(super) fn draws(&self, rows: &[Vec<usize>]) -> Vec<Vec<f64>> {
        if self.clips.is_empty() || rows.is_empty() {
            return vec![Vec::new(); rows.len()];
        }
        let (most, order) = (rows.iter().map(Vec::len).max().unwrap_or(1), self.class_order(&[]));
        let drawn: Vec<Vec<f64>> = (0..RESAMPLES_LEVEL)
            .into_par_iter()
            .map(|r| {
                let mut stream = Rng::new(r as u64, "levels");
                let seeds: Vec<f64> = (0..most).map(|_| stream.uniform()).collect();
                let draw = self.count(&self.draw_clips(&mut stream), &order, seeds);
                rows.iter().map(|row| draw.best(std::slice::from_ref(row), &draw.seeds(row.len())).1).collect()
            })
            .collect();
        (0..rows.len()).map(|row| drawn.iter().map(|means| means[row]).collect()).collect()
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

    /// A sample of columns that are right on given clips, and a question about the first against the second.
    fn sample(columns: Vec<Vec<u8>>) -> Sample {
        let n = columns[0].len();
        let clips = (0..n).map(|i| i.to_string()).collect();
        Sample { clips, labels: (0..n).map(|i| i % 4).collect(), columns, ..Sample::default() }
    }

    /// The intervals of rows' means.
    fn levels(sample: &Sample, rows: &[Vec<usize>]) -> Vec<(f64, f64)> {
        sample.draws(rows).into_iter().map(interval).collect()
    }

    fn rows(left: Vec<Vec<usize>>, right: Vec<Vec<usize>>, seeds: usize) -> Ready {
        Ready::Rows { left, right, relation: Relation::Beats(0.0), seeds }
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
        assert_eq!(question.statistic(&observed, &[]), 10.0);
        let spread = question.spread(resampled.remove(0));
        assert!((spread.interval.0 - (10.0 - 1.96 * 2.18)).abs() < 0.3, "{spread:?}");
        assert!((spread.interval.1 - (10.0 + 1.96 * 2.18)).abs() < 0.3, "{spread:?}");
        assert!(spread.p < 0.001 && spread.seeds_suffice, "{spread:?}");
        // The same again gives the same numbers.
        assert_eq!(question.spread(s.resample(&[&question], &[]).1.remove(0)), spread);
    }

    #[test]
    fn rows_that_agree_on_every_clip_decide_nothing() {
        let s = sample(vec![first_right(10, 40), first_right(10, 40)]);
        let question = rows(vec![vec![0]], vec![vec![1]], usize::MAX);
        let spread = question.spread(s.resample(&[&question], &[]).1.remove(0));
        assert_eq!((spread.interval, spread.p), ((0.0, 0.0), 1.0));
    }

    #[test]
    fn seeds_that_disagree_widen_the_interval() {
        // +20 points in one seed, none in the other.
        let columns = vec![first_right(120, 400), first_right(40, 400), first_right(40, 400)];
        let s = sample(columns);
        let both = rows(vec![vec![0, 1]], vec![vec![2, 2]], 2);
        let one = rows(vec![vec![0]], vec![vec![2]], 1);
        let (_, resampled) = s.resample(&[&both, &one], &[]);
        let spreads: Vec<Spread> = [&both, &one].into_iter().zip(resampled).map(|(q, r)| q.spread(r)).collect();
        assert!(spreads[0].interval.0 <= 0.0 && spreads[0].p > 0.1, "{spreads:?}");
        assert!(spreads[1].interval.0 > 10.0 && !spreads[1].seeds_suffice, "{spreads:?}");
    }

    #[test]
    fn the_best_of_a_group_is_chosen_in_each_resample() {
        let s = sample(vec![first_right(20, 40), (0..40).map(|i| u8::from(i >= 20)).collect(), first_right(20, 40)]);
        // Two rows that are equally good on other clips: the better of them is above 50 % in most resamples.
        let question = rows(vec![vec![0], vec![1]], vec![vec![2]], usize::MAX);
        let (observed, mut resampled) = s.resample(&[&question], &[]);
        assert_eq!(question.statistic(&observed, &[]), 0.0);
        let spread = question.spread(resampled.remove(0));
        assert!(spread.interval.0 == 0.0 && spread.interval.1 > 10.0 && spread.p > 0.9, "{spread:?}");
    }

    #[test]
    fn classes_are_ranked_as_in_the_table() {
        let columns = vec![vec![1, 1, 0, 0, 1, 1, 0, 0], vec![0, 0, 0, 0, 1, 0, 0, 1], vec![1, 1, 1, 0, 1, 1, 0, 0]];
        let s = sample(columns);
        let names: Vec<String> = ["d", "c", "b", "a"].map(String::from).to_vec();
        let question =
            Ready::Classes { columns: vec![vec![(0, 1)], vec![(2, 1)]], depth: 2, needed: 2, seeds: usize::MAX };
        let (observed, _) = s.resample(&[&question], &names);
        // Gains of the first: d 50, c 100, b 0, a -50 points; of the second: d 50, c 100, b 50, a -50 (b before d).
        assert_eq!(observed.top(&[(0, 1)], &[0], 2, &names), [1, 0]);
        assert_eq!(observed.top(&[(2, 1)], &[0], 3, &names), [1, 2, 0]);
        assert_eq!(question.statistic(&observed, &names), 1.0);
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
    fn counting_in_blocks_is_counting() {
        let column: Vec<u8> = (0..1000).map(|i| u8::from(i % 3 == 0)).collect();
        let times: Vec<u16> = (0..1000).map(|i| (i % 7) as u16).collect();
        let slow: u32 = column.iter().zip(&times).map(|(c, t)| u32::from(*c) * u32::from(*t)).sum();
        assert_eq!(right(&column, &times), slow);
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
