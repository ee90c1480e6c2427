//! Everything settled before the first feature is read in full: which files are used, the classes, the clips, the widths.

use super::super::Error;
use super::super::clips::{self, Clip, Row, Split};
use super::super::manifest::{Feature, Kind, Manifest, check_name};
use super::findings::Report;
use super::layout::{self, Layout, Source, composed, is_side_file, shown};
use super::npy::tuple;
use super::options::{Options, Rows};
use super::scores::{self, Scores};
use super::shape::Frames;
use super::states::states;
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

/// What will be read and what becomes of it.
pub(super) struct Plan {
    pub manifest: Manifest,
    pub clips: Vec<Clip>,
    pub src: PathBuf,
    /// One hash over the states of all files that are used, where a later change to one of them would show.
    pub states: Option<String>,
    /// By clip (index) and feature.
    pub arrays: BTreeMap<(usize, String), Source>,
    /// Features of its audio features that other programs generated: clip, `vggish.mygan`, file.
    pub external: Vec<(usize, String, PathBuf)>,
    /// The text of clips.csv.
    clips_text: String,
    /// Class probabilities that come with the features.
    pub scores: Option<Scores>,
    /// What is known of the report before anything is read.
    pub report: Report,
}

/// Names of audio features, which nobody means to be seen.
const KNOWN_AUDIO: [&str; 4] = ["vggish", "aenet", "panns", "openl3"];

impl Plan {
    pub fn new(src: &Path, clips_path: &Path, rows: clips::Rows, options: &Options) -> Result<Plan, Error> {
        let mut report = Report::default();
        for column in &rows.unused_columns {
            report.unused.add("columns of clips.csv", format!("{column:?}"));
        }
        let names: Vec<String> = rows.rows.iter().map(|r| r.clip.clone()).collect();
        let asked: HashSet<&str> = options
            .rows
            .keys()
            .chain(options.streams.iter().flatten())
            .chain(&options.skip)
            .map(String::as_str)
            .collect();
        let mut layout = layout::find(src, &names, &asked, &mut report)?;
        let (streams, audio) = feature_names(src, &rows.rows, &mut layout, options, &mut report)?;
        let classes: Vec<String> =
            rows.rows.iter().map(|r| r.label.clone()).collect::<BTreeSet<_>>().into_iter().collect();
        tell_classes_alike(&classes, &mut report);
        let places: HashMap<&str, usize> = classes.iter().enumerate().map(|(i, c)| (c.as_str(), i)).collect();
        let choose = Choose { clips_path, src, streams: &streams, audio: &audio, options };
        let mut clips = Vec::with_capacity(rows.rows.len());
        for (i, row) in rows.rows.into_iter().enumerate() {
            let has_audio = choose.has_audio(i, &row, &mut layout, &mut report)?;
            let label = places.get(row.label.as_str()).copied().unwrap_or_default();
            clips.push(Clip { name: row.clip, label, split: row.split, has_audio });
        }
        clips::check(clips_path, &clips, &classes)?;
        let mut manifest = Manifest {
            name: options.name.clone().unwrap_or_else(|| folder_name(src)),
            kind: Kind::Real,
            frames: options.frames,
            classes,
            streams: Vec::new(),
            audio: Vec::new(),
            scores: Vec::new(),
            made_by: made_by(options, &audio),
            notes: String::new(),
        };
        let widths = Widths { src, clips: &clips, layout: &layout, options };
        for name in streams {
            let width = widths.of(&name, |_| true, &mut report)?;
            manifest.streams.push(Feature { name, width });
        }
        for name in audio {
            let width = widths.of(&name, |c| c.has_audio, &mut report)?;
            let width = match options.rows[&name] {
                Rows::Sample(n) => n * width,
                Rows::Mean => width,
            };
            manifest.audio.push(Feature { name, width });
        }
        let streams: Vec<String> = manifest.streams.iter().map(|s| s.name.clone()).collect();
        let of = (&streams[..], &clips[..], &manifest.classes[..]);
        let scores = scores::find(src, of, options, &mut layout.arrays, &mut report)?;
        manifest.scores = scores.iter().flat_map(|s| s.streams.clone()).collect();
        manifest.check().map_err(|message| Error::Manifest { path: src.into(), message })?;
        let mut external = Vec::new();
        for (clip, name, path) in std::mem::take(&mut layout.external) {
            match name.split_once('.').is_some_and(|(of, _)| manifest.audio(of).is_some()) {
                true => external.push((clip, name, path)),
                false => {
                    report.unused.add(format!("files of {name}, whose feature is none of sound"), shown(&path, src))
                }
            }
        }
        let mut generated: BTreeMap<&str, usize> = BTreeMap::new();
        external.iter().for_each(|(_, name, _)| *generated.entry(name).or_default() += 1);
        report.used.extend(generated.iter().map(|(name, n)| format!("{name}: {n} clips, generated elsewhere; copied")));
        tell_silent_classes(&manifest.classes, &clips, &mut report);
        let lists = scores.iter().map(|s| s.path.as_path()).chain([clips_path]);
        let used: BTreeSet<&Path> = layout.arrays.values().map(|s| s.path.as_path()).chain(lists).collect();
        let states = states(used.into_iter().collect::<Vec<_>>())?;
        report.used.push(count_clips(&clips));
        Ok(Plan {
            manifest,
            clips,
            src: src.into(),
            states,
            arrays: layout.arrays,
            external,
            clips_text: rows.text,
            scores,
            report,
        })
    }

