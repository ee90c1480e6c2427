//! What is done again and what is not: fingerprints, the reasons that `plan` gives, numeric code that changed.

use crate::support::call::Place;
use crate::support::features::Source;
use crate::support::random::Random;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use unmute::dataset::Dataset;
use unmute::experiment::Experiment;
use unmute::runs::{Plan, Planned};
use unmute::store::flatten;

/// YAML before it is written down in one of many ways.
#[derive(Clone)]
enum Node {
    Map(Vec<(&'static str, Node)>),
    List(Vec<Node>),
    Word(&'static str),
    /// Ways to write one number.
    Number(&'static [&'static str]),
}

use Node::{List, Map, Number, Word};

fn document() -> Node {
    let words = |words: &[&'static str]| List(words.iter().map(|w| Word(w)).collect());
    Map(vec![
        ("name", Word("reuse")),
        ("seeds", List(vec![Number(&["0", "+0"]), Number(&["7"])])),
        (
            "grid",
            Map(vec![
                ("audio", words(&["vggish"])),
                ("generator", words(&["lstm", "autoencoder"])),
                ("loss", words(&["l2", "kl"])),
                ("classifier", words(&["with", "without"])),
            ]),
        ),
        ("controls", words(&["mean", "knn", "ridge"])),
        ("missing", Map(vec![("rate", Number(&["0.4", "4e-1", "0.40", "4.0e-1", ".4"])), ("by", Word("random"))])),
        (
            "train",
            Map(vec![
                ("epochs", Number(&["2"])),
                ("batch", Number(&["8"])),
                ("lr", Number(&["0.001", "1e-3", "1.0e-3", "1E-3", "0.0010", "10.0e-4"])),
                ("w_cls", Number(&["1", "1.0", "1e0"])),
                ("kl_block", Number(&["5"])),
            ]),
        ),
        ("lstm", Map(vec![("hidden", Number(&["8"]))])),
        (
            "autoencoder",
            Map(vec![("encoder", List(vec![Number(&["8"]), Number(&["4"])])), ("decoder", List(vec![Number(&["8"])]))]),
        ),
        ("tsn", Map(vec![("epochs", Number(&["2"])), ("lr", Number(&["0.01", "1e-2"]))])),
    ])
}

/// Writes a node down in some way: order of keys, block or flow, quotes, formats of numbers, comments.
fn written(node: &Node, indent: usize, flow: bool, random: &mut Random, out: &mut String) {
    let choose = |random: &mut Random, n: usize| (random.bits() % n as u64) as usize;
    match node {
        Word(word) => {
            let quote = ["", "'", "\""][choose(random, 3)];
            *out += &format!("{quote}{word}{quote}");
        }
        Number(ways) => *out += ways[choose(random, ways.len())],
        List(items) => {
            *out += if choose(random, 2) == 0 { "[" } else { "[ " };
            for (i, item) in items.iter().enumerate() {
                *out += if i > 0 { ", " } else { "" };
                written(item, indent, true, random, out);
            }
            *out += "]";
        }
        Map(entries) => {
            let mut entries = entries.clone();
            for i in (1..entries.len()).rev() {
                entries.swap(i, choose(random, i + 1));
            }
            let flow = flow || (indent > 0 && choose(random, 2) == 0);
            *out += if flow { "{" } else { "" };
            for (i, (key, value)) in entries.iter().enumerate() {
                let quote = ["", "", "'", "\""][choose(random, 4)];
                if flow {
                    *out += if i > 0 { ", " } else { "" };
                } else {
                    *out += "\n";
                    if choose(random, 3) == 0 {
                        *out += &format!("{}# lr: 17, a remark\n", " ".repeat(choose(random, 4)));
                    }
                    *out += &" ".repeat(indent);
                }
                *out += &format!("{quote}{key}{quote}: ");
                written(value, indent + 2, flow, random, out);
                if !flow && choose(random, 4) == 0 {
                    *out += "   # { }: remark";
                }
            }
            *out += if flow { "}" } else { "" };
        }
    }
}

struct Bench {
    place: Place,
    dataset: Arc<Dataset>,
}

impl Bench {
    fn new() -> Bench {
        let place = Place::with_data(&Source::default());
        let dataset = Arc::new(Dataset::open(&place.path("data")).unwrap());
        let bench = Bench { place, dataset };
        let mut text = String::new();
        written(&document(), 0, false, &mut Random(0), &mut text);
        bench.place.write("experiment/experiment.yaml", &text);
        bench
    }

    fn plan(&self, sets: &[&str]) -> Plan {
        let sets: Vec<String> = sets.iter().map(|s| s.to_string()).collect();
        let folder = self.place.path("experiment");
        let experiment = Experiment::load(&folder, &sets).unwrap_or_else(|e| panic!("{sets:?}: {e}"));
        let seeds = experiment.config.seeds.clone();
        Plan::new(&experiment, self.dataset.clone(), &seeds).unwrap_or_else(|e| panic!("{sets:?}: {e}"))
    }
}

/// Each cell's runs.
fn ids(plan: &Plan) -> BTreeMap<String, Vec<(Option<u64>, String)>> {
    plan.cells.iter().map(|p: &Planned| (p.cell.key(), p.runs.clone())).collect()
}

#[test]
fn the_way_that_yaml_is_written_changes_no_fingerprint() {
    let bench = Bench::new();
    let expected = ids(&bench.plan(&[]));
    assert_eq!(expected.len(), 2 + 1 + 8 + 3);
    let mut seen = BTreeSet::new();
    for seed in 1..=100 {
        let mut yaml = String::new();
        written(&document(), 0, false, &mut Random(seed), &mut yaml);
        bench.place.write("experiment/experiment.yaml", &yaml);
        assert_eq!(ids(&bench.plan(&[])), expected, "{yaml}");
        seen.insert(yaml);
    }
    assert!(seen.len() > 95);
    for set in ["train.lr=1e-3", "train.lr=0.0010", "train.lr=1.0E-3", "train.w_cls=1.0", "svm.tolerance=0.000001"] {
        assert_eq!(ids(&bench.plan(&[set])), expected, "{set}");
    }
    // What tables are made with, and what a person reads, trains nothing.
    for set in ["name=other", "title=Other", "description=x", "fusion.sounded=generated", "fusion.weights.vggish=0.5"] {
        assert_eq!(ids(&bench.plan(&[set])), expected, "{set}");
    }
}

/// Another value of every key that numbers depend on, and the cells that read it.
const CHANGES: &[(&str, &str)] = &[
    ("train.epochs=3", "generator"),
    ("train.batch=9", "generator"),
    ("train.lr=0.0010000000000000002", "generator"),
    ("train.beta1=0.9000000000000001", "generator"),
    ("train.beta2=0.9990000000000001", "generator"),
    ("train.eps=1.0000000000000002e-8", "generator"),
    ("train.w_cls=1.0000000000000002", "generator /with"),
    ("train.w_rec=1.0000000000000002", "generator"),
    ("train.l2=sum", "generator /l2/"),
    ("train.kl_block=3", "generator /kl/"),
    ("train.target=raw", "generator"),
    ("lstm.hidden=9", "generator lstm"),
    ("autoencoder.encoder=[9, 4]", "generator autoencoder"),
    ("autoencoder.decoder=[8, 8]", "generator autoencoder"),
    ("autoencoder.test_frame=mean", "generator autoencoder"),
    ("match_generated=moments", "generator"),
    ("svm.c=1.0000000000000002", "bank generator control"),
    ("svm.scale=raw", "bank generator control"),
    ("svm.probability=softmax", "bank generator control"),
    ("svm.train_on=real+generated", "generator"),
    ("svm.folds=4", "bank generator control"),
    ("svm.tolerance=1.0000000000000002e-6", "bank generator control"),
    ("tsn.epochs=3", "stream"),
    ("tsn.batch=9", "stream"),
    ("tsn.lr=0.010000000000000002", "stream"),
    ("tsn.weight_decay=1e-300", "stream"),
    ("knn.k=11", "control knn"),
    ("ridge.lambda=1.0000000000000002", "control ridge"),
    ("missing.rate=0.5", "bank generator control"),
    ("missing.by=class", "bank generator control"),
    ("missing.seed=1", "bank generator control"),
];

#[test]
fn any_value_that_matters_changes_the_fingerprints_of_the_cells_that_read_it_and_no_other() {
    let bench = Bench::new();
    let before = bench.plan(&[]);
    let expected = ids(&before);
    for (set, cells) in CHANGES {
        let words: Vec<&str> = cells.split(' ').collect();
        let kinds: Vec<&str> =
            words.iter().copied().filter(|w| ["stream", "bank", "generator", "control"].contains(w)).collect();
        let names: Vec<&str> = words.iter().copied().filter(|w| !kinds.contains(w)).collect();
        let after = ids(&bench.plan(&[set]));
        for planned in &before.cells {
            let key = planned.cell.key();
            // `/with` is the end of the key, and not of `/without`.
            let named = |n: &&str| format!("{key}|").contains(&n.replace("/with", "/with|"));
            let reads = kinds.contains(&planned.cell.part.kind()) && (names.is_empty() || names.iter().any(named));
            assert_eq!(after[&key] != expected[&key], reads, "{set}: {key}");
        }
    }
    // No key is forgotten: every leaf of the groups that cells read is in the list.
    let experiment = Experiment::load(&bench.place.path("experiment"), &[]).unwrap();
    let config = serde_json::to_value(&experiment.config).unwrap();
    let groups = ["train", "lstm", "autoencoder", "svm", "tsn", "knn", "ridge", "missing", "match_generated"];
    for (key, _) in flatten(&config).iter().filter(|(key, _)| groups.contains(&key.split('.').next().unwrap())) {
        assert!(CHANGES.iter().any(|(set, _)| set.split('=').next() == Some(key)), "no change of {key} is tried");
    }
    // Seeds: other runs of the same cells.
    let seeds = ids(&bench.plan(&["seeds=[0, 8]"]));
    let lstm = "vggish/lstm/l2/with";
    assert_eq!(seeds[lstm][0], expected[lstm][0]);
    assert_ne!(seeds[lstm][1], expected[lstm][1]);
    assert_eq!(seeds["vggish"], expected["vggish"]);
    let all: BTreeSet<&String> = expected.values().flatten().map(|(_, id)| id).collect();
    assert_eq!(all.len(), expected.values().map(Vec::len).sum::<usize>(), "no two runs have one name");
}

/// Makes every run of a store one of other numeric code.
fn as_of_other_code(tiny: &Place, db: &str) {
    let hash = |text: String| blake3::hash(text.as_bytes()).to_hex().as_str()[..32].to_string();
    let mut sql = String::new();
    for run in tiny.query(db, "SELECT id, spec, CAST(seed AS TEXT) AS seed FROM run") {
        let mut spec: serde_json::Value = serde_json::from_str(run["spec"].as_str().unwrap()).unwrap();
        spec["code"] = "0000000000000000".into();
        let cell = hash(spec.to_string());
        let new = match run["seed"].as_str() {
            Some(seed) => hash(format!("{spec} seed {seed}")),
            None => cell.clone(),
        };
        let old = run["id"].as_str().unwrap();
        let quoted = spec.to_string().replace('\'', "''");
        sql += &format!("UPDATE run SET id = '{new}', cell = '{cell}', spec = '{quoted}' WHERE id = '{old}';\n");
        for table in ["epoch", "value", "score", "bank", "event", "weights"] {
            sql += &format!("UPDATE {table} SET run_id = '{new}' WHERE run_id = '{old}';\n");
        }
    }
    tiny.sql(db, &sql);
}

#[test]
fn changed_numeric_code_is_told_and_accepted_where_that_is_asked_for() {
    let tiny = Place::tiny(3);
    tiny.train("runs.db");
    tiny.copy("runs.db", "fresh.db");
    // Ids that were changed by hand are damage to `verify`, which is not asked here.
    as_of_other_code(&tiny, "runs.db");
    let old: Vec<String> =
        tiny.query("runs.db", "SELECT id FROM run").iter().map(|r| r["id"].as_str().unwrap().to_string()).collect();
    let experiment = ["tiny", "--dataset", "data", "--db", "runs.db"];
    let plan = tiny.args(&[&["plan"], &experiment[..]].concat()).success().stdout;
    assert_eq!(plan.matches("numeric code changed\n").count(), 8, "{plan}");
    assert!(plan.contains("14 runs to do") && plan.contains("--accept-changed-code takes them"), "{plan}");
    // Together with something else, code alone is no reason to accept.
    let both = tiny
        .args(&[&["plan", "--set", "train.lr=0.003", "--accept-changed-code"], &experiment[..]].concat())
        .success()
        .stdout;
    assert_eq!(both.matches("numeric code changed; train.lr 0.001 -> 0.003\n").count(), 4, "{both}");
    assert!(both.contains("8 runs to do"), "{both}");
    let plan = tiny.args(&[&["plan", "--accept-changed-code"], &experiment[..]].concat()).success().stdout;
    assert!(plan.contains("14 runs of other numeric code would be accepted") && plan.contains("all done"), "{plan}");

    let done = tiny.args(&[&["run", "--accept-changed-code"], &experiment[..]].concat()).said();
    assert!(done.text().contains("14 runs of other numeric code were accepted as they are"), "{}", done.text());
    assert!(done.text().contains("nothing to train"), "{}", done.text());
    let again = tiny.args(&[&["run"], &experiment[..]].concat()).said();
    assert!(again.text().contains("nothing to train") && !again.text().contains("accept"), "{}", again.text());
    // The copies have the numbers, say where they are from, and the old runs can then go.
    let numbers = |db: &str| {
        tiny.query(db, "SELECT s.run_id, s.what, s.hash FROM score s JOIN run r ON r.id = s.run_id WHERE r.spec NOT LIKE '%\"0000000000000000\"%' ORDER BY 1, 2")
    };
    assert_eq!(numbers("runs.db"), numbers("fresh.db"));
    let accepted =
        tiny.query("runs.db", "SELECT id, accepted_from, environment_id FROM run WHERE accepted_from IS NOT NULL");
    assert_eq!(accepted.len(), 14);
    assert!(accepted.iter().all(|r| old.contains(&r["accepted_from"].as_str().unwrap().to_string())));
    assert!(accepted.iter().all(|r| r["environment_id"] == 1));
    let shown = tiny.args(&["show", accepted[0]["id"].as_str().unwrap(), "--db", "runs.db"]).success().stdout;
    assert!(shown.contains("whose numbers were accepted") && shown.contains("accepted the numbers of run"), "{shown}");
    // One that somebody has said something of stays.
    let tagged = accepted[0]["accepted_from"].as_str().unwrap();
    tiny.args(&["tag", tagged, "kept", "--db", "runs.db"]).success();
    let swept = tiny.call("gc --db runs.db").success().stdout;
    assert_eq!(swept.matches("superseded ").count(), 13, "{swept}");
    tiny.args(&["tag", tagged, "kept", "--remove", "--db", "runs.db"]).success();
    let swept = tiny.call("gc --db runs.db").success().stdout;
    assert_eq!(swept.matches("superseded ").count(), 1, "{swept}");
    tiny.call("verify tiny --dataset data --db runs.db --sample 3").success();
    // Merging keeps what they are.
    tiny.call("merge --db merged.db runs.db").success();
    assert_eq!(tiny.query("merged.db", "SELECT count(*) AS n FROM run WHERE accepted_from IS NOT NULL")[0]["n"], 14);
}

#[test]
fn plan_says_what_changed() {
    let place = Place::with_experiment(&Source::default());
    place.call("run experiment --db r.db --seeds 0").success();
    let why = |call: &str| -> BTreeMap<String, String> {
        let cells = place.call(call).words("--json --db r.db").success().json()["cells"].clone();
        let told = cells.as_array().unwrap().iter().filter(|c| c["why"].is_string());
        told.map(|c| (c["cell"].as_str().unwrap().into(), c["why"].as_str().unwrap().into())).collect()
    };
    let plan = "plan experiment --seeds 0";
    assert!(why(plan).is_empty());
    let lr = why("plan experiment --seeds 0 --set train.lr=0.003");
    assert_eq!(lr.len(), 8);
    assert!(lr.values().all(|w| w == "train.lr 0.001 -> 0.003"), "{lr:?}");
    let two = why("plan experiment --seeds 0 --set train.lr=0.003 --set autoencoder.encoder=[9,4]");
    assert_eq!(two["vggish/lstm/l2/with"], "train.lr 0.001 -> 0.003");
    assert_eq!(two["vggish/autoencoder/kl/with"], "autoencoder.encoder [8,4] -> [9,4]; train.lr 0.001 -> 0.003");
    let rate = why("plan experiment --seeds 0 --set missing.rate=0.5");
    assert_eq!(rate.len(), 1 + 8 + 5);
    assert!(rate.values().all(|w| w == "missing.rate 0.4 -> 0.5"), "{rate:?}");
    assert_eq!(why("plan experiment --seeds 0,3,4")["rgb"], "new seeds 3, 4");
    assert_eq!(why("plan experiment --seeds 3")["rgb"], "new seed 3");
    assert_eq!(why("plan experiment --seeds 3").get("vggish"), None);
    // One number of one file; then the same under another name.
    let path = place.path("data/flow.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 2;
    bytes[last] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let flow = why(plan);
    assert_eq!(flow.len(), 2 + 1 + 8 + 5);
    assert!(flow.values().all(|w| w == "data set changed: flow.safetensors"), "{flow:?}");
    place.call("plan experiment --seeds 0 --db r.db").stdout("data set changed: flow.safetensors").success();
    // Another store knows nothing.
    place.call("plan experiment --seeds 0 --db none.db").stdout(" new\n").success();
}
