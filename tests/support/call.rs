//! Calls of the real program: `place.call("plan experiment").stdout("all done").success()`.

use super::features::{Source, write_class_centres};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;
use unmute::store::{RunRecord, Store};

/// A folder of a test's own, in which the program is called.
pub struct Place {
    dir: TempDir,
    /// Threads of every call, where a test wants a certain number.
    threads: Option<usize>,
}

/// One call and what it should do. Ends with [`success`](Call::success) or [`fails`](Call::fails).
#[must_use = "end with success() or fails(CODE)"]
pub struct Call {
    command: Command,
    shown: String,
    stdout: Vec<String>,
    stderr: Vec<String>,
    absent: Vec<String>,
}

/// What a call said, and its exit code; none where a signal ended it.
pub struct Said {
    pub stdout: String,
    pub stderr: String,
    pub code: Option<i32>,
}

impl Place {
    /// An empty folder.
    pub fn new() -> Place {
        Place { dir: tempfile::tempdir().unwrap(), threads: None }
    }

    /// A data set in `data` and an experiment in `tiny` of 14 runs that train in about a second; `epochs` says how long
    /// generators train. Every call has two threads.
    pub fn tiny(epochs: usize) -> Place {
        let place = Place { threads: Some(2), ..Place::new() };
        write_class_centres(&place.path("features"));
        place.write(
            "tiny/experiment.yaml",
            &format!(
                "name: tiny\nseeds: [0, 1]\n\
                 grid: {{audio: [vggish], generator: [lstm, autoencoder], loss: [l2], classifier: [with, without]}}\n\
                 controls: [mean]\nmissing: {{rate: 0.4}}\ntrain: {{epochs: {epochs}, batch: 16}}\nlstm: {{hidden: 8}}\n\
                 autoencoder: {{encoder: [8, 4], decoder: [8]}}\nsvm: {{folds: 2}}\ntsn: {{epochs: 2, batch: 16}}\n"
            ),
        );
        place.call("data import features data --frames 4 --rows vggish=1").success();
        place
    }

    /// A folder with `features/`-style sources in `source`, imported to `data`.
    pub fn with_data(source: &Source) -> Place {
        let place = Place::new();
        source.write(&place.path("source"));
        place.call("data import source data --frames 3").success();
        place
    }

    /// With data and a small experiment that extends the paper's.
    pub fn with_experiment(source: &Source) -> Place {
        let place = Place::with_data(source);
        place.write("experiment/experiment.yaml", &small_experiment(""));
        place
    }

    /// A path in it.
    pub fn path(&self, relative: &str) -> PathBuf {
        self.dir.path().join(relative)
    }

    /// Writes a text file, and the folders it needs.
    pub fn write(&self, relative: &str, text: &str) {
        let path = self.path(relative);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Reads a text file.
    pub fn read(&self, relative: &str) -> String {
        std::fs::read_to_string(self.path(relative)).unwrap()
    }

    /// A call with these words as arguments.
    pub fn call(&self, words: &str) -> Call {
        self.args(&[]).words(words)
    }

    /// A call with these arguments, which may have blanks in them.
    pub fn args(&self, args: &[&str]) -> Call {
        let call = Call::new(self.dir.path());
        let call = self.threads.into_iter().fold(call, |call, n| call.env("RAYON_NUM_THREADS", &n.to_string()));
        args.iter().fold(call, |call, arg| call.arg(arg))
    }

    /// Trains the tiny experiment into a store.
    pub fn train(&self, db: &str) {
        self.call("run tiny --dataset data --db").arg(db).success();
    }

    /// Rows of a store, by `unmute query`.
    pub fn query(&self, db: &str, sql: &str) -> Vec<serde_json::Value> {
        let rows = self.args(&["query", sql, "--db", db, "--json"]).success().json();
        rows.as_array().expect("rows").clone()
    }

    /// Everything that determinism is about: scores, epochs and values of every run.
    pub fn numbers(&self, db: &str) -> Vec<serde_json::Value> {
        let mut all = self.query(db, "SELECT run_id, what, clips, classes, hash FROM score ORDER BY run_id, what");
        all.extend(self.query(db, "SELECT * FROM epoch ORDER BY run_id, epoch, split"));
        all.extend(self.query(db, "SELECT * FROM value ORDER BY run_id, name"));
        all
    }

    /// Changes a store behind the program's back.
    pub fn sql(&self, db: &str, statements: &str) {
        super::sqlite(&self.path(db), statements);
    }

    /// Copies a file.
    pub fn copy(&self, from: &str, to: &str) {
        std::fs::copy(self.path(from), self.path(to)).unwrap();
    }

    /// Opens a store as the library does.
    pub fn store(&self, relative: &str) -> Store {
        Store::open_to_read(&self.path(relative)).unwrap()
    }
}

/// Whether another user may call the program, who cannot where it lies in a closed folder.
pub fn may_call(user: u32) -> bool {
    use std::os::unix::process::CommandExt;
    let mut command = Command::new(env!("CARGO_BIN_EXE_unmute"));
    command.arg("--version").uid(user).output().is_ok_and(|o| o.status.success())
}

/// Every run of a store.
pub fn runs(store: &Store) -> Vec<RunRecord> {
    store.states().unwrap().keys().map(|id| store.run(id).unwrap().unwrap()).collect()
}

/// The paper's experiment at a size that trains in a moment, with `more` lines behind.
pub fn small_experiment(more: &str) -> String {
    let extends = super::root().join("experiments/icassp2019");
    format!(
        "extends: {}\nname: small\ndataset: ../data\nseeds: [0, 1]\nmissing: {{rate: 0.4, seed: 1}}\n\
         train: {{epochs: 2, batch: 8}}\nlstm: {{hidden: 8}}\nautoencoder: {{encoder: [8, 4], decoder: [8]}}\n\
         tsn: {{epochs: 3, batch: 8}}\n{more}",
        extends.display()
    )
}

impl Call {
    fn new(dir: &Path) -> Call {
        let mut command = Command::new(env!("CARGO_BIN_EXE_unmute"));
        command.current_dir(dir).env_remove("UNMUTE_DB").env_remove("RAYON_NUM_THREADS").env("NO_COLOR", "1");
        Call { command, shown: "unmute".into(), stdout: Vec::new(), stderr: Vec::new(), absent: Vec::new() }
    }

