//! The machines of an SVM bank on an engine: the truncated Newton of [`compute::svm`], where formulas and reasons stand,
//! on rows that stay on the device for all folds.
//!
//! A problem is a column of every matrix: weights (D + 1, P), decision values and slopes (N, P). Rows that a fold leaves
//! out are skipped as ranges of rows. The host sees sums of each problem (losses, energies, slopes of a line search) in
//! double precision and decides which problems go on; everything else stays on the device. Problems for the dual
//! ([`compute::svm`]) are solved on the host, from where they are.

mod directions;
mod line_search;
mod newton;
mod on_device;
mod rows;
mod work;

pub use on_device::OnDevice;
pub use work::block;
