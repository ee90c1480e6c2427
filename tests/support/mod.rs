//! What the tests are written with: a small language for calls of the program, small data sets, and reference numbers.

pub mod adam;
pub mod call;
pub mod features;
pub mod fixture;
pub mod fuzz;
pub mod layers;
pub mod networks;
pub mod numbers;
pub mod random;
pub mod require;

use std::path::{Path, PathBuf};

/// The crate's folder.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Real features of a small public data set, where this machine has them.
#[track_caller]
pub fn corsmal() -> Option<PathBuf> {
    let shared = std::env::var_os("UNMUTE_SHARED").map_or_else(|| root().join("../shared"), PathBuf::from);
    let dir = shared.join("data/corsmal");
    require::found("shared", dir.join("clips.csv").is_file().then_some(dir))
}

/// Changes a database behind the program's back.
pub fn sqlite(path: &Path, statements: &str) {
    use sqlx::Connection;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path).foreign_keys(false);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
        let sql = sqlx::AssertSqlSafe(statements.to_string());
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    });
}
