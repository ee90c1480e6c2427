//! Tags and notes beside runs, runs for other programs, and what a call says while it works and at its end.

use crate::support::call::Place;
use crate::support::require;
use std::path::Path;
use std::process::Command;

/// A tiny store, and the ids of its runs, generators first.
fn trained() -> (Place, Vec<String>) {
    let place = Place::tiny(2);
    place.train("runs.db");
    let rows = place.query("runs.db", "SELECT id FROM run ORDER BY kind != 'generator', id");
    let ids = rows.iter().map(|row| row["id"].as_str().unwrap().to_string()).collect();
    (place, ids)
}

#[test]
fn tags_and_notes_stay_beside_runs_and_no_hash_covers_them() {
    let (place, ids) = trained();
    let before = place.numbers("runs.db");
    let [a, b] = [&ids[0][..10], &ids[1]];
    place.call("tag").words(&format!("{a} {b} good --db runs.db")).stderr("good: 2 runs tagged").success();
    place.call("tag").words(&format!("{a} good --db runs.db")).stderr("0 runs tagged; 1 had it already").success();
    place.args(&["tag", "--where", "kind=generator and seed=0", "seed-0", "--db", "runs.db"]).success();
    place.args(&["note", a, "the loss\nis odd", "--db", "runs.db"]).success();
    place.args(&["note", a, "again", "--db", "runs.db"]).success();
    place.call("note").words(&format!("{a} --db runs.db")).stdout("the loss\nis odd\nagain\n").success();
    let tags = place.call("tag --db runs.db --json").success().json();
    assert!(tags["good"] == 2 && tags["seed-0"].as_i64().unwrap() >= 2, "{tags}");
    // Found, shown, exported.
    let found = place.call("ls --db runs.db --where tag=good --json").success().json();
    assert_eq!(found.as_array().unwrap().len(), 2);
    let others = place.call("ls --db runs.db --where tag!=good --json").success().json();
    assert_eq!(others.as_array().unwrap().len(), 12);
    place.call("ls --db runs.db --where tags~oo --limit 1").stdout("tags").stdout("good").success();
    place.call("ls --db runs.db --where tags=none --limit 1").absent("tags").success();
    place.call("ls --db runs.db --columns tag").stderr("--where only").fails(2);
    let show = place.call("show --db runs.db").arg(a).stdout("tags    good").stdout("note    the loss\n        is odd");
    show.success();
    let csv = place.call("export runs --db runs.db").success().stdout;
    let header = csv.lines().next().unwrap();
    assert!(header.contains("tags,note") && csv.contains("good") && csv.contains("; again"), "{header}");
    place.call("report tiny --db runs.db --out out").success();
    assert!(place.read("out/tiny.html").contains("; again"));
    place.call("report tiny --db runs.db --out out --anonymous").success();
    let anonymous = place.read("out/tiny.html");
    assert!(
        !anonymous.contains("; again") && anonymous.contains("<td>good"),
        "notes are for those who work with the store"
    );
    // Another store takes them over once, however often it is merged.
    place.copy("runs.db", "other.db");
    place.train("mine.db");
    for _ in 0..2 {
        place.call("merge other.db --db mine.db").success();
        place.call("note").words(&format!("{a} --db mine.db")).stdout("the loss\nis odd\nagain\n").success();
    }
    // Numbers and hashes know nothing of them.
    assert_eq!(place.numbers("runs.db"), before);
    place.call("verify --db runs.db").success();
    place.call("tag").words(&format!("{a} good --remove --db runs.db")).stderr("1 runs taken off").success();
    place.call("note").words(&format!("{a} --clear --db runs.db")).stderr("2 notes taken off").success();
    assert_eq!(place.call("note").words(&format!("{a} --db runs.db")).success().stdout, "");
}