    /// More arguments, divided at blanks.
    pub fn words(self, words: &str) -> Call {
        words.split_whitespace().fold(self, |call, word| call.arg(word))
    }

    /// One more argument.
    pub fn arg(mut self, arg: &str) -> Call {
        self.command.arg(arg);
        self.shown += &format!(" {arg:?}");
        self
    }

    /// A variable of the environment.
    pub fn env(mut self, name: &str, value: &str) -> Call {
        self.command.env(name, value);
        self
    }

    /// Starts the program and leaves it to itself, with stdout and stderr as given.
    pub fn begin(mut self, stdout: Stdio, stderr: Stdio) -> Child {
        self.command.stdout(stdout).stderr(stderr).spawn().unwrap_or_else(|e| panic!("{}: {e}", self.shown))
    }

    /// Calls as another user of this machine; only root can.
    pub fn user(mut self, id: u32) -> Call {
        use std::os::unix::process::CommandExt;
        self.command.uid(id).gid(id);
        self
    }

    /// Stdout should contain this.
    pub fn stdout(mut self, text: &str) -> Call {
        self.stdout.push(text.into());
        self
    }

    /// Stderr should contain this.
    pub fn stderr(mut self, text: &str) -> Call {
        self.stderr.push(text.into());
        self
    }

    /// Neither should contain this.
    pub fn absent(mut self, text: &str) -> Call {
        self.absent.push(text.into());
        self
    }

    /// Calls; whether it fails, which it may, with a message.
    pub fn may_fail(mut self) -> bool {
        let output = self.command.output().unwrap_or_else(|e| panic!("{}: {e}", self.shown));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!said.contains("panicked"), "{}: {said}", self.shown);
        assert!(output.status.success() || said.contains("error:"), "{}: {said}", self.shown);
        !output.status.success()
    }

    /// Calls; the exit code should be 0.
    #[track_caller]
    pub fn success(self) -> Said {
        self.ends(0)
    }

    /// Calls; the exit code should be this one, with a message on stderr and nothing on stdout.
    #[track_caller]
    pub fn fails(self, code: i32) -> Said {
        assert_ne!(code, 0);
        let shown = self.shown.clone();
        let said = self.ends(code);
        assert!(said.stderr.contains("error:"), "{shown} should say `error: ...`:\n{}", said.stderr);
        assert_eq!(said.stdout, "", "{shown}: a failure prints no data");
        said
    }

    /// Calls; the exit code should be this one.
    #[track_caller]
    pub fn ends(self, code: i32) -> Said {
        let shown = self.shown.clone();
        let said = self.said();
        assert_eq!(said.code, Some(code), "exit code of {shown}\n{}", said.text());
        said
    }

    /// Calls; any exit code will do, but no panic.
    #[track_caller]
    pub fn said(mut self) -> Said {
        let output = self.command.output().unwrap_or_else(|e| panic!("{}: {e}", self.shown));
        let said = Said::of(output);
        let all = format!("{}\n--- stdout\n{}\n--- stderr\n{}", self.shown, said.stdout, said.stderr);
        for text in &self.stdout {
            assert!(said.stdout.contains(text), "stdout without {text:?}: {all}");
        }
        for text in &self.stderr {
            assert!(said.stderr.contains(text), "stderr without {text:?}: {all}");
        }
        for text in &self.absent {
            assert!(!said.stdout.contains(text) && !said.stderr.contains(text), "{text:?} in {all}");
        }
        said
    }
}

impl Said {
    /// Of a process that has ended; none of ours panics.
    #[track_caller]
    pub fn of(output: Output) -> Said {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("output is UTF-8");
        let said = Said { stdout: text(output.stdout), stderr: text(output.stderr), code: output.status.code() };
        assert!(!said.stderr.contains("panicked"), "a panic: {}", said.text());
        said
    }

    /// Stdout and stderr.
    pub fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// Stdout as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e} in {}", self.stdout))
    }
}
