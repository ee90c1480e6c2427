//! Everything that can be wrong with features, YAML, arguments and the store: each ends with an exit code and a message
//! that names file, place and value. `Call` sees to it that nothing panics.

use crate::support::call::{Place, may_call, runs, small_experiment};
use crate::support::features::{Source, npy, npy_header, write_npy};
use crate::support::require;
use std::path::Path;
use unmute::store::Store;

/// A source folder, spoilt, and what importing it should say.
#[track_caller]
fn import_says(source: Source, spoil: impl FnOnce(&Path), says: &[&str]) {
    let place = Place::new();
    source.write(&place.path("source"));
    spoil(&place.path("source"));
    let call = says.iter().fold(place.call("data import source data --frames 3"), |call, text| call.stderr(text));
    call.fails(1);
    assert!(!place.path("data").exists(), "a failed import leaves nothing");
    let left: Vec<_> = std::fs::read_dir(place.path("")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["source"], "nor anything beside it");
}

/// Replaces text in `clips.csv` of a folder.
fn edit_clips(dir: &Path, from: &str, to: &str) {
    let path = dir.join("clips.csv");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from:?} is in clips.csv");
    std::fs::write(&path, text.replacen(from, to, 1)).unwrap();
}

#[test]
fn a_missing_feature_file_is_named_with_its_clip_and_line() {
    let remove = |name: &'static str| move |dir: &Path| std::fs::remove_file(npy(dir, "c3", name)).unwrap();
    import_says(Source::default(), remove("rgb"), &["clips.csv:5", "\"c3\"", "features/c3_rgb.npy"]);
    import_says(Source::default(), remove("vggish"), &["clips.csv:5", "c3_vggish.npy", "--absent-is-silent"]);
    let place = Place::new();
    Source::default().write(&place.path("source"));
    std::fs::remove_file(npy(&place.path("source"), "c3", "vggish")).unwrap();
    place.call("data import source data --frames 3 --absent-is-silent").success();
}

#[test]
fn damaged_npy_files_are_named() {
    type Damage = (fn(&Path), &'static str);
    let damages: [Damage; 9] = [
        (|p| truncate(p, 12), "truncated"),
        (|p| truncate_to(p, 20), "not a .npy file"),
        (|p| truncate_to(p, 0), "not a .npy file"),
        (|p| std::fs::write(p, "clip,label\n".repeat(20)).unwrap(), "not a .npy file"),
        (|p| write_npy(p, &[0, 6], &[]), "zero frames"),
        (|p| write_npy(p, &[2, 6, 1], &[0.0; 12]), "(t, D) was expected"),
        (|p| write_npy(p, &[2, 7], &[0.0; 14]), "width is 7, but 6"),
        (
            |p| std::fs::write(p, npy_header("{'descr': '<c8', 'fortran_order': False, 'shape': (1, 6), }")).unwrap(),
            "c8",
        ),
        // Sizes that would not fit into memory, or into a number.
        (
            |p| {
                std::fs::write(
                    p,
                    npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775808, 6), }"),
                )
                .unwrap()
            },
            "too large",
        ),
    ];
    for (damage, says) in damages {
        import_says(Source::default(), |dir| damage(&npy(dir, "c4", "rgb")), &["c4_rgb.npy", says]);
    }
}

fn truncate(path: &Path, by: usize) {
    let bytes = std::fs::read(path).unwrap();
    std::fs::write(path, &bytes[..bytes.len() - by]).unwrap();
}

fn truncate_to(path: &Path, length: usize) {
    let bytes = std::fs::read(path).unwrap();
    std::fs::write(path, &bytes[..length]).unwrap();
}

#[test]
fn numbers_that_are_none_are_named_with_their_place() {
    for (value, word) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
        let spoil = |name: &'static str, width: usize| {
            move |dir: &Path| {
                let mut values = vec![0.5; 2 * width];
                values[width + 2] = value;
                write_npy(&npy(dir, "c4", name), &[2, width], &values);
            }
        };
        import_says(Source::default(), spoil("rgb", 6), &["c4_rgb.npy", "\"c4\"", "row 1", "place 2", word]);
        import_says(Source::default(), spoil("vggish", 5), &["c4_vggish.npy", "\"c4\"", "row 1", "place 2", word]);
    }
    // What is finite in f32 may be too large for f16.
    let place = Place::new();
    Source::default().write(&place.path("source"));
    write_npy(&npy(&place.path("source"), "c4", "rgb"), &[1, 6], &[0.0, 1.0, 70_000.0, 0.0, 0.0, 0.0]);
    place
        .call("data import source data --frames 3 --precision f16")
        .stderr("rgb")
        .stderr("70000")
        .stderr("f16")
        .fails(1);
    assert!(!place.path("data").exists());
}

