//! Reads every number of a data set once: all finite and within range? and what is their hash?

use super::identity::{Identity, now_ns};
use super::range::SMALLEST;
use super::{Dataset, Error, Features, staged};
use crate::files;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What was found in a feature file in this state.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
pub(super) struct Seen {
    pub identity: Identity,
    /// When the state was asked for, before the contents were read.
    pub at_ns: i64,
    pub hash: String,
    /// A hash of some pages, by which a copy is known. Earlier versions noted none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<String>,
}

#[derive(Serialize, Deserialize, Default)]
pub(super) struct Memory {
    version: u32,
    files: BTreeMap<String, Seen>,
}

const FILE: &str = ".unmute-check.json";
const VERSION: u32 = 2;
const LARGEST_FILE: u64 = 1 << 20;

impl Memory {
    /// What earlier openings found, beside the data set or, where its folder cannot be written to, in the user's cache.
    fn of(path: &Path) -> Memory {
        let mut memory = Memory::read(path);
        if let Some(elsewhere) = elsewhere(path) {
            // Noted later: that folder was not written to since.
            memory.files.extend(Memory::read(&elsewhere).files);
        }
        memory
    }

    fn read(path: &Path) -> Memory {
        let whole = |seen: &Seen| seen.hash.len() == 64 && seen.hash.bytes().all(|b| b.is_ascii_hexdigit());
        files::read_own(path, LARGEST_FILE)
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok())
            .filter(|m: &Memory| m.version == VERSION && m.files.values().all(whole))
            .unwrap_or_default()
    }

    /// Notes what was found. It is a memory only: where it cannot be kept, numbers are read again next time. Written whole,
    /// so that many may do so at once.
    fn keep(&self, path: &Path) {
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        if files::replace(path, text.as_bytes()).is_ok() {
            if let Some(elsewhere) = elsewhere(path) {
                let _ = std::fs::remove_file(elsewhere);
            }
            return;
        }
        if let Some(elsewhere) = elsewhere(path) {
            let made = elsewhere.parent().map_or(Ok(()), std::fs::create_dir_all);
            let _ = made.and_then(|()| files::replace(&elsewhere, text.as_bytes()));
        }
    }

    /// Adds to what is noted.
    pub(super) fn add(path: &Path, found: BTreeMap<String, Seen>) {
        let mut memory = Memory { version: VERSION, ..Memory::of(path) };
        memory.files.extend(found);
        memory.keep(path);
    }
}

/// Where a data set's memory lies.
pub(super) fn memory_path(dataset: &Dataset) -> PathBuf {
    dataset.dir.join(FILE)
}

/// Where it lies while that folder cannot be written to: in the user's cache, by the folder's name.
fn elsewhere(path: &Path) -> Option<PathBuf> {
    let given = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = given("XDG_CACHE_HOME").or_else(|| given("HOME").map(|home| home.join(".cache")))?;
    let folder = std::fs::canonicalize(path.parent()?).ok()?;
    let name = blake3::hash(folder.as_os_str().as_encoded_bytes()).to_hex().as_str()[..32].to_string();
    Some(cache.join("unmute/checked").join(format!("{name}.json")))
}

/// Checks that all numbers are finite and within range, and hashes each part of the data set:
/// `[("dataset.yaml", ...), ("clips.csv", ...), ("rgb.safetensors", ...), ...]`. With `staged`, what seems to be a copy of what
/// was checked elsewhere is read in the background.
pub(super) fn contents(dataset: &Dataset, staged: bool) -> Result<Vec<(String, String)>, Error> {
    let memory_path = memory_path(dataset);
    let before = Memory::of(&memory_path);
    let mut after = Memory { version: VERSION, files: BTreeMap::new() };
    let mut hashes =
        vec![("dataset.yaml".to_string(), manifest_hash(dataset)), ("clips.csv".to_string(), clips_hash(dataset))];
    for features in dataset.features() {
        let file = format!("{}.safetensors", features.name());
        let (identity, at_ns) = (features.identity(), now_ns());
        let known = before.files.get(&file);
        let seen = match known {
            Some(seen) if seen.identity.same_on_any_machine(&identity) && identity.settled(seen.at_ns) => seen.clone(),
            Some(seen) if staged && is_copy(features, seen) => {
                dataset.staged.read(features, &file, seen)?;
                seen.clone()
            }
            _ => {
                in_range(dataset, features)?;
                let hash = hash(features);
                if features.identity_now()? != Some(identity) {
                    return Err(Error::Changed { path: features.path().into(), what: "changed" });
                }
                Seen { identity, at_ns, hash, sample: Some(staged::sample(features)) }
            }
        };
        hashes.push((file.clone(), seen.hash.clone()));
        after.files.insert(file, seen);
    }
    if after.files != before.files {
        after.keep(&memory_path);
    }
    Ok(hashes)
}

/// Whether a file is very likely a copy of one that was checked.
fn is_copy(features: &Features, seen: &Seen) -> bool {
    let identity = features.identity();
    // The very file that was checked, written to since, is no copy.
    seen.identity.is_another(&identity) && seen.sample.as_ref().is_some_and(|sample| *sample == staged::sample(features))
}

/// Fails where a feature file is not what it was when it was hashed.
///
/// What was written to since is refused whatever it holds now, for it may have held something else in between. Where only a
/// name, link or right changed, the contents are hashed once more.
pub(super) fn unchanged(dataset: &Dataset) -> Result<(), Error> {
    dataset.staged.confirm(dataset)?;
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

fn in_range(dataset: &Dataset, features: &Features) -> Result<(), Error> {
    let survey = features.survey();
    let path = features.path().to_path_buf();
    if let Some((row, place, value)) = survey.refused {
        let is_audio = dataset.audio.iter().any(|a| a.name() == features.name());
        let clip = if is_audio { dataset.audio_row.iter().position(|r| *r == Some(row)) } else { Some(row) };
        let clip = clip.map_or_else(String::new, |i| dataset.clips[i].name.clone());
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

pub(super) fn hash(features: &Features) -> String {
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
