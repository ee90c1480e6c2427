//! Runs that are trained side by side: the numbers of each alone, whatever ends one of them or all. The CPU's cells take
//! turns, which the scheduling does not know.

use crate::support::call::{Place, Said};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use unmute::dataset::Dataset;
use unmute::device::Which;
use unmute::experiment::Experiment;
use unmute::experiment::config::Keep;
use unmute::runs::{Event, Options, Plan, Stop, Summary, run_all};
use unmute::store::{RunRecord, State, Store};

const GRID: &str = "grid.loss=[l2, kl]";

/// A folder with the experiment, and the plan of it.
struct Bench {
    tiny: Place,
    plan: Plan,
}

/// What a call of [`Bench::run`] came to.
struct Came {
    summary: Summary,
    events: Vec<Event>,
}

impl Came {
    /// Sizes of the groups that began, in order.
    fn groups(&self) -> Vec<usize> {
        let size = |e: &Event| if let Event::Together { runs, .. } = e { Some(runs.len()) } else { None };
        self.events.iter().filter_map(size).collect()
    }
}

impl Bench {
    fn new(epochs: usize, sets: &[&str]) -> Bench {
        let tiny = Place::tiny(epochs);
        let plan = plan(&tiny, sets);
        Bench { tiny, plan }
    }

    fn options(&self, cells: usize) -> Options {
        let forever = Duration::from_secs(3600);
        Options {
            workers: 1,
            cells: Some(cells),
            threads: 2,
            fail_fast: false,
            retries: 0,
            checkpoint_every: forever,
            keep: Keep::Best,
            ..Options::default()
        }
    }

    fn run(&self, db: &str, options: &Options, interrupt: &Stop, watch: &(dyn Fn(&Event) + Sync)) -> Came {
        let store = Store::open(&self.tiny.path(db)).unwrap();
        let events = Mutex::new(Vec::new());
        let listen = |event: Event| {
            events.lock().unwrap().push(event.clone());
            watch(&event);
        };
        let summary = run_all(Which::Cpu, &store, &self.plan, options, "test", interrupt, &listen).unwrap();
        Came { summary, events: events.into_inner().unwrap() }
    }

    /// Runs undisturbed.
    fn simply(&self, db: &str, cells: usize) -> Came {
        self.run(db, &self.options(cells), &Stop::new(), &|_| ())
    }

    fn runs(&self, db: &str) -> Vec<RunRecord> {
        let store = Store::open_to_read(&self.tiny.path(db)).unwrap();
        store.states().unwrap().keys().map(|id| store.run(id).unwrap().unwrap()).collect()
    }

    fn same_numbers(&self, db: &str, other: &str) {
        assert!(self.tiny.numbers(db) == self.tiny.numbers(other), "{db} has other numbers than {other}");
        self.tiny.args(&["verify", "--db", db]).success();
    }
}

fn plan(tiny: &Place, sets: &[&str]) -> Plan {
    let sets: Vec<String> = sets.iter().map(|s| s.to_string()).collect();
    let experiment = Experiment::load(&tiny.path("tiny"), &sets).unwrap();
    let dataset = Arc::new(Dataset::open(&tiny.path("data")).unwrap());
    Plan::new(&experiment, dataset, &experiment.config.seeds).unwrap()
}

fn steps(event: &Event) -> Option<(&str, usize)> {
    if let Event::Step { name, done, .. } = event { Some((name, *done)) } else { None }
}

