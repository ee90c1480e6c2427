//! What keeping track of runs costs: each figure with its target, and beside it the same work in bare SQLite.
//!
//! `just bench store`. Bare SQLite is one connection, prepared statements, and one transaction for what one transaction is
//! here; where it is a program that starts, `true` and the bare query stand beside it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, Connection};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use unmute::dataset::{Dataset, View};
use unmute::runs::environment;
use unmute::store::{Claim, NewRun, RunResult, Store, Worker};
use unmute::train::{Epoch, Measures};

fn main() {
    let dir = tempfile::tempdir().unwrap();
    println!("{:<58} {:>12} {:>12}   {:>12}", "", "unmute", "target", "bare SQLite");
    let ours = Ours::new(dir.path());
    let mut bare = Bare::new(&dir.path().join("bare.db"));
    rows(&ours, &mut bare);
    runs(&ours, &mut bare);
    memory(&ours);
    drop(ours);
    listing(dir.path());
}

/// One line. `Less` and `More` say which way the target counts.
fn line(what: &str, ours: f64, target: (std::cmp::Ordering, f64), bare: f64, unit: &str) {
    let (way, target) = target;
    let sign = if way.is_lt() { "<=" } else { ">=" };
    let verdict = if ours.total_cmp(&target) == way.reverse() { "MISSED" } else { "" };
    let number = |x: f64| if x >= 1000.0 { format!("{:.0}", x) } else { format!("{x:.2}") };
    println!(
        "{what:<58} {:>12} {:>12}   {:>12}  {unit} {verdict}",
        number(ours),
        format!("{sign} {}", number(target)),
        number(bare)
    );
}

const LESS: std::cmp::Ordering = std::cmp::Ordering::Less;
const MORE: std::cmp::Ordering = std::cmp::Ordering::Greater;

/// Milliseconds of the middle one of some trials.
fn middle(trials: usize, mut work: impl FnMut(usize)) -> f64 {
    let mut times: Vec<Duration> = (0..trials)
        .map(|i| {
            let started = Instant::now();
            work(i);
            started.elapsed()
        })
        .collect();
    times.sort();
    times[trials / 2].as_secs_f64() * 1e3
}

/// A store through the library, as a worker uses it.
struct Ours {
    store: Store,
    worker: Worker,
    view_id: i64,
}

impl Ours {
    fn new(dir: &Path) -> Ours {
        let data = dir.join("data");
        let synth = ["data", "synth", data.to_str().unwrap(), "--train", "60", "--val", "40"];
        assert!(
            Command::new(env!("CARGO_BIN_EXE_unmute")).args(synth).stderr(Stdio::null()).status().unwrap().success()
        );
        let view = View::new(Arc::new(Dataset::open(&data).unwrap()), None).unwrap();
        let store = Store::open(&dir.join("ours.db")).unwrap();
        let dataset = store.put_dataset(&view.dataset).unwrap();
        let view_id = store.put_view(&view, dataset).unwrap();
        let worker = Worker {
            id: environment::worker_id(),
            machine: environment::machine(),
            host: environment::host(),
            pid: std::process::id(),
            command: "bench".into(),
            environment: environment::record(1, 1, "cpu").to_string(),
        };
        Ours { store, worker, view_id }
    }

    /// Begins and finishes a run, as a worker does.
    fn track(&self, name: &str, epochs: &[Epoch], values: usize) {
        let spec = serde_json::json!({ "part": { "kind": "generator" }, "name": name });
        let run = NewRun {
            id: name.into(),
            cell: name.into(),
            kind: "generator".into(),
            key: "vggish/lstm/l2/with".into(),
            seed: Some(1),
            view_id: self.view_id,
            spec,
        };
        assert_eq!(self.store.claim(&run, &self.worker, &|_| false).unwrap(), Claim::Ours(1));
        let values = (0..values).map(|i| (format!("value{i}"), i as f64)).collect();
        let result = RunResult { values, ..RunResult::default() };
        assert!(self.store.finish(name, &self.worker, epochs, &result, 1.0, None).unwrap());
    }
}

