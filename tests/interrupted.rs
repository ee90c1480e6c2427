//! What ends a run in its middle: Ctrl-C, a disk that fills up, a folder that can no longer be written. It says so, the
//! store stays whole, and the same command goes on to the same numbers.

use crate::support::call::{Place, Said, may_call};
use crate::support::require;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const ARGS: [&str; 8] = ["run", "tiny", "--dataset", "data", "--checkpoint-every", "0", "--workers", "1"];

/// Epochs that take some seconds when each is checkpointed.
const EPOCHS: usize = 300;

/// Begins to train into `on/runs.db`, and comes back when the first checkpoint is written.
fn begun(tiny: &Place, user: Option<u32>) -> Child {
    let call = tiny.args(&[&ARGS[..], &["--db", "on/runs.db"]].concat());
    let call = user.into_iter().fold(call, |call, id| call.user(id));
    let mut child = call.begin(Stdio::null(), Stdio::piped());
    let folder = tiny.path("on/runs.db.checkpoints");
    while !std::fs::read_dir(&folder).is_ok_and(|mut files| files.next().is_some()) {
        if child.try_wait().unwrap().is_some() {
            panic!("ended early: {}", Said::of(child.wait_with_output().unwrap()).text());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    child
}

/// What it said when it ended, with this exit code.
fn ended(child: Child, code: i32) -> String {
    let said = Said::of(child.wait_with_output().unwrap());
    assert_eq!(said.code, Some(code), "{}", said.text());
    said.text()
}

#[test]
fn a_run_that_is_interrupted_says_so_and_goes_on() {
    let tiny = Place::tiny(EPOCHS);
    let child = begun(&tiny, None);
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let said = ended(child, 130);
    assert!(said.contains("interrupted; the same command goes on from what was kept"), "{said}");
    let counts = tiny.query("on/runs.db", "SELECT state, count(*) AS n FROM run GROUP BY state");
    let count = |state: &str| counts.iter().find(|c| c["state"] == state).map_or(0, |c| c["n"].as_i64().unwrap());
    assert_eq!((count("interrupted"), count("running"), count("failed")), (1, 0, 0), "{counts:?}");
    assert!(count("pending") > 0, "what is to come is known");
    let plan = tiny.call("plan tiny --dataset data --db on/runs.db").success().stdout;
    assert!(plan.contains("interrupted; would go on"), "{plan}");
    goes_on(&tiny);
}

/// The store is whole, goes on, and ends with the numbers of an undisturbed one; nothing that was done is done again.
fn goes_on(tiny: &Place) {
    let checked = tiny.call("verify --db on/runs.db").said().text();
    assert!(checked.contains("whole") || checked.contains("epochs: "), "{checked}");
    assert!(!checked.contains("integrity"), "{checked}");
    let done = tiny.query("on/runs.db", "SELECT id, finished_at FROM run WHERE state = 'done' ORDER BY id");
    assert!(done.len() < 14, "the trouble came too late");
    assert!(tiny.query("on/runs.db", "SELECT id FROM run WHERE state = 'failed'").is_empty());
    tiny.args(&[&ARGS[..], &["--db", "on/runs.db"]].concat()).success();
    tiny.train("undisturbed.db");
    assert!(tiny.numbers("on/runs.db") == tiny.numbers("undisturbed.db"), "other numbers");
    let after = tiny.query("on/runs.db", "SELECT id, finished_at FROM run WHERE state = 'done' ORDER BY id");
    assert!(done.iter().all(|run| after.contains(run)), "a finished run was done again");
}

#[test]
fn a_checkpoint_whose_epochs_are_lost_is_not_gone_on_from() {
    let tiny = Place::tiny(EPOCHS);
    let mut child = begun(&tiny, None);
    child.kill().unwrap();
    child.wait().unwrap();
    // As when a store is put back from a copy, and the checkpoints are not.
    tiny.sql("on/runs.db", "DELETE FROM epoch WHERE epoch < 2");
    goes_on(&tiny);
    tiny.sql("on/runs.db", "DELETE FROM epoch WHERE epoch = 7 AND run_id = (SELECT min(run_id) FROM epoch)");
    let told = tiny.call("verify --db on/runs.db").ends(3).stdout;
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
    let tiny = Place::tiny(EPOCHS);
    let on = tiny.path("on");
    let Some(_small) = require::found("mount", Small::new(&on, "12m")) else { return };
    let child = begun(&tiny, None);
    fill(&on.join("ballast"));
    let said = ended(child, 1);
    assert!(
        said.contains("the disk is full") && said.contains("free some space and run the same command again"),
        "{said}"
    );
    // Again, with no room from the start.
    let output = tiny.args(&[&ARGS[..], &["--db", "on/runs.db"]].concat()).said();
    assert_eq!(output.code, Some(1), "{}", output.text());
    assert!(output.text().contains("free some space"), "{}", output.text());
    std::fs::remove_file(on.join("ballast")).unwrap();
    goes_on(&tiny);
}

#[test]
fn a_folder_that_becomes_read_only_in_the_middle_of_a_run_costs_nothing() {
    const NOBODY: u32 = 65534;
    let tiny = Place::tiny(EPOCHS);
    let on = tiny.path("on");
    let mode = |path: &Path, mode: u32| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    std::fs::create_dir(&on).unwrap();
    // No permission stops root.
    let root = on.metadata().unwrap().uid() == 0;
    if root {
        mode(&tiny.path(""), 0o755);
        mode(&on, 0o777);
        if require::found("user", may_call(NOBODY).then_some(())).is_none() {
            return;
        }
    }
    let child = begun(&tiny, root.then_some(NOBODY));
    let checkpoints = tiny.path("on/runs.db.checkpoints");
    mode(&checkpoints, 0o555);
    mode(&on, 0o555);
    let said = ended(child, 1);
    assert!(said.contains("cannot be written") && said.contains("ermission denied"), "{said}");
    assert!(said.contains("choose another place with --db, or change its permissions"), "{said}");
    mode(&on, 0o777);
    mode(&checkpoints, 0o777);
    goes_on(&tiny);
}
