//! Calls of the real program: `place.call("plan experiment").stdout("all done").success()`.

use super::features::Source;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;
use unmute::store::{RunRecord, Store};

/// A folder of a test's own, in which the program is called.
pub struct Place {
    dir: TempDir,
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

/// What a call said.
pub struct Said {
    pub stdout: String,
    pub stderr: String,
}

impl Place {
    /// An empty folder.
    pub fn new() -> Place {
        Place { dir: tempfile::tempdir().unwrap() }
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
        Call::new(self.dir.path()).words(words)
    }

    /// Opens a store as the library does.
    pub fn store(&self, relative: &str) -> Store {
        Store::open_to_read(&self.path(relative)).unwrap()
    }
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

    #[track_caller]
    pub fn ends(mut self, code: i32) -> Said {
        let output = self.command.output().unwrap_or_else(|e| panic!("{}: {e}", self.shown));
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("output is UTF-8");
        let said = Said { stdout: text(output.stdout), stderr: text(output.stderr) };
        let all = format!("{}\n--- stdout\n{}\n--- stderr\n{}", self.shown, said.stdout, said.stderr);
        assert!(!said.stderr.contains("panicked"), "a panic: {all}");
        assert_eq!(output.status.code(), Some(code), "exit code of {all}");
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
    /// Stdout as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e} in {}", self.stdout))
    }
}
