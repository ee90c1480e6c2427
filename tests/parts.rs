//! One experiment worked on in many places: which runs, from what, and where they go.

use crate::support::call::{Place, Said};
use crate::support::require;
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use unmute::store::{State, Store};

const RUN: &str = "run tiny --dataset data";

fn plan(place: &Place, more: &str) -> Vec<Value> {
    let plan = place.call(&format!("plan tiny --dataset data --json {more}")).success().json();
    plan["runs"].as_array().unwrap().clone()
}

fn ids<'a>(runs: &'a [Value], kind: &str) -> Vec<&'a str> {
    runs.iter().filter(|run| run["kind"] == kind).map(|run| run["id"].as_str().unwrap()).collect()
}

#[test]
fn runs_have_ids_needs_and_a_cost_that_no_clock_measures() {
    let place = Place::tiny(2);
    let first = plan(&place, "");
    assert_eq!(first.len(), 14);
    let banks = ids(&first, "bank");
    for run in &first {
        let needs = run["needs"].as_array().unwrap();
        let wanted = matches!(run["kind"].as_str(), Some("generator" | "control"));
        assert_eq!(
            needs.iter().map(|id| id.as_str().unwrap()).collect::<Vec<_>>(),
            if wanted { banks.clone() } else { vec![] }
        );
        assert!(run["cost"].as_f64().unwrap() > 0.0 && run["seconds"].as_f64().unwrap() > 0.0, "{run}");
        assert_eq!(run["state"], "new");
    }
    let costs = |runs: &[Value]| runs.iter().map(|r| (r["id"].clone(), r["cost"].clone())).collect::<Vec<_>>();
    place.train("runs.db");
    let after = plan(&place, "--db runs.db");
    assert_eq!(costs(&after), costs(&first));
    assert!(after.iter().all(|run| run["state"] == "done" && run["seconds"] == 0.0));
}

#[test]
fn parts_of_several_places_become_one_store_with_the_tables_of_one_process() {
    let place = Place::tiny(3);
    place.train("one.db");
    let runs = plan(&place, "");
    let small: Vec<&str> = [ids(&runs, "stream"), ids(&runs, "bank"), ids(&runs, "control")].concat();
    place.call(&format!("{RUN} --publish base.db --only {}", small.join(","))).stderr("published base.db").success();
    let generators = ids(&runs, "generator");
    place.write("mine.txt", &format!("# the first half\n{}\n", generators[..4].join("\n")));
    let second: Vec<&str> = generators[4..].to_vec();
    place.write("tasks.json", &serde_json::json!({ "tasks": [{ "runs": [] }, { "runs": second }] }).to_string());
    for (only, part) in [("@mine.txt", "parts/a.db"), ("@tasks.json:1", "parts/b.db")] {
        let said = place
            .call(&format!("{RUN} --from base.db --publish {part} --only {only}"))
            .stderr("4 of 14 runs")
            .success();
        assert!(said.stderr.contains("4 to do"), "the bank was there: {}", said.stderr);
        assert!(!place.path(&format!("{part}-wal")).exists());
    }
    assert!(!place.path(".unmute").exists(), "no store was made but the parts");
    place.write("parts/.c.db.x.part", "half");
    place.call("merge --db all.db parts").success();
    assert_eq!(place.numbers("all.db"), place.numbers("one.db"));
    place.call(&format!("{RUN} --db all.db")).stderr("nothing to train").success();
    place.call("merge --db all.db parts").stdout("0 runs added").success();
    // Weights travel inside.
    let one = place.query("one.db", "SELECT run_id, hash FROM weights ORDER BY run_id");
    let all = place.query("all.db", "SELECT run_id, hash FROM weights ORDER BY run_id");
    assert!(one.iter().all(|kept| all.contains(kept)), "{one:?} {all:?}");
    let best = one[0]["run_id"].as_str().unwrap();
    place.call(&format!("export weights {best} --db all.db --format safetensors --out w.safetensors")).success();
    // A part that cannot be read does not keep the others from being taken.
    place.write("parts/bad.db", &"no store at all ".repeat(100));
    place.call("merge --db again.db parts").stderr("bad.db: not a store").stdout("runs added").ends(3);
    assert_eq!(place.numbers("again.db"), place.numbers("one.db"));
    place.call("merge --db again.db tiny").stderr("no store is in this folder").fails(2);
}

