//! Linear support vector machines, one against the rest, many at once.
//!
//! [`problem`] says what is solved, [`newton`] solves its primal; [`dual`] takes over where few rows decide, with
//! [`bounded_qp`] for the programs over those rows. [`cg`] solves a Newton step's linear system, [`prepared`] and
//! [`precondition`] make it quick.

mod bounded_qp;
mod cg;
mod dual;
mod newton;
mod precondition;
mod prepared;
mod problem;

pub use cg::{MAX_CG, SOLVED};
pub use newton::{MAX_NEWTON, PATIENCE, for_the_dual, train, train_with};
pub use prepared::{Prepared, inverse_level, preconditioner};
pub use problem::{Fit, Problem, TrainingSet, decisions};
