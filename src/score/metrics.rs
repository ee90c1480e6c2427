//! Top-k accuracy, per class and in all, and feature errors.

use super::error::{Error, finite};
use serde::{Deserialize, Serialize};

/// Class probabilities of the val clips, (N, K); rows of clips that could not be scored count as wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// K.
    pub classes: usize,
    /// (N, K), row-major.
    pub values: Vec<f32>,
    /// Whether a clip was scored at all.
    pub present: Vec<bool>,
}

impl Scores {
    /// Scores of all clips.
    pub fn complete(values: Vec<f32>, classes: usize) -> Scores {
        let clips = values.len() / classes;
        Scores { classes, values, present: vec![true; clips] }
    }

    /// The first score that is not finite, as an error; `next` says what to change.
    pub fn check(&self, next: &'static str) -> Result<(), Error> {
        finite(&self.values, self.classes, "the probability", ("val clip", "class"), next)
    }

    /// Number of clips.
    pub fn clips(&self) -> usize {
        self.present.len()
    }

    /// The K numbers of a clip.
    pub fn row(&self, clip: usize) -> &[f32] {
        &self.values[clip * self.classes..][..self.classes]
    }

    /// Whether the label is among the k highest. Equal scores rank in the order of classes, so the answer is unique. A clip
    /// without scores is wrong, whatever k, and so is one whose own score is not finite: NaN compares with nothing, and would
    /// rank first.
    pub fn right(&self, clip: usize, label: usize, k: usize) -> bool {
        if !self.present[clip] {
            return false;
        }
        let row = self.row(clip);
        let own = row[label];
        if !own.is_finite() {
            return false;
        }
        let before = row.iter().enumerate().filter(|&(c, &s)| s > own || (s == own && c < label)).count();
        before < k
    }
}

/// Percent of clips with the label among the k highest, over the clips that `of` picks; `None` where it picks none.
pub fn top_k(scores: &Scores, labels: &[usize], k: usize, of: impl Fn(usize) -> bool) -> Option<f64> {
    let (mut right, mut all) = (0usize, 0usize);
    for (clip, &label) in labels.iter().enumerate().filter(|(clip, _)| of(*clip)) {
        right += usize::from(scores.right(clip, label, k));
        all += 1;
    }
    (all > 0).then(|| 100.0 * right as f64 / all as f64)
}

/// Top-1 in percent for each class; `None` for classes without val clips.
pub fn per_class(scores: &Scores, labels: &[usize]) -> Vec<Option<f64>> {
    let mut counts = vec![(0usize, 0usize); scores.classes];
    for (clip, &label) in labels.iter().enumerate() {
        counts[label].0 += usize::from(scores.right(clip, label, 1));
        counts[label].1 += 1;
    }
    counts.into_iter().map(|(right, all)| (all > 0).then(|| 100.0 * right as f64 / all as f64)).collect()
}

/// How near generated features are to the true ones, on features centred with the sounded train clips' mean and divided by
/// one common deviation ([`Standardiser::centring`](crate::dataset::Standardiser::centring)).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FeatureError {
    /// Clips compared.
    pub clips: usize,
    /// Mean over clips of cos(generated, true).
    pub cosine: f64,
    /// 1 - sum of squared errors / sum of squared deviations of the truth from its own mean, over all dimensions; `None`
    /// where the truth does not vary (one clip, say), which leaves nothing to explain.
    pub r2: Option<f64>,
    /// Mean squared error over clips and dimensions; 1 is what the train mean would score on train clips.
    pub mse: f64,
}

