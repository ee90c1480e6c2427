//! `tables.yaml`: the published tables as data. A row fuses cells; a published value keeps its printed precision.

mod elsewhere;
mod published;
mod read;
mod table;

pub use published::Published;
pub use table::{
    AccuracyRow, Count, CountRow, ImprovementColumn, PublishedAccuracy, PublishedCounts, Table, TableId, TableKind,
    Tables,
};
