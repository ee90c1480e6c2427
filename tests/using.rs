//! What was trained is used: weights that stay, features and predictions from them, and other people's libraries that run them.

use crate::support::call::{Place, runs};
use crate::support::features::Source;
use crate::support::require::found;
use crate::support::root;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use unmute::dataset::Dataset;
use unmute::runs::weights;
use unmute::store::{RunRecord, Store};

/// The run of a cell whose weights were kept.
fn kept(store: &Store, key: &str) -> RunRecord {
    let has = |r: &RunRecord| r.key == key && store.weights(&r.id).unwrap().is_some();
    runs(store).into_iter().find(has).unwrap_or_else(|| panic!("no weights of {key}"))
}

fn files(db: &Path) -> usize {
    std::fs::read_dir(weights::folder(db)).map_or(0, |entries| entries.count())
}

#[test]
fn the_best_seed_of_each_cell_and_all_heads_stay_and_no_number_depends_on_it() {
    let place = Place::tiny(2);
    place.train("best.db");
    place.call("run tiny --dataset data --db all.db --set train.keep=all").success();
    place.call("run tiny --dataset data --db none.db --set train.keep=none").success();
    assert_eq!(place.numbers("best.db"), place.numbers("all.db"));
    assert_eq!(place.numbers("best.db"), place.numbers("none.db"));
    let (best, all) = (place.store("best.db"), place.store("all.db"));
    let mut count: BTreeMap<(String, String), usize> = BTreeMap::new();
    for run in runs(&best) {
        *count.entry((run.kind.clone(), run.key.clone())).or_default() +=
            usize::from(best.weights(&run.id).unwrap().is_some());
        let kind = run.kind.as_str();
        assert_eq!(all.weights(&run.id).unwrap().is_some(), ["generator", "stream"].contains(&kind), "{}", run.key);
        if kind != "generator" || best.weights(&run.id).unwrap().is_none() {
            continue;
        }
        let others = runs(&best).into_iter().filter(|o| o.cell == run.cell);
        assert!(
            others.into_iter().all(|o| (o.values["top1"], run.seed) <= (run.values["top1"], o.seed)),
            "{}",
            run.key
        );
        assert_eq!(weights::read(&best, &run).unwrap().description.seed, run.seed);
    }
    for ((kind, key), count) in count {
        let expected = match kind.as_str() {
            "generator" => 1,
            "stream" => 2,
            _ => 0,
        };
        assert_eq!(count, expected, "{key}");
    }
    assert_eq!(files(&place.path("best.db")), best.all_weights().unwrap().len());
    assert_eq!(files(&place.path("none.db")), 0);
    // A grid cannot vary it, and a run that is not kept says how to get it.
    place.call("run tiny --dataset data --set grid.train.keep=[best,all]").fails(1);
    let lstm = runs(&place.store("none.db")).into_iter().find(|r| r.key == "vggish/lstm/l2/with").unwrap();
    let call = format!("generate {} --dataset data --out out --db none.db", lstm.id);
    let said = place.call(&call).fails(1);
    assert!(said.stderr.contains("were not kept") && said.stderr.contains("--keep-weights"), "{}", said.stderr);
    // Which it does: bit for bit the same weights.
    place.call(&format!("verify {} --dataset data --db none.db --keep-weights", lstm.id)).success();
    let (none, all) = (place.store("none.db"), place.store("all.db"));
    assert_eq!(weights::read(&none, &lstm).unwrap(), weights::read(&all, &lstm).unwrap());
    drop((best, all, none));
    // A merged store has the weights that it had not.
    place.call("run tiny --dataset data --db part.db --seeds 0 --set train.keep=none").success();
    place.call("merge all.db --db part.db").stderr("taken over").success();
    assert_eq!(place.store("part.db").all_weights().unwrap(), place.store("all.db").all_weights().unwrap());
    // A copy that travels alone.
    place.call("export store alone/copy.db --with-weights --db best.db").success();
    place.call("export store alone/copy.db --db best.db").fails(2);
    let (best, copy) = (place.store("best.db"), place.store("alone/copy.db"));
    let run = kept(&best, "vggish/lstm/l2/with");
    assert_eq!(weights::read(&copy, &run).unwrap(), weights::read(&best, &run).unwrap());
    assert_eq!(files(&place.path("alone/copy.db")), 0);
    // One that came without.
    place.call("export store bare/copy.db --db best.db").success();
    place
        .call(&format!("generate {} --dataset data --out out --db bare/copy.db", run.id))
        .stderr("--with-weights")
        .fails(1);
}

