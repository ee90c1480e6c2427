//! Looking into a sum of scores: which classes are taken for which, which clips generation turned from wrong to right and back,
//! and which class is nearest to generated and to true features.

use super::answer::place;
use super::choose::Scope;
use super::format::spreadsheet_safe;
use super::ranks::tops;
use super::results::Results;
use super::scores::Predicted;
use crate::experiment::config::Control;
use crate::experiment::fusion_expr::{Choice, Fusion, Term};
use crate::experiment::{Part, TableId, Tables};
use crate::store::Error;
use serde::Serialize;

/// Clips by their class and the class that they are taken for, summed over seeds.
#[derive(Clone, Debug, PartialEq)]
pub struct Confusion {
    /// Class names.
    pub classes: Vec<String>,
    /// (K, K), the true class first.
    pub counts: Vec<u64>,
    /// Clips of each class that nothing scored.
    pub unscored: Vec<u64>,
    /// Seeds that were added up.
    pub seeds: usize,
}

impl Confusion {
    /// Of predictions.
    pub fn of(predicted: &Predicted, classes: &[String]) -> Confusion {
        let k = classes.len();
        let (mut counts, mut unscored) = (vec![0; k * k], vec![0; k]);
        for (_, all) in &predicted.seeds {
            for (&label, class) in predicted.view.shown().labels.iter().zip(all) {
                match class {
                    Some(class) => counts[label * k + class] += 1,
                    None => unscored[label] += 1,
                }
            }
        }
        Confusion { classes: classes.to_vec(), counts, unscored, seeds: predicted.seeds.len() }
    }

    /// Clips of a class, times seeds.
    pub fn clips(&self, class: usize) -> u64 {
        self.row(class).iter().sum::<u64>() + self.unscored[class]
    }

    /// What clips of a class are taken for.
    pub fn row(&self, class: usize) -> &[u64] {
        let k = self.classes.len();
        &self.counts[class * k..][..k]
    }

    /// Percent of a class's clips that are taken for it; a clip that nothing scored is not.
    pub fn recall(&self, class: usize) -> Option<f64> {
        percent(self.row(class)[class], self.clips(class))
    }

    /// Percent of the clips that are taken for a class that are of it.
    pub fn precision(&self, class: usize) -> Option<f64> {
        let k = self.classes.len();
        percent(self.row(class)[class], (0..k).map(|label| self.counts[label * k + class]).sum())
    }

    /// The other class that a class is taken for most often, and how often; the first of equal ones.
    pub fn taken_for(&self, class: usize) -> Option<(usize, u64)> {
        let others = self.row(class).iter().enumerate().filter(|(other, n)| *other != class && **n > 0);
        others.max_by_key(|(other, n)| (**n, std::cmp::Reverse(*other))).map(|(other, n)| (other, *n))
    }

    /// A row for each class: clips, recall, precision, and the counts of every class that it is taken for.
    pub fn csv(&self) -> String {
        let mut head = vec!["class".to_string(), "seeds".into(), "clips".into(), "unscored".into()];
        head.extend(["recall".to_string(), "precision".into()]);
        head.extend(self.classes.iter().map(|class| format!("as {class}")));
        let rows = (0..self.classes.len()).map(|class| {
            let mut fields = vec![self.classes[class].clone(), self.seeds.to_string()];
            fields.extend([self.clips(class).to_string(), self.unscored[class].to_string()]);
            let number = |value: Option<f64>| value.map(|v| format!("{v:.4}")).unwrap_or_default();
            fields.extend([number(self.recall(class)), number(self.precision(class))]);
            fields.extend(self.row(class).iter().map(u64::to_string));
            fields
        });
        lines(head, rows)
    }
}

fn percent(part: u64, all: u64) -> Option<f64> {
    (all > 0).then(|| 100.0 * part as f64 / all as f64)
}

/// A clip that one sum gets right and the other does not, in some seed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TurnedClip {
    /// Its name.
    pub clip: String,
    /// Its class.
    pub label: String,
    /// Whether it sounds.
    pub sounded: bool,
    /// Seeds in which it is right with generation and wrong without.
    pub to_right: usize,
    /// Seeds in which it is wrong with generation and right without.
    pub to_wrong: usize,
    /// Seeds compared.
    pub seeds: usize,
    /// What it is taken for without generation, in the first of these seeds; empty where nothing scored it.
    pub before: String,
    /// What it is taken for with it.
    pub after: String,
}

