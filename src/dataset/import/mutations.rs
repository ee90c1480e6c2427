//! Thousands of damaged inputs for every parser of a data set's and an import's files. None may panic, take memory that the
//! input's own length does not justify, or give something that contradicts itself. The draws are fixed, so that a failure comes back.

use super::super::features::{Features, Precision};
use super::super::writer::Writer;
use super::super::{clips, manifest::Manifest};
use super::array::ArrayReader;
use super::{npy, npz};
use compute::rng::Rng;
use std::path::Path;

/// Changes a good input in one to four places: bits flipped, bytes set to telling values, parts cut out, doubled, moved, replaced by
/// words that mean something to the parser.
fn mutate(rng: &mut Rng, good: &[u8], words: &[&str]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for _ in 0..1 + rng.below(4) {
        if bytes.is_empty() {
            return bytes;
        }
        let at = rng.below(bytes.len());
        let end = at + rng.below((bytes.len() - at).min(64)) + 1;
        match rng.below(7) {
            0 => bytes[at] ^= 1 << rng.below(8),
            1 => bytes[at] = [0, 0xff, b'0', b'-', b'\n', b'"'][rng.below(6)],
            2 => bytes.truncate(at),
            3 => {
                bytes.drain(at..end);
            }
            4 => {
                let part = bytes[at..end].to_vec();
                let to = rng.below(bytes.len());
                bytes.splice(to..to, part);
            }
            5 => {
                let word = words[rng.below(words.len())].bytes();
                bytes.splice(at..end, word);
            }
            _ => {
                let word = words[rng.below(words.len())].bytes();
                bytes.splice(at..at, word);
            }
        }
    }
    bytes
}

/// Calls `parse` with damaged versions of `good`; returns how many it took.
fn attack(name: &str, count: usize, good: &[u8], words: &[&str], mut parse: impl FnMut(&[u8]) -> bool) -> usize {
    let mut rng = Rng::new(20_261_126, name);
    assert!(parse(good), "{name}: what nobody damaged is read");
    (0..count).filter(|_| parse(&mutate(&mut rng, good, words))).count()
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
    for deflate in [false, true] {
        let member = npz::tests::member();
        let good = npz::tests::archive(&[("rgb.npy", &member), ("flow.npy", &member)], deflate);
        let words = ["PK\u{1}\u{2}", "PK\u{3}\u{4}", "PK\u{5}\u{6}", "PK\u{6}\u{6}", "\u{1}\0\u{8}\0\0\0\0\0\0\0\0\0"];
        let taken = attack("npz", 1500, &good, &words, |bytes| {
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
fn dataset_yaml() {
    let good = "name: x\nkind: real\nframes: 3\nclasses:\n- a\n- b\nstreams:\n- name: rgb\n  width: 6\naudio:\n- {name: vggish, width: 3}\nmade_by: ''\n";
    let words =
        [&NUMBERS[..], &["&a ", "*a", "<<: ", "[", "{", "- ", ": ", "!!binary ", "|", "\t", "[[[[[[[[", "null"]]
            .concat();
    let taken = attack("dataset.yaml", 4000, good.as_bytes(), &words, |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return false };
        let Ok(manifest) = Manifest::parse(text) else { return false };
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
