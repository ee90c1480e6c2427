//! Accuracies again, from the scores that a store holds.

use super::records::{ScoredClips, ValClips};
use crate::dataset::Split;
use crate::score::Scores;
use crate::score::fusion::fill;
use crate::score::metrics::top_k;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};

/// top1 and top5 in percent over all val clips (`top1`), and over the sounded and the silent ones (`top1/silent`), as far as
/// scores say them; the same of test clips (`test/top1`). `real` gives the scores of recorded audio of a split that sounded
/// clips of a generator or control count with; without them only what concerns silent clips can be counted.
pub(super) fn accuracies(
    scores: &HashMap<String, Scores>,
    real: &dyn Fn(Split) -> Option<std::sync::Arc<Scores>>,
    clips: &ScoredClips,
) -> BTreeMap<String, f64> {
    let mut all = BTreeMap::new();
    for (split, of) in [(Split::Val, Some(&clips.val)), (Split::Test, clips.test.as_ref())] {
        let Some(of) = of else { continue };
        let found = of_split(scores, split, real(split).as_deref(), of);
        all.extend(found.into_iter().map(|(name, value)| (format!("{}{name}", split.prefix()), value)));
    }
    all
}

fn of_split(
    scores: &HashMap<String, Scores>,
    split: Split,
    real: Option<&Scores>,
    val: &ValClips,
) -> BTreeMap<String, f64> {
    let own = |what: &str| scores.get(&format!("{}{what}", split.prefix()));
    let (counted, sounded_too) = match (own("vision"), own("generated"), real) {
        (Some(vision), _, _) => (vision.clone(), true),
        (_, Some(generated), Some(real)) => (fill(real, generated, &val.sounded), true),
        (_, Some(generated), None) => (generated.clone(), false),
        (_, None, Some(real)) => (real.clone(), true),
        (None, None, None) => return BTreeMap::new(),
    };
    let mut all = BTreeMap::new();
    for (name, k) in [("top1", 1), ("top5", 5)] {
        for (suffix, wanted) in [("", None), ("/sounded", Some(true)), ("/silent", Some(false))] {
            if !sounded_too && wanted != Some(false) {
                continue;
            }
            let of = |clip: usize| wanted.is_none_or(|w| val.sounded[clip] == w);
            all.extend(top_k(&counted, &val.labels, k, of).map(|v| (format!("{name}{suffix}"), v)));
        }
    }
    all
}

/// What is said of stored accuracies that are not those of the stored scores.
pub(super) fn differing(stored: &HashMap<String, f64>, again: &BTreeMap<String, f64>) -> Vec<String> {
    // One clip of a million is 1e-4 percent.
    let same = |a: f64, b: f64| (a - b).abs() < 1e-7;
    let differs = |(name, again): (&String, &f64)| match stored.get(name) {
        Some(stored) if same(*stored, *again) => None,
        Some(stored) => Some(format!("its {name} is stored as {stored}, and its scores say {again}")),
        None => Some(format!("its {name} is not stored, and its scores say {again}")),
    };
    again.iter().filter_map(differs).collect()
}

/// The run of the SVM bank that a generator or control was scored with; it depends on the same data, code and SVM, which
/// banks fit on recorded audio whatever else is asked for.
pub(super) fn bank_id(spec: &Value) -> Option<String> {
    let audio = spec["part"]["audio"].as_str()?;
    let mut svm = spec["svm"].clone();
    svm.as_object_mut()?.shift_remove("train_on");
    let bank = serde_json::json!({
        "code": spec["code"],
        "data": spec["data"],
        "part": { "audio": audio, "kind": "bank" },
        "svm": svm,
    });
    Some(blake3::hash(bank.to_string().as_bytes()).to_hex().get(..32)?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sounded_clips_count_with_real_scores_and_silent_ones_with_generated_ones() {
        let val = ValClips { clips: vec!["a".into(), "b".into()], labels: vec![0, 1], sounded: vec![true, false] };
        let generated = Scores::complete(vec![0.1, 0.9, 0.1, 0.9], 2);
        let real = Scores { classes: 2, values: vec![0.9, 0.1, 0.0, 0.0], present: vec![true, false] };
        let of = HashMap::from([("generated".to_string(), generated.clone()), ("test/generated".into(), generated)]);
        let real = std::sync::Arc::new(real);
        let val = ScoredClips { val, test: None };
        let all = accuracies(&of, &|_| Some(real.clone()), &val);
        assert_eq!((all["top1"], all["top1/sounded"], all["top1/silent"]), (100.0, 100.0, 100.0));
        let both = ScoredClips { test: Some(ValClips { labels: vec![1, 1], ..val.val.clone() }), ..val.clone() };
        let both = accuracies(&of, &|_| Some(real.clone()), &both);
        assert_eq!((both["top1"], both["test/top1"], both["test/top1/silent"]), (100.0, 50.0, 100.0));
        let silent = accuracies(&of, &|_| None, &val);
        assert_eq!(silent.keys().collect::<Vec<_>>(), ["top1/silent", "top5/silent"]);
        let stored = HashMap::from([("top1/silent".to_string(), 50.0), ("top5/silent".to_string(), 100.0)]);
        assert_eq!(differing(&stored, &silent), ["its top1/silent is stored as 50, and its scores say 100"]);
    }
}