    /// The array of a clip.
    pub fn source(&self, clip: usize, name: &str) -> Option<&Source> {
        self.arrays.get(&(clip, name.to_string()))
    }

    /// Puts features that other programs generated beside the data set, as they are.
    pub fn copy_external(&self, dst: &Path) -> Result<(), Error> {
        for (clip, name, from) in &self.external {
            let to = dst.join("features").join(format!("{}_{name}.npy", self.clips[*clip].name));
            let io = |path: &Path| {
                let path = path.to_path_buf();
                move |source| Error::Io { path, source }
            };
            if let Some(folder) = to.parent() {
                std::fs::create_dir_all(folder).map_err(io(folder))?;
            }
            std::fs::copy(from, &to).map_err(io(from))?;
        }
        Ok(())
    }

    /// One hash over clips.csv and the arrays, whose hashes are `(clip, feature)`'s.
    pub fn contents_of(&self, mut arrays: BTreeMap<(usize, String), blake3::Hash>) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(self.clips_text.len() as u64).to_le_bytes()).update(self.clips_text.as_bytes());
        for text in self.scores.iter().map(|s| &s.text) {
            hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
        }
        while let Some(((clip, name), hash)) = arrays.pop_first() {
            hasher.update(format!("{clip} {name} {}\n", hash.to_hex()).as_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }

    /// The same, by reading every array.
    pub fn contents(&self) -> Result<String, Error> {
        let hash = |((clip, name), source): (&(usize, String), &Source)| {
            let array = source.reader.read(&source.path, source.member.as_deref())?;
            Ok(((*clip, name.clone()), array.digest))
        };
        Ok(self.contents_of(self.arrays.par_iter().map(hash).collect::<Result<_, Error>>()?))
    }
}

fn folder_name(src: &Path) -> String {
    let absolute = std::fs::canonicalize(src).unwrap_or_else(|_| src.into());
    absolute.file_name().map_or_else(|| "data".into(), |n| n.to_string_lossy().into_owned())
}

fn made_by(options: &Options, audio: &[String]) -> String {
    let rows: String = audio.iter().map(|a| format!(" --rows {a}={}", options.rows[a])).collect();
    let mut out = format!("unmute {} data import --frames {}{rows}", env!("CARGO_PKG_VERSION"), options.frames);
    for (name, reduce) in &options.reduce {
        let of = if name.is_empty() { String::new() } else { format!("{name}=") };
        out += &format!(" --reduce {of}{reduce}");
    }
    for name in &options.transpose {
        out += &format!(" --transpose {name}");
    }
    if options.no_scores {
        out += " --no-scores";
    }
    out
}

