//! What a number of a table measures: its unit, which way is better, and how many decimals it is given with.

use crate::experiment::claims::Metric;
use serde::{Serialize, Serializer};

/// The unit of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Share of clips, in percent.
    Percent,
    /// Whole clips.
    Clips,
    /// Differences of percentages.
    Points,
}

impl Unit {
    /// As it stands behind a heading.
    pub fn word(self) -> &'static str {
        match self {
            Unit::Percent => "%",
            Unit::Clips => "clips",
            Unit::Points => "points",
        }
    }
}

/// Which numbers are the good ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The higher, the better.
    Higher,
    /// Neither is better: a fact about the data.
    Neither,
}

/// What a number of a table measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    /// An accuracy over all val clips, or test clips where there are any.
    Accuracy(Metric),
    /// Train clips.
    TrainClips,
    /// Val clips.
    ValClips,
    /// Test clips.
    TestClips,
    /// Top-1 of a class under one fusion minus that under another.
    ClassGain,
}

impl Measure {
    /// The word in exports.
    pub fn word(self) -> &'static str {
        match self {
            Measure::Accuracy(metric) => metric.word(),
            Measure::TrainClips => "train",
            Measure::ValClips => "val",
            Measure::TestClips => "test",
            Measure::ClassGain => "difference",
        }
    }

    /// As a heading.
    pub fn heading(self) -> &'static str {
        match self {
            Measure::Accuracy(Metric::Top1) => "Top-1",
            Measure::Accuracy(Metric::Top5) => "Top-5",
            Measure::TrainClips => "Train",
            Measure::ValClips => "Val",
            Measure::TestClips => "Test",
            Measure::ClassGain => "Gain",
        }
    }

    /// Its unit.
    pub fn unit(self) -> Unit {
        match self {
            Measure::Accuracy(_) => Unit::Percent,
            Measure::TrainClips | Measure::ValClips | Measure::TestClips => Unit::Clips,
            Measure::ClassGain => Unit::Points,
        }
    }

    /// Which way is better.
    pub fn direction(self) -> Direction {
        match self.unit() {
            Unit::Percent | Unit::Points => Direction::Higher,
            Unit::Clips => Direction::Neither,
        }
    }

    /// Decimals that it is shown with.
    pub fn decimals(self) -> usize {
        match self.unit() {
            Unit::Percent | Unit::Points => 2,
            Unit::Clips => 0,
        }
    }
}

impl Serialize for Measure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}
