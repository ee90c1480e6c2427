//! Our own results as answers to a claim's questions: differences paired by clip and seed, with bootstrap intervals.
//!
//! All rows of an experiment score the same val clips, so two rows are compared clip by clip, within each seed that both
//! have. A clip is right in several seeds or wrong in several: clips and seeds are crossed, and both are drawn anew with
//! replacement for each resample (Owen's pigeonhole bootstrap, Annals of Applied Statistics 1, 2007, which errs towards
//! wide intervals). The best of a group is chosen anew in each resample, so its luck is part of the interval. What a row
//! itself was chosen by, as in `aenet(lstm)`, stays as it was (ledger A13).

use super::claims::{About, Answer, Question, Relation, Source, Spread, Unanswered, shared_by_all};
use super::evaluate::point;
use super::scores::{Fused, Results, Scope};
use super::stats::quantile;
use crate::experiment::claims::{Metric, Side};
use crate::experiment::tables::Table;
use crate::experiment::term::Fusion;
use crate::experiment::{TableId, Tables};
use crate::random::Stream;
use crate::score::Scores;
use crate::store::Error;
use rayon::prelude::*;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// Resamples, at least.
const RESAMPLES: usize = 10_000;
/// Resamples for each comparison, at least: the smallest p that n of them can give is 2 / (n + 1), and it has to stay small
/// after a correction for all comparisons.
const RESAMPLES_EACH: usize = 100;
const CONFIDENCE: f64 = 0.95;
/// Seeds that have to stand behind a decision about trained rows.
const SEEDS: usize = 2;

/// Rows by table and key, as far as they were asked for.
type FusedRows = BTreeMap<(TableId, String), Rc<Result<Fused, Unanswered>>>;

/// A question made ready to be resampled, with the names of its two sides.
type Prepared = Result<(Ready, Vec<String>, Vec<String>), Unanswered>;

/// An experiment's results as a source of answers.
pub struct Ours<'a> {
    results: &'a Results<'a>,
    tables: &'a Tables,
    fused: RefCell<FusedRows>,
}

/// A run's seed; `None` where a result depends on none.
type Seed = Option<u64>;

/// Everything that is drawn together: the val clips with one byte a column, and what is asked of them.
#[derive(Default)]
struct Sample {
    clips: Vec<String>,
    labels: Vec<usize>,
    /// One for each (row, metric, seed): whether each clip is right.
    columns: Vec<Vec<u8>>,
    index: BTreeMap<(TableId, String, Metric), Vec<(Seed, usize)>>,
}

/// A question made ready to be answered on any draw of clips and seeds.
enum Ready {
    /// Columns by row and seed.
    Rows { left: Vec<Vec<usize>>, right: Vec<Vec<usize>>, relation: Relation, seeds: usize },
    /// For each column of the table: (of, over) by seed.
    Classes { columns: Vec<Vec<(usize, usize)>>, depth: usize, needed: usize, seeds: usize },
}

/// How often each clip and which seeds were drawn.
struct Draw {
    /// Right clips by column.
    right: Vec<u32>,
    /// Clips drawn, by class.
    clips: Vec<u32>,
    /// Right clips by column and class, of the columns that questions about classes need.
    by_class: Vec<(usize, Vec<u32>)>,
    /// In [0, 1), one a seed; empty for the results as they are.
    seeds: Vec<f64>,
}

impl<'a> Ours<'a> {
    /// Results of an experiment, read as its tables lay them out.
    pub fn new(results: &'a Results<'a>, tables: &'a Tables) -> Self {
        Ours { results, tables, fused: RefCell::default() }
    }

    /// A row's scores.
    fn fused(&self, table: &Table, fuse: &str) -> Result<Rc<Result<Fused, Unanswered>>, Error> {
        let key = (table.table.clone(), fuse.to_string());
        if let Some(fused) = self.fused.borrow().get(&key) {
            return Ok(fused.clone());
        }
        let at = point(self.results.experiment, table);
        let scope = Scope { audio: &table.audio, at: &at, table: &table.table };
        let fusion = Fusion::parse(fuse).map_err(Error::NotFound)?;
        let fused = Rc::new(self.results.fused(&scope, &fusion)?);
        self.fused.borrow_mut().insert(key, fused.clone());
        Ok(fused)
    }

