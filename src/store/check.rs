//! Whether the file is whole: SQLite's own checks, the hash of every blob, and that every finished run has what a report
//! needs. Goes on after each thing it finds, so that one learns what can still be read.

use super::inspect::{self, Inspector};
use super::row_hash::Table;
use super::{Error, Store, VERSION};
use serde::Serialize;
use sqlx::Row;

/// What a check of the file found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Check {
    /// Runs looked at.
    pub runs: usize,
    /// Blobs whose hash was recomputed.
    pub blobs: usize,
    /// What is wrong.
    pub damage: Vec<Damage>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Damage {
    /// The run, where it is about one.
    pub run: Option<String>,
    /// Its cell and seed.
    pub name: Option<String>,
    /// What.
    pub what: String,
}

/// Lines of SQLite's report that are shown.
const LINES: usize = 20;

impl Store {
    /// Checks everything that can be checked without the data set. An error is a file that cannot be read at all.
    pub fn check(&self) -> Result<Check, Error> {
        let mut check = Check::default();
        let add = |check: &mut Check, what: String| check.damage.push(Damage { run: None, name: None, what });
        match self.rows(sqlx::query("PRAGMA integrity_check(100)")) {
            Ok(rows) => {
                let lines: Vec<String> = rows.iter().map(|r| self.get(r, 0)).collect::<Result<_, _>>()?;
                let wrong: Vec<&String> = lines.iter().filter(|l| *l != "ok").collect();
                wrong.iter().take(LINES).for_each(|l| add(&mut check, format!("integrity: {}", l.trim())));
                if wrong.len() > LINES {
                    add(&mut check, format!("integrity: {} more", wrong.len() - LINES));
                }
            }
            Err(e) => add(&mut check, format!("integrity: {}", why(&e))),
        }
        if let Some(what) = self.cut_off()? {
            add(&mut check, what);
        }
        match self.rows(sqlx::query("PRAGMA foreign_key_check")) {
            Ok(rows) => {
                for row in rows.iter().take(LINES) {
                    let (table, parent): (String, String) = (self.get(row, 0)?, self.get(row, 2)?);
                    add(&mut check, format!("a row of {table} refers to a row of {parent} that is not there"));
                }
            }
            Err(e) => add(&mut check, format!("references: {}", why(&e))),
        }
        match self.look(async |inspector| Everything::of(inspector).await) {
            Ok(all) => {
                check.runs = all.runs;
                check.blobs = all.blobs;
                check.damage.extend(all.damage);
            }
            Err(e) => add(&mut check, why(&e)),
        }
        match self.check_weights() {
            Ok((files, wrong)) => {
                check.blobs += files;
                for (run, what) in wrong {
                    let known = run.as_deref().map(|id| self.run(id)).transpose().ok().flatten().flatten();
                    let name = known.map(|r| r.seed.map_or(r.key.clone(), |seed| format!("{} seed {seed}", r.key)));
                    check.damage.push(Damage { run, name, what });
                }
            }
            Err(e) => add(&mut check, format!("the weights: {}", why(&e))),
        }
        match self.experiment_names() {
            Ok(names) => {
                for name in names {
                    if let Err(e) = self.latest_experiment(&name) {
                        add(&mut check, format!("experiment {name:?}: {}", why(&e)));
                    }
                }
            }
            Err(e) => add(&mut check, format!("the experiments: {}", why(&e))),
        }
        Ok(check)
    }

    /// SQLite's quick check: `None` where it finds nothing.
    pub fn quick_check(&self) -> Result<Option<String>, Error> {
        let rows = self.rows(sqlx::query("PRAGMA quick_check(1)"))?;
        let line: String = rows.first().map_or_else(|| Ok("no answer".into()), |r| self.get(r, 0))?;
        Ok((line != "ok").then_some(line))
    }