#[test]
fn generators_trained_in_groups_have_the_numbers_that_they_have_alone() {
    let bench = Bench::new(3, &[GRID]);
    let alone = bench.simply("alone.db", 1);
    assert_eq!(alone.groups(), [0; 0]);
    let came = bench.simply("threes.db", 3);
    // Two architectures of four cells, two seeds: three and one each.
    assert_eq!(came.groups(), [3; 4]);
    assert_eq!((came.summary.finished, came.summary.failed), (alone.summary.finished, 0));
    let fours = bench.run("fours.db", &Options { workers: 2, ..bench.options(100) }, &Stop::new(), &|_| ());
    assert_eq!(fours.groups(), [4; 4]);
    for db in ["threes.db", "fours.db"] {
        bench.same_numbers(db, "alone.db");
    }
    // Shown as one, from 0 to the end; every run is told of by itself as well.
    let Some(Event::Together { name, runs }) = fours.events.iter().find(|e| matches!(e, Event::Together { .. })) else {
        panic!("no group");
    };
    assert!(name.starts_with("4 cells (") && name.contains(", seed "), "{name}");
    let shown: Vec<usize> = fours.events.iter().filter_map(steps).filter(|s| s.0 == name).map(|s| s.1).collect();
    assert!(shown.windows(2).all(|pair| pair[0] < pair[1]) && shown[0] == 0, "{shown:?}");
    for run in runs {
        let told = |e: &&Event| e.name() == run;
        let of: Vec<&Event> = fours.events.iter().filter(told).collect();
        assert!(matches!(of[..], [Event::Started { .. }, Event::Finished { .. }]), "{of:?}");
    }
}

#[test]
fn seconds_of_a_group_are_shared_among_its_runs() {
    let bench = Bench::new(60, &["grid.loss=[l2, kl]", "seeds=[0]", "controls=[]"]);
    let started = std::time::Instant::now();
    let came = bench.simply("r.db", 4);
    let all = started.elapsed().as_secs_f64();
    assert_eq!(came.groups(), [4, 4]);
    let seconds: Vec<f64> = bench.runs("r.db").iter().map(|run| run.seconds.unwrap()).collect();
    assert!(seconds.iter().all(|s| *s > 0.0), "{seconds:?}: each has its share");
    // Not how fast it is, but that a second is counted once: eight runs that counted all of their groups' would be far above.
    let sum: f64 = seconds.iter().sum();
    assert!(sum <= all, "{sum} of {all}");
}

#[test]
fn a_cell_that_diverges_fails_alone_and_is_tried_again_alone() {
    // Only cells with a classifier know of its weight.
    let sets = ["grid.train.w_cls=[1, 1e30]", "grid.generator=[lstm]", "seeds=[0]"];
    let bench = Bench::new(3, &sets);
    let alone = bench.simply("alone.db", 1);
    assert_eq!((alone.summary.failed, alone.groups()), (1, vec![]));
    let options = Options { retries: 1, ..bench.options(3) };
    let came = bench.run("together.db", &options, &Stop::new(), &|_| ());
    assert_eq!((came.summary.failed, came.groups()), (1, vec![3]));
    assert_eq!(came.summary.finished, alone.summary.finished);
    bench.same_numbers("together.db", "alone.db");
    let failed: Vec<RunRecord> = bench.runs("together.db").into_iter().filter(|r| r.state == State::Failed).collect();
    assert_eq!((failed.len(), failed[0].attempt), (1, 2));
    assert!(failed[0].error.as_ref().unwrap().contains("training diverged"), "{:?}", failed[0].error);
    let done = bench.runs("together.db").into_iter().filter(|r| r.state == State::Done);
    assert!(done.into_iter().all(|r| r.attempt == 1), "the others were done once");
    let retried = came.events.iter().filter(|e| matches!(e, Event::Retried { .. })).count();
    assert_eq!(retried, 1);
}

