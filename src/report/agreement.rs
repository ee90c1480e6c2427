//! Whether a number of ours agrees with the published one: a verdict that knows both uncertainties.
//!
//! A published percentage p of N val clips has a standard error of sqrt(p (100 - p) / N) and is rounded to half a unit of
//! its last digit; ours has a bootstrap interval over clips and seeds. With d = ours - p, the half-widths are added in
//! quadrature and the rounding on top. Where the interval of d leaves out 0 the two differ; where it lies within the margin
//! they agree; else the data do not say. Nothing agrees or differs on other data than the published, from one seed, or from
//! fewer runs or other settings than declared.

use super::results::Results;
use super::table::{Agreement, Entry};
use crate::dataset::Kind;
use crate::experiment::Tables;
use crate::experiment::tables::{Count, Published};
use crate::store::{Error, SplitCounts};

/// 97.5 % quantile of the normal distribution.
const Z: f64 = 1.96;
/// Clip counts further apart than this share are another data set.
const SAME_DATA: f64 = 0.05;

/// What verdicts depend on besides the numbers themselves.
#[derive(Clone, Debug)]
pub struct Terms {
    /// Whether the data may be those that were published on; else not even a count of clips agrees or differs.
    pub comparable: bool,
    /// Why no number can count as a reproduction.
    pub obstacle: Option<String>,
    /// Val clips behind a published percentage, where the tables say it.
    pub published_clips: Option<f64>,
    /// The margin, in points.
    pub within: f64,
}

impl Default for Terms {
    fn default() -> Terms {
        Terms { comparable: true, obstacle: None, published_clips: None, within: 2.0 }
    }
}

impl Terms {
    /// The terms of an experiment's results.
    pub fn of(results: &Results, tables: &Tables) -> Result<Terms, Error> {
        let counts = tables.tables.iter().flat_map(|t| &t.counts);
        let total = counts.filter(|row| row.count == Count::Total).map(|row| &row.published).next();
        let (train, val) = total.map_or((None, None), |p| (p.train.as_ref(), p.val.as_ref()));
        let other_data = other_data(results, train, val)?;
        let comparable = other_data.is_none();
        let obstacle = match other_data {
            Some(why) => Some(why),
            None => results.departures.obstacle(),
        };
        Ok(Terms { comparable, obstacle, published_clips: val.map(|p| p.value), within: tables.agree_within })
    }
}

fn other_data(results: &Results, train: Option<&Published>, val: Option<&Published>) -> Result<Option<String>, Error> {
    if results.dataset.manifest.kind == Kind::Synthetic {
        return Ok(Some("synthetic data".into()));
    }
    let Some(view) = results.experiment.cells.iter().find_map(|c| c.view_id) else { return Ok(None) };
    let SplitCounts { train: own_train, val: own_val, test: _ } = results.view(view)?.counts;
    for (published, own, split) in [(train, own_train, "train"), (val, own_val, "val")] {
        let own = (own.0 + own.1) as f64;
        if let Some(p) = published.filter(|p| (own - p.value).abs() > SAME_DATA * p.value) {
            return Ok(Some(format!(
                "other data: {own} {split} clips, published {}",
                super::format::number(p.value, 0)
            )));
        }
    }
    Ok(None)
}

/// The verdict on a percentage, and why where it is not plain.
pub fn percentage(entry: &Entry, published: Option<&Published>, terms: &Terms) -> (Option<Agreement>, Option<String>) {
    let Some(published) = published else { return (None, None) };
    let Some(mean) = entry.mean else { return (Some(Agreement::NotRun), entry.skipped.clone()) };
    let not = |why: String| (Some(Agreement::Inconclusive), Some(why));
    if let Some(why) = &terms.obstacle {
        return not(why.clone());
    }
    if entry.n < entry.declared {
        return not(format!("{} of {} seeds", entry.n, entry.declared));
    }
    if entry.seeded && entry.n < 2 {
        return not("one seed".into());
    }
    let Some((low, high)) = entry.interval else { return not("no interval".into()) };
    let p = published.value;
    let theirs = terms.published_clips.map_or(0.0, |n| Z * (p * (100.0 - p) / n).max(0.0).sqrt());
    let rounding = 0.5 * 10f64.powi(-(published.decimals as i32));
    let difference = mean - p;
    let below = difference - (mean - low).hypot(theirs) - rounding;
    let above = difference + (high - mean).hypot(theirs) + rounding;
    if below > 0.0 || above < 0.0 {
        (Some(Agreement::Differs), None)
    } else if below >= -terms.within && above <= terms.within {
        (Some(Agreement::Agrees), None)
    } else {
        not(format!("the difference may be anything from {below:+.1} to {above:+.1}"))
    }
}