#[test]
fn what_is_wrong_with_clips_csv_is_told_with_the_line() {
    let says = |from: &'static str, to: &'static str, says: &[&str]| {
        import_says(Source::default(), move |dir| edit_clips(dir, from, to), says);
    };
    says("c3,barking,train", "c2,barking,train", &["clips.csv:5", "\"c2\"", "twice", "line 4"]);
    says("c3,barking,train", "c3,barking,tset", &["clips.csv:5", "\"tset\"", "train or val"]);
    says("c3,barking,train", "c3,barking", &["clips.csv", "line: 5"]);
    says("c3,barking,train", ",barking,train", &["clips.csv:5", "no name"]);
    says("clip,label,split", "clip,class,split", &["clips.csv:1", "\"label\"", "clip,class,split"]);
    says("c9,barking,val", "c9,meowing,val", &["clips.csv", "\"meowing\"", "no train clip"]);
    import_says(
        Source::default(),
        |dir| std::fs::write(dir.join("clips.csv"), "clip,label,split\n").unwrap(),
        &["clips.csv", "no clips"],
    );
    import_says(
        Source::default(),
        |dir| std::fs::remove_file(dir.join("clips.csv")).unwrap(),
        &["source", "no clips.csv"],
    );
    let every = |from: &'static str, to: &'static str| {
        move |dir: &Path| {
            let path = dir.join("clips.csv");
            std::fs::write(&path, std::fs::read_to_string(&path).unwrap().replace(from, to)).unwrap();
        }
    };
    import_says(Source::default(), every(",val", ",train"), &["clips.csv", "no val clips"]);
    import_says(Source { classes: vec!["barking"], ..Source::default() }, |_| (), &["1 class", "at least 2"]);
    import_says(
        Source { silent_every: 5, ..Source::default() },
        every("false", "maybe"),
        &["clips.csv:2", "\"maybe\"", "true or false"],
    );
}

#[test]
fn folders_without_sound_or_vision_are_refused() {
    import_says(
        Source { silent_every: 1, audio: vec![("vggish", 5)], ..Source::default() },
        |_| (),
        &["none of them an audio feature", "--rows"],
    );
    let all_silent = |dir: &Path| {
        let path = dir.join("clips.csv");
        let text = std::fs::read_to_string(&path).unwrap().replace(",split\n", ",split,has_audio\n");
        std::fs::write(&path, text.replace(",train\n", ",train,false\n").replace(",val\n", ",val,false\n")).unwrap();
    };
    import_says(Source::default(), all_silent, &["\"vggish\"", "everything is silent"]);
    import_says(Source { streams: vec![], ..Source::default() }, |_| (), &["a visual stream is needed"]);
    import_says(
        Source::default(),
        |dir| std::fs::remove_dir_all(dir.join("features")).unwrap(),
        &["source", "no feature file of any clip"],
    );
}

#[test]
fn bad_import_arguments_are_refused() {
    let place = Place::new();
    Source::default().write(&place.path("source"));
    for (arguments, says, code) in [
        ("--rows vggish", "--rows vggish: should be NAME=N", 2),
        ("--rows vggish=many", "--rows vggish=many", 2),
        ("--rows vggish=0", "--rows vggish=0", 1),
        ("--rows vgg/ish=3", "vgg/ish", 1),
        ("--rows vgish=3", "--rows", 1),
        ("--frames 0", "--frames 0", 1),
        ("--frames=-1", "--frames", 2),
        ("--precision f64", "f64", 2),
    ] {
        place.call("data import source data").words(arguments).stderr(says).fails(code);
    }
    place.call("data import nowhere data").stderr("nowhere").fails(1);
    place.write("taken/file", "");
    place.call("data import source taken").stderr("taken: exists already").fails(1);
    place.call("data stats source").stderr("source: not a data set").stderr("unmute data import source").fails(1);
}

