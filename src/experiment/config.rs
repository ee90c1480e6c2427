//! `experiment.yaml`: the grid, the seeds, and every number that training and scoring depend on.
//!
//! Defaults are the paper's where it gives them, and the ledger's readings A1 to A15 where it does not.

use crate::dataset::Missing;
use crate::model::generator::Generator;
use crate::model::loss::LossSettings;
use crate::model::settings::left_out;
use crate::words;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub use crate::model::generator::{Architecture, TestFrame};
pub use crate::model::loss::{L2Reduction, Loss};

words!(
    /// Whether the action classifier branch is trained along.
    Classifier {
        /// L = w_cls L_cls + w_rec L_rec.
        With = "with",
        /// L = w_rec L_rec.
        Without = "without",
    }
);
words!(
    /// Stand-ins for a generator that show what a gain comes from.
    Control {
        /// A feature of zeros (after standardisation: of the raw feature).
        Zero = "zero",
        /// The mean feature of the sounded train clips.
        Mean = "mean",
        /// Ridge regression from the frame-averaged vision.
        Ridge = "ridge",
        /// The mean feature of the nearest sounded train clips in vision.
        Knn = "knn",
        /// The true feature, where the data set knows it.
        Oracle = "oracle",
    }
);
words!(
    /// What trains generators and heads.
    Engine {
        /// Operations of our own, on packed numbers or as GPU kernels. What has no fused form runs on dfdx.
        Fused = "fused",
        /// dfdx's own operations, tape and Adam: the reference.
        Dfdx = "dfdx",
    }
);
words!(
    /// Which trained weights stay when runs have ended.
    Keep {
        /// Those of the best seed of each cell by `fusion.select_on`, and the small heads on the streams of every seed.
        Best = "best",
        /// Those of every run.
        All = "all",
        /// None.
        None = "none",
    }
);
words!(
    /// Scale of the regression target (A4).
    Target {
        /// Standardised with the statistics of the sounded train clips; undone before the SVM.
        Standardised = "standardised",
        /// As it is.
        Raw = "raw",
    }
);
words!(
    /// What is done to a generated feature before the SVM (A5).
    Match {
        /// Nothing.
        None = "none",
        /// Its per-dimension mean and deviation on train clips are moved to the real feature's.
        Moments = "moments",
    }
);
words!(
    /// Scale of the SVM's input (A8).
    Scale {
        /// Standardised with the statistics of the sounded train clips.
        Standardised = "standardised",
        /// As it is.
        Raw = "raw",
    }
);
words!(
    /// From SVM decision values to class probabilities (A9).
    Probability {
        /// Platt's sigmoid on cross-validated decision values, rows scaled to sum 1.
        Platt = "platt",
        /// Platt's sigmoid, rows left as they are.
        PlattRaw = "platt-raw",
        /// Softmax over the decision values.
        Softmax = "softmax",
    }
);
words!(
    /// What the SVMs are trained on (A10).
    SvmTraining {
        /// Real audio of sounded train clips.
        Real = "real",
        /// The same, and features generated for silent train clips.
        RealAndGenerated = "real+generated",
    }
);
words!(
    /// What a sounded val clip is scored with in a generated row (A11).
    Sounded {
        /// Its real feature.
        Real = "real",
        /// A generated one like any other.
        Generated = "generated",
    }
);
words!(
    /// On what the best generator of a group is chosen (A13).
    SelectOn {
        /// Val top-1, as the paper seems to: where a data set has no test split, a selection on the clips that are reported.
        Val = "val",
        /// Top-1 on the silent train clips, on which neither generators nor SVMs were fitted.
        Train = "train",
    }
);

words!(
    /// What epochs are compared by, on val clips.
    StopMetric {
        /// The whole loss; the lower, the better.
        Loss = "loss",
        /// The squared error of the feature; the lower, the better.
        FeatureError = "feature_error",
        /// Top-1 of the classifier branch; the higher, the better.
        Accuracy = "accuracy",
    }
);

impl StopMetric {
    /// As it stands in a sentence.
    pub fn told(self) -> &'static str {
        match self {
            StopMetric::Loss => "loss",
            StopMetric::FeatureError => "error of the feature",
            StopMetric::Accuracy => "accuracy of the classifier",
        }
    }
}

