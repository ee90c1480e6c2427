//! Every run of an experiment's grid with where it stands.

use crate::report::format::{duration, number};
use crate::store::{
    CellRecord, Curve, Error, ExperimentRecord, RunRecord, Selection, State, Store, Values, seconds_of,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};

/// Cells in the grid's table at most; those beyond are counted.
const CELLS: usize = 400;

/// Where a run stands, to whoever looks at the grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    Done,
    Running,
    /// Marked as running, and its process is gone.
    Dead,
    Failed,
    Stopped,
    Waits,
}

impl Standing {
    pub(super) const ALL: [Standing; 6] =
        [Standing::Done, Standing::Running, Standing::Failed, Standing::Dead, Standing::Stopped, Standing::Waits];

    /// The word, and the class of the style.
    pub(super) fn word(self) -> &'static str {
        match self {
            Standing::Done => "done",
            Standing::Running => "running",
            Standing::Dead => "dead",
            Standing::Failed => "failed",
            Standing::Stopped => "stopped",
            Standing::Waits => "waits",
        }
    }

    fn of(run: &RunRecord) -> Standing {
        match run.state {
            State::Done => Standing::Done,
            State::Running if crate::runs::alive(&run.owner()) => Standing::Running,
            State::Running => Standing::Dead,
            State::Failed => Standing::Failed,
            State::Interrupted => Standing::Stopped,
            State::Pending => Standing::Waits,
        }
    }
}

/// A run of the grid.
pub(super) struct Placed {
    pub run: RunRecord,
    pub standing: Standing,
    /// Epochs that the store has of it, and in all; of runs that are worked on.
    pub epochs: Option<(usize, usize)>,
    /// Their measures.
    pub curve: Curve,
}

/// The grid of an experiment.
pub(super) struct Grid {
    pub runs: Vec<Placed>,
    /// By cell, the places of its runs.
    cells: Vec<(CellRecord, Vec<usize>)>,
    /// Cells that are not run, by reason.
    pub skipped: Vec<(String, usize)>,
    seeds: Vec<u64>,
}

impl Grid {
    pub(super) fn read(store: &Store, experiment: &ExperimentRecord) -> Result<Grid, Error> {
        let seeds = experiment.config.seeds.clone();
        let all = store.select(&Selection { values: Values::Only(vec!["top1".into()]), ..Selection::default() })?;
        let mut by_cell: HashMap<String, Vec<RunRecord>> = HashMap::new();
        for run in all.into_iter().filter(|r| r.seed.is_none_or(|seed| seeds.contains(&seed))) {
            by_cell.entry(run.cell.clone()).or_default().push(run);
        }
        let mut grid = Grid { runs: Vec::new(), cells: Vec::new(), skipped: Vec::new(), seeds };
        for cell in &experiment.cells {
            if let Some(why) = &cell.skipped {
                match grid.skipped.iter_mut().find(|(known, _)| known == why) {
                    Some((_, count)) => *count += 1,
                    None => grid.skipped.push((why.clone(), 1)),
                }
                continue;
            }
            // Two cells of a grid may be the same one, where an axis changes nothing of it.
            let runs = cell.fingerprint.as_ref().and_then(|f| by_cell.remove(f)).unwrap_or_default();
            let mut places = Vec::new();
            for run in runs {
                let standing = Standing::of(&run);
                let mut placed = Placed { standing, epochs: None, curve: Vec::new(), run };
                if placed.run.state == State::Running {
                    placed.curve = store.curve(&placed.run.id)?;
                    placed.epochs = epochs(&placed);
                }
                places.push(grid.runs.len());
                grid.runs.push(placed);
            }
            if !places.is_empty() {
                grid.cells.push((cell.clone(), places));
            }
        }
        Ok(grid)
    }

    /// How many stand where, in the order of [`Standing::ALL`], none left out.
    pub(super) fn counts(&self) -> BTreeMap<Standing, usize> {
        let mut counts: BTreeMap<Standing, usize> = Standing::ALL.iter().map(|s| (*s, 0)).collect();
        for placed in &self.runs {
            *counts.entry(placed.standing).or_default() += 1;
        }
        counts
    }

