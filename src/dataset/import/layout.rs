//! Which file is which clip's: names of files and folders are matched with the clips of `clips.csv`.
//!
//! | layout | of |
//! | --- | --- |
//! | `features/CLIP_NAME.npy` | many extractors |
//! | `MODEL/CLIP_NAME.npy`, with `CLIP_fps.npy` and `CLIP_timestamps_ms.npy` beside | video_features |
//! | `NAME/CLIP.npy` | a folder for each feature |
//! | `CLIP/NAME.npy` | a folder for each clip |
//! | `CLIP.npz` holding `NAME`, ... | an archive for each clip |
//!
//! at any depth below `SRC/features`, or below `SRC` where there is no such folder.

use super::super::Error;
use super::super::manifest::check_name;
use super::array::ArrayReader;
use super::findings::Report;
use super::formats::READERS;
use rayon::prelude::*;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use unicode_normalization::UnicodeNormalization;

/// What video_features leaves beside its features: frame rates and times, which are no features.
const SIDE_FILES: [&str; 2] = ["fps", "timestamps_ms"];

/// Endings of files that hold features in a format that is not read.
const OTHER_FORMATS: [&str; 16] = [
    "h5",
    "hdf5",
    "mat",
    "pt",
    "pth",
    "pkl",
    "pickle",
    "safetensors",
    "csv",
    "tsv",
    "json",
    "parquet",
    "feather",
    "zarr",
    "tfrecord",
    "gz",
];

/// The folder of class scores, beside `features/`.
pub(super) const SCORES: &str = "scores";

/// Folders in folders that are looked into.
const DEEPEST: usize = 16;

/// An array of a clip.
#[derive(Clone)]
pub(super) struct Source {
    pub path: PathBuf,
    pub member: Option<String>,
    pub reader: &'static dyn ArrayReader,
    /// Its dimensions, or why it cannot be read.
    pub shape: Result<Vec<usize>, String>,
}

/// All arrays of the listed clips.
pub(super) struct Layout {
    /// By clip (index) and feature name.
    pub arrays: BTreeMap<(usize, String), Source>,
    /// Files that belong to no listed clip, for hints: by name without ending.
    pub unlisted: Vec<String>,
    /// Features that other programs generated: clip, `vggish.mygan`, file.
    pub external: Vec<(usize, String, PathBuf)>,
}

/// One spelling for names that look the same: accented letters of one code point.
pub(super) fn composed(name: &str) -> String {
    if name.is_ascii() { name.into() } else { name.nfc().collect() }
}

/// A file of a known format.
struct Found {
    path: PathBuf,
    /// Folders below the root.
    folders: Vec<String>,
    stem: String,
    reader: &'static dyn ArrayReader,
}

impl Found {
    /// How it is shown: its path below the source.
    fn shown(&self, src: &Path) -> String {
        shown(&self.path, src)
    }
}

/// A path below the source.
pub(super) fn shown(path: &Path, src: &Path) -> String {
    path.strip_prefix(src).unwrap_or(path).display().to_string()
}

