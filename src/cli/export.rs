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
        ExportWhat::Runs(args) => return super::export_runs::runs(args),
        ExportWhat::Predictions(args) => return super::export_predictions::predictions(args),
        ExportWhat::Weights(args) => return super::export_weights::weights(args),
        ExportWhat::Store(args) => return super::export_store::copy(args),
        ExportWhat::Schema { kind } if kind == "store" => print(&crate::store::describe_schema())?,
        ExportWhat::Schema { kind } => {
            let kinds: Vec<&str> = schema::KINDS.into_iter().chain(["store"]).collect();
            let schema = schema::of(kind).ok_or_else(|| {
                Failure::usage(format!("no schema of {kind:?}{}", crate::suggest::nearest(kind, &kinds)))
            })?;
            print_json(&schema)?;
        }
    }
    Ok(Exit::Done)
}
