//! SQL of the user's own, which only reads.

use super::{Error, Store};
use serde_json::{Value, json};
use sqlx::sqlite::{SqliteRow, SqliteValueRef};
use sqlx::{AssertSqlSafe, Column, Executor, Row, SqlSafeStr, Statement, TypeInfo, ValueRef};

/// What a statement that only reads begins with.
const READING: [&str; 5] = ["select", "with", "values", "explain", "pragma"];

/// Pragmas that only tell something, whatever their argument. Others change the file or how it is written
/// (journal_mode, wal_checkpoint) even on a connection that may not write.
const TELLING: [&str; 14] = [
    "table_info",
    "table_xinfo",
    "table_list",
    "index_list",
    "index_info",
    "index_xinfo",
    "foreign_key_list",
    "foreign_key_check",
    "integrity_check",
    "quick_check",
    "compile_options",
    "function_list",
    "database_list",
    "collation_list",
];

/// Why a statement is refused before SQLite sees it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nothing but blanks and comments.
    #[error("an empty statement\n  next: unmute query 'SELECT key, state FROM run'")]
    Empty,
    /// More than one statement.
    #[error("only one statement at a time; what comes after the first ; is left out")]
    Several,
    /// Something that could write.
    #[error("{0} is refused: query only reads\n  next: begin with SELECT, WITH, VALUES, EXPLAIN or PRAGMA")]
    Writes(String),
}

/// Accepts one statement that begins like one that reads. The connection refuses to write whatever follows; this keeps out
/// what would write elsewhere (VACUUM INTO, ATTACH).
pub fn check(sql: &str) -> Result<(), Refusal> {
    let bare = bare(sql);
    let mut statements = bare.split(';').map(str::trim).filter(|s| !s.is_empty());
    let first = statements.next().ok_or(Refusal::Empty)?;
    if statements.next().is_some() {
        return Err(Refusal::Several);
    }
    let word: String = first.trim_start_matches('(').chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let lower = word.to_lowercase();
    if lower == "pragma" {
        return pragma(&first[word.len()..]);
    }
    if READING.contains(&lower.as_str()) { Ok(()) } else { Err(Refusal::Writes(word.to_uppercase())) }
}

/// What comes after the word PRAGMA: `name`, `schema.name`, and perhaps `= value` or `(value)`.
fn pragma(rest: &str) -> Result<(), Refusal> {
    let name = rest.split(['=', '(']).next().unwrap_or_default();
    let bare = name.rsplit('.').next().unwrap_or_default().trim().to_lowercase();
    let sets = name.len() < rest.len();
    let tells = TELLING.contains(&bare.as_str()) && !rest.contains('=');
    // Without a value most of the others tell a setting; these do something.
    let acts = ["wal_checkpoint", "incremental_vacuum", "optimize", "shrink_memory"].contains(&bare.as_str());
    if tells || (!sets && !acts) { Ok(()) } else { Err(Refusal::Writes(format!("PRAGMA {}", bare.to_uppercase()))) }
}

/// The statement without comments, and with blanks for what is quoted.
fn bare(sql: &str) -> String {
    let mut out = String::new();
    let mut rest = sql;
    while let Some(c) = rest.chars().next() {
        let skip = match c {
            '\'' | '"' | '`' | '[' => {
                let end = if c == '[' { ']' } else { c };
                out.push('x');
                rest[1..].find(end).map_or(rest.len(), |n| n + 2)
            }
            '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest[2..].find("*/").map_or(rest.len(), |n| n + 4),
            c => {
                out.push(c);
                c.len_utf8()
            }
        };
        if skip > c.len_utf8() {
            out.push(' ');
        }
        rest = &rest[skip..];
    }
    out
}

/// What a statement gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Names of the columns.
    pub columns: Vec<String>,
    /// A value for each column.
    pub rows: Vec<Vec<Value>>,
}

impl Store {
    /// Runs a statement that [`check`] accepts.
    pub fn query(&self, sql: &str) -> Result<Answer, Error> {
        self.runtime
            .block_on(async {
                let mut connection = self.readers.acquire().await?;
                sqlx::query("PRAGMA query_only = ON").execute(&mut *connection).await?;
                let statement = (&mut *connection).prepare(AssertSqlSafe(sql.to_string()).into_sql_str()).await?;
                let columns = statement.columns().iter().map(|c| c.name().to_string()).collect();
                let rows = statement.query().fetch_all(&mut *connection).await?;
                Ok(Answer { columns, rows: rows.iter().map(cells).collect::<Result<_, _>>()? })
            })
            .map_err(self.fail())
    }
}

fn cells(row: &SqliteRow) -> Result<Vec<Value>, sqlx::Error> {
    (0..row.len()).map(|i| cell(row.try_get_raw(i)?)).collect()
}

fn cell(value: SqliteValueRef<'_>) -> Result<Value, sqlx::Error> {
    use sqlx::Decode;
    type Db = sqlx::Sqlite;
    if value.is_null() {
        return Ok(Value::Null);
    }
    let name = value.type_info().name().to_string();
    let decoded = match name.as_str() {
        "INTEGER" | "BOOLEAN" => <i64 as Decode<Db>>::decode(value).map(Value::from),
        "REAL" => <f64 as Decode<Db>>::decode(value).map(Value::from),
        "BLOB" => <&[u8] as Decode<Db>>::decode(value).map(|bytes| match bytes.len() {
            0..=32 => json!(bytes.iter().map(|b| format!("{b:02x}")).collect::<String>()),
            n => json!(format!("({n} bytes)")),
        }),
        _ => <String as Decode<Db>>::decode(value).map(Value::from),
    };
    decoded.map_err(sqlx::Error::Decode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_reading_statements_pass() {
        for sql in [
            "SELECT 1",
            " select ';' ; ",
            "-- why\nWITH x AS (SELECT 1) SELECT * FROM x;",
            "/* a; b */ VALUES (1)",
            "(select 1)",
            "SELECT 'it''s; ok'",
            "SELECT 'é' -- ;",
        ] {
            assert_eq!(check(sql), Ok(()), "{sql}");
        }
        assert_eq!(check(" ;-- x"), Err(Refusal::Empty));
        assert_eq!(check("SELECT 1; VACUUM INTO 'x.db'"), Err(Refusal::Several));
        assert_eq!(check("vacuum into 'x.db'"), Err(Refusal::Writes("VACUUM".into())));
        assert!(matches!(check("DELETE FROM run"), Err(Refusal::Writes(_))));
        for sql in ["pragma user_version", "PRAGMA main.table_info(run)", "PRAGMA journal_mode", "EXPLAIN SELECT 1"] {
            assert_eq!(check(sql), Ok(()), "{sql}");
        }
        for sql in [
            "PRAGMA journal_mode = DELETE",
            "pragma main.journal_mode(delete)",
            "PRAGMA wal_checkpoint",
            "PRAGMA wal_checkpoint(TRUNCATE)",
            "PRAGMA query_only=0",
            "PRAGMA /* */ user_version=7",
            "PRAGMA writable_schema=1",
            "PRAGMA table_info=run",
        ] {
            assert!(matches!(check(sql), Err(Refusal::Writes(_))), "{sql}");
        }
        assert!(check("'").is_err() && check("/*").is_err() && check("[").is_err());
    }
}
