//! SQL of the user's own, which only reads.

pub use super::sandbox::{Answer, Limits, Refusal};

use super::{Error, Store, sandbox};

impl Default for Limits {
    fn default() -> Self {
        Limits { time: std::time::Duration::from_secs(300), bytes: 256 << 20 }
    }
}

impl Store {
    /// Runs one statement. SQLite itself says whether it would write or reach outside the file, in which case it is refused
    /// before it runs.
    pub fn query(&self, sql: &str, limits: Limits) -> Result<Result<Answer, Refusal>, Error> {
        self.runtime
            .block_on(async {
                let connection = self.readers.acquire().await?.detach();
                sandbox::ask(connection, sql, limits).await
            })
            .map_err(self.fail())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("runs.db");
        drop(Store::open(&path).unwrap());
        let store = Store::open_to_read(&path).unwrap();
        (dir, store)
    }

    fn asked(store: &Store, sql: &str) -> Result<Answer, Refusal> {
        store.query(sql, Limits { time: Duration::from_secs(20), bytes: 1 << 20 }).unwrap()
    }

    #[test]
    fn only_what_reads_is_run() {
        let (dir, store) = store();
        for sql in [
            "SELECT 1",
            " select ';' ; ",
            "-- why\nWITH x AS (SELECT 1) SELECT * FROM x;",
            "/* a; b */ VALUES (1)",
            "SELECT 'it''s; ok' -- ; and a comment",
            "SELECT 'é' /* open",
            "pragma user_version",
            "PRAGMA main.table_info(run)",
            "PRAGMA journal_mode",
            "SELECT name FROM pragma_table_info('run')",
            "EXPLAIN SELECT 1",
            "EXPLAIN QUERY PLAN SELECT * FROM run WHERE id = 'x'",
            "SELECT value FROM json_each('[1, 2]')",
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9) SELECT sum(i) FROM n",
        ] {
            assert!(asked(&store, sql).is_ok(), "{sql}: {:?}", asked(&store, sql));
        }
        for sql in [
            "vacuum",
            "vacuum into 'x.db'",
            "DELETE FROM run",
            "WITH x AS (SELECT 1) DELETE FROM run",
            "INSERT INTO event (at, level, message) VALUES ('', '', '') RETURNING id",
            "UPDATE store SET sequence = 0",
            "CREATE TABLE t (x)",
            "CREATE TEMP TABLE t (x)",
            "DROP TABLE run",
            "ALTER TABLE run RENAME TO walk",
            "ATTACH 'x.db' AS x",
            "DETACH main",
            "BEGIN",
            "COMMIT",
            "SAVEPOINT s",
            "REINDEX",
            "ANALYZE",
            "EXPLAIN DELETE FROM run",
            "PRAGMA journal_mode = DELETE",
            "pragma main.journal_mode(delete)",
            "PRAGMA wal_checkpoint",
            "PRAGMA wal_checkpoint(TRUNCATE)",
            "PRAGMA query_only=0",
            "PRAGMA /* */ user_version=7",
            "PRAGMA writable_schema=1",
            "PRAGMA incremental_vacuum",
            "PRAGMA temp_store_directory = '/'",
            "PRAGMA optimize",
        ] {
            assert!(matches!(asked(&store, sql), Err(Refusal::Writes(_))), "{sql}: {:?}", asked(&store, sql));
        }
        // A quote that another tokenizer would see hides nothing from SQLite.
        for sql in [
            "SELECT $1('); PRAGMA query_only=OFF; DELETE FROM event; SELECT 1 --'",
            "SELECT 1; VACUUM INTO 'x.db'",
            "SELECT load_extension('x')",
            "SELECT * FROM pragma_journal_mode('delete')",
            "SELECT 1; SELECT 2",
        ] {
            assert!(asked(&store, sql).is_err(), "{sql}");
        }
        assert_eq!(asked(&store, " ;-- x"), Err(Refusal::Empty));
        assert_eq!(asked(&store, "  -- x"), Err(Refusal::Empty));
        assert_eq!(asked(&store, "SELECT 1; SELECT 2"), Err(Refusal::Several));
        assert_eq!(asked(&store, "SELECT 1 UNION ALL SELECT $0"), Err(Refusal::Parameter("$0".into())));
        assert_eq!(asked(&store, "SELECT ?"), Err(Refusal::Parameter("?".into())));
        assert!(matches!(asked(&store, "'"), Err(Refusal::Wrong(_))));
        assert!(matches!(asked(&store, "SELECT 1\0"), Err(Refusal::Wrong(_))));
        let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["runs.db"], "nothing was written");
    }

    #[test]
    fn what_has_no_end_is_stopped() {
        let (_dir, store) = store();
        let endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT ";
        let limits = Limits { time: Duration::from_millis(50), bytes: 1 << 20 };
        let counted = store.query(&format!("{endless} count(*) FROM n"), limits).unwrap();
        assert_eq!(counted, Err(Refusal::Slow(0)));
        assert_eq!(asked(&store, &format!("{endless} i FROM n")), Err(Refusal::Large(1 << 20)));
        assert_eq!(asked(&store, "SELECT zeroblob(1000000000)"), Err(Refusal::Large(1 << 20)));
        assert!(asked(&store, &format!("SELECT {}1{}", "abs(".repeat(5000), ")".repeat(5000))).is_err());
    }

    #[test]
    fn values_are_told_as_they_are() {
        let (_dir, store) = store();
        let sql = "SELECT 1 AS a, 2.5 AS a, NULL, 'x', x'00ff', zeroblob(40), 9e999, -1e-3, CAST(x'ff' AS TEXT)";
        let answer = asked(&store, sql).unwrap();
        assert_eq!(answer.columns[..3], ["a", "a", "NULL"]);
        let told = serde_json::json!([1, 2.5, null, "x", "00ff", "(40 bytes)", "inf", -1e-3, "\u{fffd}"]);
        assert_eq!(serde_json::json!(answer.rows[0]), told);
    }

    /// Whatever text is asked for, it ends with an answer or a refusal, and the file stays as it is.
    #[test]
    fn mutated_statements_never_panic_and_never_write() {
        let (dir, store) = store();
        let before = std::fs::read(dir.path().join("runs.db")).unwrap();
        let good = [
            "SELECT key, seed, value AS top1 FROM run JOIN value ON run_id = id WHERE name = 'top1' ORDER BY 3 DESC LIMIT 5",
            "WITH x (a) AS (VALUES (1), (2)) SELECT a, 'x;', \"a\" FROM x -- ' /* \" ` [ ]",
            "PRAGMA table_info(run)",
            "SELECT hex(state), json_extract('{}', '$.a'), count(*) OVER () FROM run",
        ];
        let words = [
            "'",
            "\"",
            "`",
            "[",
            "]",
            ";",
            "--",
            "/*",
            "*/",
            "$1",
            "?2",
            ":n",
            "(",
            ")",
            "PRAGMA ",
            "DELETE FROM run",
            "\0",
            "é",
            " ",
            "VACUUM INTO 'copy.db'",
            "INSERT INTO event (at, level, message) VALUES ('', '', '') RETURNING *",
            "EXPLAIN ",
            "ATTACH 'x.db' AS x;",
            "randomblob(99999999)",
            "query_only=OFF",
            "writable_schema=1",
            "1e999",
            "-9223372036854775808",
        ];
        let target = crate::fuzz::Target {
            name: "query",
            good: &good.map(|sql| sql.as_bytes().to_vec()),
            words: &words,
            times: 1500,
        };
        let limits = Limits { time: Duration::from_secs(1), bytes: 1 << 20 };
        let tried = target.attack(|sql| {
            let answer = store.query(&String::from_utf8_lossy(sql), limits).map(|a| a.map_err(|r| r.to_string()));
            answer.is_ok_and(|a| a.is_ok())
        });
        assert!(tried.taken > 50, "{tried:?}");
        assert!(std::fs::read(dir.path().join("runs.db")).unwrap() == before);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "another file was written");
    }
}