#[test]
fn a_run_brings_along_what_it_needs_and_a_wrong_name_is_told() {
    let place = Place::tiny(2);
    let runs = plan(&place, "");
    let generator = ids(&runs, "generator")[0];
    place.call(&format!("{RUN} --db runs.db --only {}", &generator[..12])).success();
    let done = place.query("runs.db", "SELECT kind FROM run WHERE state = 'done' ORDER BY kind");
    assert_eq!(done, [serde_json::json!({ "kind": "bank" }), serde_json::json!({ "kind": "generator" })]);
    // The whole experiment is recorded, so that the tables of a part are those of all of it.
    assert_eq!(place.query("runs.db", "SELECT count(*) AS n FROM cell")[0]["n"].as_u64(), Some(8));
    place
        .call(&format!("{RUN} --db runs.db --only nothing"))
        .stderr("no run of this plan")
        .stderr("unmute plan")
        .fails(2);
    place.call(&format!("{RUN} --db runs.db --only @absent.txt")).stderr("absent.txt").fails(2);
    place.call(&format!("{RUN} --db runs.db --only @tiny")).fails(2);
    place.call(&format!("{RUN} --from base.db")).stderr("--publish").ends(2);
    place.call(&format!("{RUN} --publish p.db --from absent.db")).stderr("absent.db: there is no such store").fails(1);
    place.call(&format!("{RUN} --db runs.db --threads 0")).stderr("--threads 0").fails(2);
    place.write("p.db", &"somebody's thesis ".repeat(100));
    place.call(&format!("{RUN} --publish p.db")).stderr("not a store").fails(1);
    assert!(place.read("p.db").starts_with("somebody"));
}

