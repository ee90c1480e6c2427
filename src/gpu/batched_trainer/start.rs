//! From tasks to cells on the device: what they have in common, and the parameters that they begin with.

use crate::model::generator::FusedTrunk;
use crate::model::loss::GpuLoss;
use crate::model::network::Sizes;
use crate::train::trainer::SavedParam;
use crate::train::{Checkpoint, Error, Task};
use compute::nn::ParamState;
use std::ops::Range;

/// A task's loss as the kernels know it.
pub(super) fn loss_of(task: &Task, width: usize) -> Result<GpuLoss, Error> {
    let unknown = || Error::Unsupported(format!("the GPU has no kernels for the loss {}", task.loss));
    task.loss.on_gpu(&task.config.train.loss_settings(), width).ok_or_else(unknown)
}

/// A task's trunk as the kernels know it.
pub(super) fn trunk_of(task: &Task) -> Result<FusedTrunk, Error> {
    let unknown =
        || Error::Unsupported(format!("the GPU has no kernels for the generator {}", task.generator.architecture()));
    task.generator.describe().fused().ok_or_else(unknown)
}

/// Ranges of neighbours with the same key.
pub(super) fn runs<T, K: PartialEq>(items: &[T], key: impl Fn(&T) -> K) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (i, item) in items.iter().enumerate() {
        match runs.last_mut() {
            Some(run) if key(&items[run.start]) == key(item) => run.end = i + 1,
            _ => runs.push(i..i + 1),
        }
    }
    runs
}

/// That tasks have in common what a program takes for one.
pub(super) fn check(tasks: &[Task]) -> Result<(), Error> {
    let Some(first) = tasks.first() else { return Err(Error::Nothing) };
    for task in tasks {
        let (t, u) = (&first.config.train, &task.config.train);
        let same_network = trunk_of(first)? == trunk_of(task)?;
        let adam = [t.lr, t.beta1, t.beta2, t.eps] == [u.lr, u.beta1, u.beta2, u.eps];
        for (what, same) in [
            ("their data", first.view.fingerprint == task.view.fingerprint),
            ("seed", first.seed == task.seed),
            ("network", same_network),
            ("epochs, batch or Adam's numbers", (t.epochs, t.batch, t.stop) == (u.epochs, u.batch, u.stop) && adam),
        ] {
            if !same {
                return Err(Error::Unlike(what));
            }
        }
    }
    Ok(())
}

/// Every cell's parameters and the steps behind them: the CPU's initial values, or what checkpoints say.
pub(super) fn begin(
    tasks: &[Task],
    branches: &[Range<usize>],
    sizes: &[Sizes],
    from: Vec<Option<Checkpoint>>,
) -> Result<(Vec<Vec<SavedParam>>, i32), Error> {
    let steps: Vec<Option<(usize, i32)>> = from.iter().map(|c| c.as_ref().map(|c| (c.epoch, c.step))).collect();
    if steps.windows(2).any(|pair| pair[0] != pair[1]) {
        return Err(Error::Unlike("the epochs behind them"));
    }
    let mut from = from.into_iter();
    let mut all = Vec::new();
    for cells in branches {
        let task = &tasks[cells.start];
        let fresh = task.generator.describe().network(sizes[cells.start]).params.into_iter();
        let fresh =
            fresh.map(|p| SavedParam { state: ParamState::fresh(p.initial(task.seed)), name: p.name, shape: p.shape });
        let fresh: Vec<SavedParam> = fresh.collect();
        for _ in cells.clone() {
            let Some(checkpoint) = from.next().flatten() else {
                all.push(fresh.clone());
                continue;
            };
            let fits = |(a, b): (&SavedParam, &SavedParam)| a.name == b.name && a.shape == b.shape;
            if checkpoint.params.len() != fresh.len() || !checkpoint.params.iter().zip(&fresh).all(fits) {
                return Err(Error::OtherNetwork);
            }
            all.push(checkpoint.params);
        }
    }
    Ok((all, steps.first().copied().flatten().map_or(0, |(_, step)| step)))
}
