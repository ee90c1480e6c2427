//! An experiment is a folder of YAML: `experiment.yaml` (grid, seeds, training), `tables.yaml`, `claims.yaml`,
//! `ledger.yaml`. It may extend another folder and be changed from the command line; whatever is wrong is told with file,
//! line, column and the nearest valid name.

mod bounds;
pub mod claims;
pub mod config;
pub mod fusion_expr;
pub mod grid;
pub mod layers;
pub mod ledger;
mod limits;
pub(crate) mod problem;
pub mod same;
pub mod schema;
pub mod tables;
mod unclosed;
pub mod yaml;

pub use claims::Claims;
pub use config::Config;
pub use grid::{Cell, Part};
pub use ledger::Ledger;
pub use problem::Problem;
pub use tables::{Table, TableId, Tables};

use crate::model::settings;
use layers::Layers;
use std::path::{Path, PathBuf};
use yaml::Document;

/// A resolved experiment.
#[derive(Clone, Debug)]
pub struct Experiment {
    /// Its folder.
    pub dir: PathBuf,
    /// `experiment.yaml`, resolved.
    pub config: Config,
    /// The published tables.
    pub tables: Tables,
    /// The paper's claims.
    pub claims: Claims,
    /// The open choices.
    pub ledger: Ledger,
    /// The `--set` values it was changed with.
    pub sets: Vec<String>,
    /// The seeds that it declares, whichever of them a call asks for in `config.seeds`.
    pub declared_seeds: Vec<u64>,
    layers: Layers,
}

impl Experiment {
    /// Loads a folder, what it extends, and `--set` values.
    ///
    /// ```
    /// use std::path::Path;
    /// use unmute::experiment::Experiment;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let paper = Path::new("experiments/icassp2019");
    /// let experiment = Experiment::load(paper, &["train.epochs=5".into(), "grid.audio=[vggish]".into()])?;
    /// assert_eq!(experiment.config.train.epochs, 5);
    /// let cells = experiment.cells(&["rgb".into(), "flow".into()])?;
    /// assert!(cells.iter().any(|cell| cell.key() == "vggish/lstm/l2/with"));
    ///
    /// // A slip is told with the nearest valid name.
    /// let problem = Experiment::load(paper, &["train.epoch=5".into()]).unwrap_err().to_string();
    /// assert!(problem.contains("epochs"), "{problem}");
    /// # Ok(())
    /// # }
    /// ```
    pub fn load(dir: &Path, sets: &[String]) -> Result<Experiment, Problem> {
        let chain = chain(dir)?;
        let mut layers = Layers::new(chain.iter().map(|(_, document)| document.clone()).collect());
        for set in sets {
            layers.push(Document::of_set(set)?);
        }
        // Only `missing` can be taken away: it is the one section that may be absent.
        layers.emptied(&["missing"])?;
        let config: Config = layers.read()?;
        config.check().map_err(|(path, message)| layers.at(&path, format!("{path}: {message}")))?;
        sets_beside_axes(&config, &layers)?;
        let audios = axis_words(&config, "audio");
        // Problems with the grid show before any data set is opened.
        grid::cells(&config, &layers, &[])?;
        let folder_of = |file: &str| chain.iter().rev().map(|(dir, _)| dir).find(|dir| dir.join(file).is_file());
        let beside = |file: &str| -> Result<Option<Layers>, Problem> {
            let path = folder_of(file).map(|dir| dir.join(file));
            path.map(|path| Ok(Layers::new(vec![Document::read(&path)?]))).transpose()
        };
        let mut tables = beside("tables.yaml")?
            .map_or(Ok(Tables::default()), |l| Tables::read(&l, &known_audios(&audios, &chain)))?;
        // Inherited tables were written for another grid, and --set may have changed this one.
        let own = folder_of("tables.yaml").is_some_and(|of| of == dir) && !sets.iter().any(|s| s.starts_with("grid"));
        if let Some(layers) = beside("tables.yaml")? {
            tables.at_points_of(&config.grid, &layers, own)?;
        }
        let tables = tables.with_externals(&config);
        // Claims that are inherited while the tables are the folder's own may name rows that these do not have.
        let of_these = folder_of("claims.yaml") == folder_of("tables.yaml");
        let known = Some(&tables).filter(|_| of_these);
        let claims = beside("claims.yaml")?.map_or(Ok(Claims::default()), |l| Claims::read(&l, known))?;
        let json = settings::whole(&config);
        let mut ledger = beside("ledger.yaml")?.map_or(Ok(Ledger::default()), |l| Ledger::read(&l, &json))?;
        if let Some(place) = chain.iter().position(|(dir, _)| Some(dir) == folder_of("ledger.yaml")) {
            // What the folder says that the ledger was written in, without what was laid over it since.
            let below = Layers::new(chain[..=place].iter().map(|(_, document)| document.clone()).collect());
            ledger.written_for(&below.read::<Config>().map_or(json, |c| settings::whole(&c)));
            ledger.hold_against(&config);
        }
        let declared_seeds = config.seeds.clone();
        Ok(Experiment { dir: dir.into(), config, tables, claims, ledger, sets: sets.to_vec(), declared_seeds, layers })
    }

