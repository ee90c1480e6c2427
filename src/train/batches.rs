//! Gathers batches from the memory map: streams side by side, standardised, time-major for sequences.

use super::scratch::Scratch;
use crate::dataset::{Features, Standardiser, View};
use rayon::prelude::*;
use std::sync::Arc;

/// The visual input of a data set: all streams side by side, (T, D_v) for each clip, standardised per dimension with
/// the statistics of all frames of all train clips.
#[derive(Clone)]
pub struct Vision {
    view: Arc<View>,
    standardisers: Arc<Vec<Standardiser>>,
    width: usize,
}

impl Vision {
    /// Measures the statistics; one pass over the train clips for means, one for deviations.
    pub fn new(view: &Arc<View>) -> Vision {
        let dataset = &view.dataset;
        let streams = dataset.streams.iter().zip(&dataset.manifest.streams);
        let standardisers = streams.map(|(f, s)| Standardiser::of_features(f, &view.train, s.width)).collect();
        Vision { view: view.clone(), standardisers: Arc::new(standardisers), width: dataset.manifest.visual_width() }
    }

    /// The same statistics for a view of the same data set with other silent clips.
    pub fn with_view(&self, view: &Arc<View>) -> Vision {
        Vision { view: view.clone(), ..self.clone() }
    }

    /// D_v.
    pub fn width(&self) -> usize {
        self.width
    }

    /// T.
    pub fn frames(&self) -> usize {
        self.view.dataset.frames()
    }

    /// All frames of the clips, time-major: (T B, D_v), row t B + b is frame t of clip b.
    pub fn sequences(&self, clips: &[usize]) -> Scratch {
        let (frames, batch, width) = (self.frames(), clips.len(), self.width);
        let mut out = Scratch::take(frames * batch * width);
        let fill = |(row, out): (usize, &mut [f32])| self.frame(clips[row % batch], row / batch, out);
        // Frames of one clip lie together on disk; the page cache makes the order of the rows harmless.
        out.par_chunks_exact_mut(width).with_min_len(64).enumerate().for_each(fill);
        out
    }

    /// One frame of each clip: (B, D_v).
    pub fn single_frames(&self, clips: &[usize], frames: &[usize]) -> Scratch {
        let mut out = Scratch::take(clips.len() * self.width);
        let fill = |(row, out): (usize, &mut [f32])| self.frame(clips[row], frames[row], out);
        out.par_chunks_exact_mut(self.width).with_min_len(64).enumerate().for_each(fill);
        out
    }

    /// The mean over frames of each clip: (B, D_v).
    pub fn frame_means(&self, clips: &[usize]) -> Vec<f32> {
        let mut out = vec![0.0; clips.len() * self.width];
        out.par_chunks_exact_mut(self.width).zip(clips).for_each(|(out, &clip)| {
            let mut frame = vec![0.0; self.width];
            let mut sum = vec![0.0f64; self.width];
            for t in 0..self.frames() {
                self.frame(clip, t, &mut frame);
                sum.iter_mut().zip(&frame).for_each(|(s, &x)| *s += f64::from(x));
            }
            out.iter_mut().zip(sum).for_each(|(o, s)| *o = (s / self.frames() as f64) as f32);
        });
        out
    }

    /// One stream's place among the D_v dimensions.
    pub fn columns(&self, stream: &str) -> Option<std::ops::Range<usize>> {
        let mut from = 0;
        for s in &self.view.dataset.manifest.streams {
            if s.name == stream {
                return Some(from..from + s.width);
            }
            from += s.width;
        }
        None
    }

    fn frame(&self, clip: usize, frame: usize, out: &mut [f32]) {
        let mut rest = out;
        for (features, standardiser) in self.view.dataset.streams.iter().zip(self.standardisers.iter()) {
            let (here, after) = rest.split_at_mut(standardiser.width());
            features.read(clip, frame * here.len(), here);
            standardiser.apply(here);
            rest = after;
        }
    }
}

/// Rows of an audio feature for clips that have it; (B, D_a), not standardised.
pub fn audio_rows(view: &View, features: &Features, clips: &[usize]) -> Vec<f32> {
    let width = features.row_len();
    let mut out = vec![0.0; clips.len() * width];
    for (&clip, out) in clips.iter().zip(out.chunks_exact_mut(width)) {
        if let Some(row) = view.dataset.audio_row[clip] {
            features.read_row(row, out);
        }
    }
    out
}
