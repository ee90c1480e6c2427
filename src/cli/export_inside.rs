//! `unmute export confusion`, `turned` and `nearest`: a sum of scores looked into, class by class and clip by clip.

use super::use_args::{InsideArgs, RowsFormat};
use super::{Exit, Failure, open, print, print_json};
use crate::report::inside::{self, Look};
use crate::report::results::Results;
use serde_json::{Value, json};

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inside {
    Confusion,
    Turned,
    Nearest,
}

pub(super) fn inside(args: &InsideArgs, what: Inside) -> Result<Exit, Failure> {
    let store = open::store(&args.db.db)?;
    let recorded = open::recorded(&store, &args.experiment, &args.pick.pick())?;
    recorded.tell();
    let record = &recorded.record;
    let results = Results::new(&store, record)?;
    let results = match &args.pick.seeds {
        Some(seeds) => results.only(seeds),
        None => results,
    };
    let mut audios: Vec<&str> = record.cells.iter().filter_map(|cell| cell.part.audio()).collect();
    audios.dedup();
    let audio = match &args.audio {
        Some(audio) if !audios.contains(&audio.as_str()) => {
            let hint = crate::suggest::nearest(audio, &audios);
            return Err(Failure::usage(format!("--audio {audio}: the experiment has no such feature{hint}")));
        }
        Some(audio) => audio.as_str(),
        // The first that has results.
        None => {
            let mut done = audios.iter().filter(|audio| {
                let ran =
                    |cell: &&crate::store::CellRecord| cell.part.audio() == Some(**audio) && cell.skipped.is_none();
                record.cells.iter().any(|cell| ran(&cell))
            });
            done.next()
                .or(audios.first())
                .copied()
                .ok_or_else(|| Failure::usage("the experiment has no audio feature"))?
        }
    };
    for terms in [&args.of, &args.over].into_iter().flatten() {
        crate::experiment::fusion_expr::Fusion::parse(terms).map_err(Failure::usage)?;
    }
    let look =
        inside::look(&results, &record.tables, audio, (args.of.as_deref(), args.over.as_deref()))?.map_err(|why| {
            Failure::usage(format!("{}: {why}\n  next: `unmute status {}` says what is done", record.name, record.name))
        })?;
    match args.format {
        RowsFormat::Csv => print(&match what {
            Inside::Confusion => look.confusion.csv(),
            Inside::Turned => inside::turned_csv(&look.turned),
            Inside::Nearest => inside::nearest_csv(&look.nearest),
        })?,
        RowsFormat::Json => print_json(&as_json(&look, what))?,
    }
    Ok(Exit::Done)
}

fn as_json(look: &Look, what: Inside) -> Value {
    let c = &look.confusion;
    match what {
        Inside::Confusion => {
            let classes: Vec<Value> = (0..c.classes.len())
                .map(|class| {
                    json!({
                        "class": c.classes[class], "clips": c.clips(class), "unscored": c.unscored[class],
                        "recall": c.recall(class), "precision": c.precision(class), "taken_for": c.row(class),
                    })
                })
                .collect();
            json!({ "sum": look.of, "seeds": c.seeds, "classes": classes })
        }
        Inside::Turned => json!({ "of": look.of, "over": look.over, "clips": look.turned }),
        Inside::Nearest => json!({ "audio": look.audio, "sum": look.of, "classes": look.nearest }),
    }
}
