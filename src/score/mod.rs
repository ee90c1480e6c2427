//! From features to class probabilities to percentages: the SVM bank, late fusion, metrics, and controls.

pub mod bank;
pub mod controls;
pub mod error;
pub mod fusion;
pub mod metrics;
pub mod platt;
pub mod quality;
pub mod solver;

pub use bank::Bank;
pub use error::Error;
pub use metrics::Scores;
pub use solver::Solver;
