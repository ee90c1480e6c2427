//! The verbs around the store, by the real program: ls, diff, query, export runs, merge, verify, gc, doctor.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

use crate::support::call::Place;
use crate::support::features::Source;
use crate::support::random::Random;
use crate::support::sqlite;
use serde_json::Value;
use std::path::Path;
use unmute::store::{NewRun, RunResult, Store, Worker};
use unmute::train::Epoch;

fn json(out: &str) -> Value {
    serde_json::from_str(out).unwrap()
}

/// Finishes a run that is done again, with other numbers, as another machine might.
fn finished_otherwise(db: &Path, run: &str, change: impl FnOnce(&mut RunResult, &mut Vec<Epoch>)) {
    sqlite(db, &format!("UPDATE run SET state = 'interrupted' WHERE id = '{run}'"));
    let store = Store::open(db).unwrap();
    let known = store.run(run).unwrap().unwrap();
    let of = |what: String| (what.clone(), store.scores(run, &what).unwrap().unwrap());
    let scores = store.score_kinds(run).unwrap().into_iter().map(of).collect();
    let mut result = RunResult { scores, values: known.values, bank: store.bank(run).unwrap(), head: None };
    let mut epochs = store.curve(run).unwrap();
    change(&mut result, &mut epochs);
    let new = NewRun {
        id: known.id,
        cell: known.cell,
        kind: known.kind,
        key: known.key,
        seed: known.seed,
        view_id: known.view_id,
        spec: known.spec,
    };
    let worker = Worker {
        id: "another".into(),
        machine: "another".into(),
        host: "another".into(),
        pid: 1,
        command: String::new(),
        environment: "{}".into(),
    };
    store.claim(&new, &worker, &|_| false).unwrap();
    assert!(store.finish(run, &worker, &epochs, &result, 1.0, None).unwrap());
}

fn ids(tiny: &Place, args: &[&str]) -> Vec<String> {
    let out = tiny.args(&[&["ls", "--json", "--columns", "id"], args].concat()).success().stdout;
    json(&out).as_array().unwrap().iter().map(|r| r["id"].as_str().unwrap().to_string()).collect()
}

