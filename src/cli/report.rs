//! `unmute report`.

use super::args::ReportArgs;
use super::progress::say;
use super::{Exit, Failure, open, print};
use crate::report::html;

pub(super) fn report(args: &ReportArgs) -> Result<Exit, Failure> {
    let store = open::store(&args.db.db)?;
    let record = open::recorded(&store, &args.experiment)?;
    let page = html::render(&store, &record)?;
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
