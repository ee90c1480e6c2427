//! `unmute import weights`: weights that another program changed, in the place of a run's own, for evaluation.

use super::generate::{self, Made};
use super::progress::say;
use super::run::choose;
use super::use_args::ImportWeightsArgs;
use super::{Exit, Failure, open, used};
use crate::dataset::Feature;
use crate::experiment::grid::{EXTERNAL, check_external};
use crate::runs::portable::import;
use crate::runs::trained::{self, TrainedGenerator};
use crate::runs::weights;
use crate::score::Scores;
use crate::score::fusion::fill;

pub(super) fn weights(args: &ImportWeightsArgs) -> Result<Exit, Failure> {
    check_external(&args.name).map_err(|message| Failure::usage(format!("--as: {message}")))?;
    let choice = choose(&args.device)?;
    let store = open::store(&args.db.db)?;
    let run = used::finished(open::run(&store, &args.run)?)?;
    if run.kind != "generator" {
        return Err(Failure::usage(format!(
            "run {} ({}) is no generator\n  next: `unmute ls --where kind=generator` lists them",
            open::short(&run.id),
            run.key
        )));
    }
    let weights = import::read(&args.file, &weights::read(&store, &run)?)?;
    let footage = used::footage(&store, &args.dataset, &run)?;
    let clips = used::clips(&footage, None)?;
    if let Some(line) = &choice.say {
        say(line);
    }
    let device = choice.device().open()?;
    let generator = TrainedGenerator::of(&weights, &*device)?;
    let features = generate::features(&generator, &footage, &clips)?;
    let name = format!("{}.{}", generator.audio.name, args.name);
    let audio = Feature { name, width: generator.audio.width };
    let made = Made { run: &run, weights: &weights, audio: &audio, clips: &clips, features: &features };
    used::write_folder(&args.out, |part| made.npy(&footage, part))?;
    let (out, of) = (args.out.display(), weights.description.name());
    say(&format!(
        "{out}: {} of {} clips, by {} in the place of the weights of {of}",
        audio.name,
        clips.len(),
        args.file.display()
    ));
    // As the run itself is scored: its bank, recorded sound where there is any.
    let (bank, classes) = (trained::bank(&store, &run, &weights.description)?, &weights.description.classes);
    let solver = device.solver()?;
    for split in ["val", "test"] {
        let rows: Vec<usize> =
            (0..clips.len()).filter(|&i| footage.clips[clips[i]].split.as_deref() == Some(split)).collect();
        if rows.is_empty() {
            continue;
        }
        let here: Vec<usize> = rows.iter().map(|&i| clips[i]).collect();
        let of_split: Vec<f32> =
            rows.iter().flat_map(|&i| features[i * audio.width..][..audio.width].iter().copied()).collect();
        let generated = Scores::complete(bank.probabilities(&of_split, classes.len(), &*solver)?, classes.len());
        let real = trained::by_sound(&bank, (&generator.audio, classes.len()), &footage, &here, &*device)?;
        let scores = fill(&real, &generated, &real.present);
        say(&format!("{split}:"));
        super::predict::tell_accuracy(&footage, &here, classes, &scores);
    }
    say(&format!(
        "next: put {EXTERNAL}{} on the grid's axis generator, and unmute run EXPERIMENT --dataset {} --features {out}: it is a row of the tables then",
        args.name,
        args.dataset.display()
    ));
    Ok(Exit::Done)
}
