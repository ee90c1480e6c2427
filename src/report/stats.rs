//! Quantiles and Holm's correction.

/// The quantile at `probability` in [0, 1] of sorted values, linear between order statistics (numpy's default). NaN where
/// there are none.
pub fn quantile(sorted: &[f64], probability: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = probability.clamp(0.0, 1.0) * last as f64;
    let below = (place.floor() as usize).min(last);
    let above = (below + 1).min(last);
    sorted[below] + (place - below as f64) * (sorted[above] - sorted[below])
}

/// Holm's step-down correction: p values such that rejecting those up to alpha keeps the chance of any false rejection at
/// alpha. The i-th smallest of m (from 0) becomes max over j <= i of min(1, (m - j) p_j).
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    let mut corrected = vec![0.0; p.len()];
    let mut highest = 0.0f64;
    for (rank, &i) in order.iter().enumerate() {
        highest = highest.max((p[i] * (p.len() - rank) as f64).min(1.0));
        corrected[i] = highest;
    }
    corrected
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture() -> serde_json::Value {
        serde_json::from_str(include_str!("../../tests/fixtures/stats.json")).unwrap()
    }

    fn numbers(value: &serde_json::Value) -> Vec<f64> {
        value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
    }

    fn near(ours: &[f64], theirs: &[f64], name: &serde_json::Value) {
        assert_eq!(ours.len(), theirs.len());
        for (a, b) in ours.iter().zip(theirs) {
            assert!((a - b).abs() < 1e-12, "{name}: {ours:?} {theirs:?}");
        }
    }

    #[test]
    fn holm_agrees_with_statsmodels() {
        for case in fixture()["holm"].as_array().unwrap() {
            near(&holm(&numbers(&case["p"])), &numbers(&case["corrected"]), &case["name"]);
        }
        assert!(holm(&[]).is_empty());
    }

    #[test]
    fn quantiles_agree_with_numpy() {
        for case in fixture()["samples"].as_array().unwrap() {
            let mut values = numbers(&case["values"]);
            values.sort_by(f64::total_cmp);
            let ours: Vec<f64> = numbers(&case["probabilities"]).iter().map(|p| quantile(&values, *p)).collect();
            near(&ours, &numbers(&case["quantiles"]), &case["name"]);
        }
        assert!(quantile(&[], 0.5).is_nan());
    }
}