/// Early stopping: of all epochs the best on val clips is kept.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EarlyStop {
    /// Epochs without a better one after which training ends.
    #[schemars(range(min = 1))]
    pub patience: usize,
    /// What epochs are compared by, on val clips. Of equal ones the first is the best.
    #[serde(default = "default_stop_metric")]
    pub metric: StopMetric,
}

fn default_stop_metric() -> StopMetric {
    StopMetric::Loss
}

/// Training of the generators (A1 to A4).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Train {
    /// Passes over the sounded train clips.
    #[schemars(range(min = 1))]
    pub epochs: usize,
    /// Clips per step.
    #[schemars(range(min = 1))]
    pub batch: usize,
    /// Adam's learning rate.
    pub lr: f64,
    /// Adam's decay of the first moment.
    pub beta1: f64,
    /// Adam's decay of the second moment.
    pub beta2: f64,
    /// Adam's guard against division by zero.
    pub eps: f64,
    /// Weight of the classification loss in cells with a classifier.
    pub w_cls: f64,
    /// Weight of the reconstruction loss.
    pub w_rec: f64,
    /// L2: mean or sum over dimensions.
    pub l2: L2Reduction,
    /// KL: softmax within blocks of this many dimensions instead of over all (128 for VGGish's three rows).
    pub kl_block: Option<usize>,
    /// Scale of the regression target.
    pub target: Target,
    /// Early stopping, with the best epoch on val clips restored. Without it every epoch is trained and the last one kept, as
    /// in the paper.
    #[serde(skip_serializing_if = "never_stops")]
    pub stop: Option<EarlyStop>,
    /// What trains.
    #[serde(skip_serializing_if = "Engine::is_unset")]
    pub engine: Engine,
    /// Which trained weights stay. No number depends on it: it is neither hashed nor stored, and no axis of a grid.
    #[serde(skip_serializing)]
    pub keep: Keep,
}

/// Whether early stopping is left out of a record.
fn never_stops(stop: &Option<EarlyStop>) -> bool {
    left_out(stop.is_none())
}

impl Engine {
    /// Whether it is left out of a record.
    fn is_unset(&self) -> bool {
        left_out(*self == Engine::Fused)
    }
}

impl Train {
    /// What losses read of it.
    pub fn loss_settings(&self) -> LossSettings {
        LossSettings { l2: self.l2, kl_block: self.kl_block }
    }
}

impl Default for Train {
    fn default() -> Self {
        Train {
            epochs: 30,
            batch: 128,
            lr: 1e-3,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            w_cls: 1.0,
            w_rec: 1.0,
            l2: L2Reduction::Mean,
            kl_block: None,
            target: Target::Standardised,
            stop: None,
            engine: Engine::Fused,
            keep: Keep::Best,
        }
    }
}

/// The SVM bank.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Svm {
    /// Weight of the losses against the regulariser.
    pub c: f64,
    /// Scale of the input.
    pub scale: Scale,
    /// From decision values to probabilities.
    pub probability: Probability,
    /// Training features.
    pub train_on: SvmTraining,
    /// Cross-validation folds behind Platt's sigmoid.
    #[schemars(range(min = 2))]
    pub folds: usize,
    /// Relative error of the objective to stop at; bounded by |gradient|^2 / 2, since the objective is 1-strongly convex.
    pub tolerance: f64,
}

impl Default for Svm {
    fn default() -> Self {
        Svm {
            c: 1.0,
            scale: Scale::Standardised,
            probability: Probability::Platt,
            train_on: SvmTraining::Real,
            folds: 3,
            tolerance: 1e-6,
        }
    }
}

/// The linear heads that stand for TSN where a data set brings no TSN scores.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tsn {
    /// Passes over all train clips.
    #[schemars(range(min = 1))]
    pub epochs: usize,
    /// Clips per step.
    #[schemars(range(min = 1))]
    pub batch: usize,
    /// Adam's learning rate.
    pub lr: f64,
    /// L2 penalty, added to the gradient as lr-independent decay of the weights.
    pub weight_decay: f64,
}