#[test]
fn runs_are_listed_compared_asked_for_and_exported() {
    let tiny = Place::tiny(3);
    tiny.train("runs.db");
    let db = ["--db", "runs.db"];
    assert!(!tiny.path("runs.db-wal").exists() && !tiny.path("runs.db-shm").exists(), "a log is left");

    let all = ids(&tiny, &db);
    assert_eq!(all.len(), 14);
    let of = |condition: &str| ids(&tiny, &[&db[..], &["--where", condition]].concat()).len();
    assert_eq!(of("generator=lstm"), 4);
    assert_eq!(of("generator=lstm and seed=1"), 2);
    assert_eq!(of("kind=bank or control=mean"), 2);
    assert_eq!(of("(kind=bank or kind=stream) and top1>=0"), 5);
    assert_eq!(of("generator!=lstm"), 10);
    assert_eq!(of("seed=none"), 2);
    assert_eq!(of("key~LSTM"), 4);
    assert_eq!(of("train.epochs=3"), 8);
    assert_eq!(of("lstm.hidden<8"), 0);
    assert_eq!(of("missing.rate=0.4 and experiment=tiny"), 14);
    assert_eq!(of("top1>1000 or state=failed"), 0);
    let top = json(&tiny.call("ls --db runs.db --json --sort -top1 --limit 3").success().stdout);
    let top1 = |i: usize| top[i]["values"]["top1"].as_f64().unwrap();
    assert!(top.as_array().unwrap().len() == 3 && top1(0) >= top1(1) && top1(1) >= top1(2));
    let table = tiny.call("ls --db runs.db --columns key,train.lr,r2/silent --sort seconds").success().stdout;
    assert!(table.starts_with("key") && table.lines().count() == 15, "{table}");
    let wrong = tiny.call("ls --db runs.db --where generatr=lstm").said();
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.text().contains("did you mean \"generator\"?"), "{}", wrong.text());
    assert_eq!(tiny.call("ls --db runs.db --sort nothing").said().code, Some(2));

    let pair = ids(&tiny, &[&db[..], &["--where", "generator=lstm and classifier=with", "--sort", "seed"]].concat());
    let diff = json(&tiny.args(&["diff", &pair[0], &pair[1][..10], "--db", "runs.db", "--json"]).success().stdout);
    assert_eq!(diff["spec"].as_array().unwrap().len(), 1, "{diff}");
    assert_eq!(diff["spec"][0]["key"], "seed");
    assert_eq!(diff["curve"]["epoch"], 1);
    assert_eq!(diff["environment"].as_array().unwrap().len(), 0);
    assert!(diff["scores"][0]["largest"].as_f64().unwrap() > 0.0);
    let shown = tiny.args(&["diff", &pair[0], &pair[1], "--db", "runs.db"]).success().stdout;
    assert!(shown.contains("curves part in epoch 1: train loss"), "{shown}");
    assert!(tiny.args(&["diff", &pair[0], &pair[0], "--db", "runs.db"]).success().stdout.contains("the same run"));
    assert_eq!(tiny.args(&["diff", "zzzz", &pair[0], "--db", "runs.db"]).said().code, Some(2));

    let count = tiny
        .args(&["query", "SELECT state, count(*) AS n FROM run GROUP BY 1", "--db", "runs.db", "--csv"])
        .success()
        .stdout;
    assert_eq!(count, "state,n\ndone,14\n");
    for writes in
        ["DELETE FROM run", "WITH x AS (SELECT 1) DELETE FROM run", "VACUUM INTO 'copy.db'", "SELECT 1; SELECT 2"]
    {
        let output = tiny.args(&["query", writes, "--db", "runs.db"]).said();
        assert_eq!(output.code, Some(2), "{writes}: {}", output.text());
    }
    assert!(
        tiny.args(&["query", "SELECT nonsense FROM run", "--db", "runs.db"]).said().text().contains("no such column")
    );
    assert_eq!(ids(&tiny, &db), all);

    let csv = tiny.call("export runs --db runs.db").success().stdout;
    let head: Vec<&str> = csv.lines().next().unwrap().split(',').collect();
    for column in ["id", "key", "generator", "seed", "state", "finished", "top1", "train.lr", "missing.rate"] {
        assert!(head.contains(&column), "{column} in {head:?}");
    }
    assert_eq!(csv.lines().count(), 15);
    let rows = json(&tiny.call("export runs --db runs.db --format json --where seed=0").success().stdout);
    assert_eq!(rows.as_array().unwrap().len(), 6);
    assert!(tiny.call("doctor --db runs.db").success().stdout.contains("nothing to worry about"));
}

