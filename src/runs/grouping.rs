//! Which runs can be trained side by side, as one program with a leading cell axis.
//!
//! Cells of a group see the same batches in the same order, go through networks of the same shapes, and take the same steps
//! of Adam. So they share the view (its sounded train clips are what a seed shuffles), the seed, the architecture with its
//! widths, epochs, batch and Adam's numbers, and the epoch that they go on from. They may differ in all that only the heads
//! and losses know: loss, its weights and reductions, classifier, the target's scale, and the audio feature (clips sound or
//! not whatever the feature; only the audio head's width differs), and in everything behind the training, like the SVMs.

use crate::experiment::config::Engine;
use crate::experiment::{Cell, Part};
use serde_json::json;
use std::collections::HashMap;

/// A run that is about to be trained.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Its cell.
    pub cell: &'a Cell,
    /// The fingerprint of its view.
    pub view: &'a str,
    /// Its seed.
    pub seed: u64,
    /// Epochs that a checkpoint has behind it.
    pub done: usize,
}

impl Candidate<'_> {
    /// What all of a group have in common; `None` for cells that train no generator.
    fn shared(&self) -> Option<String> {
        let Part::Generator { generator, loss, .. } = &self.cell.part else { return None };
        let config = &self.cell.config;
        let t = &config.train;
        // What has no kernels of its own is trained alone. What an autoencoder sees of a val clip is decided after training,
        // and no part of its trunk.
        let trunk = config.generator(*generator).describe().fused()?;
        if t.engine == Engine::Dfdx || trunk.is_rounded() || loss.on_gpu(&t.loss_settings(), 1).is_none() {
            return None;
        }
        let adam = [t.lr, t.beta1, t.beta2, t.eps];
        let trunk = format!("{trunk:?}");
        Some(json!([self.view, self.seed, trunk, t.epochs, t.batch, adam, t.stop, self.done]).to_string())
    }
}

/// Groups of at most `most` runs, as places among `runs`. Groups come in the order of their first run, runs of a group in
/// their own order; a run that trains no generator is a group of its own.
pub fn groups(runs: &[Candidate], most: usize) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut open: HashMap<String, usize> = HashMap::new();
    for (place, run) in runs.iter().enumerate() {
        let shared = run.shared();
        let group = shared.as_ref().and_then(|key| open.get(key).copied()).filter(|&g| groups[g].len() < most.max(1));
        match group {
            Some(group) => groups[group].push(place),
            None => {
                if let Some(key) = shared {
                    open.insert(key, groups.len());
                }
                groups.push(vec![place]);
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::Config;
    use crate::experiment::config::{Architecture, Classifier, Loss, StopMetric};
    use crate::model::generator::lstm::Precision;
    use std::sync::Arc;

    fn config(change: impl Fn(&mut Config)) -> Arc<Config> {
        let mut config: Config = serde_json::from_value(json!({ "name": "test", "grid": {} })).unwrap();
        change(&mut config);
        Arc::new(config)
    }

    fn cell(audio: &str, generator: Architecture, loss: Loss, classifier: Classifier, config: &Arc<Config>) -> Cell {
        let part = Part::Generator { audio: audio.into(), generator, loss, classifier };
        Cell { part, overrides: Default::default(), config: config.clone() }
    }

    fn grid(config: &Arc<Config>) -> Vec<Cell> {
        let mut cells = vec![Cell {
            part: Part::Bank { audio: "vggish".into() },
            overrides: Default::default(),
            config: config.clone(),
        }];
        for audio in ["aenet", "vggish"] {
            for generator in [Architecture::Lstm, Architecture::Autoencoder] {
                for loss in [Loss::L2, Loss::Kl] {
                    for &classifier in Classifier::ALL {
                        cells.push(cell(audio, generator, loss, classifier, config));
                    }
                }
            }
        }
        cells
    }

    fn candidates(cells: &[Cell], seed: u64) -> Vec<Candidate<'_>> {
        cells.iter().map(|cell| Candidate { cell, view: "v", seed, done: 0 }).collect()
    }

    #[test]
    fn a_grid_of_sixteen_cells_is_two_programs_a_seed() {
        let cells = grid(&config(|_| ()));
        let runs = [candidates(&cells, 0), candidates(&cells[1..], 1)].concat();
        let found = groups(&runs, 8);
        let lstm = vec![1, 2, 3, 4, 9, 10, 11, 12];
        let autoencoder: Vec<usize> = lstm.iter().map(|n| n + 4).collect();
        let later = |group: &Vec<usize>| -> Vec<usize> { group.iter().map(|n| n + 16).collect() };
        assert_eq!(found, [vec![0], lstm.clone(), autoencoder.clone(), later(&lstm), later(&autoencoder)]);
        assert_eq!(found, groups(&runs, 8), "the same again");
    }

    #[test]
    fn a_group_is_no_larger_than_what_fits() {
        let cells = grid(&config(|_| ()));
        let runs = candidates(&cells[1..], 0);
        let found = groups(&runs, 3);
        assert!(found.iter().all(|g| g.len() <= 3));
        let mut all: Vec<usize> = found.concat();
        all.sort_unstable();
        assert_eq!(all, (0..16).collect::<Vec<_>>());
        assert_eq!(groups(&runs, 0).len(), 16, "one at least");
    }

    #[test]
    fn what_the_batches_or_the_steps_depend_on_divides_and_the_rest_does_not() {
        let plain = config(|_| ());
        let base = cell("vggish", Architecture::Lstm, Loss::L2, Classifier::With, &plain);
        let together = |change: &dyn Fn(&mut Config)| {
            let other = cell("vggish", Architecture::Lstm, Loss::L2, Classifier::With, &config(change));
            groups(&candidates(&[base.clone(), other], 0), 8).len() == 1
        };
        let stop = |patience| Some(crate::experiment::config::EarlyStop { patience, metric: StopMetric::Loss });
        let apart: [&dyn Fn(&mut Config); 6] = [
            &|c| c.train.stop = stop(2),
            &|c| c.train.lr = 1e-4,
            &|c| c.train.batch = 64,
            &|c| c.train.epochs = 3,
            &|c| c.train.beta2 = 0.99,
            &|c| c.lstm.hidden = 8,
        ];
        assert!(apart.iter().all(|change| !together(change)));
        let beside: [&dyn Fn(&mut Config); 5] = [
            &|c| c.train.w_cls = 0.5,
            &|c| c.train.kl_block = Some(128),
            &|c| c.autoencoder.encoder = vec![3],
            &|c| c.svm.c = 2.0,
            &|c| c.tsn.epochs += 1,
        ];
        assert!(beside.iter().all(|change| together(change)));
        let rounded = config(|c| c.lstm.precision = Precision::Bf16);
        let rounded = cell("vggish", Architecture::Lstm, Loss::L2, Classifier::With, &rounded);
        assert_eq!(groups(&candidates(&[rounded.clone(), rounded], 0), 8).len(), 2, "the GPU has no kernels for it");
        let [one, other] = [("v", 0), ("w", 0)].map(|(view, done)| Candidate { cell: &base, view, seed: 0, done });
        assert_eq!(groups(&[one, other], 8).len(), 2, "other clips sound");
        assert_eq!(groups(&[one, Candidate { done: 3, ..one }], 8).len(), 2, "one is three epochs ahead");
        assert_eq!(groups(&[one, Candidate { seed: 1, ..one }], 8).len(), 2);
    }
}