    /// Adds a fusion's columns to the sample; gives them by seed.
    fn column(
        &self,
        sample: &mut Sample,
        id: &TableId,
        fuse: &str,
        metric: Metric,
    ) -> Result<Result<Vec<(Seed, usize)>, Unanswered>, Error> {
        let key = (id.clone(), fuse.to_string(), metric);
        if let Some(columns) = sample.index.get(&key) {
            return Ok(Ok(columns.clone()));
        }
        let Some(table) = self.tables.tables.iter().find(|t| t.table == *id) else {
            return Ok(Err(format!("there is no table {id}")));
        };
        let fused = self.fused(table, fuse)?;
        let fused = match &*fused {
            Ok(fused) => fused,
            Err(why) => return Ok(Err(why.clone())),
        };
        Ok(sample.add(fused, metric).inspect(|columns| {
            sample.index.insert(key, columns.clone());
        }))
    }

    /// A side's rows that have scores; the reason where none has.
    #[allow(clippy::type_complexity)]
    fn side(
        &self,
        sample: &mut Sample,
        question: &Question,
        side: &Side,
    ) -> Result<Result<(Vec<String>, Vec<Vec<(Seed, usize)>>), Unanswered>, Error> {
        let table = self.tables.tables.iter().find(|t| t.table == question.table);
        let (mut names, mut columns) = (Vec::new(), Vec::new());
        let mut why = format!("table {} has no such row", question.table);
        for key in &side.keys {
            let Some(row) = table.and_then(|t| t.accuracy.iter().find(|r| r.key == *key)) else { continue };
            match self.column(sample, &question.table, &row.fuse, question.metric)? {
                Ok(of_row) => {
                    names.push(key.clone());
                    columns.push(of_row);
                }
                Err(reason) => why = reason,
            }
        }
        Ok(if names.is_empty() { Err(why) } else { Ok((names, columns)) })
    }

    /// A question made ready, with the names of its rows (or nothing).
    #[allow(clippy::type_complexity)]
    fn ready(
        &self,
        sample: &mut Sample,
        question: &Question,
    ) -> Result<Result<(Ready, Vec<String>, Vec<String>), Unanswered>, Error> {
        match &question.about {
            About::Rows(pair, relation) => {
                let (left_names, left) = match self.side(sample, question, &pair.rows)? {
                    Ok(side) => side,
                    Err(why) => return Ok(Err(why)),
                };
                let (right_names, right) = match self.side(sample, question, &pair.other)? {
                    Ok(side) => side,
                    Err(why) => return Ok(Err(why)),
                };
                let Some((seeds, chosen)) = common(left.iter().chain(&right)) else {
                    return Ok(Err("its rows have no seed in common yet".into()));
                };
                let pick = |rows: &[Vec<(Seed, usize)>]| rows.iter().map(|row| by_seed(row, &chosen)).collect();
                let ready = Ready::Rows { left: pick(&left), right: pick(&right), relation: *relation, seeds };
                Ok(Ok((ready, left_names, right_names)))
            }
            About::Classes { columns, depth, needed } => {
                let table = self.tables.tables.iter().find(|t| t.table == question.table);
                let mut sides = Vec::new();
                for key in columns {
                    let Some(column) = table.and_then(|t| t.improvement.iter().find(|c| c.key == *key)) else {
                        return Ok(Err(format!("table {} has no column {key:?}", question.table)));
                    };
                    for fuse in [&column.of, &column.over] {
                        match self.column(sample, &question.table, fuse, question.metric)? {
                            Ok(of_row) => sides.push(of_row),
                            Err(why) => return Ok(Err(why)),
                        }
                    }
                }
                let Some((seeds, chosen)) = common(sides.iter()) else {
                    return Ok(Err("its columns have no seed in common yet".into()));
                };
                let picked: Vec<Vec<usize>> = sides.iter().map(|side| by_seed(side, &chosen)).collect();
                let columns =
                    picked.chunks(2).map(|two| two[0].iter().copied().zip(two[1].iter().copied()).collect()).collect();
                Ok(Ok((Ready::Classes { columns, depth: *depth, needed: *needed, seeds }, Vec::new(), Vec::new())))
            }
        }
    }
}

/// The seeds that all rows have, with how many trained runs stand behind a comparison: `usize::MAX` where nothing depends on
/// a seed. `None` where they have none in common.
fn common<'r>(rows: impl Iterator<Item = &'r Vec<(Seed, usize)>>) -> Option<(usize, Vec<Seed>)> {
    let seeded: Vec<Vec<Seed>> = rows
        .map(|row| row.iter().map(|(seed, _)| *seed).collect::<Vec<Seed>>())
        .filter(|seeds| seeds.iter().any(Option::is_some))
        .collect();
    let Some(first) = seeded.first() else { return Some((usize::MAX, vec![None])) };
    let all: Vec<Seed> = first.iter().filter(|s| seeded.iter().all(|of| of.contains(s))).copied().collect();
    if all.is_empty() { None } else { Some((all.len(), all)) }
}

