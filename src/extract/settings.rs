//! `extract.json`: what the features were made with.

use super::net::Net;
use super::net::preset::Input;
use super::sound::Short;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What holds for all networks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Frames per second.
    pub fps: String,
    /// What becomes of sound that is too short.
    pub short: Short,
    /// The largest sample of a silent clip (ledger A14).
    pub silence: u16,
}

/// A network and what it is fed with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetSettings {
    /// The preset's name.
    pub preset: String,
    /// The ONNX file's name.
    pub file: String,
    /// BLAKE3 of the file.
    pub blake3: String,
    /// The output that the features are.
    pub output: String,
    /// The output that class scores are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scores: Option<String>,
    /// The classes of the scores, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<String>,
    /// What the network is fed with.
    pub input: Input,
    /// Whether it was computed on a GPU, whose numbers differ in their last bits.
    pub device: String,
    /// BLAKE3 of the means, deviations or PCA that it takes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stats: String,
}

/// What came of the clips.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// Clips that there are.
    pub listed: usize,
    /// Clips with features.
    pub done: usize,
    /// Those of them without sound.
    pub silent: usize,
    /// Clips that failed.
    pub failed: usize,
}

/// The contents of `extract.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The program.
    pub made_by: String,
    /// What holds for all networks.
    pub settings: Settings,
    /// By name.
    pub networks: BTreeMap<String, NetSettings>,
    /// Versions of ffmpeg that decoded.
    pub ffmpeg: Vec<String>,
    /// Runtimes that ran the networks.
    pub runtimes: Vec<String>,
    /// What came of the clips; not there before the first call has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clips: Option<Counts>,
    /// By clip, frames and packets that could not be decoded.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub undecoded: BTreeMap<String, usize>,
    /// By clip, what a reader should know.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub warnings: BTreeMap<String, Vec<String>>,
}

impl NetSettings {
    pub(super) fn new(net: &Net, classes: Vec<String>, device: String, stats: String) -> NetSettings {
        NetSettings {
            preset: net.preset.into(),
            file: net.file.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(),
            blake3: net.hash.clone(),
            output: net.output.clone(),
            scores: net.scores.clone(),
            classes,
            input: net.input.clone(),
            device,
            stats,
        }
    }

    /// Identifies the network with everything it was fed with; the file's name does not matter.
    pub(super) fn hash(&self, settings: &Settings) -> String {
        let nameless = NetSettings { file: String::new(), ..self.clone() };
        let text = serde_json::to_string(&(nameless, settings)).unwrap_or_default();
        blake3::hash(text.as_bytes()).to_hex()[..32].to_string()
    }
}

impl Report {
    /// This report with another call's networks and versions added; what differs in what both have.
    pub(super) fn merged(mut self, other: &Report) -> Result<Report, String> {
        differs("settings", &self.settings, &other.settings)?;
        for (name, net) in &other.networks {
            match self.networks.get(name) {
                // A file under another name is the same network.
                Some(found) => differs(
                    &format!("network {name}"),
                    found,
                    &NetSettings { file: found.file.clone(), ..net.clone() },
                )?,
                None => drop(self.networks.insert(name.clone(), net.clone())),
            }
        }
        let add = |all: &mut Vec<String>, more: &[String]| {
            all.extend(more.iter().cloned());
            all.sort();
            all.dedup();
        };
        add(&mut self.ffmpeg, &other.ffmpeg);
        add(&mut self.runtimes, &other.runtimes);
        Ok(self)
    }
}

/// Names the first thing that differs, with both values.
fn differs<T: Serialize>(what: &str, found: &T, called: &T) -> Result<(), String> {
    let value = |x: &T| serde_json::to_value(x).unwrap_or_default();
    match difference(what, &value(found), &value(called)) {
        Some(text) => Err(text),
        None => Ok(()),
    }
}

/// Names the first thing in which two values differ, with both.
pub(super) fn difference(what: &str, a: &serde_json::Value, b: &serde_json::Value) -> Option<String> {
    if a == b {
        return None;
    }
    if let (Some(x), Some(y)) = (a.as_object(), b.as_object()) {
        let null = serde_json::Value::Null;
        let keys: std::collections::BTreeSet<&String> = x.keys().chain(y.keys()).collect();
        return keys.into_iter().find_map(|key| {
            difference(&format!("{what}.{key}"), x.get(key).unwrap_or(&null), y.get(key).unwrap_or(&null))
        });
    }
    Some(format!("{what} is {a} there and {b} here"))
}

#[cfg(test)]
mod tests {
    use super::super::net::preset::Preset;
    use super::*;

    fn report(net: &str, hop: &str, fps: &str) -> Report {
        let mut input = Preset::Vggish.input(false);
        input.set("hop", hop).unwrap();
        let net_settings = NetSettings {
            preset: "vggish".into(),
            file: "a.onnx".into(),
            blake3: "1".into(),
            output: "y".into(),
            scores: None,
            classes: Vec::new(),
            input,
            device: "cpu".into(),
            stats: String::new(),
        };
        Report {
            made_by: String::new(),
            settings: Settings { fps: fps.into(), short: Short::Pad, silence: 1 },
            networks: [(net.to_string(), net_settings)].into(),
            ffmpeg: vec!["5".into()],
            runtimes: Vec::new(),
            clips: None,
            undecoded: BTreeMap::new(),
            warnings: BTreeMap::new(),
        }
    }

    #[test]
    fn networks_are_added_and_differences_named() {
        let both = report("a", "96", "6").merged(&report("b", "96", "6")).unwrap();
        assert_eq!(both.networks.len(), 2);
        let error = report("a", "96", "6").merged(&report("a", "48", "6")).unwrap_err();
        assert_eq!(error, "network a.input.hop is 96 there and 48 here");
        let error = report("a", "96", "6").merged(&report("a", "96", "12")).unwrap_err();
        assert_eq!(error, "settings.fps is \"6\" there and \"12\" here");
        let text = serde_json::to_string(&both).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), both);
    }

    #[test]
    fn a_files_name_is_not_its_network() {
        let (a, mut b) = (report("a", "96", "6"), report("a", "96", "6"));
        b.networks.get_mut("a").unwrap().file = "b.onnx".into();
        assert!(a.clone().merged(&b).is_ok());
        assert_eq!(a.networks["a"].hash(&a.settings), b.networks["a"].hash(&a.settings));
        assert_ne!(a.networks["a"].hash(&a.settings), a.networks["a"].hash(&report("a", "96", "5").settings));
    }
}
