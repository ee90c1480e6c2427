//! Reads every number of a data set once: all finite? and what is their hash?

use super::{Dataset, Error, Features};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::UNIX_EPOCH;

/// What was found in a feature file of this length and modification time.
#[derive(Serialize, Deserialize, Clone, PartialEq)]
struct Seen {
    length: u64,
    modified_ns: u128,
    hash: String,
}

#[derive(Serialize, Deserialize, Default)]
struct Memory {
    version: u32,
    files: BTreeMap<String, Seen>,
}

const FILE: &str = ".unmute-check.json";
const VERSION: u32 = 1;

/// Checks that all numbers are finite and hashes each part of the data set:
/// `[("dataset.yaml", ...), ("clips.csv", ...), ("rgb.safetensors", ...), ...]`.
pub(super) fn contents(dataset: &Dataset) -> Result<Vec<(String, String)>, Error> {
    let memory_path = dataset.dir.join(FILE);
    let before: Memory = std::fs::read_to_string(&memory_path)
        .ok()
        .and_then(|text| serde_json::from_str(&text).ok())
        .filter(|m: &Memory| m.version == VERSION)
        .unwrap_or_default();
    let mut after = Memory { version: VERSION, files: BTreeMap::new() };
    let mut hashes =
        vec![("dataset.yaml".to_string(), manifest_hash(dataset)), ("clips.csv".to_string(), clips_hash(dataset))];
    for features in dataset.streams.iter().chain(&dataset.audio) {
        let file = format!("{}.safetensors", features.name());
        let (length, modified_ns) = stamp(features.path())?;
        let seen = match before.files.get(&file) {
            Some(seen) if seen.length == length && seen.modified_ns == modified_ns => seen.clone(),
            _ => {
                finite(dataset, features)?;
                Seen { length, modified_ns, hash: hash(features) }
            }
        };
        hashes.push((file.clone(), seen.hash.clone()));
        after.files.insert(file, seen);
    }
    if after.files != before.files {
        // A memory only: a read-only folder just means that the numbers are read again next time.
        let _ = std::fs::write(&memory_path, serde_json::to_string_pretty(&after).unwrap_or_default());
    }
    Ok(hashes)
}

/// One hash over the parts' hashes.
pub(super) fn fingerprint(hashes: &[(String, String)]) -> String {
    let mut hasher = blake3::Hasher::new();
    for (file, hash) in hashes {
        hasher.update(file.as_bytes()).update(b"\0").update(hash.as_bytes()).update(b"\n");
    }
    hasher.finalize().to_hex().to_string()
}

fn stamp(path: &Path) -> Result<(u64, u128), Error> {
    let io = |source| Error::Io { path: path.into(), source };
    let meta = std::fs::metadata(path).map_err(io)?;
    let modified = meta.modified().map_err(io)?.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos());
    Ok((meta.len(), modified))
}

fn finite(dataset: &Dataset, features: &Features) -> Result<(), Error> {
    let Some((row, place, value)) = features.first_not_finite() else { return Ok(()) };
    let is_audio = dataset.audio.iter().any(|a| a.name() == features.name());
    let clip = if is_audio { dataset.audio_row.iter().position(|r| *r == Some(row)) } else { Some(row) };
    let clip = clip.map_or_else(String::new, |i| dataset.clips[i].name.clone());
    Err(Error::NotFinite { path: features.path().into(), clip, row, place, value })
}

fn hash(features: &Features) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(format!("{:?} {} {}\n", features.precision(), features.rows(), features.row_len()).as_bytes());
    hasher.update_rayon(features.bytes());
    hasher.finalize().to_hex().to_string()
}

/// Over what changes a number: not the name, the notes or the command line.
fn manifest_hash(dataset: &Dataset) -> String {
    let m = &dataset.manifest;
    let text = serde_json::json!([m.kind, m.frames, m.classes, m.streams, m.audio]).to_string();
    blake3::hash(text.as_bytes()).to_hex().to_string()
}

fn clips_hash(dataset: &Dataset) -> String {
    let mut hasher = blake3::Hasher::new();
    for c in &dataset.clips {
        hasher.update(format!("{:?},{},{},{}\n", c.name, c.label, c.split.name(), c.has_audio).as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}