/// A row's columns for these seeds; one that depends on none is the same for all.
fn by_seed(row: &[(Seed, usize)], seeds: &[Seed]) -> Vec<usize> {
    let of = |seed: &Seed| row.iter().find(|(s, _)| s == seed || s.is_none()).map(|(_, column)| *column);
    seeds.iter().filter_map(of).collect()
}

impl Sample {
    fn add(&mut self, fused: &Fused, metric: Metric) -> Result<Vec<(Seed, usize)>, Unanswered> {
        let val = &fused.view.val;
        if self.clips.is_empty() {
            (self.clips, self.labels) = (val.clips.clone(), val.labels.clone());
        } else if self.clips != val.clips || self.labels != val.labels {
            return Err("its rows are not of the same val clips".into());
        }
        let right = |scores: &Scores| -> Vec<u8> {
            let labels = self.labels.iter().enumerate();
            labels.map(|(clip, &label)| u8::from(scores.right(clip, label, metric.k()))).collect()
        };
        let mut out = Vec::new();
        for (seed, scores) in &fused.seeds {
            let column = right(scores);
            // A row that stands in several tables is one column.
            let place = self.columns.iter().position(|c| *c == column).unwrap_or(self.columns.len());
            if place == self.columns.len() {
                self.columns.push(column);
            }
            out.push((*seed, place));
        }
        Ok(out)
    }

    /// The columns side by side, clip by clip.
    fn by_clip(&self) -> Vec<u8> {
        let width = self.columns.len();
        let mut out = vec![0; width * self.clips.len()];
        for (c, column) in self.columns.iter().enumerate() {
            column.iter().enumerate().for_each(|(clip, right)| out[clip * width + c] = *right);
        }
        out
    }

    /// Counts over clips, which may come more than once.
    fn count(&self, by_clip: &[u8], of_class: &[usize], clips: impl Iterator<Item = usize>, seeds: Vec<f64>) -> Draw {
        let width = self.columns.len();
        let classes = self.labels.iter().max().map_or(0, |m| m + 1);
        let mut draw = Draw {
            right: vec![0; width],
            clips: vec![0; classes],
            by_class: of_class.iter().map(|c| (*c, vec![0; classes])).collect(),
            seeds,
        };
        for clip in clips {
            let row = &by_clip[clip * width..][..width];
            draw.right.iter_mut().zip(row).for_each(|(sum, right)| *sum += u32::from(*right));
            draw.clips[self.labels[clip]] += 1;
            for (column, counts) in &mut draw.by_class {
                counts[self.labels[clip]] += u32::from(row[*column]);
            }
        }
        draw
    }
}

impl Draw {
    /// Which of a question's seeds were drawn.
    fn seeds(&self, of: usize) -> Vec<usize> {
        if self.seeds.is_empty() {
            return (0..of).collect();
        }
        self.seeds[..of].iter().map(|u| ((u * of as f64) as usize).min(of - 1)).collect()
    }

    /// The best of some rows, mean over seeds in percent of all clips; the first of equal ones.
    fn best(&self, rows: &[Vec<usize>], seeds: &[usize]) -> (usize, f64) {
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
    fn top(&self, columns: &[(usize, usize)], seeds: &[usize], depth: usize, names: &[String]) -> Vec<usize> {
        let right = |column: usize, class: usize| {
            self.by_class.iter().find(|(c, _)| *c == column).map_or(0.0, |(_, counts)| f64::from(counts[class]))
        };
        let gain = |class: usize| -> f64 {
            let sum: f64 = seeds.iter().map(|s| right(columns[*s].0, class) - right(columns[*s].1, class)).sum();
            sum / f64::from(self.clips[class])
        };
        let name = |class: usize| names.get(class).map_or("", String::as_str);
        let mut ranked: Vec<(f64, usize)> =
            (0..self.clips.len()).filter(|c| self.clips[*c] > 0).map(|c| (gain(c), c)).collect();
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| name(a.1).cmp(name(b.1))));
        ranked.into_iter().take(depth).map(|(_, class)| class).collect()
    }
}

impl Ready {
    /// How many seeds it is drawn from.
    fn width(&self) -> usize {
        let first = match self {
            Ready::Rows { left, .. } => left.first().map(Vec::len),
            Ready::Classes { columns, .. } => columns.first().map(Vec::len),
        };
        first.unwrap_or(1)
    }