#[test]
fn stores_are_merged_once_and_conflicts_are_named() {
    let tiny = Place::tiny(3);
    let run = |db: &str, seed: &str| {
        tiny.args(&["run", "tiny", "--dataset", "data", "--db", db, "--seeds", seed]).success().stdout
    };
    run("a.db", "0");
    run("b.db", "1");
    // Another order of rows: what is copied must not rely on row numbers.
    let digest = blake3::hash(b"{}").to_hex();
    tiny.sql(
        "b.db",
        &format!("INSERT INTO environment VALUES (77, '{digest}', '{{}}'); UPDATE run SET environment_id = 77;"),
    );
    let state = |db: &str| {
        [
            tiny.numbers(db),
            tiny.query(db, "SELECT id, state, attempt FROM run ORDER BY id"),
            tiny.query(db, "SELECT digest, json_extract(config, '$.seeds') FROM experiment"),
            tiny.query(db, "SELECT at, run_id, message FROM event ORDER BY 1, 2"),
            tiny.query(db, "SELECT run_id, hash FROM bank"),
        ]
    };
    let merged = json(&tiny.call("merge --db a.db b.db --json").success().stdout);
    assert_eq!((merged[0]["added"].as_u64(), merged[0]["known"].as_u64()), (Some(6), Some(2)), "{merged}");
    tiny.train("both.db");
    assert!(tiny.numbers("a.db") == tiny.numbers("both.db"));
    let before = state("a.db");
    assert_eq!(before[2][0]["json_extract(config, '$.seeds')"], "[0,1]");
    tiny.call("merge --db a.db b.db b.db").success();
    assert!(state("a.db") == before, "merging again changed something");
    tiny.call("verify --db a.db").success();
    let mapped = "SELECT count(*) AS n FROM run JOIN environment e ON e.id = environment_id WHERE e.record = '{}'";
    assert_eq!(tiny.query("a.db", mapped)[0]["n"], 6);
    // A new store, made by merging.
    tiny.call("merge --db new.db a.db").success();
    assert!(tiny.numbers("new.db") == tiny.numbers("a.db"));
    let done = tiny.call("run tiny --dataset data --db new.db").said();
    assert!(done.text().contains("nothing to train"), "{}", done.text());

    // Done beats failed; what others still work on is left there.
    tiny.copy("b.db", "c.db");
    tiny.sql(
        "c.db",
        "UPDATE run SET state = 'failed', error = 'x' WHERE kind = 'stream' AND seed = 1;
         DELETE FROM score WHERE run_id IN (SELECT id FROM run WHERE state = 'failed');
         UPDATE run SET state = 'running' WHERE kind = 'generator';",
    );
    let merged = json(&tiny.call("merge --db d.db c.db --json").success().stdout);
    assert_eq!((merged[0]["added"].as_u64(), merged[0]["unfinished"].as_u64()), (Some(4), Some(4)), "{merged}");
    let merged = json(&tiny.call("merge --db d.db b.db --json").success().stdout);
    assert_eq!((merged[0]["added"].as_u64(), merged[0]["replaced"].as_u64()), (Some(4), Some(2)), "{merged}");
    let merged = json(&tiny.call("merge --db d.db c.db --json").success().stdout);
    assert_eq!((merged[0]["added"].as_u64(), merged[0]["replaced"].as_u64()), (Some(0), Some(0)), "{merged}");
    assert!(tiny.numbers("d.db") == tiny.numbers("b.db"));

    // The same run with other numbers, as another machine may get them.
    tiny.copy("b.db", "e.db");
    let lstm = tiny.query("b.db", "SELECT id, key FROM run WHERE key LIKE '%lstm%' ORDER BY key");
    let one = lstm[0]["id"].as_str().unwrap();
    finished_otherwise(&tiny.path("e.db"), one, |result, _| {
        result.scores[0].1.values.iter_mut().for_each(|p| *p *= 0.999);
    });
    tiny.call("verify --db e.db").success();
    let out = tiny.call("merge --db a.db e.db").ends(3).stdout;
    assert!(out.contains("CONFLICT") && out.contains(&one[..12]) && out.contains("scores differ by up to"), "{out}");
    assert!(state("a.db") == before, "a conflict changed something");
    // A damaged run is not taken.
    tiny.copy("b.db", "f.db");
    tiny.sql("f.db", &format!("UPDATE score SET blob = zeroblob(100) WHERE run_id = '{one}'"));
    let out = tiny.call("merge --db g.db f.db").ends(3).stdout;
    assert!(out.contains("DAMAGED") && out.contains(&one[..12]), "{out}");
    assert_eq!(tiny.call("merge --db h.db nothing.db").said().code, Some(1));
    assert!(!tiny.path("h.db").exists());
    assert!(tiny.call("merge --db a.db a.db").said().text().contains("into itself"));
}

