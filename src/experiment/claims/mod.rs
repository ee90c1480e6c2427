//! `claims.yaml`: what the paper concludes from its tables, as predicates over their rows.
//!
//! A claim compares rows of accuracy tables (`compare`), asks whether two comparisons come out the same way
//! (`same_order`), or whether columns of a table of classes name the same ones (`shared`). It holds where all of these
//! hold, or `at_least` so many. Rows are written as in `tables.yaml`, by key; in a pattern `*` stands for one word and
//! `**` for anything, controls are left out, and where both sides of a comparison have stars, rows with equal words
//! in their place are compared: the matched cells. `best PATTERN` is the best of a group.

mod claim;
mod pairs;
mod pattern;
mod read;

pub use claim::{Claim, Claims, Comparison, Metric, SameOrder, Shared};
pub use pairs::{Mismatch, Pair, Side};
