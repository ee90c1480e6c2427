//! Devices: what a run is trained and scored on, chosen by `--device` and `train.engine`.
//!
//! [`api`] says what is asked of a device, [`cpu`] and [`cuda`] do it with the engines of `train` and `gpu`, [`choice`] reads
//! `--device` and says why a GPU cannot be used, and [`select`] opens what was chosen.

pub mod api;
pub mod choice;
pub mod cpu;
pub mod cuda;
pub mod select;

pub use api::Device;
pub use select::Which;
