//! What is done stays done: interruptions, several processes, other settings.

use super::{can_extract, extract, four, network, npy, picture, tone, tree, video};
use crate::support::call::Place;
use std::process::{Command, Stdio};
use std::time::Duration;

/// The call of [`extract`] as a process of its own.
fn process(place: &Place, out: &str, more: &[&str]) -> std::process::Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_unmute"));
    command.current_dir(place.path("")).args(["extract", "videos", out, "--workers", "2"]).args(more);
    for net in [format!("rgb=imagenet:{}", network("rgb")), format!("vggish=vggish:{}", network("sound"))] {
        command.args(["--net", &net]);
    }
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn killed_ten_times_the_bytes_are_the_same() {
    if !can_extract() {
        return;
    }
    let place = Place::new();
    for n in 0..8 {
        let label = if n % 2 == 0 { "run" } else { "sit" };
        let split = if n < 4 { "train" } else { "val" };
        video(&place.path(&format!("videos/{split}/{label}/c{n}.mp4")), &picture(n), Some(&tone(n)), "");
    }
    place.write("videos/val/run/broken.mp4", "no video");
    assert_eq!(process(&place, "whole", &[]).wait().unwrap().code(), Some(3));
    let whole = tree(&place.path("whole"));
    // Everything from before the first clip to after the last is hit once.
    let mut killed = 0;
    for n in 0..10 {
        let mut child = process(&place, "features", &[]);
        std::thread::sleep(Duration::from_millis(60 + 90 * n));
        killed += usize::from(child.try_wait().unwrap().is_none());
        let _ = child.kill();
        child.wait().unwrap();
    }
    assert!(killed > 0);
    assert_eq!(process(&place, "features", &[]).wait().unwrap().code(), Some(3));
    let again = tree(&place.path("features"));
    let names = |t: &[(String, Vec<u8>)]| t.iter().map(|(n, _)| n.clone()).collect::<Vec<_>>();
    assert_eq!(names(&again), names(&whole));
    for ((name, a), (_, b)) in again.iter().zip(&whole) {
        assert!(a == b, "{name} differs");
    }
}

#[test]
fn processes_share_a_folder_and_shards_divide_it() {
    if !can_extract() {
        return;
    }
    let place = Place::new();
    four(&place);
    assert!(process(&place, "alone", &[]).wait().unwrap().success());
    let mut children: Vec<_> = (0..3).map(|_| process(&place, "together", &[])).collect();
    children.iter_mut().for_each(|c| assert!(c.wait().unwrap().success()));
    assert!(process(&place, "together", &[]).wait().unwrap().success());
    assert_eq!(tree(&place.path("together")), tree(&place.path("alone")));
    assert!(process(&place, "parts", &["--shard", "1/2"]).wait().unwrap().success());
    assert_eq!(place.read("parts/clips.csv").lines().count(), 3);
    assert!(process(&place, "parts", &["--shard", "2/2"]).wait().unwrap().success());
    assert_eq!(tree(&place.path("parts")), tree(&place.path("alone")));
}

#[test]
fn other_settings_are_refused_and_other_networks_added() {
    if !can_extract() {
        return;
    }
    let place = Place::new();
    four(&place);
    extract(&place, &[("rgb=imagenet", "rgb")]).success();
    assert!(place.read("features/clips.csv").contains("a,run,train,false"));
    let before = npy(&place.path("features/features/a_rgb.npy"));
    extract(&place, &[("rgb=imagenet", "rgb")])
        .words("--fps 5")
        .stderr("settings.fps is \"6\" there and \"5\" here")
        .stderr("next: extract to a new folder")
        .fails(1);
    extract(&place, &[("rgb=imagenet,mean=0", "rgb")]).stderr("network rgb.input.mean").fails(1);
    extract(&place, &[("rgb=imagenet", "rgb"), ("vggish=vggish", "sound")]).stderr("4 extracted now").success();
    assert!(place.read("features/clips.csv").contains("a,run,train,true"));
    assert_eq!(npy(&place.path("features/features/a_rgb.npy")), before);
    // A changed video is extracted again, others are not; a feature that is gone too.
    video(&place.path("videos/train/run/a.mp4"), &picture(7), Some(&tone(7)), "");
    std::fs::remove_file(place.path("features/features/b_vggish.npy")).unwrap();
    extract(&place, &[("rgb=imagenet", "rgb"), ("vggish=vggish", "sound")]).stderr("2 extracted now").success();
    assert_ne!(npy(&place.path("features/features/a_rgb.npy")), before);
}

#[test]
fn labels_that_somebody_filled_in_stay() {
    if !can_extract() {
        return;
    }
    let place = Place::new();
    video(&place.path("videos/a.mp4"), &picture(0), None, "");
    extract(&place, &[("rgb=imagenet", "rgb")]).stderr("takes them, and keeps them").success();
    place.write("features/clips.csv", "clip,label,split,has_audio\na,run,val,false\n");
    video(&place.path("videos/b.mp4"), &picture(1), None, "");
    extract(&place, &[("rgb=imagenet", "rgb")]).success();
    let clips = place.read("features/clips.csv");
    assert_eq!(clips, "clip,label,split,has_audio\na,run,val,false\nb,unlabelled,train,false\n");
}

#[test]
fn an_interrupted_call_ends_with_130_and_goes_on() {
    if !can_extract() {
        return;
    }
    let place = Place::new();
    four(&place);
    for n in 0..30 {
        std::fs::copy(place.path("videos/train/run/a.mp4"), place.path(&format!("videos/train/run/n{n}.mp4"))).unwrap();
    }
    let mut child = process(&place, "features", &[]);
    let started = std::time::Instant::now();
    let done = || std::fs::read_dir(place.path("features/.extract/done")).map_or(0, Iterator::count);
    while done() == 0 && started.elapsed() < Duration::from_secs(120) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let id = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(std::fs::read_dir(place.path("features/.extract/claims")).unwrap().count(), 0);
    assert!(process(&place, "features", &[]).wait().unwrap().success());
    assert_eq!(place.read("features/clips.csv").lines().count(), 35);
}
