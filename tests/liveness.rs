//! Who works on a run: signs of life decide, not process numbers, which mean nothing in another container.

use crate::support::call::{Place, Said};
use crate::support::require;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const RUN: [&str; 8] = ["run", "tiny", "--dataset", "data", "--db", "runs.db", "--checkpoint-every", "0"];

fn signal(pid: u32, name: &str) {
    assert!(Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
}

/// Waits until a run is under way.
fn training(tiny: &Place, child: &mut Child) {
    let begun = Instant::now();
    let running = "SELECT count(*) AS n FROM run WHERE state = 'running' AND kind = 'generator'";
    let ask = || tiny.args(&["query", running, "--db", "runs.db", "--csv"]).said().stdout;
    while !(tiny.path("runs.db").is_file() && ask().lines().nth(1).is_some_and(|n| n != "0")) {
        assert!(child.try_wait().unwrap().is_none(), "ended early");
        assert!(begun.elapsed() < Duration::from_secs(60), "no generator after a minute");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn ended(child: Child) -> String {
    let said = Said::of(child.wait_with_output().unwrap());
    assert_eq!(said.code, Some(0), "{}", said.text());
    said.text()
}

/// The store holds what one undisturbed process makes.
fn whole(tiny: &Place) {
    tiny.args(&["verify", "--db", "runs.db"]).success();
    tiny.train("alone.db");
    assert!(tiny.numbers("runs.db") == tiny.numbers("alone.db"), "other numbers than alone");
}

#[test]
fn a_process_that_is_stopped_loses_its_run_and_finds_out_when_it_goes_on() {
    let tiny = Place::tiny(60);
    let mut first = tiny.args(&RUN).begin(Stdio::null(), Stdio::piped());
    training(&tiny, &mut first);
    signal(first.id(), "-STOP");
    // Stopped while it writes it would keep everybody from the store: here it is between two writings.
    while std::panic::catch_unwind(|| tiny.sql("runs.db", "BEGIN IMMEDIATE; ROLLBACK")).is_err() {
        signal(first.id(), "-CONT");
        std::thread::sleep(Duration::from_millis(7));
        signal(first.id(), "-STOP");
    }
    // The other one waits for a sign of life, then works, and ends.
    let second = ended(tiny.args(&RUN).begin(Stdio::null(), Stdio::piped()));
    let unfinished = tiny.query("runs.db", "SELECT id FROM run WHERE state != 'done'");
    assert!(unfinished.is_empty(), "{unfinished:?}\n{second}");
    let before = tiny.query("runs.db", "SELECT id, attempt, finished_at FROM run ORDER BY id");
    signal(first.id(), "-CONT");
    let said = ended(first);
    assert!(tiny.query("runs.db", "SELECT id, attempt, finished_at FROM run ORDER BY id") == before, "{said}");
    whole(&tiny);
}

/// A call in a PID namespace of its own, where it is process 1; none where that is not allowed.
fn contained(tiny: &Place) -> Option<Command> {
    let unshare = require::on_path("unshare").filter(|unshare| {
        let tried = Command::new(unshare).args(["--pid", "--fork", "--mount-proc", "true"]).output();
        tried.is_ok_and(|o| o.status.success())
    });
    let mut command = Command::new(require::found("namespaces", unshare)?);
    // The kill reaches who is inside.
    command.args(["--pid", "--fork", "--mount-proc", "--kill-child"]).arg(env!("CARGO_BIN_EXE_unmute")).args(RUN);
    command.current_dir(tiny.path("")).env_remove("UNMUTE_DB").env("NO_COLOR", "1").env("RAYON_NUM_THREADS", "2");
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    Some(command)
}

#[test]
fn processes_in_containers_of_one_host_name_take_nothing_from_one_another() {
    let tiny = Place::tiny(60);
    let Some(mut command) = contained(&tiny) else { return };
    // Both are process 1 under the same host name, and neither sees the other; nor does the third, outside.
    let mut first = command.spawn().unwrap();
    training(&tiny, &mut first);
    let second = contained(&tiny).unwrap().spawn().unwrap();
    let third = tiny.args(&RUN).begin(Stdio::null(), Stdio::piped());
    let said = [first, second, third].map(ended).join("\n");
    let again = tiny.query("runs.db", "SELECT id, attempt FROM run WHERE state != 'done' OR attempt > 1");
    assert!(again.is_empty(), "a living process lost its run: {again:?}\n{said}");
    let machines = tiny.query("runs.db", "SELECT count(DISTINCT machine) AS n FROM run");
    assert!(machines[0]["n"].as_i64().unwrap() >= 1, "{machines:?}");
    whole(&tiny);
}

#[test]
fn a_run_of_a_container_that_was_killed_is_taken_once_it_gives_no_sign_of_life() {
    let tiny = Place::tiny(200);
    let Some(mut command) = contained(&tiny) else { return };
    let mut first = command.spawn().unwrap();
    training(&tiny, &mut first);
    first.kill().unwrap();
    first.wait().unwrap();
    gone(&tiny.path("runs.db"));
    // Its process number is somebody's here (1), and its last sign of life is fresh: it may live. Later it may not.
    let plan = tiny.call("plan tiny --dataset data --db runs.db").success().stdout;
    assert!(plan.contains("running"), "{plan}");
    tiny.sql("runs.db", "UPDATE run SET heartbeat_at = '2020-01-01T00:00:00.000Z' WHERE state = 'running'");
    ended(tiny.args(&RUN).begin(Stdio::null(), Stdio::piped()));
    whole(&tiny);
}

/// Waits until no process has the store open: the kill of `unshare` reaches its child a moment later.
fn gone(db: &Path) {
    let open = |pid: &Path| {
        let files = std::fs::read_dir(pid.join("fd")).into_iter().flatten().flatten();
        files.filter_map(|f| std::fs::read_link(f.path()).ok()).any(|target| target == db)
    };
    let begun = Instant::now();
    while std::fs::read_dir("/proc").unwrap().flatten().any(|entry| open(&entry.path())) {
        assert!(begun.elapsed() < Duration::from_secs(30), "it lives on");
        std::thread::sleep(Duration::from_millis(20));
    }
}
