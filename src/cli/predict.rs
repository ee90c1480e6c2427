//! `unmute predict`: class probabilities of clips, by whatever trained runs vote.

use super::progress::say;
use super::run::choose;
use super::use_args::{PredictArgs, PredictionFormat};
use super::{Exit, Failure, open, print, print_json, used};
use crate::device::Device;
use crate::experiment::Part;
use crate::experiment::config::{Fusion as FusionConfig, Sounded};
use crate::experiment::fusion_expr::{Choice, Fusion, Term};
use crate::report::format::spreadsheet_safe;
use crate::report::results::Results;
use crate::runs::footage::Footage;
use crate::runs::trained::{self, TrainedGenerator};
use crate::runs::weights;
use crate::score::Scores;
use crate::score::fusion::{counts, fill, fuse};
use crate::score::metrics::top_k;
use crate::store::{ExperimentRecord, Pick, RunRecord, Store};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

pub(super) fn predict(args: &PredictArgs) -> Result<Exit, Failure> {
    if args.format == PredictionFormat::Npy && args.out.is_none() {
        return Err(Failure::usage("--format npy is binary\n  next: name a file, --out FILE.npy"));
    }
    let choice = choose(&args.device)?;
    let store = open::store(&args.db.db)?;
    let voters = voters(&store, args)?;
    let Some(first) = voters.runs.first() else { return Err(Failure::usage("no run to vote")) };
    let footage = used::footage(&store, &args.dataset, first)?;
    let clips = used::clips(&footage, args.split.as_deref())?;
    if let Some(line) = &choice.say {
        say(line);
    }
    let device = choice.device().open()?;
    let classes = store.dataset(store.view(first.view_id)?.dataset_id)?.manifest.classes;
    let mut votes = Vec::new();
    for run in &voters.runs {
        let own = store.dataset(store.view(run.view_id)?.dataset_id)?.manifest.classes;
        if own != classes {
            return Err(Failure::usage(format!(
                "{} and {} were trained on other classes ({} and {}), so they cannot vote together\n  next: give runs of one data set",
                first.key,
                run.key,
                classes.len(),
                own.len()
            )));
        }
        let scores = scores(&store, run, &footage, &clips, &*device, voters.settings.sounded)?;
        let name = match &part(run)? {
            Part::Stream { stream } => stream.clone(),
            other => other.audio().unwrap_or_default().to_string(),
        };
        votes.push((scores, voters.settings.weights.get(&name).copied().unwrap_or(1.0)));
    }
    let summands: Vec<(&Scores, f64)> = votes.iter().map(|(scores, weight)| (scores, *weight)).collect();
    if !summands.iter().any(|(_, weight)| counts(*weight)) {
        return Err(Failure::usage(
            "every part that votes has the weight 0 in fusion.weights, so that nothing is said of any clip\n  next: run the experiment with other weights, or give runs of another one",
        ));
    }
    let fused = fuse(&summands);
    // A file that was cut short reads as zeros; only now is it known that none was.
    footage.check_unchanged()?;
    tell_accuracy(&footage, &clips, &classes, &fused);
    let predictions =
        Predictions { footage: &footage, clips: &clips, classes: &classes, scores: &fused, top: args.top };
    let text = match args.format {
        PredictionFormat::Csv => predictions.csv()?.into_bytes(),
        PredictionFormat::Npy => used::npy(&predictions.probabilities(), &[clips.len(), classes.len()]),
        PredictionFormat::Json => {
            let runs: Vec<Value> =
                voters.runs.iter().map(|r| json!({ "run": r.id, "cell": r.key, "seed": r.seed })).collect();
            let all =
                json!({ "dataset": footage.name, "runs": runs, "classes": classes, "clips": predictions.records() });
            match &args.out {
                None => return print_json(&all).map(|()| Exit::Done),
                Some(_) => serde_json::to_vec_pretty(&all)?,
            }
        }
    };
    match &args.out {
        Some(path) => used::write_file(path, &text)?,
        None => print(&String::from_utf8_lossy(&text))?,
    }
    Ok(Exit::Done)
}

/// Runs that vote, and how they are put together.
struct Voters {
    runs: Vec<RunRecord>,
    settings: FusionConfig,
}