    /// An experiment as a store kept it: its cells can be made again; the YAML that it was written in is not needed.
    pub fn stored(mut config: Config, sets: Vec<String>) -> Result<Experiment, Problem> {
        // A variant's name, `NAME~A4.1`, is none that a folder may have.
        config.name = config.name.replace('~', ".");
        // JSON is YAML, so that problems have a document to point into.
        let text = serde_json::to_string_pretty(&config).unwrap_or_default();
        let layers = Layers::new(vec![Document::parse(Path::new("the stored experiment.yaml"), &text)?]);
        config.check().map_err(|(path, message)| layers.at(&path, format!("{path}: {message}")))?;
        let (tables, claims, ledger) = (Tables::default(), Claims::default(), Ledger::default());
        let declared_seeds = config.seeds.clone();
        Ok(Experiment { dir: PathBuf::new(), config, tables, claims, ledger, sets, declared_seeds, layers })
    }

    /// Every cell on a data set with these streams.
    pub fn cells(&self, streams: &[String]) -> Result<Vec<Cell>, Problem> {
        grid::cells(&self.config, &self.layers, streams)
    }

    /// A problem with the value at `path` of `experiment.yaml`.
    pub fn problem(&self, path: &str, message: impl Into<String>) -> Problem {
        self.layers.at(path, message)
    }
}

/// A `--set` of a key that the grid varies would say nothing: every cell has a value of the axis.
fn sets_beside_axes(config: &Config, layers: &Layers) -> Result<(), Problem> {
    for axis in config.grid.keys().filter(|axis| !grid::AXES.contains(&axis.as_str())) {
        let sets = layers.documents().iter().filter(|document| document.path() == Path::new("--set"));
        for document in sets {
            let key = document.text().split('=').next().unwrap_or_default();
            let key = &key.split('.').map(str::trim).collect::<Vec<_>>().join(".");
            if key == axis || axis.strip_prefix(key.as_str()).is_some_and(|rest| rest.starts_with('.')) {
                let message = format!("{axis} is an axis of the grid, which has the last word on it");
                let help = format!("change the axis: --set 'grid.{axis}=[...]'");
                return Err(document.at_key(key, message).help(help));
            }
        }
    }
    Ok(())
}

/// The words on an axis.
pub fn axis_words(config: &Config, axis: &str) -> Vec<String> {
    let values = config.grid.get(axis).map(Vec::as_slice).unwrap_or_default();
    values.iter().filter_map(|v| v.as_str().map(String::from)).collect()
}

/// Audio features that tables may name: the grid's, and those of the experiments that it extends (whose tables it may
/// have inherited; their rows are then skipped with a reason).
fn known_audios(own: &[String], chain: &[(PathBuf, Document)]) -> Vec<String> {
    let mut known = own.to_vec();
    for (_, document) in chain {
        if let Some(values) = document.value().get("grid").and_then(|g| g.get("audio")).and_then(|a| a.as_sequence()) {
            known.extend(values.iter().filter_map(|v| v.as_str().map(String::from)));
        }
    }
    known.dedup();
    known
}

/// The folders that an experiment is made of, the extended one first.
fn chain(dir: &Path) -> Result<Vec<(PathBuf, Document)>, Problem> {
    let mut chain: Vec<(PathBuf, Document)> = Vec::new();
    let mut next = Some(dir.to_path_buf());
    while let Some(dir) = next {
        let path = dir.join("experiment.yaml");
        if !path.is_file() {
            let problem = match chain.last() {
                Some((_, child)) => child.at("extends", format!("extends: there is no {}", path.display())),
                None => Problem::of_file(&dir, "not an experiment: it has no experiment.yaml")
                    .help("give a folder such as experiments/icassp2019"),
            };
            return Err(problem);
        }
        let document = Document::read(&path)?;
        let same = |a: &Path, b: &Path| std::fs::canonicalize(a).ok() == std::fs::canonicalize(b).ok();
        if chain.iter().any(|(seen, _)| same(seen, &dir)) {
            return Err(document.at("extends", "extends: the experiments extend each other in a circle"));
        }
        next = match document.value().get("extends") {
            None | Some(serde_yaml::Value::Null) => None,
            Some(serde_yaml::Value::String(parent)) => Some(dir.join(parent)),
            Some(_) => return Err(document.at("extends", "extends: a folder's path was expected")),
        };
        chain.push((dir, document));
    }
    chain.reverse();
    Ok(chain)
}
