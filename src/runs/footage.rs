//! Clips to use a trained network on: a data set, of which only the streams have to be there. Labels, splits and sound may be
//! missing, and classes and name may be others than those that the network was trained on.

use crate::dataset::{Dataset, Error, Feature, Features, Missing, Partial, Standardiser, Unlabelled, View};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A clip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FootageClip {
    /// Its name.
    pub name: String,
    /// Its class, if anybody knows it.
    pub label: Option<String>,
    /// `train`, `val`, ..., if anybody said so.
    pub split: Option<String>,
    /// Its row in the audio features, if it has one.
    pub audio_row: Option<usize>,
    /// Whether it sounds: it has audio that no experiment silenced.
    pub sounded: bool,
}

/// Clips with their features.
pub struct Footage {
    /// The data set's folder.
    pub dir: PathBuf,
    /// Its name.
    pub name: String,
    /// T.
    pub frames: usize,
    /// Its streams.
    pub streams: Vec<Feature>,
    /// Its audio features.
    pub audio: Vec<Feature>,
    /// Its clips, in the order of the streams' rows.
    pub clips: Vec<FootageClip>,
    /// What a user should be told of it.
    pub notes: Vec<String>,
    /// The whole data set, where it is one that could be trained on.
    pub dataset: Option<Arc<Dataset>>,
    partial: Option<Partial>,
}

impl Footage {
    /// Opens a data set. One that is fit for training is checked as such; what lacks labels, splits or sound is read as far as
    /// it goes.
    pub fn open(dir: &Path) -> Result<Footage, Error> {
        match Dataset::open(dir) {
            Ok(dataset) => Ok(Footage::of(dataset)),
            // What is wrong beside what is missing is told by whoever found it.
            Err(error) => match Partial::open(dir) {
                Ok(Some(partial)) => Ok(Footage::of_partial(dir, partial)),
                Ok(None) => Err(error),
                Err(worse) => Err(worse),
            },
        }
    }

    fn of(dataset: Dataset) -> Footage {
        let manifest = &dataset.manifest;
        let clip = |(clip, row): (&crate::dataset::Clip, &Option<usize>)| FootageClip {
            name: clip.name.clone(),
            label: manifest.classes.get(clip.label).cloned(),
            split: Some(clip.split.name().into()),
            audio_row: *row,
            sounded: row.is_some(),
        };
        Footage {
            dir: dataset.dir.clone(),
            name: manifest.name.clone(),
            frames: manifest.frames,
            streams: manifest.streams.clone(),
            audio: manifest.audio.clone(),
            clips: dataset.clips.iter().zip(&dataset.audio_row).map(clip).collect(),
            notes: dataset.notes.clone(),
            partial: None,
            dataset: Some(Arc::new(dataset)),
        }
    }

    fn of_partial(dir: &Path, partial: Partial) -> Footage {
        let mut rows = 0..;
        let mut clip = |clip: &Unlabelled| FootageClip {
            name: clip.name.clone(),
            label: clip.label.clone(),
            split: clip.split.clone(),
            audio_row: clip.has_audio.then(|| rows.next()).flatten(),
            sounded: clip.has_audio,
        };
        Footage {
            dir: dir.into(),
            name: partial.name.clone(),
            frames: partial.frames,
            streams: partial.streams.clone(),
            audio: partial.audio.clone(),
            clips: partial.clips.iter().map(&mut clip).collect(),
            notes: partial.notes.clone(),
            dataset: None,
            partial: Some(partial),
        }
    }

    /// Fails where a feature file was changed or cut short since it was opened: whatever was computed from it is of no data set.
    pub fn check_unchanged(&self) -> Result<(), Error> {
        self.dataset.iter().try_for_each(|d| d.check_unchanged())?;
        self.partial.iter().try_for_each(Partial::check_unchanged)
    }

    /// Applies an experiment's simulated silence.
    pub fn silence(&mut self, missing: &Missing) -> Result<(), Error> {
        if let Some(dataset) = &self.dataset {
            let view = View::new(dataset.clone(), Some(missing))?;
            self.clips.iter_mut().zip(&view.sounded).for_each(|(clip, sounded)| clip.sounded = *sounded);
        }
        Ok(())
    }

    /// A stream's or audio feature's rows.
    pub fn features(&self, name: &str) -> Option<&Features> {
        let own = self.partial.as_ref().and_then(|p| p.features(name));
        let whole = || self.dataset.as_ref().and_then(|d| d.stream(name).or_else(|| d.audio(name)));
        own.or_else(whole)
    }

    /// One frame of a clip in several streams side by side, standardised.
    pub fn frame(&self, streams: &[&Features], scale: &Standardiser, clip: usize, frame: usize, out: &mut [f32]) {
        let mut rest = &mut *out;
        for features in streams {
            let (here, after) = rest.split_at_mut(features.row_len() / self.frames);
            features.read(clip, frame * here.len(), here);
            rest = after;
        }
        scale.apply(out);
    }
}
