//! The variants of an experiment that a store holds: each configuration on each data set that it was run with. The last
//! one that was run is what a report shows; any other can be picked.

use super::{Counts, Error, ExperimentRecord, Store};
use serde::Serialize;
use std::collections::{BTreeSet, HashMap};

/// One variant of an experiment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Variant {
    /// The experiment's name.
    pub experiment: String,
    /// Which of the experiment's variants it is, counted from 1 in the order in which they came into this store.
    pub number: usize,
    /// Its digest, over configuration (less seeds) and data set; a unique beginning names it.
    pub id: String,
    /// The data set's name.
    pub dataset: String,
    /// The data set's fingerprint.
    pub data: String,
    /// The data set's name, with the beginning of its fingerprint behind an `@` where the store has another data set of
    /// this name.
    pub label: String,
    /// The `--set` values.
    pub sets: Vec<String>,
    /// The seeds of the last call of `run`.
    pub seeds: Vec<u64>,
    /// The seeds that `experiment.yaml` and `--set` declare; `None` where an earlier version recorded the experiment.
    pub declared: Option<Vec<u64>>,
    /// When it was last run, by the clock of the machine that ran it.
    pub used_at: String,
    /// Whether it is the variant of its experiment that was run last here.
    pub latest: bool,
    /// How many of its runs are in each state.
    pub runs: Counts,
    /// Its row.
    #[serde(skip)]
    pub row: i64,
}

/// Which variant is meant: the one that was run last, unless more is said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pick {
    /// `--variant`: a number, or the beginning of an id.
    pub variant: Option<String>,
    /// `--dataset`: a data set's name, the beginning of its fingerprint, or NAME@BEGINNING.
    pub dataset: Option<String>,
    /// `--seeds`: only these of its seeds.
    pub seeds: Option<Vec<u64>>,
}

/// Why no variant, or more than one, is what was meant.
#[derive(Debug, thiserror::Error)]
pub enum PickError {
    /// The store cannot be read.
    #[error("{0}")]
    Store(#[from] Error),
    /// The store has no such experiment.
    #[error("no run of experiment {experiment:?} in {} ({})", store.display(), known_experiments(known))]
    NoExperiment {
        /// The name that was asked for.
        experiment: String,
        /// The store.
        store: std::path::PathBuf,
        /// The experiments that it has.
        known: Vec<String>,
    },
    /// No variant of the experiment is like that.
    #[error(
        "experiment {experiment:?} has no variant {asked}\n  it has: {}\n  next: one of these with --variant N",
        variants(known)
    )]
    NoVariant {
        /// The experiment.
        experiment: String,
        /// What was asked for.
        asked: String,
        /// Those that there are.
        known: Vec<Variant>,
    },
    /// Several variants, or data sets, are like that.
    #[error(
        "{asked} fits several variants of experiment {experiment:?}\n  {}\n  next: --variant N, or more of the id; NAME@FINGERPRINT for a data set",
        variants(fitting)
    )]
    Several {
        /// The experiment.
        experiment: String,
        /// What was asked for.
        asked: String,
        /// Those that fit.
        fitting: Vec<Variant>,
    },
    /// A seed that the variant was never run with.
    #[error(
        "variant {} of experiment {experiment:?} has no run of seed {seed} (it has {})\n  next: unmute run with --seeds {seed}",
        number,
        numbers(known)
    )]
    NoSeed {
        /// The experiment.
        experiment: String,
        /// The variant's number.
        number: usize,
        /// The seed.
        seed: u64,
        /// Those of its finished runs.
        known: Vec<u64>,
    },
}

fn known_experiments(known: &[String]) -> String {
    if known.is_empty() { "the store is empty".into() } else { format!("the store has: {}", known.join(", ")) }
}

fn numbers(seeds: &[u64]) -> String {
    match seeds.is_empty() {
        true => "none".into(),
        false => seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", "),
    }
}

fn variants(all: &[Variant]) -> String {
    const SHOWN: usize = 12;
    let mut lines: Vec<String> = all.iter().take(SHOWN).map(Variant::describe).collect();
    if all.len() > SHOWN {
        lines.push(format!("and {} more; `unmute status` lists them", all.len() - SHOWN));
    }
    lines.join("\n  ")
}

impl Variant {
    /// `2 (3fa9c1d2e4f5) on clips --set train.lr=0.01, seeds 0, 1`.
    pub fn describe(&self) -> String {
        let id = self.id.get(..12).unwrap_or(&self.id);
        let sets = self.sets.iter().fold(String::new(), |text, set| text + " --set " + set);
        let latest = if self.latest { ", run last" } else { "" };
        format!("{} ({id}) on {}{sets}, seeds {}{latest}", self.number, self.label, numbers(&self.seeds))
    }

