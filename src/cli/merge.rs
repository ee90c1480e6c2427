//! `unmute merge OTHER.db...`.

use super::args::MergeArgs;
use super::progress::say;
use super::{Exit, Failure, open, print_json, print_text};
use crate::runs::weights::{self, Looked};
use crate::store::Merged;

pub(super) fn merge(args: &MergeArgs) -> Result<Exit, Failure> {
    // A mistyped name should not leave an empty store behind.
    if let Some(other) = args.others.iter().find(|p| !p.exists()) {
        return Err(crate::store::Error::Missing { path: other.clone() }.into());
    }
    let store = open::writable(&args.store.db.db)?;
    let merged = args.others.iter().map(|other| store.merge(other)).collect::<Result<Vec<Merged>, _>>()?;
    let mut weights_whole = true;
    for other in &args.others {
        let Looked { whole, lost, damaged } = weights::take_over(&store, other)?;
        if whole + lost > 0 {
            let missing = if lost > 0 { format!("; {lost} are not beside it any more") } else { String::new() };
            say(&format!("{}: weights of {whole} runs taken over{missing}", other.display()));
        }
        for (run, why) in &damaged {
            say(&format!("{}: DAMAGED (not taken): weights of run {}: {why}", other.display(), open::short(run)));
        }
        weights_whole &= damaged.is_empty();
    }
    if args.store.json {
        print_json(&merged)?;
    } else {
        print_text(&merged.iter().map(describe).collect::<String>())?;
    }
    let all_taken = weights_whole
        && merged.iter().all(|m| m.conflicts.is_empty() && m.damaged.is_empty() && m.refused_rows.is_empty());
    Ok(if all_taken { Exit::Done } else { Exit::NotAll })
}

fn describe(m: &Merged) -> String {
    let mut out = format!("{}: {} runs added, {} completed, {} known", m.path.display(), m.added, m.replaced, m.known);
    if m.unfinished > 0 {
        out += &format!(", {} unfinished and left there", m.unfinished);
    }
    if m.healed + m.healed_rows > 0 {
        out += &format!(", {} damaged here and taken from there", m.healed + m.healed_rows);
    }
    out += "\n";
    if m.clock_ahead {
        out += "  note: its clock was ahead when an experiment was run; it counts as run before ours\n";
    }
    for row in &m.refused_rows {
        out += &format!("  DAMAGED (not taken): {row}\n");
    }
    for (what, runs) in [("CONFLICT (ours kept)", &m.conflicts), ("DAMAGED (not taken)", &m.damaged)] {
        for r in runs {
            let seed = r.seed.map_or_else(String::new, |s| format!(" seed {}", s as u64));
            out += &format!("  {what}: {} {}{seed}: {}\n", open::short(&r.run), r.key, r.why);
        }
    }
    out
}
