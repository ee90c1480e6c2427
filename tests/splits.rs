//! A test split: what is chosen is chosen on val, and what is reported is of test clips.

use crate::support::call::{Place, runs};
use std::collections::BTreeMap;
use unmute::store::{RunRecord, Store};

/// The tiny place with every third val clip a test clip, and a table of its cells.
fn with_test_split(epochs: usize) -> Place {
    let place = Place::tiny(epochs);
    let text = place.read("features/clips.csv");
    let mut val = 0;
    let lines = text.lines().map(|line| match line.strip_suffix(",val") {
        Some(rest) => {
            val += 1;
            if val % 3 == 0 { format!("{rest},test") } else { line.to_string() }
        }
        None => line.to_string(),
    });
    let text: Vec<String> = lines.collect();
    place.write("features/clips.csv", &(text.join("\n") + "\n"));
    std::fs::remove_dir_all(place.path("data")).unwrap();
    place.call("data import features data --frames 4 --rows vggish=1").success();
    place.write(
        "tiny/tables.yaml",
        "tables:\n  - table: 1\n    title: clips\n    counts:\n      - {key: sounded, row: sounded, count: sounded}\n      - {key: silent, row: silent, count: silent}\n\
         \x20 - table: 3\n    title: generated\n    audio: [vggish]\n    accuracy:\n      - {key: recorded, row: recorded, fuse: audio}\n\
         \x20     - {key: best, row: best, fuse: audio(best)}\n      - {key: lstm, row: lstm, fuse: audio(lstm)}\n      - {key: mean, row: mean, fuse: audio(mean)}\n",
    );
    place
}

/// Names of a store's runs and what they are, by cell and seed.
fn by_name(store: &Store) -> BTreeMap<(String, Option<u64>), RunRecord> {
    runs(store).into_iter().map(|run| ((run.key.clone(), run.seed), run)).collect()
}

/// An entry of `export tables --format json`.
fn entry(place: &Place, db: &str, row: &str) -> serde_json::Value {
    let all = place.call(&format!("export tables tiny --format json --db {db}")).success().json();
    let found = all.as_array().unwrap().iter().find(|e| e["key"] == row && e["metric"] == "top1").cloned();
    found.unwrap_or_else(|| panic!("no {row} in {all}"))
}

#[test]
fn tables_are_of_test_clips_and_every_number_says_of_which_it_is() {
    let place = with_test_split(3);
    place.train("runs.db");
    let store = place.store("runs.db");
    let view = store.view(runs(&store)[0].view_id).unwrap();
    let test = view.test.as_ref().unwrap();
    assert_eq!((view.val.clips.len(), test.clips.len()), (22, 10));
    for run in runs(&store) {
        for name in ["top1", "top5"] {
            assert!(run.values.contains_key(name), "{}", run.key);
            assert!(run.values.contains_key(&format!("test/{name}")), "{}", run.key);
        }
        let of = |what: &str| store.scores(&run.id, what).unwrap().map(|scores| scores.clips());
        let what = match run.kind.as_str() {
            "stream" => "vision",
            "bank" => "real",
            _ => "generated",
        };
        assert_eq!((of(what), of(&format!("test/{what}"))), (Some(22), Some(10)), "{}", run.key);
    }
    // The table's number is the mean of the test numbers of its runs.
    let mean = runs(&store).into_iter().find(|r| r.key == "vggish/mean").unwrap();
    let shown = entry(&place, "runs.db", "mean");
    assert!((shown["mean"].as_f64().unwrap() - mean.values["test/top1"]).abs() < 1e-9, "{shown}");
    let count = place.call("export tables tiny --format json --db runs.db").success().json();
    let counted = |metric: &str| {
        let of =
            count.as_array().unwrap().iter().filter(|e| e["metric"] == metric).map(|e| e["mean"].as_f64().unwrap());
        of.sum::<f64>()
    };
    assert_eq!((counted("val"), counted("test")), (22.0, 10.0));
    // Everything that looks at a store knows of them.
    place.call("verify --db runs.db").stdout("whole").success();
    place.call("verify tiny --dataset data --db runs.db --sample 4").success();
    place.call("report tiny --db runs.db --out .").success();
    let page = place.read("tiny.html");
    for text in
        ["which nothing was chosen on", "Percent of test clips", "top-1 on val clips", "scored on 10 test clips"]
    {
        assert!(page.contains(text), "{text}");
    }
    let rows = place.call("export predictions tiny --db runs.db").success().stdout;
    let right: Vec<&str> = rows.lines().filter(|l| l.contains(&format!("{},,test/generated,", mean.key))).collect();
    assert_eq!(right.len(), 10, "{rows}");
    assert!(test.clips.iter().all(|clip| right.iter().any(|line| line.contains(&format!(",{clip},")))));
    // A bit of a test number is as safe as one of val.
    place.copy("runs.db", "spoilt.db");
    place.sql("spoilt.db", "UPDATE value SET value = 0.5 WHERE name = 'test/top1'");
    place.call("verify --db spoilt.db").ends(3);
    // Without a test split all is as it was: no number of test clips, and the report says what that means.
    let plain = Place::tiny(2);
    plain.train("runs.db");
    assert!(runs(&plain.store("runs.db")).iter().all(|r| r.values.keys().all(|name| !name.starts_with("test/"))));
    plain.call("report tiny --db runs.db --out .").success();
    assert!(plain.read("tiny.html").contains("the data set has no test split"));
}

