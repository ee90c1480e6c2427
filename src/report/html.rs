//! The report: one self-contained HTML file.
use crate::store::{Error, ExperimentRecord, Store};
/// x
pub fn render(_: &Store, _: &ExperimentRecord) -> Result<String, Error> {
    Ok(String::new())
}
