//! Videos to features: decoding by ffmpeg, the networks' own preprocessing, the user's networks as ONNX, a folder that
//! `unmute data import` takes (section 3.2 of the paper).
//!
//! [`list`] finds the videos, `decode` makes frames and samples of them, `sound` and `vision` what [`net`]works take,
//! [`plan`] settles what is to be made, `clip` makes it of one video, [`job`] of all of them with several workers, and
//! `destination` keeps it.

mod claims;
mod clip;
mod cost;
mod decode;
mod destination;
mod error;
mod flow_folder;
pub mod flow_out;
pub mod job;
pub mod list;
#[cfg(test)]
mod mutations;
pub mod net;
mod npy;
pub mod plan;
pub mod settings;
mod sound;
mod vision;

pub use cost::Seconds;
pub use error::{ClipError, Error};
pub use job::{Event, Summary};
pub use plan::{Job, Options};
pub use sound::Short;
