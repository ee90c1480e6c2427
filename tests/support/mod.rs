//! What the tests are written with: a small language for calls of the program, small data sets, and reference numbers.

pub mod adam;
pub mod call;
pub mod features;
pub mod fixture;
pub mod layers;
pub mod networks;
pub mod numbers;

use std::path::PathBuf;

/// The crate's folder.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Real features of a small public data set, where this machine has them; says that a test is skipped where not.
pub fn corsmal() -> Option<PathBuf> {
    let dir = root().join("../shared/data/corsmal");
    if dir.join("clips.csv").is_file() {
        return Some(dir);
    }
    eprintln!("skipped: no real features in {}", dir.display());
    None
}
