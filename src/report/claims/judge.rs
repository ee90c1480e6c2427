//! Claims taken apart into questions, and put together from the answers.

use super::judgement::{Judgement, conclude};
use super::outcome::{Outcome, decide, order};
use super::question::{About, Question, Relation, Source, Unanswered};
use crate::experiment::claims::{Claim, Comparison, Metric, Pair, Shared};
use crate::experiment::{Claims, Tables};
use crate::report::stats::holm;
use crate::store::Error;

/// An element of a claim: one question, or two whose answers should have the same sign.
enum Element {
    One(Question),
    Order(Question, Question),
    Impossible(Unanswered),
}

/// A claim on one metric, with its elements and whether each decides the verdict.
type Part<'a> = (&'a Claim, Metric, Vec<(Element, bool)>);

/// Judges every claim on every one of its metrics.
pub fn judge(claims: &Claims, tables: &Tables, source: &impl Source) -> Result<Vec<Judgement>, Error> {
    let mut parts: Vec<Part> = Vec::new();
    for claim in &claims.claims {
        for metric in &claim.metrics {
            parts.push((claim, *metric, elements(claim, *metric, tables)));
        }
    }
    let elements = parts.iter().flat_map(|(_, _, elements)| elements);
    let questions: Vec<Question> = elements
        .flat_map(|(element, _)| match element {
            Element::One(q) => vec![q.clone()],
            Element::Order(first, then) => vec![first.clone(), then.clone()],
            Element::Impossible(_) => Vec::new(),
        })
        .collect();
    let answers = source.answers(&questions)?;
    // The same question asked twice is one test.
    let first_asked: Vec<usize> = (0..questions.len())
        .map(|i| questions[..i].iter().position(|earlier| *earlier == questions[i]).unwrap_or(i))
        .collect();
    let spread = |i: usize| answers.get(i).and_then(|a| a.as_ref().ok()).and_then(|a| a.spread);
    let tested: Vec<usize> = (0..questions.len()).filter(|i| first_asked[*i] == *i && spread(*i).is_some()).collect();
    let raw: Vec<f64> = tested.iter().filter_map(|i| spread(*i).map(|s| s.p)).collect();
    let corrected = holm(&raw);
    let mut decided = questions.iter().zip(answers).enumerate().map(|(i, (question, answer))| {
        let p = tested.iter().position(|t| *t == first_asked[i]).and_then(|t| corrected.get(t).copied());
        decide(question, answer, p)
    });
    let mut out = Vec::new();
    for (claim, metric, elements) in parts {
        let mut outcomes = Vec::new();
        for (element, decides) in elements {
            let outcome = match element {
                Element::Impossible(why) => Some(Outcome::impossible(why)),
                Element::One(_) => decided.next(),
                Element::Order(..) => decided.next().zip(decided.next()).map(|(first, then)| order(first, then)),
            };
            outcomes.extend(outcome.map(|o| Outcome { decides, ..o }));
        }
        out.push(conclude(claim, metric, outcomes));
    }
    Ok(out)
}

fn elements(claim: &Claim, metric: Metric, tables: &Tables) -> Vec<(Element, bool)> {
    let questions = |comparison: &Comparison| -> Vec<Element> {
        let relation = match comparison.beat {
            Some(_) => Relation::Beats(comparison.by),
            None => Relation::Equals(comparison.within),
        };
        let ask = |pair: Pair| {
            Element::One(Question { table: comparison.table.clone(), metric, about: About::Rows(pair, relation) })
        };
        match comparison.pairs(tables) {
            Ok(pairs) => pairs.into_iter().map(ask).collect(),
            Err(mismatch) => vec![Element::Impossible(mismatch.message)],
        }
    };
    let shared = |shared: &Shared| match shared.depth(tables) {
        Ok(depth) => {
            let needed = shared.needed(depth);
            let about = About::Classes { columns: shared.columns.clone(), depth, needed };
            Element::One(Question { table: shared.table.clone(), metric, about })
        }
        Err(mismatch) => Element::Impossible(mismatch.message),
    };
    let mut out: Vec<(Element, bool)> = Vec::new();
    out.extend(claim.compare.iter().flat_map(questions).map(|e| (e, true)));
    for both in &claim.same_order {
        let mut sides = [questions(&both.first), questions(&both.then)].into_iter().flatten();
        let element = match (sides.next(), sides.next()) {
            (Some(Element::One(first)), Some(Element::One(then))) => Element::Order(first, then),
            (Some(Element::Impossible(why)), _) | (_, Some(Element::Impossible(why))) => Element::Impossible(why),
            _ => Element::Impossible("an order is between two sides".into()),
        };
        out.push((element, true));
    }
    out.extend(claim.shared.iter().map(|s| (shared(s), true)));
    out.extend(claim.beside.iter().flat_map(questions).map(|e| (e, false)));
    out
}

