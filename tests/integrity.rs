//! What a store says of itself is held against what it holds: every kind of edit is named, and none is taken over.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use crate::support::call::{Place, Said};
use std::os::unix::fs::MetadataExt;
use unmute::store::{Error, Pick, PickError, Store};

/// Calls; the exit code should be this one. Gives stdout.
#[track_caller]
fn expect(place: &Place, code: i32, args: &[&str]) -> String {
    place.args(args).ends(code).stdout
}

/// Calls, whatever comes of it.
#[track_caller]
fn run(place: &Place, args: &[&str]) -> Said {
    place.args(args).said()
}

/// Two variants of the tiny experiment on two views, in `runs.db`.
fn two_views() -> Place {
    let tiny = Place::tiny(2);
    let one = ["run", "tiny", "--dataset", "data", "--db", "runs.db", "--seeds", "0"];
    expect(&tiny, 0, &one);
    expect(&tiny, 0, &[&one[..], &["--set", "missing.rate=0.2"]].concat());
    tiny
}

#[test]
fn an_edit_of_what_a_number_stands_for_is_named_by_verify_and_not_taken_by_merge() {
    let tiny = two_views();
    expect(&tiny, 0, &["verify", "--db", "runs.db"]);
    let lstm = "key = 'vggish/lstm/l2/with' AND view_id = 1";
    let edits = [
        (format!("UPDATE run SET view_id = 2 WHERE {lstm}"), "view 2 is not the data that it says"),
        (
            format!("UPDATE run SET cell = (SELECT cell FROM run WHERE kind = 'control' LIMIT 1) WHERE {lstm}"),
            "its cell is not the fingerprint",
        ),
        (format!("UPDATE run SET key = 'vggish/lstm/l2/without' WHERE {lstm}"), "its place, epochs, values or scores"),
        (format!("UPDATE run SET seed = 1 WHERE {lstm}"), "its id is not the fingerprint"),
        (format!("UPDATE run SET kind = 'control' WHERE {lstm}"), "its kind is not that of"),
        (format!("UPDATE run SET numbers_hash = NULL WHERE {lstm}"), "it is done and its numbers have no hash"),
        (
            format!(
                "UPDATE value SET value = 99.9 WHERE name = 'top1' AND run_id = (SELECT id FROM run WHERE {lstm});
                 UPDATE run SET numbers_hash = NULL WHERE {lstm}"
            ),
            "its top1 is stored as 99.9, and its scores say",
        ),
        (
            format!(
                "UPDATE value SET value = 9e999 WHERE name = 'mse/silent' AND run_id = (SELECT id FROM run WHERE {lstm})"
            ),
            "its mse/silent is not finite",
        ),
        ("UPDATE cell SET part = replace(part, '\"with\"', '\"without\"')".into(), "it or its cells are not what was"),
        (
            "UPDATE cell SET fingerprint = (SELECT fingerprint FROM cell WHERE key = 'rgb' LIMIT 1) WHERE key = 'flow'"
                .into(),
            "it or its cells are not what was recorded",
        ),
        ("UPDATE experiment SET sets = '[\"x=1\"]' WHERE id = 1".into(), "it or its cells are not what was recorded"),
        (
            "UPDATE experiment SET config = replace(config, '\"epochs\":2', '\"epochs\":3')".into(),
            "its digest is not that of its configuration",
        ),
        (
            "UPDATE view SET counts = json_set(counts, '$.val[0]', json_extract(counts, '$.val[0]') + 1,
                 '$.val[1]', json_extract(counts, '$.val[1]') - 1) WHERE id = 1"
                .into(),
            "its counts are not those of its val clips",
        ),
        (
            "UPDATE view SET counts = json_set(counts, '$.train[0]', 1) WHERE id = 1".into(),
            "it is not what was recorded",
        ),
        ("UPDATE view SET missing = NULL WHERE id = 1".into(), "it is not what was recorded"),
        ("UPDATE view SET val_hash = NULL, row_hash = NULL WHERE id = 1".into(), "its val clips have no hash"),
        (
            "UPDATE dataset SET kind = 'synthetic', manifest = replace(manifest, '\"real\"', '\"synthetic\"')".into(),
            "its manifest is not the dataset.yaml that its fingerprint is of",
        ),
        ("UPDATE dataset SET kind = 'synthetic'".into(), "its name or kind is not that of its manifest"),
        (
            "UPDATE dataset SET files = json_set(files, '$.\"clips.csv\"', 'other')".into(),
            "its fingerprint is not that",
        ),
    ];
    for (i, (sql, told)) in edits.iter().enumerate() {
        let (edited, target) = (format!("edited{i}.db"), format!("target{i}.db"));
        tiny.copy("runs.db", &edited);
        tiny.sql(&edited, sql);
        let out = expect(&tiny, 3, &["verify", "--db", &edited]);
        assert!(out.contains("DAMAGED") && out.contains(told), "{sql}: {out}");
        let out = expect(&tiny, 3, &["merge", "--db", &target, &edited]);
        assert!(out.contains("DAMAGED (not taken)") && out.contains(told), "{sql}: {out}");
        expect(&tiny, 0, &["verify", "--db", &target]);
        // And what was damaged is healed by a store that is whole.
        tiny.copy("runs.db", "whole.db");
        let out = expect(&tiny, 0, &["merge", "--db", &edited, "whole.db"]);
        assert!(out.contains("damaged here and taken from there"), "{sql}: {out}");
        expect(&tiny, 0, &["verify", "--db", &edited]);
        assert!(tiny.numbers(&edited) == tiny.numbers("runs.db"), "{sql}");
    }
    let gone = "refers to a row of environment that is not there";
    for (i, (sql, told)) in [
        ("UPDATE environment SET record = '{}'", "environment 1: it is not what was recorded"),
        ("DELETE FROM environment", gone),
        ("DELETE FROM run WHERE kind = 'generator'", "refers to a row of run that is not there"),
    ]
    .into_iter()
    .enumerate()
    {
        let (edited, target) = (format!("environment{i}.db"), format!("beside{i}.db"));
        tiny.copy("runs.db", &edited);
        tiny.sql(&edited, &format!("PRAGMA foreign_keys = OFF; {sql}"));
        let out = expect(&tiny, 3, &["verify", "--db", &edited]);
        assert!(out.contains(told), "{sql}: {out}");
        let out = expect(&tiny, 3, &["merge", "--db", &target, &edited]);
        assert!(out.contains("DAMAGED (not taken)") && out.contains(told), "{sql}: {out}");
        expect(&tiny, 0, &["verify", "--db", &target]);
    }
}

