//! Which trained weights stay (`train.keep`), and what goes into their files.

use super::plan::Open;
use super::weights::{self, Description, Tensor, Weights};
use super::work::{self, Job};
use super::{Error, RunContext};
use crate::dataset::{Standardiser, View};
use crate::experiment::Part;
use crate::experiment::config::{Keep, Match, SelectOn};
use crate::store::{self, KeptWeights, RunResult};
use crate::train::{self, Trainer};
use std::collections::BTreeMap;

impl RunContext<'_> {
    /// Keeps the weights of a generator that has been scored, if they are to stay.
    pub(super) fn keep_generator(
        &self,
        open: &Open,
        job: &Job,
        trainer: &dyn Trainer,
        cell: usize,
        result: &RunResult,
    ) -> Result<(), Error> {
        if !self.is_to_stay(open, result)? {
            return Ok(());
        }
        let config = &job.cell.config;
        let Part::Generator { audio, generator, .. } = &job.cell.part else { return Ok(()) };
        let task = work::task(job.cell, job.seed, &job.view, &job.vision)?;
        let params = trainer.save(cell, config.train.epochs)?.params;
        let mut description = self.description(open, job, &job.view);
        description.audio = job.view.dataset.manifest.audio(audio).cloned();
        description.settings = config.generator(*generator).to_json();
        description.params = params.iter().map(|p| p.name.clone()).collect();
        let tensors = params.into_iter().map(|p| Tensor::matrix(p.name, p.shape.1, p.state.value)).collect();
        let mut weights = Weights { description, tensors };
        weights.add_scale("input", &side_by_side(job.vision.standardisers()));
        let target = task.scale()?;
        weights.add_scale("target", &target);
        if config.match_generated == Match::Moments {
            let (features, clips) = (task.features()?, &job.view.train_sounded);
            let from = Standardiser::of_matrix(&trainer.generate(cell, clips)?, target.width());
            weights.add_scale("match.from", &from);
            let real = train::batches::audio_rows(&job.view, features, clips);
            weights.add_scale("match.to", &Standardiser::of_matrix(&real, target.width()));
        }
        self.write(&weights)
    }

    /// Keeps the weights of a head on a stream: they are small, and stay whatever their seed.
    pub(super) fn keep_head(&self, open: &Open, job: &Job, result: &RunResult) -> Result<(), Error> {
        let (Part::Stream { stream }, Some([w, b])) = (&job.cell.part, &result.head) else { return Ok(()) };
        if self.options.keep == Keep::None {
            return Ok(());
        }
        let streams = &job.view.dataset.manifest.streams;
        let missing = || train::Error::NoSuchFeature { kind: "stream", name: stream.clone() };
        let place = streams.iter().position(|s| s.name == *stream).ok_or_else(missing)?;
        let mut description = self.description(open, job, &job.view);
        description.streams = vec![streams[place].clone()];
        description.params = vec!["head.w".into(), "head.b".into()];
        let classes = description.classes.len();
        let tensors = vec![Tensor::matrix("head.w", classes, w.clone()), Tensor::matrix("head.b", classes, b.clone())];
        let mut weights = Weights { description, tensors };
        weights.add_scale("input", &job.vision.standardisers()[place]);
        self.write(&weights)
    }

    /// Takes away weights of a cell that a better seed has made needless, once that seed's run is stored.
    pub(super) fn keep_the_best(&self, open: &Open) -> Result<(), store::Error> {
        if self.options.keep != Keep::Best || !matches!(open.planned.cell.part, Part::Generator { .. }) {
            return Ok(());
        }
        let mut ranked = Vec::new();
        for kept in self.store.weights_of_cell(&open.planned.fingerprint)? {
            if let Some(run) = self.store.run(&kept.run)? {
                ranked.push((self.merit(open, &run.values, run.seed), kept));
            }
        }
        ranked.sort_by(|(a, _), (b, _)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let needless: Vec<KeptWeights> = ranked.into_iter().skip(1).map(|(_, kept)| kept).collect();
        if needless.is_empty() { Ok(()) } else { weights::forget(self.store, &needless) }
    }

    /// Whether a generator's weights are to stay: with `best`, where no finished seed with weights is better.
    fn is_to_stay(&self, open: &Open, result: &RunResult) -> Result<bool, Error> {
        match self.options.keep {
            Keep::None => return Ok(false),
            Keep::All => return Ok(true),
            Keep::Best => {}
        }
        let ours = self.merit(open, &result.values, open.seed);
        for kept in self.store.weights_of_cell(&open.planned.fingerprint)? {
            let Some(run) = self.store.run(&kept.run)? else { continue };
            let theirs = self.merit(open, &run.values, run.seed);
            if theirs.0 > ours.0 || (theirs.0 == ours.0 && theirs.1 < ours.1) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What seeds of a cell are compared by: the metric of `fusion.select_on`, and of equal ones the smaller seed.
    fn merit(&self, open: &Open, values: &BTreeMap<String, f64>, seed: Option<u64>) -> (f64, u64) {
        (merit(open.planned.cell.config.fusion.select_on, values), seed.unwrap_or(0))
    }

    fn description(&self, open: &Open, job: &Job, view: &View) -> Description {
        let manifest = &view.dataset.manifest;
        Description {
            format: weights::FORMAT,
            run: open.id.into(),
            cell: job.cell.key(),
            seed: open.seed,
            part: job.cell.part.clone(),
            dataset: manifest.name.clone(),
            frames: manifest.frames,
            streams: manifest.streams.clone(),
            audio: None,
            classes: manifest.classes.clone(),
            settings: serde_json::Value::Null,
            engine: job.cell.config.train.engine,
            svm: job.cell.config.svm.clone(),
            params: Vec::new(),
        }
    }

    /// A disk that takes nothing more is no failure of the run: it goes on when there is room again.
    fn write(&self, weights: &Weights) -> Result<(), Error> {
        let kept = weights::write(self.store.path(), weights).map_err(|error| match error {
            weights::Error::Io { path, source } => store::Error::of_file(&path, &source),
            weights::Error::Store(error) => error,
            other => store::Error::NotFound(other.to_string()),
        });
        kept.and_then(|kept| self.store.put_weights(&kept)).map_err(|error| {
            self.give_up(error);
            train::Error::Interrupted.into()
        })
    }
}

/// The number that a selection looks at; what has none comes last.
pub fn merit(select_on: SelectOn, values: &BTreeMap<String, f64>) -> f64 {
    let name = match select_on {
        SelectOn::Val => "top1",
        SelectOn::Train => "top1/silent_train",
    };
    values.get(name).or(values.get("top1")).copied().unwrap_or(f64::NEG_INFINITY)
}

/// Scales of several streams as one.
fn side_by_side(scales: &[Standardiser]) -> Standardiser {
    Standardiser {
        mean: scales.iter().flat_map(|s| s.mean.iter().copied()).collect(),
        inverse_sd: scales.iter().flat_map(|s| s.inverse_sd.iter().copied()).collect(),
    }
}
