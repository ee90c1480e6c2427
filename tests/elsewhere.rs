//! Generators from elsewhere: features that other programs made are cells of the grid, and weights that others changed come
//! back.

use crate::support::call::{Place, runs};
use crate::support::features::write_npy;
use crate::support::require::found;
use crate::support::root;
use std::path::Path;
use std::process::Command;
use unmute::store::{RunRecord, Store};

const GRID: &str = "--set grid.generator=[lstm,external:mine]";

fn run_of(store: &Store, key: &str) -> RunRecord {
    runs(store).into_iter().find(|r| r.key == key).unwrap_or_else(|| panic!("no run of {key}"))
}

/// A place with tables, a claim about a generator from elsewhere, and a trained grid.
fn place(epochs: usize) -> Place {
    let place = Place::tiny(epochs);
    place.write(
        "tiny/tables.yaml",
        "tables:\n  - table: 3\n    title: generated\n    audio: [vggish]\n    accuracy:\n\
         \x20     - {key: baseline, row: baseline, fuse: audio}\n\
         \x20     - {key: lstm/l2/with, row: lstm, fuse: audio(lstm/l2/with)}\n\
         \x20     - {key: lstm/l2/without, row: lstm without, fuse: audio(lstm/l2/without)}\n\
         \x20     - {key: mean, row: mean, control: true, fuse: audio(mean)}\n",
    );
    place
}

/// Features of every clip, as another program leaves them: around the class's centre, as far as `knows` goes.
fn stand_in(folder: &Path, name: &str, width: usize, knows: f32) {
    std::fs::create_dir_all(folder).unwrap();
    for i in 0..96usize {
        let value = |j: usize| if j % 4 == i % 4 { knows } else { 0.01 * (i % 7) as f32 };
        let values: Vec<f32> = (0..width).map(value).collect();
        write_npy(&folder.join(format!("c{i:03}_vggish.{name}.npy")), &[width], &values);
    }
}

/// Features that unmute generated, under the name of a generator from elsewhere.
fn renamed(place: &Place, from: &str, to: &str, name: &str) {
    std::fs::create_dir_all(place.path(to)).unwrap();
    for entry in std::fs::read_dir(place.path(from)).unwrap().flatten() {
        let file = entry.file_name().to_string_lossy().replace("_vggish.npy", &format!("_vggish.{name}.npy"));
        std::fs::copy(entry.path(), place.path(to).join(file)).unwrap();
    }
}

#[test]
fn generated_features_of_the_val_clips_give_the_tables_numbers_when_they_are_scored_from_files() {
    let place = place(3);
    place.train("runs.db");
    let store = place.store("runs.db");
    for (kind, key) in [("npy", "vggish/lstm/l2/with"), ("safetensors", "vggish/autoencoder/l2/without")] {
        let of_key = |r: &RunRecord| r.key == key && store.weights(&r.id).unwrap().is_some();
        let run = runs(&store).into_iter().find(of_key).unwrap();
        let out = format!("made-{kind}");
        place.call(&format!("generate {} --dataset data --db runs.db --format {kind} --out {out}", run.id)).success();
        match kind {
            "npy" => renamed(&place, &format!("{out}/features"), "made/features", "npy"),
            _ => place.copy(&format!("{out}/vggish.safetensors"), "made/vggish.safetensors.safetensors"),
        }
        let set = format!("--set grid.generator=[lstm,external:{kind}]");
        place.call(&format!("run tiny --dataset data --features made --db runs.db {set}")).success();
        let ours = run_of(&place.store("runs.db"), &format!("vggish/external:{kind}"));
        // Equal to the last digit: accuracies, and how near the features come to the truth.
        for name in ["top1", "top5", "top1/silent", "top5/silent", "top1/sounded", "top1/silent_train"] {
            assert_eq!(ours.values.get(name), run.values.get(name), "{key}: {name}");
        }
        for name in ["cosine/silent", "r2/silent", "mse/sounded"] {
            assert!((ours.values[name] - run.values[name]).abs() < 1e-6, "{key}: {name}");
        }
        let scores = |run: &RunRecord| place.store("runs.db").scores(&run.id, "generated").unwrap().unwrap();
        let (a, b) = (scores(&ours), scores(&run));
        assert!(a.values.iter().zip(&b.values).all(|(a, b)| (a - b).abs() < 1e-6), "{key}");
    }
}

