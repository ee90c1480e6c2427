//! What the kinds of tables have in common.

use crate::experiment::claims::Metric;
use crate::experiment::tables::Published;
use crate::report::scores::Fused;
use crate::report::table::{Entry, Row};

/// Takes a row's scores to where its interval is drawn: row, entry, scores, metric.
pub(super) type Collect<'c> = dyn FnMut(usize, usize, &Fused, Metric) + 'c;

/// Column headings and rows.
pub(super) type Laid = (Vec<String>, Vec<Row>);

/// Sets the published value beside an entry, and the reason where there is no number of ours.
pub(super) fn beside(mut entry: Entry, published: Option<&Published>, skipped: Option<String>) -> Entry {
    entry.published = published.map(|p| p.value);
    entry.delta = entry.mean.zip(published).map(|(m, p)| m - p.value);
    entry.published_text = published.map(|p| crate::report::format::number(p.value, p.decimals));
    entry.skipped = skipped;
    entry
}