    /// Looks through one connection that reads.
    fn look<T>(&self, work: impl AsyncFnOnce(&mut Inspector<'_>) -> Result<T, sqlx::Error>) -> Result<T, Error> {
        let looked = async {
            let mut connection = self.readers.acquire().await?;
            work(&mut Inspector::new(&mut connection, "main")).await
        };
        self.runtime.block_on(looked).map_err(self.fail())
    }

    /// Whether the file ends in the middle of a page, which SQLite takes for a page of zeros where it only looks.
    pub(super) fn cut_off(&self) -> Result<Option<String>, Error> {
        let rows = self.rows(sqlx::query("PRAGMA page_size"))?;
        let page: i64 = rows.first().map_or(Ok(0), |r| self.get(r, 0))?;
        let length = self.path.metadata().map_or(0, |m| m.len());
        let cut = page > 0 && !length.is_multiple_of(page.unsigned_abs());
        Ok(cut.then(|| format!("the file is cut off: {length} bytes are no whole number of pages of {page}")))
    }

    /// The version of the file's schema; it is this program's wherever a store could be opened.
    pub fn schema_version(&self) -> i64 {
        VERSION
    }
}

impl Damage {
    fn of_run(id: &str, name: &str, what: String) -> Damage {
        Damage { run: Some(id.into()), name: Some(name.into()), what }
    }

    fn of_row(table: Table, row: &str, what: &str) -> Damage {
        Damage { run: None, name: None, what: format!("{} {row}: {what}", table.noun()) }
    }
}

/// A row of id, key and seed: id and name.
fn named(row: &sqlx::sqlite::SqliteRow) -> Result<(String, String), sqlx::Error> {
    let (key, seed): (String, Option<i64>) = (row.try_get(1)?, row.try_get(2)?);
    Ok((row.try_get(0)?, seed.map_or(key.clone(), |s| format!("{key} seed {}", s as u64))))
}

/// What every row of a store came to.
struct Everything {
    runs: usize,
    blobs: usize,
    damage: Vec<Damage>,
}

impl Everything {
    async fn of(inspector: &mut Inspector<'_>) -> Result<Everything, sqlx::Error> {
        let mut damage = Vec::new();
        for table in Table::ALL {
            let rows = format!("SELECT id FROM {} ORDER BY id", table.name());
            let rows = sqlx::query(sqlx::AssertSqlSafe(rows)).fetch_all(inspector.connection()).await;
            match rows {
                Err(e) => damage.push(Damage::of_row(table, "list", &inspect::why(&e))),
                Ok(rows) => {
                    for row in &rows {
                        let id: i64 = row.try_get(0)?;
                        let wrong = inspector.of_table(table, id).await;
                        damage.extend(wrong.iter().map(|what| Damage::of_row(table, &id.to_string(), what)));
                    }
                }
            }
        }
        environments(inspector, &mut damage).await?;
        let runs =
            sqlx::query("SELECT id, key, seed FROM run ORDER BY rowid").fetch_all(inspector.connection()).await?;
        for run in &runs {
            let (id, name) = named(run)?;
            let wrong = inspector.run(&id).await;
            damage.extend(wrong.into_iter().map(|what| Damage::of_run(&id, &name, what)));
        }
        Ok(Everything { runs: runs.len(), blobs: inspector.blobs, damage })
    }
}

/// What explains numbers is named by its hash.
async fn environments(inspector: &mut Inspector<'_>, damage: &mut Vec<Damage>) -> Result<(), sqlx::Error> {
    let sql = "SELECT id, digest, record FROM environment ORDER BY id";
    for row in &sqlx::query(sql).fetch_all(inspector.connection()).await? {
        let record: &str = row.try_get(2)?;
        if blake3::hash(record.as_bytes()).to_hex().as_str() != row.try_get::<&str, _>(1)? {
            let what = format!("environment {}: it is not what was recorded", row.try_get::<i64, _>(0)?);
            damage.push(Damage { run: None, name: None, what });
        }
    }
    Ok(())
}

/// An error without the file's name, which is told once.
fn why(error: &Error) -> String {
    match error {
        Error::Damaged { why, .. } => why.clone(),
        other => other.to_string().lines().next().unwrap_or_default().into(),
    }
}
