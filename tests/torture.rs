//! Kills the program at random moments, and many at once: nothing that was finished may be lost, done twice, or differ.
//!
//! `just torture` kills it 200 times; UNMUTE_KILLS changes the number.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

use crate::support::call::{Place, Said};
use crate::support::random::Random;
use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Finished runs of a store: id, attempt and time of finishing.
fn finished(tiny: &Place, db: &str) -> BTreeMap<String, (i64, String)> {
    let rows = tiny.query(db, "SELECT id, attempt, finished_at FROM run WHERE state = 'done'");
    let text = |v: &serde_json::Value| v.as_str().unwrap().to_string();
    rows.iter().map(|r| (text(&r["id"]), (r["attempt"].as_i64().unwrap(), text(&r["finished_at"])))).collect()
}

/// Runs and kills until `kills` processes died at work, in as many stores as that takes.
fn torture(kills: usize, epochs: usize) {
    let tiny = Place::tiny(epochs);
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
            let said = std::fs::File::create(tiny.path(&format!("{db}.stderr"))).unwrap();
            let call = tiny.call("run tiny --dataset data --checkpoint-every 0 --db").arg(&db);
            let mut child = call.begin(Stdio::null(), said.into());
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
            let output = tiny.args(&["query", "SELECT 1", "--db", &db]).said();
            if output.text().contains("it is empty") {
                continue;
            }
            let now = finished(&tiny, &db);
            for (id, seen) in &before {
                assert_eq!(now.get(id), Some(seen), "{db}: run {id} was finished before kill {killed}");
            }
            before = now;
        }
        tiny.args(&["verify", "--db", &db]).success();
        assert_eq!(before.len(), runs, "{db}");
        assert!(tiny.numbers(&db) == expected, "{db}: other numbers than undisturbed");
        assert!(
            !tiny.path(&format!("{db}-wal")).exists() && !tiny.path(&format!("{db}-shm")).exists(),
            "{db}: a log is left"
        );
        let left = std::fs::read_dir(tiny.path(&format!("{db}.checkpoints"))).map_or(0, Iterator::count);
        assert!(
            left == 0 || tiny.args(&["gc", "--db", &db]).success().stdout.contains("freed"),
            "{db}: {left} checkpoints"
        );
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
    let tiny = Place::tiny(10);
    tiny.train("alone.db");
    for (db, kill) in [("shared.db", false), ("shared-and-killed.db", true)] {
        let mut children: Vec<_> = (0..8)
            .map(|_| {
                let call = tiny.call("run tiny --dataset data --checkpoint-every 0 --db").arg(db);
                call.begin(Stdio::null(), Stdio::piped())
            })
            .collect();
        if kill {
            std::thread::sleep(Duration::from_millis(400));
            let mut victim = children.remove(3);
            victim.kill().unwrap();
            victim.wait().unwrap();
        }
        for child in children {
            let said = Said::of(child.wait_with_output().unwrap());
            assert_eq!(said.code, Some(0), "{db}: {}", said.text());
        }
        let again = tiny.query(db, "SELECT id FROM run WHERE state != 'done' OR attempt > 1");
        // What the victim worked on was begun again by others: no more runs than it has workers.
        assert!(again.len() <= if kill { 2 } else { 0 }, "{db}: {again:?}");
        assert!(tiny.query(db, "SELECT * FROM event WHERE level = 'error'").is_empty());
        assert!(tiny.numbers(db) == tiny.numbers("alone.db"), "{db}: other numbers than alone");
        tiny.args(&["verify", "--db", db]).success();
        let killed = if kill { ", one of them killed" } else { "" };
        eprintln!("8 processes on one store{killed}: {} runs begun again, every number the same", again.len());
    }
}
