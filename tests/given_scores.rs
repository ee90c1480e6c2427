//! Class probabilities that come with the features: they are the streams' scores, no head is trained, and everybody says so.

use crate::support::call::{Place, small_experiment};
use crate::support::features::{Source, write_npy};

/// The usual source, with rgb scores that know every third clip only, in another order of classes.
fn place() -> Place {
    let place = Place::new();
    let source = Source::default();
    source.write(&place.path("source"));
    place.write("source/scores/classes.txt", "dripping\nbarking\ncheering\n");
    for clip in 0..source.clips {
        write_scores(&place, clip, &probabilities(clip));
    }
    place.write("experiment/experiment.yaml", &small_experiment(""));
    place
}

/// In the order of `classes.txt`; the clip's class is `clip % 3` of barking, cheering, dripping.
fn probabilities(clip: usize) -> [f32; 3] {
    let class = if clip.is_multiple_of(3) { (clip + 1) % 3 } else { clip % 3 };
    let mut p = [0.125f32; 3];
    p[(class + 1) % 3] = 0.75;
    p
}

fn write_scores(place: &Place, clip: usize, p: &[f32]) {
    write_npy(&place.path(&format!("source/scores/c{clip}_rgb.npy")), &[p.len()], p);
}

#[test]
fn scores_of_a_stream_are_taken_as_they_are_and_no_head_is_trained() {
    let place = place();
    place
        .call("data import source data --frames 3 --strict")
        .stderr("rgb: class probabilities of 3 classes for every clip; no head is trained on rgb")
        .success();
    place.call("data stats data").stdout("scores   rgb          48 x 3 f32").success();
    place.call("plan experiment").stdout("its scores come with the data set").success();
    place.call("run experiment").success();
    // Barking clips are given to another class, the others to their own.
    let rows = place.query(
        ".unmute/runs.db",
        "SELECT key, seed, value AS top1 FROM run JOIN value ON run_id = id WHERE kind = 'stream' AND name = 'top1'",
    );
    let of = |stream: &str| rows.iter().filter(|r| r["key"] == stream).collect::<Vec<_>>();
    assert_eq!(of("rgb").len(), 1, "one run, whatever the seeds");
    assert_eq!(of("flow").len(), 2, "a head for each seed");
    let top1 = of("rgb")[0]["top1"].as_f64().unwrap();
    assert!((top1 - 200.0 / 3.0).abs() < 1e-9, "{top1}");
    place.call("report experiment --out out").success();
    let report = std::fs::read_to_string(place.path("out/small.html")).unwrap();
    assert!(report.contains("class probabilities of rgb come with the data set; no head was trained on them"));
    // Settings of heads change nothing of what is given.
    place
        .call("plan experiment --set tsn.lr=0.5")
        .stdout("rgb                                            1/1")
        .success();
    // New clips: their data set has to bring scores too.
    place.call("predict small --fuse rgb --dataset data --out p.csv").stderr("top-1 66.6667").success();
    place.call("data import source bare --frames 3 --no-scores").stderr("left out by --no-scores").success();
    place.call("predict small --fuse rgb --dataset bare --out q.csv").stderr("brings no class scores of rgb").fails(1);
}

#[test]
fn what_is_wrong_with_scores_is_said() {
    let import = |place: &Place| place.call("data import source data --frames 3");
    let place = place();
    write_scores(&place, 7, &[2.0, -1.0, 0.5]);
    import(&place)
        .stderr("c7_rgb.npy: clip \"c7\": holds 2; class probabilities were expected")
        .stderr("softmax")
        .fails(1);
    write_scores(&place, 7, &[0.5, 0.5]);
    import(&place).stderr("c7_rgb.npy: shape is (2,); classes.txt calls for (3)").fails(1);
    std::fs::remove_file(place.path("source/scores/c7_rgb.npy")).unwrap();
    import(&place).stderr("has rgb scores of 47 of 48 clips").stderr("\"c7\"").stderr("--no-scores").fails(1);
    write_scores(&place, 7, &probabilities(7));
    place.write("source/scores/classes.txt", "dripping\nbarking\nCheering\n");
    import(&place).stderr("has no class \"cheering\"").stderr("did you mean \"Cheering\"?").fails(1);
    std::fs::remove_file(place.path("source/scores/classes.txt")).unwrap();
    import(&place).stderr("classes.txt: is not there").fails(1);
}

#[test]
fn classes_that_no_clip_has_are_dropped_and_the_rest_sums_to_one() {
    let place = place();
    place.write("source/scores/classes.txt", "dripping\nmowing\nbarking\ncheering\n");
    for clip in 0..48 {
        let [a, b, c] = probabilities(clip).map(|p| p / 2.0);
        write_scores(&place, clip, &[a, 0.5, b, c]);
    }
    place
        .call("data import source data --frames 3")
        .stderr("classes of the scores that no clip has; what is left sums to 1 again (first: 1 of 4)")
        .success();
    place.call("data stats data").stdout("scores   rgb          48 x 3 f32").success();
}

#[test]
fn other_scores_are_another_data_set() {
    let place = place();
    place.call("data import source data --frames 3").success();
    place.call("data import source bare --frames 3 --no-scores").success();
    write_scores(&place, 5, &[0.5, 0.25, 0.25]);
    place.call("data import source data --frames 3").stderr("changed source").fails(1);
    place.call("data import source other --frames 3").success();
    let of = |data: &str| place.call("data stats --json").arg(data).success().json()["fingerprint"].clone();
    let all = [of("data"), of("bare"), of("other")];
    assert!(all[0] != all[1] && all[1] != all[2] && all[0] != all[2], "{all:?}");
    // Another order of the same classes changes what the numbers mean.
    place.write("source/scores/classes.txt", "dripping\ncheering\nbarking\n");
    place.call("data import source other --frames 3").stderr("changed source").fails(1);
}
