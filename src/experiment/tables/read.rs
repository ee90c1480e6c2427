//! `tables.yaml` read and checked: rows name what the experiment can have, keys are unique, fusions parse, and values keep the
//! precision that they are printed with.

use super::published::Published;
use super::table::Tables;
use crate::brief::shortened;
use crate::experiment::fusion_expr::Fusion;
use crate::experiment::grid::AXES;
use crate::experiment::layers::Layers;
use crate::experiment::problem::Problem;
use crate::experiment::same::same;
use std::collections::BTreeMap;

/// Letters of a row's or column's key.
const KEY: usize = 200;

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
    pub(in crate::experiment) fn at_points_of(
        &mut self,
        grid: &BTreeMap<String, Vec<serde_json::Value>>,
        layers: &Layers,
        own: bool,
    ) -> Result<(), Problem> {
        let axes: Vec<&String> = grid.keys().filter(|axis| !AXES.contains(&axis.as_str())).collect();
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
pub(super) mod tests {
    use super::*;
    use crate::experiment::yaml::Document;
    use std::path::Path;

    pub(in crate::experiment::tables) fn read(text: &str) -> Result<Tables, Problem> {
        let layers = Layers::new(vec![Document::parse(Path::new("tables.yaml"), text).unwrap()]);
        Tables::read(&layers, &["vggish".into()])
    }

    pub(in crate::experiment::tables) fn published(top1: &str) -> Result<Published, Problem> {
        let text = format!(
            "tables:\n  - table: 1\n    title: t\n    accuracy:\n      - {{key: a, row: a, fuse: rgb, published: {{top1: {top1}}}}}\n"
        );
        read(&text).map(|tables| tables.tables[0].accuracy[0].published.top1.clone().unwrap())
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
