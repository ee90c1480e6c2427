//! Linear support vector machines, one against the rest, many at once.
//!
//! [`newton`] states the problem and solves its primal; [`dual`] takes over where few rows decide, with [`bounded_qp`] for
//! the programs over those rows. [`cg`] solves a Newton step's linear system, [`precondition`] makes it quick.

mod bounded_qp;
mod cg;
mod dual;
mod newton;
mod precondition;

pub use newton::{
    Fit, MAX_CG, MAX_NEWTON, PATIENCE, Prepared, Problem, SOLVED, TrainingSet, decisions, for_the_dual, inverse_level,
    preconditioner, train, train_with,
};