/// The verdict on a count of clips, which has no uncertainty.
pub fn count(entry: &Entry, published: Option<&Published>, terms: &Terms) -> (Option<Agreement>, Option<String>) {
    let Some(published) = published else { return (None, None) };
    let Some(own) = entry.mean else { return (Some(Agreement::NotRun), entry.skipped.clone()) };
    match &terms.obstacle {
        why if !terms.comparable => (Some(Agreement::Inconclusive), why.clone()),
        _ if own == published.value => (Some(Agreement::Agrees), None),
        _ => (Some(Agreement::Differs), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::TableId;
    use crate::experiment::claims::Metric;
    use crate::report::measure::Measure;

    fn entry(mean: f64, half: f64, n: usize) -> Entry {
        let of = Entry::of(&TableId::Number(2), "k", "r", Measure::Accuracy(Metric::Top1), vec![mean]);
        Entry { n, interval: Some((mean - half, mean + half)), declared: 3, seeded: true, ..of }
    }

    fn verdict(entry: &Entry, published: &str, terms: &Terms) -> (Agreement, Option<String>) {
        let (verdict, why) = percentage(entry, Published::parse(published).as_ref(), terms);
        (verdict.unwrap(), why)
    }

    #[test]
    fn both_uncertainties_and_the_rounding_count() {
        let terms = Terms { published_clips: Some(10_000.0), within: 2.0, ..Default::default() };
        // 4.70 % of 10,000 has a standard error of 0.21: 1.96 of it is 0.41; with 0.4 of ours 0.58, and the rounding.
        assert_eq!(verdict(&entry(5.2, 0.4, 3), "4.70", &terms).0, Agreement::Agrees);
        assert_eq!(verdict(&entry(5.28, 0.4, 3), "4.70", &terms).0, Agreement::Agrees);
        assert_eq!(verdict(&entry(5.30, 0.4, 3), "4.70", &terms).0, Agreement::Differs);
        assert_eq!(verdict(&entry(5.30, 0.4, 3), "4.7", &terms).0, Agreement::Agrees);
        let (open, why) = verdict(&entry(5.30, 2.5, 3), "4.70", &terms);
        assert!(open == Agreement::Inconclusive && why.unwrap().contains("-1.9 to +3.1"));
        // Half of the clips make the published value less certain.
        let terms = Terms { published_clips: Some(5_000.0), ..terms };
        assert_eq!(verdict(&entry(5.30, 0.4, 3), "4.70", &terms).0, Agreement::Agrees);
    }

    #[test]
    fn nothing_less_than_the_declaration_is_a_reproduction() {
        let terms = Terms { published_clips: Some(10_000.0), within: 2.0, ..Default::default() };
        let why = |entry: &Entry, terms: &Terms| match verdict(entry, "4.70", terms) {
            (Agreement::Inconclusive, Some(why)) => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(why(&entry(4.7, 0.1, 2), &terms), "2 of 3 seeds");
        let one = Entry { declared: 1, ..entry(4.7, 0.1, 1) };
        assert_eq!(why(&one, &terms), "one seed");
        // What depends on no seed needs one value only.
        assert_eq!(verdict(&Entry { seeded: false, ..one }, "4.70", &terms).0, Agreement::Agrees);
        let synthetic = Terms { obstacle: Some("synthetic data".into()), ..terms };
        assert_eq!(why(&entry(4.7, 0.1, 3), &synthetic), "synthetic data");
        assert_eq!(why(&entry(40.7, 0.1, 3), &synthetic), "synthetic data");
        let absent = Entry { mean: None, skipped: Some("no aenet".into()), ..entry(0.0, 0.0, 0) };
        assert_eq!(verdict(&absent, "4.70", &synthetic), (Agreement::NotRun, Some("no aenet".into())));
        assert_eq!(percentage(&absent, None, &synthetic), (None, None));
        // Counts of clips of other data are other counts, and no finding.
        let other = Terms { comparable: false, obstacle: Some("other data".into()), ..terms };
        let clips = Entry { seeded: false, ..entry(438.0, 0.0, 1) };
        assert_eq!(count(&clips, Published::parse("100,000").as_ref(), &other).0, Some(Agreement::Inconclusive));
    }
}