#[test]
fn what_another_program_made_is_a_row_with_interval_and_claims() {
    let place = place(2);
    stand_in(&place.path("made"), "mine", 5, 1.0);
    place.write(
        "tiny/claims.yaml",
        "claims:\n  - id: E1\n    claim: ours from elsewhere beats the mean\n    compare:\n      - {table: 3, rows: \"external:mine\", beat: mean}\n",
    );
    // The claim names a row that only the wider grid has.
    let yaml = place.read("tiny/experiment.yaml").replace("[lstm, autoencoder]", "[lstm, \"external:mine\"]");
    place.write("tiny/experiment.yaml", &yaml);
    place.call("plan tiny --dataset data --features made").stdout("external").success();
    place.call("run tiny --dataset data --features made --db runs.db").success();
    let all = place.call("export tables tiny --format json --db runs.db").success().json();
    let entries = all.as_array().unwrap();
    let row = entries.iter().find(|e| e["key"] == "external:mine" && e["metric"] == "top1").unwrap();
    assert!(row["interval"].is_array() && row["mean"].as_f64().unwrap() > 50.0, "{row}");
    let claims = place.call("claims tiny --db runs.db --json").said().json();
    assert_eq!((&claims[0]["id"], &claims[0]["verdict"]), (&"E1".into(), &"holds".into()), "{claims}");
    place.call("report tiny --db runs.db --out .").success();
    let page = place.read("tiny.html");
    for text in ["generated elsewhere, mine", "Generated elsewhere", "vggish/external:mine"] {
        assert!(page.contains(text), "{text}");
    }
    // It is the best here, and so what `best` stands for.
    let best = place.args(&["export", "confusion", "tiny", "--of", "vggish(best)", "--db", "runs.db"]).success().stdout;
    let mine =
        place.args(&["export", "confusion", "tiny", "--of", "vggish(external:mine)", "--db", "runs.db"]).success();
    let without_seeds =
        |text: &str| text.lines().skip(1).map(|l| l.split(',').nth(4).map(String::from)).collect::<Vec<_>>();
    assert_eq!(without_seeds(&best), without_seeds(&mine.stdout));
    // The store verifies, and again from the files.
    place.call("verify --db runs.db").success();
    let id = run_of(&place.store("runs.db"), "vggish/external:mine").id;
    place.call(&format!("verify {id} --dataset data --features made --db runs.db")).success();
    place.call(&format!("verify {id} --dataset data --db runs.db")).stdout("--features").ends(3);
    place.call("ls --db runs.db --where generator=external:mine").stdout("vggish/external:mine").success();
    // It cannot do what needs a network of ours.
    place.call(&format!("generate {id} --dataset data --db runs.db --out x")).stderr("no generator").fails(2);
    place.call(&format!("export weights {id} --db runs.db --out x")).fails(2);
    place
        .args(&["predict", "tiny", "--fuse", "vggish(external:mine)", "--dataset", "data", "--db", "runs.db"])
        .stderr("generated elsewhere")
        .fails(2);
    // Other numbers are another run; the same ones, from another place, are not.
    place.call("run tiny --dataset data --features made --db runs.db").stderr("nothing to train").success();
    std::fs::create_dir_all(place.path("data/features")).unwrap();
    for i in 0..96 {
        place.copy(&format!("made/c{i:03}_vggish.mine.npy"), &format!("data/features/c{i:03}_vggish.mine.npy"));
    }
    place.call("run tiny --dataset data --db runs.db").stderr("nothing to train").success();
    write_npy(&place.path("made/c095_vggish.mine.npy"), &[1, 5], &[0.5; 5]);
    place.call("run tiny --dataset data --features made --db runs.db").stderr("1 to do").success();
}

