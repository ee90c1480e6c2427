//! Reads every number of a data set once: all finite and within range? and what is their hash?

use super::clips::Clip;
use super::error::Error;
use super::features::Features;
use super::identity::now_ns;
use super::manifest::Manifest;
use super::memory::{Memory, Seen, hash, sample};
use super::range::{SMALLEST, probabilities};
use super::staged::{Staged, is_copy};
use std::path::Path;

/// What a data set consists of, as far as it is hashed.
pub(super) struct Parts<'a> {
    /// The folder, where what was found is remembered.
    pub dir: &'a Path,
    pub manifest: &'a Manifest,
    pub clips: &'a [Clip],
    /// The streams: row i is clip i's.
    pub streams: &'a [Features],
    /// The audio features.
    pub audio: &'a [Features],
    /// Class probabilities of streams: row i is clip i's.
    pub scores: &'a [Features],
    /// Each clip's row in the audio features.
    pub audio_row: &'a [Option<usize>],
}

/// What a feature file holds.
#[derive(Clone, Copy, PartialEq)]
enum What {
    Stream,
    Audio,
    Scores,
}

/// Checks that all numbers are finite and within range, and hashes each part of the data set:
/// `[("dataset.yaml", ...), ("clips.csv", ...), ("rgb.safetensors", ...), ...]`. With `staged`, what seems to be a copy of what
/// was checked elsewhere is read in the background.
pub(super) fn contents<'a>(parts: &Parts<'a>, staged: Option<&Staged>) -> Result<Vec<(String, String)>, Error> {
    let memory_path = Memory::path(parts.dir);
    let before = Memory::of(&memory_path);
    let mut after = Memory::new(parts.dir);
    let staged = staged.filter(|_| before.is_copied(parts.dir));
    let mut hashes = vec![
        ("dataset.yaml".to_string(), parts.manifest.content_hash()),
        ("clips.csv".to_string(), clips_hash(parts.clips)),
    ];
    let of = |all: &'a [Features], what| all.iter().map(move |f| (f, what));
    let all = of(parts.streams, What::Stream).chain(of(parts.audio, What::Audio)).chain(of(parts.scores, What::Scores));
    for (features, what) in all {
        let file = format!("{}.safetensors", features.name());
        let (identity, at_ns) = (features.identity(), now_ns());
        let known = before.files.get(&file);
        let same = |seen: &&Seen| seen.identity.same_on_any_machine(&identity) && identity.settled(seen.at_ns);
        let copy = || Some((staged.filter(|_| what != What::Scores)?, known.filter(|seen| is_copy(features, seen))?));
        let seen = if let Some(seen) = known.filter(same) {
            seen.clone()
        } else if let Some((staged, seen)) = copy() {
            staged.read(features, &file, seen)?;
            after.stay_copied(&before);
            seen.clone()
        } else {
            let clip_of = |row: usize| match what {
                What::Audio => parts.audio_row.iter().position(|r| *r == Some(row)),
                What::Stream | What::Scores => Some(row),
            };
            in_range(features, |row| clip_of(row).map(|i| parts.clips[i].name.clone()))?;
            if what == What::Scores {
                all_probabilities(features, parts.clips)?;
            }
            let hash = hash(features);
            if features.identity_now()? != Some(identity) {
                return Err(Error::Changed { path: features.path().into(), what: "changed" });
            }
            Seen { identity, at_ns, hash, sample: Some(sample(features)) }
        };
        hashes.push((file.clone(), seen.hash.clone()));
        after.files.insert(file, seen);
    }
    if after.files != before.files {
        after.keep(&memory_path);
    }
    Ok(hashes)
}

/// Fails where a feature file is not what it was when it was hashed.
///
/// What was written to since is refused whatever it holds now, for it may have held something else in between. Where only a
/// name, link or right changed, the contents are hashed once more.
pub(super) fn unchanged<'a>(
    all: impl Iterator<Item = &'a Features>,
    file_hashes: &[(String, String)],
) -> Result<(), Error> {
    for features in all {
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
        let before = file_hashes.iter().find(|(name, _)| *name == file).map(|(_, hash)| hash);
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

/// Fails at the first clip whose numbers are no class probabilities.
fn all_probabilities(features: &Features, clips: &[Clip]) -> Result<(), Error> {
    let mut row = vec![0.0; features.row_len()];
    for (i, clip) in clips.iter().enumerate() {
        features.read_row(i, &mut row);
        probabilities(&row).map_err(|wrong| Error::Feature {
            path: features.path().into(),
            message: format!("clip {:?} (row {i}): {wrong}", clip.name),
        })?;
    }
    Ok(())
}

fn clips_hash(clips: &[Clip]) -> String {
    let mut hasher = blake3::Hasher::new();
    for c in clips {
        hasher.update(format!("{:?},{},{},{}\n", c.name, c.label, c.split.name(), c.has_audio).as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}
