//! `unmute tag` and `unmute note`: what people say of runs.

use super::label_args::{NoteArgs, TagArgs};
use super::progress::say;
use super::{Exit, Failure, open, print_json, print_text};
use crate::store::{Filter, Selection, Values, no_note, no_tag};

pub(super) fn tag(args: &TagArgs) -> Result<Exit, Failure> {
    let store = open::store(&args.db.db)?;
    let Some((tag, starts)) = args.words.split_last() else {
        if args.condition.is_some() || args.remove {
            return Err(Failure::usage("which tag?\n  next: put it behind, as in `unmute tag --where top1>30 good`"));
        }
        let tags = store.tags()?;
        if args.json {
            print_json(&tags)?;
        } else if tags.is_empty() {
            print_text("no tags yet\n")?;
        } else {
            let width = tags.keys().map(|t| t.chars().count()).max().unwrap_or(0);
            print_text(&tags.iter().map(|(tag, n)| format!("{tag:<width$}  {n}\n")).collect::<String>())?;
        }
        return Ok(Exit::Done);
    };
    if let Some(why) = no_tag(tag) {
        return Err(Failure::usage(format!("{tag:?}: {why}")));
    }
    let runs: Vec<String> = match &args.condition {
        Some(_) if !starts.is_empty() => {
            return Err(Failure::usage(
                "either ids of runs or --where; the last word is the tag, and a tag is one word",
            ));
        }
        Some(text) => {
            let filter = Filter::parse(text, &store.names()?);
            let filter = Some(filter.map_err(|problem| Failure::usage(format!("--where: {problem}")))?);
            let selection = Selection { filter, values: Values::Only(Vec::new()), ..Selection::default() };
            store.select(&selection)?.into_iter().map(|run| run.id).collect()
        }
        None if starts.is_empty() => {
            return Err(Failure::usage(format!(
                "which runs?\n  next: `unmute tag RUN {tag}`; `unmute ls` lists runs, `unmute tag --where` takes a condition"
            )));
        }
        None => starts.iter().map(|start| Ok(open::run(&store, start)?.id)).collect::<Result<_, Failure>>()?,
    };
    drop(store);
    let changed = open::writable(&args.db.db)?.tag(&runs, std::slice::from_ref(tag), args.remove)?;
    let unchanged = runs.len() as u64 - changed;
    let (what, already) = if args.remove { ("taken off", "did not have it") } else { ("tagged", "had it already") };
    let rest = if unchanged > 0 { format!("; {unchanged} {already}") } else { String::new() };
    say(&format!("{tag}: {changed} runs {what}{rest}"));
    Ok(Exit::Done)
}

pub(super) fn note(args: &NoteArgs) -> Result<Exit, Failure> {
    let store = open::store(&args.db.db)?;
    let run = open::run(&store, &args.run)?;
    if args.clear {
        drop(store);
        let gone = open::writable(&args.db.db)?.clear_notes(&run.id)?;
        say(&format!("{}: {gone} notes taken off", open::short(&run.id)));
        return Ok(Exit::Done);
    }
    match &args.text {
        None => print_text(&run.notes.iter().map(|note| format!("{note}\n")).collect::<String>())?,
        Some(text) => {
            if let Some(why) = no_note(text) {
                return Err(Failure::usage(why));
            }
            drop(store);
            open::writable(&args.db.db)?.note(&run.id, text)?;
            say(&format!("{} ({}): noted", open::short(&run.id), run.key));
        }
    }
    Ok(Exit::Done)
}
