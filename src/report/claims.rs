//! The paper's claims, judged on a result table: the published one, or ours.
//!
//! A claim is taken apart into questions, each about one pair of rows (or the classes that columns share) and one metric. A
//! [`Source`] answers them. Published values have no spread, so their answers are taken as they stand. Ours come with an
//! interval and a p value; all of them are corrected together (Holm), and a question counts as decided only where the
//! corrected p is at most [`ALPHA`] and at least two seeds stand behind it.

use super::format::{number, signed};
use super::stats::holm;
use crate::experiment::claims::{Claim, Comparison, Metric, Pair, Shared, Side};
use crate::experiment::tables::{Published, Tables};
use crate::experiment::{Claims, TableId};
use crate::store::Error;
use serde::Serialize;

/// How likely one wrong decision among all may be.
pub const ALPHA: f64 = 0.05;
/// Differences of percents that are nothing but rounding of their representation.
const NOTHING: f64 = 1e-9;

/// What becomes of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It holds.
    Holds,
    /// It does not.
    Fails,
    /// The data do not decide.
    Inconclusive,
    /// Rows that it is about are not there.
    CannotBeTested,
}

impl Verdict {
    /// As in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Holds => "holds",
            Verdict::Fails => "fails",
            Verdict::Inconclusive => "inconclusive",
            Verdict::CannotBeTested => "cannot-be-tested",
        }
    }

    /// As in a sentence.
    pub fn words(self) -> String {
        self.word().replace('-', " ")
    }
}

/// What one side should be to the other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Relation {
    /// Higher by more than so many points.
    Beats(f64),
    /// As high, give or take so many points.
    Equals(f64),
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

/// The paper's own values.
pub struct Paper<'a>(pub &'a Tables);

/// One comparison as it came out.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The two rows that are compared: `lstm/l2/with over baseline`.
    #[serde(skip)]
    pub sides: Option<String>,
    /// In words and numbers.
    pub text: String,
    /// How it came out.
    pub verdict: Verdict,
    /// First value minus second, in points; `None` for classes and where there is no answer.
    pub difference: Option<f64>,
    /// 95 % interval of it.
    pub interval: Option<(f64, f64)>,
    /// Holm-corrected p.
    pub p: Option<f64>,
    /// Whether it decides, or is only reported.
    pub decides: bool,
}

/// A judged claim.
#[derive(Clone, Debug, Serialize)]
pub struct Judgement {
    /// `C6`.
    pub id: String,
    /// `top1`.
    pub metric: &'static str,
    /// The verdict.
    pub verdict: Verdict,
    /// Of a claim that cannot be tested as a whole: what the comparisons say that can be made, if there are any.
    pub partial: Option<Verdict>,
    /// Counts, and what breaks the claim.
    pub detail: String,
    /// The claim in words.
    pub claim: String,
    /// What it stands on.
    pub comparisons: Vec<Outcome>,
}

impl Judgement {
    /// The verdict that is shown: that on what can be tested, where the whole cannot.
    pub fn shown(&self) -> Verdict {
        self.partial.unwrap_or(self.verdict)
    }

    /// The size of what is claimed: the comparison where the first side gains least, which is the one that decides a claim
    /// about all; `+14.8 [+11.2, +18.4]`.
    pub fn effect(&self) -> Option<String> {
        let sized = |o: &&Outcome| o.decides && o.difference.is_some();
        let mut least: Option<&Outcome> = None;
        for o in self.comparisons.iter().filter(sized) {
            if least.is_none_or(|l| o.difference < l.difference) {
                least = Some(o);
            }
        }
        let o = least?;
        let interval = o.interval.map(|(low, high)| format!(" [{}, {}]", signed(low, 1), signed(high, 1)));
        Some(format!("{}{}", signed(o.difference?, 1), interval.unwrap_or_default()))
    }
}

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

