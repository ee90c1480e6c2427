//! Thousands of damaged inputs for every parser of a data set's and an import's files. None may panic, take memory that the
//! input's own length does not justify, or give something that contradicts itself. The draws are fixed, so that a failure comes back.

use super::super::clips;
use super::super::features::{Features, Precision};
use super::super::manifest::{Manifest, Outline};
use super::super::writer::Writer;
use super::array::ArrayReader;
use super::{npy, npz};
use crate::fuzz::Target;
use std::path::Path;

/// Calls `parse` with damaged versions of `good`; returns how many of those in `cargo test` it took.
fn attack(name: &str, times: usize, good: &[u8], words: &[&str], parse: impl FnMut(&[u8]) -> bool) -> usize {
    Target { name, good: &[good.to_vec()], words, times }.attack(parse).taken
}

const NUMBERS: [&str; 7] = ["18446744073709551616", "9223372036854775807", "4294967296", "-1", "0", "1e400", "NaN"];

#[test]
fn npy() {
    let good = npy::tests::file("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", &[0; 24]);
    let words =
        [&NUMBERS[..], &["True", "'", "(", ")", "}", "{", ",", "'>f8'", "'|O'", "[('a', '<f4')]", "9L"]].concat();
    let taken = attack("npy", 6000, &good, &words, |bytes| match npy::parse(bytes) {
        Ok(array) => {
            assert_eq!(array.values.len(), array.shape.iter().product::<usize>());
            true
        }
        Err(message) => {
            assert!(message.len() < 400, "a message of a few lines: {message}");
            false
        }
    });
    assert!(taken > 100, "{taken}: not everything is beyond recognition");
}

#[test]
fn npz() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.npz");
    for (name, deflate) in [("npz", false), ("npz-deflated", true)] {
        let member = npz::tests::member();
        let good = npz::tests::archive(&[("rgb.npy", &member), ("flow.npy", &member)], deflate);
        let words = ["PK\u{1}\u{2}", "PK\u{3}\u{4}", "PK\u{5}\u{6}", "PK\u{6}\u{6}", "\u{1}\0\u{8}\0\0\0\0\0\0\0\0\0"];
        let taken = attack(name, 1500, &good, &words, |bytes| {
            std::fs::write(&path, bytes).unwrap();
            let Ok(entries) = npz::Npz.list(&path) else { return false };
            let read = |e: super::array::Entry| {
                let array = npz::Npz.read(&path, e.member.as_deref())?;
                assert_eq!(array.values.len(), array.shape.iter().product::<usize>());
                Ok::<_, super::Error>(array)
            };
            entries.into_iter().map(read).collect::<Result<Vec<_>, _>>().is_ok()
        });
        assert!(taken > 20, "{taken}");
    }
}

#[test]
fn clips_csv() {
    let good = "clip,label,split,has_audio,remark\na,walk,train,true,\nb,run,val,False,\"a, b\"\nc,walk,test,1,x\n";
    let words = ["\"", "\n", "\r", "\u{feff}", "label", ";", ",", "tést", "\u{1b}[2J", "\0"];
    let taken = attack("clips.csv", 6000, good.as_bytes(), &words, |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return false };
        let Ok(rows) = clips::parse_rows(Path::new("clips.csv"), text.into()) else { return false };
        assert!(rows.rows.iter().all(|r| !r.clip.is_empty() && !r.label.chars().any(char::is_control)));
        true
    });
    assert!(taken > 50, "{taken}");
}

#[test]
fn unlabelled_clips_csv() {
    let good = "clip,label,split,has_audio\na,walk,train,true\nb,,,\nc,,holdout,no\n";
    let words = ["\"", "\n", "\r", "\u{feff}", "clip", "label", ";", ",", "tést", "\u{1b}[2J", "\0"];
    let taken = attack("unlabelled-clips.csv", 4000, good.as_bytes(), &words, |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return false };
        let Ok(clips) = clips::parse_unlabelled(Path::new("clips.csv"), text) else { return false };
        assert!(clips.iter().all(|c| !c.name.is_empty() && !c.name.chars().any(char::is_control)));
        true
    });
    assert!(taken > 50, "{taken}");
}

#[test]
fn dataset_yaml() {
    let good = "name: x\nkind: real\nframes: 3\nclasses:\n- a\n- b\nstreams:\n- name: rgb\n  width: 6\naudio:\n- {name: vggish, width: 3}\nmade_by: ''\n";
    let words =
        [&NUMBERS[..], &["&a ", "*a", "<<: ", "[", "{", "- ", ": ", "!!binary ", "|", "\t", "[[[[[[[[", "null"]]
            .concat();
    let taken = attack("dataset.yaml", 4000, good.as_bytes(), &words, |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return false };
        let outline = Outline::parse(text);
        let Ok(manifest) = Manifest::parse(text) else { return false };
        assert_eq!(outline.map(|o| o.frames), Ok(manifest.frames), "what is whole has an outline");
        assert!(manifest.frames > 0 && manifest.visual_width() > 0 && manifest.classes.len() > 1);
        true
    });
    assert!(taken > 20, "{taken}");
}

#[test]
fn safetensors() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::create(dir.path(), "rgb", &[2, 3], Precision::F32, ["a", "b"]).unwrap();
    writer.push(&[0.5; 6]).unwrap();
    writer.finish().unwrap();
    let path = dir.path().join("rgb.safetensors");
    let good = std::fs::read(&path).unwrap();
    let words =
        [&NUMBERS[..], &["\"F16\"", "\"F64\"", "[", "{", "}", "\"", "\\u0000", "__metadata__", "clips"]].concat();
    let taken = attack("safetensors", 3000, &good, &words, |bytes| {
        std::fs::write(&path, bytes).unwrap();
        let Ok(features) = Features::open(dir.path(), "rgb", &[2, 3]) else { return false };
        assert_eq!((features.rows(), features.row_len()), (2, 3));
        features.clip_names();
        features.survey();
        true
    });
    assert!(taken > 20, "{taken}");
}