/// The clips that `of` gets right and `over` wrong, or the other way round: first those that turned right in most seeds, last
/// those that turned wrong in most.
pub fn turned(of: &Predicted, over: &Predicted, classes: &[String]) -> Vec<TurnedClip> {
    let shown = of.view.shown();
    let mut out = Vec::new();
    let pairs = of
        .seeds
        .iter()
        .filter_map(|(seed, after)| {
            let before = over.seeds.iter().find(|(s, _)| s == seed || s.is_none());
            before.map(|(_, before)| (&before[..], &after[..]))
        })
        .collect::<Vec<_>>();
    let name = |class: Option<usize>| class.and_then(|c| classes.get(c).cloned()).unwrap_or_default();
    for (i, &label) in shown.labels.iter().enumerate() {
        let (mut to_right, mut to_wrong, mut first) = (0, 0, None);
        for (before, after) in &pairs {
            let (was, is) = (before[i] == Some(label), after[i] == Some(label));
            to_right += usize::from(is && !was);
            to_wrong += usize::from(was && !is);
            if was != is {
                first.get_or_insert((before[i], after[i]));
            }
        }
        if let Some((before, after)) = first {
            out.push(TurnedClip {
                clip: shown.clips[i].clone(),
                label: name(Some(label)),
                sounded: shown.sounded[i],
                to_right,
                to_wrong,
                seeds: pairs.len(),
                before: name(before),
                after: name(after),
            });
        }
    }
    let gain = |t: &TurnedClip| t.to_right as i64 - t.to_wrong as i64;
    out.sort_by(|a, b| gain(b).cmp(&gain(a)).then_with(|| a.clip.cmp(&b.clip)));
    out
}

/// Turned clips, a row each.
pub fn turned_csv(all: &[TurnedClip]) -> String {
    let head = ["clip", "label", "sounded", "to_right", "to_wrong", "seeds", "before", "after"].map(String::from);
    lines(
        head.into(),
        all.iter().map(|t| {
            let counts = [t.to_right, t.to_wrong, t.seeds].map(|n| n.to_string());
            [
                vec![t.clip.clone(), t.label.clone(), t.sounded.to_string()],
                counts.into(),
                vec![t.before.clone(), t.after.clone()],
            ]
            .concat()
        }),
    )
}

/// The classes that features of a class's clips are nearest to, where the true feature is known.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Nearest {
    /// The class.
    pub class: String,
    /// Its clips whose true feature is known.
    pub clips: usize,
    /// The class that most of their true features are nearest to, and of how many percent.
    pub of_true: Option<(String, f64)>,
    /// The same of generated features, over seeds.
    pub of_generated: Option<(String, f64)>,
    /// Percent of clips and seeds whose generated feature is nearest to the class that the true one is nearest to.
    pub same: Option<f64>,
}

/// Nearest classes, a row a class.
pub fn nearest_csv(all: &[Nearest]) -> String {
    let head = ["class", "clips", "true", "true_percent", "generated", "generated_percent", "same_percent"];
    let pair = |of: &Option<(String, f64)>| match of {
        Some((class, percent)) => [class.clone(), format!("{percent:.4}")],
        None => [String::new(), String::new()],
    };
    lines(
        head.map(String::from).into(),
        all.iter().map(|n| {
            let same = n.same.map(|p| format!("{p:.4}")).unwrap_or_default();
            [
                vec![n.class.clone(), n.clips.to_string()],
                pair(&n.of_true).into(),
                pair(&n.of_generated).into(),
                vec![same],
            ]
            .concat()
        }),
    )
}

/// One audio feature looked into.
pub struct Look {
    /// The audio feature.
    pub audio: String,
    /// The sum with generation: all streams and the feature with its silent clips filled in by the best generator.
    pub of: String,
    /// The same without generation.
    pub over: String,
    /// Of the sum with generation.
    pub confusion: Confusion,
    /// Clips that generation turned.
    pub turned: Vec<TurnedClip>,
    /// Nearest classes of the best generator's features, by class; empty where no true feature is known.
    pub nearest: Vec<Nearest>,
}

