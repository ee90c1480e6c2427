//! A table as an Apache Parquet file: version 1, one row group, one PLAIN page a column, uncompressed. Any reader of data
//! frames takes it, and nothing more is needed for some thousand rows.
//!
//! The file is `PAR1`, the columns' pages, the footer (a Thrift struct in the compact protocol), its length, `PAR1`. See
//! <https://parquet.apache.org/docs/file-format/> and `parquet.thrift` there for the numbers of fields and types.

/// A column. Null where a row has nothing.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Column {
    /// Texts.
    Text(Vec<Option<String>>),
    /// Whole numbers.
    Integer(Vec<Option<i64>>),
    /// Whole numbers from 0 on.
    Unsigned(Vec<Option<u64>>),
    /// Numbers.
    Real(Vec<Option<f64>>),
}

const MAGIC: &[u8] = b"PAR1";
const CREATED_BY: &str = "unmute";

// parquet.thrift: Type, Encoding.
const INT64: i64 = 2;
const DOUBLE: i64 = 5;
const BYTE_ARRAY: i64 = 6;
const PLAIN: i64 = 0;
const RLE: i64 = 3;

/// The file's bytes. Columns are equally long.
pub(super) fn file(columns: &[(String, Column)]) -> Vec<u8> {
    let rows = columns.first().map_or(0, |(_, column)| column.len());
    let mut out = MAGIC.to_vec();
    let mut chunks = Vec::new();
    for (name, column) in columns {
        let offset = out.len();
        let page = column.page();
        out.extend(header(page.len(), rows));
        out.extend(page);
        chunks.push(Chunk { name, column, offset, length: out.len() - offset });
    }
    let footer = footer(&chunks, rows);
    out.extend(&footer);
    out.extend((footer.len() as u32).to_le_bytes());
    out.extend(MAGIC);
    out
}

/// A column's place in the file.
struct Chunk<'a> {
    name: &'a str,
    column: &'a Column,
    offset: usize,
    length: usize,
}

impl Column {
    fn len(&self) -> usize {
        match self {
            Column::Text(values) => values.len(),
            Column::Integer(values) => values.len(),
            Column::Unsigned(values) => values.len(),
            Column::Real(values) => values.len(),
        }
    }

    fn physical_type(&self) -> i64 {
        match self {
            Column::Text(_) => BYTE_ARRAY,
            Column::Integer(_) | Column::Unsigned(_) => INT64,
            Column::Real(_) => DOUBLE,
        }
    }

    /// Definition levels (1 where there is a value), then the values that there are.
    fn page(&self) -> Vec<u8> {
        let (there, values): (Vec<bool>, Vec<u8>) = match self {
            Column::Text(texts) => {
                let bytes = |t: &String| [&(t.len() as u32).to_le_bytes()[..], t.as_bytes()].concat();
                (texts.iter().map(Option::is_some).collect(), texts.iter().flatten().flat_map(bytes).collect())
            }
            Column::Integer(n) => {
                (n.iter().map(Option::is_some).collect(), n.iter().flatten().flat_map(|v| v.to_le_bytes()).collect())
            }
            Column::Unsigned(n) => {
                (n.iter().map(Option::is_some).collect(), n.iter().flatten().flat_map(|v| v.to_le_bytes()).collect())
            }
            Column::Real(n) => {
                (n.iter().map(Option::is_some).collect(), n.iter().flatten().flat_map(|v| v.to_le_bytes()).collect())
            }
        };
        let levels = runs(&there);
        [&(levels.len() as u32).to_le_bytes()[..], &levels, &values].concat()
    }
}

/// Levels of one bit as runs of equal ones: the length times two as a varint, then the level in a byte.
fn runs(levels: &[bool]) -> Vec<u8> {
    let mut out = Vec::new();
    for run in levels.chunk_by(|a, b| a == b) {
        varint(&mut out, (run.len() as u64) << 1);
        out.push(u8::from(run[0]));
    }
    out
}