#[test]
fn what_is_done_or_has_a_checkpoint_of_another_epoch_is_not_trained_with_the_rest() {
    let bench = Bench::new(40, &[GRID, "grid.generator=[lstm]", "seeds=[0]"]);
    bench.simply("alone.db", 1);
    // One of the four is done.
    let part =
        Bench { plan: plan(&bench.tiny, &["grid.generator=[lstm]", "grid.classifier=[with]", "seeds=[0]"]), ..bench };
    part.simply("r.db", 1);
    let bench = Bench { plan: plan(&part.tiny, &[GRID, "grid.generator=[lstm]", "seeds=[0]"]), ..part };
    // Three are interrupted, with states after every epoch.
    let interrupt = Stop::new();
    let options = Options { checkpoint_every: Duration::ZERO, ..bench.options(4) };
    let stop_late = |event: &Event| {
        if steps(event).is_some_and(|(name, done)| name.starts_with("3 cells") && done > 50) {
            interrupt.ask(Duration::ZERO);
        }
    };
    let came = bench.run("r.db", &options, &interrupt, &stop_late);
    assert_eq!((came.summary.interrupted, came.groups()), (true, vec![3]));
    let stopped: Vec<RunRecord> = bench.runs("r.db").into_iter().filter(|r| r.state == State::Interrupted).collect();
    assert_eq!(stopped.len(), 3);
    let states = bench.tiny.path("r.db.checkpoints");
    let epochs: BTreeSet<Option<usize>> = std::fs::read_dir(&states)
        .unwrap()
        .map(|file| unmute::runs::checkpoint::epoch(&file.unwrap().path()))
        .collect();
    assert!(
        epochs.len() == 1 && epochs.first().unwrap().is_some_and(|n| n > 5),
        "all after the same epoch: {epochs:?}"
    );
    // One of them has lost its state, so it begins anew by itself; the two go on together.
    std::fs::remove_file(states.join(format!("{}.safetensors", stopped[1].id))).unwrap();
    let came = bench.run("r.db", &options, &Stop::new(), &|_| ());
    assert_eq!((came.summary.interrupted, came.groups()), (false, vec![2]));
    let begins: BTreeMap<&str, usize> =
        came.events.iter().filter_map(steps).fold(BTreeMap::new(), |mut all, (name, at)| {
            all.entry(name).or_insert(at);
            all
        });
    assert!(begins.iter().any(|(name, at)| name.starts_with("2 cells") && *at > 0), "{begins:?}");
    assert!(begins.iter().any(|(name, at)| name.starts_with("vggish/lstm") && *at == 0), "{begins:?}");
    bench.same_numbers("r.db", "alone.db");
    assert!(bench.runs("r.db").iter().all(|r| r.attempt <= 2));
    assert_eq!(std::fs::read_dir(&states).unwrap().count(), 0, "nothing is left behind");
}

#[test]
fn a_state_that_is_not_whole_leaves_its_run_behind_the_others() {
    let bench = Bench::new(40, &["grid.generator=[autoencoder]", "seeds=[0]"]);
    bench.simply("alone.db", 1);
    let interrupt = Stop::new();
    let options = Options { checkpoint_every: Duration::ZERO, ..bench.options(2) };
    let stop = |event: &Event| {
        if steps(event).is_some_and(|(name, done)| name.starts_with("2 cells") && done > 50) {
            interrupt.ask(Duration::ZERO);
        }
    };
    assert!(bench.run("r.db", &options, &interrupt, &stop).summary.interrupted);
    // The head still says the epoch; the numbers are spoilt.
    let state = std::fs::read_dir(bench.tiny.path("r.db.checkpoints")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&state).unwrap();
    let last = bytes.len() - 40;
    bytes[last] ^= 1;
    std::fs::write(&state, bytes).unwrap();
    let came = bench.run("r.db", &options, &Stop::new(), &|_| ());
    assert_eq!((came.summary.failed, came.groups()), (0, vec![]), "each by itself");
    bench.same_numbers("r.db", "alone.db");
}

#[test]
fn a_group_that_fails_as_a_whole_is_tried_again_in_halves() {
    let bench = Bench::new(3, &[GRID, "grid.generator=[lstm]", "seeds=[0]"]);
    bench.simply("alone.db", 1);
    // A bug in whoever shows the progress of four, and of two.
    let buggy = |event: &Event| {
        if steps(event).is_some_and(|(name, done)| !name.starts_with("vggish") && name.contains("cells") && done > 3) {
            panic!("met on purpose");
        }
    };
    let came = bench.run("r.db", &bench.options(4), &Stop::new(), &buggy);
    assert_eq!(came.groups(), [4, 2, 2]);
    let divided = came.events.iter().filter(|e| matches!(e, Event::Divided { .. })).count();
    assert_eq!((divided, came.summary.failed), (3, 0));
    bench.same_numbers("r.db", "alone.db");
    assert!(bench.runs("r.db").iter().all(|r| r.attempt == 1), "one claim, whatever the size");
    // One that fails even alone says why, and the others are done.
    let one = AtomicUsize::new(0);
    let buggy = |event: &Event| {
        if steps(event).is_some_and(|(name, done)| (name.contains("cells") || name.contains("/kl/with ")) && done > 3) {
            one.fetch_add(1, Ordering::Relaxed);
            panic!("met on purpose");
        }
    };
    let came = bench.run("s.db", &bench.options(4), &Stop::new(), &buggy);
    assert_eq!((came.summary.failed, one.load(Ordering::Relaxed)), (1, 4));
    let failed: Vec<RunRecord> = bench.runs("s.db").into_iter().filter(|r| r.state == State::Failed).collect();
    assert!(failed.len() == 1 && failed[0].key == "vggish/lstm/kl/with", "{failed:?}");
    assert!(failed[0].error.as_ref().unwrap().contains("met on purpose"));
}