#[test]
fn weights_that_were_damaged_are_named_by_verify_and_not_taken_by_merge() {
    let tiny = Place::tiny(2);
    tiny.train("runs.db");
    let folder = tiny.path("runs.db.weights");
    expect(&tiny, 0, &["verify", "--db", "runs.db"]);
    let file = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    let whole = std::fs::read(&file).unwrap();
    let mut bytes = whole.clone();
    bytes[whole.len() / 2] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let told = "bytes do not match their hash";
    let out = expect(&tiny, 3, &["verify", "--db", "runs.db"]);
    assert!(out.contains("DAMAGED") && out.contains("its weights: ") && out.contains(told), "{out}");
    let said = run(&tiny, &["merge", "--db", "other.db", "runs.db"]);
    assert!(said.code == Some(3) && said.text().contains(told), "{}", said.text());
    expect(&tiny, 0, &["verify", "--db", "other.db"]);
    std::fs::write(&file, &whole).unwrap();
    tiny.sql("runs.db", "UPDATE weights SET bytes = bytes + 1 WHERE rowid = 1");
    assert!(expect(&tiny, 3, &["verify", "--db", "runs.db"]).contains("and should have"));
    // A store that came without its folder is whole; that they were not looked at is said.
    std::fs::remove_dir_all(&folder).unwrap();
    let said = run(&tiny, &["verify", "--db", "runs.db"]);
    assert!(said.code == Some(0) && said.text().contains("are not beside the store"), "{}", said.text());
}