/// PageHeader of a data page.
fn header(length: usize, rows: usize) -> Vec<u8> {
    let mut t = Thrift::default();
    t.i32(1, 0);
    t.i32(2, length as i64);
    t.i32(3, length as i64);
    t.structure(5, |t| {
        t.i32(1, rows as i64);
        t.i32(2, PLAIN);
        t.i32(3, RLE);
        t.i32(4, RLE);
    });
    t.end()
}

/// FileMetaData.
fn footer(chunks: &[Chunk<'_>], rows: usize) -> Vec<u8> {
    let mut t = Thrift::default();
    t.i32(1, 1);
    t.list(2, chunks.len() + 1, STRUCT, |t| {
        t.element(|t| {
            t.text(4, "schema");
            t.i32(5, chunks.len() as i64);
        });
        for chunk in chunks {
            t.element(|t| {
                t.i32(1, chunk.column.physical_type());
                // Optional.
                t.i32(3, 1);
                t.text(4, chunk.name);
                match chunk.column {
                    Column::Text(_) => {
                        // ConvertedType UTF8, and LogicalType STRING for newer readers.
                        t.i32(6, 0);
                        t.structure(10, |t| t.structure(1, |_| ()));
                    }
                    // UINT_64.
                    Column::Unsigned(_) => t.i32(6, 14),
                    Column::Integer(_) | Column::Real(_) => {}
                }
            });
        }
    });
    t.i64(3, rows as i64);
    let groups = usize::from(rows > 0 && !chunks.is_empty());
    t.list(4, groups, STRUCT, |t| {
        if groups == 0 {
            return;
        }
        t.element(|t| {
            t.list(1, chunks.len(), STRUCT, |t| {
                for chunk in chunks {
                    t.element(|t| {
                        t.i64(2, chunk.offset as i64);
                        t.structure(3, |t| column_metadata(t, chunk, rows));
                    });
                }
            });
            t.i64(2, chunks.iter().map(|c| c.length as i64).sum());
            t.i64(3, rows as i64);
        });
    });
    t.text(6, CREATED_BY);
    t.end()
}

fn column_metadata(t: &mut Thrift, chunk: &Chunk<'_>, rows: usize) {
    t.i32(1, chunk.column.physical_type());
    t.list(2, 2, I32, |t| {
        t.zigzag(PLAIN);
        t.zigzag(RLE);
    });
    t.list(3, 1, BINARY, |t| t.bytes(chunk.name));
    // Uncompressed.
    t.i32(4, 0);
    t.i64(5, rows as i64);
    t.i64(6, chunk.length as i64);
    t.i64(7, chunk.length as i64);
    t.i64(9, chunk.offset as i64);
}

// Types of Thrift's compact protocol.
const I32: u8 = 5;
const I64: u8 = 6;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const STRUCT: u8 = 12;

/// Writes structs in Thrift's compact protocol. Fields are given in the order of their numbers.
#[derive(Default)]
struct Thrift {
    out: Vec<u8>,
    last: u8,
}

impl Thrift {
    fn field(&mut self, number: u8, kind: u8) {
        // Numbers lie near enough for the short form.
        self.out.push((number - self.last) << 4 | kind);
        self.last = number;
    }

    fn zigzag(&mut self, value: i64) {
        varint(&mut self.out, ((value << 1) ^ (value >> 63)) as u64);
    }

    fn i32(&mut self, number: u8, value: i64) {
        self.field(number, I32);
        self.zigzag(value);
    }

    fn i64(&mut self, number: u8, value: i64) {
        self.field(number, I64);
        self.zigzag(value);
    }

    fn bytes(&mut self, text: &str) {
        varint(&mut self.out, text.len() as u64);
        self.out.extend(text.as_bytes());
    }

    fn text(&mut self, number: u8, text: &str) {
        self.field(number, BINARY);
        self.bytes(text);
    }

    fn structure(&mut self, number: u8, fields: impl FnOnce(&mut Thrift)) {
        self.field(number, STRUCT);
        self.element(fields);
    }

    /// A struct without a number, as in a list.
    fn element(&mut self, fields: impl FnOnce(&mut Thrift)) {
        let last = std::mem::take(&mut self.last);
        fields(self);
        self.out.push(0);
        self.last = last;
    }

    fn list(&mut self, number: u8, length: usize, kind: u8, elements: impl FnOnce(&mut Thrift)) {
        self.field(number, LIST);
        match length {
            0..15 => self.out.push((length as u8) << 4 | kind),
            _ => {
                self.out.push(0xF0 | kind);
                varint(&mut self.out, length as u64);
            }
        }
        elements(self);
    }

    fn end(mut self) -> Vec<u8> {
        self.out.push(0);
        self.out
    }
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `tests/fixtures/check_parquet.py` reads the same file with pyarrow, pandas and Polars, and finds this in it.
    fn example() -> Vec<(String, Column)> {
        let texts = |n: usize| (n % 3 != 1).then(|| format!("clip \u{e9} {n}"));
        let reals = [Some(0.1), None, Some(-1e300), Some(f64::MIN_POSITIVE), Some(-0.0)];
        let mut columns = vec![
            ("text".to_string(), Column::Text((0..300).map(texts).collect())),
            (
                "whole".to_string(),
                Column::Integer((0..300).map(|n| (n % 7 > 0).then_some(n * n * -1_000_003)).collect()),
            ),
            ("real/all".to_string(), Column::Real((0..300).map(|n| Some(f64::from(n) / 3.0)).collect())),
            ("real".to_string(), Column::Real((0..300).map(|n| reals[n % 5]).collect())),
            ("nothing".to_string(), Column::Text(vec![None; 300])),
            (
                "extremes".to_string(),
                Column::Integer((0..300).map(|n| Some(if n < 150 { i64::MIN } else { i64::MAX })).collect()),
            ),
        ];
        columns.push((
            "seed".to_string(),
            Column::Unsigned((0..300).map(|n| (n % 2 > 0).then_some(u64::MAX - n)).collect()),
        ));
        // More than 14 columns take the long form of a list.
        columns.extend((0..12).map(|i| (format!("c{i}"), Column::Integer(vec![Some(i); 300]))));
        columns
    }

    #[test]
    fn the_file_is_the_one_that_other_readers_were_shown() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/example.parquet");
        let bytes = file(&example());
        if std::env::var_os("UNMUTE_WRITE_FIXTURES").is_some() {
            std::fs::write(path, &bytes).unwrap();
        }
        assert!(bytes == std::fs::read(path).unwrap(), "check the new one with tests/fixtures/check_parquet.py");
    }

    #[test]
    fn a_table_without_rows_is_a_file_too() {
        let bytes = file(&[("a".to_string(), Column::Real(Vec::new()))]);
        assert!(bytes.starts_with(MAGIC) && bytes.ends_with(MAGIC));
        let none =
            std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/empty.parquet")).unwrap_or_default();
        if std::env::var_os("UNMUTE_WRITE_FIXTURES").is_some() {
            std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/empty.parquet"), &bytes).unwrap();
        } else {
            assert!(none == bytes);
        }
    }

    #[test]
    fn numbers_are_written_in_sevens_of_bits() {
        let of = |value: u64| {
            let mut out = Vec::new();
            varint(&mut out, value);
            out
        };
        assert_eq!((of(0), of(127), of(128), of(300)), (vec![0], vec![127], vec![0x80, 1], vec![0xAC, 2]));
        let mut t = Thrift::default();
        [0, -1, 1, i64::MIN].into_iter().for_each(|v| t.zigzag(v));
        assert_eq!(t.out[..3], [0, 1, 2]);
        assert_eq!(t.out.len(), 3 + 10);
    }
}