#[test]
fn stores_that_overlap_add_up_to_the_tables_of_one_that_did_all() {
    let place = Place::with_experiment(&Source::default());
    for (db, seeds) in [("a.db", "0,1"), ("b.db", "1,2"), ("all.db", "0,1,2")] {
        place.call("run experiment --seeds").arg(seeds).arg("--db").arg(db).success();
    }
    let merged = place.call("merge --db merged.db a.db b.db --json").success().json();
    let count = |i: usize, what: &str| merged[i][what].as_u64().unwrap();
    // 10 seeded cells; a bank and 5 controls without a seed.
    assert_eq!((count(0, "added"), count(1, "added"), count(1, "known")), (26, 10, 16), "{merged}");
    for format in ["json", "csv", "md", "latex"] {
        let tables =
            |db: &str| place.call("export tables small --db").arg(db).arg("--format").arg(format).success().stdout;
        assert_eq!(tables("merged.db"), tables("all.db"), "{format}");
        assert_ne!(tables("merged.db"), tables("a.db"), "{format}");
    }
    // In the other order, into a store that has something, and again.
    place.call("merge --db b.db a.db").success();
    place.call("merge --db b.db merged.db all.db a.db").stdout("0 runs added, 0 completed").success();
    let tables = |db: &str| place.call("export tables small --format json --db").arg(db).success().stdout;
    assert_eq!(tables("b.db"), tables("all.db"));
    place.call("run experiment --seeds 0,1,2 --db b.db").stderr("nothing to train").success();
    // Another number about a run, or in its curve, is a conflict as well.
    let of = |sql: &str| place.store("a.db").query(sql, Default::default()).unwrap().unwrap().rows[0][0].clone();
    let head = of("SELECT id FROM run WHERE key = 'rgb' AND seed = 1");
    let lstm = of("SELECT id FROM run WHERE key LIKE '%lstm/l2/with' AND seed = 1");
    for (db, run, what) in [("value.db", &head, "its loss "), ("epoch.db", &lstm, "its epoch 2 ")] {
        std::fs::copy(place.path("a.db"), place.path(db)).unwrap();
        finished_otherwise(&place.path(db), run.as_str().unwrap(), |result, epochs| match what {
            "its loss " => *result.values.get_mut("loss").unwrap() += 1e-9,
            _ => epochs[1].val.loss *= 1.0 + 1e-12,
        });
        place.call("verify --db").arg(db).success();
        let said = place.call("merge --db all.db").arg(db).ends(3).stdout;
        assert!(said.contains("CONFLICT (ours kept)") && said.contains("is another number there"), "{said}");
        assert!(said.contains(what), "{said}");
    }
    // A run under a name that is not its own.
    std::fs::copy(place.path("a.db"), place.path("forged.db")).unwrap();
    sqlite(
        &place.path("forged.db"),
        "UPDATE run SET spec = replace(spec, '\"lr\":0.001', '\"lr\":0.5') WHERE key LIKE '%lstm/l2/with'",
    );
    let said = place.call("merge --db new.db forged.db").ends(3).stdout;
    assert_eq!(said.matches("DAMAGED (not taken)").count(), 2, "{said}");
    assert!(said.contains("its id is not the fingerprint"), "{said}");
}

