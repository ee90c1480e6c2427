//! The answer that a report opens with: does generating the missing sound help, which generator, and may one trust it? All
//! of it is computed, and worded after the intervals.

mod change;
mod sentences;

pub use change::{Change, Level, Verdict};

use super::agreement::Terms;
use super::choose::{Scope, point};
use super::coverage::{Coverage, coverage};
use super::evaluate::standing::standings;
use super::resample::{Sample, interval};
use super::results::Results;
use super::table::Standing;
use super::words;
use crate::dataset::{Kind, Split};
use crate::experiment::claims::Metric;
use crate::experiment::config::{Architecture, Control, SelectOn, Sounded};
use crate::experiment::fusion_expr::{Choice, Fusion, Term};
use crate::experiment::grid::externals;
use crate::experiment::tables::{Table, Tables};
use crate::experiment::{Part, TableId};
use crate::store::Error;
use serde_json::Value;
use std::collections::BTreeMap;

/// A question with its answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// As a reader would ask it.
    pub question: String,
    /// In one or a few words.
    pub verdict: String,
    /// The sentences behind it.
    pub sentences: Vec<String>,
}

/// What fills the silent clips in a row of the answer's figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// No sound at all.
    Vision,
    /// Recorded sound alone; silent clips have none.
    Recorded,
    /// A generator.
    Generated,
    /// A control that trains no network.
    Control,
    /// The true feature: what a perfect generator would give.
    Bound,
}

impl Role {
    /// A class of the style.
    pub fn word(self) -> &'static str {
        match self {
            Role::Vision => "vision",
            Role::Recorded => "recorded",
            Role::Generated => "generated",
            Role::Control => "control",
            Role::Bound => "bound",
        }
    }
}

/// A row of the figure: sound alone, and added to vision.
#[derive(Clone, Debug)]
pub struct Way {
    /// What fills silent clips.
    pub role: Role,
    /// Its name.
    pub name: String,
    /// Whether it is the generator that the tables' `best` stands for.
    pub chosen: bool,
    /// Sound alone; `None` for vision.
    pub alone: Option<Level>,
    /// With vision.
    pub fused: Option<Level>,
    /// Published top-1 of both, where it may be compared.
    pub published: [Option<f64>; 2],
}

/// The answer about one audio feature.
#[derive(Clone, Debug)]
pub struct Answer {
    /// `VGGish`.
    pub audio: String,
    /// `RGB + Flow`.
    pub vision: String,
    /// The point of further axes that it is of: `missing.rate = 0.4`.
    pub at: String,
    /// The rows of the figure.
    pub ways: Vec<Way>,
    /// Generator cells by sound alone, the best first: key, top-1, how it stands.
    pub generators: Vec<(String, f64, Option<Standing>)>,
    /// Clips that are scored, and how many of them are silent.
    pub clips: (usize, usize),
}

/// Everything that the questions are answered from.
pub struct Answers {
    /// One an audio feature that has results, in the order of the grid.
    pub features: Vec<Answer>,
    /// Why features have none.
    pub absent: Vec<String>,
    terms: Terms,
    coverage: Coverage,
    synthetic: bool,
    split: Split,
    selected_on_val: bool,
    all_generated: bool,
    departures: Vec<String>,
    dataset: String,
    published_on: String,
}

/// A row to be computed: what it is, and what is added up in it.
struct Asked {
    role: Role,
    name: String,
    choice: Option<Choice>,
}

impl Answers {
    /// Answers from an experiment's results.
    pub fn of(results: &Results, tables: &Tables) -> Result<Answers, Error> {
        let (mut features, mut absent) = (Vec::new(), Vec::new());
        let mut names: Vec<&str> = Vec::new();
        for cell in &results.experiment.cells {
            if let Some(audio) = cell.part.audio().filter(|audio| !names.contains(audio)) {
                names.push(audio);
            }
        }
        let terms = Terms::of(results, tables)?;
        for audio in names {
            match one(results, tables, audio, &terms)? {
                Ok(answer) => features.push(answer),
                Err(why) => absent.push(why),
            }
        }
        let config = &results.experiment.config;
        Ok(Answers {
            features,
            absent,
            terms,
            coverage: coverage(results)?,
            synthetic: results.dataset.manifest.kind == Kind::Synthetic,
            split: results.reported()?,
            selected_on_val: config.fusion.select_on == SelectOn::Val,
            all_generated: config.fusion.sounded == Sounded::Generated,
            departures: results.departures.sentences(),
            dataset: results.dataset.manifest.name.clone(),
            published_on: config.published_on.clone(),
        })
    }

