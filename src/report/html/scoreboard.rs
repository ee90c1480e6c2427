//! Claims as a scoreboard: a tile each with verdict and effect, and behind it every comparison as a forest plot.

use crate::experiment::claims::Claim;
use crate::report::charts::track::{Line, Scale};
use crate::report::claims::{Judgement, Outcome, Paper, Verdict, judge};
use crate::report::format::signed;
use crate::store::{Error, ExperimentRecord};
use serde_json::{Value, json};

/// Comparisons that a forest plot shows, at most; the others are listed in words.
const SHOWN: usize = 40;

/// The scoreboard: how many claims of each verdict, and the claims.
pub(super) fn scoreboard(experiment: &ExperimentRecord, ours: &[Judgement]) -> Result<Value, Error> {
    let (claims, tables) = (&experiment.claims, &experiment.tables);
    let published = judge(claims, tables, &Paper(tables))?;
    let tile = |claim: &Claim| {
        let of_claim = published.iter().zip(ours).filter(|(_, j)| j.id == claim.id);
        let lines: Vec<Value> = of_claim
            .map(|(paper, ours)| {
                json!({ "metric": ours.metric, "ours": judged(ours), "published": judged(paper), "forest": forest(ours) })
            })
            .collect();
        json!({ "id": claim.id, "claim": claim.claim, "lines": lines })
    };
    let counts: Vec<Value> = [Verdict::Holds, Verdict::Fails, Verdict::Inconclusive, Verdict::CannotBeTested]
        .into_iter()
        .map(
            |v| json!({ "verdict": v.words(), "class": v.word(), "n": ours.iter().filter(|j| j.shown() == v).count() }),
        )
        .collect();
    Ok(json!({ "counts": counts, "all": ours.len(), "tiles": claims.claims.iter().map(tile).collect::<Vec<_>>() }))
}

fn judged(j: &Judgement) -> Value {
    let counts = &j.detail[..j.detail.find([';', ':']).unwrap_or(j.detail.len())];
    let shown = j.shown();
    json!({
        "verdict": shown.words(), "class": shown.word(),
        "partial": j.partial.is_some(), "counts": counts, "effect": j.effect(), "open": open(j), "lines": lines(j),
    })
}

/// Why nothing is decided though an interval leaves out 0, which would read as a contradiction.
fn open(j: &Judgement) -> Option<String> {
    let apart = |o: &&Outcome| {
        let leaves_out_0 = o.interval.is_some_and(|(low, high)| low > 0.0 || high < 0.0);
        o.decides && o.verdict == Verdict::Inconclusive && leaves_out_0
    };
    let of = j.comparisons.iter().find(apart).filter(|_| j.shown() == Verdict::Inconclusive)?;
    Some(match of.p {
        Some(p) if p > 0.05 => format!("corrected p {}", if p >= 0.995 { "1.0".into() } else { format!("{p:.2}") }),
        _ => "one seed decides nothing".into(),
    })
}

/// Every comparison in words, each once.
fn lines(j: &Judgement) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for o in &j.comparisons {
        let line = format!("{}{}: {}", if o.decides { "" } else { "beside: " }, o.verdict.words(), o.text);
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    lines
}

/// Every comparison with an interval on one scale.
fn forest(j: &Judgement) -> Option<Value> {
    let drawn: Vec<(&Outcome, f64)> =
        j.comparisons.iter().filter_map(|o| Some((o, o.difference.filter(|_| o.interval.is_some())?))).collect();
    if drawn.is_empty() {
        return None;
    }
    let ends = drawn.iter().flat_map(|(o, d)| [Some(*d), o.interval.map(|i| i.0), o.interval.map(|i| i.1)]);
    let scale = Scale::over(ends.flatten().chain([0.0]));
    let row = |(o, d): &(&Outcome, f64)| {
        let (low, high) = o.interval.unwrap_or((*d, *d));
        // The sides alone: numbers, interval and p stand beside them.
        let name = o.sides.clone().unwrap_or_else(|| o.text.clone());
        scale.dot(&Line {
            name: if o.decides { name } else { format!("beside: {name}") },
            class: o.verdict.word().into(),
            at: *d,
            interval: o.interval,
            value: signed(*d, 2),
            beside: format!("[{}, {}]", signed(low, 2), signed(high, 2)),
            ..Line::default()
        })
    };
    let rows: Vec<Value> = drawn.iter().take(SHOWN).map(row).collect();
    let more = drawn.len().saturating_sub(SHOWN);
    Some(json!({ "rows": rows, "axis": scale.axis(), "reference": scale.zero(), "more": more }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judgement(interval: (f64, f64), p: Option<f64>, verdict: Verdict) -> Judgement {
        let comparison = Outcome {
            sides: None,
            text: "a over b".into(),
            verdict,
            difference: Some(2.0),
            interval: Some(interval),
            p,
            decides: true,
        };
        Judgement {
            id: "C1".into(),
            metric: "top1",
            verdict,
            partial: None,
            detail: "0 of 1".into(),
            claim: "a beats b".into(),
            comparisons: vec![comparison],
        }
    }

    #[test]
    fn an_interval_that_leaves_out_0_and_decides_nothing_says_why() {
        let why = |interval, p, verdict| open(&judgement(interval, p, verdict));
        assert_eq!(why((0.5, 3.0), Some(0.123), Verdict::Inconclusive).as_deref(), Some("corrected p 0.12"));
        assert_eq!(why((-3.0, -0.5), Some(0.999), Verdict::Inconclusive).as_deref(), Some("corrected p 1.0"));
        assert_eq!(why((0.5, 3.0), Some(0.01), Verdict::Inconclusive).as_deref(), Some("one seed decides nothing"));
        assert_eq!(why((0.5, 3.0), Some(0.01), Verdict::Holds), None);
        assert_eq!(why((-0.5, 3.0), Some(0.4), Verdict::Inconclusive), None);
    }
}
