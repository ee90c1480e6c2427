//! `unmute ls` and `unmute status`.

use super::args::{LsArgs, StoreArgs};
use super::{Exit, Failure, open, print_json, print_text};
use crate::report::format::duration;
use crate::store::{Counts, Filter, Name, Names, RunRecord, Selection, Values, Variant};
use serde_json::{Map, Value, json};

const USUAL: [&str; 7] = ["id", "key", "seed", "state", "top1", "top5", "seconds"];

pub(super) fn ls(args: &LsArgs) -> Result<Exit, Failure> {
    let store = open::store(&args.store.db.db)?;
    let names = store.names()?;
    let usual = USUAL.map(String::from).to_vec();
    let columns = args.columns.as_ref().unwrap_or(&usual);
    let columns = columns.iter().map(|c| name("--columns", c, &names)).collect::<Result<Vec<_>, _>>()?;
    let filter = args.condition.as_ref().map(|text| Filter::parse(text, &names)).transpose();
    let filter = filter.map_err(|problem| Failure::usage(format!("--where: {problem}")))?;
    let sort = args.sort.as_ref().map(|text| {
        let descending = text.starts_with('-');
        Ok::<_, Failure>((name("--sort", text.trim_start_matches(['-', '+']), &names)?, descending))
    });
    // All numbers are read only where all are printed.
    let needed = columns.iter().filter_map(|c| if let Name::Value(name) = c { Some(name.clone()) } else { None });
    let all = args.store.json && args.columns.is_none();
    let selection = Selection {
        filter,
        sort: sort.transpose()?,
        limit: (args.limit > 0).then_some(args.limit),
        values: if all { Values::All } else { Values::Only(needed.collect()) },
    };
    let runs = store.select(&selection)?;
    let mut columns = columns;
    if args.columns.is_none() && runs.iter().any(|run| !run.tags.is_empty()) {
        columns.push(name("--columns", "tags", &names)?);
    }
    if all {
        print_json(&runs)?;
    } else if args.store.json {
        let row = |run: &RunRecord| columns.iter().map(|c| (c.text(), c.of(run))).collect::<Map<String, Value>>();
        print_json(&runs.iter().map(row).collect::<Vec<_>>())?;
    } else {
        print_text(&table(&columns, &runs, args.columns.is_none()))?;
        let total: i64 = store.counts()?.values().sum();
        if runs.is_empty() {
            print_text(if total == 0 { "no runs yet\n" } else { "no run is like that\n" })?;
        } else if args.limit == runs.len() && args.condition.is_none() && total as usize > runs.len() {
            super::progress::say(&format!("{} of {total} runs; --limit 0 lists all", runs.len()));
        }
    }
    Ok(Exit::Done)
}

fn name(flag: &str, text: &str, names: &Names) -> Result<Name, Failure> {
    match names.resolve(text.trim()) {
        Ok(Name::Experiment) => Err(Failure::usage(format!("{flag}: experiment goes with --where only"))),
        Ok(Name::Tag) => Err(Failure::usage(format!("{flag}: tag goes with --where only; `tags` has them all"))),
        Ok(name) => Ok(name),
        Err(message) => Err(Failure::usage(format!("{flag}: {message}"))),
    }
}

