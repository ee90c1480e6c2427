//! Charts of the report, as inline SVG with the data beside them.

pub mod architecture;
pub mod classes;
pub mod curves;
pub mod heat;
pub mod svg;
pub mod sweep;
pub mod track;
