//! Data sets and their import, through the program: how sources may lie, what is told of them, and that contents and names
//! decide rather than times and the order of lines.

use crate::support::call::{Place, small_experiment};
use crate::support::features::{Source, npy, write_npy};
use std::fs::File;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

/// A place with the usual source in it.
fn place() -> Place {
    let place = Place::new();
    Source::default().write(&place.path("source"));
    place
}

/// Moves every file of the source to where `to` says, given clip and feature.
fn rearrange(place: &Place, to: impl Fn(&str, &str) -> String) {
    let features = place.path("source/features");
    let before: Vec<_> = std::fs::read_dir(&features).unwrap().map(|e| e.unwrap().path()).collect();
    for path in before {
        let stem = path.file_stem().unwrap().to_str().unwrap().to_string();
        let (clip, name) = stem.split_once('_').unwrap();
        let target = place.path("source").join(to(clip, name));
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::rename(path, target).unwrap();
    }
    // Where everything went to other folders, an empty one would hide them.
    let _ = std::fs::remove_dir(features);
}

fn fingerprint(place: &Place, data: &str) -> String {
    let stats = place.call("data stats --json").arg(data).success().json();
    stats["fingerprint"].as_str().unwrap().to_string()
}

/// Gives a file a time of writing of long ago.
fn set_back(path: &Path) {
    let long_ago = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    File::options().write(true).open(path).unwrap().set_modified(long_ago).unwrap();
}

fn edit(place: &Place, file: &str, change: impl Fn(&str) -> String) {
    place.write(file, &change(&place.read(file)));
}

#[test]
fn the_same_features_are_the_same_data_set_wherever_they_lie() {
    type Layout = fn(&str, &str) -> String;
    let layouts: [(&str, Layout); 5] = [
        ("capital letters", |clip, name| format!("features/{clip}_{name}.NPY")),
        ("a folder for each model", |clip, name| format!("{name}/model/{clip}_{name}.npy")),
        ("a folder for each feature", |clip, name| format!("features/{name}/{clip}.npy")),
        ("a folder for each clip", |clip, name| format!("features/{clip}/{name}.npy")),
        ("a folder for each split", |clip, name| format!("features/all/{clip}_{name}.npy")),
    ];
    let flat = place();
    flat.call("data import source data --frames 3 --strict").stderr("nothing of the source was left out").success();
    let expected = fingerprint(&flat, "data");
    for (what, to) in layouts {
        let place = place();
        rearrange(&place, to);
        place.call("data import source data --frames 3 --strict").success();
        assert_eq!(fingerprint(&place, "data"), expected, "{what}");
    }
}

#[test]
fn what_video_features_leaves_beside_its_features_is_left_out_and_told() {
    let place = place();
    for clip in ["c0", "c1", "c2"] {
        write_npy(&place.path(&format!("source/features/{clip}_fps.npy")), &[], &[25.0]);
        write_npy(&place.path(&format!("source/features/{clip}_timestamps_ms.npy")), &[2], &[0.0, 40.0]);
    }
    place
        .call("data import source data --frames 3")
        .stderr("not used: 3 files of the extractor's own (fps), no features (first: features/c0_fps.npy)")
        .stderr("3 files of the extractor's own (timestamps_ms)")
        .success();
    place.call("data import source strict --frames 3 --strict").stderr("--strict").stderr("c0_fps.npy").fails(1);
    assert!(!place.path("strict").exists());
    place.call("data import source skipped --frames 3 --skip fps").stderr("left out by --skip").success();
}