const ARGS: [&str; 9] = ["run", "tiny", "--dataset", "data", "--set", GRID, "--cells", "3", "--db"];

#[test]
fn processes_that_are_killed_in_the_middle_of_groups_lose_nothing() {
    let tiny = Place::tiny(100);
    tiny.args(&["run", "tiny", "--dataset", "data", "--set", GRID, "--db", "alone.db"]).success();
    for kill in 0..3 {
        let call = tiny.args(&[&ARGS[..], &["killed.db", "--workers", "1", "--checkpoint-every", "0"]].concat());
        let mut child = call.begin(Stdio::null(), Stdio::null());
        // Several states of a group are there.
        let folder = tiny.path("killed.db.checkpoints");
        while std::fs::read_dir(&folder).map_or(0, Iterator::count) < 2 {
            assert!(child.try_wait().unwrap().is_none(), "ended early");
            std::thread::sleep(Duration::from_millis(2));
        }
        std::thread::sleep(Duration::from_millis(40 * kill));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let running = tiny.query("killed.db", "SELECT id FROM run WHERE state = 'running'");
    assert!(running.len() > 1, "a whole group was at work: {}", running.len());
    // Two processes do the rest, and share it.
    let both: Vec<_> =
        (0..2).map(|_| tiny.args(&[&ARGS[..], &["killed.db"]].concat()).begin(Stdio::null(), Stdio::piped())).collect();
    for child in both {
        let said = Said::of(child.wait_with_output().unwrap());
        assert_eq!(said.code, Some(0), "{}", said.text());
    }
    assert!(tiny.query("killed.db", "SELECT id FROM run WHERE state != 'done'").is_empty());
    assert!(tiny.numbers("killed.db") == tiny.numbers("alone.db"), "other numbers than alone");
    tiny.call("verify --db killed.db").success();
}

#[test]
fn plan_tells_the_groups() {
    let tiny = Place::tiny(2);
    let args = ["plan", "tiny", "--dataset", "data", "--set", GRID, "--db", "r.db"];
    let json = |more: &[&str]| -> serde_json::Value {
        serde_json::from_str(&tiny.args(&[&args[..], more, &["--json"]].concat()).success().stdout).unwrap()
    };
    let cpu = json(&[]);
    assert_eq!((&cpu["device"], cpu["side_by_side"].as_array().map(Vec::len)), (&"cpu".into(), Some(0)));
    assert!(cpu["seconds"].as_f64().unwrap() > 0.0);
    let groups = json(&["--cells", "3"])["side_by_side"].clone();
    assert_eq!(groups.as_array().unwrap().len(), 4);
    assert_eq!(groups[0]["runs"].as_array().unwrap().len(), 3);
    assert!(groups[0]["name"].as_str().unwrap().starts_with("3 cells ("), "{groups}");
    let told = tiny.args(&[&args[..], &["--cells", "3"]].concat()).success().stdout;
    assert!(told.contains("side by side: 4 x 3 cells (in turns)\n"), "{told}");
    assert!(!tiny.args(&args).success().stdout.contains("side by side"));
    let refused = tiny.args(&[&args[..], &["--cells", "0"]].concat()).said();
    assert!(refused.code == Some(2) && refused.text().contains("--cells 0"), "{}", refused.text());
}
