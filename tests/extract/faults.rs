//! What is wrong is told before anything is decoded, or of the clip that it is wrong with; the rest is kept.

use super::{can_extract, extract, four, has_ffmpeg, network, picture, tone, video};
use crate::support::call::Place;

#[test]
fn broken_files_are_named_and_the_rest_is_kept() {
    if !can_extract() {
        return;
    }
    let place = Place::new();
    four(&place);
    place.write("videos/train/run/empty.mp4", "");
    place.write("videos/train/run/text.mp4", "this is no video");
    let whole = std::fs::read(place.path("videos/train/run/a.mp4")).unwrap();
    std::fs::write(place.path("videos/val/run/cut.mp4"), &whole[..whole.len() / 2]).unwrap();
    let status = std::process::Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-f", "lavfi", "-i", "sine=duration=2", "videos/val/sit/sound.m4a"])
        .current_dir(place.path(""))
        .status();
    assert!(status.unwrap().success());
    let said = extract(&place, &[("rgb=imagenet", "rgb"), ("vggish=vggish", "sound")]).stderr("4 failed").ends(3);
    let failures = place.read("features/failures.csv");
    for line in [
        "empty,train/run/empty.mp4,the file is empty (0 bytes)",
        "text,",
        "cut,val/run/cut.mp4,",
        "sound,val/sit/sound.m4a,it has no video stream",
    ] {
        assert!(failures.contains(line), "{line} in {failures}\n{}", said.stderr);
    }
    assert!(failures.contains("moov atom not found"), "{failures}");
    assert!(!failures.contains(&place.path("videos").display().to_string()), "no path of this machine: {failures}");
    assert_eq!(place.read("features/clips.csv").lines().count(), 5);
    // What is mended is done by the same command.
    std::fs::write(place.path("videos/val/run/cut.mp4"), &whole).unwrap();
    extract(&place, &[("rgb=imagenet", "rgb"), ("vggish=vggish", "sound")]).stderr("1 extracted now").ends(3);
    assert!(!place.read("features/failures.csv").contains("cut"));
}

#[test]
fn frames_that_do_not_decode_are_counted_and_strict_fails_them() {
    if !can_extract() {
        return;
    }
    let place = Place::new();
    let path = place.path("videos/a.mp4");
    video(&path, &picture(0), None, "");
    let mut bytes = std::fs::read(&path).unwrap();
    // A byte here and there among the pictures: where each begins is told elsewhere, so that the others are found.
    let pictures = bytes.windows(4).position(|w| w == b"mdat").unwrap();
    let end = (pictures + 3500).min(bytes.len());
    bytes[pictures + 1500..end].iter_mut().step_by(40).for_each(|b| *b ^= 0x55);
    std::fs::write(&path, bytes).unwrap();
    extract(&place, &[("rgb=imagenet", "rgb")]).stderr("did not decode").success();
    let report: serde_json::Value = serde_json::from_str(&place.read("features/extract.json")).unwrap();
    assert!(report["undecoded"]["a"].as_u64().unwrap() > 0, "{report}");
    std::fs::remove_dir_all(place.path("features")).unwrap();
    extract(&place, &[("rgb=imagenet", "rgb")]).words("--strict").stderr("could not be decoded (--strict)").ends(3);
}