/// Columns as wide as what is in them; numbers to the right.
fn table(columns: &[Name], runs: &[RunRecord], errors: bool) -> String {
    let number = |c: &Name| match c {
        Name::Value(_) => true,
        Name::Field(field) => matches!(field.name, "seed" | "attempt" | "seconds" | "memory"),
        _ => false,
    };
    let cell = |r: &RunRecord, c: &Name| match c {
        Name::Field(field) if field.name == "state" => open::state(r).to_string(),
        c => shown(c, &c.of(r)),
    };
    let rows: Vec<Vec<String>> = runs.iter().map(|r| columns.iter().map(|c| cell(r, c)).collect()).collect();
    let head: Vec<String> = columns.iter().map(Name::text).collect();
    let widths: Vec<usize> = (0..columns.len())
        .map(|i| rows.iter().chain([&head]).map(|row| row[i].chars().count()).max().unwrap_or(0))
        .collect();
    let line = |row: &[String]| {
        let cells = row.iter().zip(&widths).zip(columns).map(|((text, &width), column)| match number(column) {
            true => format!("{text:>width$}"),
            false => format!("{text:<width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_string() + "\n"
    };
    let mut out = line(&head);
    for (row, run) in rows.iter().zip(runs) {
        out += &line(row);
        if let (true, Some(error)) = (errors, &run.error) {
            out += &format!("    {}\n", error.replace('\n', "\n    "));
        }
    }
    out
}

fn shown(column: &Name, value: &Value) -> String {
    match (column, value) {
        (_, Value::Null) => "-".into(),
        (Name::Field(field), Value::String(id)) if field.name == "id" => open::short(id).into(),
        (Name::Field(field), Value::Number(n)) if field.name == "seconds" => duration(n.as_f64().unwrap_or_default()),
        (Name::Field(field), Value::Number(n)) if field.name == "memory" => {
            crate::report::format::bytes(n.as_u64().unwrap_or_default())
        }
        (Name::Value(name), Value::Number(n)) => {
            let value = n.as_f64().unwrap_or_default();
            if name.starts_with("top") {
                format!("{value:.2}")
            } else if value.fract() == 0.0 && value.abs() < 1e15 {
                format!("{value:.0}")
            } else {
                format!("{value:.4}")
            }
        }
        (_, Value::String(text)) => text.lines().next().unwrap_or_default().into(),
        (_, other) => other.to_string(),
    }
}

pub(super) fn status(args: &StoreArgs) -> Result<Exit, Failure> {
    let store = open::store(&args.db.db)?;
    let counts = store.counts()?;
    let by_experiment = store.counts_by_experiment()?;
    let variants = store.variants()?;
    let dead = store.running()?.iter().filter(|r| !crate::runs::alive(&r.owner)).count();
    if args.json {
        let names: Vec<&String> = by_experiment.iter().map(|(name, _)| name).collect();
        let each: Map<String, Value> =
            by_experiment.iter().map(|(name, counts)| (name.clone(), json!(counts))).collect();
        print_json(&json!({
            "db": store.path(),
            "runs": counts,
            "dead": dead,
            "experiments": names,
            "by_experiment": each,
            "variants": variants,
        }))?;
        return Ok(Exit::Done);
    }
    let words = |counts: &Counts| {
        let words: Vec<String> = counts.iter().map(|(state, n)| format!("{n} {state}")).collect();
        if words.is_empty() { "no runs".into() } else { words.join(", ") }
    };
    let mut out = format!("{}: {}\n", store.path().display(), words(&counts));
    for (name, counts) in &by_experiment {
        out += &format!("  {name}: {}\n", words(counts));
        let own: Vec<&Variant> = variants.iter().filter(|v| v.experiment == *name).collect();
        // One that was run as it is declared needs no word.
        let plain = |v: &Variant| v.sets.is_empty() && v.declared.as_ref().is_none_or(|d| *d == v.seeds);
        for variant in own.iter().filter(|v| own.len() > 1 || !plain(v)) {
            out += &format!("    variant {}: {}\n", variant.describe(), words(&variant.runs));
        }
    }
    if dead > 0 {
        out += &format!(
            "{dead} of the running are dead: their process is gone or gives no sign of life; `unmute run` takes them up again\n"
        );
    }
    let now = crate::store::now();
    for variant in variants.iter().filter(|v| v.used_at > now) {
        out += &format!(
            "note: the clock of the machine that ran {} {} was ahead ({}); what was run last is counted, not timed\n",
            variant.experiment, variant.number, variant.used_at
        );
    }
    print_text(&out)?;
    Ok(Exit::Done)
}
