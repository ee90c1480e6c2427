//! From videos to features, scores and a data set.

use super::{can_extract, extract, four, network, npy, picture, tone, tree, video};
use crate::support::call::Place;

#[test]
fn videos_become_features_and_a_data_set() {
    if !can_extract() {
        return;
    }
    let place = Place::new();
    four(&place);
    let said = extract(&place, &[("rgb=imagenet", "rgb"), ("vggish=vggish", "sound")])
        .words("--import set --frames 4 --rows vggish=2 --name small")
        .success();
    assert!(said.stderr.contains("4 of 4 clips have features (1 silent)"), "{}", said.stderr);
    assert_eq!(
        place.read("features/clips.csv"),
        "clip,label,split,has_audio\na,run,train,true\nb,sit,train,true\nc,run,val,true\nd,sit,val,false\n"
    );
    assert_eq!(place.read("features/failures.csv"), "clip,path,reason\n");
    assert_eq!(npy(&place.path("features/features/a_rgb.npy")).0, [12, 12]);
    assert_eq!(npy(&place.path("features/features/a_vggish.npy")).0, [2, 8]);
    assert!(!place.path("features/features/d_vggish.npy").exists());
    let stats = place.call("data stats set --json").success().json();
    assert_eq!(stats["name"], "small");
    assert_eq!(stats["streams"][0]["shape"], serde_json::json!([4, 4, 12]));
    assert_eq!(stats["audio"][0]["shape"], serde_json::json!([3, 16]));
    // Once more is free, and changes nothing.
    let before = tree(&place.path("features"));
    extract(&place, &[("rgb=imagenet", "rgb"), ("vggish=vggish", "sound")]).stderr("0 extracted now").success();
    assert_eq!(tree(&place.path("features")), before);
}

#[test]
fn a_pool_of_the_network_is_the_pool_of_the_frame() {
    if !can_extract() {
        return;
    }
    let place = Place::new();
    // One colour: whatever is resized and cropped stays it. MPEG-4 loses a little.
    video(&place.path("videos/a.mp4"), "color=c=0xFF8040:size=64x48:rate=6:duration=1", None, "");
    extract(&place, &[("rgb=tsn-bninception", "rgb"), ("plain=imagenet,mean=0,std=255,crops=10", "rgb")]).success();
    let (shape, rows) = npy(&place.path("features/features/a_rgb.npy"));
    assert_eq!(shape, [6, 12]);
    // Blue, green, red, less TSN's means; a channel has four pools.
    for (i, expected) in [64.0 - 104.0, 128.0 - 117.0, 255.0 - 123.0].into_iter().enumerate() {
        assert!((rows[4 * i] - expected).abs() < 4.0, "{i}: {} {expected}", rows[4 * i]);
    }
    let (shape, rows) = npy(&place.path("features/features/a_plain.npy"));
    assert_eq!(shape, [6, 12]);
    for (i, expected) in [1.0, 128.0 / 255.0, 64.0 / 255.0].into_iter().enumerate() {
        assert!((rows[4 * i] - expected).abs() < 0.02, "{i}: {} {expected}", rows[4 * i]);
    }
}