/// A data set, spoilt, and what opening it should say.
#[track_caller]
fn open_says(spoil: impl FnOnce(&Place), says: &[&str]) {
    let place = Place::with_experiment(&Source::default());
    spoil(&place);
    for words in ["data stats data", "plan experiment", "run experiment"] {
        let call = says.iter().fold(place.call(words), |call, text| call.stderr(text));
        call.fails(1);
    }
    assert!(!place.path(".unmute").exists(), "nothing was stored");
}

/// Overwrites four bytes of a tensor.
fn poke(path: &Path, at: usize, value: f32) {
    let mut bytes = std::fs::read(path).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    bytes[8 + header + 4 * at..][..4].copy_from_slice(&value.to_le_bytes());
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn damaged_data_sets_are_refused() {
    open_says(|p| truncate(&p.path("data/rgb.safetensors"), 4), &["data/rgb.safetensors", "truncated"]);
    open_says(|p| truncate_to(&p.path("data/rgb.safetensors"), 5), &["data/rgb.safetensors", "truncated"]);
    open_says(|p| truncate_to(&p.path("data/rgb.safetensors"), 0), &["data/rgb.safetensors"]);
    open_says(
        |p| std::fs::remove_file(p.path("data/vggish.safetensors")).unwrap(),
        &["data/vggish.safetensors", "no such file"],
    );
    // Clip 7's 3 frames of 6 numbers; place 8 of its row.
    open_says(
        |p| poke(&p.path("data/rgb.safetensors"), 7 * 18 + 8, f32::NAN),
        &["rgb.safetensors", "\"c7\"", "NaN", "place 8"],
    );
    open_says(
        |p| poke(&p.path("data/vggish.safetensors"), 3 * 15, f32::INFINITY),
        &["vggish.safetensors", "\"c3\"", "inf"],
    );
    open_says(
        |p| edit(p, "data/dataset.yaml", "width: 6", "width: 5"),
        &["rgb.safetensors", "[48, 3, 6]", "[48, 3, 5]"],
    );
    open_says(|p| edit(p, "data/dataset.yaml", "frames: 3", "frames: 0"), &["dataset.yaml", "frames is 0"]);
    open_says(|p| edit(p, "data/dataset.yaml", "frames: 3", "frames: [3"), &["dataset.yaml", "line"]);
    open_says(|p| edit(p, "data/dataset.yaml", "name: rgb", "name: ../rgb"), &["dataset.yaml", "\"../rgb\""]);
    open_says(|p| edit(p, "data/dataset.yaml", "- dripping", "- barking"), &["dataset.yaml", "\"barking\"", "twice"]);
    open_says(
        |p| edit_clips(&p.path("data"), "c5,dripping", "c5,driping"),
        &["clips.csv:7", "\"driping\"", "\"c5\"", "did you mean \"dripping\"?"],
    );
    open_says(
        |p| edit_clips(&p.path("data"), "c5,dripping,train,true\n", ""),
        &["rgb.safetensors", "[48, 3, 6]", "47 rows"],
    );
    open_says(|p| std::fs::remove_file(p.path("data/dataset.yaml")).unwrap(), &["data: not a data set"]);
}

fn edit(place: &Place, file: &str, from: &str, to: &str) {
    let text = place.read(file);
    assert!(text.contains(from), "{from:?} is in {file}:\n{text}");
    place.write(file, &text.replacen(from, to, 1));
}

#[test]
fn experiments_need_something_to_fill_in_and_something_to_learn_from() {
    let place = Place::with_experiment(&Source::default());
    let says = |set: &str, texts: &[&str]| {
        let call = place.call("run experiment --set").arg(set);
        texts.iter().fold(call, |call, text| call.stderr(text)).fails(1);
    };
    says("missing=null", &["\"source\"", "no val clip is silent", "missing: {rate"]);
    says("missing.rate=0.99", &["\"source\"", "every train clip is silent", "missing.rate"]);
    says("missing.rate=1", &["--set", "missing.rate", "below 1"]);
    // Two sounded train clips of one class are left at most.
    says("missing={rate: 0.97, seed: 3}", &["one class only"]);
}

#[test]
fn mistakes_in_the_yaml_are_shown_where_they_are() {
    let place = Place::with_data(&Source::default());
    let says = |text: &str| {
        place.write("experiment/experiment.yaml", text);
        place.call("plan experiment --dataset data").fails(1).stderr
    };
    let grid = "grid:\n  audio: [vggish]\n  generator: [lstm]\n  loss: [l2]\n  classifier: [with]\n";
    let all = [
        ("unknown key", format!("name: x\n{grid}train:\n  epoch: 3\n")),
        ("unknown block", format!("name: x\n{grid}trian: {{epochs: 3}}\n")),
        ("wrong type", format!("name: x\n{grid}train:\n  epochs: many\n")),
        ("negative number", format!("name: x\n{grid}train: {{batch: -4}}\n")),
        ("out of range", format!("name: x\n{grid}train:\n  lr: 0\n")),
        ("not a number", format!("name: x\n{grid}train: {{lr: .nan}}\n")),
        ("unknown word", format!("name: x\n{grid}svm: {{probability: plat}}\n")),
        (
            "empty axis",
            "name: x\ngrid:\n  audio: [vggish]\n  generator: []\n  loss: [l2]\n  classifier: [with]\n".into(),
        ),
        ("empty grid", "name: x\ngrid: {}\n".into()),
        ("no grid", "name: x\nseeds: [0]\n".into()),
        ("impossible axis value", grid_with("name: x\n", "generator: [lstm]", "generator: [lstm, gru]")),
        ("value of the wrong kind", grid_with("name: x\n", "loss: [l2]", "loss: [2]")),
        ("value twice", grid_with("name: x\n", "loss: [l2]", "loss: [l2, kl, l2]")),
        ("axis that is none", format!("name: x\n{grid}  train.lrr: [0.1]\n")),
        ("impossible value of a further axis", format!("name: x\n{grid}  train.lr: [0.1, fast]\n")),
        ("further axis out of range", format!("name: x\n{grid}  train.lr: [0.1, -1]\n")),
        ("everything excluded", format!("name: x\n{grid}exclude: [{{loss: l2}}]\n")),
        ("exclude of what is not there", format!("name: x\n{grid}exclude:\n  - {{loss: kl}}\n")),
        ("no seed", format!("name: x\n{grid}seeds: []\n")),
        ("seed twice", format!("name: x\n{grid}seeds: [1, 2, 1]\n")),
        ("bad name", format!("name: a/b\n{grid}")),
        ("block that does not divide", format!("name: x\n{grid}missing: {{rate: 0.4}}\ntrain: {{kl_block: 4}}\n")),
        ("broken YAML", format!("name: x\n{grid}seeds: [1, 2\ntrain: {{}}\n")),
        ("broken YAML behind letters beyond ASCII", format!("name: x\ntitle: ÄÖÜäöüßéèê\n{grid}seeds: [1, 2\n")),
        ("mistake behind letters beyond ASCII", format!("name: x\ntitle: ÄÖÜäöüßéèê\n{grid}train: {{ epoch: 3 }}\n")),
        ("broken YAML behind a byte order mark", format!("\u{feff}name: x\ntitle: ÄÖÜäöüßéèê\n{grid}seeds: [1, 2\n")),
        ("a mapping where a number belongs", format!("name: x\n{grid}train: {{lr: {{a: 1}}}}\n")),
        ("nothing where a number belongs", format!("name: x\n{grid}lstm:\n  hidden:\n")),
        ("a number where keys belong", format!("name: x\n{grid}lstm: 8\n")),
        ("key twice", format!("name: x\nname: y\n{grid}")),
        ("nothing", String::new()),
        ("a list", "- name: x\n".into()),
        ("extends nothing", format!("name: x\nextends: ../nowhere\n{grid}")),
        ("extends itself", format!("name: x\nextends: ../experiment\n{grid}")),
        ("extends a list", format!("name: x\nextends: [a]\n{grid}")),
    ];
    let report: String = all.iter().map(|(name, text)| format!("## {name}\n{}\n", says(text))).collect();
    insta::assert_snapshot!("yaml_errors", report);
    assert!(!place.path(".unmute").exists(), "nothing was stored");
}

/// A grid with one line replaced.
fn grid_with(before: &str, from: &str, to: &str) -> String {
    let grid = "grid:\n  audio: [vggish]\n  generator: [lstm]\n  loss: [l2]\n  classifier: [with]\n";
    assert!(grid.contains(from));
    format!("{before}{}", grid.replace(from, to))
}

#[test]
fn mistakes_in_tables_claims_and_ledger_are_shown_where_they_are() {
    let place = Place::with_experiment(&Source::default());
    let says = |file: &str, text: &str| {
        place.write(&format!("experiment/{file}"), text);
        let said = place.call("plan experiment").fails(1).stderr;
        std::fs::remove_file(place.path(&format!("experiment/{file}"))).unwrap();
        said
    };
    let table = |rows: &str| format!("tables:\n  - table: 1\n    title: T\n    accuracy:\n      - {rows}\n");
    let all = [
        ("tables.yaml", table("{key: a, row: A, fuse: rgb+vggish(lsmt)}")),
        ("tables.yaml", table("{key: a, row: A, fuse: rgb+vgish(lstm)}")),
        ("tables.yaml", table("{key: a, row: A, fuse: rgb+audio}")),
        ("tables.yaml", table("{key: a, row: A, fuse: rgb+}")),
        ("tables.yaml", table("{key: a, row: A, fuse: rgb, publishd: {top1: 1}}")),
        ("tables.yaml", table("{key: a, row: A, fuse: rgb, published: {top1: \"4.7%\"}}")),
        ("tables.yaml", table("{key: a, row: A, fuse: rgb}\n      - {key: a, row: B, fuse: flow}")),
        ("tables.yaml", "tables:\n  - {table: 1, title: T}\n".into()),
        ("claims.yaml", "claims:\n  - {id: C1, claim: a}\n  - {id: C1, claim: b}\n".into()),
        ("ledger.yaml", "ledger:\n  - {id: A1, question: q, decision: d, keys: [train.epoch]}\n".into()),
    ];
    let report: String = all.iter().map(|(file, text)| says(file, text) + "\n").collect();
    insta::assert_snapshot!("table_errors", report);
}

#[test]
fn bad_arguments_are_refused() {
    let place = Place::with_experiment(&Source::default());
    let said = |words: &str, sets: &[&str], code: i32| {
        let call = sets.iter().fold(place.call(words), |call, set| call.arg("--set").arg(set));
        call.fails(code).stderr
    };
    let sets = [
        "train.epochs",
        "=3",
        "train..lr=1",
        "train.epoch=3",
        "train.epochs=many",
        "train.epochs=[1",
        "grid.loss=[l3]",
        "nam=x",
        "train=5",
        "seeds=[]",
        "grid.train.lr=[fast]",
        "ünicode=[1",
        "",
    ];
    let report: String = sets.iter().map(|set| format!("## {set}\n{}\n", said("plan experiment", &[set], 1))).collect();
    insta::assert_snapshot!("set_errors", report);

    for (words, says, code) in [
        ("plan experiment --seeds one", "one", 2),
        ("plan experiment --seeds 1,,2", "--seeds", 2),
        ("plan experiment --seeds=-1", "-1", 2),
        ("plan experiment --seeds 99999999999999999999", "99999999999999999999", 2),
        ("plan experiment --seeds 1,2,1", "seed 1 stands twice", 2),
        ("plan experiment --dataset nowhere", "nowhere", 1),
        ("plan nowhere", "nowhere: not an experiment", 1),
        ("plan data", "data: not an experiment", 1),
        ("plan", "EXPERIMENT", 2),
        ("plan experiment --sets a=b", "--set", 2),
        ("run experiment --workers 0", "--workers 0", 2),
        ("run experiment --device tpu", "--device tpu", 2),
        ("run experiment --checkpoint-every nan", "--checkpoint-every", 2),
        ("run experiment --checkpoint-every=-1", "--checkpoint-every", 2),
        ("export schema experimnt", "did you mean \"experiment\"?", 2),
        ("export tables experiment --format html", "html", 2),
        ("rum experiment", "run", 2),
    ] {
        let call = place.call(words).stderr(says);
        let said = call.fails(code);
        assert!(said.stderr.len() < 2000, "{}", said.stderr);
    }
    place.write("bare/experiment.yaml", &small_experiment("").replace("dataset: ../data\n", ""));
    place.call("plan bare").stderr("bare: no data set").stderr("--dataset DIR").fails(2);
    assert!(!place.path(".unmute").exists(), "nothing was stored");
}

#[test]
fn files_that_are_no_store_are_refused_and_left_alone() {
    let place = Place::with_experiment(&Source::default());
    let verbs = ["ls --db", "status --db", "report experiment --db", "export tables experiment --db", "show abc --db"];
    for verb in verbs {
        place.call(verb).arg("nowhere.db").stderr("nowhere.db: there is no such store").stderr("--db").fails(1);
    }
    place.write("text.db", &"this is no database ".repeat(300));
    place.write("short.db", "short");
    let writes = ["run experiment --db", "plan experiment --db"];
    for file in ["text.db", "short.db"] {
        let before = place.read(file);
        for verb in verbs.iter().chain(&writes) {
            place.call(verb).arg(file).stderr(file).stderr("not a store of unmute").fails(1);
        }
        assert_eq!(place.read(file), before);
    }
    place.write("empty.db", "");
    place.call("ls --db empty.db").stderr("empty.db").stderr("empty").fails(1);
    place.call("run experiment --db data").stderr("data").fails(1);
    place.call("run experiment --db text.db/runs.db").stderr("text.db/runs.db").fails(1);
    place.call("report experiment --db made.db").stderr("made.db").fails(1);
    assert!(!place.path("made.db").exists() && !place.path("nowhere.db").exists(), "reading makes no store");
}

/// Writes `PRAGMA user_version` into a database's header.
fn set_version(path: &Path, version: u32) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[60..64].copy_from_slice(&version.to_be_bytes());
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn stores_of_the_future_and_of_others_are_refused_and_left_alone() {
    let place = Place::with_experiment(&Source::default());
    drop(Store::open(&place.path("new.db")).unwrap());
    set_version(&place.path("new.db"), 999);
    drop(Store::open(&place.path("other.db")).unwrap());
    // Another program's application id.
    let mut bytes = std::fs::read(place.path("other.db")).unwrap();
    bytes[68..72].copy_from_slice(b"ELSE");
    std::fs::write(place.path("other.db"), bytes).unwrap();
    for (file, says) in [("new.db", "newer version (schema 999"), ("other.db", "SQLite file of another program")] {
        let before = std::fs::read(place.path(file)).unwrap();
        for verb in ["ls --db", "plan experiment --db", "run experiment --db", "report experiment --db"] {
            place.call(verb).arg(file).stderr(file).stderr(says).fails(1);
        }
        assert!(std::fs::read(place.path(file)).unwrap() == before, "{file} was touched");
    }
}

#[test]
fn damage_in_a_store_is_told_and_not_believed() {
    let place = Place::with_experiment(&Source::default());
    place.call("run experiment --db r.db --seeds 0 --set grid.generator=[lstm]").success();
    let scores = {
        let store = place.store("r.db");
        let bank = runs(&store).into_iter().find(|r| r.kind == "bank").unwrap();
        unmute::store::blob::pack(&store.scores(&bank.id, "real").unwrap().unwrap().values).unwrap().0
    };
    let mut bytes = std::fs::read(place.path("r.db")).unwrap();
    // A long blob lies in several pages; its first bytes lie together.
    let start = &scores[..scores.len().min(60)];
    let at = bytes.windows(start.len()).position(|w| w == start).expect("the scores lie in the file");
    bytes[at + start.len() / 2] ^= 1;
    std::fs::write(place.path("r.db"), bytes).unwrap();
    place.call("export tables experiment --db r.db").stderr("r.db").stderr("damaged").stderr("hash").fails(1);
    place.call("ls --db r.db").success();
}

#[test]
fn an_experiment_that_never_ran_is_told_with_what_there_is() {
    let place = Place::with_experiment(&Source::default());
    place.call("run experiment --db r.db --seeds 0 --set grid.generator=[lstm] --set controls=[]").success();
    place.call("report other --db r.db").stderr("\"other\"").stderr("the store has: small").fails(2);
    drop(Store::open(&place.path("e.db")).unwrap());
    place.call("report other --db e.db").stderr("the store is empty").fails(2);
    place.call("status --db e.db").success();
    place.call("ls --db e.db").success();
}

#[test]
fn runs_of_a_changed_data_set_are_kept_apart_and_the_change_is_named() {
    let place = Place::with_experiment(&Source::default());
    let run = "run experiment --db r.db --seeds 0 --set grid.generator=[lstm] --set controls=[]";
    place.call(run).success();
    let ids = |place: &Place| -> Vec<String> { runs(&place.store("r.db")).into_iter().map(|r| r.id).collect() };
    let before = ids(&place);
    poke(&place.path("data/vggish.safetensors"), 4, 0.125);
    place
        .call(run)
        .stderr("another state of data set \"source\"")
        .stderr("vggish.safetensors")
        .absent("rgb.safetensors")
        .success();
    let after = ids(&place);
    assert_eq!(after.len(), 2 * before.len());
    assert!(before.iter().all(|id| after.contains(id)));
    // The tables are of the data set as it is now.
    let tables = place.call("export tables experiment --db r.db --format json").success().json();
    let lstm = tables.as_array().unwrap().iter().find(|e| e["table"] == 3 && e["key"] == "lstm/l2/with").unwrap();
    assert_eq!(lstm["n"], 1);
    place.call(run).stderr("nothing to train").success();
}

/// Whether this process is root, whom no permission stops.
fn root() -> bool {
    let place = Place::new();
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    std::fs::set_permissions(place.path(""), std::fs::Permissions::from_mode(0o755)).unwrap();
    place.path("").metadata().unwrap().uid() == 0
}

#[test]
fn a_folder_that_cannot_be_written_is_told() {
    use std::os::unix::fs::PermissionsExt;
    let nobody = 65534;
    let place = Place::with_experiment(&Source::default());
    place.call("run experiment --db closed/r.db --seeds 0 --set grid.generator=[lstm] --set controls=[]").success();
    let mode = |path: &str, mode: u32| {
        std::fs::set_permissions(place.path(path), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode("", 0o755);
    mode("closed", 0o555);
    mode("closed/r.db", 0o444);
    let as_reader = |words: &str| if root() { place.call(words).user(nobody) } else { place.call(words) };
    if root() && require::found("user", may_call(nobody).then_some(())).is_none() {
        return;
    }
    as_reader("run experiment --db closed/new.db").stderr("closed/new.db: cannot be written").stderr("--db").fails(1);
    as_reader("run experiment --db closed/deeper/new.db").stderr("closed/deeper/new.db: cannot be written").fails(1);
    as_reader("run experiment --db closed/r.db").stderr("closed/r.db: cannot be written").fails(1);
    as_reader("data import source closed/data --frames 3").stderr("closed").stderr("ermission denied").fails(1);
    as_reader("report experiment --db closed/r.db --out closed/out")
        .stderr("closed/out")
        .stderr("ermission denied")
        .fails(1);
    // Reading needs no writing.
    as_reader("ls --db closed/r.db").stdout("vggish/lstm").success();
    as_reader("export tables experiment --db closed/r.db").stdout("Table 3").success();
    as_reader("plan experiment --db closed/r.db").stdout("vggish/lstm").success();
    mode("closed", 0o755);
}

#[test]
fn a_full_disk_is_told() {
    let place = Place::with_experiment(&Source::default());
    let full = place.path("full");
    std::fs::create_dir(&full).unwrap();
    let mount = |words: &[&str]| std::process::Command::new(words[0]).args(&words[1..]).arg(&full).output();
    let mounted = mount(&["mount", "-t", "tmpfs", "-o", "size=192k", "none"]);
    if require::found("mount", mounted.ok().filter(|o| o.status.success())).is_none() {
        return;
    }
    let result = std::panic::catch_unwind(|| {
        place
            .call("run experiment --db full/r.db")
            .stderr("full/r.db")
            .stderr("full")
            .stderr("free some space")
            .fails(1);
        std::fs::write(full.join("ballast"), vec![0u8; 150 << 10]).ok();
        place.call("data import source full/data --frames 3").stderr("full/").stderr("free some space").fails(1);
    });
    mount(&["umount"]).unwrap();
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}
