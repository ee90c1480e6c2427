//! The paper's own values as answers.

use super::question::{About, Answer, Question, Source, Unanswered, shared_by_all};
use crate::experiment::TableId;
use crate::experiment::claims::{Metric, Side};
use crate::experiment::tables::{Published, Tables};
use crate::store::Error;

/// The paper's own values.
pub struct Paper<'a>(pub &'a Tables);

impl Paper<'_> {
    fn value(&self, id: &TableId, key: &str, metric: Metric) -> Result<f64, Unanswered> {
        let table = self.0.tables.iter().find(|t| t.table == *id);
        let row = table.and_then(|t| t.accuracy.iter().find(|r| r.key == *key));
        let value: Option<&Published> = row.and_then(|r| match metric {
            Metric::Top1 => r.published.top1.as_ref(),
            Metric::Top5 => r.published.top5.as_ref(),
        });
        value.map(|p| p.value).ok_or_else(|| format!("{key} of table {id} has no published {}", metric.word()))
    }

    /// The best row of a side that has a value.
    fn side(&self, id: &TableId, side: &Side, metric: Metric) -> Result<(String, f64), Unanswered> {
        let mut best: Result<(String, f64), Unanswered> = Err("no row".into());
        for key in &side.keys {
            let value = self.value(id, key, metric);
            best = match (best, value) {
                (Ok(best), Ok(value)) if value <= best.1 => Ok(best),
                (_, Ok(value)) => Ok((key.clone(), value)),
                (Ok(best), Err(_)) => Ok(best),
                (Err(_), Err(why)) => Err(why),
            };
        }
        best
    }

    fn answer(&self, question: &Question) -> Result<Answer, Unanswered> {
        match &question.about {
            About::Rows(pair, _) => {
                let (left, value) = self.side(&question.table, &pair.rows, question.metric)?;
                let (right, other) = self.side(&question.table, &pair.other, question.metric)?;
                Ok(Answer { left, right, value, other, spread: None })
            }
            About::Classes { columns, depth, .. } => {
                let table = self.0.tables.iter().find(|t| t.table == question.table);
                let mut lists = Vec::new();
                for key in columns {
                    let column = table.and_then(|t| t.improvement.iter().find(|c| c.key == *key));
                    let classes = column.map(|c| c.published.clone()).unwrap_or_default();
                    if classes.len() < *depth {
                        let table = &question.table;
                        return Err(format!("{key} of table {table} has no {depth} published classes"));
                    }
                    lists.push(classes[..*depth].to_vec());
                }
                let shared = shared_by_all(&lists);
                let (value, left) = (shared.len() as f64, shared.join(", "));
                Ok(Answer { left, right: String::new(), value, other: *depth as f64, spread: None })
            }
        }
    }
}

impl Source for Paper<'_> {
    fn answers(&self, questions: &[Question]) -> Result<Vec<Result<Answer, Unanswered>>, Error> {
        Ok(questions.iter().map(|q| self.answer(q)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::judge::judge;
    use super::*;
    use crate::experiment::Experiment;
    use std::path::Path;

    fn experiment() -> Experiment {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/icassp2019");
        Experiment::load(&dir, &[]).unwrap()
    }

    /// The verdicts and counts that reading the paper by hand gives, top-1 and top-5.
    #[test]
    fn the_published_tables_give_the_verdicts_read_by_hand() {
        let e = experiment();
        let judged = judge(&e.claims, &e.tables, &Paper(&e.tables)).unwrap();
        let expected: [(&str, [(&str, &str); 2]); 15] = [
            ("C1", [("holds", "1 of 1"), ("holds", "1 of 1")]),
            ("C2", [("holds", "1 of 1"), ("holds", "1 of 1")]),
            ("C3", [("fails", "7 of 8"), ("holds", "8 of 8")]),
            ("C4", [("fails", "1 of 4"), ("fails", "2 of 4")]),
            ("C5", [("fails", "2 of 4"), ("fails", "2 of 4")]),
            ("C6", [("fails", "15 of 16"), ("fails", "4 of 16")]),
            ("C7", [("holds", "10 of 10"), ("holds", "10 of 10")]),
            ("C8", [("holds", "2 of 2"), ("holds", "2 of 2")]),
            ("C9", [("holds", "4 of 4"), ("fails", "3 of 4")]),
            ("C10", [("holds", "4 of 4"), ("holds", "4 of 4")]),
            ("C11", [("fails", "1 of 2"), ("fails", "1 of 2")]),
            ("C12", [("holds", "2 of 2"), ("fails", "1 of 2")]),
            ("C13", [("holds", "2 of 2"), ("holds", "2 of 2")]),
            ("C14", [("fails", "2 of 3"), ("", "")]),
            ("C15", [("cannot-be-tested", "no published top1"), ("cannot-be-tested", "no published top5")]),
        ];
        let of = |id: &str, metric: &str| judged.iter().find(|j| j.id == id && j.metric == metric);
        for (id, metrics) in expected {
            for (metric, (verdict, words)) in ["top1", "top5"].into_iter().zip(metrics) {
                let Some(j) = of(id, metric) else {
                    assert_eq!(verdict, "", "{id} {metric}");
                    continue;
                };
                assert_eq!(j.verdict.word(), verdict, "{id} {metric}: {}", j.detail);
                assert!(j.detail.contains(words), "{id} {metric}: {}", j.detail);
            }
        }
        assert_eq!(judged.len(), 29);
    }

    #[test]
    fn details_name_the_cells_that_break_a_claim() {
        let e = experiment();
        let judged = judge(&e.claims, &e.tables, &Paper(&e.tables)).unwrap();
        let detail = |id: &str, metric: &str| {
            judged.iter().find(|j| j.id == id && j.metric == metric).map(|j| j.detail.clone()).unwrap()
        };
        assert_eq!(detail("C6", "top1"), "15 of 16; not: table 3: lstm/l2/with 1.54 < baseline 1.57");
        assert_eq!(detail("C3", "top1"), "7 of 8; not: table 3: lstm/l2/with 1.54 < lstm/kl/with 1.59");
        assert!(detail("C4", "top1").contains("autoencoder/l2/with 4.70 = autoencoder/l2/without 4.70"));
        let c1 = detail("C1", "top1");
        assert!(c1.contains("lstm/l2/without 5.19 > autoencoder/l2/with 4.70; beside: 1 of 4"), "{c1}");
        assert!(detail("C1", "top5").contains("beside: 2 of 4"));
        assert!(detail("C2", "top1").contains("beside: 4 of 4") && detail("C2", "top5").contains("beside: 4 of 4"));
        let c12 = detail("C12", "top5");
        assert!(c12.contains("rgb+vggish(lstm) 51.77 > rgb+vggish(autoencoder) 51.75"), "{c12}");
        assert!(detail("C11", "top1").contains("not: table 4: rgb+vggish 23.54 < rgb 24.23"));
        let c14 = detail("C14", "top1");
        assert!(c14 == "2 of 3 classes shared in table 5 (whistling, howling)", "{c14}");
        assert!(detail("C15", "top1").contains("rgb+flow+aenet of table 4 has no published top1"));
    }
}
