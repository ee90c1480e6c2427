//! The formats that arrays are read from.

use super::array::ArrayReader;
use super::npy::Npy;
use super::npz::Npz;

/// All of them. A new one is a file beside this one and an entry here.
pub(super) static READERS: &[&dyn ArrayReader] = &[&Npy, &Npz];
