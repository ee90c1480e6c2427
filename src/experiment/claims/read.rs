//! `claims.yaml` read and checked: what it names is in the tables, and what it says makes sense.

use super::claim::{Claim, Claims, Metric};
use super::pairs::Mismatch;
use crate::experiment::layers::Layers;
use crate::experiment::{Problem, Tables};
use std::collections::HashSet;

impl Claims {
    /// Reads and checks a `claims.yaml`: ids are unique and, where `tables` are those it was written for, every row,
    /// column and table is one of theirs.
    pub fn read(layers: &Layers, tables: Option<&Tables>) -> Result<Claims, Problem> {
        let claims: Claims = layers.read()?;
        let mut ids = HashSet::new();
        for (i, claim) in claims.claims.iter().enumerate() {
            let at = format!("claims[{i}]");
            if !ids.insert(&claim.id) {
                return Err(layers.at(&format!("{at}.id"), format!("{} stands twice", claim.id)));
            }
            if let Some(place) = (1..claim.metrics.len()).find(|i| claim.metrics[..*i].contains(&claim.metrics[*i])) {
                let message = format!("{}: {} stands twice", claim.id, claim.metrics[place].word());
                return Err(layers.at(&format!("{at}.metrics[{place}]"), message));
            }
            if claim.metrics.is_empty() {
                return Err(layers.at(&format!("{at}.metrics"), format!("{}: name a metric: top1, top5", claim.id)));
            }
            if !claim.shared.is_empty() && claim.metrics != [Metric::Top1] {
                let message =
                    format!("{}: classes are ranked by top-1, so `shared` goes with `metrics: [top1]`", claim.id);
                return Err(layers.at(&format!("{at}.shared"), message));
            }
            if let Some(tables) = tables {
                claim.check(tables, |path, mismatch| {
                    let path = format!("{at}.{path}");
                    let message = format!("{}: {}", claim.id, mismatch.message);
                    layers.at(&path, message).suggest(&mismatch.wrong, &mismatch.valid)
                })?;
            }
        }
        Ok(claims)
    }
}