#[test]
fn predictions_from_the_weights_are_the_tables_numbers_to_the_last_digit() {
    let place = Place::tiny(3);
    place.train("runs.db");
    let store = place.store("runs.db");
    for key in ["vggish/lstm/l2/with", "vggish/autoencoder/l2/without"] {
        let run = kept(&store, key);
        let call = format!("predict {} --dataset data --split val --db runs.db --format json", run.id);
        let said = place.call(&call).success();
        let top1 = format!("top-1 {:.4} %", run.values["top1"]);
        assert!(said.stderr.contains(&top1), "{key}: {top1} in {}", said.stderr);
        let (val, scores) =
            (store.view(run.view_id).unwrap().val, store.scores(&run.id, "generated").unwrap().unwrap());
        let clips = said.json()["clips"].as_array().unwrap().clone();
        assert_eq!(clips.len(), val.clips.len());
        for (i, clip) in clips.iter().enumerate() {
            assert_eq!(
                (clip["clip"].as_str().unwrap(), clip["sounded"].as_bool().unwrap()),
                (val.clips[i].as_str(), val.sounded[i])
            );
            for (k, p) in clip["p"].as_array().unwrap().iter().enumerate().filter(|_| !val.sounded[i]) {
                assert!((p.as_f64().unwrap() - f64::from(scores.row(i)[k])).abs() < 1e-6, "{key}: clip {i}");
            }
        }
    }
    // Of several terms, as in a table's row: the seed is the generator's.
    let fuse = "rgb+flow+vggish(lstm/l2/with)";
    let said = place
        .args(&["predict", "tiny", "--fuse", fuse, "--dataset", "data", "--split", "val", "--db", "runs.db"])
        .success();
    let head = said.stdout.lines().next().unwrap();
    assert!(head.starts_with("clip,label,split,sounded,top1,p1,"), "{head}");
    let said = place
        .args(&[
            "predict",
            "tiny",
            "--fuse",
            "rgb",
            "--seed",
            "1",
            "--dataset",
            "data",
            "--split",
            "val",
            "--db",
            "runs.db",
        ])
        .success();
    let rgb = runs(&store).into_iter().find(|r| r.key == "rgb" && r.seed == Some(1)).unwrap();
    assert!(said.stderr.contains(&format!("top-1 {:.4} %", rgb.values["top1"])), "{}", said.stderr);
    // What was stored of the val clips, without any weights.
    let said = place.call("export predictions tiny --db runs.db --format json").success();
    let rows = said.json().as_array().unwrap().clone();
    let of = |r: &&serde_json::Value| r["run"] == rgb.id.as_str();
    let right = rows.iter().filter(of).filter(|r| r["right"] == true).count();
    let all = rows.iter().filter(of).count();
    assert_eq!(100.0 * right as f64 / all as f64, rgb.values["top1"]);
    // What cannot vote says so.
    place
        .args(&["predict", "tiny", "--fuse", "vggish(mean)", "--dataset", "data", "--db", "runs.db"])
        .stderr("control")
        .fails(2);
    place.call("predict tiny --dataset data --db runs.db").stderr("--fuse").fails(2);
    place
        .args(&["predict", "tiny", "--fuse", "flwo", "--dataset", "data", "--db", "runs.db"])
        .stderr("did you mean \"flow\"")
        .fails(2);
    place.call(&format!("predict {} --dataset data --db runs.db --format npy", rgb.id)).stderr("--out").fails(2);
}