#[test]
fn every_run_is_the_same_when_it_is_trained_again_and_a_changed_bit_is_named() {
    let tiny = Place::tiny(4);
    tiny.train("runs.db");
    let again = ["verify", "tiny", "--dataset", "data", "--db", "runs.db", "--sample", "100", "--json"];
    let verified = json(&tiny.args(&again).success().stdout);
    assert_eq!(verified["retrained"].as_array().unwrap().len(), 14);
    assert!(verified["retrained"].as_array().unwrap().iter().all(|v| v["holds"] == true));
    let sampled = tiny.call("verify --dataset data --db runs.db --sample 2").success().stdout;
    assert_eq!(sampled.matches("the same, bit for bit").count(), 2, "{sampled}");

    tiny.copy("runs.db", "changed.db");
    let lstm = tiny.query("runs.db", "SELECT id, key FROM run WHERE key LIKE '%lstm%' AND seed = 0 ORDER BY key");
    let (one, other) = (lstm[0]["id"].as_str().unwrap(), lstm[1]["id"].as_str().unwrap());
    tiny.sql(
        "changed.db",
        &format!(
            "UPDATE epoch SET loss = loss * (1 + 1e-14) WHERE run_id = '{one}' AND epoch = 3 AND split = 'val';
             UPDATE score SET (blob, hash) = (SELECT blob, hash FROM score WHERE run_id = '{other}') WHERE run_id = '{one}'"
        ),
    );
    let out = tiny.args(&["verify", one, "--dataset", "data", "--db", "changed.db"]).ends(3).stdout;
    assert!(out.contains("DIFFERS") && out.contains("first in epoch 3: val loss"), "{out}");
    assert!(out.contains("scores generated: "), "{out}");
    // Another data set is refused, and it is said what differs.
    std::fs::write(
        tiny.path("features/clips.csv"),
        std::fs::read_to_string(tiny.path("features/clips.csv")).unwrap().replacen("class0,train", "class1,train", 1),
    )
    .unwrap();
    tiny.call("data import features data2 --frames 4 --rows vggish=1 --name features").success();
    let refused = tiny.call("verify --dataset data2 --db runs.db").said();
    assert_eq!(refused.code, Some(2));
    assert!(refused.text().contains("it differs in clips"), "{}", refused.text());
}

#[test]
fn damage_is_named_and_never_a_panic() {
    let tiny = Place::tiny(3);
    tiny.train("runs.db");
    let whole = std::fs::read(tiny.path("runs.db")).unwrap();
    // One bit of one blob.
    let rows = tiny.query(
        "runs.db",
        "SELECT run_id, hex(substr(blob, 20, 12)) AS part FROM score WHERE run_id IN (SELECT run_id FROM epoch)",
    );
    let run = rows[0]["run_id"].as_str().unwrap();
    let hex = rows[0]["part"].as_str().unwrap();
    let part: Vec<u8> = (0..12).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect();
    // A page that was moved may have left a copy behind.
    let mut flipped = whole.clone();
    for at in whole.windows(12).enumerate().filter(|(_, w)| *w == part).map(|(at, _)| at) {
        flipped[at] ^= 0x10;
    }
    std::fs::write(tiny.path("flipped.db"), &flipped).unwrap();
    let out = tiny.call("verify --db flipped.db").ends(3).stdout;
    assert!(out.contains(&run[..12]) && out.contains("do not match their hash"), "{out}");
    assert_eq!(out.matches("\n  run ").count(), 1, "{out}");
    // One number in a plain column; which clips are there; a label.
    for (i, sql) in [
        format!("UPDATE value SET value = value + 1e-9 WHERE name = 'top1' AND run_id = '{run}'"),
        format!("UPDATE epoch SET accuracy = 0.0 WHERE epoch = 2 AND split = 'val' AND run_id = '{run}'"),
        format!("UPDATE score SET present = zeroblob(clips) WHERE run_id = '{run}'"),
    ]
    .iter()
    .enumerate()
    {
        let db = format!("changed{i}.db");
        std::fs::write(tiny.path(&db), &whole).unwrap();
        tiny.sql(&db, sql);
        let out = tiny.args(&["verify", "--db", &db]).ends(3).stdout;
        assert!(out.contains(&run[..12]) && out.contains("not those that it was finished with"), "{sql}: {out}");
        let out = tiny.args(&["merge", "--db", &format!("taken{i}.db"), &db]).ends(3).stdout;
        assert!(out.contains("DAMAGED (not taken)") && out.contains(&run[..12]), "{sql}: {out}");
    }
    std::fs::write(tiny.path("label.db"), &whole).unwrap();
    tiny.sql("label.db", "UPDATE view SET val = CAST(x'00' || substr(val, 2) AS BLOB) WHERE id = 1");
    assert!(tiny.call("verify --db label.db").ends(3).stdout.contains("its val clips do not match their hash"));
    // Scores that are gone.
    std::fs::write(tiny.path("gone.db"), &whole).unwrap();
    tiny.sql("gone.db", &format!("DELETE FROM score WHERE run_id = '{run}'"));
    assert!(tiny.call("verify --db gone.db").ends(3).stdout.contains("it is done and has no scores"));
    // Half of the last page is gone.
    std::fs::write(tiny.path("cut.db"), &whole[..whole.len() - 2000]).unwrap();
    assert!(tiny.call("verify --db cut.db").ends(3).stdout.contains("the file is cut off"));
    assert!(tiny.call("doctor --db cut.db").ends(3).stdout.contains("the file is cut off"));
    // A truncated file, and files with random bytes changed: told, by whatever verb, and never a panic.
    let mut random = Random(3);
    let mut broken: Vec<Vec<u8>> =
        [0.02, 0.3, 0.6, 0.95].map(|part| whole[..(whole.len() as f64 * part) as usize].to_vec()).to_vec();
    for _ in 0..25 {
        let mut bytes = whole.clone();
        for _ in 0..40 {
            let at = 100 + (random.unit() * (bytes.len() - 100) as f64) as usize;
            bytes[at] = random.bits() as u8;
        }
        broken.push(bytes);
    }
    for (i, bytes) in broken.iter().enumerate() {
        std::fs::write(tiny.path("broken.db"), bytes).unwrap();
        let verbs: &[&[&str]] = &[
            &["verify"],
            &["ls", "--json"],
            &["ls", "--where", "generator=lstm and top1>1"],
            &["show", &run[..8]],
            &["export", "runs"],
            &["doctor"],
            &["query", "SELECT * FROM score"],
            &["report", "tiny", "--out", "out"],
            &["export", "tables", "tiny", "--format", "json"],
        ];
        for verb in verbs {
            let output = tiny.args(&[verb, &["--db", "broken.db"][..]].concat()).said();
            let code = output.code;
            assert!(matches!(code, Some(0..=3)), "file {i}: {verb:?}: {code:?} {}", output.text());
            assert!(!output.text().contains("panicked"), "file {i}: {verb:?}: {}", output.text());
            if verb[0] == "verify" {
                assert!(matches!(code, Some(1 | 3)), "file {i}: {code:?} {}", output.text());
            }
        }
        let _ = std::fs::remove_file(tiny.path("target.db"));
        let output = tiny.call("merge --db target.db broken.db").said();
        assert!(matches!(output.code, Some(0..=3)) && !output.text().contains("panicked"), "{}", output.text());
    }
}

