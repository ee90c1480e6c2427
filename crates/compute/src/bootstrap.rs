//! The pigeonhole bootstrap: clips and seeds are crossed, and both are drawn anew with replacement (Owen, Annals of Applied
//! Statistics 1, 2007).
//!
//! A [`Columns`] says of every val clip whether it is right, in one column for each row and seed. A [`Statistic`] is a number
//! that follows from these; [`Columns::resample`] works it out on one draw of clips and seeds after the other.

use crate::rng::Rng;
use rayon::prelude::*;
use std::collections::HashMap;
use std::ops::Range;

/// Right and wrong clips, (columns, N), and what class each clip is of.
#[derive(Default)]
pub struct Columns {
    labels: Vec<usize>,
    columns: Vec<Vec<u8>>,
    /// Where the column with a hash stands.
    places: HashMap<[u8; 32], usize>,
}

/// Clips in the order of their classes, so that a class's are counted in one go, and the columns that are counted by class.
struct ClassOrder {
    clips: Vec<usize>,
    /// Where each class's clips lie.
    classes: Vec<Range<usize>>,
    /// Columns in that order, by number.
    columns: Vec<(usize, Vec<u8>)>,
}

/// A number that follows from right clips. Columns are named by their place, one for each seed.
#[derive(Clone, Debug, PartialEq)]
pub enum Statistic {
    /// The mean of a row over its seeds, in percent of all clips.
    Mean(Vec<usize>),
    /// The best row of the first group less the best of the second: means over seeds, in percent of all clips.
    Difference(Vec<Vec<usize>>, Vec<Vec<usize>>),
    /// How many of the classes that gain most are the same in all columns of a table; for each of these, by seed, (of, over).
    Shared {
        /// The columns of the table.
        columns: Vec<Vec<(usize, usize)>>,
        /// How many classes of each count.
        depth: usize,
    },
}

/// How often each clip and which seeds were drawn.
pub struct Draw {
    /// Right clips by column.
    right: Vec<u32>,
    /// Clips drawn, by class.
    clips: Vec<u32>,
    /// Right clips by column and class, of the columns that statistics of classes need, in the order of their numbers.
    by_class: Vec<(usize, Vec<u32>)>,
    /// In [0, 1), one a seed; empty for the results as they are.
    seeds: Vec<f64>,
}

impl Columns {
    /// No columns yet, of clips with these classes.
    pub fn new(labels: Vec<usize>) -> Columns {
        Columns { labels, ..Columns::default() }
    }

    /// Clips.
    pub fn clips(&self) -> usize {
        self.labels.len()
    }

    /// Adds a column, 1 where a clip is right; gives its place. One that is there already is not added again.
    pub fn add(&mut self, column: Vec<u8>) -> usize {
        // There are as many as rows and seeds, so they are found by their hash.
        let place = *self.places.entry(*blake3::hash(&column).as_bytes()).or_insert(self.columns.len());
        if place == self.columns.len() {
            self.columns.push(column);
        }
        place
    }

    /// The results as they are, for statistics of which these are the ones about classes.
    pub fn observed(&self, statistics: &[&Statistic]) -> Draw {
        self.count(&vec![1; self.clips()], &self.class_order(&of_class(statistics)), Vec::new())
    }

    /// So many values of each statistic. The draws depend on their number and `purpose` alone, so that all statistics are of
    /// the same ones and the same results give the same values, whatever the number of threads. Classes that gain as much are
    /// taken in the order of `names`.
    pub fn resample(
        &self,
        resamples: usize,
        purpose: &str,
        statistics: &[&Statistic],
        names: &[String],
    ) -> Vec<Vec<f64>> {
        if self.labels.is_empty() || statistics.is_empty() {
            return vec![Vec::new(); statistics.len()];
        }
        let order = self.class_order(&of_class(statistics));
        let most = statistics.iter().map(|s| s.seeds()).max().unwrap_or(1);
        let drawn: Vec<Vec<f64>> = (0..resamples)
            .into_par_iter()
            .map(|r| {
                let mut stream = Rng::new(r as u64, purpose);
                let seeds: Vec<f64> = (0..most).map(|_| stream.uniform()).collect();
                let draw = self.count(&self.draw_clips(&mut stream), &order, seeds);
                statistics.iter().map(|statistic| statistic.of(&draw, names)).collect()
            })
            .collect();
        (0..statistics.len()).map(|s| drawn.iter().map(|values| values[s]).collect()).collect()
    }

