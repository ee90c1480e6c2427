//! What a claim asks of a table, and what an answer is.

use crate::experiment::TableId;
use crate::experiment::claims::{Metric, Pair};
use crate::store::Error;

/// Differences of percents that are nothing but rounding of their representation.
pub(super) const NOTHING: f64 = 1e-9;

/// What one side should be to the other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Relation {
    /// Higher by more than so many points.
    Beats(f64),
    /// As high, give or take so many points.
    Equals(f64),
}

impl Relation {
    /// Whether a difference is as claimed.
    pub fn holds(self, difference: f64) -> bool {
        match self {
            Relation::Beats(by) => difference > by + NOTHING,
            Relation::Equals(within) => difference.abs() <= within + NOTHING,
        }
    }

    /// Whether a difference is as claimed, or just at its edge.
    pub fn may_hold(self, difference: f64) -> bool {
        match self {
            Relation::Beats(by) => difference >= by - NOTHING,
            Relation::Equals(_) => self.holds(difference),
        }
    }
}

/// What a question is about.
#[derive(Clone, Debug, PartialEq)]
pub enum About {
    /// Two sides of an accuracy table.
    Rows(Pair, Relation),
    /// Columns of a table of classes, and how many of the first so many should stand in all of them.
    Classes {
        /// Keys of the columns.
        columns: Vec<String>,
        /// How many of each count.
        depth: usize,
        /// How many should be shared.
        needed: usize,
    },
}

/// One question to a source.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// The table.
    pub table: TableId,
    /// The metric.
    pub metric: Metric,
    /// What is asked.
    pub about: About,
}

/// Chance and spread of an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// 95 % interval of the difference, uncorrected.
    pub interval: (f64, f64),
    /// Two-sided, uncorrected.
    pub p: f64,
    /// Whether enough seeds stand behind it to decide anything.
    pub seeds_suffice: bool,
}

/// A source's answer: the two values, or the number of shared classes and of classes asked about.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The row (the best one of a group), or the classes that are shared.
    pub left: String,
    /// The row that it is compared with.
    pub right: String,
    /// The first value, or the number of shared classes.
    pub value: f64,
    /// The second value.
    pub other: f64,
    /// `None` for values without spread.
    pub spread: Option<Spread>,
}

/// Why a question has no answer.
pub type Unanswered = String;

/// Where values come from.
pub trait Source {
    /// Answers in the order of the questions.
    fn answers(&self, questions: &[Question]) -> Result<Vec<Result<Answer, Unanswered>>, Error>;
}

/// What stands in every list, in the order of the first.
pub(in crate::report) fn shared_by_all<T: PartialEq + Clone>(lists: &[Vec<T>]) -> Vec<T> {
    let Some((first, rest)) = lists.split_first() else { return Vec::new() };
    first.iter().filter(|class| rest.iter().all(|list| list.contains(class))).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn margins_and_equality() {
        assert!(Relation::Beats(0.0).holds(0.01) && !Relation::Beats(0.0).holds(0.0));
        assert!(Relation::Beats(0.5).holds(0.51) && !Relation::Beats(0.5).holds(0.5));
        assert!(Relation::Equals(0.5).holds(-0.5) && !Relation::Equals(0.5).holds(0.51));
    }
}