impl Outcome {
    fn impossible(why: String) -> Outcome {
        let (difference, interval, p) = (None, None, None);
        Outcome { sides: None, text: why, verdict: Verdict::CannotBeTested, difference, interval, p, decides: true }
    }
}

/// `4.53 > 4.41`, as far as the printed digits go.
fn sign(difference: f64) -> &'static str {
    match difference {
        d if d.abs() <= NOTHING => "=",
        d if d > 0.0 => ">",
        _ => "<",
    }
}

/// An answer with its corrected p as an outcome.
fn decide(question: &Question, answer: Result<Answer, Unanswered>, p: Option<f64>) -> Outcome {
    let answer = match answer {
        Ok(answer) => answer,
        Err(why) => return Outcome::impossible(why),
    };
    let difference = answer.value - answer.other;
    let (as_claimed, mut text) = match &question.about {
        About::Rows(_, relation) => {
            let (a, b) = (number(answer.value, 2), number(answer.other, 2));
            let text =
                format!("table {}: {} {a} {} {} {b}", question.table, answer.left, sign(difference), answer.right);
            (relation.holds(difference), text)
        }
        About::Classes { depth, needed, .. } => {
            let names = if answer.left.is_empty() { String::new() } else { format!(" ({})", answer.left) };
            let text = format!("{} of {depth} classes shared in table {}{names}", answer.value, question.table);
            (answer.value >= *needed as f64, text)
        }
    };
    let rows = matches!(question.about, About::Rows(..));
    let mut verdict = if as_claimed { Verdict::Holds } else { Verdict::Fails };
    if let (Some(spread), Some(p)) = (answer.spread, p) {
        let (low, high) = spread.interval;
        text += &if rows {
            format!(", {} [{}, {}], p {}", signed(difference, 2), signed(low, 2), signed(high, 2), p_text(p))
        } else {
            format!(", [{low:.0}, {high:.0}], p {}", p_text(p))
        };
        if !spread.seeds_suffice {
            text += ", one seed";
        }
        if !(spread.seeds_suffice && p <= ALPHA) {
            verdict = Verdict::Inconclusive;
        }
    }
    let interval = answer.spread.map(|s| s.interval);
    let sides = rows.then(|| format!("{} over {}", answer.left, answer.right));
    Outcome { sides, text, verdict, difference: rows.then_some(difference), interval, p, decides: true }
}

fn p_text(p: f64) -> String {
    if p < 0.0001 { "< 0.0001".into() } else { format!("{p:.4}") }
}

/// Two comparisons that should come out the same way.
fn order(first: Outcome, then: Outcome) -> Outcome {
    let way = |o: &Outcome| o.difference.filter(|d| d.abs() > NOTHING).map(|d| d > 0.0);
    let verdict = match (first.verdict, then.verdict) {
        (Verdict::CannotBeTested, _) | (_, Verdict::CannotBeTested) => Verdict::CannotBeTested,
        (Verdict::Inconclusive, _) | (_, Verdict::Inconclusive) => Verdict::Inconclusive,
        _ if way(&first).is_some() && way(&first) == way(&then) => Verdict::Holds,
        _ => Verdict::Fails,
    };
    let text = match verdict {
        Verdict::CannotBeTested if first.verdict == verdict => first.text,
        Verdict::CannotBeTested => then.text,
        Verdict::Fails => format!("{}, but {}", first.text, then.text),
        _ => format!("{} and {}", first.text, then.text),
    };
    Outcome { sides: None, text, verdict, difference: None, interval: None, p: None, decides: true }
}

/// How many outcomes are of a kind.
fn count(outcomes: &[&Outcome], verdict: Verdict) -> usize {
    outcomes.iter().filter(|o| o.verdict == verdict).count()
}

