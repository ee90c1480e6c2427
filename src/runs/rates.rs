//! What runs cost, without a clock: operations counted from the sizes of networks, and seconds an operation from runs that
//! were finished. The same store and plan give the same answer on a busy machine and an idle one.

use super::Plan;
use super::plan::{Planned, cost};
use crate::experiment::Part;
use crate::store::{self, RunRecord, State, Store};
use std::collections::BTreeMap;

/// Seconds of an operation where nothing of the kind was finished yet: one core of a server of some years ago, at half of
/// what its vectors could do.
const NOMINAL: f64 = 1.0 / 30e9;

/// What a run costs beside its operations.
const FIXED: f64 = 0.05;

/// Seconds an operation, by kind of run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rates {
    by_kind: BTreeMap<String, f64>,
}

impl Rates {
    /// Of the runs of a plan that a CPU has finished.
    pub fn of_finished(store: Option<&Store>, runs: &[RunRecord], plan: &Plan) -> Result<Rates, store::Error> {
        let mut on_cpu: BTreeMap<i64, bool> = BTreeMap::new();
        for id in runs.iter().filter_map(|r| r.environment_id) {
            if let (Some(store), false) = (store, on_cpu.contains_key(&id)) {
                on_cpu.insert(id, store.environment(id)?["device"] == "cpu");
            }
        }
        // What a GPU took says nothing here.
        let timed = |r: &&RunRecord| r.environment_id.is_none_or(|id| on_cpu.get(&id) == Some(&true));
        let finished: BTreeMap<&str, &RunRecord> =
            runs.iter().filter(|r| r.state == State::Done).filter(timed).map(|run| (run.id.as_str(), run)).collect();
        let mut sums: BTreeMap<String, (f64, f64)> = BTreeMap::new();
        for planned in &plan.cells {
            for (_, id) in &planned.runs {
                if let Some(seconds) = finished.get(id.as_str()).and_then(|r| r.seconds) {
                    let sum = sums.entry(kind(planned)).or_default();
                    sum.0 += seconds;
                    sum.1 += cost(planned);
                }
            }
        }
        let by_kind = sums.into_iter().map(|(kind, (seconds, cost))| (kind, seconds / cost.max(1.0))).collect();
        Ok(Rates { by_kind })
    }

    /// Seconds of a run, where runs of its kind were finished.
    pub fn measured(&self, planned: &Planned) -> Option<f64> {
        self.by_kind.get(&kind(planned)).map(|rate| FIXED + cost(planned) * rate)
    }

    /// Seconds of a run: measured, or as many as its operations should take.
    pub fn seconds(&self, planned: &Planned) -> f64 {
        self.measured(planned).unwrap_or_else(|| FIXED + cost(planned) * NOMINAL)
    }
}

/// Generators of one architecture cost alike.
fn kind(planned: &Planned) -> String {
    match &planned.cell.part {
        Part::Generator { generator, .. } => generator.word().into(),
        part => part.kind().into(),
    }
}
