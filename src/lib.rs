//! `unmute`: generating audio features for silent videos, from a declared grid to a paper's tables.
//!
//! Data moves in the order of the modules:
//!
//! [`extract`] (videos to features) -> [`dataset`] (clips and features) -> [`experiment`] (YAML, grid, cells) -> [`train`] (generators, heads) -> [`score`]
//! (SVM bank, fusion, metrics) -> [`store`] (one SQLite file) -> [`report`] (tables, HTML, exports). [`runs`] drives the
//! middle, [`slurm`] spreads it over a cluster; [`cli`] is the face; [`gpu`] is training on a GPU. The package `compute` below
//! has the numerics; [`suggest`], [`files`] and [`python`] serve them all.

#![warn(missing_docs)]

pub mod cli;
pub mod dataset;
pub mod device;
pub mod experiment;
pub mod extract;
pub mod gpu;
pub mod model;
pub mod report;
pub mod runs;
pub mod score;
pub mod slurm;
pub mod store;
pub mod train;

#[cfg(test)]
#[path = "../tests/support/fuzz.rs"]
mod fuzz;

pub mod brief;
pub mod csv_lines;
pub mod files;
pub mod python;
pub mod suggest;

/// What an operating system's error means for somebody who waits for a result.
pub fn explain_io(e: &std::io::Error) -> String {
    match e.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".into(),
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
            format!("{e}\n  next: choose a folder that you can write to, or change its permissions")
        }
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            format!("{e}\n  next: free some space and run the same command again; what is finished is kept")
        }
        _ => e.to_string(),
    }
}