/// Removes a feature's arrays and counts them.
fn leave_out(layout: &mut Layout, src: &Path, name: &str, why: &str, report: &mut Report) {
    layout.arrays.retain(|(_, n), source| {
        if n == name {
            report.unused.add(why, shown(&source.path, src));
        }
        n != name
    });
}

/// The features of the folder: (streams, audio features), each in alphabetical order, `rgb` first and `flow` next among the
/// streams where they are there. The arrays of all others are taken out of the layout.
fn feature_names(
    src: &Path,
    rows: &[Row],
    layout: &mut Layout,
    options: &Options,
    report: &mut Report,
) -> Result<(Vec<String>, Vec<String>), Error> {
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    layout.arrays.keys().for_each(|(_, name)| *found.entry(name.clone()).or_default() += 1);
    if found.is_empty() {
        let first = &rows[0].clip;
        return Err(Error::Usage(format!(
            "{}: no feature file of any clip; expected names such as features/{first}_rgb.npy\n  next: see README.md, \"A data set\", for the layouts that are read",
            src.display()
        )));
    }
    let all: Vec<String> = found.keys().cloned().collect();
    let missing = |flag: &str, name: &str| {
        let hint = crate::suggest::nearest(name, &all);
        Err(Error::Usage(format!("{flag} {name}: {} has no such feature{hint}", src.display())))
    };
    for name in options.streams.iter().flatten() {
        check_name(name).map_err(Error::Usage)?;
        if !found.contains_key(name) {
            return missing("--streams", name);
        }
        if options.rows_required && options.rows.contains_key(name) {
            return Err(Error::Usage(format!("{name}: named by --streams and by --rows; it is one or the other")));
        }
    }
    for (flag, names) in [("--skip", &options.skip), ("--transpose", &options.transpose)] {
        for name in names {
            if !found.contains_key(name) {
                return missing(flag, name);
            }
        }
    }
    for name in options.reduce.keys().filter(|n| !n.is_empty()) {
        if !found.contains_key(name) {
            return missing("--reduce", name);
        }
    }
    for name in &options.skip {
        leave_out(layout, src, name, &format!("arrays of {name}, left out by --skip"), report);
        found.remove(name);
    }
    let is_stream = |name: &String| options.streams.as_ref().is_some_and(|s| s.contains(name));
    let is_audio = |name: &String| options.rows.contains_key(name) && !is_stream(name);
    if options.rows_required {
        for name in options.rows.keys() {
            if !found.contains_key(name) {
                return missing("--rows", name);
            }
        }
    }
    let names: Vec<(String, usize)> = found.into_iter().collect();
    let (mut streams, mut audio) = (Vec::new(), Vec::new());
    for (name, count) in names {
        if is_audio(&name) {
            audio.push(name);
        } else if is_stream(&name) {
            streams.push(name);
        } else if options.streams.is_some() {
            leave_out(layout, src, &name, &format!("arrays of {name}, which --streams does not name"), report);
        } else if is_side_file(&name) {
            leave_out(layout, src, &name, &format!("files of the extractor's own ({name}), no features"), report);
        } else if name.contains('_') && 2 * count < rows.len() {
            // More likely the end of the name of a clip that is not listed.
            let why = format!("arrays of {name:?}, found for {count} of {} clips (--streams takes it)", rows.len());
            leave_out(layout, src, &name, &why, report);
        } else if KNOWN_AUDIO.contains(&name.as_str()) {
            return Err(Error::Usage(format!(
                "{}: {name} is an audio feature by its name, and nothing says how its rows become one vector\n  next: --rows {name}=mean or --rows {name}=3, or --skip {name}; --streams with {name} in it takes it for a visual stream",
                src.display()
            )));
        } else {
            streams.push(name);
        }
    }
    let rank = |n: &String| ["rgb", "flow"].iter().position(|k| k == n).unwrap_or(2);
    streams.sort_by_key(|n| (rank(n), n.clone()));
    if audio.is_empty() {
        return Err(Error::Usage(format!(
            "{}: found {}, none of them an audio feature\n  next: name the audio features and their rows, such as --rows vggish=3 --rows aenet=mean",
            src.display(),
            streams.join(", ")
        )));
    }
    if streams.is_empty() {
        return Err(Error::Usage(format!(
            "{}: found {} only; a visual stream is needed too",
            src.display(),
            audio.join(", ")
        )));
    }
    Ok((streams, audio))
}

