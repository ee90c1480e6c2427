//! `unmute export`.

use super::args::{ExportArgs, ExportWhat};
use super::export_inside::{Inside, inside};
use super::{Exit, Failure, open, print, print_json};
use crate::experiment::schema;
use crate::report::evaluate::evaluate_at;
use crate::report::export::{self, Document};
use crate::report::results::Results;

pub(super) fn export(args: &ExportArgs) -> Result<Exit, Failure> {
    match &args.what {
        ExportWhat::Tables { experiment, db, format, wide, pick } => {
            let store = open::store(&db.db)?;
            let recorded = open::recorded(&store, experiment, &pick.pick())?;
            let record = &recorded.record;
            let results = Results::new(&store, record)?.departing(recorded.departures.clone());
            let tables = evaluate_at(&results, &record.tables)?;
            // Every format says it; stderr need not say it as well.
            let notes = recorded.departures.sentences();
            let document = Document { experiment: &record.name, tables: &tables, notes: &notes, wide: *wide };
            print(&export::tables(&document, *format))?;
        }
        ExportWhat::Runs(args) => return super::export_runs::runs(args),
        ExportWhat::Predictions(args) => return super::export_predictions::predictions(args),
        ExportWhat::Confusion(args) => return inside(args, Inside::Confusion),
        ExportWhat::Turned(args) => return inside(args, Inside::Turned),
        ExportWhat::Nearest(args) => return inside(args, Inside::Nearest),
        ExportWhat::Clips(args) => return super::export_clips::clips(args),
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
