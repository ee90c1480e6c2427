//! JSON Schemas of the YAML files, for editors: `unmute export schema experiment`.

use super::{Claims, Config, Ledger, Tables};
use schemars::schema_for;

/// The four kinds of file.
pub const KINDS: [&str; 4] = ["experiment", "tables", "claims", "ledger"];

/// The schema of a kind of file, if it is one of [`KINDS`].
pub fn of(kind: &str) -> Option<serde_json::Value> {
    let schema = match kind {
        "experiment" => schema_for!(Config),
        "tables" => schema_for!(Tables),
        "claims" => schema_for!(Claims),
        "ledger" => schema_for!(Ledger),
        _ => return None,
    };
    let mut schema = schema.to_value();
    // A folder that extends another need not repeat what that one says.
    if kind == "experiment"
        && let Some(object) = schema.as_object_mut()
    {
        object.remove("required");
    }
    Some(schema)
}
