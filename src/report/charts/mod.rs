//! Charts of the report, as inline SVG with the data beside them.

pub mod architecture;
pub mod classes;
pub mod curves;
pub mod svg;
pub mod sweep;

/// A text as an HTML id.
pub fn anchor(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect()
}