impl Claim {
    fn check(&self, tables: &Tables, problem: impl Fn(&str, Mismatch) -> Problem) -> Result<(), Problem> {
        let mut count = 0;
        let of = |path: String, result: Result<usize, Mismatch>| {
            result.map_err(|mismatch| problem(&format!("{path}.{}", mismatch.key), mismatch))
        };
        for (i, comparison) in self.compare.iter().enumerate() {
            count += of(format!("compare[{i}]"), comparison.check(tables))?;
        }
        for (i, order) in self.same_order.iter().enumerate() {
            for (key, comparison) in [("first", &order.first), ("then", &order.then)] {
                let path = format!("same_order[{i}].{key}");
                let pairs = of(path.clone(), comparison.check(tables))?;
                if pairs != 1 || comparison.beat.is_none() {
                    let message = "an order is between two sides: one row or best of a group, and `beat`".to_string();
                    return Err(problem(&path, Mismatch::new("rows", message)));
                }
            }
            count += 1;
        }
        for (i, shared) in self.shared.iter().enumerate() {
            count += of(format!("shared[{i}]"), shared.check(tables))?;
        }
        for (i, comparison) in self.beside.iter().enumerate() {
            of(format!("beside[{i}]"), comparison.check(tables))?;
        }
        match self.at_least {
            Some(k) if k == 0 || k > count => {
                let message = format!("at_least: from 1 to {count}, the comparisons of this claim");
                Err(problem("at_least", Mismatch::new("at_least", message)))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::claim::Comparison;
    use super::*;
    use crate::experiment::TableId;
    use crate::experiment::yaml::Document;
    use std::path::Path;

    fn layers(name: &str, text: &str) -> Layers {
        Layers::new(vec![Document::parse(Path::new(name), text).unwrap()])
    }

    pub(in crate::experiment::claims) fn tables() -> Tables {
        let text = "tables:
  - table: 2
    title: two
    accuracy:
      - {key: baseline, row: b, fuse: aenet}
      - {key: lstm/l2/with, row: r, fuse: aenet(lstm/l2/with)}
      - {key: lstm/kl/with, row: r, fuse: aenet(lstm/kl/with)}
      - {key: autoencoder/l2/with, row: r, fuse: aenet(autoencoder/l2/with)}
      - {key: mean, control: true, row: m, fuse: aenet(mean)}
  - table: classes
    title: five
    improvement:
      - {key: one, column: one, of: rgb+aenet, over: rgb}
      - {key: two, column: two, of: rgb+aenet(best), over: rgb}
";
        Tables::read(&layers("tables.yaml", text), &["aenet".into()]).unwrap()
    }

    pub(in crate::experiment::claims) fn compare(rows: &str, beat: &str) -> Comparison {
        let (rows, beat) = (rows.to_string(), Some(beat.to_string()));
        Comparison { table: TableId::Number(2), rows, beat, by: 0.0, equal: None, within: 0.0 }
    }

    fn problem(body: &str) -> Problem {
        let text = format!("claims:\n  - id: C1\n    claim: words\n{body}");
        Claims::read(&layers("claims.yaml", &text), Some(&tables())).unwrap_err()
    }

    #[test]
    fn a_pattern_of_too_many_stars_is_told() {
        let p =
            problem(&format!("    compare:\n      - {{table: 2, rows: \"{}\", beat: baseline}}\n", "*/".repeat(17)));
        assert!(p.to_string().contains("17 stars; at most 16"), "{p}");
    }

    #[test]
    fn what_is_not_in_the_tables_is_told_with_its_place() {
        let p = problem("    compare:\n      - {table: 2, rows: lsmt/l2/with, beat: baseline}\n");
        assert_eq!((p.line, p.column), (5, 26), "{p}");
        assert!(p.to_string().contains("did you mean \"lstm/l2/with\"?"), "{p}");
        let p = problem("    compare:\n      - {table: 2, rows: lstm/l2/with, beat: basline}\n");
        assert_eq!((p.line, p.column), (5, 46), "{p}");
        let p = problem("    compare:\n      - {table: 3, rows: lstm/l2/with, beat: baseline}\n");
        assert!(p.line == 5 && p.to_string().contains("valid: 2, classes"), "{p}");
        let p = problem("    metrics: [top1]\n    shared:\n      - {table: classes, columns: [one, twoo]}\n");
        assert!(p.line == 6 && p.to_string().contains("did you mean \"two\"?"), "{p}");
        let p = problem("    metrics: [top2]\n");
        assert!(p.to_string().contains("did you mean \"top"), "{p}");
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        for (body, words) in [
            ("    compare:\n      - {table: 2, rows: baseline}\n", "say what"),
            ("    compare:\n      - {table: 2, rows: baseline, beat: mean, within: 1}\n", "goes with"),
            ("    compare:\n      - {table: 2, rows: baseline, beat: mean, by: -1}\n", "0 or more"),
            ("    compare:\n      - {table: classes, rows: one, beat: two}\n", "no rows of accuracies"),
            ("    compare:\n      - {table: 2, rows: baseline, beat: baseline}\n", "no row of"),
            ("    at_least: 2\n    compare:\n      - {table: 2, rows: baseline, beat: mean}\n", "from 1 to 1"),
            ("    shared:\n      - {table: classes, columns: [one, two]}\n", "metrics: [top1]"),
            (
                "    metrics: [top1]\n    shared:\n      - {table: classes, columns: [one, two], at_least: 4}\n",
                "from 1 to 3",
            ),
            ("    compares: []\n", "did you mean"),
        ] {
            let p = problem(body);
            assert!(p.to_string().contains(words), "{body}: {p}");
        }
    }

    #[test]
    fn claims_of_another_table_file_are_left_to_the_evaluation() {
        let text = "claims:\n  - {id: C1, claim: c, compare: [{table: 9, rows: a, beat: b}]}\n";
        assert!(Claims::read(&layers("claims.yaml", text), None).is_ok());
        let plain: Claims = serde_json::from_str(r#"{"claims": [{"id": "C1", "claim": "in words alone"}]}"#).unwrap();
        assert_eq!(plain.claims[0].metrics, Metric::ALL);
    }
}
