//! Runs that cannot succeed, and processes that are asked to stop: each is told in time and by name, the others go on, and nothing
//! that was done is lost.

use crate::support::call::{Place, Said};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const RUN: [&str; 6] = ["run", "tiny", "--dataset", "data", "--db", "r.db"];

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&RUN[..], more].concat()
}

/// The program behind a line of shell, `exec "$@"` at its end.
fn behind(tiny: &Place, shell: &str, args: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{shell}; exec \"$@\""), "sh", env!("CARGO_BIN_EXE_unmute")]).args(args);
    command.current_dir(tiny.path("")).env_remove("UNMUTE_DB").env("NO_COLOR", "1").env("RAYON_NUM_THREADS", "2");
    command
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

/// Waits until a generator has begun to train.
fn training(tiny: &Place, child: &mut Child) {
    let begun = Instant::now();
    loop {
        let running = "SELECT count(*) AS n FROM run WHERE state = 'running' AND kind = 'generator'";
        if tiny.path("r.db").is_file()
            && tiny.args(&["query", running, "--db", "r.db", "--csv"]).said().stdout.contains('1')
        {
            return;
        }
        assert!(child.try_wait().unwrap().is_none(), "ended early");
        assert!(begun.elapsed() < Duration::from_secs(60), "no generator after a minute");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn states(tiny: &Place, kind: &str) -> Vec<(String, i64)> {
    let sql = format!("SELECT state, count(*) AS n FROM run WHERE kind = '{kind}' GROUP BY state ORDER BY state");
    let rows = tiny.query("r.db", &sql);
    rows.iter().map(|r| (r["state"].as_str().unwrap().to_string(), r["n"].as_i64().unwrap())).collect()
}

#[test]
fn a_network_that_diverges_in_its_last_step_is_no_finished_run() {
    let tiny = Place::tiny(1);
    let output = tiny.args(&with(&["--set", "train.lr=1e30", "--seeds", "0"])).said();
    let said = output.text();
    assert_eq!(output.code, Some(3), "{said}");
    assert!(said.contains("in epoch 1; training diverged") && said.contains("next: lower train.lr (now 1"), "{said}");
    assert_eq!(states(&tiny, "generator"), [("failed".to_string(), 4)], "{said}");
    assert_eq!(states(&tiny, "control"), [("done".to_string(), 1)], "the others go on");
}

#[test]
fn an_svm_that_did_not_converge_says_so_in_run_and_show() {
    let tiny = Place::tiny(1);
    let said = tiny.args(&with(&["--set", "svm.c=1e9", "--set", "svm.scale=raw", "--seeds", "0"])).said().text();
    let banks = tiny.query("r.db", "SELECT id, value FROM run JOIN value ON id = run_id WHERE name = 'svm/untrained'");
    assert_eq!(banks.len(), 1, "{said}");
    let untrained = banks[0]["value"].as_f64().unwrap();
    assert_eq!(said.contains("did not converge"), untrained > 0.0, "{said}");
    let shown = tiny.args(&["show", banks[0]["id"].as_str().unwrap(), "--db", "r.db"]).success().stdout;
    assert_eq!(shown.contains("did not converge"), untrained > 0.0, "{shown}");
    assert!(shown.contains("svm/tolerance"), "{shown}");
}

#[test]
fn a_run_that_needs_more_memory_than_there_is_fails_alone_and_plan_says_so() {
    let tiny = Place::tiny(1);
    let yaml = std::fs::read_to_string(tiny.path("tiny/experiment.yaml")).unwrap();
    let yaml = yaml.replace("generator: [lstm, autoencoder]", "generator: [lstm], lstm.hidden: [20000, 4, 8]");
    std::fs::write(tiny.path("tiny/experiment.yaml"), yaml).unwrap();
    let limited = |args: &[&str]| Said::of(behind(&tiny, "ulimit -v 3000000", args).output().unwrap());
    let plan = limited(&["plan", "tiny", "--dataset", "data", "--db", "r.db"]).text();
    assert!(
        plan.contains("lstm.hidden=20000") && plan.contains("fails: it needs") && plan.contains("memory:"),
        "{plan}"
    );
    let output = limited(&with(&["--seeds", "0"]));
    let said = output.text();
    assert_eq!(output.code, Some(3), "{said}");
    assert!(said.contains("of memory at the least, and") && said.contains("train.batch smaller"), "{said}");
    assert_eq!(states(&tiny, "generator"), [("done".to_string(), 4), ("failed".to_string(), 2)], "{said}");
}

#[test]
fn a_feature_file_that_is_written_to_during_a_run_fails_it_by_name() {
    use std::io::{Seek, Write};
    let tiny = Place::tiny(400);
    let mut command = behind(&tiny, "true", &with(&["--workers", "1", "--seeds", "0"]));
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    training(&tiny, &mut child);
    let mut file = std::fs::OpenOptions::new().write(true).open(tiny.path("data/rgb.safetensors")).unwrap();
    file.seek(std::io::SeekFrom::End(-4)).unwrap();
    file.write_all(&1.5f32.to_le_bytes()).unwrap();
    drop(file);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("rgb.safetensors"), "{said}");
    assert!(states(&tiny, "generator").iter().all(|(state, _)| state == "failed"), "{said}");
    let kept = std::fs::read_dir(tiny.path("r.db.checkpoints")).map_or(0, |files| files.count());
    assert_eq!(kept, 0, "nothing to go on from");
}

#[test]
fn a_hang_up_under_nohup_changes_nothing() {
    let tiny = Place::tiny(60);
    let mut command = behind(&tiny, "trap '' HUP", &with(&["--workers", "1", "--checkpoint-every", "0"]));
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    training(&tiny, &mut child);
    signal(&child, "-HUP");
    let output = Said::of(child.wait_with_output().unwrap());
    assert_eq!(output.code, Some(0), "{}", output.text());
    assert!(states(&tiny, "generator").iter().all(|(state, _)| state == "done"));
}

#[test]
fn what_asks_for_the_end_ends_an_epoch_and_says_what_is_kept() {
    for name in ["-TERM", "-HUP", "-USR1", "-INT"] {
        let tiny = Place::tiny(4000);
        // Nothing is kept on the way: only the signal can have done it.
        let call = tiny.args(&with(&["--workers", "1", "--checkpoint-every", "100000", "--seeds", "0"]));
        let mut child = call.begin(Stdio::null(), Stdio::piped());
        training(&tiny, &mut child);
        std::thread::sleep(Duration::from_millis(200));
        signal(&child, name);
        let output = Said::of(child.wait_with_output().unwrap());
        let said = output.text();
        assert_eq!(output.code, Some(130), "{name}: {said}");
        assert!(
            said.contains("of 4000 epochs behind it") && said.contains("goes on from what was kept"),
            "{name}: {said}"
        );
        let kept: Vec<_> = std::fs::read_dir(tiny.path("r.db.checkpoints")).unwrap().flatten().collect();
        assert_eq!(kept.len(), 1, "{name}: {said}");
        let bytes = std::fs::read(kept[0].path()).unwrap();
        safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let epochs = tiny.query("r.db", "SELECT max(epoch) AS n FROM epoch")[0]["n"].as_i64().unwrap();
        assert!(epochs > 0 && said.contains(&format!("with {epochs} of 4000")), "{name}: {said}");
    }
}

#[test]
fn without_threads_there_is_a_message_and_no_panic() {
    let tiny = Place::tiny(1);
    // Where memory ends at a thread's stack, and where at what it takes beside it: every limit is another place to fall.
    for kilobytes in (500_000..).step_by(52).take(20) {
        let mut many = behind(&tiny, &format!("ulimit -v {kilobytes}"), &RUN);
        let many = Said::of(many.env("RAYON_NUM_THREADS", "30000").output().unwrap());
        let said = many.text();
        assert!(!said.contains("panicked") && many.code == Some(1), "{kilobytes}: {said}");
        assert!(said.contains("the system starts too few threads") && said.contains("RAYON_NUM_THREADS=1"), "{said}");
    }
}

#[test]
fn vectors_that_nobody_knows_are_refused() {
    let place = Place::new();
    let call = |word: &str| place.call("completions bash").env("UNMUTE_SIMD", word);
    for word in ["AVX2", "sse", "avx2 "] {
        call(word)
            .stderr(&format!("UNMUTE_SIMD={word}: no vectors of that name"))
            .stderr("scalar, avx2 or avx512")
            .fails(2);
    }
    for word in ["", "scalar", "avx2", "avx512"] {
        call(word).success();
    }
}

#[test]
fn sizes_without_measure_are_told_with_their_limit() {
    let tiny = Place::tiny(1);
    for (set, says) in [
        ("lstm.hidden=1000000000", "lstm.hidden: 1000000000 should be at most 65536"),
        ("svm.folds=99999999999", "svm.folds: 99999999999 should be at most 1000"),
        ("autoencoder.encoder=[4294967295]", "autoencoder.encoder[0]: 4294967295 should be at most 65536"),
        ("lstm.hidden=18446744073709551615", "should be at most 65536"),
        ("svm.c=1e38", "svm.c: 1e38 should lie from 1e-10 to 1e10"),
        ("grid.train.lr=[0.1, 1e-1]", "0.1 stands twice"),
        ("fusion.weights.rbg=2", "valid: rgb, flow, vggish"),
    ] {
        let output = tiny.args(&with(&["--set", set])).said();
        assert!(output.code == Some(1) && output.text().contains(says), "{set}: {}", output.text());
    }
}
