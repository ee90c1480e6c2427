//! What was found when a data set was read whole, remembered beside it for as long as its files stay what they are.

use super::features::Features;
use super::identity::Identity;
use crate::files;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
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
    /// The inode of the folder that it is of; none of earlier versions. Another one says that the folder was copied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    folder: Option<u64>,
    /// By the file's name.
    pub files: BTreeMap<String, Seen>,
}

const FILE: &str = ".unmute-check.json";
const VERSION: u32 = 2;
const LARGEST_FILE: u64 = 1 << 20;

impl Memory {
    /// Nothing yet, of this folder.
    pub(super) fn new(dir: &Path) -> Memory {
        Memory { version: VERSION, folder: inode(dir), files: BTreeMap::new() }
    }

    /// Whether it was made of another folder and came here with a copy of it. In its own folder, another file under the same
    /// name is one that somebody put there since.
    pub(super) fn is_copied(&self, dir: &Path) -> bool {
        self.folder.zip(inode(dir)).is_some_and(|(then, now)| then != now)
    }

    /// Remains that of the folder from which it came: not everything was read here yet.
    pub(super) fn stay_copied(&mut self, from: &Memory) {
        self.folder = from.folder;
    }

    /// Where a data set's memory lies.
    pub(super) fn path(dir: &Path) -> PathBuf {
        dir.join(FILE)
    }

    /// What earlier openings found, beside the data set or, where its folder cannot be written to, in the user's cache.
    pub(super) fn of(path: &Path) -> Memory {
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
    pub(super) fn keep(&self, path: &Path) {
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
        let mut memory = Memory { files: Memory::of(path).files, ..Memory::new(path.parent().unwrap_or(path)) };
        memory.files.extend(found);
        memory.keep(path);
    }
}

/// What tells a folder from its copies, on whichever machine it is mounted.
fn inode(dir: &Path) -> Option<u64> {
    std::fs::metadata(dir).ok().map(|folder| folder.ino())
}

/// Where it lies while that folder cannot be written to: in the user's cache, by the folder's name.
fn elsewhere(path: &Path) -> Option<PathBuf> {
    let given = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = given("XDG_CACHE_HOME").or_else(|| given("HOME").map(|home| home.join(".cache")))?;
    let folder = std::fs::canonicalize(path.parent()?).ok()?;
    let name = blake3::hash(folder.as_os_str().as_encoded_bytes()).to_hex().as_str()[..32].to_string();
    Some(cache.join("unmute/checked").join(format!("{name}.json")))
}

/// The hash of all numbers of a file.
pub(super) fn hash(features: &Features) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(format!("{:?} {} {}\n", features.precision(), features.rows(), features.row_len()).as_bytes());
    hasher.update_rayon(features.bytes());
    hasher.finalize().to_hex().to_string()
}

/// Bytes at either end of a file, and in each of the pages between, that are looked at before it is taken for a copy.
pub(super) const END: usize = 64 << 10;
pub(super) const PAGE: usize = 4 << 10;
pub(super) const PAGES: usize = 64;

/// A hash over some pages of a file.
pub(super) fn sample(features: &Features) -> String {
    let bytes = features.bytes();
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(&bytes[..END.min(bytes.len())]).update(&bytes[bytes.len().saturating_sub(END)..]);
    for page in 1..=PAGES {
        let at = (bytes.len() / (PAGES + 1)).saturating_mul(page);
        hasher.update(&bytes[at.min(bytes.len())..(at + PAGE).min(bytes.len())]);
    }
    hasher.finalize().to_hex().as_str()[..32].to_string()
}
