//! Numbers of `experiment.yaml` that make no sense, or that no machine has room or time for.

use super::config::{Config, StopMetric};
use crate::brief::shortened;
use crate::model::Architecture;
use serde_json::Value;

/// Letters of an experiment's name: files are called after it.
const NAME: usize = 100;
/// Seeds.
const SEEDS: usize = 10_000;
/// Epochs, and clips of a batch.
const MANY: usize = 1_000_000;
/// Numbers in a layer, and layers of a network.
const WIDTH: usize = 65_536;
const LAYERS: usize = 32;
/// Folds of a cross-validation.
const FOLDS: usize = 1000;
/// Entries of `exclude`.
const EXCLUDES: usize = 10_000;
/// Weights and rates are kept in single precision, which ends soon after this.
const LARGE: f64 = 1e30;
/// How far the losses of an SVM may weigh more, or less, than its regulariser. Beyond, single precision resolves only one of
/// the two.
const C: f64 = 1e10;

/// What is wrong with a configuration, as (path, message).
type Complaint = (String, String);

fn complain<T>(path: &str, message: String) -> Result<T, Complaint> {
    Err((path.to_string(), message))
}

fn positive(path: &str, x: f64) -> Result<(), Complaint> {
    match x.is_finite() && x > 0.0 {
        false => complain(path, format!("{x} should be above 0")),
        true if x < 1.0 / LARGE => complain(path, format!("{x:e} should be at least {:e}", 1.0 / LARGE)),
        true => at_most(path, LARGE, x),
    }
}

fn not_negative(path: &str, x: f64) -> Result<(), Complaint> {
    match x.is_finite() && x >= 0.0 {
        false => complain(path, format!("{x} should be 0 or more")),
        true => at_most(path, LARGE, x),
    }
}

fn at_most(path: &str, most: f64, x: f64) -> Result<(), Complaint> {
    if x <= most { Ok(()) } else { complain(path, format!("{x:e} should be at most {most:e}")) }
}

fn below_one(path: &str, x: f64) -> Result<(), Complaint> {
    if (0.0..1.0).contains(&x) { Ok(()) } else { complain(path, format!("{x} should lie from 0 to below 1")) }
}

fn within(path: &str, least: usize, most: usize, x: usize) -> Result<(), Complaint> {
    match x {
        x if x < least => complain(path, format!("{x} should be at least {least}")),
        x if x > most => complain(path, format!("{x} should be at most {most}")),
        _ => Ok(()),
    }
}

/// Widths and depths among a network's settings, whichever network it is.
fn sizes(path: &str, settings: &Value) -> Result<(), Complaint> {
    match settings {
        Value::Number(n) => {
            let most = if path.ends_with(".layers") { LAYERS } else { WIDTH };
            let n = n.as_u64().unwrap_or(0);
            within(path, 0, most, usize::try_from(n).unwrap_or(usize::MAX))
        }
        Value::Array(items) => {
            within(path, 0, LAYERS, items.len())?;
            items.iter().enumerate().try_for_each(|(i, item)| sizes(&format!("{path}[{i}]"), item))
        }
        Value::Object(map) => map.iter().try_for_each(|(key, value)| sizes(&format!("{path}.{key}"), value)),
        _ => Ok(()),
    }
}

impl Config {
    /// Numbers that make no sense, as (path, message); the first one found.
    pub fn check(&self) -> Result<(), (String, String)> {
        self.check_lists()?;
        if let Some(m) = &self.missing {
            below_one("missing.rate", m.rate)?;
        }
        within("train.epochs", 1, MANY, self.train.epochs)?;
        within("train.batch", 1, MANY, self.train.batch)?;
        positive("train.lr", self.train.lr)?;
        below_one("train.beta1", self.train.beta1)?;
        below_one("train.beta2", self.train.beta2)?;
        positive("train.eps", self.train.eps)?;
        not_negative("train.w_cls", self.train.w_cls)?;
        positive("train.w_rec", self.train.w_rec)?;
        if let Some(block) = self.train.kl_block {
            within("train.kl_block", 1, MANY, block)?;
        }
        if let Some(stop) = &self.train.stop {
            within("train.stop.patience", 1, MANY, stop.patience)?;
            let without = self.grid.get("classifier").is_some_and(|all| all.iter().any(|c| c == "without"));
            if stop.metric == StopMetric::Accuracy && without {
                let message =
                    "accuracy is the classifier's, and the grid has cells without one; take loss or feature_error";
                return complain("train.stop.metric", message.into());
            }
        }
        let all = serde_json::to_value(self).unwrap_or_default();
        for &which in Architecture::ALL {
            let complaint = |(key, message): Complaint| (format!("{}.{key}", which.word()), message);
            self.generator(which).describe().check().map_err(complaint)?;
            sizes(which.word(), &all[which.word()])?;
        }
        if self.svm.c > 0.0 && self.svm.c.is_finite() && !(1.0 / C..=C).contains(&self.svm.c) {
            return complain("svm.c", format!("{:e} should lie from {:e} to {C:e}", self.svm.c, 1.0 / C));
        }
        positive("svm.c", self.svm.c)?;
        within("svm.folds", 2, FOLDS, self.svm.folds)?;
        positive("svm.tolerance", self.svm.tolerance)?;
        below_one("svm.tolerance", self.svm.tolerance)?;
        within("tsn.epochs", 1, MANY, self.tsn.epochs)?;
        within("tsn.batch", 1, MANY, self.tsn.batch)?;
        positive("tsn.lr", self.tsn.lr)?;
        not_negative("tsn.weight_decay", self.tsn.weight_decay)?;
        within("knn.k", 1, MANY, self.knn.k)?;
        positive("ridge.lambda", self.ridge.lambda)?;
        for (name, &w) in &self.fusion.weights {
            not_negative(&format!("fusion.weights.{name}"), w)?;
        }
        Ok(())
    }

