//! The program with `--device cuda` beside `--device cpu`: the whole grid on a small synthetic data set, every number of its
//! tables. On a GPU (`just test-cuda`), or on the stand-in for one (`stand_in.rs`), which also counts what was asked of it.

use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;

/// A data set of so many clips, and the program run on it.
pub struct Study {
    dir: tempfile::TempDir,
}

/// Of losses and feature errors, relative to the larger of both numbers and 1.
const TOLERANCE: f64 = 1e-3;
/// Of shares of clips, in percent: some clips of 200 have two classes with nearly the same score.
const CLIPS: f64 = 1.5;

impl Study {
    /// With 300 train and 200 val clips.
    pub fn new() -> Study {
        let study = Study { dir: tempfile::tempdir().unwrap() };
        study.program(&["data", "synth", "data", "--preset", "mini", "--train", "300", "--val", "200", "--sounded"]);
        study
    }

    /// A file of the study.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs the program to its end; whether it was a good one, and what it says.
    pub fn call(&self, args: &[&str], env: &[(&str, &str)]) -> (bool, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_unmute"));
        command.args(args).current_dir(self.dir.path()).env_remove("UNMUTE_DB").env("NO_COLOR", "1");
        let output = command.envs(env.iter().copied()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(!err.contains("panicked"), "unmute {}\n{out}{err}", args.join(" "));
        (output.status.success(), out, err)
    }

    /// The same, where only a good end will do.
    fn program(&self, args: &[&str]) -> String {
        let (good, out, err) = self.call(args, &[]);
        assert!(good, "unmute {}\n{out}{err}", args.join(" "));
        out
    }

    /// Trains the paper's grid on a device, with narrow networks and `more` settings; the counts of the stand-in, if it is there.
    fn train(&self, device: &str, db: &str, more: &[&str]) -> Option<Value> {
        let (good, said, counts) = self.grid(device, db, more, &[]);
        assert!(good, "{said}");
        counts
    }

    /// Whether it ended well, what it said, and the counts.
    pub fn grid(&self, device: &str, db: &str, more: &[&str], env: &[(&str, &str)]) -> (bool, String, Option<Value>) {
        let experiment = crate::support::root().join("experiments/icassp2019");
        let mut args = vec!["run", experiment.to_str().unwrap(), "--dataset", "data", "--db", db, "--device", device];
        args.extend(["--seeds", "0", "--workers", "1"]);
        let narrow = ["lstm.hidden=16", "autoencoder.encoder=[24, 12]", "autoencoder.decoder=[24]", "train.batch=64"];
        let rest = ["train.epochs=2", "tsn.epochs=2", "missing.rate=0.4"];
        for setting in narrow.iter().chain(&rest).chain(more) {
            args.extend(["--set", setting]);
        }
        let counts = self.dir.path().join(format!("{db}.counts"));
        let env = [&[("UNMUTE_STAND_IN_COUNTS", counts.to_str().unwrap())], env].concat();
        let (good, out, err) = self.call(&args, &env);
        let counts = std::fs::read_to_string(counts).ok();
        (good, out + &err, counts.map(|counts| serde_json::from_str(&counts).unwrap()))
    }

    pub fn query(&self, db: &str, sql: &str) -> Vec<Value> {
        serde_json::from_str(&self.program(&["query", sql, "--db", db, "--json"])).unwrap()
    }
}

#[test]
#[ignore = "needs a GPU: just test-cuda, or its stand-in: stand_in.rs"]
fn the_tables_are_the_cpus() {
    let study = Study::new();
    study.train("cpu", "cpu.db", &[]);
    if let Some(counts) = study.train("cuda", "cuda.db", &[]) {
        eprintln!("{counts}");
        assert_eq!(counts["faults"], 0);
        assert!(counts["launches"].as_u64().unwrap() > 0 && counts["products"].as_u64().unwrap() > 0);
    }
    let values = "SELECT kind, key, name, value FROM run JOIN value ON run.id = run_id ORDER BY 1, 2, 3";
    let epochs = "SELECT key, epoch, split, loss, loss_cls, loss_rec, accuracy, feature_error FROM run \
                  JOIN epoch ON run.id = run_id ORDER BY 1, 2, 3";
    for (sql, least) in [(values, 100), (epochs, 64)] {
        let (ours, cpu) = (study.query("cuda.db", sql), study.query("cpu.db", sql));
        assert!(ours.len() == cpu.len() && cpu.len() >= least, "{} rows and {}", ours.len(), cpu.len());
        for (ours, cpu) in ours.iter().zip(&cpu) {
            for (column, want) in cpu.as_object().unwrap() {
                let Some(want) = want.as_f64() else {
                    assert_eq!(ours[column], cpu[column]);
                    continue;
                };
                let got = ours[column].as_f64().unwrap_or_else(|| panic!("{column} of {cpu}: {}", ours[column]));
                let name = cpu["name"].as_str().unwrap_or(column);
                // How a bank was solved is the solver's own.
                if cpu["kind"] == "bank" && name != "top1" && name != "top5" {
                    continue;
                }
                let share = name.starts_with("top") || name == "accuracy";
                let allowed = if share { CLIPS } else { TOLERANCE * want.abs().max(got.abs()).max(1.0) };
                assert!((got - want).abs() <= allowed, "{column} of {cpu}: {got}");
            }
        }
    }
    // The report is made of either store.
    let experiment = crate::support::root().join("experiments/icassp2019");
    study.program(&["report", experiment.to_str().unwrap(), "--db", "cuda.db", "--out", "report"]);
}

#[test]
#[ignore = "needs the stand-in for a GPU: stand_in.rs"]
fn what_does_not_fit_gives_way_and_the_losses_stay() {
    /// What a context of the stand-in takes.
    const CONTEXT: u64 = 300 << 20;
    let study = Study::new();
    let few = ["grid.audio=[vggish]", "controls=[]", "train.epochs=1", "svm.folds=2"];
    // A real driver's memory is what it is.
    if crate::support::require::found("stand-in", study.train("cuda", "all.db", &few)).is_none() {
        return;
    }
    let losses = |db: &str| {
        let sql = "SELECT key, split, loss FROM run JOIN epoch ON run.id = run_id ORDER BY 1, 2";
        study.query(db, sql)
    };
    let want = losses("all.db");
    assert!(want.len() >= 16, "{} losses", want.len());
    // Bytes that are left when kernels are loaded, and how many of them only seem to be there.
    let squeezed = |db: &str, left: u64, lost: u64| {
        let (left, lost) = ((CONTEXT + left).to_string(), lost.to_string());
        study.grid("cuda", db, &few, &[("UNMUTE_STAND_IN_LATER", &left), ("UNMUTE_STAND_IN_LOST", &lost)])
    };
    let cases: [(u64, u64, &[&str]); 3] = [
        (6_000_000, 0, &["stay on the GPU", "1 of 4 cells at a time"]),
        (2_000_000, 0, &["streamed in blocks of", "a batch of 64 clips is worked on in parts of 32"]),
        (12_000_000, 6_000_000, &["trying again with half as many at a time: device: out of memory"]),
    ];
    for (left, lost, words) in cases {
        let db = format!("{left}.db");
        let (good, said, counts) = squeezed(&db, left, lost);
        assert!(good && words.iter().all(|words| said.contains(words)), "{left}: {said}");
        let counts = counts.unwrap();
        assert!(counts["faults"] == 0 && counts["peak_bytes"].as_u64().unwrap() <= left - lost, "{counts}");
        let got = losses(&db);
        assert_eq!(got.len(), want.len());
        for (got, want) in got.iter().zip(&want) {
            let (ours, theirs) = (got["loss"].as_f64().unwrap(), want["loss"].as_f64().unwrap());
            assert!(got["key"] == want["key"] && (ours - theirs).abs() <= 1e-4 * theirs.abs(), "{got} and {want}");
        }
    }
    let (good, said, _) = squeezed("none.db", 400_000, 0);
    assert!(!good && said.contains("one clip of one cell needs") && !said.contains("lower train.batch"), "{said}");
    let (good, said, _) = study.grid("cuda", "no.db", &few, &[("UNMUTE_STAND_IN_MEMORY", "330000000")]);
    let words = "has 14.7 MiB of memory free, and 1.0 GiB are needed\n  next: end what else runs on it";
    assert!(!good && said.contains(words), "{said}");
}