fn epochs(n: usize) -> Vec<Epoch> {
    let m = |i: usize| Measures {
        loss: 1.0 / (i + 1) as f64,
        loss_cls: 0.5,
        loss_rec: 0.25,
        accuracy: 33.3,
        feature_error: 0.9,
    };
    (1..=n).map(|epoch| Epoch { epoch, train: m(epoch), val: m(epoch) }).collect()
}

/// The same tables in bare SQLite.
struct Bare {
    runtime: tokio::runtime::Runtime,
    connection: SqliteConnection,
}

impl Bare {
    fn new(path: &Path) -> Bare {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full);
        let mut connection = runtime.block_on(SqliteConnection::connect_with(&options)).unwrap();
        let schema = "CREATE TABLE IF NOT EXISTS run (id TEXT PRIMARY KEY, state TEXT) STRICT;
            CREATE TABLE IF NOT EXISTS epoch (run_id TEXT, epoch INTEGER, split TEXT, loss REAL, loss_cls REAL, loss_rec REAL,
                accuracy REAL, feature_error REAL, PRIMARY KEY (run_id, epoch, split)) STRICT, WITHOUT ROWID;
            CREATE TABLE IF NOT EXISTS value (run_id TEXT, name TEXT, value REAL, PRIMARY KEY (run_id, name)) STRICT, WITHOUT ROWID;";
        runtime.block_on(sqlx::raw_sql(schema).execute(&mut connection)).unwrap();
        Bare { runtime, connection }
    }

    fn sql(&mut self, text: String) {
        self.runtime.block_on(sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut self.connection)).unwrap();
    }

    /// Rows made by SQLite itself, so that nothing but SQLite is measured.
    fn track(&mut self, name: &str, epochs: usize, values: usize) {
        self.sql(format!("INSERT INTO run VALUES ('{name}', 'running')"));
        self.sql(format!(
            "BEGIN IMMEDIATE;
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {epochs})
             INSERT INTO epoch SELECT '{name}', i, split, 1.0 / i, 0.5, 0.25, 33.3, 0.9 FROM n, (SELECT 'train' AS split UNION SELECT 'val');
             WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {values})
             INSERT INTO value SELECT '{name}', 'value' || i, i FROM n;
             UPDATE run SET state = 'done' WHERE id = '{name}';
             COMMIT"
        ));
    }

    /// The rows of a statement, read to the end.
    fn rows(&mut self, sql: &str) -> usize {
        self.runtime
            .block_on(sqlx::query(AssertSqlSafe(sql.to_string())).fetch_all(&mut self.connection))
            .unwrap()
            .len()
    }
}

fn rows(ours: &Ours, bare: &mut Bare) {
    const N: usize = 20_000;
    let epochs = epochs(N / 2);
    let a = middle(5, |i| ours.track(&format!("rows{i}"), &epochs, 0));
    let b = middle(5, |i| bare.track(&format!("rows{i}"), N / 2, 0));
    let rate = |ms: f64| N as f64 / (ms / 1e3);
    line("rows of 5 numbers, durable at the run's end", rate(a), (MORE, 20_000.0), rate(b), "rows/s");
    let a = middle(5, |i| ours.track(&format!("values{i}"), &[], N));
    let b = middle(5, |i| bare.track(&format!("values{i}"), 0, N));
    line("numbers about a run, durable at its end", rate(a), (MORE, 20_000.0), rate(b), "rows/s");
}

fn runs(ours: &Ours, bare: &mut Bare) {
    let epochs = epochs(30);
    let a = middle(200, |i| ours.track(&format!("run{i}"), &epochs, 20));
    let b = middle(200, |i| bare.track(&format!("run{i}"), 30, 20));
    line("tracking of a run of 30 epochs and 20 numbers", a, (LESS, 5.0), b, "ms");
}

/// Resident memory, MiB.
fn resident() -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|k| k.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1024.0
}

fn memory(ours: &Ours) {
    let epochs = epochs(30);
    let track = |from: usize, to: usize| (from..to).for_each(|i| ours.track(&format!("memory{i}"), &epochs, 20));
    track(0, 500);
    let before = resident();
    track(500, 3000);
    line("memory taken by 2,500 further runs", resident() - before, (LESS, 4.0), 0.0, "MiB");
}

