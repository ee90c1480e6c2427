//! What people say of runs: tags and notes. No hash covers them, and nothing is computed from them.

use super::clock::now;
use super::filter::Bind;
use super::select::bound;
use super::{Error, RunRecord, Store};
use std::collections::BTreeMap;

/// The longest tag, in characters.
const TAG: usize = 40;

/// The longest note, in bytes.
const NOTE: usize = 16 << 10;

/// Why a text cannot be a tag; `None` where it can. A tag is a word, so that a list of them can be read.
pub fn no_tag(text: &str) -> Option<String> {
    let odd = |c: char| !c.is_alphanumeric() && !"-_.:/+#@".contains(c);
    if text.is_empty() || text.starts_with('-') {
        return Some("a tag begins with a letter or digit".into());
    }
    if let Some(c) = text.chars().find(|c| odd(*c)) {
        return Some(format!("a tag is one word; {c:?} is not for tags (letters, digits, - _ . : / + # @ are)"));
    }
    let length = text.chars().count();
    (length > TAG).then(|| format!("a tag has {TAG} characters at most, not {length}; `unmute note` takes more"))
}

/// Why a text cannot be a note; `None` where it can.
pub fn no_note(text: &str) -> Option<String> {
    match text.trim() {
        "" => Some("a note says something".into()),
        text if text.len() > NOTE => Some(format!("a note has {NOTE} bytes at most, not {}", text.len())),
        _ => None,
    }
}

impl Store {
    /// Puts tags on runs, or takes them off; gives how many were put or taken.
    pub fn tag(&self, runs: &[String], tags: &[String], remove: bool) -> Result<u64, Error> {
        let sql = match remove {
            false => "INSERT INTO tag (run_id, name, at) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
            true => "DELETE FROM tag WHERE run_id = ?1 AND name = ?2 AND ?3 != ''",
        };
        self.transact(true, async |t| {
            let mut changed = 0;
            for run in runs {
                for tag in tags {
                    let query = sqlx::query(sql).bind(run).bind(tag).bind(now());
                    changed += query.execute(&mut **t).await?.rows_affected();
                }
            }
            Ok(changed)
        })
    }

    /// Every tag with the number of runs that have it, in alphabetical order.
    pub fn tags(&self) -> Result<BTreeMap<String, i64>, Error> {
        let rows = self.rows(sqlx::query("SELECT name, count(*) FROM tag GROUP BY name"))?;
        rows.iter().map(|r| Ok((self.get(r, 0)?, self.get(r, 1)?))).collect()
    }

    /// Adds a note to a run.
    pub fn note(&self, run: &str, text: &str) -> Result<(), Error> {
        self.transact(true, async |t| {
            let insert = sqlx::query("INSERT INTO note (run_id, at, text) VALUES (?, ?, ?)");
            insert.bind(run).bind(now()).bind(text.trim()).execute(&mut **t).await.map(|_| ())
        })
    }

    /// Takes all notes off a run; gives how many there were.
    pub fn clear_notes(&self, run: &str) -> Result<u64, Error> {
        self.transact(true, async |t| {
            let delete = sqlx::query("DELETE FROM note WHERE run_id = ?").bind(run);
            Ok(delete.execute(&mut **t).await?.rows_affected())
        })
    }

    /// Adds tags and notes to runs that were read.
    pub(super) fn label(&self, runs: &mut [RunRecord]) -> Result<(), Error> {
        let binds: Vec<Bind> = runs.iter().map(|run| Bind::Text(run.id.clone())).collect();
        let marks = vec!["?"; binds.len()].join(", ");
        let places: BTreeMap<String, usize> = runs.iter().enumerate().map(|(i, r)| (r.id.clone(), i)).collect();
        let tags = format!("SELECT run_id, name FROM tag WHERE run_id IN ({marks}) ORDER BY run_id, name");
        for row in self.rows(bound(&tags, &binds))? {
            if let Some(&i) = places.get(self.get::<&str>(&row, 0)?) {
                runs[i].tags.push(self.get(&row, 1)?);
            }
        }
        let notes = format!("SELECT run_id, text FROM note WHERE run_id IN ({marks}) ORDER BY id");
        for row in self.rows(bound(&notes, &binds))? {
            if let Some(&i) = places.get(self.get::<&str>(&row, 0)?) {
                runs[i].notes.push(self.get(&row, 1)?);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_a_word_and_a_note_says_something() {
        for tag in ["good", "paper-table-3", "v1.2", "größe", "a:b/c"] {
            assert_eq!(no_tag(tag), None, "{tag}");
        }
        for tag in ["", "two words", "a,b", "x\u{1b}[31m", "-x", &"x".repeat(41)] {
            assert!(no_tag(tag).is_some(), "{tag}");
        }
        assert!(no_note("  \n").is_some() && no_note("well").is_none() && no_note(&"x".repeat(20_000)).is_some());
    }
}
