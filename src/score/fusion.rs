//! Late fusion: a weighted sum of probabilities; what a clip lacks adds 0.

use super::metrics::Scores;

/// sum_i weight_i scores_i, in the order given. A clip is scored if any summand scores it whose weight is not 0: one that has
/// none says nothing of a clip, and equal scores would rank in the order of classes.
///
/// ```
/// use unmute::score::{Scores, fusion::fuse};
///
/// let vision = Scores::complete(vec![0.75, 0.25], 2);
/// let audio = Scores::complete(vec![0.125, 0.875], 2);
/// assert_eq!(fuse(&[(&vision, 1.0), (&audio, 1.0)]).values, [0.875, 1.125]);
/// ```
///
/// # Panics
/// If there is no summand, or shapes differ.
pub fn fuse(summands: &[(&Scores, f64)]) -> Scores {
    let first = summands[0].0;
    let mut values = vec![0.0f32; first.values.len()];
    let mut present = vec![false; first.clips()];
    for (scores, weight) in summands {
        assert_eq!(scores.values.len(), values.len(), "scores of the same clips and classes");
        if !counts(*weight) {
            continue;
        }
        for clip in (0..present.len()).filter(|&c| scores.present[c]) {
            present[clip] = true;
            let from = scores.row(clip);
            let to = &mut values[clip * first.classes..][..first.classes];
            to.iter_mut().zip(from).for_each(|(t, f)| *t += *weight as f32 * f);
        }
    }
    Scores { classes: first.classes, values, present }
}

/// Whether a summand of this weight changes a sum in single precision.
pub fn counts(weight: f64) -> bool {
    weight as f32 != 0.0
}

/// Real scores where a clip sounds, generated ones where it is silent.
///
/// # Panics
/// If shapes differ.
pub fn fill(real: &Scores, generated: &Scores, sounded: &[bool]) -> Scores {
    assert_eq!(real.values.len(), generated.values.len(), "scores of the same clips and classes");
    let mut out = generated.clone();
    for clip in (0..out.clips()).filter(|&c| sounded[c]) {
        out.present[clip] = real.present[clip];
        out.values[clip * out.classes..][..out.classes].copy_from_slice(real.row(clip));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_summand_adds_nothing() {
        let vision = Scores::complete(vec![0.6, 0.4, 0.6, 0.4], 2);
        let mut audio = Scores::complete(vec![0.1, 0.9, 0.1, 0.9], 2);
        audio.present[1] = false;
        let fused = fuse(&[(&vision, 1.0), (&audio, 1.0)]);
        assert_eq!(fused.values, [0.6 + 0.1, 0.4 + 0.9, 0.6, 0.4]);
        let weighted = fuse(&[(&vision, 2.0), (&audio, 0.0)]);
        assert_eq!(weighted.values, [1.2, 0.8, 1.2, 0.8]);
        assert_eq!(fuse(&[(&audio, 1.0)]).present, [true, false]);
    }

    #[test]
    fn silent_clips_are_filled() {
        let mut real = Scores::complete(vec![0.9, 0.1, 0.0, 0.0], 2);
        real.present[1] = false;
        let generated = Scores::complete(vec![0.5, 0.5, 0.2, 0.8], 2);
        let filled = fill(&real, &generated, &[true, false]);
        assert_eq!(filled.values, [0.9, 0.1, 0.2, 0.8]);
        assert_eq!(filled.present, [true, true]);
    }

    #[test]
    fn a_weight_of_nothing_says_nothing() {
        let vision = Scores::complete(vec![0.75, 0.25, 0.5, 0.5], 2);
        let mut audio = Scores::complete(vec![0.125, 0.875, 0.0, 0.0], 2);
        audio.present[1] = false;
        let fused = fuse(&[(&vision, 0.0), (&audio, 1.0)]);
        assert_eq!((fused.row(0), &fused.present[..]), (audio.row(0), &[true, false][..]));
        assert!(!fused.right(1, 0, 2), "no summand tells of the clip");
        assert!(fuse(&[(&vision, 1e-50)]).present.iter().all(|present| !present) && !counts(1e-50) && counts(1e-30));
    }
}
