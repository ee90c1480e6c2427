//! A data set that lacks labels, splits or sound: nothing can be trained on it, but what was trained can be used on it.

use super::clips::{self, Unlabelled};
use super::manifest::Outline;
use super::{Error, Feature, Features, check, order};
use std::path::Path;

/// An opened and checked data set of which labels, splits and sound may be missing.
#[derive(Debug)]
pub struct Partial {
    /// Its name.
    pub name: String,
    /// Frames per clip, T.
    pub frames: usize,
    /// Its streams, and its audio features where any clip has sound.
    pub streams: Vec<Feature>,
    /// See `streams`.
    pub audio: Vec<Feature>,
    /// Its clips, in the order of the features' rows.
    pub clips: Vec<Unlabelled>,
    /// What whoever opened it should be told.
    pub notes: Vec<String>,
    files: Vec<Features>,
}

impl Partial {
    /// Opens a data set and checks what there is of it, as [`Dataset::open`](super::Dataset::open) does: shapes, names of rows,
    /// and that every number is finite. `None` where it lacks nothing.
    pub fn open(dir: &Path) -> Result<Option<Partial>, Error> {
        let Outline { name, frames, streams, classes, audio } = Outline::read(dir)?;
        let clips_path = dir.join("clips.csv");
        let mut clips = clips::read_unlabelled(&clips_path)?;
        let has = |split: &str| clips.iter().any(|c| c.split.as_deref() == Some(split));
        let labelled = clips.iter().all(|c| c.label.is_some() && c.split.is_some());
        if labelled && has("train") && has("val") && classes.len() > 1 && !audio.is_empty() {
            return Ok(None);
        }
        let sounded = clips.iter().filter(|c| c.has_audio).count();
        let audio = if sounded > 0 { audio } else { Vec::new() };
        let open = |shape: &[usize], feature: &Feature| Features::open(dir, &feature.name, shape);
        let seen = streams.iter().map(|s| open(&[clips.len(), frames, s.width], s)).collect::<Result<Vec<_>, _>>()?;
        let heard = audio.iter().map(|a| open(&[sounded, a.width], a)).collect::<Result<Vec<_>, _>>()?;
        let notes = order::by_name(&clips_path, &mut clips, &seen.iter().collect::<Vec<_>>(), &heard)?;
        let named = |clip: Option<&Unlabelled>| clip.map(|c| c.name.clone());
        seen.iter().try_for_each(|f| check::in_range(f, |row| named(clips.get(row))))?;
        heard
            .iter()
            .try_for_each(|f| check::in_range(f, |row| named(clips.iter().filter(|c| c.has_audio).nth(row))))?;
        let files = seen.into_iter().chain(heard).collect();
        let partial = Partial { name, frames, streams, audio, clips, notes, files };
        partial.check_unchanged()?;
        Ok(Some(partial))
    }

    /// A stream's or audio feature's rows.
    pub fn features(&self, name: &str) -> Option<&Features> {
        self.files.iter().find(|f| f.name() == name)
    }

    /// Fails where a feature file was written to, cut short or could not be read since the data set was opened.
    pub fn check_unchanged(&self) -> Result<(), Error> {
        for features in &self.files {
            let changed = |what| Error::Changed { path: features.path().into(), what };
            match features.identity_now()? {
                None => return Err(changed("was cut short or could not be read")),
                Some(now) if now != features.identity() => return Err(changed("was changed")),
                Some(_) => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::features::Precision;
    use super::super::writer::Writer;
    use super::*;
    use std::fs::File;

    /// Three clips without labels, `b` with sound.
    fn partial(dir: &Path, value: f32) {
        std::fs::write(
            dir.join("dataset.yaml"),
            "name: new\nframes: 2\nstreams: [{name: rgb, width: 1}]\naudio: [{name: vggish, width: 1}]\n",
        )
        .unwrap();
        std::fs::write(dir.join("clips.csv"), "clip,has_audio\na,false\nb,True\nc,\n").unwrap();
        for name in ["rgb", "vggish"] {
            let _ = std::fs::remove_file(dir.join(format!("{name}.safetensors")));
        }
        let mut rgb = Writer::create(dir, "rgb", &[3, 2, 1], Precision::F32, ["a", "b", "c"]).unwrap();
        rgb.push(&[0.0, 1.0, 2.0, 3.0, value, 5.0]).unwrap();
        rgb.finish().unwrap();
        let mut vggish = Writer::create(dir, "vggish", &[1, 1], Precision::F32, ["b"]).unwrap();
        vggish.push(&[7.0]).unwrap();
        vggish.finish().unwrap();
    }

    #[test]
    fn rows_are_found_by_name_and_numbers_are_checked() {
        let dir = tempfile::tempdir().unwrap();
        partial(dir.path(), 4.0);
        let open = || Partial::open(dir.path()).map(Option::unwrap);
        assert_eq!(open().unwrap().notes, Vec::<String>::new());
        std::fs::write(dir.path().join("clips.csv"), "clip,has_audio\nc,\nb,True\na,false\n").unwrap();
        let sorted = open().unwrap();
        assert_eq!(sorted.clips.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
        assert!(sorted.notes[0].contains("found by its name"), "{:?}", sorted.notes);
        std::fs::write(dir.path().join("clips.csv"), "clip,has_audio\nc,True\nb,\na,\n").unwrap();
        assert!(matches!(open(), Err(Error::OtherClips { .. })), "the sound is another clip's");
        std::fs::write(dir.path().join("clips.csv"), "clip,has_audio\nd,\nb,True\na,\n").unwrap();
        assert!(open().unwrap_err().to_string().contains("no row for clip \"d\""));
        partial(dir.path(), f32::NAN);
        assert!(open().unwrap_err().to_string().contains("clip \"c\" (row 2) holds NaN"));
    }

    #[test]
    fn a_file_that_changes_or_is_cut_short_is_told() {
        let dir = tempfile::tempdir().unwrap();
        partial(dir.path(), 4.0);
        let open = Partial::open(dir.path()).unwrap().unwrap();
        open.check_unchanged().unwrap();
        File::options().write(true).open(dir.path().join("vggish.safetensors")).unwrap().set_len(8).unwrap();
        assert!(open.check_unchanged().unwrap_err().to_string().contains("vggish.safetensors: was c"));
    }
}
