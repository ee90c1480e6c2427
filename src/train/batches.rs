//! Gathers batches from the memory map: streams side by side, standardised, time-major for sequences.

use crate::dataset::{Features, Standardiser, View};
use compute::nn::InputBatch;
use rayon::prelude::*;
use std::sync::Arc;

/// What a step learns from.
#[derive(Debug, Default)]
pub struct Batch {
    /// The network's input, (rows, D_v): T B rows, time-major, for a network of all frames and B for one of a single frame.
    pub x: InputBatch,
    /// The class of each clip, (B,).
    pub labels: Vec<usize>,
    /// The audio feature of each clip on the scale of the network's output, (B, D_a).
    pub target: Vec<f32>,
}

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

    /// Those of the data set's streams, in their order.
    pub(crate) fn standardisers(&self) -> &[Standardiser] {
        &self.standardisers
    }

    /// D_v.
    pub fn width(&self) -> usize {
        self.width
    }

    /// T.
    pub fn frames(&self) -> usize {
        self.view.dataset.frames()
    }

    /// All frames of the clips, time-major: (T B, D_v), row t B + b is frame t of clip b; a frame that only repeats the one
    /// before it is not read again. `out` keeps its memory.
    pub fn sequences(&self, clips: &[usize], out: &mut InputBatch) {
        let (frames, batch) = (self.frames(), clips.len());
        self.announce(clips.iter().map(|&clip| (clip, 0..frames)));
        let (index, distinct) = distinct_frames(&self.view, clips);
        let row = |t: usize, b: usize| index.as_ref().map_or(t * batch + b, |index| index[t * batch + b] as usize);
        let numbers = out.memory();
        numbers.resize(distinct * self.width, 0.0);
        // Clip by clip, since the frames of one lie together on disk.
        for (b, &clip) in clips.iter().enumerate() {
            for t in 0..frames {
                let at = row(t, b);
                if t == 0 || at != row(t - 1, b) {
                    self.scattered_frame(clip, t, &mut numbers[at * self.width..][..self.width]);
                }
            }
        }
        (out.rows, out.cols, out.index) = (frames * batch, self.width, index.map(Arc::new));
    }

    /// One frame of each clip: (B, D_v). `out` keeps its memory.
    pub fn single_frames(&self, clips: &[usize], frame: impl Fn(usize) -> usize, out: &mut InputBatch) {
        let numbers = out.memory();
        numbers.resize(clips.len() * self.width, 0.0);
        self.announce(clips.iter().map(|&clip| (clip, frame(clip)..frame(clip) + 1)));
        for (&clip, out) in clips.iter().zip(numbers.chunks_exact_mut(self.width)) {
            self.scattered_frame(clip, frame(clip), out);
        }
        (out.rows, out.cols, out.index) = (clips.len(), self.width, None);
    }

    /// The mean over frames of each clip: (B, D_v).
    pub fn frame_means(&self, clips: &[usize]) -> Vec<f32> {
        self.means(self.all(), clips)
    }

    /// The mean over frames of each clip in one stream, (B, D); none where there is no such stream.
    pub fn stream_means(&self, stream: &str, clips: &[usize]) -> Option<Vec<f32>> {
        let place = self.view.dataset.manifest.streams.iter().position(|s| s.name == stream)?;
        Some(self.means(place..place + 1, clips))
    }

    /// Every stream.
    fn all(&self) -> std::ops::Range<usize> {
        0..self.standardisers.len()
    }

    /// Means of some streams side by side.
    fn means(&self, streams: std::ops::Range<usize>, clips: &[usize]) -> Vec<f32> {
        let width: usize = self.standardisers[streams.clone()].iter().map(Standardiser::width).sum();
        let mut out = vec![0.0; clips.len() * width];
        out.par_chunks_exact_mut(width).zip(clips).for_each(|(out, &clip)| {
            let mut frame = vec![0.0; width];
            let mut sum = vec![0.0f64; width];
            for t in 0..self.frames() {
                self.frame(clip, t, streams.clone(), &mut frame);
                sum.iter_mut().zip(&frame).for_each(|(s, &x)| *s += f64::from(x));
            }
            out.iter_mut().zip(sum).for_each(|(o, s)| *o = (s / self.frames() as f64) as f32);
        });
        out
    }

    /// Says of clips which of their frames will be read soon.
    fn announce(&self, clips: impl Iterator<Item = (usize, std::ops::Range<usize>)>) {
        let streams = self.view.dataset.streams.iter().zip(&*self.standardisers);
        for (clip, frames) in clips {
            for (features, standardiser) in streams.clone() {
                let width = standardiser.width();
                features.scattered().announce(clip, frames.start * width, frames.len() * width);
            }
        }
    }

    /// One frame in all streams side by side, of a clip that comes in no order.
    fn scattered_frame(&self, clip: usize, frame: usize, out: &mut [f32]) {
        self.frame_by(|features, from, out| features.scattered().read(clip, from, out), frame, self.all(), out);
    }

    /// One frame in some streams side by side.
    fn frame(&self, clip: usize, frame: usize, streams: std::ops::Range<usize>, out: &mut [f32]) {
        self.frame_by(|features, from, out| features.read(clip, from, out), frame, streams, out);
    }

    fn frame_by(
        &self,
        read: impl Fn(&Features, usize, &mut [f32]),
        frame: usize,
        streams: std::ops::Range<usize>,
        out: &mut [f32],
    ) {
        let mut rest = out;
        let of = self.view.dataset.streams[streams.clone()].iter().zip(&self.standardisers[streams]);
        for (features, standardiser) in of {
            let (here, after) = rest.split_at_mut(standardiser.width());
            read(features, frame * here.len(), here);
            standardiser.apply(here);
            rest = after;
        }
    }
}

/// For the frames of clips, time-major, the [`InputBatch::index`] of each and the number of distinct rows. Clips shorter than T
/// repeat frames: whatever a data set was imported from, its numbers say so.
pub fn distinct_frames(view: &View, clips: &[usize]) -> (Option<Vec<u32>>, usize) {
    let (frames, batch) = (view.dataset.frames(), clips.len());
    let streams = || view.dataset.streams.iter().zip(&view.dataset.manifest.streams);
    let repeats = |clip: usize, t: usize| streams().all(|(f, s)| f.scattered().repeats(clip, t * s.width, s.width));
    let mut index: Vec<u32> = Vec::with_capacity(frames * batch);
    let mut distinct = 0;
    for t in 0..frames {
        for (b, &clip) in clips.iter().enumerate() {
            if t > 0 && repeats(clip, t) {
                index.push(index[(t - 1) * batch + b]);
            } else {
                index.push(distinct);
                distinct += 1;
            }
        }
    }
    let distinct = distinct as usize;
    ((distinct < index.len()).then_some(index), distinct)
}

/// Rows of an audio feature for clips that have it, zeros for others; (B, D_a), not standardised.
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

/// [`audio_rows`] of clips in no order into a vector that keeps its memory.
pub(super) fn audio_rows_into(view: &View, features: &Features, clips: &[usize], out: &mut Vec<f32>) {
    let width = features.row_len();
    out.resize(clips.len() * width, 0.0);
    let features = features.scattered();
    let rows = clips.iter().map(|&clip| view.dataset.audio_row[clip]);
    rows.clone().flatten().for_each(|row| features.announce(row, 0, width));
    for (row, out) in rows.zip(out.chunks_exact_mut(width)) {
        match row {
            Some(row) => features.read(row, 0, out),
            None => out.fill(0.0),
        }
    }
}
