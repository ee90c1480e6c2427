//! The experiments of this repository: the paper's numbers are in them, they load, and editors can check them.

use crate::support::call::Place;
use crate::support::root;
use std::path::PathBuf;
use unmute::experiment::schema::KINDS;
use unmute::experiment::tables::{Published, Table};
use unmute::experiment::{Experiment, TableId};

/// Tables 2 and 3 of the paper: key, then top-1 and top-5 on AENet and on VGGish.
const ALONE: [(&str, [&str; 2], [&str; 2]); 9] = [
    ("baseline", ["4.41", "11.78"], ["1.57", "7.29"]),
    ("lstm/l2/with", ["4.53", "11.69"], ["1.54", "6.91"]),
    ("lstm/l2/without", ["5.19", "13.44"], ["1.95", "7.59"]),
    ("lstm/kl/with", ["4.47", "11.50"], ["1.59", "6.85"]),
    ("lstm/kl/without", ["4.45", "11.40"], ["1.59", "6.83"]),
    ("autoencoder/l2/with", ["4.70", "11.70"], ["2.19", "7.86"]),
    ("autoencoder/l2/without", ["4.70", "11.70"], ["2.11", "7.84"]),
    ("autoencoder/kl/with", ["4.52", "11.48"], ["1.71", "7.23"]),
    ("autoencoder/kl/without", ["4.55", "11.60"], ["1.72", "6.90"]),
];

/// Table 4: the paper's heading, what it fuses, top-1, top-5.
const FUSION: [(&str, &str, &str, &str); 11] = [
    ("RGB (spatial)", "rgb", "24.23", "50.86"),
    ("Flow (temporal)", "flow", "12.28", "29.90"),
    ("RGB + Flow (fusion)", "rgb+flow", "27.02", "52.50"),
    ("RGB + AENet", "rgb+aenet", "26.69", "52.62"),
    ("RGB + VGGish", "rgb+vggish", "23.54", "49.56"),
    ("RGB + AENet (Gen-LSTM)", "rgb+aenet(lstm)", "26.91", "52.93"),
    ("RGB + AENet (Gen-AE)", "rgb+aenet(autoencoder)", "26.78", "52.58"),
    ("RGB + VGGish (Gen-LSTM)", "rgb+vggish(lstm)", "25.96", "51.77"),
    ("RGB + VGGish (Gen-AE)", "rgb+vggish(autoencoder)", "26.02", "51.75"),
    ("fusion + AENet (Gen-LSTM)", "rgb+flow+aenet(lstm)", "28.19", "53.73"),
    ("fusion + VGGish (Gen-AE)", "rgb+flow+vggish(autoencoder)", "27.58", "53.29"),
];

fn paper() -> Experiment {
    Experiment::load(&root().join("experiments/icassp2019"), &[]).unwrap_or_else(|e| panic!("{e}"))
}

fn table(experiment: &Experiment, number: u32) -> &Table {
    experiment.tables.tables.iter().find(|t| t.table == TableId::Number(number)).unwrap()
}

fn text(published: &Option<Published>) -> String {
    published.as_ref().map(Published::to_string).unwrap_or_default()
}

#[test]
fn table_1_holds_the_papers_counts() {
    let paper = paper();
    let rows: Vec<_> = table(&paper, 1)
        .counts
        .iter()
        .map(|r| (r.row.as_str(), r.published.train.clone().unwrap().value, r.published.val.clone().unwrap().value))
        .collect();
    assert_eq!(
        rows,
        [("with sound", 55196.0, 6286.0), ("without sound", 44804.0, 3714.0), ("total", 100_000.0, 10_000.0)]
    );
}

#[test]
fn tables_2_and_3_hold_the_papers_accuracies() {
    let paper = paper();
    for (number, audio) in [(2, "aenet"), (3, "vggish")] {
        let table = table(&paper, number);
        assert_eq!(table.audio, [audio]);
        let rows: Vec<_> = table.accuracy.iter().filter(|r| !r.control).collect();
        assert_eq!(rows.len(), ALONE.len());
        for (row, (key, aenet, vggish)) in rows.iter().zip(ALONE) {
            let expected = if number == 2 { aenet } else { vggish };
            assert_eq!([text(&row.published.top1), text(&row.published.top5)], expected, "table {number}, {key}");
            let fuse = if key == "baseline" { "audio".to_string() } else { format!("audio({key})") };
            assert_eq!((row.key.as_str(), &row.fuse), (key, &fuse));
            // The headings say what is fused.
            let heading = format!("{} {}", row.group.join(" "), row.row);
            let words: &[(&str, &str)] = &[
                ("lstm", "LSTM"),
                ("autoencoder", "Autoencoder"),
                ("l2", "L2"),
                ("kl", "KL"),
                ("/with", "with"),
                ("without", "without"),
            ];
            for (word, shown) in words.iter().filter(|(word, _)| key.contains(word)) {
                assert!(heading.contains(shown), "{key} ({word}) is headed {heading:?}");
            }
        }
    }
}