#[test]
fn features_are_generated_for_any_data_set_with_the_same_streams() {
    let place = Place::tiny(1);
    place.train("runs.db");
    let cell = "--cell vggish/lstm/l2/with --db runs.db";
    place.call(&format!("generate {cell} --dataset data --split val --silent-only --out val")).success();
    let silent = place.read("val/clips.csv").lines().count() - 1;
    assert_eq!(std::fs::read_dir(place.path("val/features")).unwrap().count(), silent);
    place.call(&format!("generate {cell} --dataset data --out val")).stderr("already").fails(2);
    // A data set whose silent clips are filled in.
    place.call(&format!("generate {cell} --dataset data --as-dataset --out filled")).success();
    let (data, filled) = (Dataset::open(&place.path("data")).unwrap(), Dataset::open(&place.path("filled")).unwrap());
    assert!(filled.clips.iter().all(|c| c.has_audio) && filled.clips.len() == data.clips.len());
    let listed = place.read("filled/generated.csv");
    let generated = |name: &str| listed.lines().any(|line| line.starts_with(&format!("{name},")));
    let (mut a, mut b) = (vec![0.0; data.audio[0].row_len()], vec![0.0; data.audio[0].row_len()]);
    for (i, clip) in data.clips.iter().enumerate() {
        let at = filled.clips.iter().position(|c| c.name == clip.name).unwrap();
        data.audio[0].read_row(data.audio_row[i].unwrap(), &mut a);
        filled.audio[0].read_row(filled.audio_row[at].unwrap(), &mut b);
        assert_eq!(a == b, !generated(&clip.name), "{}", clip.name);
    }
    // Clips that nobody has labelled or heard.
    let width = |name: &str| data.manifest.stream(name).unwrap().width;
    let new = format!(
        "name: new\nframes: 4\nstreams: [{{name: flow, width: {}}}, {{name: rgb, width: {}}}]\n",
        width("flow"),
        width("rgb")
    );
    place.write("new/dataset.yaml", &new);
    let names: String = data.clips.iter().map(|c| format!("{}\n", c.name)).collect();
    place.write("new/clips.csv", &format!("clip\n{names}"));
    for stream in ["rgb", "flow"] {
        place.copy(&format!("data/{stream}.safetensors"), &format!("new/{stream}.safetensors"));
    }
    place.call(&format!("generate {cell} --dataset new --out of-new --format safetensors")).success();
    place.call(&format!("generate {cell} --dataset data --out of-data --format safetensors")).success();
    let bytes = |folder: &str| std::fs::read(place.path(&format!("{folder}/vggish.safetensors"))).unwrap();
    assert!(bytes("of-new") == bytes("of-data"), "the order of the streams is the run's");
    let fuse = ["predict", "tiny", "--fuse", "rgb+vggish(lstm)", "--dataset", "new", "--db", "runs.db"];
    place.args(&fuse).absent("top-1").success();
    // Others are refused, with both numbers.
    place.write(
        "new/dataset.yaml",
        &new.replace("frames: 4", "frames: 2").replace(&format!("width: {}", width("rgb")), "width: 2"),
    );
    place.call(&format!("generate {cell} --dataset new --out x")).fails(1);
    place.write("new/dataset.yaml", &new.replace("name: rgb", "name: depth"));
    place.copy("data/rgb.safetensors", "new/depth.safetensors");
    place.call(&format!("generate {cell} --dataset new --out x")).stderr("no stream \"rgb\"").stderr("depth").fails(1);
    Source { streams: vec![("rgb", 7), ("flow", 4)], ..Source::default() }.write(&place.path("wide"));
    place.call("data import wide other --frames 4").success();
    let told = "7 numbers wide, and vggish/lstm/l2/with seed";
    let said = place.call(&format!("generate {cell} --dataset other --out x")).fails(1);
    assert!(said.stderr.contains(told) && said.stderr.contains(&width("rgb").to_string()), "{}", said.stderr);
    place.call("data import wide short --frames 3").success();
    // A damaged file is told, and not used.
    let store = place.store("runs.db");
    let run = kept(&store, "vggish/lstm/l2/with");
    let path = weights::path(&place.path("runs.db"), &store.weights(&run.id).unwrap().unwrap().hash);
    let mut file = std::fs::read(&path).unwrap();
    let middle = file.len() / 2;
    file[middle] ^= 1;
    std::fs::write(&path, &file).unwrap();
    place.call(&format!("generate {cell} --dataset data --out x")).stderr("do not match their hash").fails(1);
    std::fs::remove_file(&path).unwrap();
    place.call(&format!("generate {cell} --dataset data --out x")).stderr("are not there").fails(1);
    assert!(!place.path("x").exists());
}