fn part(run: &RunRecord) -> Result<Part, Failure> {
    Ok(serde_json::from_value(run.spec["part"].clone())?)
}

/// The runs given, or those that the terms name: one of the runs given where it fits, else the experiment's.
fn voters(store: &Store, args: &PredictArgs) -> Result<Voters, Failure> {
    let [only] = &args.what[..] else { return of_runs(store, args) };
    let is_experiment = Path::new(only).is_dir() || store.experiment_names()?.contains(only);
    if !is_experiment {
        return of_runs(store, args);
    }
    let recorded = open::recorded(store, Path::new(only), &Pick::default())?;
    recorded.tell();
    let record = recorded.record;
    let Some(terms) = &args.fuse else {
        return Err(Failure::usage(format!(
            "{only}: an experiment has many runs\n  next: say which vote, such as --fuse 'rgb+flow+vggish(lstm)'"
        )));
    };
    of_terms(store, &record, terms, &[], args.seed)
}

fn of_runs(store: &Store, args: &PredictArgs) -> Result<Voters, Failure> {
    let runs = args.what.iter().map(|start| used::finished(open::run(store, start)?));
    let runs = runs.collect::<Result<Vec<_>, Failure>>()?;
    let Some(first) = runs.first() else { return Err(Failure::usage("no run to vote")) };
    let names = store.experiments_with(&first.cell)?;
    let record = match names.first() {
        Some((name, ..)) => store.latest_experiment(name)?,
        None => None,
    };
    match (&args.fuse, record) {
        (None, record) => {
            let settings = record.map(|r| r.config.fusion).unwrap_or_default();
            Ok(Voters { runs, settings })
        }
        (Some(terms), Some(record)) => of_terms(store, &record, terms, &runs, args.seed),
        (Some(_), None) => Err(Failure::usage(format!(
            "no experiment in {} has run {} any more, so --fuse finds nothing\n  next: give all runs that vote, without --fuse",
            store.path().display(),
            open::short(&first.id)
        ))),
    }
}

fn of_terms(
    store: &Store,
    record: &ExperimentRecord,
    terms: &str,
    given: &[RunRecord],
    seed: Option<u64>,
) -> Result<Voters, Failure> {
    let fusion = Fusion::parse(terms).map_err(|e| Failure::usage(format!("--fuse: {e}")))?;
    let mut runs: Vec<Option<RunRecord>> = vec![None; fusion.terms.len()];
    let mut seed = seed;
    // Generators first: heads on the streams follow their seed, as in a table's rows.
    for generators in [true, false] {
        for (term, slot) in fusion.terms.iter().zip(&mut runs).filter(|(t, _)| t.choice.is_some() == generators) {
            let run = of_term(store, record, term, given, seed)?;
            seed = seed.or(run.seed);
            *slot = Some(run);
        }
    }
    let unused = given.iter().find(|g| !runs.iter().flatten().any(|r| r.id == g.id));
    if let Some(run) = unused {
        return Err(Failure::usage(format!(
            "run {} ({}) is no term of {terms:?}\n  next: leave it out, or change --fuse",
            open::short(&run.id),
            run.key
        )));
    }
    Ok(Voters { runs: runs.into_iter().flatten().collect(), settings: record.config.fusion.clone() })
}

/// Whether a part is what a term names.
fn fits(part: &Part, term: &Term) -> bool {
    match (part, &term.choice) {
        (Part::Stream { stream }, None) => *stream == term.name,
        (Part::Bank { audio }, None) => *audio == term.name,
        (Part::Generator { audio, .. }, Some(Choice::Best)) => *audio == term.name,
        (Part::Generator { audio, generator, .. }, Some(Choice::BestOf(wanted))) => {
            *audio == term.name && generator == wanted
        }
        (Part::Generator { audio, generator, loss, classifier }, Some(Choice::Cell(g, l, c))) => {
            *audio == term.name && (generator, loss, classifier) == (g, l, c)
        }
        _ => false,
    }
}

