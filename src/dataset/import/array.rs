//! What every format of arrays gives: their names and shapes at first, then their numbers.

use super::super::Error;
use std::path::Path;

/// Bytes of one array at most.
pub(super) const MOST_BYTES: u64 = 1 << 31;

/// A format of files that hold arrays.
pub(in crate::dataset) trait ArrayReader: Sync {
    /// How its files' names end, in lower case, without the dot.
    fn ending(&self) -> &'static str;

    /// Whether a file of it may hold several arrays, each with a name.
    fn names_arrays(&self) -> bool;

    /// The arrays of a file, by reading no more than their headers.
    fn list(&self, path: &Path) -> Result<Vec<Entry>, Error>;

    /// Reads the array called `member`, or the only one where the format has no names.
    fn read(&self, path: &Path, member: Option<&str>) -> Result<Array, Error>;
}

/// An array of a file, before its numbers are read.
#[derive(Debug)]
pub(in crate::dataset) struct Entry {
    /// Its name, where the format has names.
    pub member: Option<String>,
    /// Its dimensions, or why it cannot be read. What nobody asks for may be unreadable.
    pub shape: Result<Vec<usize>, String>,
}

/// An array's numbers, row-major, as f32.
#[derive(Debug)]
pub(in crate::dataset) struct Array {
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// As many numbers as their product says.
    pub values: Vec<f32>,
    /// Of the bytes that it was read from.
    pub digest: blake3::Hash,
    /// Bytes that follow the array in its file.
    pub trailing: u64,
    /// What the conversion to f32 changed.
    pub changed: Changed,
}

/// Numbers that are others as f32 than in their file, beyond the rounding that every float undergoes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in crate::dataset) struct Changed {
    /// Not 0 in the file, and 0 as f32.
    pub to_zero: usize,
    /// Integers beyond 2^24 that f32 does not hold exactly.
    pub rounded: usize,
}
