//! Real networks and real videos (../shared/extract).

use super::{can_extract, npy, shared};
use crate::support::call::Place;
use unmute::extract::net::Net;
use unmute::extract::net::network::{Device, Wanted};
use unmute::extract::net::runtime::Runtime;
use unmute::extract::net::spec::NetSpec;

#[test]
fn networks_give_what_onnxruntime_gave() {
    let Some(shared) = shared().filter(|_| can_extract()) else { return };
    let runtime = Runtime::find(&Wanted::OnnxRuntime(None), Device::Cpu).unwrap();
    for (name, preset) in [("effnet", "imagenet"), ("yamnet", "yamnet")] {
        let file = shared.join("models").join(name);
        let numbers = |end: &str| -> Vec<f32> {
            let bytes = std::fs::read(file.with_extension(end)).unwrap();
            bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
        };
        let spec = NetSpec::parse(&format!("x={preset}:{}", file.with_extension("onnx").display())).unwrap();
        let net = Net::open(&spec, None, None).unwrap();
        let rows = net.load(&runtime, Device::Cpu).unwrap().run(&numbers("b1.in.f32")).unwrap();
        let expected = numbers("b1.out.f32");
        assert_eq!(rows[0][0].len(), expected.len());
        let apart = rows[0][0].iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart < 1e-4, "{name}: {apart}");
    }
}

#[test]
fn real_videos_have_as_many_rows_as_ffmpeg_has_frames() {
    let Some(shared) = shared().filter(|_| can_extract()) else { return };
    let place = Place::new();
    // The short ones of all kinds: broken, turned, without sound, with a silent track, of other codecs.
    let names = [
        "big_buck_bunny_432_433.webm",
        "corrupted.mp4",
        "h265_video.mp4",
        "in.mp4",
        "part_0.mp4",
        "truncated_demo.mp4",
        "video_270.mov",
        "video_90.mov",
        "v_ZNVhz7ctTq0.mp4",
    ];
    place.write("list.csv", &format!("path\n{}\n", names.join("\n")));
    let model = |name: &str| shared.join("models").join(name).display().to_string();
    let call = place
        .call("extract --clips list.csv")
        .arg("--net")
        .arg(&format!("rgb=imagenet,mean=127,std=128:{}", model("effnet.onnx")));
    let call = call.arg("--net").arg(&format!("yamnet=yamnet,hop=96:{}", model("yamnet.onnx")));
    call.arg(&shared.join("videos").display().to_string()).arg("out").stderr("1 failed").ends(3);
    assert!(
        place
            .read("out/failures.csv")
            .contains("truncated_demo.mp4,\"ffmpeg cannot decode it: mov,mp4,m4a,3gp,3g2,mj2: moov atom not found")
    );
    let facts: Vec<serde_json::Value> =
        serde_json::from_str(&std::fs::read_to_string(shared.join("fixtures/video_decode.json")).unwrap()).unwrap();
    for name in names.into_iter().filter(|n| *n != "truncated_demo.mp4") {
        let fact = facts.iter().find(|f| f["file"].as_str().unwrap().rsplit('/').next() == Some(name)).unwrap();
        let stem = name.split_once('.').unwrap().0;
        let (shape, rows) = npy(&place.path(&format!("out/features/{stem}_rgb.npy")));
        assert_eq!(shape, [fact["frames at 6 fps"].as_f64().unwrap() as usize, 1280], "{name}");
        assert!(rows.iter().all(|x| x.is_finite()));
        let sound = place.path(&format!("out/features/{stem}_yamnet.npy"));
        let seconds = fact["audio s"].as_f64().unwrap();
        // A track of zeros is no sound.
        if seconds == 0.0 || name == "in.mp4" {
            assert!(!sound.exists(), "{name}");
        } else {
            let rows = (((seconds * 16000.0).round() as usize - 400) / 160 + 1 - 96) / 96 + 1;
            assert_eq!(npy(&sound).0, [rows, 1024], "{name}");
        }
    }
    let report: serde_json::Value = serde_json::from_str(&place.read("out/extract.json")).unwrap();
    assert_eq!(report["undecoded"]["corrupted"], 2);
}
