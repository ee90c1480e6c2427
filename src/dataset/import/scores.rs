//! Class probabilities that come with the features, such as those of a network that was trained on the very classes: one array (K) for
//! each clip and stream in `scores/CLIP_STREAM.npy`, and `scores/classes.txt`, which names the K classes in order. `unmute extract
//! --scores` leaves them so.
//!
//! A stream whose every clip has one brings its own scores into the data set, and no head is trained on it.

use super::super::manifest::Manifest;
use super::super::range::probabilities;
use super::super::writer::Writer;
use super::super::{Clip, Error, Precision, folder};
use super::findings::Report;
use super::layout::{SCORES, Source};
use super::npy::{Npy, tuple};
use super::options::Options;
use crate::files;
use rayon::prelude::*;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

const CLASSES: &str = "classes.txt";
const LARGEST_FILE: u64 = 64 << 20;

/// Arrays by clip (index) and name.
type Arrays = BTreeMap<(usize, String), Source>;

/// Clips read at once; bounds memory.
const BLOCK: usize = 4096;

/// The scores of a source.
pub(super) struct Scores {
    /// The text of `classes.txt`.
    pub text: String,
    /// Its path.
    pub path: PathBuf,
    /// Streams that have scores.
    pub streams: Vec<String>,
    /// How many classes the scores are of.
    known: usize,
    /// For each class of the data set its place in them.
    order: Vec<usize>,
}

/// The name under which a stream's scores are kept.
fn name_of(stream: &str) -> String {
    Manifest::scores_file(stream)
}

/// Looks for scores; their arrays go to `arrays` under [`name_of`] the stream.
pub(super) fn find(
    src: &Path,
    (streams, clips, classes): (&[String], &[Clip], &[String]),
    options: &Options,
    arrays: &mut Arrays,
    report: &mut Report,
) -> Result<Option<Scores>, Error> {
    let dir = src.join(SCORES);
    if !dir.is_dir() {
        return Ok(None);
    }
    let listed = listed(&dir)?;
    if options.no_scores || !listed.iter().any(|name| name.ends_with(".npy")) {
        let why = if options.no_scores {
            "arrays of class scores, left out by --no-scores"
        } else {
            "files in scores/ that are no .npy"
        };
        listed.iter().for_each(|name| report.unused.add(why, format!("{SCORES}/{name}")));
        return Ok(None);
    }
    let path = dir.join(CLASSES);
    let text = files::read_text(&path, LARGEST_FILE).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => Error::Usage(format!(
            "{}: is not there; it names the classes of the scores beside it in their order, one a line\n  next: write it, or leave the scores out with --no-scores",
            path.display()
        )),
        _ => Error::Io { path: path.clone(), source },
    })?;
    let (known, order) = order(&text, classes).map_err(|message| Error::Feature { path: path.clone(), message })?;
    if known > classes.len() {
        let n = known - classes.len();
        report
            .adapted
            .add("classes of the scores that no clip has; what is left sums to 1 again", format!("{n} of {known}"));
    }
    let mut used: HashSet<&str> = HashSet::from([CLASSES]);
    let mut found = Scores { text, path, streams: Vec::new(), known, order };
    for stream in streams {
        let file = |clip: &Clip| format!("{}_{stream}.npy", clip.name);
        let there = |clip: &&Clip| listed.contains(&file(clip));
        let count = clips.iter().filter(there).count();
        if count == 0 {
            continue;
        }
        if let Some(clip) = clips.iter().find(|c| !there(c)) {
            return Err(Error::Usage(format!(
                "{}: has {stream} scores of {count} of {} clips; every clip needs them, or none (the first without: {:?})\n  next: extract what is missing, or leave the scores out with --no-scores",
                dir.display(),
                clips.len(),
                clip.name
            )));
        }
        for (i, clip) in clips.iter().enumerate() {
            let path = dir.join(file(clip));
            // Its shape is looked at when it is read.
            let source = Source { path, member: None, reader: &Npy, shape: Ok(Vec::new()) };
            used.extend(listed.get(&file(clip)).map(String::as_str));
            arrays.insert((i, name_of(stream)), source);
        }
        found.streams.push(stream.clone());
    }
    let mut unused: Vec<&String> = listed.iter().filter(|name| !used.contains(name.as_str())).collect();
    unused.sort();
    unused
        .iter()
        .for_each(|n| report.unused.add("files in scores/ of no listed clip and stream", format!("{SCORES}/{n}")));
    Ok((!found.streams.is_empty()).then_some(found))
}

