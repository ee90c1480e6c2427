//! Reads every number of a data set once: all finite and within range? and what is their hash?

use super::identity::{Identity, now_ns};
use super::range::SMALLEST;
use super::{Dataset, Error, Features};
use crate::files;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// What was found in a feature file in this state.
#[derive(Serialize, Deserialize, Clone, PartialEq)]
struct Seen {
    identity: Identity,
    /// When the state was asked for, before the contents were read.
    at_ns: i64,
    hash: String,
}

#[derive(Serialize, Deserialize, Default)]
struct Memory {
    version: u32,
    files: BTreeMap<String, Seen>,
}

const FILE: &str = ".unmute-check.json";
const VERSION: u32 = 2;
const LARGEST_FILE: u64 = 1 << 20;

/// Checks that all numbers are finite and within range, and hashes each part of the data set:
/// `[("dataset.yaml", ...), ("clips.csv", ...), ("rgb.safetensors", ...), ...]`.
pub(super) fn contents(dataset: &Dataset) -> Result<Vec<(String, String)>, Error> {
    let memory_path = dataset.dir.join(FILE);
    let before = remembered(&memory_path);
    let mut after = Memory { version: VERSION, files: BTreeMap::new() };
    let mut hashes =
        vec![("dataset.yaml".to_string(), manifest_hash(dataset)), ("clips.csv".to_string(), clips_hash(dataset))];
    for features in dataset.features() {
        let file = format!("{}.safetensors", features.name());
        let (identity, at_ns) = (features.identity(), now_ns());
        let seen = match before.files.get(&file) {
            Some(seen) if seen.identity == identity && identity.settled(seen.at_ns) => seen.clone(),
            _ => {
                let is_audio = dataset.audio.iter().any(|a| a.name() == features.name());
                let clip_of = |row: usize| match is_audio {
                    true => dataset.audio_row.iter().position(|r| *r == Some(row)),
                    false => Some(row),
                };
                in_range(features, |row| clip_of(row).map(|i| dataset.clips[i].name.clone()))?;
                let hash = hash(features);
                if features.identity_now()? != Some(identity) {
                    return Err(Error::Changed { path: features.path().into(), what: "changed" });
                }
                Seen { identity, at_ns, hash }
            }
        };
        hashes.push((file.clone(), seen.hash.clone()));
        after.files.insert(file, seen);
    }
    if after.files != before.files {
        // A memory only: a read-only folder just means that the numbers are read again next time.
        let _ = files::replace(&memory_path, serde_json::to_string_pretty(&after).unwrap_or_default().as_bytes());
    }
    Ok(hashes)
}

/// What an earlier opening found.
fn remembered(path: &Path) -> Memory {
    let whole = |seen: &Seen| seen.hash.len() == 64 && seen.hash.bytes().all(|b| b.is_ascii_hexdigit());
    files::read_own(path, LARGEST_FILE)
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok())
        .filter(|m: &Memory| m.version == VERSION && m.files.values().all(whole))
        .unwrap_or_default()
}

/// Fails where a feature file is not what it was when it was hashed.
///
/// What was written to since is refused whatever it holds now, for it may have held something else in between. Where only a
/// name, link or right changed, the contents are hashed once more.
pub(super) fn unchanged(dataset: &Dataset) -> Result<(), Error> {
    for features in dataset.features() {
        let changed = |what| Error::Changed { path: features.path().into(), what };
        let now = features.identity_now()?.ok_or_else(|| changed("was cut short or could not be read"))?;
        let mut confirmed = features.confirmed();
        if now == *confirmed {
            continue;
        }
        if !confirmed.same_writing(&now) {
            return Err(changed("was changed"));
        }
        let file = format!("{}.safetensors", features.name());
        let before = dataset.file_hashes.iter().find(|(name, _)| *name == file).map(|(_, hash)| hash);
        if before != Some(&hash(features)) || features.identity_now()? != Some(now) {
            return Err(changed("was changed"));
        }
        *confirmed = now;
    }
    Ok(())
}

/// One hash over the parts' hashes: what a data set's fingerprint is.
pub fn fingerprint(hashes: &[(String, String)]) -> String {
    let mut hasher = blake3::Hasher::new();
    for (file, hash) in hashes {
        hasher.update(file.as_bytes()).update(b"\0").update(hash.as_bytes()).update(b"\n");
    }
    hasher.finalize().to_hex().to_string()
}

/// Fails at the first number of a file that is not finite or out of range; `clip_of` names the clip of a row.
pub(super) fn in_range(features: &Features, clip_of: impl Fn(usize) -> Option<String>) -> Result<(), Error> {
    let survey = features.survey();
    let path = features.path().to_path_buf();
    if let Some((row, place, value)) = survey.refused {
        let clip = clip_of(row).unwrap_or_default();
        return Err(match value.is_finite() {
            true => Error::TooLarge { path, clip, row, place, value },
            false => Error::NotFinite { path, clip, row, place, value },
        });
    }
    if survey.largest > 0.0 && survey.largest < SMALLEST {
        return Err(Error::TooSmall { path, largest: survey.largest });
    }
    Ok(())
}

fn hash(features: &Features) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(format!("{:?} {} {}\n", features.precision(), features.rows(), features.row_len()).as_bytes());
    hasher.update_rayon(features.bytes());
    hasher.finalize().to_hex().to_string()
}

fn manifest_hash(dataset: &Dataset) -> String {
    dataset.manifest.content_hash()
}

fn clips_hash(dataset: &Dataset) -> String {
    let mut hasher = blake3::Hasher::new();
    for c in &dataset.clips {
        hasher.update(format!("{:?},{},{},{}\n", c.name, c.label, c.split.name(), c.has_audio).as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}
