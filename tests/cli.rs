//! The program from features to tables.

use crate::support::call::{Place, runs, small_experiment};
use crate::support::features::Source;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::OnceLock;
use unmute::store::{State, Store};

/// An experiment that ran once, for tests that only read.
fn trained() -> &'static Place {
    static TRAINED: OnceLock<Place> = OnceLock::new();
    TRAINED.get_or_init(|| {
        let place = Place::with_experiment(&Source::default());
        place.call("run experiment --db runs.db").success();
        place
    })
}

/// The bits of scores, and which clips have any.
type Bits = (Vec<u32>, Vec<bool>);

/// Scores of every finished run, by run and what they are of.
fn all_scores(store: &Store) -> BTreeMap<(String, &'static str), Bits> {
    let mut all = BTreeMap::new();
    for run in runs(store) {
        assert_eq!(run.state, State::Done, "{}: {:?}", run.key, run.error);
        for what in ["vision", "real", "generated"] {
            if let Some(scores) = store.scores(&run.id, what).unwrap() {
                all.insert(
                    (run.id.clone(), what),
                    (scores.values.iter().map(|v| v.to_bits()).collect(), scores.present),
                );
            }
        }
    }
    all
}

/// The line of a table's export.
fn entry<'a>(tables: &'a Value, table: u64, key: &str, metric: &str) -> &'a Value {
    let all = tables.as_array().unwrap();
    let found = all.iter().find(|e| e["table"] == table && e["key"] == key && e["metric"] == metric);
    found.unwrap_or_else(|| panic!("no {metric} of {key} in table {table}"))
}

#[test]
fn a_folder_of_features_becomes_a_data_set() {
    let place = Place::new();
    Source { silent_every: 5, ..Source::default() }.write(&place.path("source"));
    place.call("data import source data --frames 3").stderr("imported").stderr("3 classes, T 3").success();
    place.call("data import source data --frames 3").stderr("imported already").success();
    place.call("data import source data --frames 4").stderr("data").stderr("other options").fails(1);
    place.call("data stats data").stdout("with sound").stdout("3 classes, 3 frames").stdout("vggish").success();
    let stats = place.call("data stats data --json").success().json();
    assert_eq!(stats["train"], serde_json::json!({ "sounded": 29, "silent": 7, "total": 36 }));
    assert_eq!(stats["val"]["total"], 12);
    assert_eq!(stats["audio"][0]["width"], 15);
    assert_eq!(stats["streams"][0]["name"], "rgb", "rgb first, then flow");
    // Half the bytes, nearly the same numbers.
    place.call("data import source half --frames 3 --precision f16").success();
    let bytes = |dir: &str| place.path(dir).join("rgb.safetensors").metadata().unwrap().len();
    assert!(bytes("half") < bytes("data") * 6 / 10);
    place.call("data stats half --json").stdout("f16").success();
}

#[test]
fn an_experiment_is_planned_run_and_reported() {
    let place = Place::with_experiment(&Source::default());
    place.call("plan experiment").stdout("vggish/lstm/l2/with").stdout("runs to do").success();
    assert!(!place.path(".unmute").exists(), "a plan writes nothing");
    let plan = place.call("plan experiment --json").success().json();
    // 2 heads x 2 seeds, a bank, 8 generators x 2 seeds, 5 controls.
    assert_eq!(plan["to_do"], 26);
    place
        .call("run experiment")
        .stderr("26 runs: 0 done already, 26 to do")
        .stderr("[26/26]")
        .stderr("next: unmute report experiment")
        .success();
    place.call("plan experiment").stdout("all done; nothing to train").success();

    let before = std::fs::read(place.path(".unmute/runs.db")).unwrap();
    let again = place.call("run experiment").stderr("26 runs of small were done already; nothing to train").success();
    assert!(!again.stderr.contains("[1/"), "{}", again.stderr);
    drop(before);
    assert_eq!(runs(&place.store(".unmute/runs.db")).iter().map(|r| r.attempt).max(), Some(1));

    place.call("report experiment").stdout("reports/out/small.html").success();
    let page = place.read("reports/out/small.html");
    for text in ["Late fusion of vision and sound", "28.19", "vggish/lstm/l2/with", "no aenet"] {
        assert!(page.contains(text), "{text:?} in the report");
    }
    // The name in the store works as well as the folder, and no data set is needed.
    std::fs::remove_dir_all(place.path("data")).unwrap();
    place.call("report small --out elsewhere").success();
    place.call("export tables small").stdout("Table 4").success();
}