    /// Whether `asked`, a name, the beginning of a fingerprint, or both around an `@`, means its data set.
    fn is_on(&self, asked: &str) -> bool {
        let begins = |start: &str| start.len() >= 4 && self.data.starts_with(&start.to_lowercase());
        asked == self.dataset
            || begins(asked)
            || asked.rsplit_once('@').is_some_and(|(name, start)| name == self.dataset && begins(start))
    }
}

impl Store {
    /// Every variant of every experiment; the experiment that was run last comes first, and of each the variant that was.
    pub fn variants(&self) -> Result<Vec<Variant>, Error> {
        let mut runs: HashMap<i64, Counts> = HashMap::new();
        let counts = self.rows(sqlx::query(
            "SELECT c.experiment_id, r.state, count(DISTINCT r.id) FROM cell c JOIN run r ON r.cell = c.fingerprint
             GROUP BY c.experiment_id, r.state",
        ))?;
        for row in &counts {
            runs.entry(self.get(row, 0)?).or_default().insert(self.get(row, 1)?, self.get(row, 2)?);
        }
        let rows = self.rows(sqlx::query(
            "SELECT e.id, e.name, e.digest, d.name, d.fingerprint, e.sets, json_extract(e.config, '$.seeds'), e.declared, e.used_at,
                 (SELECT count(*) FROM experiment o WHERE o.name = e.name AND o.id <= e.id),
                 (SELECT max(o.used) FROM experiment o WHERE o.name = e.name) AS last,
                 (SELECT count(DISTINCT o.fingerprint) FROM dataset o WHERE o.name = d.name)
             FROM experiment e JOIN dataset d ON d.id = e.dataset_id ORDER BY last DESC, e.name, e.used DESC, e.id DESC",
        ))?;
        let mut all: Vec<Variant> = Vec::new();
        for row in &rows {
            let (id, experiment): (i64, String) = (self.get(row, 0)?, self.get(row, 1)?);
            let (dataset, data): (String, String) = (self.get(row, 3)?, self.get(row, 4)?);
            let alone = self.get::<i64>(row, 11)? <= 1;
            let label = if alone { dataset.clone() } else { format!("{dataset}@{}", data.get(..8).unwrap_or(&data)) };
            let seeds: Option<String> = self.get(row, 6)?;
            let declared: Option<String> = self.get(row, 7)?;
            all.push(Variant {
                number: self.get::<i64>(row, 9)?.unsigned_abs() as usize,
                id: self.get(row, 2)?,
                label,
                sets: self.json(self.get::<&str>(row, 5)?, "experiment.sets")?,
                seeds: seeds
                    .map_or_else(|| Ok(Vec::new()), |text| self.json(&text, "the seeds of experiment.config"))?,
                declared: declared.map(|text| self.json(&text, "experiment.declared")).transpose()?,
                used_at: self.get(row, 8)?,
                latest: all.last().is_none_or(|before| before.experiment != experiment),
                runs: runs.remove(&id).unwrap_or_default(),
                row: id,
                experiment,
                dataset,
                data,
            });
        }
        Ok(all)
    }

    /// The latest time in the store, if it is later than now: the clock of a machine was ahead when an experiment was run.
    pub fn clock_ahead(&self) -> Result<Option<String>, Error> {
        let rows =
            self.rows(sqlx::query("SELECT max(used_at) FROM experiment WHERE used_at > ?").bind(super::clock::now()))?;
        rows.first().map_or(Ok(None), |row| self.get(row, 0))
    }

    /// The variant of an experiment that is meant, with what the store knows of it. Only the finished runs of `seeds` are
    /// its own where these are given ([`ExperimentRecord::config`] then has them as its seeds).
    pub fn pick(&self, experiment: &str, pick: &Pick) -> Result<(Variant, ExperimentRecord), PickError> {
        let all = self.variants()?;
        let own: Vec<Variant> = all.iter().filter(|v| v.experiment == experiment).cloned().collect();
        if own.is_empty() {
            let known = all.iter().filter(|v| v.latest).map(|v| v.experiment.clone()).collect();
            return Err(PickError::NoExperiment { experiment: experiment.into(), store: self.path.clone(), known });
        }
        let chosen = choose(&own, experiment, pick)?;
        let mut record = self.experiment_at(chosen.row)?;
        if let Some(seeds) = &pick.seeds {
            let known = self.finished_seeds(chosen.row)?;
            if let Some(&seed) = seeds.iter().find(|seed| !known.contains(seed)) {
                let known = known.into_iter().collect();
                return Err(PickError::NoSeed { experiment: experiment.into(), number: chosen.number, seed, known });
            }
            record.config.seeds.clone_from(seeds);
        }
        Ok((chosen, record))
    }

