//! Rows belong to clips by name. Feature files name their rows; `clips.csv`, which people open in spreadsheets, may list the
//! same clips in any order.

use super::clips::Unlabelled;
use super::{Clip, Error, Features};
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// A clip that may have rows.
pub(super) trait Listed {
    /// Its name.
    fn name(&self) -> &str;
    /// Whether it has a row in the audio features.
    fn has_audio(&self) -> bool;
}

impl Listed for Clip {
    fn name(&self) -> &str {
        &self.name
    }

    fn has_audio(&self) -> bool {
        self.has_audio
    }
}

impl Listed for Unlabelled {
    fn name(&self) -> &str {
        &self.name
    }

    fn has_audio(&self) -> bool {
        self.has_audio
    }
}

/// Puts clips into the order of the rows. Fails where files name other clips than `clips.csv` lists. Returns what the user
/// should be told.
pub(super) fn by_name(
    clips_path: &Path,
    clips: &mut [impl Listed],
    streams: &[&Features],
    audio: &[Features],
) -> Result<Vec<String>, Error> {
    let mut notes = Vec::new();
    let mut nameless = Vec::new();
    // What `clips` is in the order of, once a file told.
    let mut ordered_by: Option<&Features> = None;
    for &features in streams {
        let Some(names) = features.clip_names() else {
            nameless.push(features.name());
            continue;
        };
        if names.iter().map(String::as_str).eq(clips.iter().map(Listed::name)) {
            ordered_by.get_or_insert(features);
            continue;
        }
        if let Some(first) = ordered_by {
            let file = first.path().file_name().unwrap_or_default().to_string_lossy();
            return Err(other(
                features,
                format!("its rows belong to other clips, or stand in another order, than those of {file}"),
            ));
        }
        sort(clips, features, &names)?;
        ordered_by = Some(features);
        notes.push(format!(
            "{}: lists the clips in another order than the features' rows; each row was found by its name",
            clips_path.display()
        ));
    }
    for features in audio {
        let Some(names) = features.clip_names() else {
            nameless.push(features.name());
            continue;
        };
        let sounded: Vec<&str> = clips.iter().filter(|c| c.has_audio()).map(Listed::name).collect();
        if let Some((row, expected)) = differs(&names, &sounded) {
            let found = names.get(row).map_or("none", String::as_str);
            return Err(other(
                features,
                format!(
                    "row {row} belongs to clip {found:?}, where clips.csv calls for the audio of {expected:?} (has_audio)"
                ),
            ));
        }
    }
    if !nameless.is_empty() {
        let dir = clips_path.parent().unwrap_or(clips_path).display();
        notes.push(format!(
            "{dir}: {} does not name the clips of its rows (made by an earlier version or another program), so rows are taken in the order of clips.csv; do not sort it\n  next: importing again adds the names and keeps the fingerprint",
            nameless.join(", ")
        ));
    }
    Ok(notes)
}

/// Brings clips into the order of names.
fn sort(clips: &mut [impl Listed], features: &Features, names: &[String]) -> Result<(), Error> {
    let place: HashMap<&str, usize> = names.iter().enumerate().map(|(i, n)| (n.as_str(), i)).collect();
    if let Some(clip) = clips.iter().find(|c| !place.contains_key(c.name())) {
        let listed: HashSet<&str> = clips.iter().map(Listed::name).collect();
        let unlisted = names.iter().find(|n| !listed.contains(n.as_str()));
        let where_else =
            unlisted.map_or_else(String::new, |n| format!(", and a row for {n:?}, which clips.csv does not list"));
        return Err(other(features, format!("it has no row for clip {:?} of clips.csv{where_else}", clip.name())));
    }
    if place.len() != names.len() {
        return Err(other(features, "it names a clip twice".into()));
    }
    clips.sort_by_key(|c| place.get(c.name()).copied());
    Ok(())
}

/// The first place where two lists differ, and what the second has there.
fn differs(names: &[String], expected: &[&str]) -> Option<(usize, String)> {
    let row =
        (0..names.len().max(expected.len())).find(|&i| names.get(i).map(String::as_str) != expected.get(i).copied())?;
    Some((row, expected.get(row).map_or("no clip", |n| n).to_string()))
}

fn other(features: &Features, message: String) -> Error {
    Error::OtherClips { path: features.path().into(), message }
}