#[test]
fn clips_without_labels_are_found_by_name_and_what_is_wrong_with_them_is_told() {
    let place = Place::tiny(1);
    place.train("runs.db");
    let predict = |data: &str, more: &str| {
        let call = format!("predict tiny --fuse rgb+flow --db runs.db --dataset {data} {more}");
        place.args(&call.split_whitespace().collect::<Vec<_>>())
    };
    // Class by clip, whatever the order of the lines.
    let classes = |csv: &str| -> std::collections::BTreeMap<String, String> {
        let lines = csv.lines().skip(1).map(|line| line.split(',').map(String::from).collect::<Vec<_>>());
        lines.map(|fields| (fields[0].clone(), fields[4].clone())).collect()
    };
    let expected = classes(&predict("data", "").success().stdout);
    let data = Dataset::open(&place.path("data")).unwrap();
    let lines: Vec<String> = data.clips.iter().rev().map(|c| format!("{},True\n", c.name)).collect();
    std::fs::create_dir(place.path("new")).unwrap();
    for file in ["dataset.yaml", "rgb.safetensors", "flow.safetensors", "vggish.safetensors"] {
        place.copy(&format!("data/{file}"), &format!("new/{file}"));
    }
    place.write("new/clips.csv", &format!("clip,has_audio\n{}", lines.concat()));
    let said = predict("new", "").stderr("each row was found by its name").success();
    assert_eq!(classes(&said.stdout), expected);
    // The same is refused as where there are labels.
    let good = std::fs::read(place.path("new/rgb.safetensors")).unwrap();
    let write = |bytes: &[u8]| std::fs::write(place.path("new/rgb.safetensors"), bytes).unwrap();
    let mut bad = good.clone();
    let end = bad.len() - 4;
    bad[end..].copy_from_slice(&f32::NAN.to_le_bytes());
    write(&bad);
    predict("new", "").stderr("holds NaN").stderr("rgb.safetensors").fails(1);
    write(&good[..end]);
    predict("new", "").stderr("rgb.safetensors").stderr("truncated").fails(1);
    write(&good);
    place.write("new/clips.csv", &format!("clip,label,label\n{}", lines.concat().replace("True", "a,b")));
    predict("new", "").stderr("column \"label\" stands twice").fails(1);
    // Names that a spreadsheet would take for formulas.
    let odd = place.read("data/dataset.yaml").replace("class0", "\"=1+1\"");
    place.write("data/dataset.yaml", &odd);
    place.write("data/clips.csv", &place.read("data/clips.csv").replace(",class0,", ",=1+1,"));
    place.call("run tiny --dataset data --db odd.db --seeds 0").success();
    let said = place.call("predict tiny --fuse rgb --dataset data --db odd.db").success().stdout;
    assert!(said.contains(",'=1+1,") && !said.contains(",=1+1,"), "{said}");
    let said = place.call("export predictions tiny --db odd.db").stderr("1 of 2 declared seeds").success().stdout;
    assert!(said.contains(",'=1+1,") && !said.contains(",=1+1,"), "{said}");
    assert!(said.lines().next().unwrap().ends_with(",notes") && said.contains("1 of 2 declared seeds"), "{said}");
    // Nothing votes.
    place.call("run tiny --dataset data --db odd.db --seeds 0 --set fusion.weights.rgb=0").success();
    place.call("predict tiny --fuse rgb --dataset data --db odd.db").stderr("weight 0").fails(2);
}

/// A Python that has PyTorch, ONNX Runtime and safetensors: UNMUTE_PYTHON, or python3.
fn python() -> Option<String> {
    let program = std::env::var("UNMUTE_PYTHON").unwrap_or_else(|_| "python3".into());
    let imports = "import torch, onnxruntime, safetensors";
    let has = Command::new(&program).args(["-c", imports]).output().is_ok_and(|o| o.status.success());
    found("torch", has.then_some(program))
}

#[test]
fn exported_weights_run_in_pytorch_and_onnx_runtime() {
    let place = Place::tiny(2);
    place.write(
        "others/experiment.yaml",
        &place
            .read("tiny/experiment.yaml")
            .replace("name: tiny", "name: others")
            .replace("seeds: [0, 1]", "seeds: [3]")
            .replace("[lstm, autoencoder]", "[lstm, autoencoder, mlp, transformer]")
            .replace("[with, without]", "[with]"),
    );
    let more = "\nmlp: {width: 8}\ntransformer: {layers: 2, heads: 2, width: 8}\n";
    place.write("others/experiment.yaml", &(place.read("others/experiment.yaml") + more));
    place.call("run others --dataset data --db runs.db").success();
    let sets = "--set autoencoder.test_frame=mean --set match_generated=moments --set grid.generator=[autoencoder]";
    place.call(&format!("run others --dataset data --db runs.db {sets}")).success();
    let store = place.store("runs.db");
    for run in runs(&store) {
        let moments = run.spec["match_generated"] == "moments";
        let name = run.key.replace('/', "-") + if moments { "-moments" } else { "" };
        let name = format!("out/{name}");
        let export = |format: &str, end: &str| {
            place.call(&format!("export weights {} --db runs.db --format {format} --out {name}.{end}", run.id))
        };
        if run.kind == "control" {
            export("onnx", "onnx").stderr("control").fails(2);
            continue;
        }
        let folder = if run.kind == "bank" { "banks" } else { "out" };
        let name = name.replace("out/", &format!("{folder}/"));
        for (format, end) in [("safetensors", "safetensors"), ("torch-npz", "npz"), ("onnx", "onnx")] {
            place
                .call(&format!("export weights {} --db runs.db --format {format} --out {name}.{end}", run.id))
                .success();
        }
        if run.kind == "generator" {
            place.call(&format!("generate {} --db runs.db --dataset data --out {name}.features", run.id)).success();
        }
    }
    assert!(std::fs::read_dir(place.path("out")).unwrap().count() > 20);
    let Some(python) = python() else { return };
    for file in ["clips.csv", "rgb.safetensors", "flow.safetensors"] {
        std::fs::create_dir_all(place.path("out/data")).unwrap();
        place.copy(&format!("data/{file}"), &format!("out/data/{file}"));
    }
    let mut command = Command::new(python);
    command.arg(root().join("tests/fixtures/check_weights.py"));
    let output = command.arg(root().join("examples/pytorch")).arg(place.path("out")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(said.lines().filter(|l| l.contains(" torch:")).count(), 5, "{said}");
}