#[test]
fn a_schema_with_more_than_ours_is_refused_by_every_verb() {
    let tiny = Place::tiny(2);
    tiny.train("runs.db");
    for (what, sql) in [
        ("a trigger \"t\"", "CREATE TRIGGER t AFTER UPDATE ON run BEGIN UPDATE value SET value = 99; END"),
        ("a view \"w\"", "CREATE VIEW w AS SELECT * FROM run"),
        ("a virtual table \"f\"", "CREATE VIRTUAL TABLE f USING fts5(x)"),
        ("another table \"value\"", "DROP TABLE value; CREATE TABLE value (run_id, name, value DEFAULT (random()))"),
    ] {
        tiny.copy("runs.db", "foreign.db");
        tiny.sql("foreign.db", sql);
        let before = std::fs::read(tiny.path("foreign.db")).unwrap();
        for verb in [
            &["ls"][..],
            &["verify"],
            &["query", "SELECT 1"],
            &["report", "tiny"],
            &["run", "tiny", "--dataset", "data", "--seeds", "7"],
            &["gc"],
        ] {
            let output = run(&tiny, &[verb, &["--db", "foreign.db"]].concat());
            assert_eq!(output.code, Some(1), "{verb:?}: {}", output.text());
            assert!(output.text().contains(&format!("it holds {what}")), "{verb:?}: {}", output.text());
        }
        let told = run(&tiny, &["merge", "--db", "target.db", "foreign.db"]).text();
        assert!(told.contains(&format!("it holds {what}")), "{told}");
        assert!(expect(&tiny, 3, &["doctor", "--db", "foreign.db"]).contains("warning: "));
        assert!(std::fs::read(tiny.path("foreign.db")).unwrap() == before);
    }
    // A table of the user's own hurts nobody.
    tiny.sql("runs.db", "CREATE TABLE my_notes (run_id TEXT, note TEXT); CREATE INDEX mine ON my_notes (run_id)");
    expect(&tiny, 0, &["verify", "--db", "runs.db"]);
}

#[test]
fn pipes_and_folders_are_no_stores() {
    let tiny = Place::tiny(2);
    assert!(std::process::Command::new("mkfifo").arg(tiny.path("pipe.db")).status().unwrap().success());
    std::fs::create_dir(tiny.path("folder.db")).unwrap();
    for (db, what) in [("pipe.db", "a named pipe"), ("folder.db", "a folder")] {
        for verb in [&["ls"][..], &["query", "SELECT 1"], &["run", "tiny", "--dataset", "data"], &["merge", "runs.db"]]
        {
            let output = run(&tiny, &[verb, &["--db", db]].concat());
            assert_eq!(output.code, Some(1), "{verb:?} {db}: {}", output.text());
            if verb[0] != "merge" {
                assert!(output.text().contains(&format!("it is {what}, not a file")), "{}", output.text());
            }
        }
    }
    // A pipe where the log would be.
    tiny.train("runs.db");
    assert!(std::process::Command::new("mkfifo").arg(tiny.path("runs.db-wal")).status().unwrap().success());
    assert!(run(&tiny, &["ls", "--db", "runs.db"]).text().contains("runs.db-wal: it is a named pipe"));
}

#[test]
fn variants_are_listed_and_picked_and_two_data_sets_of_one_name_are_told_apart() {
    let tiny = two_views();
    // Another data set of the same name, on which the experiment as it is declared was run last.
    let clips = tiny.path("features/clips.csv");
    let changed = std::fs::read_to_string(&clips).unwrap().replacen("class0,train", "class1,train", 1);
    std::fs::write(&clips, changed).unwrap();
    let import = ["data", "import", "features", "data2", "--frames", "4", "--rows", "vggish=1", "--name", "features"];
    expect(&tiny, 0, &import);
    expect(&tiny, 0, &["run", "tiny", "--dataset", "data2", "--db", "runs.db", "--seeds", "1"]);
    let store = Store::open_to_read(&tiny.path("runs.db")).unwrap();
    let all = store.variants().unwrap();
    let shown: Vec<_> = all.iter().map(|v| (v.number, v.sets.len(), v.seeds.clone(), v.latest)).collect();
    assert_eq!(shown, [(3, 0, vec![1], true), (2, 1, vec![0], false), (1, 0, vec![0], false)]);
    assert!(all.iter().all(|v| v.declared == Some(vec![0, 1]) && v.label.starts_with("features@")), "{all:?}");
    assert!(all[0].label != all[1].label && all[1].label == all[2].label);
    assert_eq!(all[1].runs.values().sum::<i64>(), 8);
    let pick = |variant: Option<&str>, dataset: Option<&str>, seeds: Option<&[u64]>| {
        let pick = Pick {
            variant: variant.map(Into::into),
            dataset: dataset.map(Into::into),
            seeds: seeds.map(<[u64]>::to_vec),
        };
        store.pick("tiny", &pick).map(|(variant, record)| (variant.number, record.config.seeds, record.sets))
    };
    assert_eq!(pick(None, None, None).unwrap(), (3, vec![1], vec![]));
    assert_eq!(pick(Some("2"), None, None).unwrap().2, ["missing.rate=0.2"]);
    assert_eq!(pick(Some(&all[2].id[..9]), None, None).unwrap().0, 1);
    assert_eq!(pick(None, Some(&all[1].label), None).unwrap().0, 2, "the last run on that data set");
    assert!(matches!(pick(None, Some("features"), None), Err(PickError::Several { .. })));
    assert!(matches!(pick(None, Some("nothing"), None), Err(PickError::NoVariant { .. })));
    assert_eq!(pick(Some("1"), None, Some(&[0])).unwrap().1, [0]);
    assert!(matches!(pick(Some("1"), None, Some(&[0, 5])), Err(PickError::NoSeed { seed: 5, .. })));
    let status = expect(&tiny, 0, &["status", "--db", "runs.db"]);
    assert!(status.contains("variant 2 (") && status.contains("--set missing.rate=0.2, seeds 0: 8 done"), "{status}");
}