/// Compares (N, D) generated with true features, both centred.
pub fn feature_error(generated: &[f32], truth: &[f32], width: usize) -> Option<FeatureError> {
    let clips = truth.len() / width;
    if clips == 0 {
        return None;
    }
    let mut mean = vec![0.0f64; width];
    for row in truth.chunks_exact(width) {
        mean.iter_mut().zip(row).for_each(|(m, t)| *m += f64::from(*t) / clips as f64);
    }
    let (mut squared, mut deviation, mut cosine) = (0.0, 0.0, 0.0);
    for (g, t) in generated.chunks_exact(width).zip(truth.chunks_exact(width)) {
        let (mut gt, mut gg, mut tt) = (0.0f64, 0.0f64, 0.0f64);
        for ((&g, &t), m) in g.iter().zip(t).zip(&mean) {
            let (g, t) = (f64::from(g), f64::from(t));
            squared += (g - t).powi(2);
            deviation += (t - m).powi(2);
            gt += g * t;
            gg += g * g;
            tt += t * t;
        }
        // A zero vector points nowhere: cosine 0.
        cosine += if gg > 0.0 && tt > 0.0 { gt / (gg.sqrt() * tt.sqrt()) } else { 0.0 };
    }
    Some(FeatureError {
        clips,
        cosine: cosine / clips as f64,
        r2: (deviation > 0.0).then(|| 1.0 - squared / deviation),
        mse: squared / (clips * width) as f64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_rank_in_the_order_of_classes() {
        let s = Scores::complete(vec![0.2, 0.5, 0.5, 0.1], 4);
        assert!(s.right(0, 1, 1) && !s.right(0, 2, 1) && s.right(0, 2, 2));
        assert!(!s.right(0, 3, 3) && s.right(0, 3, 4));
    }

    #[test]
    fn unscored_clips_are_wrong_whatever_k() {
        let mut s = Scores::complete(vec![0.9, 0.1, 0.9, 0.1], 2);
        s.present[1] = false;
        assert_eq!(top_k(&s, &[0, 0], 1, |_| true), Some(50.0));
        assert_eq!(top_k(&s, &[0, 0], 2, |_| true), Some(50.0));
        assert_eq!(top_k(&s, &[0, 0], 1, |c| c == 1), Some(0.0));
        assert_eq!(top_k(&s, &[0, 0], 1, |_| false), None);
    }

    #[test]
    fn what_is_not_finite_never_ranks() {
        let [nan, inf] = [f32::NAN, f32::INFINITY];
        let s = Scores::complete(vec![nan, nan, nan, 0.1, nan, 0.2, inf, 0.1, 0.2, -inf, 0.3, 0.4], 3);
        for k in 1..=3 {
            assert_eq!(top_k(&s, &[0; 4], k, |_| true), Some(if k == 1 { 0.0 } else { 25.0 }), "top {k}");
        }
        assert!(s.right(1, 2, 1) && s.right(1, 0, 2), "the others of a row rank among themselves");
        assert!(!s.right(2, 0, 3) && !s.right(3, 0, 3), "an infinity is no score either");
        assert_eq!(per_class(&s, &[1, 1, 1, 1])[1], Some(0.0));
    }

    #[test]
    fn classes_without_clips_have_no_accuracy() {
        let s = Scores::complete(vec![0.9, 0.1, 0.0, 0.4, 0.6, 0.0], 3);
        assert_eq!(per_class(&s, &[0, 0]), [Some(50.0), None, None]);
    }

    #[test]
    fn feature_errors_of_hand_computed_cases() {
        let truth = [1.0, 0.0, 0.0, 1.0, -1.0, 0.0, 0.0, -1.0];
        let e = feature_error(&truth, &truth, 2).unwrap();
        assert_eq!((e.clips, e.cosine, e.r2, e.mse), (4, 1.0, Some(1.0), 0.0));
        let e = feature_error(&[0.0; 8], &truth, 2).unwrap();
        assert_eq!((e.cosine, e.r2, e.mse), (0.0, Some(0.0), 0.5));
        let doubled: Vec<f32> = truth.iter().map(|t| 2.0 * t).collect();
        let e = feature_error(&doubled, &truth, 2).unwrap();
        assert!((e.cosine - 1.0).abs() < 1e-12 && e.r2.unwrap().abs() < 1e-12 && (e.mse - 0.5).abs() < 1e-12);
        assert!(feature_error(&[], &[], 2).is_none());
        assert_eq!(feature_error(&[3.0, 4.0], &[1.0, 0.0], 2).unwrap().r2, None, "one clip has nothing to explain");
    }
}