    /// The table of the grid: a line a cell, a column a seed.
    pub(super) fn table(&self) -> Value {
        let seeded = self.runs.iter().any(|p| p.run.seed.is_some());
        let line = |(cell, places): &(CellRecord, Vec<usize>)| {
            let of = |seed: Option<u64>| {
                places.iter().map(|&i| &self.runs[i]).find(|p| p.run.seed == seed).map_or(Value::Null, chip)
            };
            let whole = of(None);
            let chips: Vec<Value> = match whole {
                Value::Null => self.seeds.iter().map(|seed| of(Some(*seed))).collect(),
                _ => vec![whole],
            };
            let kind = cell.part.kind();
            json!({ "key": cell.key, "kind": kind, "chips": chips, "any": chips.len() == 1 && places.iter().all(|&i| self.runs[i].run.seed.is_none()) })
        };
        // What somebody works on comes into a long table first; the order of the grid stays.
        let mut shown: Vec<usize> = (0..self.cells.len()).collect();
        if shown.len() > CELLS {
            let open =
                |i: &usize| self.cells[*i].1.iter().map(|&p| self.runs[p].standing).all(|s| s == Standing::Waits);
            shown.sort_by_key(|i| (open(i), *i));
            shown.truncate(CELLS);
            shown.sort_unstable();
        }
        json!({
            "seeds": if seeded { self.seeds.clone() } else { Vec::new() },
            "lines": shown.iter().map(|&i| line(&self.cells[i])).collect::<Vec<_>>(),
            "left_out": self.cells.len() - shown.len(),
        })
    }

    /// What is worked on, the longest first.
    pub(super) fn working(&self, now: f64) -> Vec<Value> {
        let since = |text: Option<&str>| text.and_then(seconds_of).map(|at| (now - at).max(0.0));
        let mut all: Vec<&Placed> =
            self.runs.iter().filter(|p| matches!(p.standing, Standing::Running | Standing::Dead)).collect();
        all.sort_by(|a, b| a.run.started_at.cmp(&b.run.started_at).then_with(|| a.run.key.cmp(&b.run.key)));
        let line = |p: &&Placed| {
            let elapsed = since(p.run.started_at.as_deref());
            let silent = since(p.run.heartbeat_at.as_deref());
            let (behind, of) = p.epochs.unwrap_or_default();
            json!({
                "name": p.run.key, "seed": seed_text(&p.run), "attempt": p.run.attempt,
                "dead": p.standing == Standing::Dead,
                "host": p.run.host, "pid": p.run.pid,
                "elapsed": elapsed.map_or_else(|| "–".into(), duration), "heartbeat": silent.map(duration),
                "epochs": p.epochs.map(|_| behind), "of": p.epochs.map(|_| of),
            })
        };
        all.iter().map(line).collect()
    }

    /// What failed, the newest first.
    pub(super) fn failures(&self) -> Vec<Value> {
        let mut all: Vec<&Placed> = self.runs.iter().filter(|p| p.standing == Standing::Failed).collect();
        all.sort_by(|a, b| b.run.finished_at.cmp(&a.run.finished_at).then_with(|| a.run.key.cmp(&b.run.key)));
        let line = |p: &&Placed| {
            json!({
                "name": p.run.key, "seed": seed_text(&p.run), "attempt": p.run.attempt, "id": crate::cli::open::short(&p.run.id),
                "error": p.run.error.as_deref().unwrap_or("no reason was kept"), "at": p.run.finished_at, "host": p.run.host,
            })
        };
        all.iter().map(line).collect()
    }
}

/// The seed as text; nothing where the result depends on none.
fn seed_text(run: &RunRecord) -> Option<String> {
    run.seed.map(|seed| seed.to_string())
}

/// Epochs behind a run and in all, where it has any.
fn epochs(placed: &Placed) -> Option<(usize, usize)> {
    let all = placed.run.spec.pointer("/train/epochs").and_then(Value::as_u64)?;
    Some((placed.curve.last().map_or(0, |e| e.epoch), all as usize))
}

/// A run as a field of the grid's table.
fn chip(placed: &Placed) -> Value {
    let top1 = placed.run.values.get("top1");
    let text = match (placed.standing, top1, placed.epochs) {
        (Standing::Done, Some(top1), _) => number(*top1, 1),
        (Standing::Running, _, Some((behind, of))) => format!("{behind}/{of}"),
        (standing, ..) => standing.word().into(),
    };
    let seed = placed.run.seed.map_or_else(String::new, |seed| format!(", seed {seed}"));
    let took = placed.run.seconds.map_or_else(String::new, |s| format!(", {}", duration(s)));
    json!({
        "text": text, "class": placed.standing.word(),
        "title": format!("{}{seed}: {}{took}", placed.run.key, placed.standing.word()),
    })
}
