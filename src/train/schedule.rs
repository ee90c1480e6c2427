//! The training loop. It emits events and prints nothing; whoever listens keeps metrics, shows a bar or saves checkpoints.

use super::error::Error;
use super::trainer::{Best, Epoch, Listener, Measures, SavedParam, Trainer};
use crate::experiment::config::{EarlyStop, StopMetric};

/// The way that cells of one program go together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// Epochs in all.
    pub epochs: usize,
    /// Epochs behind them.
    pub done: usize,
    /// Steps of an epoch.
    pub steps: usize,
    /// The learning rate.
    pub lr: f64,
    /// Early stopping; the last epoch is kept without it.
    pub stop: Option<EarlyStop>,
}

/// Why nothing more is trained of a cell.
enum End {
    /// It cannot be gone on with.
    Failed(Error),
    /// So many epochs were no better than the best.
    Early,
}

/// What epochs are compared by: the higher, the better.
fn merit(metric: StopMetric, val: &Measures) -> f64 {
    match metric {
        StopMetric::Loss => -val.loss,
        StopMetric::FeatureError => -val.feature_error,
        StopMetric::Accuracy => val.accuracy,
    }
}

impl Schedule {
    /// Whether the patience is at its end after `epoch` epochs.
    fn is_over(&self, best: Option<&Best>, epoch: usize) -> bool {
        let (Some(stop), Some(best)) = (&self.stop, best) else { return false };
        epoch.saturating_sub(best.state.epoch) >= stop.patience
    }
}

/// Trains every cell of a program, each with a listener of its own, and tells what came of each. A loss or an error of the
/// feature that is not finite, on train or val clips, ends its cell and no other; so does a parameter that is none after the
/// last step, and an error of its listener's `epoch`. What ends all of them is the error: one of
/// the program, one of a `step`, or [`Error::Interrupted`], which is heeded when all have been told of the epoch.
pub fn train(
    program: &mut dyn Trainer,
    schedule: &Schedule,
    listeners: &mut [&mut dyn Listener],
) -> Result<Vec<Result<(), Error>>, Error> {
    let outcomes = train_on(program, schedule, Vec::new(), listeners)?;
    Ok(outcomes.into_iter().map(|outcome| outcome.map(|_| ())).collect())
}

