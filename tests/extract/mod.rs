//! `unmute extract`: front ends against other people's programs, and the real program on real files.

mod end_to_end;
mod faults;
mod flow;
mod kept;
mod numerics;
mod real;

use crate::support::call::{Call, Place};
use crate::support::require;
use std::path::{Path, PathBuf};
use std::process::Command;
use unmute::extract::net::network::{Device, Wanted};
use unmute::extract::net::runtime::Runtime;

/// Whether ffmpeg and ONNX Runtime are here.
#[track_caller]
fn can_extract() -> bool {
    has_ffmpeg() && require::found("onnxruntime", Runtime::find(&Wanted::OnnxRuntime(None), Device::Cpu).ok()).is_some()
}

#[track_caller]
fn has_ffmpeg() -> bool {
    require::available("ffmpeg")
}

/// Reference outputs, networks and videos beside the checkout.
#[track_caller]
fn shared() -> Option<PathBuf> {
    let beside = crate::support::root().join("../shared");
    let dir = std::env::var_os("UNMUTE_SHARED").map_or(beside, PathBuf::from).join("extract");
    require::found("shared", dir.join("fixtures").is_dir().then_some(dir))
}

/// A network of tests/fixtures/onnx.
fn network(name: &str) -> String {
    crate::support::root().join(format!("tests/fixtures/onnx/{name}.onnx")).display().to_string()
}

/// Makes a small video: what ffmpeg's filters `picture` and `sound` draw, `more` arguments before the file.
fn video(path: &Path, picture: &str, sound: Option<&str>, more: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-v", "error", "-y", "-f", "lavfi", "-i", picture]);
    if let Some(sound) = sound {
        command.args(["-f", "lavfi", "-i", sound, "-c:a", "aac"]);
    }
    command.args(["-c:v", "mpeg4", "-q:v", "3"]).args(more.split_whitespace());
    let mut url = std::ffi::OsString::from("file:");
    url.push(path);
    assert!(command.arg(url).status().unwrap().success(), "{}", path.display());
}

/// Two seconds of a moving picture; `n` makes each another one.
fn picture(n: usize) -> String {
    format!("testsrc2=size=64x48:rate=12:duration=2,hue=h={}", n * 40)
}

fn tone(n: usize) -> String {
    format!("sine=frequency={}:duration=2", 200 + 100 * n)
}

/// Four clips in two splits and classes; the last has no sound.
fn four(place: &Place) {
    for (n, name) in ["train/run/a", "train/sit/b", "val/run/c", "val/sit/d"].into_iter().enumerate() {
        let sound = tone(n);
        video(&place.path(&format!("videos/{name}.mp4")), &picture(n), (n < 3).then_some(sound.as_str()), "");
    }
}

/// `unmute extract videos features` with networks, each `NAME=PRESET` and a name of tests/fixtures/onnx.
fn extract(place: &Place, nets: &[(&str, &str)]) -> Call {
    let call = place.call("extract videos features --workers 2");
    nets.iter().fold(call, |call, (net, file)| call.arg("--net").arg(&format!("{net}:{}", network(file))))
}

/// Shape and numbers of an .npy file of f32.
fn npy(path: &Path) -> (Vec<usize>, Vec<f32>) {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = std::str::from_utf8(&bytes[10..start]).unwrap();
    assert!(header.contains("'<f4'"), "{header}");
    let shape = header.split_once("'shape': (").unwrap().1.split_once(')').unwrap().0;
    let shape = shape.split(',').filter_map(|n| n.trim().parse().ok()).collect();
    (shape, bytes[start..].chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect())
}

/// Every file below a folder that is not hidden, with its bytes.
fn tree(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).unwrap().flatten() {
            let path = entry.path();
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(dir).unwrap().display().to_string();
                files.push((name, std::fs::read(&path).unwrap()));
            }
        }
    }
    files.sort();
    files
}