/// Looks through the source. `asked` are the features that the user named, which settle names that could be read in two ways.
pub(super) fn find(src: &Path, clips: &[String], asked: &HashSet<&str>, report: &mut Report) -> Result<Layout, Error> {
    let features = src.join("features");
    let root = if features.is_dir() { features } else { src.to_path_buf() };
    let mut files = Vec::new();
    walk(&root, src, &mut Vec::new(), &mut HashSet::new(), &mut files, report)?;
    if root != src {
        // Whoever puts a folder beside features/ may believe that it is read.
        let mut beside = Vec::new();
        let seen = &mut HashSet::from([place_of(&root)?]);
        let scores = src.join(SCORES);
        if scores.is_dir() {
            seen.insert(place_of(&scores)?);
        }
        walk(src, src, &mut Vec::new(), seen, &mut beside, report)?;
        for file in beside {
            report
                .unused
                .add("arrays beside the folder features/, which is where they are looked for", file.shown(src));
        }
    }
    let mut index: HashMap<String, usize> = HashMap::with_capacity(clips.len());
    for (i, clip) in clips.iter().enumerate() {
        if let Some(first) = index.insert(composed(clip), i) {
            return Err(Error::Usage(format!(
                "{}: clips {:?} and {clip:?} look the same (accents written in two ways, Unicode NFC and NFD)\n  next: rename one of them",
                src.join("clips.csv").display(),
                clips[first]
            )));
        }
    }
    let names = Names { index, asked };
    // Headers are read side by side: the slow part of this on a disk that is not warm.
    let listed = files
        .par_iter()
        .map(|file| match names.resolve(file) {
            None => Ok(None),
            Some(Resolved { clip, name }) => file.reader.list(&file.path).map(|entries| Some((clip, name, entries))),
        })
        .collect::<Result<Vec<_>, Error>>()?;
    let mut layout = Layout { arrays: BTreeMap::new(), unlisted: Vec::new(), external: Vec::new() };
    for (file, listed) in files.iter().zip(listed) {
        let Some((clip, name, entries)) = listed else {
            if let Some((clip, name)) = names.generated(file) {
                layout.external.push((clip, name, file.path.clone()));
                continue;
            }
            report.unused.add("files of clips that are not listed in clips.csv", file.shown(src));
            layout.unlisted.push(file.stem.clone());
            continue;
        };
        let alone = entries.len() == 1;
        for entry in entries {
            let Some(name) = name.with(entry.member.as_deref(), alone) else {
                let member = entry.member.map_or_else(String::new, |m| format!(" ({m})"));
                report.unused.add("arrays whose feature has no name", format!("{}{member}", file.shown(src)));
                continue;
            };
            let source =
                Source { path: file.path.clone(), member: entry.member, reader: file.reader, shape: entry.shape };
            if let Some(other) = layout.arrays.insert((clip, name.clone()), source) {
                return Err(Error::Usage(format!(
                    "{} and {}: both are {name} of clip {:?}\n  next: leave one of them",
                    shown(&other.path, src),
                    file.shown(src),
                    clips[clip]
                )));
            }
        }
    }
    Ok(layout)
}

/// Device and inode.
fn place_of(dir: &Path) -> Result<(u64, u64), Error> {
    let meta = std::fs::metadata(dir).map_err(|source| Error::Io { path: dir.into(), source })?;
    Ok((meta.dev(), meta.ino()))
}

/// Lists files of known formats, by path.
fn walk(
    dir: &Path,
    src: &Path,
    folders: &mut Vec<String>,
    seen: &mut HashSet<(u64, u64)>,
    files: &mut Vec<Found>,
    report: &mut Report,
) -> Result<(), Error> {
    let io = |source| Error::Io { path: dir.into(), source };
    // A link that leads back is followed once.
    if folders.len() > DEEPEST || !seen.insert(place_of(dir)?) {
        report.unused.add("folders that are too deep or were seen before", shown(dir, src));
        return Ok(());
    }
    let mut entries = std::fs::read_dir(dir).map_err(io)?.collect::<Result<Vec<_>, _>>().map_err(io)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let (path, name) = (entry.path(), entry.file_name());
        let Some(name) = name.to_str() else {
            report.unused.add("files whose names are not UTF-8", shown(&path, src));
            continue;
        };
        if dir == src && name == "clips.csv" {
            continue;
        }
        if name.starts_with('.') {
            report.adapted.add("hidden files, which were not read", shown(&path, src));
            continue;
        }
        let kind = std::fs::metadata(&path).map_err(|source| Error::Io { path: path.clone(), source })?;
        if kind.is_dir() {
            // features/ itself, when the folder around it is looked through.
            if seen.contains(&(kind.dev(), kind.ino())) && dir == src {
                continue;
            }
            folders.push(name.to_string());
            walk(&path, src, folders, seen, files, report)?;
            folders.pop();
            continue;
        }
        let (stem, ending) = name.rsplit_once('.').unwrap_or((name, ""));
        match READERS.iter().find(|r| r.ending() == ending.to_ascii_lowercase()) {
            Some(reader) => {
                files.push(Found {
                    folders: folders.clone(),
                    stem: stem.to_string(),
                    reader: *reader,
                    path: path.clone(),
                });
            }
            None if OTHER_FORMATS.contains(&ending.to_ascii_lowercase().as_str()) => {
                report.unused.add("files of other formats than .npy and .npz", shown(&path, src));
            }
            None => report.adapted.add("files that are no arrays, which were not read", shown(&path, src)),
        }
    }
    Ok(())
}

