//! Which runs' weights were kept. Files lie beside the store; here is what names them, and the copies that travel inside.

use super::{Error, Store};
use std::collections::BTreeSet;
use std::path::Path;

/// A run's file of weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptWeights {
    /// The run.
    pub run: String,
    /// BLAKE3 of the file.
    pub hash: String,
    /// Its length.
    pub bytes: u64,
}

/// What is wrong with weights, and of which run.
type Wrong = (Option<String>, String);

impl Store {
    /// Notes which file has a run's weights, in place of an earlier one.
    pub fn put_weights(&self, kept: &KeptWeights) -> Result<(), Error> {
        self.transact(false, async |t| {
            sqlx::query("INSERT OR REPLACE INTO weights VALUES (?, ?, ?)")
                .bind(&kept.run)
                .bind(&kept.hash)
                .bind(kept.bytes as i64)
                .execute(&mut **t)
                .await
                .map(|_| ())
        })
    }

    /// A run's weights; `None` where they were not kept.
    pub fn weights(&self, run: &str) -> Result<Option<KeptWeights>, Error> {
        Ok(self.kept(sqlx::query("SELECT run_id, hash, bytes FROM weights WHERE run_id = ?").bind(run))?.pop())
    }

    /// All weights that were kept, in the order of their runs.
    pub fn all_weights(&self) -> Result<Vec<KeptWeights>, Error> {
        self.kept(sqlx::query("SELECT run_id, hash, bytes FROM weights ORDER BY run_id"))
    }

    /// Those of a cell's finished runs, by seed.
    pub fn weights_of_cell(&self, cell: &str) -> Result<Vec<KeptWeights>, Error> {
        let sql = "SELECT w.run_id, w.hash, w.bytes FROM weights w JOIN run r ON r.id = w.run_id
            WHERE r.cell = ? AND r.state = 'done' ORDER BY r.seed";
        self.kept(sqlx::query(sql).bind(cell))
    }

    fn kept(&self, query: super::select::Query<'_>) -> Result<Vec<KeptWeights>, Error> {
        let rows = self.rows(query)?;
        let kept = rows.iter().map(|r| {
            let bytes: i64 = self.get(r, 2)?;
            Ok(KeptWeights { run: self.get(r, 0)?, hash: self.get(r, 1)?, bytes: bytes.unsigned_abs() })
        });
        kept.collect()
    }

    /// Takes out these runs' weights; gives the hashes of files that no run needs any more.
    pub fn drop_weights(&self, dropped: &[KeptWeights]) -> Result<Vec<String>, Error> {
        self.transact(false, async |t| {
            for kept in dropped {
                sqlx::query("DELETE FROM weights WHERE run_id = ?").bind(&kept.run).execute(&mut **t).await?;
            }
            sqlx::query("DELETE FROM weights_file WHERE hash NOT IN (SELECT hash FROM weights)")
                .execute(&mut **t)
                .await?;
            let mut free = BTreeSet::new();
            for kept in dropped {
                let used = sqlx::query("SELECT 1 FROM weights WHERE hash = ?").bind(&kept.hash);
                if used.fetch_optional(&mut **t).await?.is_none() {
                    free.insert(kept.hash.clone());
                }
            }
            Ok(free.into_iter().collect())
        })
    }

    /// Whether a file of weights travels inside.
    pub fn has_weights_inside(&self, hash: &str) -> Result<bool, Error> {
        Ok(!self.rows(sqlx::query("SELECT 1 FROM weights_file WHERE hash = ?").bind(hash))?.is_empty())
    }

    /// A file of weights that travels inside; `None` where it does not.
    pub fn weights_inside(&self, hash: &str) -> Result<Option<Vec<u8>>, Error> {
        let rows = self.rows(sqlx::query("SELECT blob FROM weights_file WHERE hash = ?").bind(hash))?;
        rows.first().map(|r| self.get(r, 0)).transpose()
    }

    /// What is wrong with the rows of weights and with the files that travel inside, and how many files there are. Whether files
    /// lie beside the store is not asked: one that travels alone lacks them.
    pub(super) fn check_weights(&self) -> Result<(usize, Vec<Wrong>), Error> {
        let mut wrong = Vec::new();
        let kept = self.all_weights()?;
        for row in &kept {
            let is_hash = row.hash.len() == 64 && row.hash.bytes().all(|b| b.is_ascii_hexdigit());
            if !is_hash {
                wrong.push((Some(row.run.clone()), "its weights are named by no hash".to_string()));
            }
        }
        let rows = self.rows(sqlx::query("SELECT hash FROM weights_file ORDER BY hash"))?;
        let inside: Vec<String> = rows.iter().map(|r| self.get(r, 0)).collect::<Result<_, _>>()?;
        for hash in &inside {
            let of: Vec<&KeptWeights> = kept.iter().filter(|row| row.hash == *hash).collect();
            let short = hash.get(..12).unwrap_or(hash);
            let file = match self.weights_inside(hash) {
                Ok(file) => file.unwrap_or_default(),
                Err(_) => {
                    wrong.push((None, format!("weights {short}: they cannot be read")));
                    continue;
                }
            };
            let run = of.first().map(|row| row.run.clone());
            if blake3::hash(&file).to_hex().as_str() != hash {
                wrong.push((run, format!("weights {short}: they do not match their hash")));
            } else if let Some(row) = of.iter().find(|row| row.bytes != file.len() as u64) {
                let text = format!("weights {short}: they have {} bytes, and {} are noted", file.len(), row.bytes);
                wrong.push((Some(row.run.clone()), text));
            }
            if of.is_empty() {
                wrong.push((None, format!("weights {short}: they are of no run")));
            }
        }
        Ok((inside.len(), wrong))
    }

    /// Takes a file of weights inside.
    pub fn put_weights_inside(&self, hash: &str, file: &[u8]) -> Result<(), Error> {
        self.transact(false, async |t| {
            let insert = sqlx::query("INSERT INTO weights_file VALUES (?, ?) ON CONFLICT (hash) DO NOTHING");
            insert.bind(hash).bind(file).execute(&mut **t).await.map(|_| ())
        })
    }

    /// Copies the store as it is now, in one file without a log; `to` must not be there.
    pub fn copy_to(&self, to: &Path) -> Result<(), Error> {
        let text = to.to_string_lossy().into_owned();
        let copy = async {
            let mut connection = self.writer.acquire().await?;
            sqlx::query("VACUUM INTO ?").bind(text).execute(&mut *connection).await
        };
        self.runtime.block_on(copy).map(|_| ()).map_err(|e| Error::of_sqlx(to, e))
    }
}