/// Decides which clips sound, and that every clip has what it needs.
struct Choose<'a> {
    clips_path: &'a Path,
    src: &'a Path,
    streams: &'a [String],
    audio: &'a [String],
    options: &'a Options,
}

impl Choose<'_> {
    fn has_audio(&self, clip: usize, row: &Row, layout: &mut Layout, report: &mut Report) -> Result<bool, Error> {
        let bad = |message: String| Error::Clips { path: self.clips_path.into(), line: row.line, message };
        let there = |layout: &Layout, name: &String| layout.arrays.contains_key(&(clip, name.clone()));
        if let Some(name) = self.streams.iter().find(|n| !there(layout, n)) {
            let alike = self.alike(layout, &row.clip, name);
            return Err(bad(format!(
                "clip {0:?} has no features/{0}_{name}.npy; every clip needs every stream{alike}\n  next: extract it, drop the clip's line, or leave the stream out for all clips with --skip {name}",
                row.clip
            )));
        }
        // An array without rows is what an extractor writes of a sound that is too short for it.
        let empty: Vec<&String> = self.audio.iter().filter(|n| self.is_empty(layout, clip, n)).collect();
        if let Some(name) = empty.first()
            && row.has_audio != Some(false)
        {
            let source = &layout.arrays[&(clip, name.to_string())];
            if row.has_audio.is_some() || !self.options.absent_is_silent {
                return Err(Error::Feature {
                    path: source.path.clone(),
                    message: format!(
                        "clip {:?}: the array is empty (0 rows); its sound is too short for {name}\n  next: if it is to count as silent, say has_audio false in clips.csv, or pass --absent-is-silent where there is no such column",
                        row.clip
                    ),
                });
            }
            report.adapted.add("clips with empty audio arrays, taken for silent", row.clip.clone());
        }
        let sounding = |layout: &Layout, n: &String| there(layout, n) && !self.is_empty(layout, clip, n);
        let found = self.audio.iter().filter(|n| sounding(layout, n)).count();
        let has_audio = match row.has_audio {
            Some(false) => false,
            None if found == 0 && self.options.absent_is_silent => false,
            Some(true) | None => {
                if let Some(name) = self.audio.iter().find(|n| !sounding(layout, n)) {
                    let alike = self.alike(layout, &row.clip, name);
                    return Err(bad(format!(
                        "clip {0:?} has no features/{0}_{name}.npy{alike}; if it is silent, say so in a column has_audio, or pass --absent-is-silent",
                        row.clip
                    )));
                }
                true
            }
        };
        if !has_audio {
            for name in self.audio {
                if let Some(source) = layout.arrays.remove(&(clip, name.clone()))
                    && row.has_audio == Some(false)
                {
                    let what = "audio arrays of clips that has_audio calls silent";
                    report.unused.add(what, shown(&source.path, self.src));
                }
            }
        }
        Ok(has_audio)
    }

    fn is_empty(&self, layout: &Layout, clip: usize, name: &str) -> bool {
        let source = layout.arrays.get(&(clip, name.to_string()));
        let frames = source.and_then(|s| self.options.folding(name).frames(name, s.shape.as_deref().ok()?).ok());
        frames.is_some_and(|f| f.rows == 0)
    }

    /// A file that was perhaps meant.
    fn alike(&self, layout: &Layout, clip: &str, name: &str) -> String {
        let wanted = composed(&format!("{clip}_{name}")).to_lowercase();
        let same = layout.unlisted.iter().find(|stem| composed(stem).to_lowercase() == wanted);
        same.map_or_else(String::new, |stem| format!(" (there is {stem}.npy, in other letters)"))
    }
}

/// Finds the widths of features.
struct Widths<'a> {
    src: &'a Path,
    clips: &'a [Clip],
    layout: &'a Layout,
    options: &'a Options,
}