#[test]
fn networks_that_do_not_fit_are_told_before_anything_is_decoded() {
    if !can_extract() {
        return;
    }
    let place = Place::new();
    video(&place.path("videos/a.mp4"), &picture(0), Some(&tone(0)), "");
    let whole = std::fs::read(network("two")).unwrap();
    std::fs::write(place.path("cut.onnx"), &whole[..whole.len() - 20]).unwrap();
    place.write("text.onnx", "not a network");
    std::fs::write(place.path("empty.onnx"), "").unwrap();
    let net = |name: &str| network(name);
    let cases = [
        (format!("rgb=imagenet:{}", net("sound")), 1, "its input is (N, 1, 96, 64), but preset imagenet gives (N,"),
        (format!("vggish=vggish:{}", net("rgb")), 1, "but preset vggish gives (N, 1, 96, 64)"),
        (format!("rgb=imagenet,crop=299:{}", net("rgb")), 1, "(N, 3, 299, 299)"),
        (format!("rgb=imagenet:{}", net("two")), 1, "it has 2 outputs: feature, logits"),
        (format!("rgb=imagenet:{}#featur", net("two")), 1, "did you mean \"feature\"?"),
        (format!("rgb=imagenet:{}", net("inputs")), 1, "it takes 2 inputs (x, y)"),
        ("rgb=imagenet:cut.onnx".into(), 1, "truncated"),
        ("rgb=imagenet:text.onnx".into(), 1, "no ONNX network"),
        ("rgb=imagenet:empty.onnx".into(), 1, "no ONNX network"),
        ("rgb=imagenet:nothing.onnx".into(), 1, "there is no such file"),
        (format!("rgb=imagnet:{}", net("rgb")), 1, "did you mean \"imagenet\"?"),
        (format!("rgb=imagenet,men=1:{}", net("rgb")), 1, "did you mean \"mean\"?"),
        (format!("rgb=imagenet,crops=3:{}", net("rgb")), 1, "should be 1, 5 or 10"),
        (format!("a_b=imagenet:{}", net("rgb")), 1, "letters, digits and '-'"),
        (format!("aenet=aenet:{}", net("aenet")), 1, "--aenet-stats gmean.npy,gstd.npy"),
        (format!("vggish=vggish,post=pca:{}", net("sound")), 1, "--vggish-pca"),
        (format!("flow=tsn-bninception,by=folder:{}", net("flow")), 1, "add --flow DIR"),
    ];
    for (text, code, why) in &cases {
        place.call("extract videos out --net").arg(text).stderr(why).fails(*code);
        assert!(!place.path("out").exists(), "{text}: nothing is made");
    }
    let rgb = format!("rgb=imagenet:{}", net("rgb"));
    for (more, why) in [
        ("--fps 0", "--fps 0"),
        ("--shard 3/2", "--shard 3/2"),
        ("--workers 0", "--workers 0"),
        ("--short maybe", "pad, silent or fail"),
        ("--runtime tract", "onnxruntime, onnxruntime=PATH or rten"),
        ("--device gpu", "cpu, cuda or cuda:N"),
        ("--scores flow=logits", "no --net is called"),
        ("--clips nothing.csv", "nothing.csv"),
        ("--runtime onnxruntime=nowhere", "no libonnxruntime.so there"),
    ] {
        let said = place.call("extract videos out --net").arg(&rgb).words(more).stderr(why).said();
        assert!(said.code == Some(1) || said.code == Some(2), "{more}: {:?}", said.code);
    }
    place.call("extract nothing out --net").arg(&rgb).stderr("no such folder").fails(1);
    place.call("extract videos out").fails(2);
}

#[test]
fn numbers_that_are_none_fail_their_clip() {
    if !can_extract() {
        return;
    }
    let place = Place::new();
    video(&place.path("videos/a.mp4"), &picture(0), None, "");
    extract(&place, &[("rgb=imagenet", "infinite")]).stderr("features must be finite").ends(3);
}

#[test]
fn missing_programs_and_libraries_are_told_with_the_line_that_mends_it() {
    let place = Place::new();
    place.write("videos/a.mp4", "x");
    let net = format!("rgb=imagenet:{}", network("rgb"));
    let plain = || place.call("extract videos out --net").arg(&net);
    plain().env("UNMUTE_FFMPEG", "/nonexistent/ffmpeg").stderr("apt-get install ffmpeg").fails(1);
    place.write("old", "#!/bin/sh\necho ffmpeg version 3.4.2 Copyright\n");
    let old = place.path("old");
    std::fs::set_permissions(&old, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    plain().env("UNMUTE_FFMPEG", &old.display().to_string()).stderr("version 4.4 or newer is needed").fails(1);
    if has_ffmpeg() {
        plain().env("ORT_DYLIB_PATH", "/nonexistent.so").stderr("pip install onnxruntime").fails(1);
        place.write("libonnxruntime.so", "no library");
        plain().words("--runtime onnxruntime=libonnxruntime.so").stderr("cannot be used").fails(1);
    }
}

#[test]
fn a_full_disk_is_told_and_what_is_done_is_kept() {
    // Only root can mount a small file system.
    if !can_extract() || !rustix::process::geteuid().is_root() {
        return;
    }
    let place = Place::new();
    four(&place);
    let out = place.path("features");
    std::fs::create_dir(&out).unwrap();
    let mount = std::process::Command::new("mount").args(["-t", "tmpfs", "-o", "size=48k", "none"]).arg(&out).output();
    let mounted = mount.is_ok_and(|o| o.status.success()).then_some(());
    if crate::support::require::found("mount", mounted).is_none() {
        return;
    }
    let call = extract(&place, &[("rgb=imagenet", "rgb"), ("vggish=vggish", "sound")]).said();
    let _ = std::process::Command::new("umount").arg("-l").arg(&out).status();
    assert_eq!(call.code, Some(1), "{}", call.stderr);
    assert!(call.stderr.contains("free some space"), "{}", call.stderr);
}
