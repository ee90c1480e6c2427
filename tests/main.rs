//! The one integration-test binary: numbers against other people's libraries, the real program, and the experiments of
//! this repository.

mod cli;
mod errors;
mod experiment;
mod numerics;
mod support;
mod training;