#[test]
fn a_tag_that_is_none_and_a_run_that_is_none_are_told() {
    let (place, ids) = trained();
    let id = &ids[0];
    for (words, says) in [
        (vec!["tag", id, "two words"], "a tag is one word"),
        (vec!["tag", id, "a,b"], "a tag is one word"),
        (vec!["tag", "good"], "which runs?"),
        (vec!["tag", "zzz", "good"], "no run begins with"),
        (vec!["tag", "--where", "top1>", "good"], "--where"),
        (vec!["tag", id, "--where", "top1>0", "good"], "either ids of runs or --where"),
        (vec!["tag", "--remove"], "which tag?"),
        (vec!["note", id, "  "], "says something"),
        (vec!["note", "zzz", "x"], "no run begins with"),
    ] {
        place.args(&[&words[..], &["--db", "runs.db"]].concat()).stderr(says).fails(2);
    }
    assert_eq!(place.call("tag --db runs.db").success().stdout, "no tags yet\n");
    place.call("tag --db none.db").fails(1);
}

/// Files below a folder, with their contents.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => out.extend(files(&path)),
            false => out.push((path.display().to_string(), std::fs::read(&path).unwrap())),
        }
    }
    out.sort();
    out
}

#[test]
fn runs_go_to_other_programs_and_again_changes_nothing() {
    let (place, ids) = trained();
    place.call("tag").words(&format!("{} good --db runs.db", ids[0])).success();
    for (format, next) in [
        ("mlflow", "mlflow ui --backend-store-uri"),
        ("tensorboard", "tensorboard --logdir"),
        ("wandb-offline", "wandb sync"),
    ] {
        let export = || {
            place
                .call("export runs --db runs.db --out")
                .arg(format)
                .words("--format")
                .arg(format)
                .stderr(next)
                .success();
            files(&place.path(format))
        };
        let first = export();
        assert!(first.len() >= 14, "{format}: {}", first.len());
        assert!(export() == first, "{format}");
        place.call("export runs --db runs.db --format").arg(format).stderr("--out DIR is needed").fails(2);
        place.write("file", "");
        place.call("export runs --db runs.db --out file/x --format").arg(format).stderr("file/x").fails(1);
    }
    place.call("export runs --db runs.db --format csv --out x").stderr("csv and json go to stdout").fails(2);
    let text = |end: &str| {
        let all = files(&place.path("mlflow"));
        let found = all.into_iter().find(|(name, _)| name.ends_with(end)).unwrap_or_else(|| panic!("no {end}"));
        String::from_utf8(found.1).unwrap()
    };
    let run = &ids[0];
    assert!(text(&format!("{run}/meta.yaml")).contains("status: 3"));
    assert_eq!(text(&format!("{run}/tags/good")), "yes");
    assert_eq!(text(&format!("{run}/metrics/val.loss")).lines().count(), 2);
    assert_eq!(text(&format!("{run}/params/train.epochs")), "2");
    // Only what was asked for.
    place.call("export runs --db runs.db --where tag=good --format mlflow --out one").success();
    let folders = files(&place.path("one")).into_iter().filter(|(name, _)| name.ends_with("tags/unmute.run")).count();
    assert_eq!(folders, 1);
}

#[test]
fn a_call_is_quiet_keeps_a_log_and_says_when_it_has_ended() {
    let place = Place::tiny(2);
    let hook = "echo $UNMUTE_STATE $UNMUTE_DONE $UNMUTE_FAILED $UNMUTE_EXPERIMENT >> ended; echo $UNMUTE_DB >> where";
    let run = |db: &str| {
        place.args(&["run", "tiny", "--dataset", "data", "--db", db, "--quiet", "--log", "log", "--on-finish", hook])
    };
    let said = run("runs.db").success();
    assert_eq!((said.stdout.as_str(), said.stderr.as_str()), ("", ""));
    assert_eq!(place.read("ended"), "done 14 0 tiny\n");
    assert_eq!(place.read("where").trim(), place.path("runs.db").canonicalize().unwrap().display().to_string());
    let log = place.read("log");
    assert!(log.contains("[14/14]") && log.contains("14 runs done in") && !log.contains('\u{1b}'), "{log}");
    assert!(log.lines().all(|line| line.get(4..5) == Some("-") && line.get(23..25) == Some("Z ")), "{log}");
    // Another call goes on in the same file.
    run("runs.db").success();
    assert!(place.read("log").starts_with(&log) && place.read("log").contains("14 runs of tiny were done already"));
    assert_eq!(place.read("ended"), "done 14 0 tiny\ndone 0 0 tiny\n");
    // What goes wrong is said all the same, and the hook is told.
    place.args(&["run", "tiny", "--dataset", "none", "--quiet", "--on-finish", hook]).fails(1);
    assert!(place.read("ended").ends_with("failed 0 0 tiny\n"));
    let failing = place.args(&["run", "tiny", "--dataset", "data", "--db", "runs.db", "--on-finish", "exit 7"]);
    failing.stderr("--on-finish: the command ended with exit status: 7").success();
    place.call("run tiny --dataset data --log no/folder/log").stderr("--log no/folder/log").fails(2);
}

