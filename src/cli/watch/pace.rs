//! How fast a grid is done, and how long the rest may take.

use crate::store::{RunRecord, State, seconds_of};
use std::collections::BTreeMap;

/// How it goes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Pace {
    /// Runs done a minute since those that work now began.
    pub per_minute: Option<f64>,
    /// Seconds that the rest may take.
    pub left: Option<f64>,
}

/// How it goes, from every run of the grid; `live` says which of the running ones somebody works on, and what share of
/// their epochs is behind them. Work is counted in seconds of finished runs of the same kind, so that what goes on after an
/// interruption, on a GPU, or with more processes than before is not told by what was then.
pub(super) fn pace(runs: &[&RunRecord], live: &BTreeMap<&str, f64>, now: f64) -> Pace {
    let took = |run: &RunRecord| run.seconds.filter(|s| s.is_finite() && *s >= 0.0);
    let mut kinds: BTreeMap<&str, (f64, usize)> = BTreeMap::new();
    for run in runs.iter().filter(|r| r.state == State::Done) {
        if let Some(seconds) = took(run) {
            let kind = kinds.entry(&run.kind).or_default();
            *kind = (kind.0 + seconds, kind.1 + 1);
        }
    }
    let mean = |kind: &str| kinds.get(kind).filter(|(_, n)| *n > 0).map(|(sum, n)| (sum / *n as f64).max(1e-3));
    // Since the processes that work now began with what they are at, or with what they did before that.
    let workers: Vec<&str> =
        runs.iter().filter(|r| live.contains_key(r.id.as_str())).filter_map(|r| r.worker.as_deref()).collect();
    let theirs = |run: &&&RunRecord| run.worker.as_deref().is_some_and(|w| workers.contains(&w));
    let since = runs.iter().filter(theirs).filter_map(|r| seconds_of(r.started_at.as_deref()?)).fold(now, f64::min);
    let span = now - since;
    if live.is_empty() || span < 1.0 {
        return Pace::default();
    }
    let finished: Vec<&&RunRecord> = runs
        .iter()
        .filter(|r| r.state == State::Done)
        .filter(|r| r.finished_at.as_deref().and_then(seconds_of).is_some_and(|at| at >= since))
        .collect();
    let mut done: f64 = finished.iter().filter_map(|r| mean(&r.kind)).sum();
    let mut left = Some(0.0);
    for run in runs {
        let share = match run.state {
            State::Done | State::Failed => continue,
            _ => live.get(run.id.as_str()).copied().unwrap_or(0.0).clamp(0.0, 1.0),
        };
        match mean(&run.kind) {
            Some(mean) => {
                done += share * mean;
                left = left.map(|left| left + (1.0 - share) * mean);
            }
            // Of a kind that none is done of, nothing is known.
            None => left = None,
        }
    }
    Pace {
        per_minute: (!finished.is_empty()).then(|| finished.len() as f64 * 60.0 / span),
        left: left.filter(|_| done > 0.0).map(|left| left * span / done),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::timestamp;

    fn run(id: &str, kind: &str, state: State, worker: &str, started: i64, seconds: Option<f64>) -> RunRecord {
        let at = |s: i64| Some(timestamp(s, 0));
        RunRecord {
            id: id.into(),
            cell: String::new(),
            kind: kind.into(),
            key: id.into(),
            seed: Some(0),
            state,
            attempt: 1,
            host: None,
            pid: None,
            heartbeat_at: None,
            worker: Some(worker.into()),
            machine: None,
            created_at: timestamp(0, 0),
            started_at: at(started),
            finished_at: seconds.and_then(|s| at(started + s as i64)),
            seconds,
            peak_memory: None,
            command: None,
            spec: serde_json::Value::Null,
            error: None,
            accepted_from: None,
            dataset: String::new(),
            missing: serde_json::Value::Null,
            environment_id: None,
            view_id: 0,
            values: BTreeMap::new(),
            tags: Vec::new(),
            notes: Vec::new(),
        }
    }

    #[test]
    fn what_was_done_before_an_interruption_does_not_count_for_the_pace() {
        let waiting = |id: &str| run(id, "generator", State::Pending, "", 0, None);
        let all = [
            // A day ago, by another process, 10 s each.
            run("a", "generator", State::Done, "old", 0, Some(10.0)),
            run("b", "generator", State::Done, "old", 10, Some(10.0)),
            // Since then: two in 10 s, side by side; a third is half done.
            run("c", "generator", State::Done, "new", 86_400, Some(10.0)),
            run("d", "generator", State::Done, "new", 86_400, Some(10.0)),
            run("e", "generator", State::Running, "new", 86_410, None),
            waiting("f"),
            waiting("g"),
        ];
        let runs: Vec<&RunRecord> = all.iter().collect();
        let pace = pace(&runs, &BTreeMap::from([("e", 0.5)]), 86_412.5);
        // 25 s of work in 12.5 s; 25 s are left.
        assert_eq!(pace.left, Some(12.5));
        assert_eq!(pace.per_minute, Some(9.6));
    }

    #[test]
    fn nothing_is_said_that_is_not_known() {
        let all = [
            run("a", "stream", State::Done, "w", 100, Some(4.0)),
            run("b", "generator", State::Running, "w", 104, None),
        ];
        let runs: Vec<&RunRecord> = all.iter().collect();
        let of = |live: &[(&'static str, f64)], now| pace(&runs, &live.iter().copied().collect(), now);
        assert_eq!(of(&[("b", 0.0)], 110.0).left, None, "no generator is done yet");
        assert_eq!(of(&[], 110.0), Pace::default(), "nobody works");
        assert_eq!(of(&[("b", 0.0)], 99.0), Pace::default(), "another machine's clock is ahead");
    }
}
