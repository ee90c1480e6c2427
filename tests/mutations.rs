//! Files, flags and conditions that went wrong in every way: none may panic, hang, or be answered by pages.
//!
//! Mutation tests that are the same on every machine; `just fuzz` goes on with new inputs (support/fuzz.rs says how).

use crate::support::fuzz::Target;
use std::path::Path;
use unmute::experiment::config::Config;
use unmute::experiment::fusion_expr::Fusion;
use unmute::experiment::layers::Layers;
use unmute::experiment::tables::Published;
use unmute::experiment::yaml::Document;
use unmute::experiment::{Claims, Experiment, Ledger, Problem, Tables};
use unmute::store::{Filter, Names, Store};

/// Letters and lines of an error, at most.
const ERROR: usize = 4000;
const LINES: usize = 30;

const EXPERIMENT: &str = "name: tiny
title: \"T\u{e9}st\"
seeds: [0, 1]
grid:
  audio: [vggish, aenet]
  generator: [lstm, autoencoder]
  loss: [l2, kl]
  classifier: [with, without]
  missing.rate: [0.1, 0.2]
exclude:
  - {audio: aenet, loss: kl}
controls: [mean, ridge, oracle]
missing: {rate: 0.4, by: class, seed: 3}
train: &t {epochs: 3, batch: 8, lr: 1e-3, kl_block: null}
tsn: {epochs: 2, batch: 8}
lstm: {hidden: 4}
autoencoder: {encoder: [4, 2], decoder: [4], test_frame: mean}
svm: {c: 0.5, folds: 2, probability: platt-raw}
fusion: {weights: {rgb: 1.5}, sounded: generated}
";

