//! What a table is made of, as `tables.yaml` writes it.

use super::published::Published;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Published top-1 and top-5, in percent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PublishedAccuracy {
    /// Top-1.
    #[serde(default)]
    pub top1: Option<Published>,
    /// Top-5.
    #[serde(default)]
    pub top5: Option<Published>,
}

/// Published clip counts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PublishedCounts {
    /// Train clips.
    #[serde(default)]
    pub train: Option<Published>,
    /// Val clips.
    #[serde(default)]
    pub val: Option<Published>,
}

/// Which clips a row of Table 1 counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Count {
    /// Clips with sound.
    Sounded,
    /// Clips without.
    Silent,
    /// All.
    Total,
}

/// A row of clip counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CountRow {
    /// The row's name in exports.
    pub key: String,
    /// The row's heading.
    pub row: String,
    /// What it counts.
    pub count: Count,
    /// The paper's numbers.
    #[serde(default)]
    pub published: PublishedCounts,
}

/// A row of accuracies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AccuracyRow {
    /// The row's name in exports.
    pub key: String,
    /// The row's heading.
    pub row: String,
    /// Headings above it, outermost first.
    #[serde(default)]
    pub group: Vec<String>,
    /// What is added up: `rgb+flow+vggish(lstm)`; see [`Fusion`](crate::experiment::fusion_expr::Fusion).
    pub fuse: String,
    /// Not a row of the paper, but a control: set apart.
    #[serde(default)]
    pub control: bool,
    /// The paper's numbers.
    #[serde(default)]
    pub published: PublishedAccuracy,
}

/// A column of most improved classes: per-class top-1 of `of` minus that of `over`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImprovementColumn {
    /// The column's name in exports.
    pub key: String,
    /// The column's heading.
    pub column: String,
    /// The better fusion.
    pub of: String,
    /// The one it is compared with.
    pub over: String,
    /// The paper's classes, most improved first.
    #[serde(default)]
    pub published: Vec<String>,
}

/// A number or a name, such as `4` or `controls`; `"4"` is the number as well.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum TableId {
    /// The paper's number.
    Number(u32),
    /// A name, for tables that the paper does not have.
    Name(String),
}

impl<'de> Deserialize<'de> for TableId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Number(u32),
            Name(String),
        }
        match Raw::deserialize(deserializer) {
            Ok(Raw::Number(number)) => Ok(TableId::Number(number)),
            Ok(Raw::Name(name)) if name.trim().is_empty() => Err(serde::de::Error::custom("a table needs a name")),
            Ok(Raw::Name(name)) => Ok(name.parse().map_or(TableId::Name(name), TableId::Number)),
            Err(_) => Err(serde::de::Error::custom("a table is called by a whole number or a name")),
        }
    }
}

impl std::fmt::Display for TableId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TableId::Number(n) => write!(f, "{n}"),
            TableId::Name(name) => f.write_str(name),
        }
    }
}

/// What a table's rows are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableKind {
    /// Clip counts.
    Counts,
    /// Accuracies.
    Accuracy,
    /// Most improved classes.
    Improvement,
}

impl TableKind {
    /// The key in `tables.yaml`.
    pub fn word(self) -> &'static str {
        match self {
            TableKind::Counts => "counts",
            TableKind::Accuracy => "accuracy",
            TableKind::Improvement => "improvement",
        }
    }
}

/// One table: exactly one of `counts`, `accuracy` and `improvement`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Its number.
    pub table: TableId,
    /// Its heading.
    pub title: String,
    /// Text below it.
    #[serde(default)]
    pub note: String,
    /// What the word `audio` stands for in the rows: the first of these that the data set has.
    #[serde(default)]
    pub audio: Vec<String>,
    /// Values of the grid's further axes that the table is of; the first of each where it says nothing.
    #[serde(default)]
    pub at: BTreeMap<String, serde_json::Value>,
    /// Rows of clip counts.
    #[serde(default)]
    pub counts: Vec<CountRow>,
    /// Rows of accuracies.
    #[serde(default)]
    pub accuracy: Vec<AccuracyRow>,
    /// Columns of most improved classes.
    #[serde(default)]
    pub improvement: Vec<ImprovementColumn>,
    /// How many classes each column of `improvement` lists.
    #[serde(default = "three")]
    pub top: usize,
}

impl Table {
    /// What its rows are.
    pub fn kind(&self) -> TableKind {
        if !self.counts.is_empty() {
            TableKind::Counts
        } else if !self.accuracy.is_empty() {
            TableKind::Accuracy
        } else {
            TableKind::Improvement
        }
    }
}

fn three() -> usize {
    3
}

/// The contents of `tables.yaml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tables {
    /// The tables, in order.
    pub tables: Vec<Table>,
    /// A number of ours agrees with the published one where their difference lies within so many points, all uncertainty
    /// counted in.
    #[serde(default = "two_points")]
    pub agree_within: f64,
}

impl Default for Tables {
    fn default() -> Self {
        Tables { tables: Vec::new(), agree_within: two_points() }
    }
}

fn two_points() -> f64 {
    2.0
}
