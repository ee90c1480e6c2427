//! Which videos there are, and what their clips are called.

use super::error::{Error, io};
use crate::brief::shortened;
use crate::csv_lines::{self, Header};
use crate::files;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

/// Endings of files that hold video or sound.
const ENDINGS: [&str; 27] = [
    "3gp", "asf", "avi", "flv", "gif", "m2ts", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "mts", "mxf", "ogv", "qt",
    "rm", "ts", "vob", "webm", "wmv", "flac", "m4a", "mp3", "ogg", "opus", "wav",
];

/// What stands for a label that nobody gave.
pub const UNLABELLED: &str = "unlabelled";

/// One video.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clip {
    /// Its name, unique and fit for a file name.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// Its path below the folder, or as it stands in the list.
    pub shown: String,
    /// Its class.
    pub label: String,
    /// `train`, `val` or `test`.
    pub split: String,
}

/// All videos, in a fixed order, and files of a folder that are none by their ending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    /// In the order of their paths, or of the list.
    pub clips: Vec<Clip>,
    /// Files that are left out.
    pub others: Vec<String>,
    /// Whether the folder said labels and splits.
    pub labelled: bool,
}

impl List {
    /// Videos of a folder: `SPLIT/LABEL/FILE` with split train, val or test, `LABEL/FILE`, or files alone.
    pub fn of_folder(dir: &Path) -> Result<List, Error> {
        if !dir.is_dir() {
            return Err(Error::Usage(format!(
                "{}: no such folder\n  next: give the folder of the videos, with train/LABEL/FILE and val/LABEL/FILE in it, or name files by --clips",
                dir.display()
            )));
        }
        let mut files = Vec::new();
        walk(dir, &mut Vec::new(), &mut files)?;
        files.sort();
        let mut list = List { labelled: true, ..List::default() };
        for (parts, path) in files {
            let shown = parts.join("/");
            let ending = path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
            if !ENDINGS.contains(&ending.as_str()) {
                list.others.push(shown);
                continue;
            }
            let folders: Vec<&str> = parts[..parts.len() - 1].iter().map(String::as_str).collect();
            let (split, label) = match folders[..] {
                [split @ ("train" | "val" | "test"), .., label] if folders.len() > 1 => (split, label),
                [.., label] if !["train", "val", "test"].contains(&label) => ("", label),
                _ => ("", ""),
            };
            list.labelled &= !split.is_empty();
            let or = |text: &str, other: &str| if text.is_empty() { other.to_string() } else { text.to_string() };
            let (label, split) = (or(label, UNLABELLED), or(split, "train"));
            list.clips.push(Clip { name: String::new(), path, shown, label, split });
        }
        if list.clips.is_empty() {
            let others = match list.others.len() {
                0 => String::new(),
                n => format!("; {n} file(s) in it are none by their ending, such as {}", list.others[0]),
            };
            return Err(Error::Usage(format!(
                "{}: no video in it{others}\n  next: name files of any ending by --clips",
                dir.display()
            )));
        }
        list.name();
        Ok(list)
    }