#[test]
fn what_is_left_out_is_counted_and_the_first_is_named() {
    let place = place();
    edit(&place, "source/clips.csv", |text| {
        let lines = text.lines().filter(|l| !l.starts_with("c5,") && !l.starts_with("c8,"));
        lines.map(|l| if l.starts_with("clip") { format!("{l},remark\n") } else { format!("{l},\n") }).collect()
    });
    place.write("source/features/notes.txt", "");
    place.write("source/features/more.h5", "");
    write_npy(&place.path("source/c0_late.npy"), &[1], &[0.0]);
    let path = npy(&place.path("source"), "c4", "rgb");
    let twice = [std::fs::read(&path).unwrap(), std::fs::read(&path).unwrap()].concat();
    std::fs::write(&path, twice).unwrap();
    // Named like a feature of clip c1, and there for that clip only.
    std::fs::copy(npy(&place.path("source"), "c5", "rgb"), place.path("source/features/c1_b_rgb.npy")).unwrap();
    let told = [
        "1 columns of clips.csv (first: \"remark\")",
        "6 files of clips that are not listed in clips.csv (first: features/c5_flow.npy)",
        "1 files of other formats than .npy and .npz (first: features/more.h5)",
        "1 arrays beside the folder features/, which is where they are looked for (first: c0_late.npy)",
        "1 files with something after their array, such as a second one (first: features/c4_rgb.npy)",
        "1 arrays of \"b_rgb\", found for 1 of 46 clips",
        "note: 1 files that are no arrays, which were not read (first: features/notes.txt)",
        "46 clips: 34 train, 12 val; 46 with sound, 0 silent",
        "rgb: 46 arrays of width 6, 4 to 6 rows (median 5), numbers from",
    ];
    told.iter().fold(place.call("data import source data --frames 3"), |call, text| call.stderr(text)).success();
    // A second call says the same.
    let call = place.call("data import source data --frames 3").stderr("imported already");
    told.iter().fold(call, |call, text| call.stderr(text)).success();
    told[..6].iter().fold(place.call("data import source other --strict"), |call, text| call.stderr(text)).fails(1);
}

#[test]
fn doubtful_features_are_told() {
    let place = place();
    let source = place.path("source");
    let copy = |from: &str, to: &str| std::fs::copy(npy(&source, from, "rgb"), npy(&source, to, "rgb")).unwrap();
    // c0 trains, c9 is val; c1 and c2 train.
    copy("c0", "c9");
    copy("c1", "c2");
    write_npy(&npy(&source, "c3", "rgb"), &[4, 6], &[0.0; 24]);
    let mut padded = vec![0.5; 24];
    padded[..18].iter_mut().enumerate().for_each(|(i, x)| *x = i as f32);
    write_npy(&npy(&source, "c4", "rgb"), &[4, 6], &padded);
    padded[0] = -999.0;
    write_npy(&npy(&source, "c6", "flow"), &[6, 4], &padded);
    // Every clip of one class is silent in train.
    edit(&place, "source/clips.csv", |text| {
        let lines = text.lines().map(|line| match line {
            head if head.starts_with("clip") => format!("{head},has_audio\n"),
            line => format!("{line},{}\n", if line.ends_with("dripping,train") { "FALSE" } else { "TRUE" }),
        });
        lines.collect()
    });
    for text in [
        "look at: 1 clips with the same rgb as another, in two splits (first: c0 (train) and c9 (val))",
        "look at: 1 clips with the same rgb as another, in one split (first: c1 (train) and c2 (train))",
        "look at: 1 clips whose rgb is one number throughout (first: c3: 0)",
        "look at: 1 clips with rows of rgb that are one number throughout, as padding is (first: c4)",
        "look at: 1 arrays of flow that hold -999, which often stands for a missing number (first: c6)",
        "look at: 1 classes without a sounded train clip: their sound cannot be learned (first: \"dripping\")",
        "not used: 12 audio arrays of clips that has_audio calls silent (first: features/c2_vggish.npy)",
        "note: 48 clips with fewer than 18 rows of rgb, which were repeated (first: c0)",
    ] {
        place.call("data import source data").stderr(text).success();
    }
    place.call("data import source strict --strict").stderr("c0 (train) and c9 (val)").fails(1);
}

#[test]
fn third_axes_are_dropped_or_reduced_as_asked() {
    let place = place();
    let source = place.path("source");
    for i in 0..48 {
        let values: Vec<f32> = (0..24).map(|k| (k * (i + 3) % 11) as f32).collect();
        write_npy(&npy(&source, &format!("c{i}"), "rgb"), &[4, 1, 6], &values);
        let crops: Vec<f32> = values.chunks(4).flat_map(|row| [row, row].concat()).collect();
        write_npy(&npy(&source, &format!("c{i}"), "flow"), &[6, 2, 4], &crops);
    }
    place
        .call("data import source data --frames 3")
        .stderr("c0_flow.npy")
        .stderr("(6, 2, 4)")
        .stderr("--reduce flow=mean")
        .fails(1);
    place
        .call("data import source data --frames 3 --reduce flow=mean")
        .stderr("48 arrays of rgb with an axis of length 1, which was dropped (first: c0)")
        .stderr("48 arrays of flow with a third axis, reduced as asked (first: c0)")
        .stderr("rgb 6, flow 4")
        .success();
    place
        .call("data import source data --reduce median")
        .stderr("--reduce median")
        .stderr("mean, max or first")
        .fails(2);
    place.call("data import source data --reduce folw=mean").stderr("did you mean \"flow\"").fails(1);
}

