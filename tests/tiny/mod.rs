//! A data set and an experiment that train in a second, and the program to run on them.

#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// A temporary folder with a data set in `data` and an experiment in `tiny`.
pub struct Tiny {
    dir: tempfile::TempDir,
}

impl Tiny {
    /// Imports the data set. `epochs` says how long generators train.
    pub fn new(epochs: usize) -> Tiny {
        let tiny = Tiny { dir: tempfile::tempdir().unwrap() };
        write_features(&tiny.path("features"));
        std::fs::create_dir(tiny.path("tiny")).unwrap();
        let yaml = format!(
            "name: tiny
seeds: [0, 1]
grid: {{audio: [vggish], generator: [lstm, autoencoder], loss: [l2], classifier: [with, without]}}
controls: [mean]
missing: {{rate: 0.4}}
train: {{epochs: {epochs}, batch: 16}}
lstm: {{hidden: 8}}
autoencoder: {{encoder: [8, 4], decoder: [8]}}
svm: {{folds: 2}}
tsn: {{epochs: 2, batch: 16}}
"
        );
        std::fs::write(tiny.path("tiny/experiment.yaml"), yaml).unwrap();
        let import = tiny.run(&["data", "import", "features", "data", "--frames", "4", "--rows", "vggish=1"]);
        assert!(import.status.success(), "{}", text(&import));
        tiny
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The program, to be run in the folder.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_unmute"));
        command.args(args).current_dir(self.dir.path()).env_remove("UNMUTE_DB").env("NO_COLOR", "1");
        command.env("RAYON_NUM_THREADS", "2");
        command
    }

    /// Runs the program to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs the program; it must end with this exit code. Gives stdout.
    pub fn expect(&self, code: i32, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(code), "unmute {}\n{}", args.join(" "), text(&output));
        assert!(!text(&output).contains("panicked"), "{}", text(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Trains the experiment into a store; it must succeed.
    pub fn train(&self, db: &str) {
        self.expect(0, &["run", "tiny", "--dataset", "data", "--db", db]);
    }

    /// Begins to train the experiment into a store; what it says goes to `DB.stderr`.
    pub fn begin(&self, db: &str) -> Child {
        let args = ["run", "tiny", "--dataset", "data", "--db", db, "--checkpoint-every", "0"];
        let said = std::fs::File::create(self.path(&format!("{db}.stderr"))).unwrap();
        self.command(&args).stdout(Stdio::null()).stderr(said).spawn().unwrap()
    }

    /// Rows of a store, by `unmute query`.
    pub fn query(&self, db: &str, sql: &str) -> Vec<serde_json::Value> {
        let out = self.expect(0, &["query", sql, "--db", db, "--json"]);
        serde_json::from_str::<Vec<serde_json::Value>>(&out).unwrap()
    }

    /// Everything that determinism is about: scores and epochs of every run.
    pub fn numbers(&self, db: &str) -> Vec<serde_json::Value> {
        let mut all = self.query(db, "SELECT run_id, what, clips, classes, hash FROM score ORDER BY run_id, what");
        all.extend(self.query(db, "SELECT * FROM epoch ORDER BY run_id, epoch, split"));
        all.extend(self.query(db, "SELECT * FROM value ORDER BY run_id, name"));
        all
    }

    /// Changes a store behind the program's back.
    pub fn sql(&self, db: &str, statements: &str) {
        sqlite(&self.path(db), statements);
    }

    /// Copies a store.
    pub fn copy(&self, from: &str, to: &str) {
        std::fs::copy(self.path(from), self.path(to)).unwrap();
    }
}

/// Changes a database behind the program's back.
pub fn sqlite(path: &Path, statements: &str) {
    use sqlx::Connection;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path).foreign_keys(false);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
        let sql = sqlx::AssertSqlSafe(statements.to_string());
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    });
}

/// Stdout and stderr.
pub fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A stream of numbers that is the same everywhere (SplitMix64).
pub struct Random(pub u64);

impl Random {
    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 to below 1.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// 4 classes, 96 clips, two streams and one audio feature around class centres.
fn write_features(dir: &Path) {
    std::fs::create_dir_all(dir.join("features")).unwrap();
    let mut random = Random(1);
    let mut csv = String::from("clip,label,split\n");
    for i in 0..96usize {
        let class = i % 4;
        csv += &format!("c{i:03},class{class},{}\n", if i < 64 { "train" } else { "val" });
        for (name, rows, width) in [("rgb", 4, 6), ("flow", 4, 4), ("vggish", 1, 5)] {
            let values: Vec<f32> = (0..rows * width)
                .map(|j| {
                    let centre = if (j % width) % 4 == class { 1.0 } else { 0.0 };
                    (centre + 0.7 * (random.unit() - 0.5)) as f32
                })
                .collect();
            write_npy(&dir.join(format!("features/c{i:03}_{name}.npy")), rows, width, &values);
        }
    }
    std::fs::write(dir.join("clips.csv"), csv).unwrap();
}

fn write_npy(path: &Path, rows: usize, width: usize, values: &[f32]) {
    let mut header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {width}), }}");
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    std::fs::write(path, bytes).unwrap();
}