/// The names of what lies in the folder.
fn listed(dir: &Path) -> Result<HashSet<String>, Error> {
    let io = |source| Error::Io { path: dir.into(), source };
    let entries = std::fs::read_dir(dir).map_err(io)?;
    entries.map(|e| Ok(e.map_err(io)?.file_name().to_string_lossy().into_owned())).collect()
}

/// How many classes a text names, and the place of each of `wanted`.
fn order(text: &str, wanted: &[String]) -> Result<(usize, Vec<usize>), String> {
    let names: Vec<&str> =
        text.trim_start_matches('\u{feff}').lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    let mut places = HashMap::new();
    for (i, name) in names.iter().enumerate() {
        if places.insert(*name, i).is_some() {
            return Err(format!("names the class {name:?} twice"));
        }
    }
    let place = |class: &String| {
        places.get(class.trim()).copied().ok_or_else(|| {
            let hint = crate::suggest::nearest(class, &names);
            format!(
                "has no class {class:?}, which clips.csv has{hint}: the scores say nothing of it\n  next: name the scores' classes as in clips.csv, or leave the scores out with --no-scores"
            )
        })
    };
    Ok((names.len(), wanted.iter().map(place).collect::<Result<_, _>>()?))
}

impl Scores {
    /// Writes `STREAM.scores.safetensors`, (N, K) in single precision, for each stream; hands on the hashes of what was read.
    pub fn write(
        &self,
        clips: &[Clip],
        arrays: &Arrays,
        out: &Path,
        digests: &mut BTreeMap<(usize, String), blake3::Hash>,
        report: &mut Report,
    ) -> Result<(), Error> {
        let all: Vec<usize> = (0..clips.len()).collect();
        for stream in &self.streams {
            let name = name_of(stream);
            let names = clips.iter().map(|c| c.name.as_str());
            let mut writer = Writer::create(out, &name, &[all.len(), self.order.len()], Precision::F32, names)?;
            for block in all.chunks(BLOCK) {
                folder::go_on()?;
                let read: Vec<(Vec<f32>, blake3::Hash)> = block
                    .par_iter()
                    .map(|&clip| self.read(&clips[clip].name, arrays.get(&(clip, name.clone()))))
                    .collect::<Result<_, Error>>()?;
                for (&clip, (row, digest)) in block.iter().zip(read) {
                    writer.push(&row)?;
                    digests.insert((clip, name.clone()), digest);
                }
            }
            writer.finish()?;
            report.used.push(format!(
                "{stream}: class probabilities of {} classes for every clip; no head is trained on {stream} (--no-scores leaves them out)",
                self.order.len()
            ));
        }
        Ok(())
    }

    /// One clip's probabilities, in the data set's order of classes.
    fn read(&self, who: &str, source: Option<&Source>) -> Result<(Vec<f32>, blake3::Hash), Error> {
        let source = source.ok_or_else(|| Error::Usage(format!("clip {who:?}: its scores are gone")))?;
        let array = source.reader.read(&source.path, None)?;
        let bad = |message: String| Error::Feature { path: source.path.clone(), message };
        if array.values.len() != self.known || array.shape.iter().filter(|d| **d != 1).count() > 1 {
            return Err(bad(format!("shape is {}; {CLASSES} calls for ({})", tuple(&array.shape), self.known)));
        }
        probabilities(&array.values).map_err(|wrong| bad(format!("clip {who:?}: {wrong}")))?;
        let mut row: Vec<f32> = self.order.iter().map(|&place| array.values[place]).collect();
        if self.known > self.order.len() {
            let sum: f32 = row.iter().sum();
            if sum <= f32::MIN_POSITIVE {
                return Err(bad(format!("clip {who:?}: the classes of clips.csv have no probability at all")));
            }
            row.iter_mut().for_each(|p| *p /= sum);
        }
        Ok((row, array.digest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_found_by_name() {
        let wanted = ["b".to_string(), "a".to_string()];
        assert_eq!(order("a\r\nc\nb\n\n", &wanted), Ok((3, vec![2, 0])));
        assert!(order("a\nb\na", &wanted).unwrap_err().contains("twice"));
        assert!(order("a\nB", &wanted).unwrap_err().contains("no class \"b\""));
    }
}
