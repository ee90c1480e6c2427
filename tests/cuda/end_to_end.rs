//! The program with `--device cuda` beside `--device cpu`: the whole grid on a small synthetic data set, every number of its
//! tables. On a GPU (`just test-cuda`), or on the stand-in for one (`just test-cuda-host`), which also counts what was asked of it.

use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// A data set of so many clips, and the program run on it.
struct Study {
    dir: tempfile::TempDir,
}

/// Of losses and feature errors, relative to the larger of both numbers and 1.
const TOLERANCE: f64 = 1e-3;
/// Of shares of clips, in percent: some clips of 200 have two classes with nearly the same score.
const CLIPS: f64 = 1.5;

impl Study {
    fn new() -> Study {
        let study = Study { dir: tempfile::tempdir().unwrap() };
        study.program(
            &["data", "synth", "data", "--preset", "mini", "--train", "300", "--val", "200", "--sounded"],
            &[],
        );
        study
    }

    /// Runs the program to its end, which has to be a good one; what it says.
    fn program(&self, args: &[&str], env: &[(&str, &Path)]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_unmute"));
        command.args(args).current_dir(self.dir.path()).env_remove("UNMUTE_DB").env("NO_COLOR", "1");
        let output = command.envs(env.iter().copied()).output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && !said.contains("panicked"), "unmute {}\n{said}", args.join(" "));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Trains the paper's grid on a device, with narrow networks and `more` settings; the counts of the stand-in, if it is there.
    fn train(&self, device: &str, db: &str, more: &[&str]) -> Option<Value> {
        let experiment = crate::support::root().join("experiments/icassp2019");
        let mut args = vec!["run", experiment.to_str().unwrap(), "--dataset", "data", "--db", db, "--device", device];
        args.extend(["--seeds", "0", "--workers", "1"]);
        let narrow = ["lstm.hidden=16", "autoencoder.encoder=[24, 12]", "autoencoder.decoder=[24]", "train.batch=64"];
        let rest = ["train.epochs=2", "tsn.epochs=2", "missing.rate=0.4"];
        for setting in narrow.iter().chain(&rest).chain(more) {
            args.extend(["--set", setting]);
        }
        let counts = self.dir.path().join(format!("{db}.counts"));
        self.program(&args, &[("UNMUTE_STAND_IN_COUNTS", &counts)]);
        let counts = std::fs::read_to_string(counts).ok()?;
        Some(serde_json::from_str(&counts).unwrap())
    }

    fn query(&self, db: &str, sql: &str) -> Vec<Value> {
        serde_json::from_str(&self.program(&["query", sql, "--db", db, "--json"], &[])).unwrap()
    }
}

#[test]
#[ignore = "needs a GPU: just test-cuda, or its stand-in: just test-cuda-host"]
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
    study.program(&["report", experiment.to_str().unwrap(), "--db", "cuda.db", "--out", "report"], &[]);
}