#[test]
fn gc_deletes_what_nothing_needs_and_says_how_much() {
    let tiny = Place::tiny(3);
    tiny.train("runs.db");
    let before = tiny.numbers("runs.db");
    assert!(tiny.call("gc --db runs.db").success().stdout.contains("nothing to delete"));
    // A run of older code that no experiment refers to, an interrupted run, rows without a run.
    tiny.sql(
        "runs.db",
        "INSERT INTO run SELECT 'aaaa' || substr(id, 5), 'old' || cell, kind, key, seed, view_id, json_set(spec, '$.code', 'old'),
             state, attempt, host, pid, heartbeat_at, '2020', '2020', '2020', seconds, peak_memory, command, environment_id, error,
             NULL, NULL, NULL, NULL
         FROM run WHERE key LIKE '%lstm%' AND seed = 0;
         INSERT INTO score SELECT 'aaaa' || substr(run_id, 5), what, clips, classes, present, blob, hash FROM score
             WHERE run_id IN (SELECT id FROM run WHERE key LIKE '%lstm%' AND seed = 0 AND id NOT LIKE 'aaaa%');
         INSERT INTO value VALUES ('nobody', 'top1', 1.0);
         INSERT INTO environment VALUES (99, 'unused', '{}');
         INSERT INTO run SELECT 'bbbb' || substr(id, 5), cell, kind, key, 7, view_id, spec, 'interrupted', attempt, host, pid,
             heartbeat_at, created_at, started_at, finished_at, seconds, peak_memory, command, environment_id, error, NULL, NULL, NULL, NULL
         FROM run WHERE kind = 'stream' AND seed = 0 LIMIT 1;",
    );
    let kept = tiny.query("runs.db", "SELECT id FROM run WHERE id LIKE 'bbbb%'")[0]["id"].as_str().unwrap().to_string();
    let done =
        tiny.query("runs.db", "SELECT id FROM run WHERE state = 'done' AND id NOT LIKE 'aaaa%'")[0]["id"].clone();
    let folder = tiny.path("runs.db.checkpoints");
    std::fs::create_dir_all(&folder).unwrap();
    for name in [&kept, done.as_str().unwrap(), "unknown"] {
        std::fs::write(folder.join(format!("{name}.safetensors")), vec![0; 5000]).unwrap();
    }
    std::fs::write(folder.join("unknown.999999999.part"), vec![0; 500]).unwrap();
    let recent = tiny.call("gc --older-than 1d --dry-run --db runs.db").success().stdout;
    assert!(!recent.contains("checkpoint ") && recent.matches("superseded ").count() == 2, "{recent}");
    let dry = tiny.call("gc --dry-run --db runs.db").success().stdout;
    let now = tiny.call("gc --db runs.db").success().stdout;
    let listed = |out: &str| out.lines().filter(|l| !l.contains("free")).map(String::from).collect::<Vec<_>>();
    assert_eq!(listed(&dry), listed(&now), "{dry}{now}");
    assert_eq!((now.matches("checkpoint ").count(), now.matches("superseded ").count()), (3, 2), "{now}");
    assert!(now.contains("1 rows of value") && now.contains("1 rows of environment") && now.contains("freed"), "{now}");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
    assert!(tiny.numbers("runs.db") == before);
    tiny.sql("runs.db", &format!("DELETE FROM run WHERE id = '{kept}'"));
    tiny.call("verify --db runs.db").success();
    assert_eq!(tiny.call("gc --older-than soon --db runs.db").said().code, Some(2));
    assert!(!tiny.path("nothing.db").exists() && tiny.call("gc --db nothing.db").said().code == Some(1));
}

