//! SQL of strangers, and files of strangers: what SQLite itself offers against both. Everything here goes through the C
//! interface, since a judge of statements must be the parser that runs them.

use libsqlite3_sys as ffi;
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnection;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::{self, NonNull};
use std::time::{Duration, Instant};

/// What an answer may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long a statement may run.
    pub time: Duration,
    /// How many bytes its answer may hold.
    pub bytes: usize,
}

/// What a statement gives.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// Names of the columns.
    pub columns: Vec<String>,
    /// A value for each column.
    pub rows: Vec<Vec<Value>>,
}

/// Why a statement has no answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// Nothing but blanks and comments.
    #[error("an empty statement\n  next: unmute query 'SELECT key, state FROM run'")]
    Empty,
    /// More than one statement.
    #[error("only one statement at a time\n  next: leave out what comes after the first ;")]
    Several,
    /// Something that could write, here or elsewhere.
    #[error(
        "{0} is refused: query only reads\n  next: SELECT, WITH, VALUES, EXPLAIN, or a PRAGMA that tells something"
    )]
    Writes(String),
    /// A place for a value that nobody gives.
    #[error(
        "the statement has the parameter {0}, and nothing to put there\n  next: write the value itself; a name with a $ goes in double quotes"
    )]
    Parameter(String),
    /// SQLite does not understand it, or it failed.
    #[error("{0}\n  next: docs/schema.md, or `unmute export schema store`, has the tables")]
    Wrong(String),
    /// It ran too long.
    #[error("the statement ran for {0} s and was stopped\n  next: --seconds N allows more")]
    Slow(u64),
    /// Its answer is too large.
    #[error("the answer has more than {0} bytes\n  next: ask for less, with WHERE or LIMIT")]
    Large(usize),
    /// The file is damaged.
    #[error("{0}")]
    Damaged(String),
}

/// Pragmas that only tell something, whatever their argument.
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

/// Pragmas that tell a setting where they are given none.
const SETTINGS: [&str; 16] = [
    "application_id",
    "auto_vacuum",
    "cache_size",
    "data_version",
    "encoding",
    "foreign_keys",
    "freelist_count",
    "journal_mode",
    "max_page_count",
    "page_count",
    "page_size",
    "query_only",
    "schema_version",
    "synchronous",
    "trusted_schema",
    "user_version",
];

/// Functions that reach outside the file.
const REACHING_OUT: [&str; 6] = ["load_extension", "readfile", "writefile", "edit", "fts3_tokenizer", "sqlite_log"];

/// Virtual-machine steps between two looks at the clock.
const STEPS: c_int = 20_000;

/// What the callbacks of one statement share.
struct Watch {
    until: Instant,
    /// What was refused first.
    refused: Option<String>,
    /// Whether it is a pragma that was let through.
    pragma: bool,
}

/// Makes a connection wary of what a file's schema says, and deaf to SQL that would damage the file.
pub(super) async fn defend(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let mut handle = connection.lock_handle().await?;
    configure(handle.as_raw_handle(), ffi::SQLITE_DBCONFIG_DEFENSIVE, true);
    configure(handle.as_raw_handle(), ffi::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false);
    Ok(())
}

/// Keeps a connection from folding its log into the file, and from deleting it, when it closes.
pub(super) async fn leave_log(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let mut handle = connection.lock_handle().await?;
    configure(handle.as_raw_handle(), ffi::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
    Ok(())
}

fn configure(db: NonNull<ffi::sqlite3>, what: c_int, on: bool) {
    // SAFETY: the handle is locked by the caller for as long as this runs; these options take an int and a pointer to one,
    // which may be null.
    unsafe { ffi::sqlite3_db_config(db.as_ptr(), what, c_int::from(on), ptr::null_mut::<c_int>()) };
}

/// Runs one statement that only reads, on a connection that is used for nothing else afterwards.
pub(super) async fn ask(
    mut connection: SqliteConnection,
    sql: &str,
    limits: Limits,
) -> Result<Result<Answer, Refusal>, sqlx::Error> {
    let answer = {
        let mut handle = connection.lock_handle().await?;
        ask_raw(handle.as_raw_handle(), sql, limits)
    };
    sqlx::Connection::close(connection).await?;
    Ok(answer)
}

/// Takes the callbacks off a connection again, however the statement ended.
struct Guarded(NonNull<ffi::sqlite3>);

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: the handle is locked for as long as the guard lives.
        unsafe {
            ffi::sqlite3_set_authorizer(self.0.as_ptr(), None, ptr::null_mut());
            ffi::sqlite3_progress_handler(self.0.as_ptr(), 0, None, ptr::null_mut());
        }
    }
}

