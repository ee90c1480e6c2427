//! `unmute export`.

use super::args::{ExportArgs, ExportWhat};
use super::{Exit, Failure, open, print, print_json};
use crate::experiment::schema;
use crate::report::{evaluate, export};

pub(super) fn export(args: &ExportArgs) -> Result<Exit, Failure> {
    match &args.what {
        ExportWhat::Tables { experiment, db, format } => {
            let store = open::store(&db.db)?;
            let record = open::recorded(&store, experiment)?;
            let tables = evaluate(&store, &record, &record.tables)?;
            print(&export::tables(&tables, *format))?;
        }
        ExportWhat::Schema { kind } => {
            let schema = schema::of(kind).ok_or_else(|| {
                Failure::usage(format!("no schema of {kind:?}{}", crate::suggest::nearest(kind, &schema::KINDS)))
            })?;
            print_json(&schema)?;
        }
    }
    Ok(Exit::Done)
}