    /// Videos that a `clips.csv` names: columns `path`, and `clip`, `label`, `split` if it has them. Paths are relative to
    /// the folder.
    pub fn of_file(file: &Path, dir: &Path) -> Result<List, Error> {
        let bad = |(line, message)| Error::Clips { path: file.into(), line, message };
        let text = files::read_text(file, LARGEST_FILE).map_err(|e| bad((0, crate::explain_io(&e))))?;
        let mut seen: HashMap<String, u64> = HashMap::new();
        let mut unnamed: HashMap<String, u64> = HashMap::new();
        let begin = |header: &Header| {
            let path = header.need("path", "clip,path,label,split")?;
            let columns = [Some(path), header.column("clip"), header.column("label"), header.column("split")];
            let labelled = columns[2].is_some() && columns[3].is_some();
            Ok((columns, List { labelled, ..List::default() }))
        };
        let each = |(columns, list): &mut ([Option<usize>; 4], List), line, record: &csv::StringRecord| {
            let field = |i: usize| columns[i].and_then(|at| record.get(at)).unwrap_or_default().to_string();
            let shown = field(0);
            if shown.is_empty() {
                return Err((line, "the clip has no path".to_string()));
            }
            let split = match field(3) {
                s if s.is_empty() => "train".to_string(),
                s if ["train", "val", "test"].contains(&s.as_str()) => s,
                other => {
                    return Err((line, format!("split {:?} should be train, val or test", shortened(&other, 100))));
                }
            };
            let clip = field(1);
            if !clip.is_empty() && (clip != plain(&clip) || clip.len() > LONGEST) {
                let (given, fit) = (shortened(&clip, 100), shortened(&plain(&clip), 100));
                return Err((line, format!("clip {given:?} is no name for a file; {fit:?} would be")));
            }
            if !clip.is_empty()
                && let Some(first) = seen.insert(clip.clone(), line)
            {
                return Err((line, format!("clip {:?} stands twice, first on line {first}", shortened(&clip, 100))));
            }
            if clip.is_empty()
                && let Some(first) = unnamed.insert(shown.clone(), line)
            {
                return Err((
                    line,
                    format!(
                        "{:?} stands twice, first on line {first}; leave one out, or give each a name in a column `clip`",
                        shortened(&shown, 200)
                    ),
                ));
            }
            let label = Some(field(2)).filter(|l| !l.is_empty()).unwrap_or_else(|| UNLABELLED.into());
            list.clips.push(Clip { name: clip, path: dir.join(&shown), shown, label, split });
            Ok(())
        };
        let (_, mut list) = csv_lines::read(&text, &["path", "clip", "label", "split"], begin, each).map_err(bad)?;
        if list.clips.is_empty() {
            return Err(bad((1, "no clips; one line for each clip should follow the header".into())));
        }
        list.name();
        Ok(list)
    }

    /// Names clips after their files: the stem where it is the only such one, else the whole path.
    fn name(&mut self) {
        let stem = |clip: &Clip| {
            let stem = clip.path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
            plain(&stem)
        };
        let key = |name: &str| name.to_lowercase();
        let mut count: BTreeMap<String, usize> = BTreeMap::new();
        for clip in &self.clips {
            let name = if clip.name.is_empty() { stem(clip) } else { clip.name.clone() };
            *count.entry(key(&name)).or_default() += 1;
        }
        let given: HashSet<String> = self.clips.iter().filter(|c| !c.name.is_empty()).map(|c| key(&c.name)).collect();
        let mut taken = given;
        for clip in self.clips.iter_mut().filter(|c| c.name.is_empty()) {
            let short = stem(clip);
            let long = || plain(&clip.shown.replace(['/', '\\'], "-"));
            let mut name = if count[&key(&short)] == 1 { short } else { long() };
            if name.len() > LONGEST || !taken.insert(key(&name)) {
                // Cut, or the same after all: the path's hash makes it unique, or the hash's hash, should somebody have given that name.
                let begin = name[..name.floor_char_boundary(LONGEST - 13)].to_string();
                let mut hash = blake3::hash(clip.shown.as_bytes());
                name = format!("{begin}-{}", &hash.to_hex()[..12]);
                while !taken.insert(key(&name)) {
                    hash = blake3::hash(hash.as_bytes());
                    name = format!("{begin}-{}", &hash.to_hex()[..12]);
                }
            }
            clip.name = name;
        }
    }
}

/// Bytes of a list that are read.
const LARGEST_FILE: u64 = 1 << 30;

/// Bytes of a clip's name; `_NAME.npy` and a suffix while it is written follow.
const LONGEST: usize = 160;

/// A name without what a file's name or a line of a table cannot hold.
fn plain(name: &str) -> String {
    let name: String = name
        .chars()
        .map(|c| if c == '/' || c == '\\' || c.is_control() || c == '\u{fffd}' { '-' } else { c })
        .collect();
    let name = name.trim().trim_start_matches('.').trim();
    if name.is_empty() { "clip".into() } else { name.into() }
}

