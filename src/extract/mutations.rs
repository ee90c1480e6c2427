//! Damaged inputs for what reads videos, networks, lists and options: each is read, or refused with a message.

use super::decode;
use super::flow_folder;
use super::list::List;
use super::net::onnx::{self, Graph};
use super::net::spec::NetSpec;
use super::{npy, plan};
use crate::fuzz::Target;
use std::path::Path;

#[test]
fn networks() {
    let words = ["\u{8}\u{9}", ":\u{2}", "Z\u{1}", "\u{7f}\u{7f}\u{7f}", "x", "hidden", "\u{12}\u{0}"];
    let good = [onnx::tests::model(), onnx::with_output(&onnx::tests::model(), "hidden")];
    let tried = Target { name: "onnx", good: &good, words: &words, times: 4000 }.attack(|bytes| {
        let Ok(graph) = Graph::read(bytes) else { return false };
        for tensor in graph.inputs.iter().chain(&graph.outputs) {
            tensor.shape.iter().for_each(|s| drop(onnx::shown(s)));
        }
        let more = Graph::read(&onnx::with_output(bytes, "y2"));
        assert_eq!(more.map(|g| g.outputs.len()), Ok(graph.outputs.len() + 1), "an output is added to what is whole");
        true
    });
    assert!(tried.taken > 50, "{tried:?}");
}

#[test]
fn streams_of_ffmpeg() {
    let words = ["\u{18}S\u{7f}", "\0\0\0\0\0\0\0\u{1}", "\u{7f}\u{7f}\u{7f}\u{7f}", "@\0"];
    let good = [decode::a_stream()];
    let tried = Target { name: "matroska", good: &good, words: &words, times: 4000 }.attack(decode::reads);
    assert!(tried.taken > 20, "{tried:?}");
}

#[test]
fn statistics() {
    let good = [npy::bytes(&[3], &[1.0, -2.5, 3.0]), npy::bytes(&[1, 3], &[0.0; 3])];
    let words = ["18446744073709551615", "(", ")", ",", "'<f8'", "'shape': (", "True", "\u{93}NUMPY"];
    let tried = Target { name: "statistics.npy", good: &good, words: &words, times: 4000 }
        .attack(|bytes| npy::parse(bytes).is_some_and(|numbers| numbers.len() <= bytes.len()));
    assert!(tried.taken > 20, "{tried:?}");
}

#[test]
fn lists_of_videos() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("clips.csv");
    let good = [b"clip,path,label,split\nx,a/x 1.mp4,run,val\n,/b/y.mp4,sit,\n,c/y.mp4,,train\n".to_vec()];
    let words = ["\"", "\n", "\r", "\u{feff}", "path", "clip", ";", ",", "../", "\u{1b}[2J", "\0", "é", "."];
    let tried = Target { name: "videos.csv", good: &good, words: &words, times: 2000 }.attack(|bytes| {
        std::fs::write(&file, bytes).unwrap();
        match List::of_file(&file, Path::new("videos")) {
            Ok(list) => {
                let names: std::collections::HashSet<&str> = list.clips.iter().map(|c| c.name.as_str()).collect();
                assert_eq!(names.len(), list.clips.len(), "names are unique");
                assert!(names.iter().all(|n| !n.is_empty() && !n.contains(['/', '\\', '\0'])), "{names:?}");
                true
            }
            Err(error) => {
                assert!(error.to_string().chars().count() < 2000, "a message of a few lines: {error}");
                false
            }
        }
    });
    assert!(tried.taken > 50, "{tried:?}");
}

#[test]
fn options() {
    let good = [
        "rgb=tsn-bninception:rgb.onnx",
        "yamnet=yamnet,hop=0.5:models/yamnet.onnx#embedding",
        "rgb=imagenet,filter=cv2,mean=127,std=128,resize=256x340,crops=10:a b.onnx",
    ];
    let words =
        ["=", ":", ",", "#", "x", "inf", "NaN", "-1", "1e999", "99999999999999999999", "é", "\0", "crops=", "mean="];
    let good = good.map(|text| text.as_bytes().to_vec());
    Target { name: "net", good: &good, words: &words, times: 4000 }.attack(|bytes| {
        let text = String::from_utf8_lossy(bytes);
        let _ = plan::parse_shard(&text);
        match NetSpec::parse(&text) {
            Ok(spec) => {
                for channels in [None, Some(3), Some(10)] {
                    let _ = spec.input(channels, Some(&text));
                }
                true
            }
            Err(why) => {
                assert!(why.chars().count() < 2000, "{why}");
                text.contains("onnx")
            }
        }
    });
}

#[test]
fn images_of_flow() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flow_x_00001.jpg");
    let image = compute::vision::image::Image { width: 9, height: 5, channels: 1, data: vec![90; 45] };
    let good = [compute::vision::jpeg::encode(&image, 90)];
    let words = ["\0\u{7f}\u{7f}", "\u{8}\u{7f}\u{7f}\u{7f}\u{7f}"];
    Target { name: "flow.jpg", good: &good, words: &words, times: 1500 }.attack(|bytes| {
        std::fs::write(&path, bytes).unwrap();
        match flow_folder::decode(&path) {
            Ok(image) => {
                assert_eq!(image.data.len(), image.width * image.height);
                true
            }
            Err(why) => {
                assert!(why.chars().count() < 1000, "{why}");
                false
            }
        }
    });
}
