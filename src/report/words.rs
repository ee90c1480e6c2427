//! How features, fusions and cells are called in sentences.

use crate::experiment::Part;
use crate::experiment::grid::EXTERNAL;

/// A stream or audio feature by the name that its authors write: `RGB`, `VGGish`; others as they are.
pub fn feature(name: &str) -> String {
    match name {
        "rgb" => "RGB".into(),
        "flow" => "Flow".into(),
        "vggish" => "VGGish".into(),
        "aenet" => "AENet".into(),
        other => other.into(),
    }
}

/// A generator's architecture: `LSTM`; others with a capital.
pub fn architecture(word: &str) -> String {
    match word {
        "lstm" => "LSTM".into(),
        "mlp" => "MLP".into(),
        other => other.into(),
    }
}

/// A generator cell without its audio feature: `lstm/l2/with`.
pub fn generator_cell(part: &Part) -> String {
    match part {
        Part::Generator { generator, loss, classifier, .. } => format!("{generator}/{loss}/{classifier}"),
        Part::External { external, .. } => format!("{EXTERNAL}{external}"),
        other => other.key(),
    }
}

/// `a`, `a and b`, `a, b and c`.
pub fn list(all: &[String]) -> String {
    match all {
        [] => String::new(),
        [one] => one.clone(),
        [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
    }
}