#[test]
fn silence_and_short_sound_are_told_apart() {
    if !can_extract() {
        return;
    }
    let place = Place::new();
    let picture = picture(0);
    video(&place.path("videos/silent.mp4"), &picture, Some("anullsrc=sample_rate=44100:duration=2"), "-shortest");
    video(&place.path("videos/none.mp4"), &picture, None, "");
    video(&place.path("videos/short.mp4"), &picture, Some("sine=duration=0.5"), "");
    video(
        &place.path("videos/six.mkv"),
        &picture,
        Some("sine=duration=2,pan=5.1|c0=c0|c1=c0|c2=c0|c3=c0|c4=c0|c5=c0"),
        "",
    );
    let nets = [("vggish=vggish", "sound"), ("aenet=aenet,stats=no", "aenet")];
    let audio = |clip: &str| place.read("features/clips.csv").contains(&format!("\n{clip},unlabelled,train,true"));
    extract(&place, &nets).success();
    assert!(!audio("silent") && !audio("none") && audio("short") && audio("six"));
    assert_eq!(npy(&place.path("features/features/short_vggish.npy")).0, [1, 8]);
    let (shape, rows) = npy(&place.path("features/features/six_aenet.npy"));
    assert_eq!(shape[1], 15);
    assert!((rows[..15].iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-5, "rows have length one");
    assert!(place.read("features/extract.json").contains("padded to 0.975 s"));
    std::fs::remove_dir_all(place.path("features")).unwrap();
    extract(&place, &nets).words("--short silent").success();
    assert!(!audio("short") && audio("six"));
    std::fs::remove_dir_all(place.path("features")).unwrap();
    extract(&place, &nets).words("--short fail").stderr("too short for vggish").ends(3);
    assert!(!audio("short") && audio("six"));
}

#[test]
fn names_may_hold_anything_and_equal_stems_are_kept_apart() {
    if !can_extract() {
        return;
    }
    let place = Place::new();
    let names = ["train/a b/x.mp4", "train/c,d/x.mp4", "val/a b/-f, 100%d: 'é'.mkv", "val/c,d/y.v2.mkv"];
    for (n, name) in names.into_iter().enumerate() {
        video(&place.path(&format!("videos/{name}")), &picture(n), Some(&tone(n)), "");
    }
    extract(&place, &[("rgb=imagenet", "rgb"), ("vggish=vggish", "sound")])
        .words("--import set --frames 3 --rows vggish=1")
        .success();
    let clips = place.read("features/clips.csv");
    for line in [
        "train-a b-x.mp4,a b,train,true",
        "\"train-c,d-x.mp4\",\"c,d\",train",
        "\"-f, 100%d: 'é'\",a b,val",
        "y.v2,\"c,d\",val",
    ] {
        assert!(clips.contains(line), "{line} in {clips}");
    }
    assert_eq!(place.call("data stats set --json").success().json()["classes"], 2);
}

#[test]
fn a_rotated_video_is_upright_and_a_still_one_has_one_row() {
    if !can_extract() {
        return;
    }
    let place = Place::new();
    video(&place.path("videos/still.mp4"), "testsrc2=size=64x48:rate=6:duration=0.1", None, "-frames:v 1");
    video(&place.path("raw.mp4"), "testsrc2=size=64x48:rate=6:duration=1", None, "");
    let turn =
        ["-nostdin", "-v", "error", "-display_rotation", "90", "-i", "raw.mp4", "-c", "copy", "videos/turned.mov"];
    let turned = std::process::Command::new("ffmpeg").args(turn).current_dir(place.path("")).output().unwrap();
    extract(&place, &[("rgb=imagenet", "rgb"), ("flow=tsn-bninception,resize=224x224", "flow")]).success();
    assert_eq!(npy(&place.path("features/features/still_rgb.npy")).0, [1, 12]);
    // No motion is 128 of 255 less 128.
    let (shape, rows) = npy(&place.path("features/features/still_flow.npy"));
    assert_eq!(shape, [1, 40]);
    assert!(rows.iter().all(|&x| x == 0.0), "{rows:?}");
    // Older ffmpegs cannot write rotations.
    if turned.status.success() {
        assert_eq!(npy(&place.path("features/features/turned_rgb.npy")).0, [6, 12]);
    }
}

#[test]
fn class_scores_come_with_the_features() {
    if !can_extract() {
        return;
    }
    let place = Place::new();
    video(&place.path("videos/a.mp4"), "color=c=white:size=64x48:rate=6:duration=1", None, "");
    place.write("classes.txt", "run\nsit\nwalk\n");
    let scores = |call: crate::support::call::Call| call.words("--scores rgb=logits");
    scores(extract(&place, &[("rgb=imagenet,mean=0,std=255", "two")]))
        .stderr("knows 3 classes, but there are 1")
        .fails(1);
    scores(extract(&place, &[("rgb=imagenet,mean=0,std=255", "two")])).words("--classes classes.txt").success();
    let (shape, p) = npy(&place.path("features/scores/a_rgb.npy"));
    assert_eq!(shape, [3]);
    // Logits of a white frame: 1, 2, 0.
    let (a, b) = (1f32.exp(), 2f32.exp());
    for (found, expected) in p.iter().zip([a, b, 1.0].map(|e| e / (a + b + 1.0))) {
        assert!((found - expected).abs() < 0.02, "{p:?}");
    }
    assert_eq!(place.read("features/scores/classes.txt"), "run\nsit\nwalk\n");
    assert_eq!(npy(&place.path("features/features/a_rgb.npy")).0, [6, 12]);
}

#[test]
fn a_layer_can_be_picked_and_a_list_names_files() {
    if !can_extract() {
        return;
    }
    let place = Place::new();
    video(&place.path("elsewhere/x.bin.mkv"), &picture(0), None, "");
    std::fs::rename(place.path("elsewhere/x.bin.mkv"), place.path("elsewhere/x.bin")).unwrap();
    place.write("list.csv", "clip,path,label,split\none,x.bin,run,val\n");
    let net = format!("rgb=imagenet:{}#pooled", network("two"));
    place.call("extract elsewhere out --clips list.csv --net").arg(&net).success();
    assert_eq!(npy(&place.path("out/features/one_rgb.npy")).0, [12, 12]);
    assert!(place.read("out/clips.csv").contains("one,run,val,false"));
}
