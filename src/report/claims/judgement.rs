//! A judged claim: its verdict, and why.

use super::outcome::{Outcome, Verdict};
use crate::experiment::claims::{Claim, Metric};
use crate::report::format::signed;
use serde::Serialize;

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

/// How many outcomes are of a kind.
fn count(outcomes: &[&Outcome], verdict: Verdict) -> usize {
    outcomes.iter().filter(|o| o.verdict == verdict).count()
}

pub(super) fn conclude(claim: &Claim, metric: Metric, comparisons: Vec<Outcome>) -> Judgement {
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