#[test]
fn one_more_seed_trains_only_what_is_new() {
    let place = Place::with_experiment(&Source::default());
    place.call("run experiment --db a.db --seeds 0").stderr("16 runs: 0 done already, 16 to do").success();
    place.call("run experiment --db a.db --seeds 0,7").stderr("26 runs: 16 done already, 10 to do").success();
    // A key that some cells do not read leaves those alone: only the LSTMs depend on the width of their state.
    let plan = place.call("plan experiment --db a.db --seeds 0,7 --set lstm.hidden=9 --json").success().json();
    assert_eq!(plan["to_do"], 8);
    let changed = plan["cells"].as_array().unwrap().iter().find(|c| c["cell"] == "vggish/lstm/l2/with").unwrap();
    assert_eq!(changed["why"], "lstm.hidden 8 -> 9");
}

#[test]
fn lists_and_single_runs_are_shown() {
    let place = trained();
    let ls = place.call("ls --db runs.db --json").success().json();
    let runs = ls.as_array().unwrap();
    assert_eq!(runs.len(), 26);
    assert!(runs.iter().all(|r| r["state"] == "done"));
    place.call("ls --db runs.db").stdout("vggish/autoencoder/kl/without").success();
    place.call("status --db runs.db").stdout("small").success();
    place.call("status --json").env("UNMUTE_DB", "runs.db").stdout("small").success();

    let lstm = runs.iter().find(|r| r["key"] == "vggish/lstm/l2/with").unwrap();
    let id = lstm["id"].as_str().unwrap();
    place.call("show --db runs.db").arg(&id[..10]).stdout(id).stdout("depends on").stdout("train loss").success();
    let shown = place.call("show --db runs.db --json").arg(id).success().json();
    assert_eq!(shown["epochs"].as_array().unwrap().len(), 2);
    assert_eq!(shown["run"]["spec"]["lstm"]["hidden"], 8);
    assert_eq!(shown["environment"]["device"], "cpu");
    place.call("show zzzz --db runs.db").stderr("no run begins with \"zzzz\"").fails(2);
    place.call("show --db runs.db").arg("").stderr("several runs begin with").fails(2);
}

#[test]
fn exported_tables_have_every_field_and_say_what_is_skipped() {
    let place = trained();
    let tables = place.call("export tables experiment --db runs.db --format json").success().json();
    for e in tables.as_array().unwrap() {
        for field in ["table", "key", "row", "metric", "mean", "sd", "n", "published", "delta", "skipped"] {
            assert!(e.get(field).is_some(), "{field} of {e}");
        }
        let there = e["skipped"].is_null();
        assert_eq!(there, e["mean"].is_number(), "{e}");
        assert_eq!(there, e["n"].as_u64() > Some(0), "{e}");
    }
    // Generators have a deviation over two seeds, banks run once.
    let generated = entry(&tables, 3, "lstm/l2/with", "top1");
    assert_eq!((&generated["n"], generated["sd"].is_number()), (&Value::from(2), true));
    let delta = generated["mean"].as_f64().unwrap() - 1.54;
    assert!((generated["delta"].as_f64().unwrap() - delta).abs() < 1e-9);
    let bank = entry(&tables, 3, "baseline", "top1");
    assert_eq!((&bank["n"], bank["sd"].is_null()), (&Value::from(1), true));
    // A silent clip is wrong whatever k, so the baseline's top-5 of three classes is the share of sounded val clips.
    let counts = |key: &str| entry(&tables, 1, key, "val")["mean"].as_f64().unwrap();
    assert_eq!(entry(&tables, 3, "baseline", "top5")["mean"], 100.0 * counts("sounded") / counts("total"));
    assert_eq!(entry(&tables, 3, "oracle", "top5")["mean"], 100.0);
    // AENet is not in the data set: skipped with a reason, in table 4 too.
    for (table, key) in [(2, "baseline"), (2, "lstm/kl/without"), (4, "rgb+aenet")] {
        let why = entry(&tables, table, key, "top1")["skipped"].as_str().unwrap();
        assert!(why.contains("no aenet"), "{why}");
    }
    assert!(entry(&tables, 4, "rgb+flow+vggish(autoencoder)", "top1")["mean"].is_number());
    for (format, text) in [
        ("csv", "table,key,row,metric,mean,sd,n,published,delta,skipped,low,high,verdict\n"),
        ("md", "## Table 3."),
        ("latex", "\\toprule"),
    ] {
        place.call("export tables experiment --db runs.db --format").arg(format).stdout(text).success();
    }
}

