//! `unmute claims`.

use super::args::ClaimsArgs;
use super::{Exit, Failure, open, print, print_json};
use crate::experiment::Experiment;
use crate::report::claims::{Judgement, Paper, Verdict, judge};
use crate::report::paired::Ours;
use crate::report::results::Results;
use serde_json::Value;

/// Columns of a terminal that lines are broken for.
const WIDTH: usize = 100;
/// Every verdict, in the order of the summary.
const VERDICTS: [Verdict; 4] = [Verdict::Holds, Verdict::Fails, Verdict::Inconclusive, Verdict::CannotBeTested];

pub(super) fn claims(args: &ClaimsArgs) -> Result<Exit, Failure> {
    let (mut judged, mut beside) = if args.published { (published(args)?, Vec::new()) } else { ours(args)? };
    let all = judged.clone();
    if let Some(only) = &args.only {
        wanted(only, &judged)?;
        let kept: Vec<bool> = judged.iter().map(|j| only.iter().any(|w| is(j, w))).collect();
        let keep = |all: Vec<Judgement>| -> Vec<Judgement> {
            all.into_iter().zip(&kept).filter(|(_, keep)| **keep).map(|(j, _)| j).collect()
        };
        judged = keep(judged);
        beside = keep(beside);
    }
    if args.store.json {
        print_json(&json(&judged, &beside)?)?;
    } else {
        print(&text(&judged, &beside, &all))?;
    }
    let fails = judged.iter().any(|j| j.verdict == Verdict::Fails);
    Ok(if fails { Exit::NotAll } else { Exit::Done })
}

/// Whether a judgement is one of those that `--only` means.
fn is(j: &Judgement, wanted: &str) -> bool {
    j.id.eq_ignore_ascii_case(wanted) || j.verdict.word() == wanted || j.shown().word() == wanted
}

/// Whether the claims and verdicts that are asked for are there.
fn wanted(only: &[String], judged: &[Judgement]) -> Result<(), Failure> {
    let mut known: Vec<&str> = judged.iter().map(|j| j.id.as_str()).collect();
    known.dedup();
    known.extend(VERDICTS.iter().map(|v| v.word()));
    match only.iter().find(|w| !known.iter().any(|k| k.eq_ignore_ascii_case(w))) {
        Some(wrong) => Err(Failure::usage(format!(
            "--only {wrong}: no such claim or verdict{}",
            crate::suggest::nearest(wrong, &known)
        ))),
        None => Ok(()),
    }
}

/// The paper's own tables; the store is opened only where the experiment is no folder.
fn published(args: &ClaimsArgs) -> Result<Vec<Judgement>, Failure> {
    let (claims, tables) = if args.experiment.is_dir() {
        let experiment = Experiment::load(&args.experiment, &[])?;
        (experiment.claims, experiment.tables)
    } else {
        let store = open::store(&args.store.db.db)?;
        let record = open::recorded(&store, &args.experiment, &args.pick.pick())?.record;
        (record.claims, record.tables)
    };
    Ok(judge(&claims, &tables, &Paper(&tables))?)
}

/// Our results, from the store alone, and the published ones beside them.
fn ours(args: &ClaimsArgs) -> Result<(Vec<Judgement>, Vec<Judgement>), Failure> {
    let store = open::store(&args.store.db.db)?;
    let recorded = open::recorded(&store, &args.experiment, &args.pick.pick())?;
    recorded.tell();
    let record = recorded.record;
    let results = Results::new(&store, &record)?;
    let ours = judge(&record.claims, &record.tables, &Ours::new(&results, &record.tables))?;
    Ok((ours, judge(&record.claims, &record.tables, &Paper(&record.tables))?))
}

/// One object a claim and metric; the published verdict beside ours.
fn json(judged: &[Judgement], published: &[Judgement]) -> Result<Vec<Value>, Failure> {
    let mut out = Vec::new();
    for (i, j) in judged.iter().enumerate() {
        let mut value = serde_json::to_value(j)?;
        if let (Some(object), Some(published)) = (value.as_object_mut(), published.get(i)) {
            object.insert("published".into(), published.verdict.word().into());
        }
        out.push(value);
    }
    Ok(out)
}

/// The summary, then each claim with a block for each metric: verdict and effect on one line, the comparisons below.
fn text(judged: &[Judgement], published: &[Judgement], all: &[Judgement]) -> String {
    if all.is_empty() {
        return "the experiment has no claims.yaml\n".into();
    }
    let count = |v: Verdict| all.iter().filter(|j| j.shown() == v).count();
    let of: Vec<String> = VERDICTS.iter().map(|v| format!("{} {}", count(*v), v.word())).collect();
    let partial = all.iter().filter(|j| j.partial.is_some()).count();
    let mut out = format!("{} verdicts: {}\n", all.len(), of.join(", "));
    if partial > 0 {
        out += &format!("{partial} of them in part: on those comparisons alone that can be made here\n");
    }
    if judged.is_empty() {
        out += "none of them is of this kind\n";
    }
    for (i, j) in judged.iter().enumerate() {
        if i == 0 || judged[i - 1].id != j.id {
            out += &wrap(&j.claim, &format!("\n{:<4} ", j.id), 5);
        }
        let verdict = format!("{}{}", j.shown().word(), if j.partial.is_some() { " in part" } else { "" });
        let mut line = format!("     {:<5} {verdict:<24}", j.metric);
        if let Some(effect) = j.effect() {
            line += &format!(" {effect:<24}");
        }
        if let Some(p) = published.get(i) {
            line += &format!(" published: {}", p.verdict.word());
        }
        out += line.trim_end();
        out.push('\n');
        out += &wrap(&j.detail, "           ", 11);
    }
    out
}

/// Text broken at blanks, no wider than [`WIDTH`]: the first line behind `first`, the others behind so many blanks.
fn wrap(text: &str, first: &str, indent: usize) -> String {
    let mut out = String::from(first);
    let mut width = first.trim_start_matches('\n').chars().count();
    let mut begun = true;
    for word in text.split_whitespace() {
        let chars = word.chars().count();
        if !begun && width + 1 + chars > WIDTH {
            out.push('\n');
            out += &" ".repeat(indent);
            (width, begun) = (indent, true);
        }
        if !begun {
            out.push(' ');
            width += 1;
        }
        out += word;
        width += chars;
        begun = false;
    }
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_at_blanks() {
        let text = "word ".repeat(60);
        let wrapped = wrap(&text, "\nC1   ", 5);
        assert!(wrapped.lines().all(|l| l.chars().count() <= WIDTH), "{wrapped}");
        assert_eq!(wrapped.split_whitespace().filter(|w| *w == "word").count(), 60);
        assert!(wrapped.lines().skip(2).all(|l| l.starts_with("     word")), "{wrapped}");
        // What has no blank is not broken.
        assert_eq!(wrap(&"x".repeat(120), "  ", 2).lines().count(), 1);
    }
}