/// Test labels, as whoever leaks them would see them: those that make the generator look best that val thinks the worst.
#[test]
fn a_test_label_in_a_selection_is_noticed() {
    let place = with_test_split(4);
    let sets = "--set train.stop.patience=2 --set train.stop.metric=feature_error";
    place.call(&format!("run tiny --dataset data --db before.db {sets}")).success();
    let before = place.store("before.db");
    let test = before.view(runs(&before)[0].view_id).unwrap().test.unwrap();
    let classes = before.dataset(1).unwrap().manifest.classes;
    let is_generator = |run: &&RunRecord| run.kind == "generator";
    let all: Vec<RunRecord> = runs(&before).into_iter().filter(|r| is_generator(&r)).collect();
    // Means over seeds, as tables choose.
    let mut cells: Vec<String> = all.iter().map(|r| r.key.clone()).collect();
    cells.sort();
    cells.dedup();
    let mean = |runs: &[RunRecord], cell: &str, name: &str| {
        let of: Vec<f64> = runs.iter().filter(|r| r.key == cell).map(|r| r.values[name]).collect();
        of.iter().sum::<f64>() / of.len() as f64
    };
    let worst = cells.iter().min_by(|a, b| mean(&all, a, "top1").total_cmp(&mean(&all, b, "top1"))).unwrap().clone();
    // The test clips' labels become what that generator says of them.
    let loser = all.iter().find(|r| r.key == worst).unwrap();
    let said = before.scores(&loser.id, "test/generated").unwrap().unwrap();
    let top = |clip: usize| {
        let row = said.row(clip);
        (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b]).then(b.cmp(a))).unwrap()
    };
    let mut text = place.read("features/clips.csv");
    for (i, clip) in test.clips.iter().enumerate() {
        let from = text.lines().find(|l| l.starts_with(&format!("{clip},"))).unwrap().to_string();
        text = text.replace(&from, &format!("{clip},{},test", classes[top(i)]));
    }
    place.write("features/clips.csv", &text);
    place.call("data import features leaked --frames 4 --rows vggish=1").success();
    place.call(&format!("run tiny --dataset leaked --db after.db {sets}")).success();
    let after = place.store("after.db");
    let (old, new) = (by_name(&before), by_name(&after));
    assert_eq!(old.keys().collect::<Vec<_>>(), new.keys().collect::<Vec<_>>());
    let mut moved = 0;
    for (name, was) in &old {
        let is = &new[name];
        for (value, number) in &was.values {
            // Accuracies of test clips are the only numbers that know test labels.
            if value.starts_with("test/top") {
                moved += usize::from(is.values[value] != *number);
                continue;
            }
            assert_eq!(is.values[value].to_bits(), number.to_bits(), "{name:?}: {value}");
        }
        assert_eq!(before.curve(&was.id).unwrap(), after.curve(&is.id).unwrap(), "{name:?}");
        for what in before.score_kinds(&was.id).unwrap() {
            assert_eq!(
                before.scores(&was.id, &what).unwrap(),
                after.scores(&is.id, &what).unwrap(),
                "{name:?}: {what}"
            );
        }
        // The same seeds stay, with the same weights.
        let hash = |store: &Store, run: &RunRecord| {
            store.weights(&run.id).unwrap().map(|kept| unmute::runs::weights::path(store.path(), &kept.hash)).map(
                |path| {
                    let bytes = std::fs::read(path).unwrap();
                    unmute::runs::weights::Weights::of_bytes(&bytes).unwrap().tensors
                },
            )
        };
        assert_eq!(hash(&before, was), hash(&after, is), "{name:?}");
    }
    assert!(moved > 0, "the labels moved nothing, so this proves nothing");
    // Who looked at the test clips would choose another generator now.
    let renewed: Vec<RunRecord> = new.values().filter(is_generator).cloned().collect();
    let best_by = |name: &str| {
        let by = |a: &&String, b: &&String| mean(&renewed, a, name).total_cmp(&mean(&renewed, b, name));
        cells.iter().max_by(by).unwrap().clone()
    };
    assert_ne!(mean(&renewed, &best_by("top1"), "test/top1"), mean(&renewed, &best_by("test/top1"), "test/top1"));
    // And the tables do not: their best is val's.
    let chosen = |db: &str| entry(&place, db, "best");
    let val_best = cells.iter().max_by(|a, b| mean(&all, a, "top1").total_cmp(&mean(&all, b, "top1"))).unwrap();
    let best = chosen("after.db");
    assert!((best["mean"].as_f64().unwrap() - mean(&renewed, val_best, "test/top1")).abs() < 1e-9, "{best}");
}