fn started(args: &[&str], dir: &Path) -> f64 {
    let program = env!("CARGO_BIN_EXE_unmute");
    let program = if args[0] == "true" { "true" } else { program };
    middle(21, |_| {
        let mut command = Command::new(program);
        command.args(args).current_dir(dir).stdout(Stdio::null()).stderr(Stdio::null());
        assert!(command.status().unwrap().success(), "{args:?}");
    })
}

fn listing(dir: &Path) {
    let nothing = started(&["true"], dir);
    line("unmute --version", started(&["--version"], dir), (LESS, 50.0), nothing, "ms  (beside it: true)");
    let newest = "SELECT run.*, (SELECT value FROM value WHERE run_id = id AND name = 'top1') FROM run
        ORDER BY created_at DESC, rowid DESC LIMIT 100";
    let best = "SELECT run.* FROM value JOIN run ON run.id = run_id WHERE name = 'top1' ORDER BY value DESC LIMIT 100";
    for (runs, file, most) in [(20, "small.db", 50.0), (10_000, "large.db", 150.0)] {
        many(&dir.join(file), runs);
        let mut bare = Bare::new(&dir.join(file));
        let mut ask = |sql: &str| middle(21, |_| assert!(bare.rows(sql) > 0));
        let ls = |more: &[&str]| started(&[&["ls", "--db", file], more].concat(), dir);
        let name = |what: &str| format!("unmute {what}, {runs} runs of 100 numbers");
        line(&name("ls"), ls(&[]), (LESS, most), ask(newest), "ms");
        line(&name("ls --sort -top1"), ls(&["--sort", "-top1"]), (LESS, most), ask(best), "ms");
        line(&name("ls --sort -top1 --json"), ls(&["--sort", "-top1", "--json"]), (LESS, most), ask(best), "ms");
        line(&name("ls --where 'lr>=0.02'"), ls(&["--where", "train.lr>=0.02"]), (LESS, most), ask(newest), "ms");
    }
}

/// A store of so many runs, each with a hundred numbers.
fn many(path: &Path, runs: usize) {
    drop(Store::open(path).unwrap());
    let mut bare = Bare::new(path);
    // As long as a generator's.
    let spec = r#"{"autoencoder":{"decoder":[512],"encoder":[512,256],"test_frame":"centre"},"code":"0123456789abcdef",
        "data":"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef","match_generated":"none",
        "part":{"audio":"vggish","classifier":"with","generator":"autoencoder","kind":"generator","loss":"l2"},
        "svm":{"c":1.0,"folds":3,"probability":"platt","scale":"standardised","tolerance":1e-6,"train_on":"real"},
        "train":{"batch":128,"beta1":0.9,"beta2":0.999,"epochs":30,"eps":1e-8,"l2":"mean","lr":LR,"target":"standardised",
        "w_cls":1.0,"w_rec":1.0}}"#;
    let spec: String = spec.lines().map(str::trim).collect();
    bare.sql(format!(
        "BEGIN;
         INSERT INTO dataset VALUES (1, 'd', 'bench', 'synthetic', '{{}}', '{{}}', '2026');
         INSERT INTO view (id, fingerprint, dataset_id, counts, val, created_at) VALUES (1, 'v', 1, '{{}}', x'00', '2026');
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {runs})
         INSERT INTO run (id, cell, kind, key, seed, view_id, spec, state, attempt, created_at, seconds)
             SELECT lower(hex(randomblob(16))), 'c', 'generator', 'vggish/autoencoder/l2/with', i, 1,
                 replace('{spec}', 'LR', (i % 100) / 1000.0), 'done', 1, printf('2026-01-01T%08d', i), i FROM n;
         WITH RECURSIVE v (j) AS (SELECT 0 UNION ALL SELECT j + 1 FROM v WHERE j < 99)
         INSERT INTO value SELECT id, CASE j WHEN 0 THEN 'top1' ELSE 'value' || j END, abs(random() % 100000) / 1000.0 FROM run, v;
         COMMIT; PRAGMA wal_checkpoint(TRUNCATE)"
    ));
}