fn ask_raw(db: NonNull<ffi::sqlite3>, sql: &str, limits: Limits) -> Result<Answer, Refusal> {
    if sql.contains('\0') {
        return Err(Refusal::Wrong("the statement holds a zero byte".into()));
    }
    configure(db, ffi::SQLITE_DBCONFIG_DEFENSIVE, true);
    configure(db, ffi::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false);
    let length = c_int::try_from(limits.bytes).unwrap_or(c_int::MAX);
    for (what, most) in [
        (ffi::SQLITE_LIMIT_LENGTH, length),
        (ffi::SQLITE_LIMIT_SQL_LENGTH, 1 << 20),
        (ffi::SQLITE_LIMIT_EXPR_DEPTH, 500),
        (ffi::SQLITE_LIMIT_COMPOUND_SELECT, 500),
        (ffi::SQLITE_LIMIT_VDBE_OP, 1 << 22),
        (ffi::SQLITE_LIMIT_FUNCTION_ARG, 127),
        (ffi::SQLITE_LIMIT_ATTACHED, 0),
        (ffi::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 10_000),
        (ffi::SQLITE_LIMIT_VARIABLE_NUMBER, 100),
        (ffi::SQLITE_LIMIT_TRIGGER_DEPTH, 1),
        (ffi::SQLITE_LIMIT_WORKER_THREADS, 0),
    ] {
        // SAFETY: a locked handle and two numbers.
        unsafe { ffi::sqlite3_limit(db.as_ptr(), what, most) };
    }
    let started = Instant::now();
    let until = started.checked_add(limits.time).unwrap_or_else(|| started + Duration::from_secs(86_400));
    let mut watch = Watch { until, refused: None, pragma: false };
    let data: *mut c_void = (&raw mut watch).cast();
    let _guarded = Guarded(db);
    // SAFETY: `watch` outlives `_guarded`, which is dropped first and takes both callbacks off; SQLite calls them only from
    // within the calls below, on this thread.
    unsafe {
        ffi::sqlite3_set_authorizer(db.as_ptr(), Some(authorize), data);
        ffi::sqlite3_progress_handler(db.as_ptr(), STEPS, Some(overdue), data);
    }
    let failed = |code: c_int, watch: &Watch| match code & 0xff {
        ffi::SQLITE_INTERRUPT if Instant::now() >= watch.until => Refusal::Slow(limits.time.as_secs()),
        ffi::SQLITE_AUTH | ffi::SQLITE_ERROR if watch.refused.is_some() => {
            Refusal::Writes(watch.refused.clone().filter(|r| !r.is_empty()).unwrap_or_else(|| first_word(sql)))
        }
        ffi::SQLITE_READONLY | ffi::SQLITE_CANTOPEN => Refusal::Writes(first_word(sql)),
        ffi::SQLITE_TOOBIG | ffi::SQLITE_NOMEM => Refusal::Large(limits.bytes),
        ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB | ffi::SQLITE_IOERR => Refusal::Damaged(message(db)),
        _ => Refusal::Wrong(message(db)),
    };
    let mut before = sql;
    let (statement, rest) = loop {
        match Prepared::new(db, before).map_err(|code| failed(code, &watch))? {
            (Some(statement), rest) => break (statement, rest),
            // Blanks, a comment, or a semicolon with nothing before it.
            (None, rest) if !rest.trim().is_empty() && rest.len() < before.len() => before = rest,
            (None, _) => return Err(Refusal::Empty),
        }
    };
    only_blanks(db, rest)?;
    // SAFETY: the statement is prepared and not finalised before it is dropped.
    let (readonly, parameters) = unsafe {
        (ffi::sqlite3_stmt_readonly(statement.0.as_ptr()) != 0, ffi::sqlite3_bind_parameter_count(statement.0.as_ptr()))
    };
    // A pragma that only tells something may count as one that writes (journal_mode).
    if !readonly && !watch.pragma {
        return Err(Refusal::Writes(first_word(sql)));
    }
    if parameters > 0 {
        return Err(Refusal::Parameter(statement.parameter()));
    }
    let mut answer = Answer { columns: statement.columns(), rows: Vec::new() };
    let mut held = 0usize;
    loop {
        // SAFETY: as above.
        match unsafe { ffi::sqlite3_step(statement.0.as_ptr()) } {
            ffi::SQLITE_ROW => {
                let row = statement.row(answer.columns.len(), &mut held);
                answer.rows.push(row);
                if held > limits.bytes {
                    return Err(Refusal::Large(limits.bytes));
                }
            }
            ffi::SQLITE_DONE => return Ok(answer),
            code => return Err(failed(code, &watch)),
        }
    }
}

