//! Everything to the right of the store: tables, exports and the report are functions of the database alone.

pub mod agreement;
pub mod answer;
mod banks;
pub mod charts;
pub mod choose;
pub mod claims;
pub mod coverage;
pub mod departures;
pub mod evaluate;
pub mod export;
pub mod format;
pub mod html;
pub mod inside;
pub mod measure;
pub mod paired;
mod ranks;
mod resample;
pub mod results;
pub mod scores;
pub mod sensitivity;
pub mod stats;
pub mod table;
pub mod words;
