//! From class probabilities to ranks: all that tables need of a row's scores.

use crate::score::Scores;
use rayon::prelude::*;

/// How many classes stand before the label in each clip's scores, as [`Scores::right`] counts; `u32::MAX` where a clip was not
/// scored, or where its scores are not all finite: such a clip is wrong, whatever k. A fiftieth of the room of the scores.
pub fn ranks(scores: &Scores, labels: &[usize]) -> Vec<u32> {
    let rank = |(clip, &label): (usize, &usize)| {
        let row = scores.row(clip);
        if !scores.present[clip] || !row.iter().all(|s| s.is_finite()) {
            return u32::MAX;
        }
        let own = row[label];
        let higher: u32 = row.iter().map(|s| u32::from(*s > own)).sum();
        let equal: u32 = row[..label].iter().map(|s| u32::from(*s == own)).sum();
        higher + equal
    };
    labels.par_iter().enumerate().with_min_len(256).map(rank).collect()
}

/// The class that each clip scores highest, the first of equal ones; `None` where a clip was not scored, or where its scores are
/// not all finite. A clip's label is ranked first ([`ranks`]) where it is this class.
pub fn tops(scores: &Scores) -> Vec<Option<usize>> {
    let top = |clip: usize| {
        let row = scores.row(clip);
        if !scores.present[clip] || !row.iter().all(|s| s.is_finite()) {
            return None;
        }
        let mut best = 0;
        for (class, score) in row.iter().enumerate() {
            if *score > row[best] {
                best = class;
            }
        }
        (!row.is_empty()).then_some(best)
    };
    (0..scores.clips()).into_par_iter().with_min_len(256).map(top).collect()
}

/// Whether every clip that was scored has finite scores.
pub fn all_finite(scores: &Scores) -> bool {
    let of_clip = |clip: usize| !scores.present[clip] || scores.row(clip).iter().all(|s| s.is_finite());
    (0..scores.clips()).all(of_clip)
}

/// For each of so many classes: clips whose label is ranked first, and all its clips.
pub fn right_by_class(ranks: &[u32], labels: &[usize], classes: usize) -> Vec<(usize, usize)> {
    let mut counts = vec![(0usize, 0usize); classes];
    for (rank, &label) in ranks.iter().zip(labels) {
        counts[label].0 += usize::from(*rank == 0);
        counts[label].1 += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::metrics;
    use compute::rng::Rng;

    /// Ranks say what the slow metrics say, with ties and absent clips.
    #[test]
    fn ranks_are_what_the_metrics_count() {
        let (clips, classes) = (500, 7);
        let mut stream = Rng::new(1, "ranks");
        let values: Vec<f32> = (0..clips * classes).map(|_| stream.below(4) as f32).collect();
        let labels: Vec<usize> = (0..clips).map(|_| stream.below(classes - 1)).collect();
        let mut scores = Scores::complete(values, classes);
        (0..clips).step_by(9).for_each(|clip| scores.present[clip] = false);
        let ranks = ranks(&scores, &labels);
        for (clip, top) in tops(&scores).into_iter().enumerate() {
            assert_eq!(top == Some(labels[clip]), ranks[clip] == 0, "clip {clip}");
            assert_eq!(top.is_some(), scores.present[clip]);
        }
        for (clip, label) in labels.iter().enumerate() {
            for k in 1..=classes {
                assert_eq!((ranks[clip] as usize) < k, scores.right(clip, *label, k), "clip {clip}, k {k}");
            }
        }
        let percent = |(right, all): (usize, usize)| (all > 0).then(|| 100.0 * right as f64 / all as f64);
        let by_class: Vec<Option<f64>> = right_by_class(&ranks, &labels, classes).into_iter().map(percent).collect();
        assert_eq!(by_class, metrics::per_class(&scores, &labels));
    }

    #[test]
    fn a_clip_with_scores_that_are_not_finite_is_wrong() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let scores = Scores::complete(vec![bad, 0.1, 0.2, 0.9, 0.1, 0.0, 0.3, bad, 0.2], 3);
            assert_eq!(ranks(&scores, &[0, 0, 0]), [u32::MAX, 0, u32::MAX]);
            assert!(!all_finite(&scores));
            // A row that was never scored holds anything.
            assert!(all_finite(&Scores { present: vec![false, true, false], ..scores }));
        }
    }
}
