//! The one integration-test binary: numbers against other people's libraries, the real program, and the experiments of
//! this repository.

// A test that cannot go on should panic.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, clippy::type_complexity)]

mod architecture;
mod arm;
mod bf16;
mod claims;
mod cli;
mod data;
mod elsewhere;
mod errors;
mod examples;
mod experiment;
mod exports;
mod extract;
mod failures;
mod faults;
mod given_scores;
mod gpu;
mod groups;
mod guide;
mod inside;
mod integrity;
mod interrupted;
mod labels;
mod liveness;
mod mutations;
mod numerics;
mod parts;
mod report;
mod reuse;
mod slurm;
mod splits;
mod store;
mod support;
mod svms;
mod torture;
mod training;
mod using;
mod watch;