#[test]
fn training_stops_early_and_the_best_epoch_is_what_stays() {
    let place = Place::tiny(12);
    // A rate at which the error on val goes up again.
    let sets = "--set train.lr=0.1 --set train.stop.patience=2 --set grid.generator=[lstm]";
    place.call(&format!("run tiny --dataset data --db early.db {sets} --set train.keep=all")).success();
    let store = place.store("early.db");
    let mut early = 0;
    for run in runs(&store).into_iter().filter(|r| r.kind == "generator") {
        let best = run.values["best_epoch"] as usize;
        let curve = store.curve(&run.id).unwrap();
        let lowest = curve.iter().map(|e| e.val.loss).fold(f64::INFINITY, f64::min);
        assert_eq!(curve[best - 1].val.loss, lowest, "{}", run.key);
        assert!(curve.len() == 12 || curve.len() == best + 2, "{}: {best} of {}", run.key, curve.len());
        early += usize::from(curve.len() < 12);
        assert_eq!(run.spec["train"]["stop"], serde_json::json!({ "patience": 2, "metric": "loss" }));
        // The same as training so many epochs from the start and no more.
        let shorter = format!(
            "run tiny --dataset data --db short.db --set train.lr=0.1 --set train.epochs={best} --set grid.generator=[lstm] --set train.keep=all"
        );
        place.call(&shorter).success();
        let short = place.store("short.db");
        let same = |r: &RunRecord| (&r.key, r.seed) == (&run.key, run.seed) && r.spec["train"]["epochs"] == best;
        let twin = runs(&short).into_iter().find(same).unwrap();
        for (name, value) in &twin.values {
            assert_eq!(run.values[name].to_bits(), value.to_bits(), "{}: {name}", run.key);
        }
        assert_eq!(store.scores(&run.id, "generated").unwrap(), short.scores(&twin.id, "generated").unwrap());
        let tensors = |store: &Store, run: &RunRecord| unmute::runs::weights::read(store, run).unwrap().tensors;
        assert_eq!(tensors(&store, &run), tensors(&short, &twin), "{}", run.key);
    }
    assert!(early > 0, "no run stopped early");
    // Together as alone, and again the same.
    place.call(&format!("run tiny --dataset data --db beside.db {sets} --cells 4")).success();
    place.call(&format!("run tiny --dataset data --db alone.db {sets} --workers 1")).success();
    assert_eq!(place.numbers("beside.db"), place.numbers("alone.db"));
    place.call("report tiny --db early.db --out .").success();
    assert!(place.read("tiny.html").contains("the epoch with the best loss on val clips is kept"));
    // Off by default, and then no part of what a run depends on.
    place.train("plain.db");
    let plain = place.store("plain.db");
    assert!(runs(&plain).iter().all(|r| r.spec["train"].get("stop").is_none() && !r.values.contains_key("best_epoch")));
    // What makes no sense is refused.
    place.call("run tiny --dataset data --set train.stop.patience=0").stderr("at least 1").fails(1);
    place
        .call("run tiny --dataset data --set train.stop.patience=1 --set train.stop.metric=accuracy")
        .stderr("cells without one")
        .fails(1);
    place.call("run tiny --dataset data --set train.stop.metric=loss").stderr("patience").fails(1);
}