#[test]
fn features_that_do_not_fit_are_told_with_clip_and_number() {
    let place = place(1);
    let run = || place.call(&format!("run tiny --dataset data --features made --db runs.db {GRID}"));
    // None at all, and how they are to be called.
    run().stderr("no vggish of the generator external:mine in made").stderr("_vggish.mine.npy").fails(1);
    stand_in(&place.path("made"), "mine", 5, 1.0);
    run().success();
    let file = |clip: &str| place.path(&format!("made/{clip}_vggish.mine.npy"));
    std::fs::rename(file("c064"), place.path("c064")).unwrap();
    run().stderr("no vggish.mine of 1 of 32 val and test clips (first: \"c064\")").fails(1);
    write_npy(&file("c064"), &[4], &[1.0; 4]);
    run().stderr("has 4 numbers, and vggish of data set features is 5 wide").fails(1);
    write_npy(&file("c064"), &[5], &[1.0, 2.0, f32::NAN, 0.0, 0.0]);
    run().stderr("clip \"c064\" holds NaN at place 2").fails(1);
    write_npy(&file("c064"), &[5], &[1.0, 1e20, 0.0, 0.0, 0.0]);
    run().stderr("holds 1e20 at place 1").fails(1);
    write_npy(&file("c064"), &[2, 5], &[1.0; 10]);
    run().stderr("shape (2, 5)").fails(1);
    std::fs::write(file("c064"), "no array").unwrap();
    run().stderr("not a .npy file").fails(1);
    std::fs::rename(place.path("c064"), file("c064")).unwrap();
    write_npy(&file("c64"), &[5], &[1.0; 5]);
    run().stderr("\"c64\" is no clip of data set features").fails(1);
    std::fs::remove_file(file("c64")).unwrap();
    // Train clips may lack theirs; then nothing is said of silent train clips.
    for i in 0..64 {
        std::fs::remove_file(file(&format!("c{i:03}"))).unwrap();
    }
    run().stderr("1 to do").success();
    let store = place.store("runs.db");
    let mine: Vec<RunRecord> = runs(&store).into_iter().filter(|r| r.key == "vggish/external:mine").collect();
    assert_eq!(mine.iter().filter(|r| r.values.contains_key("top1/silent_train")).count(), 1, "of two runs");
    // A name that files cannot be called after, and one that stands twice.
    place.args(&["plan", "tiny", "--dataset", "data", "--set", "grid.generator=[external:a b]"]).fails(1);
    place.args(&["plan", "tiny", "--dataset", "data", "--set", "grid.generator=[external:a,external:a]"]).fails(1);
}

#[test]
fn features_beside_the_sources_features_come_along() {
    let place = place(1);
    stand_in(&place.path("features/features"), "mine", 5, 1.0);
    let said = place.call("data import features with --frames 4 --rows vggish=1").success();
    assert!(said.text().contains("vggish.mine: 96 clips, generated elsewhere"), "{}", said.text());
    assert!(place.path("with/features/c003_vggish.mine.npy").is_file());
    // They are no part of the data set.
    place.call(&format!("run tiny --dataset data --features with --db runs.db {GRID}")).success();
    place.call(&format!("run tiny --dataset with --db runs.db {GRID}")).stderr("nothing to train").success();
    // Generated since the import: the same call brings them along.
    stand_in(&place.path("features/features"), "later", 5, 0.5);
    place.call("data import features with --frames 4 --rows vggish=1").success();
    place.call("run tiny --dataset with --db runs.db --set grid.generator=[external:later]").success();
    // Those of a feature that is none of sound are left out, and said.
    write_npy(&place.path("features/features/c003_rgb.mine.npy"), &[6], &[0.0; 6]);
    let said = place.call("data import features other --frames 4 --rows vggish=1").success();
    assert!(said.text().contains("files of rgb.mine, whose feature is none of sound"), "{}", said.text());
    // Which clips sound in the experiment is told to whoever trains elsewhere.
    let clips = place.call("export clips tiny --dataset data").success().stdout;
    assert_eq!(clips.lines().count(), 97);
    let silent = clips.lines().filter(|l| l.ends_with(",false")).count();
    assert!((20..60).contains(&silent), "{silent} of 96, where 40 % were asked for");
}

