//! `unmute report`.

use super::args::ReportArgs;
use super::progress::say;
use super::{Exit, Failure, open, print};
use crate::report::html;

pub(super) fn report(args: &ReportArgs) -> Result<Exit, Failure> {
    let store = open::store(&args.db.db)?;
    let record = open::recorded(&store, &args.experiment)?;
    let other = args.against.as_ref().map(|db| open::store(db)).transpose()?;
    let against = match &other {
        Some(other) => Some((other, open::recorded(other, &args.experiment)?)),
        None => None,
    };
    let page = html::render(&store, &record, against.as_ref().map(|(store, record)| (*store, record)))?;
    let path = args.out.join(format!("{}.html", record.name));
    let write = || {
        std::fs::create_dir_all(&args.out)?;
        // Whole or not at all: a browser may have the old one open.
        let part = path.with_extension(format!("{}.part", std::process::id()));
        std::fs::write(&part, page.as_bytes())?;
        std::fs::rename(&part, &path)
    };
    write().map_err(|e: std::io::Error| Failure {
        exit: Exit::Failed,
        message: format!("{}: {}", path.display(), crate::explain_io(&e)),
    })?;
    say("the report, to be opened in a browser:");
    print(&format!("{}\n", path.display()))?;
    Ok(Exit::Done)
}