#[test]
fn doctor_finds_the_run_of_a_dead_process() {
    let tiny = Place::tiny(3);
    assert!(tiny.call("doctor --db none.db").success().stdout.contains("not there yet"));
    tiny.train("runs.db");
    tiny.sql("runs.db", "UPDATE run SET state = 'running', pid = 999999999 WHERE kind = 'bank'");
    let out = tiny.call("doctor --db runs.db").success().stdout;
    assert!(out.contains("warning: run ") && out.contains("process 999999999"), "{out}");
    let told = json(&tiny.call("doctor --db runs.db --json").success().stdout);
    assert_eq!(told["store"]["journal"], "wal");
    assert_eq!(told["warnings"].as_array().unwrap().len(), 1, "{told}");
    std::fs::write(tiny.path("text.db"), "no database ".repeat(500)).unwrap();
    tiny.call("doctor --db text.db").ends(3);
}

#[test]
fn a_run_that_fails_is_tried_again_as_often_as_asked() {
    let tiny = Place::tiny(3);
    let args = ["run", "tiny", "--dataset", "data", "--db", "runs.db", "--set", "train.lr=1e30", "--retries", "2"];
    let output = tiny.args(&args).said();
    assert_eq!(output.code, Some(3), "{}", output.text());
    let told = output.text();
    assert!(told.contains("trying again") && told.contains("FAILED"), "{told}");
    let attempts = tiny.query("runs.db", "SELECT DISTINCT attempt FROM run WHERE state = 'failed'");
    assert_eq!(attempts.len(), 1);
    assert_eq!(attempts[0]["attempt"], 3);
}

