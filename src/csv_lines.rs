//! Lists as people keep them: comma-separated lines under a header, read so that nothing changes its meaning in silence.

use crate::brief::shortened;
use csv::StringRecord;

/// What is wrong with a list: the line, 0 where it is about the whole file, and what.
pub type Wrong = (u64, String);

/// The names of the columns.
#[derive(Debug)]
pub struct Header(StringRecord);

impl Header {
    /// Where a column stands.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.0.iter().position(|h| h == name)
    }

    /// Where a column stands that has to be there; `expected` is what a whole header would be.
    pub fn need(&self, name: &str, expected: &str) -> Result<usize, Wrong> {
        self.column(name).ok_or_else(|| {
            let other = [";", "\t"].into_iter().find(|s| self.0.len() == 1 && self.0[0].contains(s));
            let hint = other.map_or_else(String::new, |s| {
                format!("\n  next: fields seem to be separated by {s:?}; save the file with commas")
            });
            (1, format!("no column {name:?} (found: {}); expected {expected}{hint}", self.found()))
        })
    }

    /// Columns that are none of these.
    pub fn others(&self, known: &[&str]) -> Vec<String> {
        self.0.iter().filter(|h| !known.contains(h)).map(str::to_string).collect()
    }

    fn found(&self) -> String {
        shortened(&self.0.iter().collect::<Vec<_>>().join(","), 400)
    }

    /// A known column stands once, and nothing looks like one that is not there.
    fn check(&self, known: &[&str]) -> Result<(), Wrong> {
        for name in known {
            if self.0.iter().filter(|h| h == name).count() > 1 {
                return Err((1, format!("column {name:?} stands twice (found: {}); which one counts?", self.found())));
            }
            let alike = self.0.iter().find(|h| h != name && same_but_for_style(h, name));
            if let Some(alike) = alike
                && self.column(name).is_none()
            {
                return Err((1, format!("column {:?} should be called {name:?}", shortened(alike, 100))));
            }
        }
        Ok(())
    }
}

/// Reads a list: `begin` is given the header, and what it makes of it is given to `each` with every line's number and fields.
/// `known` are the columns that mean something.
pub fn read<T>(
    text: &str,
    known: &[&str],
    begin: impl FnOnce(&Header) -> Result<T, Wrong>,
    mut each: impl FnMut(&mut T, u64, &StringRecord) -> Result<(), Wrong>,
) -> Result<T, Wrong> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    let header = Header(reader.headers().map_err(|e| (1, e.to_string()))?.clone());
    header.check(known)?;
    let mut made = begin(&header)?;
    for record in reader.records() {
        let record = record.map_err(|e| (e.position().map_or(0, csv::Position::line), e.to_string()))?;
        let line = record.position().map_or(0, csv::Position::line);
        if let Some((at, field)) = record.iter().enumerate().find(|(_, f)| f.contains(['\n', '\r'])) {
            let start: String = field.chars().take_while(|c| !c.is_control()).take(40).collect();
            let more = 1 + field.matches('\n').count();
            return Err((
                line,
                format!(
                    "a quote opens in column {:?} ({start:?}...) and closes {more} lines further on, so that these lines would be one clip's\n  next: close the quote, or take the line break out of the field",
                    header.0.get(at).unwrap_or_default()
                ),
            ));
        }
        each(&mut made, line, &record)?;
    }
    Ok(made)
}

/// `Has-Audio` and `has_audio`.
fn same_but_for_style(a: &str, b: &str) -> bool {
    let plain = |s: &str| s.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect::<String>();
    plain(a) == plain(b)
}
