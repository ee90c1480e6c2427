//! The paper's claims, judged on a result table: the published one, or ours.
//!
//! A claim is taken apart into questions, each about one pair of rows (or the classes that columns share) and one metric. A
//! [`Source`] answers them. Published values have no spread, so their answers are taken as they stand. Ours come with an
//! interval and a p value; all of them are corrected together (Holm), and a question counts as decided only where the
//! corrected p is at most [`ALPHA`] and at least two seeds stand behind it.

//!
//! What is asked is in `question.rs`; what becomes of one answer in `outcome.rs`, of a claim in `judgement.rs`; `judge.rs` takes
//! claims apart and puts answers together. `paper.rs` answers from published values, `paired.rs` beside this folder from ours.

mod judge;
mod judgement;
mod outcome;
mod paper;
mod question;

pub use judge::judge;
pub use judgement::Judgement;
pub use outcome::{ALPHA, Outcome, Verdict};
pub use paper::Paper;
pub(super) use question::shared_by_all;
pub use question::{About, Answer, Question, Relation, Source, Spread, Unanswered};