fn of_term(
    store: &Store,
    record: &ExperimentRecord,
    term: &Term,
    given: &[RunRecord],
    seed: Option<u64>,
) -> Result<RunRecord, Failure> {
    if let Some(Choice::Control(control)) = &term.choice {
        return Err(Failure::usage(format!(
            "{}({control}): a control trains nothing that could be used on other clips\n  next: name a generator, or see its scores of the val clips with `unmute export predictions`",
            term.name
        )));
    }
    if let Some(Choice::External(name)) = &term.choice {
        return Err(Failure::usage(format!(
            "{}(external:{name}): what was generated elsewhere can be scored and not be generated here\n  next: name a generator of ours, or see its scores with `unmute export predictions`",
            term.name
        )));
    }
    for run in given {
        if fits(&part(run)?, term) {
            return Ok(run.clone());
        }
    }
    let select_on = record.config.fusion.select_on;
    let results = Results::new(store, record)?;
    let cell = results.cell_of(term)?.map_err(|why| {
        let known: BTreeSet<String> = record.cells.iter().map(|c| c.part.key()).collect();
        let known: Vec<String> = known.into_iter().collect();
        let hint = if record.cells.iter().any(|c| fits(&c.part, term)) {
            String::new()
        } else {
            crate::suggest::nearest(&term.name, &known)
        };
        Failure::usage(format!(
            "experiment {}: {}: {why}{hint}\n  next: `unmute ls` lists finished runs",
            record.name, term.name
        ))
    })?;
    let fingerprint = cell.fingerprint.as_deref().unwrap_or_default();
    let seeded = cell.part.seeded(&store.dataset(record.dataset_id)?.manifest);
    match seed.filter(|_| seeded) {
        None => match seeded {
            true => used::best_of_cell(store, fingerprint, &cell.key, select_on),
            false => store.runs_of_cell(fingerprint, true)?.into_iter().next().ok_or_else(|| Failure::usage("not run")),
        },
        Some(seed) => {
            store.runs_of_cell(fingerprint, true)?.into_iter().find(|r| r.seed == Some(seed)).ok_or_else(|| {
                Failure::usage(format!("{}: seed {seed} is not finished\n  next: --seed N names another", cell.key))
            })
        }
    }
}

/// A run's scores of clips: a stream's of all, a bank's of those that sound, a generator's of all, with recorded sound where
/// there is any and the experiment wants it.
fn scores(
    store: &Store,
    run: &RunRecord,
    footage: &Footage,
    clips: &[usize],
    device: &dyn Device,
    sounded: Sounded,
) -> Result<Scores, Failure> {
    match part(run)? {
        Part::Stream { stream } => {
            let manifest = store.dataset(store.view(run.view_id)?.dataset_id)?.manifest;
            match manifest.gives_scores(&stream) {
                true => Ok(trained::given(footage, &stream, &manifest.classes, clips)?),
                false => Ok(trained::by_stream(&weights::read(store, run)?, footage, clips)?),
            }
        }
        Part::Generator { .. } => {
            let weights = weights::read(store, run)?;
            let generator = TrainedGenerator::of(&weights, device)?;
            let bank = trained::bank(store, run, &weights.description)?;
            let classes = weights.description.classes.len();
            let features = generator.generate(footage, clips, &mut |_| {})?;
            let p = if clips.is_empty() { vec![] } else { bank.probabilities(&features, classes, &*device.solver()?)? };
            let generated = Scores::complete(p, classes);
            if sounded == Sounded::Generated {
                return Ok(generated);
            }
            let real = trained::by_sound(&bank, (&generator.audio, classes), footage, clips, device)?;
            let present = real.present.clone();
            Ok(fill(&real, &generated, &present))
        }
        Part::Bank { audio } => {
            let manifest = store.dataset(store.view(run.view_id)?.dataset_id)?.manifest;
            let feature = manifest.audio(&audio).cloned().ok_or_else(|| Failure::usage(format!("no {audio}")))?;
            let bank = trained::bank_of(store, run)?;
            Ok(trained::by_sound(&bank, (&feature, manifest.classes.len()), footage, clips, device)?)
        }
        Part::External { .. } => Err(Failure::usage(format!(
            "run {} ({}) is of features that another program generated, which cannot be done here for other clips\n  next: give a run of ours",
            open::short(&run.id),
            run.key
        ))),
        Part::Control { .. } => Err(Failure::usage(format!(
            "run {} ({}) is a control, which trains nothing that could be used on other clips\n  next: give a generator's run",
            open::short(&run.id),
            run.key
        ))),
    }
}

