//! Kills the program at random moments, and many at once: nothing that was finished may be lost, done twice, or differ.
//!
//! `cargo test --release --test unmute torture:: -- --ignored --nocapture` kills it 200 times; UNMUTE_KILLS changes the number.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

use crate::tiny::{Random, Tiny};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Finished runs of a store: id, attempt and time of finishing.
fn finished(tiny: &Tiny, db: &str) -> BTreeMap<String, (i64, String)> {
    let rows = tiny.query(db, "SELECT id, attempt, finished_at FROM run WHERE state = 'done'");
    let text = |v: &serde_json::Value| v.as_str().unwrap().to_string();
    rows.iter().map(|r| (text(&r["id"]), (r["attempt"].as_i64().unwrap(), text(&r["finished_at"])))).collect()
}

/// Runs and kills until `kills` processes died at work, in as many stores as that takes.
fn torture(kills: usize, epochs: usize) {
    let tiny = Tiny::new(epochs);
    let started = Instant::now();
    tiny.train("undisturbed.db");
    let whole = started.elapsed();
    let expected = tiny.numbers("undisturbed.db");
    let runs = finished(&tiny, "undisturbed.db").len();
    let mut random = Random(2);
    let (mut killed, mut stores) = (0, 0);
    while killed < kills {
        stores += 1;
        let db = format!("tortured{stores}.db");
        let mut before = BTreeMap::new();
        let mut clean = false;
        while !clean {
            let mut child = tiny.begin(&db);
            if killed < kills {
                std::thread::sleep(whole.mul_f64(0.6 * random.unit()));
            } else {
                child.wait().unwrap();
            }
            match child.try_wait().unwrap() {
                Some(status) => {
                    let said = std::fs::read_to_string(tiny.path(&format!("{db}.stderr"))).unwrap();
                    assert!(status.success(), "{db} after {killed} kills: {status}\n{said}");
                    clean = true;
                }
                None => {
                    // SIGKILL.
                    child.kill().unwrap();
                    child.wait().unwrap();
                    killed += 1;
                }
            }
            if !tiny.path(&db).is_file() || std::fs::metadata(tiny.path(&db)).unwrap().len() == 0 {
                continue;
            }
            // Killed while it was made: nothing is in it yet.
            let output = tiny.run(&["query", "SELECT 1", "--db", &db]);
            if crate::tiny::text(&output).contains("it is empty") {
                continue;
            }
            let now = finished(&tiny, &db);
            for (id, seen) in &before {
                assert_eq!(now.get(id), Some(seen), "{db}: run {id} was finished before kill {killed}");
            }
            before = now;
        }
        tiny.expect(0, &["verify", "--db", &db]);
        assert_eq!(before.len(), runs, "{db}");
        assert!(tiny.numbers(&db) == expected, "{db}: other numbers than undisturbed");
        assert!(
            !tiny.path(&format!("{db}-wal")).exists() && !tiny.path(&format!("{db}-shm")).exists(),
            "{db}: a log is left"
        );
        let left = std::fs::read_dir(tiny.path(&format!("{db}.checkpoints"))).map_or(0, Iterator::count);
        assert!(left == 0 || tiny.expect(0, &["gc", "--db", &db]).contains("freed"), "{db}: {left} checkpoints");
    }
    eprintln!("{killed} kills over {stores} stores of {runs} runs: every store whole, every number the same");
}

#[test]
fn killed_ten_times_nothing_is_lost_or_differs() {
    torture(10, 40);
}

#[test]
#[ignore = "minutes"]
fn killed_two_hundred_times_nothing_is_lost_or_differs() {
    let kills = std::env::var("UNMUTE_KILLS").ok().and_then(|k| k.parse().ok()).unwrap_or(200);
    torture(kills, 40);
}

#[test]
fn eight_processes_share_a_new_store_and_each_run_is_done_once() {
    let tiny = Tiny::new(10);
    tiny.train("alone.db");
    for (db, kill) in [("shared.db", false), ("shared-and-killed.db", true)] {
        let args = ["run", "tiny", "--dataset", "data", "--db", db, "--checkpoint-every", "0"];
        let mut children: Vec<_> = (0..8)
            .map(|_| {
                let mut command = tiny.command(&args);
                command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped()).spawn().unwrap()
            })
            .collect();
        if kill {
            std::thread::sleep(Duration::from_millis(400));
            let mut victim = children.remove(3);
            victim.kill().unwrap();
            victim.wait().unwrap();
        }
        for child in children {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{db}: {}", crate::tiny::text(&output));
        }
        let again = tiny.query(db, "SELECT id FROM run WHERE state != 'done' OR attempt > 1");
        // What the victim worked on was begun again by others: no more runs than it has workers.
        assert!(again.len() <= if kill { 2 } else { 0 }, "{db}: {again:?}");
        assert!(tiny.query(db, "SELECT * FROM event WHERE level = 'error'").is_empty());
        assert!(tiny.numbers(db) == tiny.numbers("alone.db"), "{db}: other numbers than alone");
        tiny.expect(0, &["verify", "--db", db]);
    }
}