impl Default for Tsn {
    fn default() -> Self {
        Tsn { epochs: 30, batch: 128, lr: 1e-3, weight_decay: 0.0 }
    }
}

/// Nearest neighbours, a control.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Knn {
    /// Neighbours averaged.
    #[schemars(range(min = 1))]
    pub k: usize,
}

impl Default for Knn {
    fn default() -> Self {
        Knn { k: 10 }
    }
}

/// Ridge regression, a control.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Ridge {
    /// Penalty, per train clip: lambda n |W|^2.
    pub lambda: f64,
}

impl Default for Ridge {
    fn default() -> Self {
        Ridge { lambda: 1.0 }
    }
}

/// Late fusion and what a row is scored with; read when tables are made, so changing it trains nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Fusion {
    /// Weight of a stream's or audio feature's probabilities, by name; 1 where not named (A12).
    pub weights: BTreeMap<String, f64>,
    /// What sounded val clips are scored with in generated rows.
    pub sounded: Sounded,
    /// How `audio(lstm)` picks among the LSTM cells.
    pub select_on: SelectOn,
}

impl Default for Fusion {
    fn default() -> Self {
        Fusion { weights: BTreeMap::new(), sounded: Sounded::Real, select_on: SelectOn::Val }
    }
}

/// Declares [`Config`] with a section for every generator.
macro_rules! config {
    ($($module:ident $Settings:ident,)+) => {
        /// The contents of `experiment.yaml`.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct Config {
            /// A short name; the report is called after it.
            pub name: String,
            /// A line for the top of the report.
            #[serde(default)]
            pub title: String,
            /// What the experiment is about.
            #[serde(default)]
            pub description: String,
            /// A folder whose experiment this one changes; files that are not here are taken from there.
            #[serde(default)]
            pub extends: Option<String>,
            /// The data set's folder, where `--dataset` does not give it; relative to this folder.
            #[serde(default)]
            pub dataset: Option<String>,
            /// Where the published values were measured.
            #[serde(default)]
            pub published_on: String,
            /// Seeds; a cell is run once with each.
            #[serde(default = "default_seeds")]
            pub seeds: Vec<u64>,
            /// Axes; every combination of their values is a cell. `audio`, `generator`, `loss`, `classifier`, and any other key of
            /// this file by its dotted name (`train.lr`, `missing.rate`).
            pub grid: BTreeMap<String, Vec<serde_json::Value>>,
            /// Combinations that are not run: a cell that agrees with all of an entry's keys is left out.
            #[serde(default)]
            pub exclude: Vec<BTreeMap<String, serde_json::Value>>,
            /// Controls, run for each audio feature.
            #[serde(default)]
            pub controls: Vec<Control>,
            /// Simulated missing sound.
            #[serde(default)]
            pub missing: Option<Missing>,
            /// Training of the generators.
            #[serde(default)]
            pub train: Train,
            $(
                #[doc = concat!("Settings of the generator `", stringify!($module), "`.")]
                #[serde(default, skip_serializing_if = "crate::model::generator::is_unset")]
                pub $module: crate::model::generator::$module::$Settings,
            )+
            /// What is done to generated features before the SVM.
            #[serde(default = "default_match")]
            pub match_generated: Match,
            /// SVM bank.
            #[serde(default)]
            pub svm: Svm,
            /// Heads on the streams.
            #[serde(default)]
            pub tsn: Tsn,
            /// Nearest-neighbour control.
            #[serde(default)]
            pub knn: Knn,
            /// Ridge control.
            #[serde(default)]
            pub ridge: Ridge,
            /// Late fusion.
            #[serde(default)]
            pub fusion: Fusion,
        }

        impl Config {
            /// A generator with its settings.
            pub fn generator(&self, which: Architecture) -> Generator {
                match which { $(Architecture::$Settings => Generator::$Settings(self.$module.clone()),)+ }
            }
        }
    };
}

crate::for_each_generator!(config);

fn default_seeds() -> Vec<u64> {
    vec![0, 1, 2]
}

fn default_match() -> Match {
    Match::None
}