/// The clips' names, and those of features where the user gave them.
struct Names<'a> {
    index: HashMap<String, usize>,
    asked: &'a HashSet<&'a str>,
}

impl Names<'_> {
    /// The clip that a file belongs to, and the feature where names tell it.
    fn resolve(&self, file: &Found) -> Option<Resolved> {
        let stem = composed(&file.stem);
        let folder = file.folders.last().map(|f| composed(f));
        let whole = [file.folders.iter().map(|f| composed(f)).collect(), vec![stem.clone()]].concat().join("/");
        let plain = |name: &str| check_name(name).is_ok().then(|| name.to_string());
        let archive = file.reader.names_arrays();
        let clip = |name: &str| self.index.get(name).copied();
        if let Some(clip) = clip(&stem) {
            match folder.as_deref().and_then(plain) {
                Some(name) => return Some(Resolved { clip, name: Name::OfFolder(name) }),
                None if archive => return Some(Resolved { clip, name: Name::None }),
                None => (),
            }
        }
        if archive && let Some(clip) = clip(&whole) {
            return Some(Resolved { clip, name: Name::None });
        }
        // CLIP_NAME: of the ways to divide it, one whose feature was asked for, else the longest clip.
        let divided = |text: &str| -> Option<(usize, String)> {
            let ways =
                || text.rmatch_indices('_').filter_map(|(at, _)| Some((clip(&text[..at])?, plain(&text[at + 1..])?)));
            ways().find(|(_, name)| self.asked.contains(name.as_str())).or_else(|| ways().next())
        };
        if let Some((clip, name)) = divided(&stem).or_else(|| divided(&whole)) {
            return Some(Resolved { clip, name: Name::OfFile(name) });
        }
        Some(Resolved { clip: clip(folder.as_deref()?)?, name: Name::OfFile(plain(&stem)?) })
    }
}

impl Names<'_> {
    /// The clip and name of a feature that another program generated: `CLIP_vggish.mygan.npy`, `vggish.mygan`.
    fn generated(&self, file: &Found) -> Option<(usize, String)> {
        let stem = composed(&file.stem);
        let name = |text: &str| {
            let (audio, by) = text.split_once('.')?;
            (check_name(audio).is_ok() && check_name(by).is_ok()).then(|| text.to_string())
        };
        let clip = |text: &str| self.index.get(text).copied();
        let whole = [file.folders.iter().map(|f| composed(f)).collect(), vec![stem.clone()]].concat().join("/");
        let divided = |text: &str| {
            text.rmatch_indices('_').find_map(|(at, _)| Some((clip(&text[..at])?, name(&text[at + 1..])?)))
        };
        (file.reader.ending() == "npy").then(|| divided(&stem).or_else(|| divided(&whole))).flatten()
    }
}

/// Whose file it is.
#[derive(Debug, PartialEq)]
struct Resolved {
    clip: usize,
    name: Name,
}

/// Where the feature's name stands.
#[derive(Debug, PartialEq)]
enum Name {
    /// In the file's name.
    OfFile(String),
    /// In its folder's, which may also mean something else.
    OfFolder(String),
    /// Nowhere: the archive's arrays have names.
    None,
}