#[test]
fn weights_come_back_as_they_went_and_changed_ones_are_evaluated() {
    let place = place(2);
    place.train("runs.db");
    let store = place.store("runs.db");
    let of_key = |r: &RunRecord| r.key == "vggish/lstm/l2/with" && store.weights(&r.id).unwrap().is_some();
    let run = runs(&store).into_iter().find(of_key).unwrap();
    let id = &run.id;
    place.call(&format!("generate {id} --dataset data --db runs.db --out made")).success();
    for (format, end) in [("safetensors", "safetensors"), ("torch-npz", "npz")] {
        place.call(&format!("export weights {id} --db runs.db --format {format} --out w.{end}")).success();
        let call = format!("import weights {id} w.{end} --as {end} --dataset data --db runs.db --out back-{end}");
        let said = place.call(&call).success();
        assert!(said.stderr.contains(&format!("top-1 {:.4} %", run.values["top1"])), "{}", said.stderr);
        for clip in ["c000", "c064", "c095"] {
            let read = |path: String| std::fs::read(place.path(&path)).unwrap();
            let (a, b) =
                (format!("made/features/{clip}_vggish.npy"), format!("back-{end}/features/{clip}_vggish.{end}.npy"));
            assert!(read(a) == read(b), "{clip} of {end}");
        }
        let set = format!("--set grid.generator=[external:{end}]");
        place.call(&format!("run tiny --dataset data --features back-{end} --db runs.db {set}")).success();
        let again = run_of(&place.store("runs.db"), &format!("vggish/external:{end}"));
        assert_eq!(again.values["top1"], run.values["top1"], "{end}");
    }
    // Weights of another network, files that are none.
    let other = runs(&store).into_iter().find(|r| r.key == "vggish/autoencoder/l2/with").unwrap().id;
    let kept = |r: &RunRecord| r.key == "vggish/autoencoder/l2/with" && store.weights(&r.id).unwrap().is_some();
    let autoencoder = runs(&store).into_iter().find(kept).unwrap().id;
    let import = |run: &str, file: &str| {
        place.call(&format!("import weights {run} {file} --dataset data --db runs.db --out nothing"))
    };
    import(&autoencoder, "w.safetensors").stderr("lstm.weight_ih_l0").stderr("unknown").fails(1);
    place.write("text.safetensors", "no weights");
    import(id, "text.safetensors").stderr("no whole safetensors file").fails(1);
    import(id, "text.npz").fails(1);
    let bank = runs(&store).into_iter().find(|r| r.kind == "bank").unwrap().id;
    import(&bank, "w.npz").stderr("is no generator").fails(2);
    if other != autoencoder {
        import(&other, "w.npz").stderr("were not kept").fails(1);
    }
    place
        .call(&format!("import weights {id} w.npz --as a/b --dataset data --db runs.db --out n"))
        .stderr("--as")
        .fails(2);
    assert!(!place.path("nothing").exists());
}

#[test]
fn the_example_in_pytorch_gets_its_row() {
    let program = std::env::var("UNMUTE_PYTHON").unwrap_or_else(|_| "python3".into());
    let has = Command::new(&program).args(["-c", "import torch, safetensors, numpy"]).output();
    let Some(python) = found("torch", has.is_ok_and(|o| o.status.success()).then_some(program)) else { return };
    let place = place(2);
    let clips = place.call("export clips tiny --dataset data").success().stdout;
    place.write("clips.csv", &clips);
    let script = root().join("examples/pytorch/external.py");
    let output = Command::new(python)
        .args([script.as_path(), &place.path("data"), &place.path("clips.csv"), &place.path("made")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    place
        .call("run tiny --dataset data --features made --db runs.db --set grid.generator=[lstm,external:pytorch]")
        .success();
    let run = run_of(&place.store("runs.db"), "vggish/external:pytorch");
    assert!(run.values["top1/silent"] > 50.0, "{:?}", run.values);
    let table = place.call("export tables tiny --db runs.db").success().stdout;
    assert!(table.contains("pytorch"), "{table}");
}
