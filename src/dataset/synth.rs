//! placeholder
use super::Error;
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[allow(missing_docs)]
pub enum Preset {
    Mini,
    Paper,
}
#[allow(missing_docs)]
pub struct Options {
    pub preset: Preset,
    pub seed: u64,
}
impl Default for Options {
    fn default() -> Self {
        Options { preset: Preset::Mini, seed: 0 }
    }
}
#[allow(missing_docs)]
pub enum Outcome {
    Written,
    AlreadyThere,
}
#[allow(missing_docs)]
pub fn synth(_: &std::path::Path, _: &Options, _: &dyn Fn(usize, usize)) -> Result<Outcome, Error> {
    Err(Error::Usage("not yet".into()))
}