#[test]
fn a_clock_that_was_ahead_pins_nothing() {
    let tiny = two_views();
    // Both stores were used while their clocks were ten years ahead, and are right again.
    tiny.sql("runs.db", "UPDATE experiment SET used_at = '2099-01-01T00:00:00.000Z' WHERE sets != '[]'");
    expect(&tiny, 0, &["run", "tiny", "--dataset", "data", "--db", "runs.db", "--seeds", "0"]);
    let latest = |db: &str| {
        let store = Store::open_to_read(&tiny.path(db)).unwrap();
        store.latest_experiment("tiny").unwrap().unwrap().sets
    };
    assert!(latest("runs.db").is_empty());
    assert!(expect(&tiny, 0, &["status", "--db", "runs.db"]).contains("was ahead (2099-01-01"));
    // Merged into one that was used before now, it counts as earlier; what was run after what stays so.
    let only = ["run", "tiny", "--dataset", "data", "--db", "other.db", "--seeds", "0", "--set", "tsn.epochs=1"];
    expect(&tiny, 0, &only);
    tiny.sql("runs.db", "UPDATE experiment SET used_at = '2099-01-01T00:00:00.000Z'");
    let out = expect(&tiny, 0, &["merge", "--db", "other.db", "runs.db"]);
    assert!(out.contains("its clock was ahead"), "{out}");
    assert_eq!(latest("other.db"), ["tsn.epochs=1"]);
    // The other way round the clock of ours was the wrong one.
    tiny.copy("other.db", "again.db");
    expect(&tiny, 0, &["merge", "--db", "runs.db", "other.db"]);
    assert_eq!(latest("runs.db"), ["tsn.epochs=1"]);
    let order = "SELECT digest FROM experiment ORDER BY used";
    let before = tiny.query("runs.db", order);
    expect(&tiny, 0, &["merge", "--db", "runs.db", "other.db", "again.db"]);
    assert_eq!(tiny.query("runs.db", order), before);
    expect(&tiny, 0, &["verify", "--db", "runs.db"]);
}

