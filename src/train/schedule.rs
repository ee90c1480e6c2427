//! The training loop. It emits events and prints nothing; whoever listens keeps metrics, shows a bar or saves checkpoints.

use super::error::Error;
use super::trainer::{Epoch, Listener, Measures, SavedParam, Trainer};

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
    let total = schedule.steps * schedule.epochs;
    let mut ended: Vec<Option<Error>> = listeners.iter().map(|_| None).collect();
    tell(listeners, &ended, schedule.done * schedule.steps, total)?;
    for epoch in schedule.done + 1..=schedule.epochs {
        let before = (epoch - 1) * schedule.steps;
        let on_train = program.epoch(epoch, &mut |done| tell(listeners, &ended, before + done, total))?;
        let diverged = |quantity, value| Error::Diverged { quantity, epoch, value, key: "train.lr", lr: schedule.lr };
        for (ended, measures) in ended.iter_mut().zip(&on_train).filter(|(ended, _)| ended.is_none()) {
            *ended = unbounded(measures, "the loss", "the error of the feature").map(|(what, at)| diverged(what, at));
        }
        if ended.iter().all(Option::is_some) {
            break;
        }
        let on_val = program.measure()?;
        // The loss of a step is from before its update: what the last update did shows here first.
        for (ended, measures) in ended.iter_mut().zip(&on_val).filter(|(ended, _)| ended.is_none()) {
            let found = unbounded(measures, "the loss on val clips", "the error of the feature on val clips");
            *ended = found.map(|(what, at)| diverged(what, at));
        }
        let mut interrupted = false;
        let numbers = on_train.into_iter().zip(on_val).map(|(train, val)| Epoch { epoch, train, val });
        for (cell, numbers) in numbers.enumerate().take(ended.len()) {
            if ended[cell].is_some() {
                continue;
            }
            match listeners[cell].epoch(&numbers, &|| program.save(cell, epoch)) {
                Ok(()) => {}
                Err(Error::Interrupted) => interrupted = true,
                Err(error) => ended[cell] = Some(error),
            }
        }
        if interrupted {
            return Err(Error::Interrupted);
        }
    }
    for (cell, ended) in ended.iter_mut().enumerate().filter(|(_, ended)| ended.is_none()) {
        let state = program.save(cell, schedule.epochs)?;
        let numbers = |p: &SavedParam| [&p.state.value, &p.state.moment1, &p.state.moment2].map(|v| first_unbounded(v));
        if let Some(value) = state.params.iter().find_map(|p| numbers(p).into_iter().flatten().next()) {
            let (quantity, epoch, key) = ("a parameter", schedule.epochs, "train.lr");
            *ended = Some(Error::Diverged { quantity, epoch, value, key, lr: schedule.lr });
        }
    }
    Ok(ended.into_iter().map(|error| error.map_or(Ok(()), Err)).collect())
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
fn tell(listeners: &mut [&mut dyn Listener], ended: &[Option<Error>], done: usize, total: usize) -> Result<(), Error> {
    let mut live = listeners.iter_mut().zip(ended).filter(|(_, ended)| ended.is_none());
    live.try_for_each(|(listener, _)| listener.step(done, total))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::Checkpoint;
    use compute::nn::ParamState;

    const SCHEDULE: Schedule = Schedule { epochs: 4, done: 1, steps: 3, lr: 0.5 };

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
            let feature_error = |cell| if lost(cell) { f64::NAN } else { 0.0 };
            let measures =
                |cell| Measures { loss: cell as f64, feature_error: feature_error(cell), ..Measures::default() };
            Ok((0..self.cells).map(measures).collect())
        }

        fn save(&self, cell: usize, epoch: usize) -> Result<Checkpoint, Error> {
            let value = self.ends_with.filter(|(which, _)| *which == cell).map_or(0.0, |(_, value)| value);
            let state = ParamState { value: vec![value], moment1: vec![0.0], moment2: vec![0.0] };
            let params = vec![SavedParam { name: "w".into(), shape: (1, 1), state }];
            Ok(Checkpoint { epoch, step: cell as i32, params })
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
        Scripted { cells: 3, diverges: None, loses: None, ends_with: None, fails: None, passes: 0 }
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