#[test]
fn on_a_terminal_bars_stand_in_columns_at_any_width() {
    if !require::available("python3") {
        return;
    }
    let place = Place::tiny(40);
    // A terminal of so many columns, whose every line is looked at.
    let script = r#"
import fcntl, os, pty, re, struct, sys, termios
columns, program, arguments = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
pid, fd = pty.fork()
if pid == 0:
    os.execv(program, [program] + arguments)
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
data = b""
while True:
    try:
        chunk = os.read(fd, 65536)
    except OSError:
        break
    if not chunk:
        break
    data += chunk
assert os.waitpid(pid, 0)[1] == 0
text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "\n", data.decode())
# A bar of a run: name, bar, share, rate.
bars = re.findall(r"  \S[^\r\n\u2588\u2591]*[\u2588\u2591]+ +\d+ % +\d+ steps/s", text)
assert bars, text[:2000]
assert {len(b) for b in bars} == {columns}, {(len(b), b) for b in bars}
assert "runs, " in text and "[14/14]" in text
print("ok")
"#;
    for columns in ["60", "80", "200"] {
        let db = format!("{columns}.db");
        let output = Command::new("python3")
            .args([
                "-c",
                script,
                columns,
                env!("CARGO_BIN_EXE_unmute"),
                "run",
                "tiny",
                "--dataset",
                "data",
                "--db",
                &db,
                "--workers",
                "2",
            ])
            .current_dir(place.path(""))
            .env("TERM", "xterm")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("ok"), "{columns} columns: {said}");
    }
}

#[test]
fn a_tar_has_all_that_another_machine_needs() {
    let program = Path::new(env!("CARGO_BIN_EXE_unmute"));
    let dist = program.parent().unwrap().join("examples/dist");
    let Some(dist) = require::found("dist", Some(dist).filter(|path| path.is_file())) else { return };
    let place = Place::tiny(1);
    let output = Command::new(dist).arg(program).arg(place.path("dist")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let archive = String::from_utf8(output.stdout).unwrap().trim().to_string();
    let elsewhere = tempfile::tempdir().unwrap();
    let tar = Command::new("tar").args(["-xzf", &archive, "-C"]).arg(elsewhere.path()).status().unwrap();
    assert!(tar.success());
    let home = std::fs::read_dir(elsewhere.path()).unwrap().next().unwrap().unwrap().path();
    std::fs::remove_dir_all(place.path("dist")).unwrap();
    let call = |words: &[&str]| {
        let mut command = Command::new(home.join("bin/unmute"));
        let output = command.args(words).current_dir(&home).env_clear().env("RAYON_NUM_THREADS", "2").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?}: {said}");
        said
    };
    let data = place.path("data").display().to_string();
    let run = [
        "run",
        "experiments/icassp2019",
        "--dataset",
        &data,
        "--seeds",
        "0",
        "--set",
        "train.epochs=1",
        "--set",
        "lstm.hidden=8",
    ];
    call(&[&run[..], &["--set", "missing={rate: 0.4, seed: 1}"]].concat());
    call(&["report", "experiments/icassp2019", "--out", "out"]);
    assert!(home.join("out/icassp2019.html").is_file());
    let read = |path: &str| std::fs::read_to_string(home.join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
    assert!(
        read("share/man/man1/unmute-run.1").contains(".TH")
            && read("share/man/man1/unmute-watch.1").contains("127.0.0.1")
    );
    assert!(read("share/completions/unmute.bash").contains("watch") && read("LICENSE").contains("MIT"));
    let list = read("licences/LIST");
    assert!(list.contains("hyper-") && list.contains("dfdx-") && !list.contains("insta-"), "{list}");
    assert!(home.join("docs/guide/first-run.md").is_file());
}
