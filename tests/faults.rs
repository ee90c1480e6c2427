//! A disk that fails: calls of the system that end with an error in the middle of a run. The run says so or goes on; nothing that
//! was finished is lost, and the same command ends with the numbers of an undisturbed one.

use crate::support::call::{Call, Place};
use crate::support::random::Random;
use crate::support::require;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// The library that makes calls fail (torture/faults.c), built; none without a C compiler.
fn shim(tiny: &Place) -> Option<PathBuf> {
    let cc = require::found("cc", require::on_path("cc"))?;
    let (source, library) = (crate::support::root().join("tests/torture/faults.c"), tiny.path("faults.so"));
    let built = Command::new(cc).args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).arg("-ldl").output();
    let built = built.unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    Some(library)
}

/// A call of `run` under the library: which call of the system fails, how, and whether all after it do.
fn run(tiny: &Place, shim: &std::path::Path, db: &str, at: u64, errno: i32, on: bool) -> Call {
    let call = tiny.call("run tiny --dataset data --workers 1 --checkpoint-every 0 --db").arg(&format!("{db}/runs.db"));
    // The folder of the store, and not that of the data.
    call.env("LD_PRELOAD", shim.to_str().unwrap())
        .env("FAULT_PATH", &format!("/{db}/"))
        .env("FAULT_AT", &at.to_string())
        .env("FAULT_ERRNO", &errno.to_string())
        .env("FAULT_ON", if on { "1" } else { "0" })
        .env("FAULT_COUNT", tiny.path("calls").to_str().unwrap())
}

fn finished(tiny: &Place, db: &str) -> BTreeMap<String, String> {
    if std::fs::metadata(tiny.path(db)).map_or(0, |m| m.len()) == 0 {
        return BTreeMap::new();
    }
    let said =
        tiny.args(&["query", "SELECT id, finished_at FROM run WHERE state = 'done'", "--db", db, "--json"]).said();
    // Stopped while the store was made: it is empty, and said so.
    if said.code != Some(0) {
        assert!(said.text().contains("it is empty"), "{db}: {}", said.text());
        return BTreeMap::new();
    }
    let text = |v: &serde_json::Value| v.as_str().unwrap().to_string();
    said.json().as_array().unwrap().iter().map(|r| (text(&r["id"]), text(&r["finished_at"]))).collect()
}

/// Injects so many errors, each into a run of its own, and prints what came of them.
fn torture(faults: u64) {
    let tiny = Place::tiny(3);
    let Some(shim) = shim(&tiny) else { return };
    std::fs::create_dir(tiny.path("undisturbed")).unwrap();
    run(&tiny, &shim, "undisturbed", 0, 0, false).success();
    let calls: u64 = tiny.read("calls").trim().parse().unwrap();
    assert!(calls > 100, "{calls} calls: the library has no hold of the store");
    let expected = tiny.numbers("undisturbed/runs.db");
    let mut random = Random(16);
    let mut codes: BTreeMap<String, u64> = BTreeMap::new();
    for i in 0..faults {
        let (errno, on) = [(EIO, false), (ENOSPC, false), (0, false), (EIO, true), (ENOSPC, true)][(i % 5) as usize];
        // Spread over the run, and anywhere between.
        let at = 1 + ((i as f64 + random.unit()) / faults as f64 * calls as f64) as u64;
        let (folder, db) = (format!("disk{i}"), format!("disk{i}/runs.db"));
        std::fs::create_dir(tiny.path(&folder)).unwrap();
        let what = format!("call {at} of {calls}, error {errno}{}", if on { " from then on" } else { "" });
        let said = run(&tiny, &shim, &folder, at, errno, on).said();
        let code = said.code.unwrap_or_else(|| panic!("{what}: ended by a signal\n{}", said.text()));
        assert!([0, 1, 3].contains(&code), "{what}: {code}\n{}", said.text());
        // What it says is done is done.
        let done = finished(&tiny, &db);
        let name = format!("exit code {code}{}", if on { ", the disk failed from then on" } else { "" });
        *codes.entry(name).or_default() += 1;
        if code != 0 {
            assert!(said.stderr.contains("error:") || said.stderr.contains("failed"), "{what}: {}", said.text());
        }
        tiny.args(&["run", "tiny", "--dataset", "data", "--workers", "1", "--db", &db]).success();
        let after = finished(&tiny, &db);
        for (id, at) in &done {
            assert_eq!(after.get(id), Some(at), "{what}: run {id} was finished, and is done again\n{}", said.text());
        }
        tiny.args(&["verify", "--db", &db]).success();
        assert!(tiny.numbers(&db) == expected, "{what}: other numbers than undisturbed");
        let left: Vec<String> = std::fs::read_dir(tiny.path(&folder))
            .unwrap()
            .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
            .filter(|name| name.contains(".part") || name.ends_with("-wal") || name.ends_with("-shm"))
            .collect();
        assert!(left.is_empty(), "{what}: {left:?} are left");
        std::fs::remove_dir_all(tiny.path(&folder)).unwrap();
    }
    let line = format!(
        "{faults} injected errors among {calls} calls of the system: {codes:?}; every store whole, every number the same\n"
    );
    let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
}

