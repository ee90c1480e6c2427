//! What is to be done: data sets, views and experiments as they were resolved, and the runs that they ask for.

use super::clock::now;
use super::records::*;
use super::row_hash::Table;
use super::{Error, Store, blob, inspect};
use crate::dataset::{Dataset, View};
use crate::experiment::Experiment;
use sqlx::Row;

/// A data set's row and fingerprint.
#[derive(Clone, Debug)]
pub struct DatasetKey {
    /// Row.
    pub id: i64,
    /// Fingerprint.
    pub fingerprint: String,
}

pub(super) fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

impl Store {
    /// Records a data set; gives its row.
    pub fn put_dataset(&self, dataset: &Dataset) -> Result<i64, Error> {
        let files: serde_json::Map<String, serde_json::Value> =
            dataset.file_hashes.iter().map(|(f, h)| (f.clone(), h.clone().into())).collect();
        let kind = match dataset.manifest.kind {
            crate::dataset::Kind::Real => "real",
            crate::dataset::Kind::Synthetic => "synthetic",
        };
        self.transact(false, async |t| {
            let id: i64 = sqlx::query(
                "INSERT INTO dataset (fingerprint, name, kind, manifest, files, created_at) VALUES (?, ?, ?, ?, ?, ?)
                 ON CONFLICT (fingerprint) DO UPDATE SET name = excluded.name, kind = excluded.kind,
                     manifest = excluded.manifest, files = excluded.files
                 RETURNING id",
            )
            .bind(&dataset.fingerprint)
            .bind(&dataset.manifest.name)
            .bind(kind)
            .bind(json(&dataset.manifest))
            .bind(json(&files))
            .bind(now())
            .fetch_one(&mut **t)
            .await?
            .try_get(0)?;
            Table::Dataset.seal(t, id).await?;
            Ok(id)
        })
    }

    /// Records a view; gives its row.
    pub fn put_view(&self, view: &View, dataset_id: i64) -> Result<i64, Error> {
        use crate::dataset::Split;
        let has_test = !view.test.is_empty();
        let test = has_test.then(|| view.counts(Split::Test));
        let counts = SplitCounts { train: view.counts(Split::Train), val: view.counts(Split::Val), test };
        let clips = |clips: &[usize]| ValClips {
            clips: clips.iter().map(|&c| view.dataset.clips[c].name.clone()).collect(),
            labels: view.labels(clips),
            sounded: clips.iter().map(|&c| view.sounded[c]).collect(),
        };
        let scored = ScoredClips { val: clips(&view.val), test: has_test.then(|| clips(&view.test)) };
        let text = json(&scored);
        let packed = blob::pack_text(&text, view.val.len() + view.test.len()).map_err(|what| self.too_large(what))?;
        self.transact(false, async |t| {
            let id: i64 = sqlx::query(
                "INSERT INTO view (fingerprint, dataset_id, missing, counts, val, created_at, val_hash) VALUES (?, ?, ?, ?, ?, ?, ?)
                 ON CONFLICT (fingerprint) DO UPDATE SET dataset_id = excluded.dataset_id, missing = excluded.missing,
                     counts = excluded.counts, val = excluded.val, val_hash = excluded.val_hash
                 RETURNING id",
            )
            .bind(&view.fingerprint)
            .bind(dataset_id)
            .bind(view.missing.as_ref().map(json))
            .bind(json(&counts))
            .bind(&packed)
            .bind(now())
            .bind(blake3::hash(&packed).to_hex().to_string())
            .fetch_one(&mut **t)
            .await?
            .try_get(0)?;
            Table::View.seal(t, id).await?;
            Ok(id)
        })
    }

    /// Records an experiment as it was resolved, with its cells; gives its row.
    pub fn put_experiment(
        &self,
        experiment: &Experiment,
        dataset: &DatasetKey,
        cells: &[CellRecord],
    ) -> Result<i64, Error> {
        let config = serde_json::to_value(&experiment.config).unwrap_or_default();
        let digest = inspect::experiment_digest(config, &dataset.fingerprint);
        self.transact(false, async |t| {
            let id: i64 = sqlx::query(
                "INSERT INTO experiment (digest, name, dataset_id, config, sets, tables, claims, ledger, created_at, used_at,
                                         declared, used)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9, ?10, (SELECT coalesce(max(used), 0) + 1 FROM experiment))
                 ON CONFLICT (digest) DO UPDATE SET config = ?4, sets = ?5, tables = ?6, claims = ?7, ledger = ?8, used_at = ?9,
                     declared = ?10, used = excluded.used
                 RETURNING id",
            )
            .bind(&digest)
            .bind(&experiment.config.name)
            .bind(dataset.id)
            .bind(json(&experiment.config))
            .bind(json(&experiment.sets))
            .bind(json(&experiment.tables))
            .bind(json(&experiment.claims))
            .bind(json(&experiment.ledger))
            .bind(now())
            .bind(json(&experiment.declared_seeds))
            .fetch_one(&mut **t)
            .await?
            .get(0);
            sqlx::query("DELETE FROM cell WHERE experiment_id = ?").bind(id).execute(&mut **t).await?;
            for (position, cell) in cells.iter().enumerate() {
                sqlx::query("INSERT INTO cell VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)")
                    .bind(id)
                    .bind(position as i64)
                    .bind(&cell.key)
                    // A column of few words: what is made elsewhere is a generator there.
                    .bind(match cell.part.kind() {
                        "external" => "generator",
                        kind => kind,
                    })
                    .bind(json(&cell.part))
                    .bind(json(&cell.overrides))
                    .bind(cell.view_id)
                    .bind(&cell.fingerprint)
                    .bind(&cell.skipped)
                    .execute(&mut **t)
                    .await?;
            }
            Table::Experiment.seal(t, id).await?;
            Ok(id)
        })
    }

    /// Notes runs that are about to be worked on, so that others see what is to come. Those that are known stay as they are.
    pub fn declare(&self, runs: &[NewRun]) -> Result<(), Error> {
        if runs.is_empty() {
            return Ok(());
        }
        self.transact(false, async |t| {
            for run in runs {
                sqlx::query(
                    "INSERT INTO run (id, cell, kind, key, seed, view_id, spec, state, created_at)
                     VALUES (?, ?, ?, ?, ?, ?, ?, 'pending', ?) ON CONFLICT (id) DO NOTHING",
                )
                .bind(&run.id)
                .bind(&run.cell)
                .bind(&run.kind)
                .bind(&run.key)
                .bind(run.seed.map(|s| s as i64))
                .bind(run.view_id)
                .bind(run.spec.to_string())
                .bind(now())
                .execute(&mut **t)
                .await?;
            }
            Ok(())
        })
    }
}