#[test]
fn tables_follow_the_stored_scores() {
    // Table 3's row, computed here from the scores: real ones where a clip sounds, generated ones where not.
    let place = trained();
    let store = place.store("runs.db");
    let runs = runs(&store);
    let bank = runs.iter().find(|r| r.kind == "bank").unwrap();
    let real = store.scores(&bank.id, "real").unwrap().unwrap();
    let mut all = Vec::new();
    for run in runs.iter().filter(|r| r.key == "vggish/autoencoder/l2/with") {
        let generated = store.scores(&run.id, "generated").unwrap().unwrap();
        let val = store.view(run.view_id).unwrap().val;
        let right = (0..val.labels.len()).filter(|&clip| {
            let row = if val.sounded[clip] { real.row(clip) } else { generated.row(clip) };
            let best = (0..row.len()).reduce(|best, k| if row[k] > row[best] { k } else { best });
            best == Some(val.labels[clip])
        });
        all.push(100.0 * right.count() as f64 / val.labels.len() as f64);
    }
    let tables = place.call("export tables small --db runs.db --format json").success().json();
    let mean = entry(&tables, 3, "autoencoder/l2/with", "top1")["mean"].as_f64().unwrap();
    assert_eq!(all.len(), 2);
    assert!((mean - (all[0] + all[1]) / 2.0).abs() < 1e-9, "{mean} {all:?}");
}

#[test]
fn scores_are_bit_identical_on_any_number_of_threads_and_workers() {
    let place = trained();
    for (db, threads, workers) in [("one.db", "1", "1"), ("two.db", "2", "1"), ("both.db", "2", "2")] {
        place
            .call("run experiment --db")
            .arg(db)
            .arg("--workers")
            .arg(workers)
            .env("RAYON_NUM_THREADS", threads)
            .success();
    }
    let one = all_scores(&place.store("one.db"));
    assert_eq!(one.len(), 26);
    for db in ["two.db", "both.db", "runs.db"] {
        assert!(all_scores(&place.store(db)) == one, "{db}");
    }
}

#[test]
fn keys_are_changed_from_the_command_line() {
    let place = Place::with_experiment(&Source::default());
    let plan = |sets: &[&str]| {
        let call = sets.iter().fold(place.call("plan experiment --json"), |call, set| call.arg("--set").arg(set));
        call.success().json()
    };
    assert_eq!(plan(&["seeds=[3]"])["to_do"], 16);
    assert_eq!(plan(&["grid.generator=[lstm]", "controls=[]"])["to_do"], 4 + 1 + 8);
    assert_eq!(plan(&["exclude=[{loss: kl}]"])["to_do"], 4 + 1 + 8 + 5);
    // A further axis multiplies what depends on it.
    assert_eq!(plan(&["grid.train.lr=[0.001, 0.01]", "controls=[]"])["to_do"], 4 + 1 + 32);
    let rates = plan(&["grid.missing.rate=[0.2, 0.4]", "controls=[]"]);
    assert_eq!(rates["to_do"], 4 + 2 + 32, "heads do not depend on sound");
}

#[test]
fn an_experiment_extends_another_and_inherits_its_files() {
    let place = Place::with_experiment(&Source::default());
    place.write("child/experiment.yaml", "extends: ../experiment\nname: child\nseeds: [4]\ntrain: {epochs: 1}\n");
    place.call("run child --db c.db").stderr("16 runs").success();
    let store = place.store("c.db");
    let lstm = runs(&store).into_iter().find(|r| r.key == "vggish/lstm/l2/with").unwrap();
    assert_eq!((&lstm.spec["train"]["epochs"], &lstm.spec["train"]["batch"]), (&1.into(), &8.into()));
    place.call("export tables child --db c.db").stdout("Table 5").success();
    // Tables beside the experiment take the place of inherited ones, without training anything.
    place.write(
        "child/tables.yaml",
        "tables:\n  - {table: mine, title: Only this, accuracy: [{key: rgb, row: RGB, fuse: rgb}]}\n",
    );
    place.call("export tables child --db c.db").stdout("Table mine. Only this").absent("Table 5").success();
}