    fn check_lists(&self) -> Result<(), Complaint> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        if self.name.is_empty() || !self.name.chars().all(plain) || self.name.starts_with('.') {
            let name = shortened(&self.name, NAME);
            let message = format!("{name:?} should be letters, digits, '_', '-' and '.'; files are called after it");
            return complain("name", message);
        }
        if self.name.len() > NAME {
            return complain("name", format!("{} letters should be at most {NAME}", self.name.len()));
        }
        if self.seeds.is_empty() {
            return complain("seeds", "no seed; give at least one".into());
        }
        within("seeds", 1, SEEDS, self.seeds.len())?;
        let mut seeds = self.seeds.clone();
        seeds.sort_unstable();
        if let Some(w) = seeds.windows(2).find(|w| w[0] == w[1]) {
            return complain("seeds", format!("seed {} stands twice", w[0]));
        }
        let mut controls = self.controls.iter().enumerate();
        if let Some((i, control)) = controls.find(|(i, c)| self.controls[..*i].contains(c)) {
            return complain(&format!("controls[{i}]"), format!("{:?} stands twice", control.word()));
        }
        within("exclude", 0, EXCLUDES, self.exclude.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::config::EarlyStop;

    fn told(change: impl FnOnce(&mut Config)) -> String {
        let mut config: Config = serde_json::from_value(serde_json::json!({ "name": "x", "grid": {} })).unwrap();
        change(&mut config);
        config.check().err().map(|(path, message)| format!("{path}: {message}")).unwrap_or_default()
    }

    #[test]
    fn what_is_too_much_is_told_with_its_limit() {
        assert_eq!(told(|_| ()), "");
        assert_eq!(told(|c| c.lstm.hidden = usize::MAX), "lstm.hidden: 18446744073709551615 should be at most 65536");
        assert_eq!(told(|c| c.svm.folds = 99_999_999_999), "svm.folds: 99999999999 should be at most 1000");
        assert_eq!(told(|c| c.svm.c = 1e38), "svm.c: 1e38 should lie from 1e-10 to 1e10");
        assert_eq!(told(|c| c.svm.c = 1e-38), "svm.c: 1e-38 should lie from 1e-10 to 1e10");
        assert_eq!(told(|c| c.train.lr = 1e39), "train.lr: 1e39 should be at most 1e30");
        assert_eq!(told(|c| c.train.eps = 1e-50), "train.eps: 1e-50 should be at least 9.999999999999999e-31");
        assert_eq!(told(|c| c.train.epochs = 1 << 40), "train.epochs: 1099511627776 should be at most 1000000");
        assert_eq!(told(|c| c.autoencoder.encoder = vec![8; 33]), "autoencoder.encoder: 33 should be at most 32");
        assert!(told(|c| c.autoencoder.decoder = vec![8, 4_294_967_295]).starts_with("autoencoder.decoder[1]: 429"));
        assert!(told(|c| c.name = "n".repeat(300)).contains("at most 100"));
        let stop = |patience, metric| Some(EarlyStop { patience, metric });
        assert!(told(|c| c.train.stop = stop(0, StopMetric::Loss)).starts_with("train.stop.patience: 0 should be"));
        let both = |c: &mut Config| {
            c.train.stop = stop(2, StopMetric::Accuracy);
            c.grid.insert("classifier".into(), vec!["with".into(), "without".into()]);
        };
        assert!(told(both).starts_with("train.stop.metric: accuracy is the classifier's"));
        assert!(told(|c| c.name = "/".repeat(300_000)).len() < 300);
        assert!(told(|c| c.seeds = (0..20_000).collect()).contains("at most 10000"));
        let twice = |c: &mut Config| c.controls = vec![crate::experiment::config::Control::Mean; 2];
        assert_eq!(told(twice), "controls[1]: \"mean\" stands twice");
    }
}
