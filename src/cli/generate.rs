//! `unmute generate`: the audio feature of clips, by a trained generator.

use super::progress::{clips_bar, say};
use super::run::choose;
use super::use_args::{FeatureFormat, GenerateArgs};
use super::{Exit, Failure, open, used};
use crate::dataset::Feature;
use crate::runs::footage::Footage;
use crate::runs::trained::TrainedGenerator;
use crate::runs::weights::{self, Tensor, Weights};
use crate::store::RunRecord;
use serde_json::json;
use std::collections::HashMap;
use std::path::Path;

pub(super) fn generate(args: &GenerateArgs) -> Result<Exit, Failure> {
    let choice = choose(&args.device)?;
    let store = open::store(&args.db.db)?;
    let run = match (&args.run, &args.cell) {
        (Some(run), _) => used::finished(open::run(&store, run)?)?,
        (None, cell) => used::of_key(&store, cell.as_deref().unwrap_or_default(), args.experiment.as_deref())?,
    };
    if run.kind != "generator" {
        return Err(Failure::usage(format!(
            "run {} ({}) is no generator, but a {}\n  next: `unmute ls --where kind=generator` lists generators; `unmute predict` uses the others",
            open::short(&run.id),
            run.key,
            run.kind
        )));
    }
    let weights = weights::read(&store, &run)?;
    let footage = used::footage(&store, &args.dataset, &run)?;
    if let Some(line) = &choice.say {
        say(line);
    }
    let generator = TrainedGenerator::of(&weights, &*choice.device().open()?)?;
    let mut clips = used::clips(&footage, args.split.as_deref())?;
    if args.silent_only || args.as_dataset {
        clips.retain(|&clip| !footage.clips[clip].sounded);
    }
    if args.as_dataset {
        can_be_filled(&footage, &generator.audio)?;
    }
    if clips.is_empty() && !args.as_dataset {
        say("no clip is silent; nothing to generate");
        return Ok(Exit::Done);
    }
    let features = features(&generator, &footage, &clips)?;
    let made = Made { run: &run, weights: &weights, audio: &generator.audio, clips: &clips, features: &features };
    used::write_folder(&args.out, |part| {
        match (args.as_dataset, args.format) {
            (true, _) => made.data_set(&footage, part)?,
            (false, FeatureFormat::Npy) => made.npy(&footage, part)?,
            (false, FeatureFormat::Safetensors) => made.safetensors(&footage, part)?,
        }
        // A file that was cut short reads as zeros; only now is it known that none was.
        Ok(footage.check_unchanged()?)
    })?;
    let (n, out) = (clips.len(), args.out.display());
    say(&format!(
        "{out}: {} of {n} clips, by {} (run {})",
        generator.audio.name,
        weights.description.name(),
        open::short(&run.id)
    ));
    if args.as_dataset {
        say(&format!("next: unmute data stats {out}"));
    }
    Ok(Exit::Done)
}

/// The feature of clips, (N, D_a), while a bar shows how far it is.
pub(super) fn features(generator: &TrainedGenerator, footage: &Footage, clips: &[usize]) -> Result<Vec<f32>, Failure> {
    let bar = clips_bar("generating");
    bar.set_length(clips.len() as u64);
    let features = generator.generate(footage, clips, &mut |done| bar.set_position(done as u64))?;
    bar.finish_and_clear();
    Ok(features)
}

/// What was generated.
pub(super) struct Made<'a> {
    pub run: &'a RunRecord,
    pub weights: &'a Weights,
    pub audio: &'a Feature,
    pub clips: &'a [usize],
    /// (N, D_a).
    pub features: &'a [f32],
}

