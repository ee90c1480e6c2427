//! `unmute claims`.

use super::args::ClaimsArgs;
use super::{Exit, Failure, open, print, print_json};
use crate::experiment::Experiment;
use crate::report::claims::{Judgement, Paper, Verdict, judge};
use crate::report::paired::Ours;
use crate::report::scores::Results;
use serde_json::Value;

pub(super) fn claims(args: &ClaimsArgs) -> Result<Exit, Failure> {
    let (judged, beside) = if args.published { (published(args)?, Vec::new()) } else { ours(args)? };
    if args.store.json {
        print_json(&json(&judged, &beside)?)?;
    } else {
        print(&text(&judged, &beside))?;
    }
    let fails = judged.iter().any(|j| j.verdict == Verdict::Fails);
    Ok(if fails { Exit::NotAll } else { Exit::Done })
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

/// A claim, and under it a line for each metric.
fn text(judged: &[Judgement], published: &[Judgement]) -> String {
    let mut out = String::new();
    for (i, j) in judged.iter().enumerate() {
        if i == 0 || judged[i - 1].id != j.id {
            out += &format!("{:<4} {}\n", j.id, j.claim);
        }
        let beside = published.get(i).map_or_else(String::new, |p| format!("published: {:<18}", p.verdict.word()));
        let partial = j.partial.map_or_else(String::new, |p| format!("where it can be: {}; ", p.words()));
        out += &format!("     {:<5} {:<17} {beside}{partial}{}\n", j.metric, j.verdict.word(), j.detail);
    }
    if judged.is_empty() {
        out += "the experiment has no claims.yaml\n";
    }
    out
}