    /// Seeds of an experiment's finished runs.
    fn finished_seeds(&self, row: i64) -> Result<BTreeSet<u64>, Error> {
        let sql = "SELECT DISTINCT r.seed FROM cell c JOIN run r ON r.cell = c.fingerprint
             WHERE c.experiment_id = ? AND r.state = 'done' AND r.seed IS NOT NULL";
        let rows = self.rows(sqlx::query(sql).bind(row))?;
        rows.iter().map(|r| Ok(self.get::<i64>(r, 0)? as u64)).collect()
    }
}

/// The one of an experiment's variants (the last used first) that is meant.
fn choose(own: &[Variant], experiment: &str, pick: &Pick) -> Result<Variant, PickError> {
    let fits = |v: &&Variant| pick.dataset.as_ref().is_none_or(|asked| v.is_on(asked));
    let on_data: Vec<&Variant> = own.iter().filter(fits).collect();
    let of_dataset = |asked: &Option<String>| asked.as_ref().map_or(String::new(), |d| format!("on data set {d:?}"));
    let none = |asked: String| PickError::NoVariant { experiment: experiment.into(), asked, known: own.to_vec() };
    let several = |asked: String, fitting: &[&Variant]| PickError::Several {
        experiment: experiment.into(),
        asked,
        fitting: fitting.iter().map(|v| (*v).clone()).collect(),
    };
    if on_data.is_empty() {
        return Err(none(of_dataset(&pick.dataset)));
    }
    let Some(variant) = &pick.variant else {
        // Two data sets of one name are never taken for one another.
        let data: BTreeSet<&str> = on_data.iter().map(|v| v.data.as_str()).collect();
        return match pick.dataset {
            Some(_) if data.len() > 1 => Err(several(of_dataset(&pick.dataset), &on_data)),
            _ => on_data.first().map(|v| (*v).clone()).ok_or_else(|| none(of_dataset(&pick.dataset))),
        };
    };
    let number: Option<usize> = variant.parse().ok().filter(|_| variant.len() < 7);
    let is = |v: &&&Variant| match number {
        Some(number) => v.number == number,
        None => !variant.is_empty() && v.id.starts_with(&variant.to_lowercase()),
    };
    let fitting: Vec<&Variant> = on_data.iter().filter(is).copied().collect();
    match &fitting[..] {
        [one] => Ok((*one).clone()),
        [] => Err(none(format!("{variant:?} {}", of_dataset(&pick.dataset)).trim().into())),
        _ => Err(several(format!("{variant:?}"), &fitting)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variant(number: usize, id: &str, dataset: &str, data: &str) -> Variant {
        Variant {
            experiment: "e".into(),
            number,
            id: id.into(),
            dataset: dataset.into(),
            data: data.into(),
            label: dataset.into(),
            sets: Vec::new(),
            seeds: vec![0, 1],
            declared: None,
            used_at: String::new(),
            latest: number == 4,
            runs: Counts::new(),
            row: number as i64,
        }
    }

    /// Four variants, the last used first, on three data sets, two of which have one name.
    fn four() -> Vec<Variant> {
        vec![
            variant(4, "abc4", "clips", "11112222"),
            variant(1, "abd1", "clips", "33334444"),
            variant(2, "ccc2", "other", "55556666"),
            variant(3, "ddd3", "clips", "11112222"),
        ]
    }

    fn number(variant: Option<&str>, dataset: Option<&str>) -> Result<usize, PickError> {
        let pick = Pick { variant: variant.map(Into::into), dataset: dataset.map(Into::into), seeds: None };
        choose(&four(), "e", &pick).map(|v| v.number)
    }

    #[test]
    fn the_last_used_is_meant_unless_more_is_said() {
        assert_eq!(number(None, None).unwrap(), 4);
        assert_eq!(number(Some("3"), None).unwrap(), 3);
        assert_eq!(number(Some("ABD"), None).unwrap(), 1);
        assert_eq!(number(None, Some("other")).unwrap(), 2);
        assert_eq!(number(None, Some("clips@3333")).unwrap(), 1);
        assert_eq!(number(None, Some("1111")).unwrap(), 4);
        assert_eq!(number(Some("3"), Some("clips")).unwrap(), 3);
    }

    #[test]
    fn two_data_sets_of_one_name_are_told_apart_and_what_is_not_there_is_listed() {
        assert!(matches!(number(None, Some("clips")), Err(PickError::Several { fitting, .. }) if fitting.len() == 3));
        assert!(matches!(number(Some("ab"), None), Err(PickError::Several { fitting, .. }) if fitting.len() == 2));
        assert!(matches!(number(Some("9"), None), Err(PickError::NoVariant { .. })));
        assert!(matches!(number(Some(""), None), Err(PickError::NoVariant { .. })));
        let told = number(Some("2"), Some("clips")).unwrap_err().to_string();
        assert!(
            told.contains("no variant \"2\" on data set \"clips\"") && told.contains("1 (abd1) on clips"),
            "{told}"
        );
    }
}
