//! `unmute sensitivity`: the alternatives of the ledger, one at a time.

use super::args::SensitivityArgs;
use super::progress::say;
use super::run::{Goes, check, finishing, train};
use super::{Exit, Failure, open, print, print_json};
use crate::experiment::Experiment;
use crate::report::claims::judge;
use crate::report::evaluate::evaluate_at;
use crate::report::paired::Ours;
use crate::report::results::Results;
use crate::report::sensitivity::{Flip, IN_FORCE, Movement, movements, sets, variant_name};
use crate::runs::{Plan, Summary};
use crate::store::Pick;
use std::collections::BTreeMap;

pub(super) fn sensitivity(args: &SensitivityArgs) -> Result<Exit, Failure> {
    check(&args.run)?;
    finishing(&args.run, |summary| alternatives(args, summary))
}

fn alternatives(args: &SensitivityArgs, summary: &mut Summary) -> Result<Exit, Failure> {
    let given = &args.run.experiment;
    let (experiment, plan) = open::plan(given)?;
    wanted(args, &experiment)?;
    let store = open::writable(&given.db.db)?;
    let mut exit = train(&args.run, &experiment, &plan, &store, Goes::default(), summary)?;
    // Alternatives that make no sense here, and why.
    let mut impossible: BTreeMap<(String, String), String> = BTreeMap::new();
    for entry in &experiment.ledger.ledger {
        if exit == Exit::Interrupted {
            return Ok(exit);
        }
        if args.only.as_ref().is_some_and(|only| !only.contains(&entry.id)) {
            continue;
        }
        for (i, alternative) in entry.alternatives.iter().enumerate().filter(|(_, a)| !a.set.is_empty()) {
            if alternative.is_the_setting(&experiment.config) {
                say(&format!("\n{} {}: {IN_FORCE}", entry.id, alternative.name));
                continue;
            }
            let name = variant_name(&experiment.config.name, &entry.id, i);
            say(&format!("\n{} {}: {}", entry.id, alternative.name, sets(alternative).join(", ")));
            let changed = [given.sets.clone(), sets(alternative)].concat();
            let variant =
                Experiment::load(&given.experiment, &changed).map_err(|e| e.to_string()).and_then(|mut variant| {
                    if let (Some(seeds), false) = (&given.seeds, alternative.set.contains_key("seeds")) {
                        variant.config.seeds = seeds.clone();
                    }
                    let (seeds, features) = (&variant.config.seeds, given.features.as_deref());
                    let plan = Plan::with_features(&variant, plan.dataset.clone(), seeds, features)
                        .map_err(|e| e.to_string())?;
                    variant.config.name = name.clone();
                    Ok((variant, plan))
                });
            match variant {
                Ok((variant, plan)) => match train(&args.run, &variant, &plan, &store, Goes::default(), summary)? {
                    Exit::Done => {}
                    Exit::Interrupted => return Ok(Exit::Interrupted),
                    failed => exit = failed,
                },
                Err(why) => {
                    say(&format!("it cannot be run: {why}"));
                    impossible.insert((entry.id.clone(), alternative.name.clone()), why);
                }
            }
        }
    }
    // As far as the store tells, the variants were used last; the experiment itself is found by its name.
    let record = open::recorded(&store, &given.experiment, &Pick::default())?.record;
    let results = Results::new(&store, &record)?;
    let tables = evaluate_at(&results, &record.tables)?;
    let judged = judge(&record.claims, &record.tables, &Ours::new(&results, &record.tables))?;
    let mut moved = movements(&store, &record, &tables, &judged, true)?;
    moved.retain(|m| args.only.as_ref().is_none_or(|only| only.contains(&m.choice)));
    for m in &mut moved {
        if let Some(why) = impossible.get(&(m.choice.clone(), m.alternative.clone())) {
            m.skipped = Some(format!("cannot be run: {}", why.lines().next().unwrap_or_default()));
        }
    }
    if args.json {
        print_json(&moved)?;
    } else {
        print(&text(&moved))?;
    }
    let (folder, db) = (given.experiment.display(), given.db.db.display());
    say(&format!("next: unmute report {folder} --db {db} shows this beside the open choices"));
    Ok(exit)
}

/// Whether the choices that are asked for are there.
fn wanted(args: &SensitivityArgs, experiment: &Experiment) -> Result<(), Failure> {
    let known: Vec<&String> = experiment.ledger.ledger.iter().map(|e| &e.id).collect();
    if known.is_empty() {
        return Err(Failure::usage(format!(
            "{}: no ledger.yaml, so there are no alternatives to try",
            args.run.experiment.experiment.display()
        )));
    }
    match args.only.iter().flatten().find(|id| !known.contains(id)) {
        Some(id) => {
            Err(Failure::usage(format!("--only {id}: not in the ledger{}", crate::suggest::nearest(id, &known))))
        }
        None => Ok(()),
    }
}

fn text(moved: &[Movement]) -> String {
    let mut out = String::from("variant minus experiment, in points; rows of the paper, mean over seeds\n");
    for m in moved {
        out += &format!("\n{:<4} {} ({})\n", m.choice, m.alternative, m.set.join(", "));
        if let Some(why) = &m.skipped {
            out += &format!("     {why}\n");
        }
        for line in &m.moves {
            out += &format!("     {}\n", line.told());
        }
        if !m.flips.is_empty() {
            let flips: Vec<String> = m.flips.iter().map(Flip::told).collect();
            out += &format!("     flips {}\n", flips.join("; "));
        }
    }
    out
}