#[cfg(test)]
mod tests {
    use super::super::outcome::Verdict;
    use super::super::question::{Answer, Spread};
    use super::*;
    use crate::experiment::Experiment;
    use std::path::Path;

    fn experiment() -> Experiment {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/icassp2019");
        Experiment::load(&dir, &[]).unwrap()
    }

    /// Answers from a list, in the order of the questions.
    struct Given(Vec<Result<Answer, Unanswered>>);

    impl Source for Given {
        fn answers(&self, questions: &[Question]) -> Result<Vec<Result<Answer, Unanswered>>, Error> {
            assert_eq!(questions.len(), self.0.len());
            Ok(self.0.clone())
        }
    }

    fn measured(value: f64, other: f64, p: f64, seeds_suffice: bool) -> Result<Answer, Unanswered> {
        let spread = Some(Spread { interval: (value - other - 1.0, value - other + 1.0), p, seeds_suffice });
        Ok(Answer { left: "a".into(), right: "b".into(), value, other, spread })
    }

    /// A claim on two rows of VGGish and two of AENet, one metric.
    fn verdict(at_least: Option<usize>, answers: Vec<Result<Answer, Unanswered>>) -> Judgement {
        let e = experiment();
        let mut claim = e.claims.claims[8].clone();
        claim.metrics = vec![Metric::Top1];
        claim.at_least = at_least;
        judge(&Claims { claims: vec![claim] }, &e.tables, &Given(answers)).unwrap().remove(0)
    }

    #[test]
    fn a_claim_on_our_results_is_decided_after_correction() {
        let yes = || measured(5.0, 1.0, 0.001, true);
        let no = || measured(1.0, 5.0, 0.001, true);
        let open = || measured(5.0, 1.0, 0.04, true);
        let absent = || Err("no aenet".to_string());
        assert_eq!(verdict(None, vec![yes(), yes(), yes(), yes()]).verdict, Verdict::Holds);
        assert_eq!(verdict(None, vec![yes(), yes(), yes(), no()]).verdict, Verdict::Fails);
        // 0.04 alone would do; of four, two of them do not.
        assert_eq!(verdict(None, vec![yes(), yes(), open(), open()]).verdict, Verdict::Inconclusive);
        assert_eq!(verdict(Some(2), vec![yes(), yes(), open(), open()]).verdict, Verdict::Holds);
        let one_seed = vec![yes(), yes(), yes(), measured(5.0, 1.0, 0.001, false)];
        let j = verdict(None, one_seed);
        assert!(j.verdict == Verdict::Inconclusive && j.detail.contains("one seed"), "{}", j.detail);
        let j = verdict(None, vec![absent(), absent(), yes(), yes()]);
        assert_eq!(j.verdict, Verdict::CannotBeTested);
        assert!(j.detail.contains("2 of 4; 2 cannot be tested: no aenet"), "{}", j.detail);
        assert_eq!(j.partial, Some(Verdict::Holds));
        let unclear = measured(5.0, 1.0, 0.5, true);
        assert_eq!(verdict(None, vec![absent(), absent(), yes(), unclear]).partial, Some(Verdict::Inconclusive));
        assert_eq!(verdict(None, vec![absent(), absent(), absent(), absent()]).partial, None);
        // What is there decides where what is absent could not change it.
        assert_eq!(verdict(None, vec![absent(), absent(), yes(), no()]).verdict, Verdict::Fails);
        assert_eq!(verdict(Some(2), vec![absent(), absent(), yes(), yes()]).verdict, Verdict::Holds);
    }
}
