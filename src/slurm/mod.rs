//! An experiment on a Slurm cluster, as a campaign: a folder beside the store ([`campaign`]), runs put into tasks by what they
//! cost ([`tasks`]), the scripts that jobs are ([`script`]), and what Slurm is told and asked ([`queue`]).
//!
//! Slurm schedules; what is done is told by stores alone. Each task works in a store of its own and publishes it as a part; a
//! last job of each round takes the parts over and submits what is missing. Nothing runs on the login node in between.

pub mod campaign;
pub mod queue;
pub mod script;
pub mod tasks;

pub use campaign::{Array, Campaign, Round};
pub use queue::Slurm;
pub use tasks::{Item, Size, Task, Tasks};
