//! A disk that fills up, and a folder that can no longer be written, in the middle of a run: it ends with a clear message,
//! the store stays whole, and when there is room the same command goes on to the same numbers.

use crate::tiny::{Tiny, text};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const ARGS: [&str; 8] = ["run", "tiny", "--dataset", "data", "--checkpoint-every", "0", "--workers", "1"];

/// Epochs that take some seconds when each is checkpointed.
const EPOCHS: usize = 300;

/// Begins to train into `on/runs.db`, and comes back when the first checkpoint is written.
fn begun(tiny: &Tiny, user: Option<u32>) -> Child {
    let mut command = tiny.command(&[&ARGS[..], &["--db", "on/runs.db"]].concat());
    if let Some(user) = user {
        command.uid(user).gid(user);
    }
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let folder = tiny.path("on/runs.db.checkpoints");
    let started = Instant::now();
    while !std::fs::read_dir(&folder).is_ok_and(|mut files| files.next().is_some()) {
        assert!(started.elapsed() < Duration::from_secs(60), "no checkpoint after a minute");
        if child.try_wait().unwrap().is_some() {
            panic!("ended early: {}", text(&child.wait_with_output().unwrap()));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    child
}

/// What it said when it ended, with exit code 1.
fn failed(child: Child) -> String {
    let output = child.wait_with_output().unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("error: ") && !said.contains("panicked"), "{said}");
    said
}

/// The store is whole, goes on, and ends with the numbers of an undisturbed one; nothing that was done is done again.
fn goes_on(tiny: &Tiny) {
    let checked = text(&tiny.run(&["verify", "--db", "on/runs.db"]));
    assert!(checked.contains("whole") || checked.contains("epochs: "), "{checked}");
    assert!(!checked.contains("integrity"), "{checked}");
    let done = tiny.query("on/runs.db", "SELECT id, finished_at FROM run WHERE state = 'done' ORDER BY id");
    assert!(done.len() < 14, "the trouble came too late");
    assert!(tiny.query("on/runs.db", "SELECT id FROM run WHERE state = 'failed'").is_empty());
    tiny.expect(0, &[&ARGS[..], &["--db", "on/runs.db"]].concat());
    tiny.train("undisturbed.db");
    assert!(tiny.numbers("on/runs.db") == tiny.numbers("undisturbed.db"), "other numbers");
    let after = tiny.query("on/runs.db", "SELECT id, finished_at FROM run WHERE state = 'done' ORDER BY id");
    assert!(done.iter().all(|run| after.contains(run)), "a finished run was done again");
}

#[test]
fn a_checkpoint_whose_epochs_are_lost_is_not_gone_on_from() {
    let tiny = Tiny::new(EPOCHS);
    let mut child = begun(&tiny, None);
    child.kill().unwrap();
    child.wait().unwrap();
    // As when a store is put back from a copy, and the checkpoints are not.
    tiny.sql("on/runs.db", "DELETE FROM epoch WHERE epoch < 2");
    goes_on(&tiny);
    tiny.sql("on/runs.db", "DELETE FROM epoch WHERE epoch = 7 AND run_id = (SELECT min(run_id) FROM epoch)");
    let told = tiny.expect(3, &["verify", "--db", "on/runs.db"]);
    assert!(told.contains("epochs: 299 of 300 are there") && told.matches("\n  run ").count() == 1, "{told}");
}

/// A small file system that is taken away again.
struct Small<'a>(&'a Path);

impl Small<'_> {
    fn new<'a>(path: &'a Path, size: &str) -> Option<Small<'a>> {
        std::fs::create_dir(path).unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"]).arg(path).output();
        mounted.is_ok_and(|o| o.status.success()).then_some(Small(path))
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).output();
    }
}

/// Writes a file until nothing more goes onto the disk.
fn fill(path: &Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(path).unwrap();
    for size in [1 << 16, 1 << 12, 1] {
        while file.write(&vec![1; size]).is_ok() {}
    }
}

#[test]
fn a_disk_that_fills_up_in_the_middle_of_a_run_costs_nothing() {
    let tiny = Tiny::new(EPOCHS);
    let on = tiny.path("on");
    let Some(_small) = Small::new(&on, "12m") else {
        eprintln!("skipped: no small file system can be mounted here");
        return;
    };
    let child = begun(&tiny, None);
    fill(&on.join("ballast"));
    let said = failed(child);
    assert!(
        said.contains("the disk is full") && said.contains("free some space and run the same command again"),
        "{said}"
    );
    // Again, with no room from the start.
    let output = tiny.run(&[&ARGS[..], &["--db", "on/runs.db"]].concat());
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("free some space"), "{}", text(&output));
    std::fs::remove_file(on.join("ballast")).unwrap();
    goes_on(&tiny);
}

#[test]
fn a_folder_that_becomes_read_only_in_the_middle_of_a_run_costs_nothing() {
    const NOBODY: u32 = 65534;
    let tiny = Tiny::new(EPOCHS);
    let on = tiny.path("on");
    let mode = |path: &Path, mode: u32| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    std::fs::create_dir(&on).unwrap();
    // No permission stops root.
    let root = on.metadata().unwrap().uid() == 0;
    if root {
        mode(&tiny.path(""), 0o755);
        mode(&on, 0o777);
        let mut tried = Command::new(env!("CARGO_BIN_EXE_unmute"));
        if !tried.arg("--version").uid(NOBODY).output().is_ok_and(|o| o.status.success()) {
            eprintln!("skipped: run by root, and no other user may call the program");
            return;
        }
    }
    let child = begun(&tiny, root.then_some(NOBODY));
    let checkpoints = tiny.path("on/runs.db.checkpoints");
    mode(&checkpoints, 0o555);
    mode(&on, 0o555);
    let said = failed(child);
    assert!(said.contains("cannot be written") && said.contains("ermission denied"), "{said}");
    assert!(said.contains("choose another place with --db, or change its permissions"), "{said}");
    mode(&on, 0o777);
    mode(&checkpoints, 0o777);
    goes_on(&tiny);
}