impl Widths<'_> {
    /// The one width of all arrays of a feature.
    fn of(&self, name: &str, wanted: impl Fn(&Clip) -> bool, report: &mut Report) -> Result<usize, Error> {
        let folding = self.options.folding(name);
        let mut width = None;
        let mut seen: Vec<(usize, usize)> = Vec::new();
        for (i, clip) in self.clips.iter().enumerate().filter(|(_, c)| wanted(c)) {
            let Some(source) = self.layout.arrays.get(&(i, name.to_string())) else { continue };
            let bad = |message: String| Error::Feature { path: source.path.clone(), message };
            let shape = source.shape.clone().map_err(bad)?;
            let frames @ Frames { rows, width: found, .. } = folding.frames(name, &shape).map_err(bad)?;
            if rows == 0 {
                return Err(bad(format!("shape is {}: zero frames; a clip needs at least one", tuple(&shape))));
            }
            seen.push((rows, found));
            let expected = *width.get_or_insert(found);
            if found != expected {
                return Err(bad(format!(
                    "clip {:?}: width is {found}, but {expected} in the clips before it{}",
                    clip.name,
                    self.on_its_side(name, &seen)
                )));
            }
            if frames.squeezed {
                report
                    .adapted
                    .add(format!("arrays of {name} with an axis of length 1, which was dropped"), clip.name.clone());
            }
            if frames.reduced {
                report.adapted.add(format!("arrays of {name} with a third axis, reduced as asked"), clip.name.clone());
            }
        }
        let width = width.ok_or_else(|| {
            Error::Sound(format!("{}: no clip has {name:?} audio; everything is silent", self.src.display()))
        })?;
        if seen.len() > 1 && seen.iter().all(|(rows, _)| *rows == seen[0].0) && seen[0].0 > width && seen[0].0 >= 32 {
            report.doubtful.add(
                format!("arrays of {name} that are all {} x {width}, more rows than numbers in a row: if they are (D, t), pass --transpose {name}", seen[0].0),
                self.clips.first().map_or_else(String::new, |c| c.name.clone()),
            );
        }
        Ok(width)
    }

    /// Where the number of rows stays and the width changes, arrays are (D, t).
    fn on_its_side(&self, name: &str, seen: &[(usize, usize)]) -> String {
        if seen.iter().all(|(rows, _)| *rows == seen[0].0) && seen[0].0 > 1 {
            let rows = seen[0].0;
            format!("\n  next: all of them have {rows} rows; if they are (D, t) = ({rows}, t), pass --transpose {name}")
        } else {
            String::new()
        }
    }
}

/// Classes whose names differ in case, blanks, `_` or `-` alone are rarely meant to be two.
fn tell_classes_alike(classes: &[String], report: &mut Report) {
    let mut plain: HashMap<String, &String> = HashMap::new();
    for class in classes {
        let key: String =
            composed(class).chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
        if let Some(first) = plain.insert(key, class) {
            report
                .doubtful
                .add("classes whose names differ in case, blanks or hyphens only", format!("{first:?} and {class:?}"));
        }
    }
}

fn tell_silent_classes(classes: &[String], clips: &[Clip], report: &mut Report) {
    let mut sounded = vec![0usize; classes.len()];
    clips.iter().filter(|c| c.has_audio && c.split == Split::Train).for_each(|c| sounded[c.label] += 1);
    for (class, _) in classes.iter().zip(sounded).filter(|(_, n)| *n == 0) {
        report
            .doubtful
            .add("classes without a sounded train clip: their sound cannot be learned", format!("{class:?}"));
    }
}

fn count_clips(clips: &[Clip]) -> String {
    let of = |split| clips.iter().filter(|c| c.split == split).count();
    let silent = clips.iter().filter(|c| !c.has_audio).count();
    let test = match of(Split::Test) {
        0 => String::new(),
        n => format!(", {n} test"),
    };
    format!(
        "{} clips: {} train, {} val{test}; {} with sound, {silent} silent",
        clips.len(),
        of(Split::Train),
        of(Split::Val),
        clips.len() - silent
    )
}