impl Name {
    /// The feature's, with what an archive calls the array.
    fn with(&self, member: Option<&str>, alone: bool) -> Option<String> {
        // NumPy's own names for arrays that were given none.
        let telling = member.filter(|m| !m.starts_with("arr_") && check_name(m).is_ok());
        match (self, telling) {
            (Name::OfFile(name), _) if alone => Some(name.clone()),
            (_, Some(member)) => Some(member.to_string()),
            (Name::OfFile(name) | Name::OfFolder(name), None) if alone => Some(name.clone()),
            _ => None,
        }
    }
}

/// Whether a name is one of the files that an extractor leaves beside its features.
pub(super) fn is_side_file(name: &str) -> bool {
    SIDE_FILES.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::super::npy::Npy;
    use super::super::npz::Npz;
    use super::*;

    fn resolve(clips: &[&str], asked: &[&str], path: &str) -> Option<(String, Name)> {
        let mut folders: Vec<String> = path.split('/').map(str::to_string).collect();
        let file = folders.pop().unwrap();
        let (stem, ending) = file.rsplit_once('.').unwrap();
        let reader: &'static dyn ArrayReader = if ending == "npz" { &Npz } else { &Npy };
        let found = Found { path: path.into(), folders, stem: stem.into(), reader };
        let asked: HashSet<&str> = asked.iter().copied().collect();
        let index = clips.iter().enumerate().map(|(i, c)| (composed(c), i)).collect();
        Names { index, asked: &asked }.resolve(&found).map(|r| (clips[r.clip].to_string(), r.name))
    }

    #[test]
    fn files_are_found_in_every_layout() {
        let clips = ["a", "a_b", "walk/v1", "F\u{f6}n"];
        let is = |path: &str, clip: &str, name: &str| {
            let (found, of) = resolve(&clips, &[], path).unwrap_or_else(|| panic!("{path}"));
            assert_eq!((found.as_str(), of.with(None, true).as_deref()), (clip, Some(name)), "{path}");
        };
        is("a_rgb.npy", "a", "rgb");
        is("a_b_rgb.npy", "a_b", "rgb");
        is("a_slow_r50.npy", "a", "slow_r50");
        is("i3d/a_rgb.npy", "a", "rgb");
        is("r21d/r2plus1d_18/a_r21d.npy", "a", "r21d");
        is("rgb/a.npy", "a", "rgb");
        is("rgb/a_b.npy", "a_b", "rgb");
        is("a_b/rgb.npy", "a_b", "rgb");
        is("walk/v1_rgb.npy", "walk/v1", "rgb");
        is("Fo\u{308}n_rgb.npy", "F\u{f6}n", "rgb");
        is("a_b_rgb.npz", "a_b", "rgb");
        assert_eq!(resolve(&clips, &[], "a.npz"), Some(("a".into(), Name::None)));
        for nobody in ["c_rgb.npy", "a.npy", "rgb.npy", "c/rgb.npy"] {
            assert_eq!(resolve(&clips, &[], nobody), None, "{nobody}");
        }
        // Two ways to read it; the features that were asked for decide.
        assert_eq!(
            resolve(&["a", "a_slow"], &[], "a_slow_r50.npy"),
            Some(("a_slow".into(), Name::OfFile("r50".into())))
        );
        let asked = resolve(&["a", "a_slow"], &["slow_r50"], "a_slow_r50.npy");
        assert_eq!(asked, Some(("a".into(), Name::OfFile("slow_r50".into()))));
    }

    #[test]
    fn an_archive_names_its_arrays_where_the_file_does_not() {
        let file = || Name::OfFile("rgb".into());
        let folder = || Name::OfFolder("i3d".into());
        for (name, member, alone, is) in [
            (file(), "features", true, Some("rgb")),
            (file(), "flow", false, Some("flow")),
            (folder(), "flow", true, Some("flow")),
            (folder(), "arr_0", true, Some("i3d")),
            (folder(), "arr_0", false, None),
            (Name::None, "arr_0", true, None),
            (Name::None, "flow", false, Some("flow")),
        ] {
            assert_eq!(name.with(Some(member), alone).as_deref(), is, "{name:?} {member} {alone}");
        }
    }
}
