//! From features to class probabilities to percentages: the SVM bank, late fusion, metrics, and controls.

pub mod bank;
mod conjugate;
pub mod controls;
mod dual;
pub mod fusion;
mod inverse;
pub mod metrics;
pub mod platt;
mod program;
pub mod solver;
pub mod svm;

pub use bank::Bank;
pub use metrics::Scores;
pub use solver::Solver;