/// What was asked to be looked into, for each audio feature; or why it cannot be.
pub fn looks(results: &Results, tables: &Tables) -> Result<Vec<Result<Look, String>>, Error> {
    let mut audios: Vec<&str> = Vec::new();
    for cell in &results.experiment.cells {
        if let Some(audio) = cell.part.audio().filter(|audio| !audios.contains(audio)) {
            audios.push(audio);
        }
    }
    audios.into_iter().map(|audio| look(results, tables, audio, (None, None))).collect()
}

/// One audio feature, by the sums that somebody names: with generation, and without.
pub fn look(
    results: &Results,
    tables: &Tables,
    audio: &str,
    (of, over): (Option<&str>, Option<&str>),
) -> Result<Result<Look, String>, Error> {
    let (at, names, table) = (place(results, tables, audio), [audio.to_string()], TableId::Name("inside".into()));
    let scope = Scope { audio: &names, at: &at, table: &table };
    let streams: Vec<&str> = results.dataset.manifest.streams.iter().map(|s| s.name.as_str()).collect();
    let sum = |sound: &str| streams.iter().copied().chain([sound]).collect::<Vec<_>>().join("+");
    let of = of.map_or_else(|| sum(&format!("{audio}(best)")), String::from);
    let over = over.map_or_else(|| sum(audio), String::from);
    let parse = |text: &str| Fusion::parse(text).map_err(Error::NotFound);
    let (with, without) = match (results.predicted(&scope, &parse(&of)?)?, results.predicted(&scope, &parse(&over)?)?) {
        (Ok(with), Ok(without)) => (with, without),
        (Err(why), _) | (_, Err(why)) => return Ok(Err(why)),
    };
    if with.view.shown().clips != without.view.shown().clips {
        return Ok(Err(format!("{of} and {over} are of other clips")));
    }
    let classes = &results.dataset.manifest.classes;
    let generated = parse(&of)?.terms.into_iter().find(|term| term.name == audio && term.choice.is_some());
    let nearest = match generated {
        Some(term) => nearest(results, &scope, &term)?,
        None => Vec::new(),
    };
    Ok(Ok(Look {
        audio: audio.into(),
        confusion: Confusion::of(&with, classes),
        turned: turned(&with, &without, classes),
        of,
        over,
        nearest,
    }))
}

/// Nearest classes by the SVM bank: of true features by the oracle where it has run, which knows those of silent clips as
/// well, else of the recorded ones.
fn nearest(results: &Results, scope: &Scope, term: &Term) -> Result<Vec<Nearest>, Error> {
    let oracle = Part::Control { audio: term.name.clone(), control: Control::Oracle };
    let has_oracle = results.experiment.cells.iter().any(|cell| cell.part == oracle && cell.skipped.is_none());
    let of_truth = match has_oracle {
        true => results.alone(scope, &Term { choice: Some(Choice::Control(Control::Oracle)), ..term.clone() })?,
        false => results.alone(scope, &Term { choice: None, ..term.clone() })?,
    };
    let (Some((truth, view)), Some((made, _))) = (of_truth, results.alone(scope, term)?) else { return Ok(Vec::new()) };
    let Some((_, truth)) = truth.first() else { return Ok(Vec::new()) };
    let truth = tops(truth);
    let made: Vec<Vec<Option<usize>>> = made.iter().map(|(_, scores)| tops(scores)).collect();
    let classes = &results.dataset.manifest.classes;
    let labels = &view.shown().labels;
    let most = |votes: &[usize]| -> Option<(String, f64)> {
        let mut counts = vec![0u64; classes.len()];
        votes.iter().for_each(|class| counts[*class] += 1);
        let best = counts.iter().enumerate().max_by_key(|(class, n)| (**n, std::cmp::Reverse(*class)))?;
        Some((classes[best.0].clone(), percent(*best.1, votes.len() as u64)?))
    };
    let of_class = |class: usize| {
        let clips: Vec<usize> = (0..labels.len()).filter(|&i| labels[i] == class && truth[i].is_some()).collect();
        let of_true: Vec<usize> = clips.iter().filter_map(|&i| truth[i]).collect();
        let of_made: Vec<usize> = made.iter().flat_map(|made| clips.iter().filter_map(|&i| made[i])).collect();
        let same = made.iter().flat_map(|made| clips.iter().filter(|&&i| made[i] == truth[i])).count();
        Nearest {
            class: classes[class].clone(),
            clips: clips.len(),
            of_true: most(&of_true),
            of_generated: most(&of_made),
            same: percent(same as u64, (clips.len() * made.len()) as u64),
        }
    };
    Ok((0..classes.len()).map(of_class).collect())
}