    /// Why nothing can be compared with the published values; `None` where it can.
    pub fn not_comparable(&self) -> Option<&str> {
        self.terms.obstacle.as_deref().filter(|_| !self.terms.comparable)
    }
}

/// The point that an audio feature is looked at: that of the first table about it.
pub(super) fn place(results: &Results, tables: &Tables, audio: &str) -> BTreeMap<String, Value> {
    let about = |t: &&Table| {
        let named = |fuse: &str| Fusion::parse(fuse).is_ok_and(|f| f.terms.iter().any(|term| term.name == audio));
        !t.accuracy.is_empty() && (t.audio.iter().any(|a| a == audio) || t.accuracy.iter().any(|row| named(&row.fuse)))
    };
    match tables.tables.iter().find(about) {
        Some(table) => point(results.experiment, table),
        None => BTreeMap::new(),
    }
}

/// What is asked of a feature, in the order of the figure.
fn asked(results: &Results, audio: &str) -> Vec<Asked> {
    let mut out = vec![Asked { role: Role::Recorded, name: "recorded sound alone".into(), choice: None }];
    let mut seen: Vec<Architecture> = Vec::new();
    for cell in &results.experiment.cells {
        if let Part::Generator { audio: a, generator, .. } = &cell.part
            && a == audio
            && !seen.contains(generator)
        {
            seen.push(*generator);
        }
    }
    for generator in seen {
        let name = format!("generated, best {}", words::architecture(generator.word()));
        out.push(Asked { role: Role::Generated, name, choice: Some(Choice::BestOf(generator)) });
    }
    for name in externals(&results.experiment.config) {
        let part = Part::External { audio: audio.into(), external: name.into() };
        if results.experiment.cells.iter().any(|cell| cell.part == part && cell.skipped.is_none()) {
            let choice = Some(Choice::External(name.into()));
            out.push(Asked { role: Role::Generated, name: format!("generated elsewhere, {name}"), choice });
        }
    }
    let mut controls: Vec<Control> = Vec::new();
    for cell in &results.experiment.cells {
        if let Part::Control { audio: a, control } = &cell.part
            && a == audio
            && !controls.contains(control)
        {
            controls.push(*control);
        }
    }
    controls.sort_by_key(|c| *c == Control::Oracle);
    for control in controls {
        let (role, name) = match control {
            Control::Oracle => (Role::Bound, "true feature (oracle)"),
            Control::Zero => (Role::Control, "zeros"),
            Control::Mean => (Role::Control, "mean feature"),
            Control::Ridge => (Role::Control, "ridge regression"),
            Control::Knn => (Role::Control, "nearest neighbours"),
        };
        out.push(Asked { role, name: name.into(), choice: Some(Choice::Control(control)) });
    }
    out
}

