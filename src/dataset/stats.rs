//! `unmute data stats`: what a data set holds, in numbers.

use super::{Dataset, Kind, Split};
use serde::Serialize;

/// Sounded and silent clips of one split.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Clips with audio.
    pub sounded: usize,
    /// Clips without.
    pub silent: usize,
    /// Both.
    pub total: usize,
}

impl Counts {
    fn add(&mut self, sounded: bool) {
        *(if sounded { &mut self.sounded } else { &mut self.silent }) += 1;
        self.total += 1;
    }

    /// Share of silent clips, in percent.
    pub fn silent_percent(&self) -> f64 {
        100.0 * self.silent as f64 / self.total.max(1) as f64
    }
}

/// A class's clips.
#[derive(Clone, Debug, Serialize)]
pub struct ClassCounts {
    /// Its name.
    pub class: String,
    /// Train clips.
    pub train: Counts,
    /// Val clips.
    pub val: Counts,
    /// Test clips; none where the data set has no such split.
    pub test: Counts,
}

/// A stream's or audio feature's shape.
#[derive(Clone, Debug, Serialize)]
pub struct Shape {
    /// Its name.
    pub name: String,
    /// D.
    pub width: usize,
    /// Rows by frames by width, or rows by width.
    pub shape: Vec<usize>,
    /// Numbers on disk: f32 or f16.
    pub precision: String,
}

/// Table 1 and the rest of what one asks first.
#[derive(Clone, Debug, Serialize)]
pub struct Stats {
    /// The data set's name.
    pub name: String,
    /// Real or synthetic.
    pub kind: Kind,
    /// Its fingerprint.
    pub fingerprint: String,
    /// T.
    pub frames: usize,
    /// K.
    pub classes: usize,
    /// Train clips.
    pub train: Counts,
    /// Val clips.
    pub val: Counts,
    /// Test clips; none where the data set has no such split.
    pub test: Counts,
    /// Visual streams.
    pub streams: Vec<Shape>,
    /// Audio features.
    pub audio: Vec<Shape>,
    /// Class probabilities that come with the data set, by stream.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scores: Vec<Shape>,
    /// Clips of each class.
    pub per_class: Vec<ClassCounts>,
}

impl Stats {
    /// Counts a data set.
    pub fn of(dataset: &Dataset) -> Stats {
        let m = &dataset.manifest;
        let mut per_class: Vec<ClassCounts> = m
            .classes
            .iter()
            .map(|class| ClassCounts {
                class: class.clone(),
                train: Counts::default(),
                val: Counts::default(),
                test: Counts::default(),
            })
            .collect();
        let (mut train, mut val, mut test) = (Counts::default(), Counts::default(), Counts::default());
        for clip in &dataset.clips {
            let class = &mut per_class[clip.label];
            let (all, of_class) = match clip.split {
                Split::Train => (&mut train, &mut class.train),
                Split::Val => (&mut val, &mut class.val),
                Split::Test => (&mut test, &mut class.test),
            };
            all.add(clip.has_audio);
            of_class.add(clip.has_audio);
        }
        let shape = |f: &super::Features, width: usize| Shape {
            name: f.name().into(),
            width,
            shape: if f.row_len() == width {
                vec![f.rows(), width]
            } else {
                vec![f.rows(), f.row_len() / width, width]
            },
            precision: format!("{:?}", f.precision()).to_lowercase(),
        };
        Stats {
            name: m.name.clone(),
            kind: m.kind,
            fingerprint: dataset.fingerprint.clone(),
            frames: m.frames,
            classes: m.classes.len(),
            train,
            val,
            test,
            streams: dataset.streams.iter().zip(&m.streams).map(|(f, s)| shape(f, s.width)).collect(),
            audio: dataset.audio.iter().zip(&m.audio).map(|(f, a)| shape(f, a.width)).collect(),
            scores: dataset
                .scores
                .iter()
                .zip(&m.scores)
                .map(|(f, stream)| Shape { name: stream.clone(), ..shape(f, m.classes.len()) })
                .collect(),
            per_class,
        }
    }
}
