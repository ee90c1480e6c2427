//! What to make of a source folder.

use super::super::manifest::{MOST_FRAMES, check_name};
use super::super::{Error, Precision};
use super::shape::{Folding, Reduce};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How an audio feature of (t, D) becomes one vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rows {
    /// This many rows, sampled at the centres of equal segments and laid side by side: n D numbers.
    Sample(usize),
    /// The mean over rows: D numbers.
    Mean,
}

impl std::fmt::Display for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Rows::Sample(n) => write!(f, "{n}"),
            Rows::Mean => write!(f, "mean"),
        }
    }
}

/// What to make of the source folder.
#[derive(Clone, Debug)]
pub struct Options {
    /// T.
    pub frames: usize,
    /// Audio features and how their rows are folded. A feature of the folder that is not named here is a stream.
    pub rows: BTreeMap<String, Rows>,
    /// Whether each of `rows` was asked for by name, and so has to be there.
    pub rows_required: bool,
    /// The data set's name; the source folder's by default.
    pub name: Option<String>,
    /// Numbers on disk.
    pub precision: Precision,
    /// A clip without audio files, or with empty ones, is silent (where clips.csv has no has_audio column) instead of an error.
    pub absent_is_silent: bool,
    /// The visual streams; all features that are no audio by default.
    pub streams: Option<Vec<String>>,
    /// Features that are left out.
    pub skip: Vec<String>,
    /// What becomes of a third axis, by feature; the empty name is for all others.
    pub reduce: BTreeMap<String, Reduce>,
    /// Features whose arrays are (D, t).
    pub transpose: Vec<String>,
    /// Leave out class probabilities that lie in `scores/`.
    pub no_scores: bool,
    /// Fail where anything was left out or looks doubtful.
    pub strict: bool,
}

impl Default for Options {
    /// 18 frames of all streams, VGGish and AENet as in the paper, f32.
    fn default() -> Self {
        Options {
            frames: 18,
            rows: [("vggish".into(), Rows::Sample(3)), ("aenet".into(), Rows::Mean)].into(),
            rows_required: false,
            name: None,
            precision: Precision::F32,
            absent_is_silent: false,
            streams: None,
            skip: Vec::new(),
            reduce: BTreeMap::new(),
            transpose: Vec::new(),
            no_scores: false,
            strict: false,
        }
    }
}

impl Options {
    /// How arrays of a feature are read.
    pub(super) fn folding(&self, name: &str) -> Folding {
        let reduce = self.reduce.get(name).or_else(|| self.reduce.get("")).copied();
        Folding { reduce, transpose: self.transpose.iter().any(|n| n == name) }
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        if self.frames == 0 {
            return Err(Error::Usage("--frames 0: a clip needs at least one frame".into()));
        }
        if self.frames > MOST_FRAMES {
            return Err(Error::Usage(format!("--frames {}: at most {MOST_FRAMES} are possible", self.frames)));
        }
        for (name, rows) in &self.rows {
            check_name(name).map_err(Error::Usage)?;
            match rows {
                Rows::Sample(0) => {
                    return Err(Error::Usage(format!("--rows {name}=0: an audio feature needs at least one row")));
                }
                Rows::Sample(n) if *n > MOST_FRAMES => {
                    return Err(Error::Usage(format!("--rows {name}={n}: at most {MOST_FRAMES} rows are possible")));
                }
                _ => (),
            }
        }
        Ok(())
    }

    /// All that the result depends on, in words.
    pub(super) fn describe(&self) -> String {
        let Options {
            frames,
            rows,
            name,
            precision,
            absent_is_silent,
            streams,
            skip,
            reduce,
            transpose,
            no_scores,
            ..
        } = self;
        // Said only where it is asked for: what was imported before there was such an option is described as it was.
        let no_scores = if *no_scores { " no scores" } else { "" };
        format!(
            "{frames} {rows:?} {name:?} {precision:?} {absent_is_silent} {streams:?} {skip:?} {reduce:?} {transpose:?}{no_scores}"
        )
    }
}