#[test]
fn silent_clips_of_the_data_set_need_no_missing() {
    let place = Place::with_data(&Source { silent_every: 3, classes: vec!["a", "b"], ..Source::default() });
    place.write("experiment/experiment.yaml", &small_experiment("").replace("missing: {rate: 0.4, seed: 1}\n", ""));
    place
        .call("run experiment --db r.db --seeds 0")
        .stderr("skipped: 1 cell(s): the true audio of 4 silent val clips is not known")
        .stderr("no aenet feature (it has vggish)")
        .success();
    let tables = place.call("export tables small --db r.db --format json").success().json();
    assert!(entry(&tables, 3, "oracle", "top1")["skipped"].as_str().unwrap().contains("not known"));
    assert!(entry(&tables, 3, "knn", "top1")["mean"].is_number());
}

#[test]
fn failed_runs_leave_the_others_alone_and_are_tried_again() {
    let place = Place::with_experiment(&Source::default());
    let run = "run experiment --db r.db --seeds 0 --set grid.loss=[l2] --set controls=[] --set train.lr=1e30";
    place
        .call(run)
        .stderr("vggish/autoencoder/l2/with seed 0: FAILED: the loss became")
        .stderr("train.lr")
        .stderr("4 failed; the same command tries them again")
        .ends(3);
    let runs = place.call("ls --db r.db --json").success().json();
    let count = |state: &str| runs.as_array().unwrap().iter().filter(|r| r["state"] == state).count();
    assert_eq!((count("failed"), count("done")), (4, 3));
    let tables = place.call("export tables small --db r.db --format json").success().json();
    let why = entry(&tables, 3, "lstm/l2/with", "top1")["skipped"].as_str().unwrap();
    assert!(why.contains("failed: the loss became"), "{why}");
    assert!(entry(&tables, 3, "baseline", "top1")["mean"].is_number());
    let plan = run.replace("run experiment", "plan experiment");
    place.call(&plan).stdout("failed before; would be tried again").stdout("4 runs to do").success();
    place.call(run).words("--fail-fast --workers 1").stderr("3 done already, 4 to do").stderr("1 failed").ends(3);
}

#[test]
fn synthetic_data_sets_say_so_and_are_the_same_bytes_for_a_seed() {
    let place = Place::new();
    place.call("data synth a --preset mini").success();
    place.call("data synth a --preset mini").stderr("there already").success();
    place.call("data synth b --preset mini").success();
    place.call("data synth c --preset mini --seed 1").success();
    // Files that begin with a dot only remember what was checked.
    let files = std::fs::read_dir(place.path("a")).unwrap().map(|e| e.unwrap().file_name());
    for file in files.filter(|f| !f.to_string_lossy().starts_with('.')) {
        let bytes = |dir: &str| std::fs::read(place.path(dir).join(&file)).unwrap();
        assert!(bytes("a") == bytes("b"), "{file:?}");
        let stream = file.to_string_lossy().ends_with(".safetensors");
        assert!(!stream || bytes("a") != bytes("c"), "{file:?}");
    }
    place.call("data stats a").stdout("SYNTHETIC").success();
}

#[test]
fn every_choice_of_the_ledger_runs() {
    let place = trained();
    for set in [
        "train.target=raw",
        "train.l2=sum",
        "train.kl_block=5",
        "autoencoder.test_frame=mean",
        "match_generated=moments",
        "svm.probability=softmax",
        "svm.probability=platt-raw",
        "svm.scale=raw",
        "svm.train_on=real+generated",
        "missing.by=class",
    ] {
        let db = format!("{}.db", set.replace(['=', '+'], "-"));
        place.call("run experiment --seeds 0 --db").arg(&db).arg("--set").arg(set).stderr("runs done").success();
    }
    for set in ["fusion.sounded=generated", "fusion.select_on=train", "fusion.weights.vggish=0.5"] {
        // Read when tables are made: nothing is trained again.
        place.call("plan experiment --db runs.db --set").arg(set).stdout("all done; nothing to train").success();
    }
}

#[test]
fn completions_help_and_version_are_printed() {
    let place = Place::new();
    place.call("completions bash").stdout("unmute").success();
    place.call("--help").stdout("experiments/icassp2019").success();
    place.call("--version").stdout(env!("CARGO_PKG_VERSION")).success();
    for verb in ["plan", "run", "status", "ls", "show", "report", "export", "data", "merge", "slurm", "slurm submit"] {
        place.call(verb).arg("--help").stdout("Example").success();
    }
}