    /// The number that is resampled: a difference in points, or a number of shared classes.
    fn statistic(&self, draw: &Draw, names: &[String]) -> f64 {
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
    fn spread(&self, mut resampled: Vec<f64>) -> Spread {
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

impl Source for Ours<'_> {
    fn answers(&self, questions: &[Question]) -> Result<Vec<Result<Answer, Unanswered>>, Error> {
        let mut sample = Sample::default();
        let prepared: Vec<Prepared> = questions.iter().map(|q| self.ready(&mut sample, q)).collect::<Result<_, _>>()?;
        self.fused.borrow_mut().clear();
        let ready: Vec<&Ready> = prepared.iter().flatten().map(|(ready, ..)| ready).collect();
        let classes = &self.results.dataset.manifest.classes;
        let (observed, resampled) = sample.resample(&ready, classes);
        let mut spreads = ready.iter().zip(resampled).map(|(ready, values)| ready.spread(values));
        Ok(prepared
            .iter()
            .map(|prepared| {
                let (ready, left, right) = prepared.as_ref().map_err(Clone::clone)?;
                let spread = spreads.next();
                let seeds = observed.seeds(ready.width());
                Ok(match ready {
                    Ready::Rows { left: l, right: r, .. } => {
                        let ((a, value), (b, other)) = (observed.best(l, &seeds), observed.best(r, &seeds));
                        Answer { left: left[a].clone(), right: right[b].clone(), value, other, spread }
                    }
                    Ready::Classes { columns, depth, .. } => {
                        let lists: Vec<Vec<usize>> =
                            columns.iter().map(|c| observed.top(c, &seeds, *depth, classes)).collect();
                        let shared = shared_by_all(&lists);
                        let names: Vec<&str> =
                            shared.iter().filter_map(|c| classes.get(*c).map(String::as_str)).collect();
                        let (value, left) = (shared.len() as f64, names.join(", "));
                        Answer { left, right: String::new(), value, other: *depth as f64, spread }
                    }
                })
            })
            .collect())
    }
}

impl Sample {
    /// The results as they are, and for each question its resampled statistic. The same results give the same numbers,
    /// whatever the number of threads.
    fn resample(&self, ready: &[&Ready], names: &[String]) -> (Draw, Vec<Vec<f64>>) {
        let by_clip = self.by_clip();
        let mut of_class: Vec<usize> = Vec::new();
        for ready in ready {
            if let Ready::Classes { columns, .. } = ready {
                of_class.extend(columns.iter().flatten().flat_map(|(of, over)| [*of, *over]));
            }
        }
        of_class.sort_unstable();
        of_class.dedup();
        let n = self.clips.len();
        let observed = self.count(&by_clip, &of_class, 0..n, Vec::new());
        if n == 0 || ready.is_empty() {
            return (observed, vec![Vec::new(); ready.len()]);
        }
        let most = ready.iter().map(|r| r.width()).max().unwrap_or(1);
        let drawn: Vec<Vec<f64>> = (0..RESAMPLES.max(RESAMPLES_EACH * ready.len()))
            .into_par_iter()
            .map(|r| {
                let mut stream = Stream::new(r as u64, "claims");
                let seeds: Vec<f64> = (0..most).map(|_| stream.uniform()).collect();
                let draw = self.count(&by_clip, &of_class, (0..n).map(|_| stream.below(n)), seeds);
                ready.iter().map(|question| question.statistic(&draw, names)).collect()
            })
            .collect();
        let values = (0..ready.len()).map(|q| drawn.iter().map(|stats| stats[q]).collect()).collect();
        (observed, values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sample of columns that are right on given clips, and a question about the first against the second.
    fn sample(columns: Vec<Vec<u8>>) -> Sample {
        let n = columns[0].len();
        let clips = (0..n).map(|i| i.to_string()).collect();
        Sample { clips, labels: (0..n).map(|i| i % 4).collect(), columns, index: BTreeMap::new() }
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
    fn seeds_are_those_that_all_rows_have() {
        let trained = vec![(Some(0), 0), (Some(1), 1), (Some(2), 2)];
        let fewer = vec![(Some(2), 5), (Some(1), 6)];
        let fixed = vec![(None, 9)];
        let (n, seeds) = common([&fixed, &trained, &fewer].into_iter()).unwrap();
        assert_eq!((n, &seeds[..]), (2, &[Some(1), Some(2)][..]));
        assert_eq!(by_seed(&fewer, &seeds), [6, 5]);
        assert_eq!(by_seed(&fixed, &seeds), [9, 9]);
        assert!(common([&trained, &vec![(Some(7), 1)]].into_iter()).is_none());
        assert_eq!(common([&fixed].into_iter()).unwrap().0, usize::MAX);
    }
}
