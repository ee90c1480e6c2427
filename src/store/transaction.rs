//! How the store is changed: one transaction a call, that waits for other processes and, where it says so, for the disk.

use super::{Error, Store};
use sqlx::{Connection, Sqlite, Transaction};

impl Store {
    /// Runs `work` in a transaction that takes the write lock at once (so it can wait for other processes). Only a `durable`
    /// one waits for the disk: what a power failure takes from the others is worked out again.
    ///
    /// Nothing is written to a file that is no longer the one that was opened. A connection on which anything failed is given
    /// up: what SQLite has rolled back by itself (a full disk) and what it has not are not told apart by guessing.
    pub(super) fn transact<T>(
        &self,
        durable: bool,
        work: impl AsyncFnOnce(&mut Transaction<'_, Sqlite>) -> Result<T, sqlx::Error>,
    ) -> Result<T, Error> {
        self.runtime.block_on(async {
            self.still_there(false).await?;
            let mut connection = self.writer.acquire().await.map_err(self.fail())?;
            let result = async {
                if durable {
                    sqlx::query("PRAGMA synchronous = FULL").execute(&mut *connection).await?;
                }
                let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
                count(&mut transaction).await?;
                let result = work(&mut transaction).await?;
                transaction.commit().await?;
                if durable {
                    sqlx::query("PRAGMA synchronous = NORMAL").execute(&mut *connection).await?;
                }
                Ok(result)
            }
            .await;
            match result {
                Ok(result) => {
                    drop(connection);
                    self.still_there(false).await?;
                    Ok(result)
                }
                Err(error) => {
                    let _ = connection.detach().close_hard().await;
                    self.still_there(false).await?;
                    Err(Error::of_sqlx(&self.path, error))
                }
            }
        })
    }

    /// More than a store can hold.
    pub(super) fn too_large(&self, what: String) -> Error {
        Error::TooLarge { path: self.path.clone(), what }
    }
}

/// Counts a transaction, so that a log always holds the row that says whose it is.
pub(super) async fn count(t: &mut Transaction<'_, Sqlite>) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE main.store SET sequence = sequence + 1").execute(&mut **t).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::claim::tests::{store, worker};
    use sqlx::Row;

    #[test]
    fn a_transaction_that_failed_does_not_spoil_the_next() {
        let (_dir, store, _) = store();
        for _ in 0..3 {
            // As on a disk that is full: SQLite may roll back by itself, and then there is nothing to roll back.
            let full = store.transact(true, async |t| {
                sqlx::query("PRAGMA max_page_count = 1").execute(&mut **t).await?;
                sqlx::query("INSERT INTO environment (digest, record) VALUES ('d', hex(zeroblob(500000)))")
                    .execute(&mut **t)
                    .await?;
                Ok(())
            });
            assert!(matches!(full, Err(Error::Full { .. })), "{full:?}");
            let gone = store.transact(true, async |t| {
                sqlx::query("INSERT INTO environment (digest, record) VALUES ('gone', '')").execute(&mut **t).await?;
                sqlx::query("ROLLBACK").execute(&mut **t).await?;
                Err::<(), _>(sqlx::Error::RowNotFound)
            });
            assert!(gone.is_err());
            store.heartbeat(&worker("w")).unwrap();
        }
        let left = store.transact(false, async |t| {
            sqlx::query("SELECT count(*) FROM environment WHERE digest IN ('d', 'gone')")
                .fetch_one(&mut **t)
                .await?
                .try_get::<i64, _>(0)
        });
        assert_eq!(left.unwrap(), 0);
    }
}
