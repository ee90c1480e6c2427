//! Platt's sigmoid, P(y = 1 | f) = 1 / (1 + exp(a f + b)), fitted by the Newton method of Lin, Lin and Weng (A note on
//! Platt's probabilistic outputs for support vector machines, 2007).
//!
//! A machine gives its own class the larger decision values, so the slope a is negative. Where a class has few clips,
//! cross-validation can turn it round: the machine of a fold has seen fewer of them, or none, and gives those that were held
//! out the smallest values of all. Such a sigmoid ranks the best clip last, so it is never used; [`super::bank`] says what
//! takes its place.

/// The two parameters.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Sigmoid {
    /// Slope; negative where larger decision values mean the class.
    pub a: f64,
    /// Offset.
    pub b: f64,
}

impl Sigmoid {
    /// The probability at decision value `f`, written so that neither exponential overflows.
    pub fn probability(&self, f: f64) -> f64 {
        let z = self.a * f + self.b;
        if z >= 0.0 {
            let e = (-z).exp();
            e / (1.0 + e)
        } else {
            1.0 / (1.0 + z.exp())
        }
    }

    /// The same probability for every decision value, (n+ + 1) / (n + 2): what is left where decision values tell nothing.
    pub fn flat(clips: usize, positives: usize) -> Sigmoid {
        let negatives = clips.saturating_sub(positives);
        Sigmoid { a: 0.0, b: ((negatives as f64 + 1.0) / (positives as f64 + 1.0)).ln() }
    }

    /// Whether larger decision values mean the class, as they should.
    pub fn rises(&self) -> bool {
        self.a < 0.0 && self.a.is_finite() && self.b.is_finite()
    }

    /// [`Sigmoid::fit`]; where that does not rise, the same on decision values shifted and scaled to mean 0 and deviation 1.
    /// Newton's method starts at slope 0 and stops at a gradient of fixed size, so that it finds nothing where decision
    /// values are very large, or all but equal.
    pub fn fit_at_any_scale(decisions: &[f32], positive: impl Fn(usize) -> bool) -> Sigmoid {
        let (least, most) =
            decisions.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(l, m), f| (l.min(*f), m.max(*f)));
        // All the same but for rounding: nothing can be read off them, and the slope would be rounding too.
        if most - least <= 8.0 * f32::EPSILON * least.abs().max(most.abs()) {
            return Sigmoid::flat(decisions.len(), (0..decisions.len()).filter(|i| positive(*i)).count());
        }
        let plain = Sigmoid::fit(decisions, &positive);
        if plain.rises() {
            return plain;
        }
        let n = decisions.len() as f64;
        let mean = decisions.iter().map(|f| f64::from(*f)).sum::<f64>() / n;
        let variance = decisions.iter().map(|f| (f64::from(*f) - mean).powi(2)).sum::<f64>() / n;
        let sd = variance.sqrt();
        let scaled: Vec<f32> = decisions.iter().map(|f| ((f64::from(*f) - mean) / sd) as f32).collect();
        let found = Sigmoid::fit(&scaled, &positive);
        let a = found.a / sd;
        Sigmoid { a, b: found.b - a * mean }
    }

    /// Minimises the cross-entropy to the smoothed targets (n+ + 1)/(n+ + 2) and 1/(n- + 2).
    pub fn fit(decisions: &[f32], positive: impl Fn(usize) -> bool) -> Sigmoid {
        let n = decisions.len();
        let positives = (0..n).filter(|&i| positive(i)).count() as f64;
        let negatives = n as f64 - positives;
        let (high, low) = ((positives + 1.0) / (positives + 2.0), 1.0 / (negatives + 2.0));
        let target: Vec<f64> = (0..n).map(|i| if positive(i) { high } else { low }).collect();
        let loss = |s: Sigmoid| -> f64 {
            let term = |(&f, &t): (&f32, &f64)| {
                let z = s.a * f64::from(f) + s.b;
                // -t log p - (1 - t) log(1 - p), stable for both signs of z.
                if z >= 0.0 { t * z + (-z).exp().ln_1p() } else { (t - 1.0) * z + z.exp().ln_1p() }
            };
            decisions.iter().zip(&target).map(term).sum()
        };
        let mut s = Sigmoid { a: 0.0, b: ((negatives + 1.0) / (positives + 1.0)).ln() };
        let mut value = loss(s);
        for _ in 0..100 {
            // A little is added to the diagonal, so that the Hessian is positive definite.
            let (mut h11, mut h22, mut h21, mut g1, mut g2) = (1e-12, 1e-12, 0.0, 0.0, 0.0);
            for (&f, &t) in decisions.iter().zip(&target) {
                let f = f64::from(f);
                let p = s.probability(f);
                let weight = p * (1.0 - p);
                h11 += f * f * weight;
                h22 += weight;
                h21 += f * weight;
                g1 += f * (t - p);
                g2 += t - p;
            }
            if g1.abs() < 1e-5 && g2.abs() < 1e-5 {
                break;
            }
            let det = h11 * h22 - h21 * h21;
            let da = -(h22 * g1 - h21 * g2) / det;
            let db = -(-h21 * g1 + h11 * g2) / det;
            let slope = g1 * da + g2 * db;
            let mut length = 1.0;
            let accepted = loop {
                let next = Sigmoid { a: s.a + length * da, b: s.b + length * db };
                let next_value = loss(next);
                if next_value < value + 1e-4 * length * slope {
                    s = next;
                    value = next_value;
                    break true;
                }
                length *= 0.5;
                if length < 1e-10 {
                    break false;
                }
            };
            if !accepted {
                break;
            }
        }
        s
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sigmoid_rises_where_the_positives_have_the_larger_values_at_any_scale() {
        for (scale, shift) in [(1.0, 0.0), (1e6, 0.0), (1e-7, 0.0), (1e-3, -1.0), (1e15, 1e15)] {
            let decisions: Vec<f32> = (0..40).map(|i| (shift + scale * (f64::from(i) / 20.0 - 1.5)) as f32).collect();
            let s = Sigmoid::fit_at_any_scale(&decisions, |i| i >= 30);
            assert!(s.rises(), "{scale} {shift}: {s:?}");
            let (low, high) = (s.probability(f64::from(decisions[0])), s.probability(f64::from(decisions[39])));
            assert!(low < 0.1 && high > 0.7, "{scale} {shift}: {low} {high}");
        }
    }

    #[test]
    fn a_sigmoid_of_positives_with_the_smaller_values_does_not_rise() {
        let decisions = [0.5, 0.4, 0.6, -0.5, 0.5, 0.45];
        assert!(!Sigmoid::fit_at_any_scale(&decisions, |i| i == 3).rises());
        assert!(!Sigmoid::fit_at_any_scale(&[1.0; 6], |i| i == 3).rises(), "nothing tells them apart");
        assert!(!Sigmoid::fit_at_any_scale(&[], |_| true).rises());
    }

    #[test]
    fn a_flat_sigmoid_is_the_share_of_the_class() {
        let s = Sigmoid::flat(98, 9);
        assert!((s.probability(-3.0) - 0.1).abs() < 1e-12 && s.probability(7.0) == s.probability(-3.0));
        assert!(!s.rises());
    }
}
