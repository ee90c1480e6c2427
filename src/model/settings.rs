//! Settings that are left out of an experiment's record where they have their defaults.
//!
//! What is hashed and stored of a run names no setting that came later and is at its default, so that runs from before stay what they are.
//! Whoever looks a setting up, to vary it or to tell it, wants all of them: [`whole`].

use serde::Serialize;
use serde_json::Value;
use std::cell::Cell;

thread_local! {
    static ALL: Cell<bool> = const { Cell::new(false) };
}

/// Whether a setting is left out; for `skip_serializing_if`.
pub fn left_out(at_default: bool) -> bool {
    at_default && !ALL.get()
}

/// Every setting with its value, also those that are left out of a record.
pub fn whole(settings: &impl Serialize) -> Value {
    let before = ALL.replace(true);
    let value = serde_json::to_value(settings);
    ALL.set(before);
    value.unwrap_or_default()
}
