//! Everything to the right of the store: tables, exports and the report are functions of the database alone.

pub mod agreement;
mod banks;
pub mod charts;
pub mod claims;
pub mod evaluate;
pub mod export;
pub mod format;
pub mod html;
pub mod paired;
mod resample;
pub mod scores;
pub mod sensitivity;
pub mod stats;

pub use evaluate::{Entry, EvaluatedTable, evaluate, evaluate_at};