/// Fails where something other than blanks, comments and semicolons is left behind a statement.
fn only_blanks(db: NonNull<ffi::sqlite3>, mut rest: &str) -> Result<(), Refusal> {
    while !rest.trim().is_empty() {
        match Prepared::new(db, rest) {
            Ok((None, further)) if further.len() < rest.len() => rest = further,
            _ => return Err(Refusal::Several),
        }
    }
    Ok(())
}

/// A statement that SQLite has parsed.
struct Prepared(NonNull<ffi::sqlite3_stmt>);

impl Drop for Prepared {
    fn drop(&mut self) {
        // SAFETY: finalised once, here.
        unsafe { ffi::sqlite3_finalize(self.0.as_ptr()) };
    }
}

impl Prepared {
    /// The first statement of a text, and what is left of the text; SQLite's code where it cannot be prepared.
    fn new(db: NonNull<ffi::sqlite3>, sql: &str) -> Result<(Option<Prepared>, &str), c_int> {
        let (mut statement, mut tail) = (ptr::null_mut(), ptr::null());
        let length = c_int::try_from(sql.len()).map_err(|_| ffi::SQLITE_TOOBIG)?;
        let start: *const c_char = sql.as_ptr().cast();
        // SAFETY: the text has `length` bytes; both pointers to results are ours.
        let code = unsafe { ffi::sqlite3_prepare_v3(db.as_ptr(), start, length, 0, &raw mut statement, &raw mut tail) };
        let statement = NonNull::new(statement).map(Prepared);
        if code != ffi::SQLITE_OK {
            return Err(code);
        }
        let used = (tail as usize).saturating_sub(start as usize);
        Ok((statement, sql.get(used..).unwrap_or_default()))
    }

    fn columns(&self) -> Vec<String> {
        // SAFETY: a prepared statement; names live until it is stepped, and are copied before.
        unsafe {
            let n = ffi::sqlite3_column_count(self.0.as_ptr());
            (0..n).map(|i| text(ffi::sqlite3_column_name(self.0.as_ptr(), i))).collect()
        }
    }

    /// The name of the first parameter.
    fn parameter(&self) -> String {
        // SAFETY: a prepared statement; the name is copied.
        let name = unsafe { text(ffi::sqlite3_bind_parameter_name(self.0.as_ptr(), 1)) };
        if name.is_empty() { "?".into() } else { name }
    }