impl Made<'_> {
    /// `clips.csv` of the clips, and `features/CLIP_FEATURE.npy` of each, (D_a,).
    pub fn npy(&self, footage: &Footage, part: &Path) -> Result<(), Failure> {
        let folder = part.join("features");
        std::fs::create_dir(&folder)?;
        let width = self.audio.width;
        for (&clip, row) in self.clips.iter().zip(self.features.chunks_exact(width)) {
            let name = &footage.clips[clip].name;
            if name.contains(['/', '\\', '\0']) || name.starts_with('.') {
                return Err(Failure::usage(format!(
                    "clip {name:?}: not a name for a file\n  next: --format safetensors has all clips in one"
                )));
            }
            std::fs::write(folder.join(format!("{name}_{}.npy", self.audio.name)), used::npy(row, &[width]))?;
        }
        self.clips_csv(footage, self.clips, &part.join("clips.csv"))
    }

    /// `clips.csv`, and `FEATURE.safetensors` with a row for each line of it.
    fn safetensors(&self, footage: &Footage, part: &Path) -> Result<(), Failure> {
        self.write_features(footage, self.clips, self.features.to_vec(), part)?;
        self.clips_csv(footage, self.clips, &part.join("clips.csv"))
    }

    /// All clips, their streams, and the feature of every clip: recorded where it sounds, else generated. `generated.csv` says
    /// which is which.
    fn data_set(&self, footage: &Footage, part: &Path) -> Result<(), Failure> {
        let (width, all): (usize, Vec<usize>) = (self.audio.width, (0..footage.clips.len()).collect());
        let mut features = vec![0.0; all.len() * width];
        for (&clip, row) in self.clips.iter().zip(self.features.chunks_exact(width)) {
            features[clip * width..][..width].copy_from_slice(row);
        }
        if let Some(recorded) = footage.features(&self.audio.name) {
            for (clip, row) in footage.clips.iter().enumerate().filter(|(_, c)| c.sounded) {
                if let Some(from) = row.audio_row {
                    recorded.read_row(from, &mut features[clip * width..][..width]);
                }
            }
        }
        self.write_features(footage, &all, features, part)?;
        for stream in &footage.streams {
            let name = format!("{}.safetensors", stream.name);
            std::fs::copy(footage.dir.join(&name), part.join(&name))?;
        }
        self.clips_csv(footage, &all, &part.join("clips.csv"))?;
        let notes = format!(
            "{} of {} clips have a generated {} (generated.csv): by {}, run {}, trained on {}.",
            self.clips.len(),
            all.len(),
            self.audio.name,
            self.weights.description.name(),
            self.run.id,
            self.weights.description.dataset
        );
        let manifest = footage.dataset.as_ref().map(|d| &d.manifest);
        let document = json!({
            "name": format!("{}-filled", footage.name),
            "kind": manifest.map_or(json!("real"), |m| json!(m.kind)),
            "frames": footage.frames,
            "classes": manifest.map_or(json!(self.weights.description.classes), |m| json!(m.classes)),
            "streams": footage.streams,
            "audio": [self.audio],
            "made_by": "unmute generate --as-dataset",
            "notes": notes,
        });
        std::fs::write(part.join("dataset.yaml"), serde_yaml::to_string(&document)?)?;
        Ok(())
    }

    /// `FEATURE.safetensors`: rows of these clips, named in its metadata.
    fn write_features(
        &self,
        footage: &Footage,
        clips: &[usize],
        features: Vec<f32>,
        part: &Path,
    ) -> Result<(), Failure> {
        let names: Vec<&str> = clips.iter().map(|&c| footage.clips[c].name.as_str()).collect();
        // One entry: several would lie in another order each time.
        let metadata = HashMap::from([("clips".to_string(), names.join("\n"))]);
        let tensor =
            Tensor { name: self.audio.name.clone(), shape: vec![clips.len(), self.audio.width], values: features };
        let bytes = weights::safetensors(&[tensor], metadata)?;
        Ok(std::fs::write(part.join(format!("{}.safetensors", self.audio.name)), bytes)?)
    }

    /// `clips.csv` of clips that all have the feature now, and `generated.csv`: of which it was generated, and by whom.
    fn clips_csv(&self, footage: &Footage, clips: &[usize], path: &Path) -> Result<(), Failure> {
        let mut list = csv::Writer::from_path(path)?;
        list.write_record(["clip", "label", "split", "has_audio"])?;
        for &clip in clips {
            let c = &footage.clips[clip];
            let text = |field: &Option<String>| field.clone().unwrap_or_default();
            list.write_record([c.name.as_str(), &text(&c.label), &text(&c.split), "true"])?;
        }
        list.flush()?;
        let mut list = csv::Writer::from_path(path.with_file_name("generated.csv"))?;
        list.write_record(["clip", "run", "cell"])?;
        let cell = self.weights.description.name();
        for &clip in self.clips {
            list.write_record([footage.clips[clip].name.as_str(), &self.run.id, &cell])?;
        }
        Ok(list.flush()?)
    }
}

/// Whether a data set can be filled in: recorded features stand beside generated ones, so they have to be as wide.
fn can_be_filled(footage: &Footage, audio: &Feature) -> Result<(), Failure> {
    let recorded = footage.audio.iter().find(|a| a.name == audio.name);
    let sounded = footage.clips.iter().filter(|c| c.sounded).count();
    match recorded {
        Some(found) if found.width != audio.width => Err(Failure::usage(format!(
            "--as-dataset: {} of data set {} is {} numbers wide, and the generated one {}\n  next: use a run that was trained on this feature",
            audio.name, footage.name, found.width, audio.width
        ))),
        None if sounded > 0 => Err(Failure::usage(format!(
            "--as-dataset: {sounded} clips of data set {} sound, and it has no {} of them\n  next: leave --as-dataset out, or extract {} of the clips that sound",
            footage.name, audio.name, audio.name
        ))),
        _ => {
            let others: Vec<&str> =
                footage.audio.iter().map(|a| a.name.as_str()).filter(|n| *n != audio.name).collect();
            if !others.is_empty() {
                say(&format!("note: {} left out: silent clips would have none", others.join(", ")));
            }
            Ok(())
        }
    }
}