/// Begins to publish a part, and comes back when a run of it has come some epochs far.
fn begun(place: &Place, more: &[&str]) -> std::process::Child {
    let words = [
        "run",
        "tiny",
        "--dataset",
        "data",
        "--publish",
        "part.db",
        "--checkpoints",
        "kept",
        "--checkpoint-every",
        "0",
        "--workers",
        "1",
    ];
    let mut child = place.args(&[&words[..], more].concat()).begin(Stdio::null(), Stdio::piped());
    let far = || {
        let mut files = std::fs::read_dir(place.path("kept")).into_iter().flatten().flatten();
        files.any(|file| unmute::runs::checkpoint::epoch(&file.path()).is_some_and(|epoch| epoch > 5))
    };
    while !far() {
        if child.try_wait().unwrap().is_some() {
            panic!("ended early: {}", Said::of(child.wait_with_output().unwrap()).text());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    child
}

fn signal(child: &std::process::Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

#[test]
fn an_interrupted_part_is_published_and_another_store_goes_on_from_its_checkpoint() {
    let place = Place::tiny(300);
    let child = begun(&place, &[]);
    signal(&child, "-USR1");
    let said = Said::of(child.wait_with_output().unwrap());
    assert_eq!(said.code, Some(130), "{}", said.text());
    let part = Store::open_to_read(&place.path("part.db")).unwrap();
    let states = part.states().unwrap();
    assert!(states.values().any(|s| *s == State::Interrupted) && !states.values().any(|s| *s == State::Running));
    drop(part);
    // A store that has never heard of it: only the checkpoint knows the epochs.
    std::fs::remove_file(place.path("part.db")).unwrap();
    let began = std::time::Instant::now();
    place.call(&format!("{RUN} --db other.db --checkpoints kept")).success();
    assert!(began.elapsed() < Duration::from_secs(100), "nobody waited for the one that is gone");
    let curves = place.query(
        "other.db",
        "SELECT attempt, count(*) AS n FROM epoch JOIN run ON id = run_id WHERE split = 'val' GROUP BY run_id",
    );
    assert!(curves.iter().all(|run| run["n"] == 300), "{curves:?}");
    assert_eq!(curves.iter().filter(|run| run["attempt"] == 2).count(), 1, "{curves:?}");
    place.train("one.db");
    assert_eq!(place.numbers("other.db"), place.numbers("one.db"));
    assert_eq!(std::fs::read_dir(place.path("kept")).unwrap().count(), 0);
}

#[test]
fn a_kill_while_publishing_leaves_the_old_part_or_the_new_one() {
    let place = Place::tiny(40);
    let mut states = Vec::new();
    // A moment later each time, across the ends of several runs.
    for round in 0..12u64 {
        let child = place
            .args(&[
                "run",
                "tiny",
                "--dataset",
                "data",
                "--publish",
                "part.db",
                "--checkpoints",
                "kept",
                "--checkpoint-every",
                "0",
            ])
            .begin(Stdio::null(), Stdio::null());
        std::thread::sleep(Duration::from_millis(400 + 90 * round));
        signal(&child, "-KILL");
        let _ = child.wait_with_output();
        if place.path("part.db").is_file() {
            place.call("verify --db part.db").success();
            let part = Store::open_to_read(&place.path("part.db")).unwrap();
            states.push(part.states().unwrap().values().filter(|s| **s == State::Done).count());
        }
    }
    assert!(states.is_sorted(), "nothing that was published is lost: {states:?}");
    place.call(&format!("{RUN} --publish part.db --checkpoints kept")).success();
    place.train("one.db");
    assert_eq!(place.numbers("part.db"), place.numbers("one.db"));
}

#[test]
fn other_numerics_are_told_and_are_no_conflict() {
    let place = Place::tiny(2);
    place.train("wide.db");
    let scalar = place.call(&format!("{RUN} --db narrow.db --seeds 0")).env("UNMUTE_SIMD", "scalar");
    scalar.success();
    let of = |db: &str| {
        place.query(db, "SELECT DISTINCT json_extract(record, '$.numerics') AS n FROM environment")[0]["n"].clone()
    };
    assert_eq!(of("narrow.db"), "scalar");
    if of("wide.db") == "scalar" {
        return;
    }
    let merged = place.call("merge --db narrow.db wide.db").stderr("different numerics").stderr("mix them").success();
    assert!(!merged.stdout.contains("CONFLICT"), "{}", merged.stdout);
    place.call("report tiny --db narrow.db --out out").success();
    assert!(place.read("out/tiny.html").contains("Runs were made with different numerics"));
    place.call("report tiny --db wide.db --out out").success();
    assert!(!place.read("out/tiny.html").contains("different numerics"));
    // What no rounding explains is a conflict, whatever made it.
    place.sql("wide.db", "UPDATE run SET numbers_hash = NULL; UPDATE value SET value = value + 1 WHERE name = 'top1'");
    place.call("merge --db narrow.db wide.db").ends(3);
}

#[test]
fn a_store_on_a_network_file_system_is_refused_with_a_way_out() {
    let Some(mount) = Mount::sshfs() else { return };
    let place = Place::tiny(1);
    let on = |name: &str| mount.on.path().join(name).display().to_string();
    let db = on("runs.db");
    place.call(&format!("{RUN} --db {db}")).stderr("network file system (sshfs)").stderr("--publish").fails(1);
    assert!(!Path::new(&db).exists());
    place.call(&format!("doctor --db {db}")).stdout("network file system (sshfs)").success();
    // Parts are published to it, and read from it.
    place.call(&format!("{RUN} --publish {}", on("parts/a.db"))).success();
    place.call(&format!("merge --db {db} {}", on("parts"))).stderr("network file system").fails(1);
    place.call(&format!("merge --db here.db {}", on("parts"))).success();
    place.call(&format!("merge --db {db} {} --allow-network-store", on("parts"))).success();
    assert_eq!(place.numbers(&db), place.numbers("here.db"));
    place.call(&format!("{RUN} --db {db}")).env("UNMUTE_ALLOW_NETWORK_STORE", "1").stderr("nothing to train").success();
    place.call(&format!("{RUN} --publish p.db")).env("TMPDIR", &on("")).stderr("TMPDIR").fails(2);
}

/// A folder that is mounted through SFTP, from this very machine.
struct Mount {
    on: tempfile::TempDir,
    _from: tempfile::TempDir,
}

impl Mount {
    #[track_caller]
    fn sshfs() -> Option<Mount> {
        let server = ["/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/lib/ssh/sftp-server"];
        let server = server.into_iter().find(|path| Path::new(path).is_file());
        let (on, from) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mounted = server.filter(|_| require::on_path("sshfs").is_some()).and_then(|server| {
            // In place of ssh: the server itself, on the pipes that sshfs gives it.
            let ssh = from.path().join("ssh");
            std::fs::write(&ssh, format!("#!/bin/sh\nexec {server}\n")).ok()?;
            std::fs::set_permissions(&ssh, std::os::unix::fs::PermissionsExt::from_mode(0o755)).ok()?;
            let data = from.path().join("data");
            std::fs::create_dir(&data).ok()?;
            let mut command = Command::new("sshfs");
            command.arg(format!("here:{}", data.display())).arg(on.path());
            command.args(["-o", &format!("ssh_command={}", ssh.display())]).stderr(Stdio::null());
            command.status().ok()?.success().then_some(())
        });
        require::found("sshfs", mounted)?;
        Some(Mount { on, _from: from })
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("fusermount3").args(["-u", "-z"]).arg(self.on.path()).status();
        let _ = Command::new("umount").arg("-l").arg(self.on.path()).stderr(Stdio::null()).status();
    }
}

#[test]
fn a_data_set_that_cannot_be_written_to_is_read_once_and_not_by_every_task() {
    let place = Place::tiny(1);
    std::fs::remove_file(place.path("data/.unmute-check.json")).unwrap();
    // Long enough ago that a later change would certainly show.
    std::thread::sleep(Duration::from_millis(2100));
    std::fs::create_dir(place.path("on")).unwrap();
    let mount = |options: &[&str]| {
        let mut command = Command::new("mount");
        command.args(options).arg(place.path("on")).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let data = place.path("data").display().to_string();
    let mounted = mount(&["--bind", &data]) && mount(&["-o", "remount,bind,ro"]);
    let Some(()) = require::found("mount", mounted.then_some(())) else { return };
    let stats = || {
        place
            .call("data stats on --json")
            .env("XDG_CACHE_HOME", &place.path("cache").display().to_string())
            .success()
            .json()
    };
    let first = stats()["fingerprint"].clone();
    let kept: Vec<_> = std::fs::read_dir(place.path("cache/unmute/checked")).unwrap().collect();
    assert_eq!(kept.len(), 1);
    assert_eq!(stats()["fingerprint"], first);
    // What is remembered is believed: nothing is read again.
    let path = kept[0].as_ref().unwrap().path();
    let text = std::fs::read_to_string(&path).unwrap();
    let mut memory: Value = serde_json::from_str(&text).unwrap();
    let hash = &mut memory["files"]["rgb.safetensors"]["hash"];
    *hash = "0".repeat(64).into();
    std::fs::write(&path, memory.to_string()).unwrap();
    assert_ne!(stats()["fingerprint"], first);
    assert!(Command::new("umount").arg(place.path("on")).status().unwrap().success());
}

#[test]
fn snakemake_runs_the_grid_with_its_local_executor() {
    let Some(_) = require::found("snakemake", require::on_path("snakemake")) else { return };
    let place = Place::tiny(2);
    place.train("one.db");
    let file = crate::support::root().join("workflows/Snakefile");
    let program = env!("CARGO_BIN_EXE_unmute");
    let snakemake = |more: &[&str]| {
        let mut command = Command::new("snakemake");
        command.arg("--snakefile").arg(&file).args(["--cores", "2", "--config"]);
        command.args(["experiment=tiny", "dataset=data", "db=runs.db", &format!("unmute={program}")]).args(more);
        let output = command
            .current_dir(place.path(""))
            .env("HOME", place.path(""))
            .env("RAYON_NUM_THREADS", "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}");
        said
    };
    let said = snakemake(&[]);
    assert_eq!(place.numbers("runs.db"), place.numbers("one.db"), "{said}");
    assert!(place.path("reports/tiny.html").is_file(), "{said}");
    assert!(snakemake(&[]).contains("Nothing to be done"));
}