fn conclude(claim: &Claim, metric: Metric, comparisons: Vec<Outcome>) -> Judgement {
    let (deciding, beside): (Vec<&Outcome>, Vec<&Outcome>) = comparisons.iter().partition(|o| o.decides);
    let all = deciding.len();
    let needed = claim.at_least.unwrap_or(all);
    let holds = count(&deciding, Verdict::Holds);
    let fails = count(&deciding, Verdict::Fails);
    let absent = count(&deciding, Verdict::CannotBeTested);
    let verdict = if all == 0 {
        Verdict::CannotBeTested
    } else if holds >= needed {
        Verdict::Holds
    } else if all - fails < needed {
        Verdict::Fails
    } else if all - fails - absent < needed {
        // Even if everything else held, what is absent would have to hold as well.
        Verdict::CannotBeTested
    } else {
        Verdict::Inconclusive
    };
    let partial = (verdict == Verdict::CannotBeTested && absent < all).then(|| match (holds, fails) {
        (_, 1..) => Verdict::Fails,
        (h, 0) if h + absent == all => Verdict::Holds,
        _ => Verdict::Inconclusive,
    });
    let mut detail = match deciding[..] {
        [] => "the claim is given in words alone".to_string(),
        // Shared classes bring a count of their own.
        [only] if claim.shared.len() == 1 => only.text.clone(),
        _ => tell(&deciding, claim.at_least),
    };
    if !beside.is_empty() {
        detail += &format!("; beside: {}", tell(&beside, None));
    }
    Judgement {
        id: claim.id.clone(),
        metric: metric.word(),
        verdict,
        partial,
        detail,
        claim: claim.claim.clone(),
        comparisons,
    }
}

/// Counts, what breaks the claim, what is open and what is absent; everything where it is little.
fn tell(outcomes: &[&Outcome], at_least: Option<usize>) -> String {
    let texts = |verdict: Verdict| -> Vec<&str> {
        outcomes.iter().filter(|o| o.verdict == verdict).map(|o| o.text.as_str()).collect()
    };
    let (holds, absent) = (texts(Verdict::Holds), texts(Verdict::CannotBeTested));
    let mut reasons: Vec<&str> = Vec::new();
    absent.iter().for_each(|why| {
        if !reasons.contains(why) {
            reasons.push(why);
        }
    });
    let reasons = reasons.join("; ");
    if absent.len() == outcomes.len() {
        return format!("no pair can be tested: {reasons}");
    }
    let mut out = format!("{} of {}", holds.len(), outcomes.len());
    if let Some(k) = at_least {
        out += &format!(" (at least {k})");
    }
    if holds.len() == outcomes.len() && holds.len() <= 4 {
        out += &format!(": {}", holds.join("; "));
    }
    for (word, texts) in [("not", texts(Verdict::Fails)), ("open", texts(Verdict::Inconclusive))] {
        if !texts.is_empty() {
            out += &format!("; {word}: {}", texts.join("; "));
        }
    }
    if !absent.is_empty() {
        out += &format!("; {} cannot be tested: {reasons}", absent.len());
    }
    out
}

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

/// What stands in every list, in the order of the first.
pub(super) fn shared_by_all<T: PartialEq + Clone>(lists: &[Vec<T>]) -> Vec<T> {
    let Some((first, rest)) = lists.split_first() else { return Vec::new() };
    first.iter().filter(|class| rest.iter().all(|list| list.contains(class))).cloned().collect()
}

impl Source for Paper<'_> {
    fn answers(&self, questions: &[Question]) -> Result<Vec<Result<Answer, Unanswered>>, Error> {
        Ok(questions.iter().map(|q| self.answer(q)).collect())
    }
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn margins_and_equality() {
        assert!(Relation::Beats(0.0).holds(0.01) && !Relation::Beats(0.0).holds(0.0));
        assert!(Relation::Beats(0.5).holds(0.51) && !Relation::Beats(0.5).holds(0.5));
        assert!(Relation::Equals(0.5).holds(-0.5) && !Relation::Equals(0.5).holds(0.51));
    }
}
