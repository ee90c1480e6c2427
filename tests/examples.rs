//! Every example that `--help` shows, of every verb, and every call in README.md: each is taken as it stands and run.

use crate::support::call::{Place, small_experiment};
use crate::support::features::Source;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// The words of all verbs, `data synth` as two, with their `--help`.
fn helps() -> Vec<(String, String)> {
    let place = Place::new();
    let mut todo: Vec<Vec<String>> = vec![vec![]];
    let mut found = Vec::new();
    while let Some(verb) = todo.pop() {
        let words: Vec<&str> = verb.iter().map(String::as_str).chain(["--help"]).collect();
        let help = place.args(&words).success().stdout;
        let below = help.split_once("\nCommands:\n").map_or("", |(_, rest)| rest);
        for line in below.lines().take_while(|line| !line.trim().is_empty()) {
            // Two blanks before a verb; its description may go on below it.
            let name = line.strip_prefix("  ").filter(|rest| !rest.starts_with(' '));
            if let Some(name) = name.and_then(|rest| rest.split_whitespace().next()).filter(|name| *name != "help") {
                todo.push(verb.iter().cloned().chain([name.to_string()]).collect());
            }
        }
        found.push((verb.join(" "), help));
    }
    found
}

/// Lines below `Example:` or `Examples:`, one a call; what stands behind two blanks and a parenthesis is a remark.
fn examples(help: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut goes_on = false;
    let lines = help.lines().skip_while(|line| !["Example:", "Examples:"].contains(line)).skip(1);
    for line in lines.take_while(|line| !line.trim().is_empty()) {
        let (line, more) = match line.trim().strip_suffix('\\') {
            Some(line) => (line.trim(), true),
            None => (line.trim(), false),
        };
        match found.last_mut().filter(|_| goes_on) {
            Some(last) => *last += &format!(" {line}"),
            None => found.push(line.to_string()),
        }
        goes_on = more;
    }
    found.iter().map(|line| line.split_once("  (").map_or(line.as_str(), |(call, _)| call).trim().to_string()).collect()
}

/// Calls of the program in README.md: between backticks, and lines of its blocks.
fn readme() -> Vec<String> {
    let text = std::fs::read_to_string(crate::support::root().join("README.md")).unwrap();
    let quoted = text.split('`').skip(1).step_by(2).filter(|code| code.starts_with("unmute ") && !code.contains('\n'));
    quoted.map(String::from).collect()
}

/// A folder in which every example makes sense: experiments that train in a moment under the names of the examples, data,
/// sources, stores.
struct World {
    place: Place,
    /// A generator's run and a stream's, by the beginning of their ids.
    runs: [String; 2],
}

impl World {
    fn new() -> World {
        let place = Place::new();
        Source::default().write(&place.path("source"));
        Source { audio: vec![("vggish", 5), ("aenet", 3)], ..Source::default() }.write(&place.path("both"));
        for name in ["mini", "corsmal", "new", "mine"] {
            place.call("data import source --frames 3 --name corsmal").arg(&format!("data/{name}")).success();
        }
        let small = small_experiment("controls: [mean, ridge]\ngrid: {audio: [vggish], loss: [l2]}\n")
            .replace("dataset: ../data\n", "")
            .replace("[0, 1]", "[0]");
        for name in ["icassp2019", "corsmal"] {
            let yaml = small.replace("name: small", &format!("name: {name}"));
            place.write(&format!("experiments/{name}/experiment.yaml"), &yaml);
            place.call("run --dataset data/mini").arg(&format!("experiments/{name}")).success();
        }
        let db = ".unmute/runs.db";
        for copy in ["runs.db", "mine.db", "theirs.db", "laptop.db", "workstation.db", "OTHER.db"] {
            place.copy(db, copy);
        }
        let id = |kind: &str| {
            let sql = format!("SELECT id FROM run WHERE kind = '{kind}' AND key NOT LIKE '%autoencoder%' ORDER BY id");
            place.query(db, &sql)[0]["id"].as_str().unwrap()[..12].to_string()
        };
        let runs = [id("generator"), id("stream")];
        place.write("mine.txt", &runs.join("\n"));
        std::fs::create_dir(place.path("parts")).unwrap();
        for copy in ["base.db", "parts/a.db"] {
            place.copy(db, copy);
        }
        place.write("docs/schema.md", "");
        std::fs::create_dir_all(place.path("home/.local/share/bash-completion/completions")).unwrap();
        std::fs::create_dir(place.path("bin")).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_unmute"), place.path("bin/unmute")).unwrap();
        World { place, runs }
    }

    /// Puts what is there in the place of what an example takes for granted.
    fn filled(&self, call: &str) -> String {
        let mut call = format!("{call} ");
        for (from, to) in [
            ("3fa9c1", self.runs[0].as_str()),
            ("77e0b2", self.runs[1].as_str()),
            (" RUN... ", &format!(" {} ", self.runs[0])),
            (" RUN ", &format!(" {} ", self.runs[0])),
            (" TEXT ", " words "),
            (" COMMAND ", " true "),
            ("'mail -s \"$UNMUTE_STATE\" me </dev/null'", "true"),
            (" && tensorboard --logdir tb", ""),
            (" && wandb sync wandb/offline-run-*", ""),
            (" A B ", &format!(" {} {} ", self.runs[0], self.runs[1])),
            ("'SELECT ...'", "'SELECT key FROM run'"),
            ("run ... ", "run experiments/corsmal --dataset data/corsmal "),
            ("claims ... ", "claims corsmal "),
            (" SRC ", " source "),
            ("synth data/mini ", "synth made --train 60 --val 40 "),
            (" source DST ", " source made "),
            (" DST ", " data/corsmal "),
            (" DIR ", " data/corsmal "),
            ("path/to/corsmal data/corsmal ", "source made "),
            (" features/ ", " both "),
            (" DST --net", " made --net"),
            ("/tmp/try.db", "try.db"),
            // All alternatives of the paper's ledger are minutes.
            (
                "sensitivity experiments/corsmal --dataset data/corsmal ",
                "sensitivity experiments/corsmal --dataset data/corsmal --only A4 ",
            ),
            ("--only A4 --only A4,A11", "--only A4,A11"),
        ] {
            call = call.replace(from, to);
        }
        call.trim().to_string()
    }

