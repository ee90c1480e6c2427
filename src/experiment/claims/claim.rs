//! What a claim is made of, as `claims.yaml` writes it.

use crate::experiment::TableId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An accuracy that claims are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// Percent of clips whose class is ranked first.
    Top1,
    /// Percent of clips whose class is among the first five.
    Top5,
}

impl Metric {
    /// Every one.
    pub const ALL: [Metric; 2] = [Metric::Top1, Metric::Top5];

    /// The word in YAML and exports.
    pub fn word(self) -> &'static str {
        match self {
            Metric::Top1 => "top1",
            Metric::Top5 => "top5",
        }
    }

    /// How many of the highest ranks count.
    pub fn k(self) -> usize {
        match self {
            Metric::Top1 => 1,
            Metric::Top5 => 5,
        }
    }
}

/// `rows` beat `beat`, or equal `equal` within a margin. Exactly one of `beat` and `equal` is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    /// The table whose rows are meant.
    pub table: TableId,
    /// A key, a pattern, or `best PATTERN`.
    pub rows: String,
    /// What they should be higher than.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beat: Option<String>,
    /// By more than so many points.
    #[serde(default)]
    pub by: f64,
    /// What they should be as high as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equal: Option<String>,
    /// Give or take so many points.
    #[serde(default)]
    pub within: f64,
}

/// Two comparisons that should come out the same way, whichever that is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SameOrder {
    /// One.
    pub first: Comparison,
    /// The other.
    pub then: Comparison,
}

/// Columns of a table of most improved classes that should name the same ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Shared {
    /// The table.
    pub table: TableId,
    /// Keys of two or more of its columns.
    pub columns: Vec<String>,
    /// How many classes of each count; the table's number by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top: Option<usize>,
    /// How many of them should stand in every column; all by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<usize>,
}

/// One claim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// `C6`.
    pub id: String,
    /// In words of ours.
    pub claim: String,
    /// What it is judged on, each by itself.
    #[serde(default = "both")]
    pub metrics: Vec<Metric>,
    /// Comparisons of rows; every pair counts as one.
    #[serde(default)]
    pub compare: Vec<Comparison>,
    /// Pairs of comparisons; each counts as one.
    #[serde(default)]
    pub same_order: Vec<SameOrder>,
    /// Shared classes; each counts as one.
    #[serde(default)]
    pub shared: Vec<Shared>,
    /// How many of all these have to hold; every one by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<usize>,
    /// Comparisons that are reported beside the claim and do not decide it.
    #[serde(default)]
    pub beside: Vec<Comparison>,
}

fn both() -> Vec<Metric> {
    Metric::ALL.to_vec()
}

/// The contents of `claims.yaml`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    /// The claims.
    pub claims: Vec<Claim>,
}