#[test]
fn table_4_holds_the_papers_fusions() {
    let paper = paper();
    let rows: Vec<_> = table(&paper, 4).accuracy.iter().filter(|r| !r.control).collect();
    assert_eq!(rows.len(), FUSION.len());
    for (row, (heading, fuse, top1, top5)) in rows.iter().zip(FUSION) {
        assert_eq!((row.row.as_str(), row.fuse.as_str()), (heading, fuse));
        assert_eq!((text(&row.published.top1).as_str(), text(&row.published.top5).as_str()), (top1, top5), "{heading}");
    }
}

#[test]
fn table_5_holds_the_papers_classes() {
    let paper = paper();
    let table = table(&paper, 5);
    assert_eq!(table.top, 3);
    let columns: Vec<_> =
        table.improvement.iter().map(|c| (c.of.as_str(), c.over.as_str(), c.published.join(" "))).collect();
    let expected = [
        ("rgb+audio", "rgb", "whistling howling chewing"),
        ("rgb+audio(best)", "rgb", "whistling howling mowing"),
        // The paper's heading reads (R+S) vs. (R+S(gen)); what improves is the second.
        ("rgb+audio(best)", "rgb+audio", "boiling wrapping swimming"),
    ];
    assert_eq!(columns, expected.map(|(of, over, classes)| (of, over, classes.to_string())));
}

#[test]
fn controls_and_only_they_have_no_published_value() {
    for table in &paper().tables.tables {
        for row in &table.accuracy {
            let published = [&row.published.top1, &row.published.top5];
            assert!(published.iter().all(|p| p.is_none() == row.control), "table {}, {}", table.table, row.key);
        }
    }
}

#[test]
fn the_papers_grid_has_sixteen_generators() {
    let paper = paper();
    let cells = paper.cells(&["rgb".into(), "flow".into()]).unwrap();
    let count = |kind: &str| cells.iter().filter(|c| c.part.kind() == kind).count();
    assert_eq!([count("stream"), count("bank"), count("generator"), count("control")], [2, 2, 16, 10]);
    for (i, claim) in paper.claims.claims.iter().enumerate() {
        assert_eq!(claim.id, format!("C{}", i + 1));
    }
    for (i, entry) in paper.ledger.ledger.iter().enumerate() {
        assert_eq!(entry.id, format!("A{}", i + 1));
    }
    assert_eq!((paper.claims.claims.len(), paper.ledger.ledger.len()), (15, 15));
}

/// Every folder under `experiments/` that holds an experiment.
fn folders() -> Vec<PathBuf> {
    let all = std::fs::read_dir(root().join("experiments")).unwrap().map(|e| e.unwrap().path());
    let mut all: Vec<PathBuf> = all.filter(|p| p.join("experiment.yaml").is_file()).collect();
    all.sort();
    all
}

#[test]
fn every_experiment_loads_under_its_own_name() {
    let folders = folders();
    assert!(folders.len() >= 2);
    for folder in folders {
        let experiment = Experiment::load(&folder, &[]).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(Some(experiment.config.name.as_str()), folder.file_name().and_then(|n| n.to_str()));
        assert!(!experiment.config.title.is_empty(), "{}", folder.display());
        assert!(!experiment.tables.tables.is_empty(), "{}", folder.display());
    }
}

#[test]
fn the_ledgers_alternatives_can_be_set() {
    let dir = root().join("experiments/icassp2019");
    for entry in &paper().ledger.ledger {
        for alternative in &entry.alternatives {
            let sets: Vec<String> = alternative.set.iter().map(|(key, value)| format!("{key}={value}")).collect();
            Experiment::load(&dir, &sets).unwrap_or_else(|e| panic!("{}, {}: {e}", entry.id, alternative.name));
        }
    }
}

#[test]
fn the_schemas_are_what_the_program_prints() {
    let place = Place::new();
    for kind in KINDS {
        let path = root().join(format!("experiments/schema/{kind}.json"));
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        let printed = place.call("export schema").arg(kind).success().stdout;
        assert!(committed == printed, "run: unmute export schema {kind} > experiments/schema/{kind}.json");
    }
}

#[test]
fn schemas_know_the_keys_of_the_files() {
    for folder in folders() {
        for kind in KINDS {
            let Ok(text) = std::fs::read_to_string(folder.join(format!("{kind}.yaml"))) else { continue };
            let value: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
            let schema = unmute::experiment::schema::of(kind).unwrap();
            for key in value.as_mapping().unwrap().keys() {
                let key = key.as_str().unwrap();
                assert!(schema["properties"].get(key).is_some(), "{key} of {}", folder.display());
            }
        }
    }
}
