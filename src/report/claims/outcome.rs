//! One comparison as it came out, with its numbers in words.

use super::question::{About, Answer, NOTHING, Question, Unanswered};
use crate::report::format::{number, signed};
use serde::Serialize;

/// How likely one wrong decision among all may be.
pub const ALPHA: f64 = 0.05;

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

impl Outcome {
    pub(super) fn impossible(why: String) -> Outcome {
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
pub(super) fn decide(question: &Question, answer: Result<Answer, Unanswered>, p: Option<f64>) -> Outcome {
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
pub(super) fn order(first: Outcome, then: Outcome) -> Outcome {
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