/// The same from the best epochs so far, one a cell, where training stops early; tells of each cell the epoch that was kept. A
/// cell's best epoch is the one with the best measure on val clips, the first of equal ones; its state is put back when the
/// cell's patience or the epochs are at their end.
pub fn train_on(
    program: &mut dyn Trainer,
    schedule: &Schedule,
    mut best: Vec<Option<Best>>,
    listeners: &mut [&mut dyn Listener],
) -> Result<Vec<Result<usize, Error>>, Error> {
    let total = schedule.steps * schedule.epochs;
    best.resize_with(listeners.len(), || None);
    let over = |best: &Option<Best>| schedule.is_over(best.as_ref(), schedule.done).then_some(End::Early);
    let mut ended: Vec<Option<End>> = best.iter().map(over).collect();
    for cell in (0..ended.len()).filter(|cell| ended[*cell].is_some()) {
        program.leave(cell);
    }
    tell(listeners, &ended, schedule.done * schedule.steps, total)?;
    for epoch in schedule.done + 1..=schedule.epochs {
        if ended.iter().all(Option::is_some) {
            break;
        }
        let before = (epoch - 1) * schedule.steps;
        let on_train = program.epoch(epoch, &mut |done| tell(listeners, &ended, before + done, total))?;
        let diverged = |quantity, value| Error::Diverged { quantity, epoch, value, key: "train.lr", lr: schedule.lr };
        for (ended, measures) in ended.iter_mut().zip(&on_train).filter(|(ended, _)| ended.is_none()) {
            let found = unbounded(measures, "the loss", "the error of the feature");
            *ended = found.map(|(what, at)| End::Failed(diverged(what, at)));
        }
        if ended.iter().all(Option::is_some) {
            break;
        }
        let on_val = program.measure()?;
        // The loss of a step is from before its update: what the last update did shows here first.
        for (ended, measures) in ended.iter_mut().zip(&on_val).filter(|(ended, _)| ended.is_none()) {
            let found = unbounded(measures, "the loss on val clips", "the error of the feature on val clips");
            *ended = found.map(|(what, at)| End::Failed(diverged(what, at)));
        }
        let mut interrupted = false;
        let numbers = on_train.into_iter().zip(on_val).map(|(train, val)| Epoch { epoch, train, val });
        for (cell, numbers) in numbers.enumerate().take(ended.len()) {
            if ended[cell].is_some() {
                continue;
            }
            if let Some(stop) = &schedule.stop {
                let merit = merit(stop.metric, &numbers.val);
                if best[cell].as_ref().is_none_or(|best| merit > best.merit) {
                    best[cell] = Some(Best { merit, state: program.save(cell, epoch)? });
                }
            }
            let save = || {
                let mut state = program.save(cell, epoch)?;
                state.best = best[cell].clone().map(Box::new);
                Ok(state)
            };
            match listeners[cell].epoch(&numbers, &save) {
                Ok(()) if schedule.is_over(best[cell].as_ref(), epoch) => {
                    ended[cell] = Some(End::Early);
                    program.leave(cell);
                }
                Ok(()) => {}
                Err(Error::Interrupted) => interrupted = true,
                Err(error) => ended[cell] = Some(End::Failed(error)),
            }
        }
        if interrupted {
            return Err(Error::Interrupted);
        }
    }
    let mut kept = vec![schedule.epochs; ended.len()];
    for (cell, best) in best.into_iter().enumerate().filter(|(cell, _)| !matches!(ended[*cell], Some(End::Failed(_)))) {
        let Some(Best { state, .. }) = best else { continue };
        kept[cell] = state.epoch;
        // Of a cell that improved to the end, it is the state that it has.
        if state.epoch < schedule.epochs {
            program.restore(cell, state)?;
        }
    }
    for (cell, ended) in ended.iter_mut().enumerate().filter(|(_, ended)| !matches!(ended, Some(End::Failed(_)))) {
        let state = program.save(cell, kept[cell])?;
        let numbers = |p: &SavedParam| [&p.state.value, &p.state.moment1, &p.state.moment2].map(|v| first_unbounded(v));
        if let Some(value) = state.params.iter().find_map(|p| numbers(p).into_iter().flatten().next()) {
            let (quantity, epoch, key) = ("a parameter", kept[cell], "train.lr");
            *ended = Some(End::Failed(Error::Diverged { quantity, epoch, value, key, lr: schedule.lr }));
        }
    }
    let outcome = |(ended, kept)| match ended {
        Some(End::Failed(error)) => Err(error),
        Some(End::Early) | None => Ok(kept),
    };
    Ok(ended.into_iter().zip(kept).map(outcome).collect())
}

/// What is not finite of a cell's measures. The classifier's own loss is not asked: one that nobody trains may say anything.
fn unbounded(measures: &Measures, loss: &'static str, error: &'static str) -> Option<(&'static str, f32)> {
    let found = [(loss, measures.loss), (error, measures.feature_error)];
    found.into_iter().find(|(_, value)| !value.is_finite()).map(|(quantity, value)| (quantity, value as f32))
}

fn first_unbounded(numbers: &[f32]) -> Option<f32> {
    numbers.iter().copied().find(|v| !v.is_finite())
}