    /// Clips by class, with these columns, in the order of their numbers.
    fn class_order(&self, columns: &[usize]) -> ClassOrder {
        let mut clips: Vec<usize> = (0..self.clips()).collect();
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
        let n = self.clips();
        let mut times = vec![0u16; n];
        for _ in 0..n {
            let clip = stream.below(n);
            times[clip] = times[clip].saturating_add(1);
        }
        times
    }
}

/// The columns that statistics of classes need.
fn of_class(statistics: &[&Statistic]) -> Vec<usize> {
    let mut of_class: Vec<usize> = Vec::new();
    for statistic in statistics {
        if let Statistic::Shared { columns, .. } = statistic {
            of_class.extend(columns.iter().flatten().flat_map(|(of, over)| [*of, *over]));
        }
    }
    of_class.sort_unstable();
    of_class.dedup();
    of_class
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
    /// Which of a statistic's seeds were drawn.
    pub fn seeds(&self, of: usize) -> Vec<usize> {
        if self.seeds.is_empty() {
            return (0..of).collect();
        }
        self.seeds[..of].iter().map(|u| ((u * of as f64) as usize).min(of - 1)).collect()
    }

    /// The best of some rows, mean over seeds in percent of all clips; the first of equal ones.
    pub fn best(&self, rows: &[Vec<usize>], seeds: &[usize]) -> (usize, f64) {
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
    pub fn top(&self, columns: &[(usize, usize)], seeds: &[usize], depth: usize, names: &[String]) -> Vec<usize> {
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

impl Statistic {
    /// How many seeds it is drawn from.
    pub fn seeds(&self) -> usize {
        let first = match self {
            Statistic::Mean(row) => Some(row.len()),
            Statistic::Difference(left, _) => left.first().map(Vec::len),
            Statistic::Shared { columns, .. } => columns.first().map(Vec::len),
        };
        first.unwrap_or(1)
    }

    /// Its value on a draw.
    pub fn of(&self, draw: &Draw, names: &[String]) -> f64 {
        let seeds = draw.seeds(self.seeds());
        match self {
            Statistic::Mean(row) => draw.best(std::slice::from_ref(row), &seeds).1,
            Statistic::Difference(left, right) => draw.best(left, &seeds).1 - draw.best(right, &seeds).1,
            Statistic::Shared { columns, depth } => {
                let mut lists = columns.iter().map(|c| draw.top(c, &seeds, *depth, names));
                let first = lists.next().unwrap_or_default();
                let rest: Vec<Vec<usize>> = lists.collect();
                first.iter().filter(|class| rest.iter().all(|list| list.contains(class))).count() as f64
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_ranked_as_in_the_table() {
        let mut columns = Columns::new((0..8).map(|i| i % 4).collect());
        for column in [[1, 1, 0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 1, 0, 0, 1], [1, 1, 1, 0, 1, 1, 0, 0]] {
            columns.add(column.to_vec());
        }
        let names: Vec<String> = ["d", "c", "b", "a"].map(String::from).to_vec();
        let shared = Statistic::Shared { columns: vec![vec![(0, 1)], vec![(2, 1)]], depth: 2 };
        let observed = columns.observed(&[&shared]);
        // Gains of the first: d 50, c 100, b 0, a -50 points; of the second: d 50, c 100, b 50, a -50 (b before d).
        assert_eq!(observed.top(&[(0, 1)], &[0], 2, &names), [1, 0]);
        assert_eq!(observed.top(&[(2, 1)], &[0], 3, &names), [1, 2, 0]);
        assert_eq!(shared.of(&observed, &names), 1.0);
    }

    #[test]
    fn counting_in_blocks_is_counting() {
        let column: Vec<u8> = (0..1000).map(|i| u8::from(i % 3 == 0)).collect();
        let times: Vec<u16> = (0..1000).map(|i| (i % 7) as u16).collect();
        let slow: u32 = column.iter().zip(&times).map(|(c, t)| u32::from(*c) * u32::from(*t)).sum();
        assert_eq!(right(&column, &times), slow);
    }

    #[test]
    fn equal_columns_are_one() {
        let mut columns = Columns::new(vec![0, 1]);
        assert_eq!([vec![1, 0], vec![0, 1], vec![1, 0]].map(|column| columns.add(column)), [0, 1, 0]);
    }
}