#[test]
fn a_store_that_is_deleted_or_replaced_while_it_is_open_is_told_and_not_written_over() {
    let tiny = Place::tiny(2);
    tiny.train("runs.db");
    expect(&tiny, 0, &["run", "tiny", "--dataset", "data", "--db", "other.db", "--seeds", "3"]);
    let beat = |store: &Store| {
        let worker = unmute::store::Worker {
            id: "w".into(),
            machine: "m".into(),
            host: "h".into(),
            pid: 1,
            command: String::new(),
            environment: "{}".into(),
        };
        store.heartbeat(&worker)
    };
    let bytes = |name: &str| std::fs::read(tiny.path(name)).unwrap();
    // Deleted, with its log: what it held is rescued.
    tiny.copy("runs.db", "a.db");
    let store = Store::open(&tiny.path("a.db")).unwrap();
    beat(&store).unwrap();
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(tiny.path(&format!("a.db{end}")));
    }
    let Err(Error::Gone { how, rescued: Some(copy), .. }) = beat(&store) else { panic!("it was not noticed") };
    assert_eq!(how, "deleted");
    drop(store);
    assert!(!tiny.path("a.db").exists());
    let name = copy.file_name().unwrap().to_str().unwrap();
    expect(&tiny, 0, &["verify", "--db", name]);
    assert!(tiny.numbers(name) == tiny.numbers("runs.db"));
    // Another file moved onto its name.
    tiny.copy("runs.db", "b.db");
    tiny.copy("other.db", "new.db");
    let store = Store::open(&tiny.path("b.db")).unwrap();
    beat(&store).unwrap();
    std::fs::rename(tiny.path("new.db"), tiny.path("b.db")).unwrap();
    assert!(matches!(beat(&store), Err(Error::Gone { how: "replaced by another file", rescued: Some(_), .. })));
    drop(store);
    assert!(bytes("b.db") == bytes("other.db"), "the new file was written to");
    assert!(!tiny.path("b.db-wal").exists(), "the old log lies beside the new file");
    expect(&tiny, 0, &["verify", "--db", "b.db"]);
    // Another store copied over it: the file is the same one, with other contents.
    tiny.copy("runs.db", "c.db");
    let store = Store::open(&tiny.path("c.db")).unwrap();
    beat(&store).unwrap();
    let inode = tiny.path("c.db").metadata().unwrap().ino();
    std::fs::write(tiny.path("c.db"), bytes("other.db")).unwrap();
    assert_eq!(tiny.path("c.db").metadata().unwrap().ino(), inode);
    std::thread::sleep(std::time::Duration::from_millis(2100));
    assert!(matches!(beat(&store), Err(Error::Gone { how: "overwritten with another file", rescued: None, .. })));
    drop(store);
    assert!(bytes("c.db") == bytes("other.db"), "the old log was played over the new file");
    expect(&tiny, 0, &["verify", "--db", "c.db"]);
}

#[test]
fn a_log_of_another_store_is_not_played_over_this_one() {
    let tiny = Place::tiny(2);
    tiny.train("runs.db");
    expect(&tiny, 0, &["run", "tiny", "--dataset", "data", "--db", "other.db", "--seeds", "3"]);
    // As a process leaves them that is killed.
    tiny.copy("runs.db", "killed.db");
    let store = Store::open(&tiny.path("killed.db")).unwrap();
    let log = tiny.path("killed.db-wal");
    let dataset = unmute::dataset::Dataset::open(&tiny.path("data")).unwrap();
    store.put_dataset(&dataset).unwrap();
    let left = std::fs::read(&log).unwrap();
    drop(store);
    let other = std::fs::read(tiny.path("other.db")).unwrap();
    tiny.copy("other.db", "new.db");
    std::fs::write(tiny.path("new.db-wal"), &left).unwrap();
    for verb in [&["ls"][..], &["run", "tiny", "--dataset", "data"], &["verify"]] {
        let output = run(&tiny, &[verb, &["--db", "new.db"]].concat());
        assert_eq!(output.code, Some(1), "{}", output.text());
        assert!(output.text().contains("belongs to another store"), "{}", output.text());
    }
    assert!(std::fs::read(tiny.path("new.db")).unwrap() == other);
    std::fs::remove_file(tiny.path("new.db-wal")).unwrap();
    expect(&tiny, 0, &["verify", "--db", "new.db"]);
    // Its own log is played as ever.
    tiny.copy("runs.db", "own.db");
    std::fs::write(tiny.path("own.db-wal"), &left).unwrap();
    expect(&tiny, 0, &["verify", "--db", "own.db"]);
}

#[test]
fn names_from_files_of_others_do_nothing_to_a_terminal() {
    let tiny = Place::tiny(2);
    tiny.train("runs.db");
    tiny.sql(
        "runs.db",
        "UPDATE run SET key = key || char(27) || ']0;title' || char(7) || char(155) || '2J', command = char(27, 91) || 'H',
             error = char(13) || 'x'",
    );
    let id = tiny.query("runs.db", "SELECT id FROM run")[0]["id"].as_str().unwrap().to_string();
    for verb in [
        &["ls"][..],
        &["show", &id],
        &["diff", &id, &id],
        &["query", "SELECT key, error, command FROM run"],
        &["ls", "--json"],
        &["query", "SELECT key, error FROM run", "--json"],
        &["merge", "runs.db"],
        &["verify"],
    ] {
        let db = if verb[0] == "merge" { "target.db" } else { "runs.db" };
        let output = run(&tiny, &[verb, &["--db", db]].concat());
        let said = output.text();
        assert!(!said.chars().any(|c| c.is_control() && c != '\n' && c != '\t'), "{verb:?}: {said:?}");
        assert!(said.contains("title"), "{verb:?}: {said}");
    }
}