    /// Runs a line of shell; gives its exit code and what it printed.
    fn shell(&self, line: &str) -> (Option<i32>, String, String) {
        let path = format!("{}:{}", self.place.path("bin").display(), std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new("sh");
        command
            .args(["-c", line])
            .current_dir(self.place.path(""))
            .env("PATH", path)
            .env("HOME", self.place.path("home"));
        let output = command.env_remove("UNMUTE_DB").env("NO_COLOR", "1").output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }

    /// What an example writes is not there yet, and what it reads is.
    fn make_room(&self, call: &str) {
        for made in [
            "made",
            "features",
            "mlruns",
            "tb",
            "progress.html",
            "data/corsmal-filled",
            "data/mine",
            "p.npy",
            "lstm.safetensors",
            "for-colleagues.db",
            "OUT.db",
        ] {
            if call.contains(made) && !call.contains(" stats ") {
                let path = self.place.path(made);
                let _ = std::fs::remove_dir_all(&path);
                let _ = std::fs::remove_file(&path);
            }
        }
    }
}

/// Verbs whose answer is what they print.
const ANSWERS: [&str; 9] = ["plan", "status", "ls", "show", "diff", "query", "claims", "predict", "doctor"];

/// Calls that need what not every machine has (videos, networks, a cluster, a GPU, other layouts than the source's), or do not end by
/// themselves.
fn is_run(call: &str) -> bool {
    let serves = call.starts_with("unmute watch") && !call.contains("--once");
    let lacking = [" i3d ", " crops ", "tuned", "--device"];
    let elsewhere = ["unmute extract ", "unmute slurm "];
    !serves && !elsewhere.iter().any(|v| call.starts_with(v)) && !lacking.iter().any(|word| call.contains(word))
}

#[test]
fn every_verb_has_an_example_and_every_example_runs() {
    let helps = helps();
    assert!(helps.len() > 25, "{:?}", helps.iter().map(|(verb, _)| verb).collect::<Vec<_>>());
    let world = World::new();
    let (mut seen, mut wrong) = (BTreeSet::new(), Vec::new());
    for (verb, help) in &helps {
        let examples = examples(help);
        assert!(!examples.is_empty(), "unmute {verb} --help has no example:\n{help}");
        for call in examples {
            if !call.starts_with("unmute ") {
                wrong.push(format!("unmute {verb} --help: an example that is none (broken over lines?): {call}"));
                continue;
            }
            if seen.insert(call.clone()) {
                wrong.extend(mistake(&world, &call));
            }
        }
    }
    assert!(seen.len() > 50, "{seen:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_call_in_the_readme_runs() {
    let world = World::new();
    let calls = readme();
    assert!(calls.len() > 25, "{calls:?}");
    let mut wrong = Vec::new();
    for call in calls {
        // A verb that is spoken of, and no call.
        let words: Vec<&str> = call.split_whitespace().collect();
        let spoken_of = words.len() == 2 && !["status", "verify", "doctor"].contains(&words[1])
            || words == ["unmute", "data", "import"];
        if !spoken_of {
            wrong.extend(mistake(&world, &call));
        }
    }
}

/// What is wrong with an example, if anything.
fn mistake(world: &World, call: &str) -> Option<String> {
    let filled = world.filled(call);
    world.make_room(&filled);
    if !is_run(&filled) {
        // Its flags are known, whatever it says of the files.
        let (_, _, said) = world.shell(&format!("timeout 10 {}", filled.split(" && ").next().unwrap()));
        let wrong = said.contains("Usage:") || said.contains("panicked");
        return wrong.then(|| format!("{filled}\n{said}"));
    }
    let (code, stdout, said) = world.shell(&filled);
    // A claim may fail on data that are made up.
    if code != Some(0) && !(code == Some(3) && filled.starts_with("unmute claims")) {
        return Some(format!("{call}\nas {filled}\nends with {code:?}\n{stdout}{said}"));
    }
    let verb = filled.split_whitespace().nth(1).unwrap();
    if let Some((_, file)) = filled.split_once(" > ") {
        let path = file.trim().replace('~', world.place.path("home").to_str().unwrap());
        let path = if path.starts_with('/') { path.into() } else { world.place.path(&path) };
        let written = std::fs::metadata(Path::new(&path)).is_ok_and(|m| m.len() > 20);
        return (!written).then(|| format!("{filled} writes nothing"));
    }
    let answers = ANSWERS.contains(&verb) && !filled.contains("--out") && !filled.contains("--where");
    let prints = stdout.lines().count() >= 2 || stdout.len() > 60;
    (answers && !prints).then(|| format!("{filled} prints nothing:\n{stdout}{said}"))
}