#[test]
fn what_explains_a_run_is_kept_and_shown() {
    let tiny = Place::tiny(3);
    tiny.call("run tiny --dataset data --db runs.db --set grid.generator=[lstm] --seeds 5").success();
    let all = ids(&tiny, &["--db", "runs.db", "--where", "generator=lstm"]);
    let shown = json(&tiny.args(&["show", &all[0], "--db", "runs.db", "--json"]).success().stdout);
    let environment = &shown["environment"];
    for key in [
        "version",
        "commit",
        "dirty",
        "dirty_diff",
        "lock",
        "code",
        "compiler",
        "target",
        "profile",
        "opt_level",
        "flags",
        "target_features",
        "features",
        "os",
        "host",
        "cpu",
        "cpu_features",
        "cores",
        "threads",
        "workers",
        "memory_bytes",
        "device",
        "gpu",
        "driver",
    ] {
        assert!(environment.get(key).is_some(), "{key} in {environment}");
    }
    assert!(environment["compiler"].as_str().unwrap().starts_with("rustc "));
    // 0 in a development build, 2 in a release.
    assert!(["0", "2", "3"].map(Value::from).contains(&environment["opt_level"]), "{environment}");
    assert_eq!(environment["threads"], 2);
    let run = &shown["run"];
    for key in ["started_at", "finished_at", "seconds", "peak_memory", "host", "pid", "seed", "command", "spec"] {
        assert!(!run[key].is_null(), "{key} in {run}");
    }
    assert!(run["command"].as_str().unwrap().ends_with("--set 'grid.generator=[lstm]' --seeds 5"), "{run}");
    assert_eq!(shown["experiments"][0]["sets"][0], "grid.generator=[lstm]");
    let text = tiny.args(&["show", &all[0], "--db", "runs.db"]).success().stdout;
    for part in ["in      tiny --set grid.generator=[lstm]", "call    ", "memory  ", "\nenvironment\n", "train loss"] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
}

#[test]
fn the_run_of_a_dead_process_is_no_ghost() {
    let tiny = Place::tiny(3);
    tiny.train("runs.db");
    tiny.sql("runs.db", "UPDATE run SET state = 'running', pid = 999999999, heartbeat_at = '2030' WHERE kind = 'bank'");
    let dead = |db: &str| tiny.args(&["ls", "--db", db, "--where", "kind=bank", "--columns", "state"]).success().stdout;
    assert_eq!(dead("runs.db"), "state\ndead\n");
    let status = tiny.call("status --db runs.db").success().stdout;
    assert!(
        status.contains("  tiny: 13 done, 1 running\n") && status.contains("1 of the running are dead"),
        "{status}"
    );
    assert!(tiny.call("plan tiny --dataset data --db runs.db").success().stdout.contains("process that is gone"));
    // Of another machine: as long as it gives signs of life.
    let now = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now'";
    tiny.sql("runs.db", &format!("UPDATE run SET host = 'elsewhere', heartbeat_at = {now}) WHERE kind = 'bank'"));
    assert_eq!(dead("runs.db"), "state\nrunning\n");
    tiny.sql("runs.db", &format!("UPDATE run SET heartbeat_at = {now}, '-3 minutes') WHERE kind = 'bank'"));
    assert_eq!(dead("runs.db"), "state\ndead\n");
    tiny.train("runs.db");
    assert_eq!(dead("runs.db"), "state\ndone\n");
    assert_eq!(tiny.query("runs.db", "SELECT attempt FROM run WHERE kind = 'bank'")[0]["attempt"], 2);
}

#[test]
fn exports_are_data_frames() {
    let tiny = Place::tiny(3);
    tiny.train("runs.db");
    let csv = tiny.call("export runs --db runs.db").success().stdout;
    let head: Vec<&str> = csv.lines().next().unwrap().split(',').collect();
    let names: std::collections::BTreeSet<&&str> = head.iter().collect();
    assert_eq!(names.len(), head.len(), "two columns of one name in {head:?}");
    // The axis of the grid, and the number that the heads of the streams leave.
    assert!(head.contains(&"loss") && head.contains(&"value.loss"));
}