#[test]
fn ten_calls_of_the_system_that_fail_cost_nothing() {
    torture(10);
}

#[test]
#[ignore = "minutes"]
fn torture_by_calls_of_the_system_that_fail() {
    let faults = std::env::var("UNMUTE_FAULTS").ok().and_then(|n| n.parse().ok()).unwrap_or(150);
    torture(faults);
}

/// A small file system that is taken away again.
struct Small(PathBuf);

impl Small {
    fn mount(path: PathBuf, size: &str) -> Option<Small> {
        std::fs::create_dir(&path).unwrap();
        let options = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "none"]).arg(&path).output();
        let mounted = mounted.is_ok_and(|o| o.status.success()).then_some(Small(path));
        require::found("mount", mounted)
    }

    fn grow(&self, size: &str) {
        let grown = Command::new("mount").args(["-o", &format!("remount,size={size}")]).arg(&self.0).status().unwrap();
        assert!(grown.success());
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
        let _ = std::fs::remove_dir(&self.0);
    }
}

/// Runs on so many disks that are full at different moments, and prints what came of them.
fn full_disks(disks: u64) {
    let tiny = Place::tiny(3);
    tiny.train("undisturbed.db");
    let expected = tiny.numbers("undisturbed.db");
    let size = std::fs::metadata(tiny.path("undisturbed.db")).unwrap().len() / 1024;
    let mut codes: BTreeMap<i32, u64> = BTreeMap::new();
    for i in 0..disks {
        // From one that the empty store fills to one that all but holds everything, logs and weights too.
        let kib = 64 + (3 * size) * i / disks;
        let Some(disk) = Small::mount(tiny.path("disk"), &format!("{kib}k")) else { return };
        let args =
            ["run", "tiny", "--dataset", "data", "--workers", "1", "--checkpoint-every", "0", "--db", "disk/runs.db"];
        let said = tiny.args(&args).said();
        let code = said.code.unwrap_or_else(|| panic!("{kib} KiB: ended by a signal\n{}", said.text()));
        *codes.entry(code).or_default() += 1;
        if code != 0 {
            assert!(code == 1 && said.text().contains("free some space"), "{kib} KiB: {code}\n{}", said.text());
        }
        disk.grow("64m");
        let done = finished(&tiny, "disk/runs.db");
        tiny.args(&args).success();
        let after = finished(&tiny, "disk/runs.db");
        assert!(done.iter().all(|run| after.get(run.0) == Some(run.1)), "{kib} KiB: a finished run was done again");
        tiny.args(&["verify", "--db", "disk/runs.db"]).success();
        assert!(tiny.numbers("disk/runs.db") == expected, "{kib} KiB: other numbers than undisturbed");
    }
    let line =
        format!("{disks} full disks: exit codes {codes:?}; every one went on, nothing was done twice or differs\n");
    let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
}

#[test]
fn disks_that_are_full_at_different_moments_cost_nothing() {
    full_disks(4);
}

#[test]
#[ignore = "minutes"]
fn torture_by_full_disks() {
    full_disks(60);
}