fn lines(head: Vec<String>, rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut out = csv::WriterBuilder::new().from_writer(Vec::new());
    for fields in std::iter::once(head).chain(rows) {
        // Writing to memory does not fail.
        let _ = out.write_record(fields.iter().map(|field| spreadsheet_safe(field)));
    }
    out.into_inner().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{SplitCounts, ValClips, ViewRecord};
    use std::rc::Rc;

    fn predicted(seeds: &[&[Option<usize>]]) -> Predicted {
        let val = ValClips {
            clips: ["p", "q", "r", "s"].map(String::from).into(),
            labels: vec![0, 0, 1, 2],
            sounded: vec![true, false, false, false],
        };
        let view = ViewRecord { id: 1, dataset_id: 1, missing: None, counts: SplitCounts::default(), val, test: None };
        let seeds = seeds.iter().enumerate().map(|(seed, all)| (Some(seed as u64), all.to_vec())).collect();
        Predicted { seeds, view: Rc::new(view) }
    }

    #[test]
    fn classes_are_counted_by_what_they_are_taken_for() {
        let classes = ["a", "b", "=c"].map(String::from);
        let of = predicted(&[&[Some(0), Some(1), Some(1), None], &[Some(0), Some(0), Some(2), Some(1)]]);
        let c = Confusion::of(&of, &classes);
        assert_eq!(c.counts, [3, 1, 0, 0, 1, 1, 0, 1, 0]);
        assert_eq!((c.unscored.clone(), c.seeds), (vec![0, 0, 1], 2));
        assert_eq!((c.recall(0), c.recall(1), c.recall(2)), (Some(75.0), Some(50.0), Some(0.0)));
        assert_eq!(c.precision(1), Some(100.0 / 3.0));
        assert_eq!(c.precision(2), Some(0.0));
        assert_eq!((c.taken_for(0), c.taken_for(1), c.taken_for(2)), (Some((1, 1)), Some((2, 1)), Some((1, 1))));
        let csv = c.csv();
        assert!(
            csv.starts_with(
                "class,seeds,clips,unscored,recall,precision,as a,as b,as =c\na,2,4,0,75.0000,100.0000,3,1,0\n"
            ),
            "{csv}"
        );
        assert!(!csv.contains("\n=c"), "no spreadsheet takes a name for a formula: {csv}");
    }

    #[test]
    fn turned_clips_are_those_whose_rightness_changed() {
        let classes = ["a", "b", "c"].map(String::from);
        let over = predicted(&[&[Some(0), Some(1), Some(1), None], &[Some(0), Some(1), Some(1), Some(0)]]);
        let of = predicted(&[&[Some(0), Some(0), Some(0), Some(2)], &[Some(0), Some(0), Some(1), Some(0)]]);
        let all = turned(&of, &over, &classes);
        let told: Vec<(&str, usize, usize, &str, &str)> = all
            .iter()
            .map(|t| (t.clip.as_str(), t.to_right, t.to_wrong, t.before.as_str(), t.after.as_str()))
            .collect();
        assert_eq!(told, [("q", 2, 0, "b", "a"), ("s", 1, 0, "", "c"), ("r", 0, 1, "b", "a")]);
        assert!(turned_csv(&all).contains("q,a,false,2,0,2,b,a\n"));
        // A sum that no seed belongs to is compared with every seed.
        let mut alone = predicted(&[&[Some(1); 4]]);
        alone.seeds[0].0 = None;
        assert_eq!(
            turned(&of, &alone, &classes).iter().find(|t| t.clip == "p").map(|t| (t.to_right, t.seeds)),
            Some((2, 2))
        );
    }
}