const TABLES: &str = "tables:
  - table: 1
    title: counts
    counts:
      - {key: a, row: r, count: sounded, published: {train: \"55,196\", val: 10}}
  - table: two
    title: accuracies
    audio: [vggish, aenet]
    at: {missing.rate: 0.1}
    accuracy:
      - {key: lstm/l2/with, row: r, group: [x], fuse: rgb+flow+audio(lstm/l2/with), published: {top1: \"4.70\"}}
      - {key: mean, control: true, row: m, fuse: audio(mean)}
  - table: 3
    title: classes
    top: 2
    improvement:
      - {key: one, column: c, of: rgb+vggish, over: rgb, published: [clap, run]}
      - {key: two, column: d, of: rgb+vggish(best), over: rgb}
agree_within: 1.5
";

const CLAIMS: &str = "claims:
  - id: C1
    claim: words
    metrics: [top1]
    compare:
      - {table: two, rows: \"best */*/*\", beat: mean, by: 0.5}
      - {table: two, rows: \"**\", equal: mean, within: 2}
    same_order:
      - {first: {table: two, rows: mean, beat: lstm/l2/with}, then: {table: two, rows: lstm/l2/with, beat: mean}}
    shared: [{table: 3, columns: [one, two], top: 2, at_least: 1}]
    at_least: 2
    beside: [{table: two, rows: mean, beat: lstm/l2/with}]
";

const LEDGER: &str = "ledger:
  - id: A1
    question: which?
    decision: that.
    because: so
    keys: [train.epochs, lstm.hidden]
    alternatives:
      - {name: more, set: {train.epochs: 5, fusion.weights: {rgb: 2}}}
      - {name: raw, set: {svm.probability: softmax, missing.rate: 0.2}}
    touches: all
";

const SETS: [&str; 7] = [
    "train.epochs=5",
    "grid.audio=[vggish, aenet]",
    "grid.train.lr=[0.1, 0.2]",
    "fusion.weights.rgb=1.5",
    "autoencoder.encoder=[8, 4]",
    "seeds=[0, 1, 2]",
    "title=\"a = b\"",
];

const FUSIONS: [&str; 6] = [
    "rgb",
    "rgb+flow+vggish(lstm/l2/with)",
    "audio(best)",
    "rgb + vggish( oracle )",
    "a_b-c+d(autoencoder)",
    "x(lstm/kl)",
];

const CONDITIONS: [&str; 6] = [
    "generator=lstm and top1>30",
    "state=failed or (train.lr>=0.01 and seed!=0)",
    "key~'l2/With'",
    "error!=none",
    "((kind=bank))",
    "r2/silent > -0.5 and started>\"2026-01-01\"",
];

const PUBLISHED: [&str; 6] = ["4.70", "55,196", "-1.5", "1,234,567.8", "100", ".5"];

/// What is put into inputs, beside letters: what parsers stumble over.
const PIECES: [&str; 40] = [
    "\u{0}",
    "\u{feff}",
    "\u{e9}",
    "\u{1f600}",
    "\u{202e}",
    "\t",
    "\n",
    "\r\n",
    "\\",
    "'",
    "\"",
    "[",
    "]",
    "{",
    "}",
    "(",
    ")",
    ":",
    ",",
    "- ",
    "? ",
    "#",
    "&a ",
    "*a",
    "<<: ",
    "!x ",
    "|\n",
    ">-\n",
    "---\n",
    "~",
    ".nan",
    ".inf",
    "-0",
    "1e999",
    "18446744073709551616",
    "99999999999",
    "null",
    "**",
    "+",
    "4,70",
];

/// An error has to be short, whatever the input.
#[track_caller]
fn short(error: impl std::fmt::Display, input: &str) {
    let told = error.to_string();
    let (letters, lines) = (told.chars().count(), told.lines().count());
    assert!(
        letters <= ERROR && lines <= LINES && !told.is_empty(),
        "{letters} letters, {lines} lines for {input:?}:\n{told}"
    );
}

/// Attacks a parser of text with these inputs, changed; says how many of them it took.
fn try_all(name: &str, good: &[&str], times: usize, mut attempt: impl FnMut(&str) -> bool) -> usize {
    let good: Vec<Vec<u8>> = good.iter().map(|text| text.as_bytes().to_vec()).collect();
    let target = Target { name, good: &good, words: &PIECES, times };
    target.attack(|bytes| std::str::from_utf8(bytes).is_ok_and(&mut attempt)).taken
}

fn layers(text: &str) -> Result<Layers, Problem> {
    Ok(Layers::new(vec![Document::parse(Path::new("file.yaml"), text)?]))
}

fn told<T>(result: Result<T, impl std::fmt::Display>, input: &str) -> bool {
    result.inspect_err(|problem| short(problem, input)).is_ok()
}

#[test]
fn the_inputs_that_are_changed_are_valid() {
    let place = crate::support::call::Place::new();
    let files = [("experiment", EXPERIMENT), ("tables", TABLES), ("claims", CLAIMS), ("ledger", LEDGER)];
    files.iter().for_each(|(name, text)| place.write(&format!("e/{name}.yaml"), text));
    Experiment::load(&place.path("e"), &[]).unwrap_or_else(|e| panic!("{e}"));
    for set in SETS {
        Experiment::load(&place.path("e"), &[set.to_string()]).unwrap_or_else(|e| panic!("{set}: {e}"));
    }
    assert!(
        FUSIONS[..5].iter().all(|f| Fusion::parse(f).is_ok())
            && PUBLISHED.iter().all(|p| Published::parse(p).is_some())
    );
}

#[test]
fn experiments() {
    let streams = ["rgb".to_string(), "flow".to_string()];
    let attempt = |text: &str| {
        let whole = || -> Result<(), Problem> {
            let layers = layers(text)?;
            let config: Config = layers.read()?;
            config.check().map_err(|(path, message)| layers.at(&path, message))?;
            unmute::experiment::grid::cells(&config, &layers, &streams)?;
            Ok(())
        };
        told(whole(), text)
    };
    try_all("experiment", &[EXPERIMENT], 1500, attempt);
}

#[test]
fn tables_and_claims_and_ledgers() {
    let audios = ["vggish".to_string(), "aenet".to_string()];
    try_all("tables", &[TABLES], 800, |text| told(layers(text).and_then(|l| Tables::read(&l, &audios)), text));
    let tables = Tables::read(&layers(TABLES).unwrap(), &audios).unwrap();
    try_all("claims", &[CLAIMS], 800, |text| told(layers(text).and_then(|l| Claims::read(&l, Some(&tables))), text));
    let config: Config = layers(EXPERIMENT).unwrap().read().unwrap();
    let config = serde_json::to_value(config).unwrap();
    try_all("ledger", &[LEDGER], 800, |text| told(layers(text).and_then(|l| Ledger::read(&l, &config)), text));
}

#[test]
fn settings() {
    let below = layers(EXPERIMENT).unwrap();
    let attempt = |text: &str| {
        let whole = || -> Result<(), Problem> {
            let mut layers = below.clone();
            layers.push(Document::of_set(text)?);
            let config: Config = layers.read()?;
            config.check().map_err(|(path, message)| layers.at(&path, message))?;
            unmute::experiment::grid::cells(&config, &layers, &[])?;
            Ok(())
        };
        told(whole(), text)
    };
    try_all("set", &SETS, 1500, attempt);
}

#[test]
fn fusions_conditions_and_published_values() {
    try_all("fusion", &FUSIONS[..5], 3000, |text| told(Fusion::parse(text), text));
    let names = Names::new(vec!["top1".into(), "r2/silent".into()]);
    try_all("condition", &CONDITIONS, 3000, |text| told(Filter::parse(text, &names), text));
    try_all("published", &PUBLISHED, 3000, |text| {
        let Some(p) = Published::parse(text) else { return false };
        let again = Published::parse(&p.to_string());
        assert!(p.value.is_finite() && again == Some(p.clone()), "{text:?}: {p:?} {again:?}");
        true
    });
}

/// Bytes of a store changed here and there: whatever is asked of it is answered or refused, and never a panic.
#[test]
fn bytes_of_a_store() {
    let tiny = crate::support::call::Place::tiny(2);
    tiny.train("runs.db");
    let path = tiny.path("mutated.db");
    let good = [std::fs::read(tiny.path("runs.db")).unwrap()];
    let words = ["generator", "done", "\0\0\0\0\0\0\0\0", "SQLite format 3\0", "CREATE TABLE", "\u{d}\0\0\0\u{1}"];
    let target = Target { name: "store", good: &good, words: &words, times: 150 };
    target.attack(|bytes| {
        for end in ["-wal", "-shm", "-journal"] {
            let _ = std::fs::remove_file(tiny.path(&format!("mutated.db{end}")));
        }
        std::fs::write(&path, bytes).unwrap();
        let store = match Store::open_to_read(&path) {
            Ok(store) => store,
            Err(error) => {
                short(error, "a store");
                return false;
            }
        };
        let _ = (store.variants(), store.latest_experiment("tiny"), store.all_weights());
        let whole = store.check().is_ok_and(|check| check.damage.is_empty());
        for run in store.runs().into_iter().flatten() {
            let _ = (store.curve(&run.id), store.bank(&run.id), store.events(&run.id), store.weights(&run.id));
            for what in store.score_kinds(&run.id).into_iter().flatten() {
                let _ = store.scores(&run.id, &what);
            }
        }
        whole
    });
}