/// Says how many of the clips with a known label come out right.
pub(super) fn tell_accuracy(footage: &Footage, clips: &[usize], classes: &[String], scores: &Scores) {
    let known = |clip: &usize| {
        let label = footage.clips[*clip].label.as_ref()?;
        classes.iter().position(|c| c == label)
    };
    let labels: Vec<Option<usize>> = clips.iter().map(known).collect();
    let plain: Vec<usize> = labels.iter().map(|l| l.unwrap_or(0)).collect();
    let of = |k| top_k(scores, &plain, k, |clip| labels[clip].is_some());
    let n = labels.iter().flatten().count();
    let (Some(top1), Some(top5)) = (of(1), of(5)) else { return };
    say(&format!("top-1 {top1:.4} %, top-5 {top5:.4} % of {n} clips with a known label"));
    if n < clips.len() {
        say(&format!("note: {} clips have no label among the run's classes", clips.len() - n));
    }
}

/// Scores of clips in words.
struct Predictions<'a> {
    footage: &'a Footage,
    clips: &'a [usize],
    classes: &'a [String],
    scores: &'a Scores,
    top: usize,
}

impl Predictions<'_> {
    /// Each clip's sum of votes as shares of one; zeros where nothing scored the clip.
    fn probabilities(&self) -> Vec<f32> {
        let share = |row: &[f32]| {
            let sum: f64 = row.iter().map(|x| f64::from(*x)).sum();
            let part = move |x: &f32| if sum > 0.0 { (f64::from(*x) / sum) as f32 } else { 0.0 };
            row.iter().map(part).collect::<Vec<_>>()
        };
        (0..self.scores.clips()).flat_map(|clip| share(self.scores.row(clip))).collect()
    }

    fn csv(&self) -> Result<String, Failure> {
        let k = self.top.min(self.classes.len());
        let mut out = csv::Writer::from_writer(Vec::new());
        let mut head: Vec<String> = ["clip", "label", "split", "sounded"].map(String::from).into();
        head.extend((1..=k).flat_map(|i| [format!("top{i}"), format!("p{i}")]));
        head.extend(self.classes.iter().map(|c| format!("p({c})")));
        out.write_record(&head)?;
        let p = self.probabilities();
        for (i, &clip) in self.clips.iter().enumerate() {
            let c = &self.footage.clips[clip];
            let row = &p[i * self.classes.len()..][..self.classes.len()];
            let text = |t: &Option<String>| spreadsheet_safe(t.as_deref().unwrap_or_default());
            let mut record = vec![spreadsheet_safe(&c.name), text(&c.label), text(&c.split), c.sounded.to_string()];
            let best = ranked(self.scores, i, k);
            let scored = !best.is_empty();
            record.extend(
                best.iter().flat_map(|&class| [spreadsheet_safe(&self.classes[class]), row[class].to_string()]),
            );
            record.resize(4 + 2 * k, String::new());
            record.extend(row.iter().map(|p| if scored { p.to_string() } else { String::new() }));
            out.write_record(&record)?;
        }
        let bytes = out.into_inner().map_err(|e| std::io::Error::other(e.to_string()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn records(&self) -> Vec<Value> {
        let p = self.probabilities();
        let record = |(i, &clip): (usize, &usize)| {
            let c = &self.footage.clips[clip];
            let row = &p[i * self.classes.len()..][..self.classes.len()];
            let best = ranked(self.scores, i, self.top);
            let top: Vec<Value> = best.iter().map(|&k| json!({ "class": self.classes[k], "p": row[k] })).collect();
            let all = if best.is_empty() { Value::Null } else { json!(row) };
            json!({ "clip": c.name, "label": c.label, "split": c.split, "sounded": c.sounded, "top": top, "p": all })
        };
        self.clips.iter().enumerate().map(record).collect()
    }
}

/// The k most probable classes of a clip, equal ones in their order; none where nothing scored it.
pub(super) fn ranked(scores: &Scores, clip: usize, k: usize) -> Vec<usize> {
    if !scores.present[clip] {
        return Vec::new();
    }
    let row = scores.row(clip);
    let mut classes: Vec<usize> = (0..row.len()).collect();
    classes.sort_by(|a, b| row[*b].total_cmp(&row[*a]).then(a.cmp(b)));
    classes.truncate(k);
    classes
}