/// Tells those that have not ended how far they are.
fn tell(listeners: &mut [&mut dyn Listener], ended: &[Option<End>], done: usize, total: usize) -> Result<(), Error> {
    let mut live = listeners.iter_mut().zip(ended).filter(|(_, ended)| ended.is_none());
    live.try_for_each(|(listener, _)| listener.step(done, total))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::Checkpoint;
    use compute::nn::ParamState;

    const SCHEDULE: Schedule = Schedule { epochs: 4, done: 1, steps: 3, lr: 0.5, stop: None };

    /// Cells whose loss is the epoch, but for one that diverges and one epoch that fails.
    struct Scripted {
        cells: usize,
        diverges: Option<(usize, usize)>,
        /// A cell whose val error is none from an epoch on.
        loses: Option<(usize, usize)>,
        /// A cell that ends with such a parameter.
        ends_with: Option<(usize, f32)>,
        fails: Option<usize>,
        passes: usize,
        /// Errors of the feature on val clips by cell and epoch, from the first that is trained; 0 where they end.
        errors: Vec<Vec<f64>>,
        restored: Vec<(usize, usize)>,
        left: Vec<usize>,
    }

    impl Trainer for Scripted {
        fn cells(&self) -> usize {
            self.cells
        }

        fn epoch(
            &mut self,
            epoch: usize,
            step: &mut dyn FnMut(usize) -> Result<(), Error>,
        ) -> Result<Vec<Measures>, Error> {
            self.passes += 1;
            (1..=SCHEDULE.steps).try_for_each(&mut *step)?;
            if self.fails == Some(epoch) {
                return Err(Error::refused("full"));
            }
            let wild = |cell| self.diverges.is_some_and(|(which, from)| which == cell && from <= epoch);
            let loss = |cell| if wild(cell) { f64::INFINITY } else { epoch as f64 };
            Ok((0..self.cells).map(|cell| Measures { loss: loss(cell), ..Measures::default() }).collect())
        }

        fn measure(&mut self) -> Result<Vec<Measures>, Error> {
            let lost = |cell| self.loses.is_some_and(|(which, from)| which == cell && from < self.passes + 2);
            let scripted = |cell: usize| self.errors.get(cell)?.get(self.passes - 1).copied();
            let feature_error = |cell| if lost(cell) { f64::NAN } else { scripted(cell).unwrap_or(0.0) };
            let measures =
                |cell| Measures { loss: cell as f64, feature_error: feature_error(cell), ..Measures::default() };
            Ok((0..self.cells).map(measures).collect())
        }

        fn save(&self, cell: usize, epoch: usize) -> Result<Checkpoint, Error> {
            let value = self.ends_with.filter(|(which, _)| *which == cell).map_or(0.0, |(_, value)| value);
            let state = ParamState { value: vec![value], moment1: vec![0.0], moment2: vec![0.0] };
            let params = vec![SavedParam { name: "w".into(), shape: (1, 1), state }];
            Ok(Checkpoint { epoch, step: cell as i32, params, best: None })
        }

        fn restore(&mut self, cell: usize, state: Checkpoint) -> Result<(), Error> {
            self.restored.push((cell, state.epoch));
            Ok(())
        }

        fn leave(&mut self, cell: usize) {
            self.left.push(cell);
        }

        fn generate(&self, _: usize, _: &[usize]) -> Result<Vec<f32>, Error> {
            Ok(Vec::new())
        }

        fn parameters(&self, _: usize) -> usize {
            0
        }
    }

    #[derive(Default)]
    struct Heard {
        steps: Vec<usize>,
        epochs: Vec<(usize, f64)>,
        saved: Vec<(usize, i32)>,
        stop_at: Option<usize>,
        refuses: Option<(usize, fn() -> Error)>,
    }

    impl Listener for Heard {
        fn step(&mut self, done: usize, total: usize) -> Result<(), Error> {
            assert_eq!(total, 12);
            self.steps.push(done);
            if self.stop_at == Some(done) { Err(Error::Interrupted) } else { Ok(()) }
        }

        fn epoch(&mut self, epoch: &Epoch, save: &dyn Fn() -> Result<Checkpoint, Error>) -> Result<(), Error> {
            self.epochs.push((epoch.epoch, epoch.val.loss));
            let saved = save()?;
            self.saved.push((saved.epoch, saved.step));
            match self.refuses {
                Some((at, error)) if at == epoch.epoch => Err(error()),
                _ => Ok(()),
            }
        }
    }

    fn go(program: &mut Scripted, heard: &mut [Heard; 3]) -> Result<Vec<Result<(), Error>>, Error> {
        let mut listeners: Vec<&mut dyn Listener> = heard.iter_mut().map(|h| h as &mut dyn Listener).collect();
        train(program, &SCHEDULE, &mut listeners)
    }

    fn program() -> Scripted {
        let (restored, left) = (Vec::new(), Vec::new());
        let errors = Vec::new();
        Scripted {
            cells: 3,
            diverges: None,
            loses: None,
            ends_with: None,
            fails: None,
            passes: 0,
            errors,
            restored,
            left,
        }
    }

    fn early(patience: usize, epochs: usize) -> Schedule {
        let stop = Some(EarlyStop { patience, metric: StopMetric::FeatureError });
        Schedule { epochs, done: 0, steps: 1, lr: 0.5, stop }
    }

    /// Listens to anything.
    struct Keeps(Vec<Checkpoint>);

    impl Listener for Keeps {
        fn step(&mut self, _: usize, _: usize) -> Result<(), Error> {
            Ok(())
        }

        fn epoch(&mut self, _: &Epoch, save: &dyn Fn() -> Result<Checkpoint, Error>) -> Result<(), Error> {
            self.0.push(save()?);
            Ok(())
        }
    }

    fn stopped(
        schedule: &Schedule,
        errors: Vec<Vec<f64>>,
        best: Vec<Option<Best>>,
    ) -> (Vec<usize>, Scripted, Vec<Keeps>) {
        let mut program = Scripted { cells: errors.len(), errors, ..program() };
        let mut heard: Vec<Keeps> = (0..program.cells).map(|_| Keeps(Vec::new())).collect();
        let mut listeners: Vec<&mut dyn Listener> = heard.iter_mut().map(|h| h as &mut dyn Listener).collect();
        let came = train_on(&mut program, schedule, best, &mut listeners).unwrap();
        (came.into_iter().map(Result::unwrap).collect(), program, heard)
    }

    #[test]
    fn the_best_epoch_on_val_is_put_back() {
        let up = vec![3.0, 2.0, 2.5, 2.0, 2.1, 9.0];
        let down = vec![6.0, 5.0, 4.0, 3.0, 2.0, 1.0];
        let (kept, program, heard) = stopped(&early(3, 6), vec![up.clone(), down.clone()], vec![]);
        assert_eq!((kept, program.restored), (vec![2, 6], vec![(0, 2)]), "of equal ones the first");
        assert_eq!([heard[0].0.len(), heard[1].0.len()], [5, 6], "its company goes on");
        assert_eq!(program.left, [0]);
        let (kept, program, heard) = stopped(&early(1, 6), vec![up.clone()], vec![]);
        assert_eq!((kept, program.passes, program.restored), (vec![2], 3, vec![(0, 2)]), "nothing is left to train");
        // Gone on from any epoch, with the best so far, it comes to the same.
        for state in &heard[0].0 {
            let on = Schedule { done: state.epoch, ..early(1, 6) };
            let best = state.best.as_deref().cloned();
            let (kept, ..) = stopped(&on, vec![up[state.epoch..].to_vec()], vec![best]);
            assert_eq!(kept, [2], "from epoch {}", state.epoch);
        }
        let never = Schedule { stop: None, ..early(1, 6) };
        let (kept, program, _) = stopped(&never, vec![up], vec![]);
        assert!(kept == [6] && program.restored.is_empty() && program.left.is_empty());
    }

    #[test]
    fn every_cell_hears_its_own_numbers_and_saves_its_own_state() {
        let mut heard = <[Heard; 3]>::default();
        let came = go(&mut program(), &mut heard).unwrap();
        assert!(came.iter().all(Result::is_ok));
        for (cell, heard) in heard.iter().enumerate() {
            assert_eq!(heard.steps, (3..=12).collect::<Vec<_>>(), "goes on after an epoch of three steps");
            assert_eq!(heard.epochs, [2, 3, 4].map(|epoch| (epoch, cell as f64)));
            assert_eq!(heard.saved, [2, 3, 4].map(|epoch| (epoch, cell as i32)));
        }
    }

    #[test]
    fn a_cell_that_diverges_ends_and_the_others_go_on() {
        let mut heard = <[Heard; 3]>::default();
        let came = go(&mut Scripted { diverges: Some((1, 3)), ..program() }, &mut heard).unwrap();
        assert!(matches!(came[1], Err(Error::Diverged { epoch: 3, value: f32::INFINITY, lr: 0.5, .. })), "{came:?}");
        assert!(came[0].is_ok() && came[2].is_ok());
        assert_eq!(heard[1].epochs.len(), 1, "no numbers of the epoch in which it diverged");
        assert_eq!(heard[1].steps.last(), Some(&9), "no steps after it");
        assert_eq!((heard[0].epochs.len(), heard[2].epochs.len()), (3, 3));
        let mut alone = Scripted { cells: 1, diverges: Some((0, 2)), ..program() };
        let came = train(&mut alone, &SCHEDULE, &mut [&mut Heard::default()]).unwrap();
        assert!(came[0].is_err());
        assert_eq!(alone.passes, 1, "nothing is left to train");
    }

    #[test]
    fn a_cell_that_diverges_in_its_last_step_has_not_trained() {
        let mut heard = <[Heard; 3]>::default();
        let came = go(&mut Scripted { loses: Some((2, 4)), ..program() }, &mut heard).unwrap();
        let told = came[2].as_ref().unwrap_err().to_string();
        assert!(told.starts_with("the error of the feature on val clips became NaN in epoch 4"), "{told}");
        assert!(told.ends_with("next: lower train.lr (now 0.5)") && came[0].is_ok() && came[1].is_ok(), "{told}");
        for value in [f32::NAN, f32::NEG_INFINITY] {
            let came = go(&mut Scripted { ends_with: Some((1, value)), ..program() }, &mut heard).unwrap();
            let told = came[1].as_ref().unwrap_err().to_string();
            assert!(told.starts_with("a parameter became") && came[0].is_ok() && came[2].is_ok(), "{told}");
        }
    }

    #[test]
    fn an_error_of_one_listener_ends_its_cell_and_an_interrupt_ends_all_after_the_epoch() {
        let mut heard = <[Heard; 3]>::default();
        heard[0].refuses = Some((2, || Error::NoSuchCell(9)));
        let came = go(&mut program(), &mut heard).unwrap();
        assert!(matches!(came[0], Err(Error::NoSuchCell(9))) && came[1].is_ok() && came[2].is_ok());
        assert_eq!(heard.each_ref().map(|h| h.epochs.len()), [1, 3, 3]);

        let mut heard = <[Heard; 3]>::default();
        heard[0].refuses = Some((3, || Error::Interrupted));
        assert!(matches!(go(&mut program(), &mut heard), Err(Error::Interrupted)));
        assert_eq!(heard.each_ref().map(|h| h.saved.len()), [2, 2, 2], "all have kept the epoch");

        let mut heard = <[Heard; 3]>::default();
        heard[2].stop_at = Some(7);
        assert!(matches!(go(&mut program(), &mut heard), Err(Error::Interrupted)));
        assert_eq!(heard.each_ref().map(|h| h.epochs.len()), [1, 1, 1]);
    }

    #[test]
    fn an_error_of_the_program_ends_all() {
        let mut heard = <[Heard; 3]>::default();
        let came = go(&mut Scripted { fails: Some(3), ..program() }, &mut heard);
        assert!(matches!(came, Err(Error::Device(_))));
        assert_eq!(heard.each_ref().map(|h| h.epochs.len()), [1, 1, 1]);
    }
}