fn one(results: &Results, tables: &Tables, audio: &str, terms: &Terms) -> Result<Result<Answer, String>, Error> {
    let at = place(results, tables, audio);
    let (names, table) = ([audio.to_string()], TableId::Name("answer".into()));
    let scope = Scope { audio: &names, at: &at, table: &table };
    if let Err(why) = results.audio_of(&scope) {
        return Ok(Err(why));
    }
    let mut streams: Vec<&str> = Vec::new();
    for cell in &results.experiment.cells {
        if let Part::Stream { stream } = &cell.part
            && !streams.contains(&stream.as_str())
        {
            streams.push(stream);
        }
    }
    let vision: Vec<Term> = streams.iter().map(|s| Term { name: s.to_string(), choice: None }).collect();
    let mut sample = Sample::default();
    let mut drawn: Vec<Vec<usize>> = Vec::new();
    let mut sound = None;
    let mut missing: Option<String> = None;
    // Adds a fusion; its place among the rows, its mean and its seeds.
    let mut add = |terms: Vec<Term>| -> Result<Option<(usize, f64, Option<usize>)>, Error> {
        if terms.is_empty() {
            return Ok(None);
        }
        let with_sound = terms.iter().any(|t| t.name == audio);
        let fused = match results.fused(&scope, &Fusion { terms })? {
            Ok(fused) => fused,
            Err(why) => {
                missing.get_or_insert(why);
                return Ok(None);
            }
        };
        if with_sound {
            sound = Some(fused.view.shown().sounded.clone());
        }
        let Ok(columns) = sample.add(&fused, Metric::Top1) else { return Ok(None) };
        let seeds = columns.iter().any(|(seed, _)| seed.is_some()).then_some(columns.len());
        let values = fused.top_k(1);
        drawn.push(columns.into_iter().map(|(_, column)| column).collect());
        Ok(Some((drawn.len() - 1, values.iter().sum::<f64>() / values.len().max(1) as f64, seeds)))
    };
    let term = |choice: &Option<Choice>| Term { name: audio.into(), choice: choice.clone() };
    let asked = asked(results, audio);
    let mut rows = vec![(None, add(vision.clone())?)];
    for a in &asked {
        let alone = add(vec![term(&a.choice)])?;
        rows.push((alone, add([vision.clone(), vec![term(&a.choice)]].concat())?));
    }
    let mut cells = Vec::new();
    for cell in &results.experiment.cells {
        let (a, choice) = match &cell.part {
            Part::Generator { audio, generator, loss, classifier } => {
                (audio, Choice::Cell(*generator, *loss, *classifier))
            }
            Part::External { audio, external } => (audio, Choice::External(external.clone())),
            _ => continue,
        };
        let here = at.iter().all(|(axis, value)| cell.overrides.get(axis).is_none_or(|v| v == value));
        if a == audio
            && here
            && cell.skipped.is_none()
            && let Some(row) = add(vec![term(&Some(choice))])?
        {
            cells.push((words::generator_cell(&cell.part), row));
        }
    }
    let draws = sample.draws(&drawn);
    let level = |row: Option<(usize, f64, Option<usize>)>| {
        row.map(|(place, mean, seeds)| Level {
            mean,
            seeds,
            interval: interval(draws[place].clone()),
            draws: draws[place].clone(),
        })
    };
    let recorded = rows.get(1).is_some_and(|(alone, _)| alone.is_some());
    if !recorded {
        return Ok(Err(missing.unwrap_or_else(|| format!("{audio}: not run yet"))));
    }
    let best = results.best_of(&scope, audio)?;
    let published = |choice: Option<&Option<Choice>>, with_vision: bool| -> Option<f64> {
        terms.obstacle.is_none().then(|| published(tables, audio, &streams, choice, with_vision)).flatten()
    };
    let mut ways = vec![Way {
        role: Role::Vision,
        name: "no sound".into(),
        chosen: false,
        alone: None,
        fused: level(rows[0].1),
        published: [None, published(None, true)],
    }];
    for (a, (alone, fused)) in asked.iter().zip(&rows[1..]) {
        if alone.is_none() && fused.is_none() {
            continue;
        }
        ways.push(Way {
            role: a.role,
            name: a.name.clone(),
            chosen: a.choice.is_some() && a.choice == best,
            alone: level(*alone),
            fused: level(*fused),
            published: [published(Some(&a.choice), false), published(Some(&a.choice), true)],
        });
    }
    let rivals: Vec<(usize, f64, &[f64])> =
        cells.iter().map(|(_, (place, mean, _))| (*place, *mean, draws[*place].as_slice())).collect();
    let enough = cells.iter().all(|(_, (.., seeds))| seeds.is_none_or(|n| n >= super::resample::SEEDS));
    let stands = if enough { standings(&rivals) } else { vec![None; rivals.len()] };
    let mut generators: Vec<(String, f64, Option<Standing>)> =
        cells.into_iter().zip(stands).map(|((key, (_, mean, _)), s)| (key, mean, s)).collect();
    generators.sort_by(|a, b| b.1.total_cmp(&a.1));
    let sounded = sound.unwrap_or_default();
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), String::from);
    let said: Vec<String> = at.iter().map(|(axis, value)| format!("{axis} {}", plain(value))).collect();
    Ok(Ok(Answer {
        audio: words::feature(audio),
        vision: streams.iter().map(|s| words::feature(s)).collect::<Vec<_>>().join(" + "),
        at: said.join(", "),
        ways,
        generators,
        clips: (sounded.len(), sounded.iter().filter(|s| !**s).count()),
    }))
}

/// The published top-1 of the same sum, if a table has it.
fn published(
    tables: &Tables,
    audio: &str,
    streams: &[&str],
    choice: Option<&Option<Choice>>,
    with_vision: bool,
) -> Option<f64> {
    let mut wanted: Vec<Term> = Vec::new();
    if with_vision {
        wanted.extend(streams.iter().map(|s| Term { name: s.to_string(), choice: None }));
    }
    wanted.extend(choice.map(|c| Term { name: audio.into(), choice: c.clone() }));
    for table in &tables.tables {
        for row in &table.accuracy {
            let Ok(mut fusion) = Fusion::parse(&row.fuse) else { continue };
            for term in fusion.terms.iter_mut().filter(|t| t.name == "audio" && table.audio.iter().any(|a| a == audio))
            {
                term.name = audio.into();
            }
            let same = fusion.terms.len() == wanted.len() && wanted.iter().all(|t| fusion.terms.contains(t));
            if let Some(p) = row.published.top1.as_ref().filter(|_| same) {
                return Some(p.value);
            }
        }
    }
    None
}