#[test]
fn features_on_their_side_are_recognised_and_turned() {
    let place = place();
    let source = place.path("source");
    for i in 0..48 {
        let frames = 3 + i % 2;
        let values: Vec<f32> = (0..64 * frames).map(|k| (k * (i + 3) % 13) as f32).collect();
        write_npy(&npy(&source, &format!("c{i}"), "rgb"), &[64, frames], &values);
    }
    place.call("data import source data").stderr("c1_rgb.npy").stderr("--transpose rgb").fails(1);
    place.call("data import source data --transpose rgb").stderr("rgb 64").stderr("3 to 4 rows").success();
}

#[test]
fn streams_are_chosen_by_name() {
    let place = place();
    place
        .call("data import source data --streams flow")
        .stderr("48 arrays of rgb, which --streams does not name")
        .success();
    let stats = place.call("data stats data --json").success().json();
    assert_eq!(stats["streams"].as_array().unwrap().len(), 1);
    place.call("data import source x --streams flwo").stderr("did you mean \"flow\"").fails(1);
    place.call("data import source x --skip flwo").stderr("did you mean \"flow\"").fails(1);
    // Sound is not taken for vision because a flag was forgotten.
    let source = place.path("source");
    for i in 0..48 {
        std::fs::copy(npy(&source, &format!("c{i}"), "vggish"), npy(&source, &format!("c{i}"), "aenet")).unwrap();
        std::fs::copy(npy(&source, &format!("c{i}"), "flow"), npy(&source, &format!("c{i}"), "slow_r50")).unwrap();
    }
    place
        .call("data import source x --rows vggish=1")
        .stderr("aenet is an audio feature")
        .stderr("--skip aenet")
        .fails(1);
    place.call("data import source x --rows vggish=1 --rows aent=mean").stderr("did you mean \"aenet\"").fails(1);
    place.call("data import source x --rows vggish=1 --rows aenet=mean").stderr("slow_r50 4, aenet 5").success();
}

#[test]
fn sounds_too_short_for_the_extractor_are_silent_when_asked() {
    let place = place();
    write_npy(&npy(&place.path("source"), "c3", "vggish"), &[0, 5], &[]);
    place
        .call("data import source data --frames 3")
        .stderr("c3_vggish.npy")
        .stderr("0 rows")
        .stderr("--absent-is-silent")
        .fails(1);
    place
        .call("data import source data --frames 3 --absent-is-silent")
        .stderr("1 clips with empty audio arrays, taken for silent (first: c3)")
        .stderr("47 with sound, 1 silent")
        .success();
}

#[test]
fn a_changed_source_is_noticed_whatever_its_size_and_time() {
    let place = place();
    let path = npy(&place.path("source"), "c4", "rgb");
    set_back(&path);
    place.call("data import source data --frames 3").stderr("imported:").success();
    place.call("data import source data --frames 3").stderr("imported already").success();
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 2;
    bytes[last] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    set_back(&path);
    place.call("data import source data --frames 3").stderr("since changed source").fails(1);
    bytes[last] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    place.call("data import source data --frames 3").stderr("imported already").success();
    // A copy has other times and inodes, and the same contents.
    place.call("data import source other --frames 3").success();
    assert_eq!(fingerprint(&place, "data"), fingerprint(&place, "other"));
    // The result is looked at too.
    edit(&place, "data/clips.csv", |text| text.replacen("c3,barking,train,true", "c3,cheering,train,true", 1));
    place.call("data import source data --frames 3").stderr("was changed since it was imported").fails(1);
}

#[test]
fn an_import_of_an_earlier_version_is_renewed_where_nothing_changed() {
    let place = place();
    place.call("data import source data --frames 3").success();
    let before = fingerprint(&place, "data");
    let old = r#"{"version":1,"options":"3","source":"0123"}"#;
    place.write("data/.import.json", old);
    place.call("data import source data --frames 3").stderr("by an earlier version").success();
    assert_eq!(fingerprint(&place, "data"), before);
    place.call("data import source data --frames 3").stderr("imported already").success();
    place.write("data/.import.json", old);
    place.call("data import source data --frames 4").stderr("other options").fails(1);
    assert_eq!(place.read("data/.import.json"), old, "what is there stays");
    assert_eq!(std::fs::read_dir(place.path("")).unwrap().count(), 2, "nothing is left beside it");
}

