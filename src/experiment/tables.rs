//! `tables.yaml`: the published tables as data. A row fuses cells; a published value keeps its printed precision.

use super::document::Problem;
use super::layers::Layers;
use super::term::Fusion;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A value as a paper prints it: the number and how many decimals it is given with.
#[derive(Clone, Debug, PartialEq, JsonSchema)]
#[schemars(with = "String")]
pub struct Published {
    /// The number.
    pub value: f64,
    /// Decimals; rounding alone makes it uncertain by half a unit of the last one.
    pub decimals: usize,
}

impl Published {
    /// Reads `"4.70"`, `"55,196"`.
    pub fn parse(text: &str) -> Option<Published> {
        let plain = text.trim().replace(',', "");
        let valid = plain.chars().all(|c| c.is_ascii_digit() || c == '.' || c == '-');
        let value: f64 = plain.parse().ok().filter(|_| valid)?;
        Some(Published { value, decimals: plain.split_once('.').map_or(0, |(_, d)| d.len()) })
    }
}

impl<'de> Deserialize<'de> for Published {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Text(String),
            Number(serde_json::Number),
        }
        let text = match Raw::deserialize(deserializer) {
            Ok(Raw::Text(text)) => text,
            Ok(Raw::Number(number)) => number.to_string(),
            Err(_) => return Err(serde::de::Error::custom("a published value should be a number such as \"4.70\"")),
        };
        Published::parse(&text).ok_or_else(|| {
            serde::de::Error::custom(format!(
                "published value {text:?} is no number; write it as printed, such as \"4.70\""
            ))
        })
    }
}

impl Serialize for Published {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_string())
    }
}

impl std::fmt::Display for Published {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.*}", self.decimals, self.value)
    }
}

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
    /// What is added up: `rgb+flow+vggish(lstm)`; see [`Fusion`].
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

/// A number or a name, such as `4` or `controls`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum TableId {
    /// The paper's number.
    Number(u32),
    /// A name, for tables that the paper does not have.
    Name(String),
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

impl Tables {
    /// Reads and checks a `tables.yaml`: rows name what the experiment can have, keys are unique, fusions parse.
    ///
    /// `audios` are the experiment's audio features. Whether a data set has a stream is only known later.
    pub fn read(layers: &Layers, audios: &[String]) -> Result<Tables, Problem> {
        let tables: Tables = layers.read()?;
        if !(tables.agree_within.is_finite() && tables.agree_within >= 0.0) {
            return Err(layers.at("agree_within", "should be a number of points, 0 or more"));
        }
        for (t, table) in tables.tables.iter().enumerate() {
            let path = format!("tables[{t}]");
            let kinds = [table.counts.is_empty(), table.accuracy.is_empty(), table.improvement.is_empty()];
            if kinds.iter().filter(|empty| !**empty).count() != 1 {
                return Err(layers.at(
                    &path,
                    format!("table {}: give rows under exactly one of counts, accuracy, improvement", table.table),
                ));
            }
            if let Some(first) = tables.tables[..t].iter().find(|other| other.table == table.table) {
                return Err(layers.at(&format!("{path}.table"), format!("two tables are called {}", first.table)));
            }
            let mut keys = std::collections::HashSet::new();
            let mut unique = |key: &String, path: String| {
                if keys.insert(key.clone()) {
                    Ok(())
                } else {
                    Err(layers.at(&path, format!("key {key:?} stands twice in table {}", table.table)))
                }
            };
            let check = |text: &str, path: String| -> Result<(), Problem> {
                let fusion = Fusion::parse(text).map_err(|message| layers.at(&path, message))?;
                for term in &fusion.terms {
                    if term.name == "audio" && table.audio.is_empty() {
                        return Err(layers
                            .at(&path, "`audio` stands for nothing here")
                            .help("give the table `audio: [...]`, or name the feature"));
                    }
                    if term.choice.is_some() && term.name != "audio" && !audios.contains(&term.name) {
                        let message = format!("{:?} is not an audio feature of the grid", term.name);
                        return Err(layers.at(&path, message).suggest(&term.name, audios));
                    }
                }
                Ok(())
            };
            for (i, row) in table.counts.iter().enumerate() {
                unique(&row.key, format!("{path}.counts[{i}].key"))?;
            }
            for (i, row) in table.accuracy.iter().enumerate() {
                unique(&row.key, format!("{path}.accuracy[{i}].key"))?;
                check(&row.fuse, format!("{path}.accuracy[{i}].fuse"))?;
            }
            for (i, column) in table.improvement.iter().enumerate() {
                unique(&column.key, format!("{path}.improvement[{i}].key"))?;
                check(&column.of, format!("{path}.improvement[{i}].of"))?;
                check(&column.over, format!("{path}.improvement[{i}].over"))?;
            }
        }
        Ok(tables)
    }
}
