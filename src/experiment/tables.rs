//! `tables.yaml`: the published tables as data. A row fuses cells; a published value keeps its printed precision.

use super::config::Config;
use super::fusion_expr::{Choice, Fusion, Term};
use super::grid::{EXTERNAL, externals};
use super::layers::Layers;
use super::problem::Problem;
use super::problem::shortened;
use super::same::same;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Letters of a row's or column's key.
const KEY: usize = 200;

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
    /// Reads `"4.70"`, `"55,196"`: digits with a decimal point, and commas between groups of three digits or nowhere. A decimal
    /// comma (`"4,70"`) is refused; read as a thousands separator it would make 470 of 4.7.
    pub fn parse(text: &str) -> Option<Published> {
        let text = text.trim();
        let (sign, rest) = text.strip_prefix('-').map_or((1.0, text), |rest| (-1.0, rest));
        let (whole, decimals) = rest.split_once('.').unwrap_or((rest, ""));
        let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        let mut groups = whole.split(',');
        let first = groups.next().unwrap_or_default();
        let mut later = groups.clone();
        let grouped = later.next().is_some();
        let first_fits = digits(first) && if grouped { (1..=3).contains(&first.len()) } else { first.len() <= 15 };
        if !first_fits || !groups.all(|group| group.len() == 3 && digits(group)) || !digits(decimals) {
            return None;
        }
        if decimals.len() > 15 || whole.len() > 20 || (first.is_empty() && decimals.is_empty()) {
            return None;
        }
        let value: f64 = format!("0{}.{decimals}0", whole.replace(',', "")).parse().ok()?;
        Some(Published { value: sign * value, decimals: decimals.len() })
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
                "published value {:?} is no number; write it as printed, with a decimal point, such as \"4.70\" or \"55,196\"",
                shortened(&text, 40)
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

impl Tables {
    /// Reads and checks a `tables.yaml`: rows name what the experiment can have, keys are unique, fusions parse.
    ///
    /// `audios` are the experiment's audio features. Whether a data set has a stream is only known later.
    pub fn read(layers: &Layers, audios: &[String]) -> Result<Tables, Problem> {
        let mut tables: Tables = layers.read()?;
        tables.check_published(layers)?;
        if !(tables.agree_within.is_finite() && tables.agree_within >= 0.0) {
            return Err(layers.at("agree_within", "should be a number of points, 0 or more"));
        }
        let mut ids = std::collections::HashSet::new();
        for (t, table) in tables.tables.iter().enumerate() {
            let path = format!("tables[{t}]");
            let kinds = [table.counts.is_empty(), table.accuracy.is_empty(), table.improvement.is_empty()];
            if kinds.iter().filter(|empty| !**empty).count() != 1 {
                return Err(layers.at(
                    &path,
                    format!("table {}: give rows under exactly one of counts, accuracy, improvement", table.table),
                ));
            }
            if !ids.insert(&table.table) {
                return Err(layers.at(&format!("{path}.table"), format!("two tables are called {}", table.table)));
            }
            let mut keys = std::collections::HashSet::new();
            let mut unique = |key: &String, path: String| {
                if key.chars().count() > KEY {
                    return Err(layers.at(&path, format!("a key of more than {KEY} letters")));
                }
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

    /// The same with a row for each generator from elsewhere on the grid, in every table of generated features alone that has none:
    /// `audio(external:mygan)` below `audio(lstm/l2/with)`.
    pub fn with_externals(mut self, config: &Config) -> Tables {
        for table in &mut self.tables {
            for name in externals(config) {
                let choice = Choice::External(name.into());
                let mut of: Option<String> = None;
                let mut there = false;
                for row in &table.accuracy {
                    let Ok(fusion) = Fusion::parse(&row.fuse) else { continue };
                    there |= fusion.terms.iter().any(|term| term.choice.as_ref() == Some(&choice));
                    if let [Term { name, choice: Some(Choice::Cell(..)) }] = &fusion.terms[..] {
                        of.get_or_insert(name.clone());
                    }
                }
                let key = format!("{EXTERNAL}{name}");
                let Some(audio) = of.filter(|_| !there && !table.accuracy.iter().any(|row| row.key == key)) else {
                    continue;
                };
                let row = AccuracyRow {
                    fuse: format!("{audio}({key})"),
                    key,
                    row: name.into(),
                    group: vec!["Generated elsewhere".into()],
                    control: false,
                    published: PublishedAccuracy::default(),
                };
                // Behind the other generators, before the controls.
                let place = table.accuracy.iter().position(|row| row.control).unwrap_or(table.accuracy.len());
                table.accuracy.insert(place, row);
            }
        }
        self
    }

    /// Every published value as it is printed and within what it can be. YAML reads `4.70` without quotes as 4.7, whose
    /// precision is another one, so the decimals are taken from the file.
    fn check_published(&mut self, layers: &Layers) -> Result<(), Problem> {
        for (t, table) in self.tables.iter_mut().enumerate() {
            for (i, row) in table.counts.iter_mut().enumerate() {
                for (key, value) in [("train", &mut row.published.train), ("val", &mut row.published.val)] {
                    let path = format!("tables[{t}].counts[{i}].published.{key}");
                    let whole = |p: &Published| p.decimals == 0 && p.value >= 0.0;
                    as_printed(value, layers, &path, whole, "a count is a whole number, such as \"55,196\"")?;
                }
            }
            for (i, row) in table.accuracy.iter_mut().enumerate() {
                for (key, value) in [("top1", &mut row.published.top1), ("top5", &mut row.published.top5)] {
                    let path = format!("tables[{t}].accuracy[{i}].published.{key}");
                    let percent = |p: &Published| (0.0..=100.0).contains(&p.value);
                    as_printed(value, layers, &path, percent, "an accuracy is a percentage, from 0 to 100")?;
                }
            }
        }
        Ok(())
    }

    /// Writes the values of `at` as the grid writes them (`1.0` where its axis says 1). With `own`, one that is on no axis of
    /// the grid is told; tables that are inherited may be of another grid.
    pub(super) fn at_points_of(
        &mut self,
        grid: &BTreeMap<String, Vec<serde_json::Value>>,
        layers: &Layers,
        own: bool,
    ) -> Result<(), Problem> {
        let axes: Vec<&String> = grid.keys().filter(|axis| !super::grid::AXES.contains(&axis.as_str())).collect();
        for (t, table) in self.tables.iter_mut().enumerate() {
            for (axis, value) in &mut table.at {
                let path = format!("tables[{t}].at.{axis}");
                let values = grid.get(axis).filter(|_| axes.contains(&axis));
                match values.map(|values| values.iter().find(|v| same(v, value))) {
                    Some(Some(of_the_grid)) => *value = of_the_grid.clone(),
                    None if own => {
                        let message = format!("{axis:?} is none of the grid's further axes");
                        return Err(layers.at_key(&path, message).suggest(axis, &axes));
                    }
                    Some(None) if own => {
                        let wrong = shortened(&value.to_string(), 60);
                        let valid: Vec<String> = values.into_iter().flatten().map(|v| v.to_string()).collect();
                        let problem = layers.at(&path, format!("{wrong} is not on the axis {axis:?}"));
                        return Err(problem.suggest(&wrong, &valid));
                    }
                    Some(None) | None => {}
                }
            }
        }
        Ok(())
    }
}

/// Takes a published value from the file as it is printed there, and complains of one that does not fit.
fn as_printed(
    value: &mut Option<Published>,
    layers: &Layers,
    path: &str,
    fits: impl Fn(&Published) -> bool,
    complaint: &str,
) -> Result<(), Problem> {
    let Some(value) = value else { return Ok(()) };
    let written = layers.written(path).unwrap_or_default().trim().trim_matches(['"', '\'']);
    match Published::parse(written) {
        Some(printed) if printed.value == value.value => *value = printed,
        _ if written.is_empty() || written.starts_with('*') => {}
        _ => {
            let message =
                format!("published value {:?}: write it as printed, such as \"4.70\"", shortened(written, 40));
            return Err(layers.at(path, message));
        }
    }
    match fits(value) {
        true => Ok(()),
        false => Err(layers.at(path, format!("published value {value}: {complaint}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::yaml::Document;
    use std::path::Path;

    fn read(text: &str) -> Result<Tables, Problem> {
        let layers = Layers::new(vec![Document::parse(Path::new("tables.yaml"), text).unwrap()]);
        Tables::read(&layers, &["vggish".into()])
    }

    fn published(top1: &str) -> Result<Published, Problem> {
        let text = format!(
            "tables:\n  - table: 1\n    title: t\n    accuracy:\n      - {{key: a, row: a, fuse: rgb, published: {{top1: {top1}}}}}\n"
        );
        read(&text).map(|tables| tables.tables[0].accuracy[0].published.top1.clone().unwrap())
    }

    #[test]
    fn published_values_keep_the_precision_they_are_printed_with() {
        for (text, value, decimals) in [
            ("\"4.70\"", 4.7, 2),
            ("4.70", 4.7, 2),
            ("'4.7'", 4.7, 1),
            ("4", 4.0, 0),
            ("0.50", 0.5, 2),
            (".5", 0.5, 1),
            ("100", 100.0, 0),
        ] {
            let p = published(text).unwrap();
            assert_eq!((p.value, p.decimals), (value, decimals), "{text}");
        }
        assert_eq!(Published::parse("55,196").unwrap().value, 55196.0);
        assert_eq!(Published::parse("1,234,567.50").unwrap(), Published { value: 1234567.5, decimals: 2 });
    }

    #[test]
    fn what_is_no_printed_percentage_is_refused() {
        for text in [
            "\"4,70\"",
            "\"11,8\"",
            "\"4,700\"",
            "\"1,2,3\"",
            "\",5\"",
            "\"4.7.0\"",
            "\"4 .7\"",
            "470",
            "-1",
            "1e1",
            "0x10",
            "\"\"",
            "\".\"",
            "\"-\"",
            "\"4.7%\"",
            "\"٤\"",
            ".inf",
            ".nan",
            "true",
            "[4]",
            "\"0,470\"",
            "\"12345678901234567890\"",
        ] {
            let p = published(text);
            assert!(p.is_err() || text == "\"0,470\"", "{text}: {p:?}");
        }
        let p = published("\"4,70\"").unwrap_err();
        assert!(p.line == 5 && p.message.contains("decimal point"), "{p}");
        let p = published("470").unwrap_err();
        assert!(p.message.contains("from 0 to 100"), "{p}");
        let text = "tables:\n  - {table: 1, title: t, counts: [{key: a, row: a, count: total, published: {train: \"55.196\"}}]}\n";
        assert!(read(text).unwrap_err().message.contains("whole number"));
    }

    #[test]
    fn a_table_has_one_name_however_it_is_quoted() {
        let table = |id: &str| format!("  - {{table: {id}, title: t, accuracy: [{{key: a, row: a, fuse: rgb}}]}}\n");
        let p = read(&format!("tables:\n{}{}", table("4"), table("\"4\""))).unwrap_err();
        assert!(p.message.contains("two tables are called 4"), "{p}");
        assert!(read(&format!("tables:\n{}", table("4.5"))).unwrap_err().message.contains("whole number or a name"));
    }

    #[test]
    fn a_point_of_a_table_is_found_however_it_is_written_and_one_that_is_not_there_is_told() {
        let text = |at: &str| {
            format!("tables:\n  - {{table: 1, title: t, at: {{{at}}}, accuracy: [{{key: a, row: a, fuse: rgb}}]}}\n")
        };
        let grid = BTreeMap::from([("svm.c".to_string(), vec![serde_json::json!(1), serde_json::json!(10)])]);
        let at = |at: &str, own: bool| {
            let layers = Layers::new(vec![Document::parse(Path::new("tables.yaml"), &text(at)).unwrap()]);
            let mut tables = Tables::read(&layers, &[]).unwrap();
            tables.at_points_of(&grid, &layers, own).map(|()| tables.tables[0].at.clone())
        };
        assert_eq!(at("svm.c: 1.0", true).unwrap()["svm.c"].to_string(), "1");
        assert!(at("svm.c: 3", true).unwrap_err().message.contains("3 is not on the axis \"svm.c\""));
        assert!(at("svm.d: 1", true).unwrap_err().to_string().contains("did you mean \"svm.c\"?"));
        assert!(at("svm.c: 3", false).is_ok() && at("svm.d: 1", false).is_ok());
    }
}