#[test]
fn rows_are_found_by_name_when_clips_csv_is_sorted() {
    let place = Place::with_experiment(&Source { silent_every: 5, ..Source::default() });
    let before = fingerprint(&place, "data");
    place.call("run experiment --set train.epochs=1").success();
    edit(&place, "data/clips.csv", |text| {
        let mut lines: Vec<&str> = text.lines().collect();
        lines[1..].sort_unstable_by(|a, b| b.cmp(a));
        lines.join("\n")
    });
    assert_eq!(fingerprint(&place, "data"), before, "the same clips with the same features");
    place.call("data stats data").stderr("each row was found by its name").success();
    place.call("run experiment --set train.epochs=1").stderr("nothing to train").success();
}

#[test]
fn rows_of_other_clips_are_refused() {
    let place = Place::with_data(&Source { silent_every: 5, ..Source::default() });
    let good = place.read("data/clips.csv");
    let says = |from: &str, to: &str, texts: &[&str]| {
        assert!(good.contains(from));
        place.write("data/clips.csv", &good.replacen(from, to, 1));
        texts.iter().fold(place.call("data stats data"), |call, text| call.stderr(text)).fails(1);
    };
    says("c7,", "renamed,", &["rgb.safetensors", "no row for clip \"renamed\"", "a row for \"c7\""]);
    // One clip falls silent, another sounds: the number of rows is as before.
    let swapped = good.replacen("c5,dripping,train,false", "c5,dripping,train,true", 1);
    place.write("data/clips.csv", &swapped.replacen("c6,barking,train,true", "c6,barking,train,false", 1));
    place.call("data stats data").stderr("vggish.safetensors").stderr("\"c5\"").stderr("has_audio").fails(1);
}

#[test]
fn data_sets_without_names_of_rows_open_with_a_word() {
    let place = Place::with_data(&Source::default());
    let before = fingerprint(&place, "data");
    for name in ["rgb", "flow", "vggish"] {
        let path = place.path(&format!("data/{name}.safetensors"));
        let bytes = std::fs::read(&path).unwrap();
        let end = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let mut header: serde_json::Value = serde_json::from_slice(&bytes[8..end]).unwrap();
        header.as_object_mut().unwrap().remove("__metadata__");
        let header = header.to_string();
        let all = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &bytes[end..]].concat();
        std::fs::write(&path, all).unwrap();
    }
    assert_eq!(fingerprint(&place, "data"), before);
    place.call("data stats data").stderr("rgb, flow, vggish does not name the clips of its rows").success();
}

#[test]
fn half_precision_refuses_what_it_would_erase() {
    for (scale, offset) in [(1e-9f32, 0.0f32), (0.01, 10_000.0)] {
        let place = place();
        for i in 0..48 {
            let values: Vec<f32> = (0..24).map(|k| offset + scale * (k * (i + 3) % 11) as f32).collect();
            write_npy(&npy(&place.path("source"), &format!("c{i}"), "rgb"), &[4, 6], &values);
        }
        place
            .call("data import source data --frames 3 --precision f16")
            .stderr("rgb")
            .stderr("--precision f32")
            .fails(1);
        assert!(!place.path("data").exists());
        place.call("data import source data --frames 3").success();
    }
    // A few small numbers among ordinary ones are told.
    let place = place();
    let values: Vec<f32> = (0..24).map(|k| if k < 2 { 1e-9 } else { k as f32 }).collect();
    write_npy(&npy(&place.path("source"), "c3", "rgb"), &[4, 6], &values);
    place
        .call("data import source data --frames 4 --precision f16")
        .stderr("rgb: 2 numbers (")
        .stderr("became 0")
        .success();
}