/// Files below a folder, with their path's parts; hidden ones are left out.
fn walk(dir: &Path, parts: &mut Vec<String>, files: &mut Vec<(Vec<String>, PathBuf)>) -> Result<(), Error> {
    for entry in std::fs::read_dir(dir).map_err(io(dir))? {
        let path = entry.map_err(io(dir))?.path();
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if name.starts_with('.') {
            continue;
        }
        parts.push(name);
        // A loop of links is as deep as anything gets.
        if path.is_dir() && parts.len() < 32 {
            walk(&path, parts, files)?;
        } else if !path.is_dir() {
            files.push((parts.clone(), path));
        }
        parts.pop();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        dir
    }

    #[test]
    fn splits_and_labels_are_folders_and_equal_stems_get_their_path() {
        let files = [
            "train/barking/a.mp4",
            "train/running/a.mp4",
            "val/barking/-b, c%d.MKV",
            "val/barking/.hidden.mp4",
            "readme.txt",
        ];
        let dir = folder(&files);
        let list = List::of_folder(dir.path()).unwrap();
        let rows: Vec<[&str; 3]> = list.clips.iter().map(|c| [c.name.as_str(), &c.label, &c.split]).collect();
        assert_eq!(
            rows,
            [
                ["train-barking-a.mp4", "barking", "train"],
                ["train-running-a.mp4", "running", "train"],
                ["-b, c%d", "barking", "val"]
            ]
        );
        assert!(list.labelled);
        assert_eq!(list.others, ["readme.txt"]);
    }

    #[test]
    fn a_flat_folder_has_no_labels() {
        let dir = folder(&["a.mp4", "b.mov", "b.mp4"]);
        let list = List::of_folder(dir.path()).unwrap();
        let names: Vec<&str> = list.clips.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["a", "b.mov", "b.mp4"]);
        assert!(!list.labelled && list.clips.iter().all(|c| c.label == UNLABELLED));
        assert!(List::of_folder(&dir.path().join("nothing")).is_err());
        assert!(List::of_folder(folder(&["x.txt"]).path()).unwrap_err().to_string().contains("x.txt"));
    }

    #[test]
    fn long_names_are_cut_and_stay_unique() {
        let (a, b) = ("é".repeat(90) + "1.mp4", "é".repeat(90) + "2.mp4");
        let list = List::of_folder(folder(&[&a, &b]).path()).unwrap();
        let [a, b] = &list.clips[..] else { panic!() };
        assert!(a.name != b.name && a.name.len() <= LONGEST && b.name.len() <= LONGEST);
    }

    #[test]
    fn a_list_names_files() {
        let dir = folder(&[]);
        let file = dir.path().join("clips.csv");
        let read = |text: &str| {
            std::fs::write(&file, text).unwrap();
            List::of_file(&file, Path::new("videos"))
        };
        let list = read("clip,path,label,split\nx,a/x 1.mp4,run,val\n,/b/y.mp4,sit,\n").unwrap();
        assert_eq!(list.clips[0].path, Path::new("videos/a/x 1.mp4"));
        assert_eq!((list.clips[1].name.as_str(), list.clips[1].path.as_path()), ("y", Path::new("/b/y.mp4")));
        assert_eq!(list.clips[1].split, "train");
        // One video may be two clips, if they are called so; and a name that somebody gave is nobody else's.
        let list = read("path,clip\na.mp4,one\na.mp4,two\n").unwrap();
        assert_eq!((list.clips[0].name.as_str(), list.clips[1].name.as_str()), ("one", "two"));
        let taken = format!("a-x-{}", &blake3::hash(b"a/x.mp4").to_hex()[..12]);
        let list = read(&format!("path,clip\na/x.mp4,\nb/x.mp4,\nc.mp4,a-x\nd.mp4,{taken}\n")).unwrap();
        let names: HashSet<&str> = list.clips.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names.len(), 4, "{names:?}");
        for (text, why) in [
            ("clip,label\n", "path"),
            ("path\n", "no clips"),
            ("path,split\na,dev\n", "should be train"),
            ("path,clip\na,x\nb,x\n", "twice"),
            ("path,clip\na,x/y\n", "no name"),
            ("path\na/x.mp4\nb/x.mp4\na/x.mp4\n", "\"a/x.mp4\" stands twice, first on line 2"),
            ("path,label,label\na,x,y\n", "\"label\" stands twice"),
            ("Path\na\n", "\"Path\" should be called \"path\""),
            ("path;label\na;x\n", "separated by \";\""),
            ("path,remark\na,\"loud\nb,\nc,\n", "closes 3 lines further on"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
