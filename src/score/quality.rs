//! How well a bank was fitted, as numbers of its run, and in words.

use compute::svm::Fit;
use std::collections::BTreeMap;

/// Machines whose objective may be off by more than this, relatively, are spoken of wherever their numbers are: the bound of
/// what counts as trained. Rounding in single precision leaves less.
pub const TRAINED: f64 = 1e-3;

/// What a class's sigmoid was fitted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FittedOn {
    /// Decision values of clips that were held out, in as many folds as the experiment says.
    HeldOut,
    /// The same in as many folds as the class has clips.
    FewerFolds,
    /// Decision values of clips that the machine was trained on.
    Seen,
    /// The share of the class alone.
    Nothing,
}

/// How well a bank was fitted, over its classes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quality {
    /// Classes.
    pub classes: usize,
    /// Largest relative duality gap.
    pub worst_gap: f64,
    /// Largest bound of the objective's relative error, which the tolerance is about.
    pub worst_error: f64,
    /// The tolerance.
    pub tolerance: f64,
    /// Classes whose machine stopped above the tolerance.
    pub above_tolerance: usize,
    /// Classes whose machine stopped above [`TRAINED`], or above the tolerance where that is larger.
    pub untrained: usize,
    /// Most Newton steps.
    pub newton_steps: usize,
    /// Products with the Hessian, all classes.
    pub cg_steps: usize,
    /// Classes by what their sigmoids were fitted on: fewer folds than the experiment says, clips that the machine had
    /// seen, the share of the class alone. `None` where there are no sigmoids.
    pub sigmoids: Option<[usize; 3]>,
}

const CLASSES: &str = "svm/classes";
const ERROR: &str = "svm/error_bound";
const TOLERANCE: &str = "svm/tolerance";
const ABOVE: &str = "svm/above_tolerance";
const UNTRAINED: &str = "svm/untrained";
const SIGMOIDS: [&str; 3] = ["sigmoids/fewer_folds", "sigmoids/seen_clips", "sigmoids/flat"];

impl Quality {
    /// From how each class's training ended, and its sigmoid.
    pub fn of(fits: &[Fit], tolerance: f64, fitted_on: &[FittedOn]) -> Quality {
        let count = |wanted: FittedOn| fitted_on.iter().filter(|on| **on == wanted).count();
        let bounds: Vec<f64> = fits.iter().map(Fit::error_bound).collect();
        // What is no number is above every bound.
        let above = |bound: f64| bounds.iter().filter(|b| b.is_nan() || **b > bound).count();
        Quality {
            classes: fits.len(),
            worst_gap: fits.iter().map(|f| f.duality_gap).fold(0.0, f64::max),
            worst_error: bounds.iter().copied().fold(0.0, |worst, b| if b.is_nan() || b > worst { b } else { worst }),
            tolerance,
            above_tolerance: above(tolerance),
            untrained: above(tolerance.max(TRAINED)),
            newton_steps: fits.iter().map(|f| f.newton_steps).max().unwrap_or(0),
            cg_steps: fits.iter().map(|f| f.cg_steps).sum(),
            sigmoids: (!fitted_on.is_empty())
                .then(|| [FittedOn::FewerFolds, FittedOn::Seen, FittedOn::Nothing].map(count)),
        }
    }

    /// As numbers of a run, by name.
    pub fn values(&self) -> BTreeMap<String, f64> {
        let mut values = vec![
            ("duality_gap", self.worst_gap),
            ("newton_steps", self.newton_steps as f64),
            ("cg_steps", self.cg_steps as f64),
            (CLASSES, self.classes as f64),
            (ERROR, self.worst_error),
            (TOLERANCE, self.tolerance),
            (ABOVE, self.above_tolerance as f64),
            (UNTRAINED, self.untrained as f64),
        ];
        values.extend(self.sigmoids.iter().flat_map(|counts| SIGMOIDS.iter().copied().zip(counts.map(|c| c as f64))));
        values.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
    }
}

/// What a reader of a run's numbers should know of its bank, from the numbers that [`Quality::values`] gave it: a sentence for
/// each thing that is not as it should be; none for other runs, and for runs of versions that did not count.
pub fn remarks(values: &BTreeMap<String, f64>) -> Vec<String> {
    let value = |name: &str| values.get(name).copied().unwrap_or(0.0);
    let of = format!("of {} classes", value(CLASSES));
    let mut out = Vec::new();
    if value(UNTRAINED) > 0.0 {
        out.push(format!(
            "the SVMs of {} {of} did not converge: their objective may be off by {} of its value (relative duality gap {}), where svm.tolerance is {}; lower svm.c, or standardise the features",
            value(UNTRAINED),
            short(value(ERROR)),
            short(value("duality_gap")),
            short(value(TOLERANCE)),
        ));
    }
    let [fewer, seen, flat] = SIGMOIDS.map(value);
    if fewer > 0.0 {
        out.push(format!(
            "{fewer} {of} have fewer clips than svm.folds; their Platt sigmoids come from as many folds as they have clips"
        ));
    }
    if seen > 0.0 {
        out.push(format!(
            "Platt's sigmoid of {seen} {of} sloped the wrong way on clips that were held out, or there were too few clips to hold any out; it was fitted on clips that the SVM was trained on, so that its probabilities are too sure of themselves"
        ));
    }
    if flat > 0.0 {
        out.push(format!(
            "the decision values of {flat} {of} tell nothing of the class (or it has no train clip with sound): Platt's sigmoid is flat there, and every clip gets the share of the class"
        ));
    }
    out
}

fn short(value: f64) -> String {
    if value == 0.0 || (1e-3..1e4).contains(&value) { format!("{value:.4}") } else { format!("{value:.1e}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(gap: f64) -> Fit {
        Fit { objective: 1.0, gradient_norm: 1.0, duality_gap: gap, ..Fit::default() }
    }

    #[test]
    fn a_healthy_bank_is_not_spoken_of() {
        let q = Quality::of(&[fit(1e-7), fit(2e-5)], 1e-6, &[FittedOn::HeldOut; 2]);
        assert_eq!((q.above_tolerance, q.untrained, q.sigmoids), (1, 0, Some([0; 3])));
        assert!(remarks(&q.values()).is_empty());
        assert!(remarks(&BTreeMap::new()).is_empty());
    }

    #[test]
    fn what_did_not_converge_and_what_did_not_slope_is_counted() {
        let on = [FittedOn::HeldOut, FittedOn::FewerFolds, FittedOn::Seen, FittedOn::Seen, FittedOn::Nothing];
        let q = Quality::of(&[fit(0.3), fit(f64::NAN), fit(0.0), fit(0.0), fit(0.0)], 1e-6, &on);
        assert_eq!((q.untrained, q.sigmoids), (2, Some([1, 2, 1])));
        let told = remarks(&q.values());
        assert_eq!(told.len(), 4, "{told:?}");
        assert!(told[0].contains("2 of 5 classes did not converge") && told[0].contains("0.3000"), "{told:?}");
        assert!(told[2].contains("2 of 5 classes sloped the wrong way"), "{told:?}");
    }

    #[test]
    fn a_gradient_that_is_small_bounds_the_error_as_well_as_a_gap() {
        let f = Fit { objective: 2.0, gradient_norm: 1e-4, duality_gap: 0.4, ..Fit::default() };
        assert_eq!(Quality::of(&[f], 1e-6, &[]).above_tolerance, 0);
        assert_eq!(Quality::of(&[f], 1e-6, &[]).sigmoids, None);
    }
}