#[test]
fn numbers_out_of_range_are_refused_at_both_borders() {
    let place = place();
    let mut values = [0.5; 24];
    values[8] = 9.96e36;
    write_npy(&npy(&place.path("source"), "c3", "rgb"), &[4, 6], &values);
    place.call("data import source data").stderr("c3_rgb.npy").stderr("9.96e36").stderr("row 1").fails(1);
    let other = Place::with_data(&Source::default());
    let path = other.path("data/vggish.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let header = bytes.len() - 4 * 48 * 15;
    bytes[header + 4 * 16..][..4].copy_from_slice(&3e37f32.to_le_bytes());
    std::fs::write(&path, &bytes).unwrap();
    other.call("data stats data").stderr("vggish.safetensors").stderr("\"c1\"").stderr("3e37").fails(1);
    bytes[header..].chunks_exact_mut(4).for_each(|b| b.copy_from_slice(&1e-25f32.to_le_bytes()));
    std::fs::write(&path, &bytes).unwrap();
    other.call("data stats data").stderr("vggish.safetensors").stderr("scale the features up").fails(1);
}

#[test]
fn pipes_and_endless_sizes_are_refused() {
    let place = place();
    let path = npy(&place.path("source"), "c4", "rgb");
    std::fs::remove_file(&path).unwrap();
    let mode = rustix::fs::Mode::from_bits_truncate(0o644);
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    place.call("data import source data").stderr("c4_rgb.npy").stderr("named pipe").fails(1);
    place.call("data import source data --frames 4611686018427387904").stderr("at most 65536").fails(1);
    place.call("data import source data --rows vggish=999999999").stderr("at most 65536").fails(1);
    place.call("data synth d --val 20 --train 18446744073709551615").stderr("at most").fails(1);
}

#[test]
fn a_test_split_is_kept_and_takes_no_part_yet() {
    let source = Source::default();
    let place = place();
    edit(&place, "source/clips.csv", |text| {
        text.replace("c45,barking,val", "c45,barking,test").replace(",val", ",validation")
    });
    place.call("data import source data --frames 3").stderr("36 train, 11 val, 1 test").success();
    place.call("data stats data").stdout("test").success();
    assert!(place.read("data/clips.csv").contains("c45,barking,test,true"));
    place.write("experiment/experiment.yaml", &small_experiment(""));
    place.call("run experiment --set train.epochs=1").success();
    edit(&place, "source/clips.csv", |text| text.replace(",validation", ",test"));
    place.call("data import source none --frames 3").stderr("no val clips").stderr("call the clips val").fails(1);
    assert_eq!(source.clips, 48);
}

#[test]
fn an_import_that_is_stopped_leaves_nothing() {
    let place = Place::new();
    Source { clips: 400, streams: vec![("rgb", 3000), ("flow", 3000)], ..Source::default() }
        .write(&place.path("source"));
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_unmute"))
        .args(["data", "import", "source", "data", "--frames", "60"])
        .current_dir(place.path(""))
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let parts = || {
        let names = std::fs::read_dir(place.path("")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(".part")).count()
    };
    while parts() == 0 && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let pid = rustix::process::Pid::from_child(&child);
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    let status = child.wait().unwrap();
    assert_eq!(parts(), 0);
    // On a machine where it was through before the signal came, it is whole.
    assert!(status.code() == Some(130) && !place.path("data").exists() || status.success(), "{status}");
}

#[test]
fn a_changed_copy_of_a_data_set_is_not_already_done() {
    use std::io::{Seek, SeekFrom, Write};
    let place = Place::new();
    place.call("data synth data --preset mini --train 200 --val 40").success();
    place.write(
        "experiment/experiment.yaml",
        &small_experiment(
            "grid: {audio: [vggish], generator: [autoencoder], loss: [l2], classifier: [with]}\ncontrols: []\n",
        ),
    );
    let run = |data: &str| place.call("run experiment --db runs.db --dataset").arg(data);
    run("data").success();
    std::fs::create_dir(place.path("copy")).unwrap();
    for entry in std::fs::read_dir(place.path("data")).unwrap().flatten() {
        std::fs::copy(entry.path(), place.path("copy").join(entry.file_name())).unwrap();
    }
    run("copy").stderr("nothing to train").success();
    // Somewhere in the middle, where a glance at some pages does not see it; in a copy that nobody has read yet.
    std::fs::remove_dir_all(place.path("copy")).unwrap();
    std::fs::create_dir(place.path("copy")).unwrap();
    for entry in std::fs::read_dir(place.path("data")).unwrap().flatten() {
        std::fs::copy(entry.path(), place.path("copy").join(entry.file_name())).unwrap();
    }
    let path = place.path("copy/rgb.safetensors");
    let length = std::fs::metadata(&path).unwrap().len();
    let mut file = File::options().write(true).open(&path).unwrap();
    file.seek(SeekFrom::Start(length / 2 / 4 * 4 - 6000)).unwrap();
    file.write_all(&0.125f32.to_le_bytes()).unwrap();
    drop(file);
    run("copy").stderr("rgb.safetensors").absent("nothing to train").fails(1);
    place.call("plan experiment --db runs.db --dataset copy").stdout("data set changed: rgb.safetensors").success();
}
