//! Platt's sigmoid, P(y = 1 | f) = 1 / (1 + exp(a f + b)), fitted by the Newton method of Lin, Lin and Weng (A note on
//! Platt's probabilistic outputs for support vector machines, 2007).

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