    /// The values of the row that the statement stands on; what they take is added to `held`.
    fn row(&self, columns: usize, held: &mut usize) -> Vec<Value> {
        let statement = self.0.as_ptr();
        let bytes = |i: c_int| {
            // SAFETY: the statement stands on a row; the pointer is asked for before the length, as SQLite wants it, and
            // what it points to is copied before anything else is asked.
            unsafe {
                let start: *const u8 = ffi::sqlite3_column_blob(statement, i).cast();
                let length = usize::try_from(ffi::sqlite3_column_bytes(statement, i)).unwrap_or(0);
                if start.is_null() { &[][..] } else { std::slice::from_raw_parts(start, length) }
            }
        };
        (0..c_int::try_from(columns).unwrap_or(0))
            .map(|i| {
                *held += 32;
                // SAFETY: the statement stands on a row.
                let kind = unsafe { ffi::sqlite3_column_type(statement, i) };
                match kind {
                    // SAFETY: as above.
                    ffi::SQLITE_INTEGER => json!(unsafe { ffi::sqlite3_column_int64(statement, i) }),
                    // SAFETY: as above.
                    ffi::SQLITE_FLOAT => real(unsafe { ffi::sqlite3_column_double(statement, i) }),
                    ffi::SQLITE_TEXT => {
                        *held += bytes(i).len();
                        json!(String::from_utf8_lossy(bytes(i)))
                    }
                    ffi::SQLITE_BLOB => match bytes(i) {
                        short if short.len() <= 32 => {
                            json!(short.iter().map(|b| format!("{b:02x}")).collect::<String>())
                        }
                        long => json!(format!("({} bytes)", long.len())),
                    },
                    _ => Value::Null,
                }
            })
            .collect()
    }
}

/// JSON has no infinity; a word is better than nothing.
fn real(value: f64) -> Value {
    if value.is_finite() { json!(value) } else { json!(value.to_string()) }
}

/// A copy of a C string; empty where there is none.
///
/// # Safety
/// The pointer is null, or to a string that ends in a zero and lives until this returns.
unsafe fn text(string: *const c_char) -> String {
    if string.is_null() {
        return String::new();
    }
    // SAFETY: as the caller says.
    unsafe { CStr::from_ptr(string) }.to_string_lossy().into_owned()
}

fn message(db: NonNull<ffi::sqlite3>) -> String {
    // SAFETY: a locked handle; the message is copied before the handle is used again.
    unsafe { text(ffi::sqlite3_errmsg(db.as_ptr())) }
}

/// `DELETE`, for telling what is refused.
fn first_word(sql: &str) -> String {
    let word: String =
        sql.trim_start_matches(|c: char| !c.is_alphabetic()).chars().take_while(|c| c.is_alphanumeric()).collect();
    if word.is_empty() { "the statement".into() } else { word.to_uppercase() }
}

/// Called for everything that a statement would do, while it is parsed.
unsafe extern "C" fn authorize(
    data: *mut c_void,
    action: c_int,
    first: *const c_char,
    second: *const c_char,
    _: *const c_char,
    _: *const c_char,
) -> c_int {
    // SAFETY: `data` is the `Watch` of `ask_raw`, which waits in a call of SQLite's; the names are null or C strings.
    let (watch, first, second) = unsafe { (&mut *data.cast::<Watch>(), text(first), text(second)) };
    let refused = match action {
        ffi::SQLITE_SELECT | ffi::SQLITE_READ | ffi::SQLITE_RECURSIVE => None,
        ffi::SQLITE_FUNCTION => {
            REACHING_OUT.contains(&second.to_lowercase().as_str()).then(|| format!("the function {second}"))
        }
        ffi::SQLITE_PRAGMA => {
            let name = first.to_lowercase();
            let tells = TELLING.contains(&name.as_str()) || (second.is_empty() && SETTINGS.contains(&name.as_str()));
            watch.pragma |= tells;
            (!tells).then(|| format!("PRAGMA {}", name.to_uppercase()))
        }
        // Told by the statement's first word.
        _ => Some(String::new()),
    };
    match refused {
        None => ffi::SQLITE_OK,
        Some(what) => {
            watch.refused.get_or_insert(what);
            ffi::SQLITE_DENY
        }
    }
}

/// Called now and then while a statement runs; anything but 0 stops it.
unsafe extern "C" fn overdue(data: *mut c_void) -> c_int {
    // SAFETY: as in `authorize`.
    let watch = unsafe { &*data.cast::<Watch>() };
    c_int::from(Instant::now() >= watch.until)
}
