//! Sizes of blocks, from the sizes of the machine's caches: the one place that knows of them.
//!
//! A tile of a product reads a few rows of the left-hand side and a panel of the right-hand one, [`DEPTH`] steps deep. The panels of a group
//! stay in the second-level cache while rows go by, and with them the rows of a tile, those of the next one, and what is written. Caches
//! decide only which tile comes next, never how a number is summed: a result has the same bits on every machine with the same vectors.

use gemm_common::cache::CACHE_INFO;
use std::sync::OnceLock;

/// Steps of the inner dimension that a tile adds up before it touches the result again. Where a sum is cut decides its rounding, so this
/// is the same on every machine.
pub(super) const DEPTH: usize = 1024;

/// Bytes of a number.
const F32: usize = size_of::<f32>();

/// How many panels and rows go by together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Blocking {
    /// Panels that stay in the second-level cache while rows go by.
    pub(super) group: usize,
    /// Rows of a left-hand side that go by before the next panels come.
    pub(super) rows: usize,
    /// Rows of a sum of products that are made before they are handed out, where each is made in one go.
    pub(super) piece: usize,
}

impl Blocking {
    /// Of this machine, for the panels of `wide` columns and tiles of `highest` rows that this process has. Where the system does not tell
    /// how large its caches are, the gemm crate takes 256 KiB.
    pub(super) fn of(wide: usize, highest: usize) -> Blocking {
        static BLOCKING: OnceLock<Blocking> = OnceLock::new();
        *BLOCKING.get_or_init(|| Blocking::for_caches(CACHE_INFO[1].cache_bytes, wide, highest))
    }

    /// For a second-level cache of so many bytes.
    ///
    /// Half of it is the group's, wide x [`DEPTH`] numbers a panel, an eighth the sums of a strip of rows. The rest is left to the tiles of the
    /// left-hand side that come by, and to what Adam reads and writes beside the sums.
    fn for_caches(second: usize, wide: usize, highest: usize) -> Blocking {
        let group = (second / 2 / (wide * DEPTH * F32)).clamp(1, 16);
        let rows = (second / 8 / (group * wide * F32)).clamp(2 * highest, 384) / highest * highest;
        Blocking { group, rows, piece: rows.min(48) }
    }
}

/// Tasks that a thread has of a matrix that is shared by columns, so that one that is held up holds up little.
const TASKS: usize = 4;

/// How many rows and columns of a matrix a task takes where `threads` share it: columns in multiples of `wide`, and where these are too few
/// for two tasks a thread, rows too, in multiples of `high`, the height of a tile, and no fewer than two tiles.
pub(super) fn task([rows, columns]: [usize; 2], [high, wide]: [usize; 2], threads: usize) -> [usize; 2] {
    let all = rows.next_multiple_of(high).max(high);
    if threads < 2 {
        return [all, columns.next_multiple_of(wide).max(wide)];
    }
    let columns_each = columns.div_ceil(TASKS * threads).next_multiple_of(wide).max(wide);
    let parts = (2 * threads).div_ceil(columns.div_ceil(columns_each).max(1));
    let rows_each = rows.div_ceil(parts).next_multiple_of(high).max(2 * high);
    [if parts < 2 { all } else { rows_each.min(all) }, columns_each]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_fit_into_half_of_the_second_level_cache() {
        let blocking = |kib: usize, [wide, highest]: [usize; 2]| {
            let Blocking { group, rows, piece } = Blocking::for_caches(kib << 10, wide, highest);
            assert!(group == 1 || group * wide * DEPTH * F32 <= kib << 9, "{kib} KiB");
            assert!(rows.is_multiple_of(highest) && piece <= rows && rows >= 2 * highest);
            [group, rows, piece]
        };
        // Tiles of AVX-512, of AVX2 and of NEON, caches of processors that there are: Haswell, Zen 3, Zen 5 and Skylake's servers, Ice Lake's
        // servers, Sapphire Rapids.
        let (avx512, avx2, neon) = ([64, 6], [16, 6], [16, 4]);
        assert_eq!([256, 512, 1024, 1280, 2048].map(|kib| blocking(kib, avx512)[0]), [1, 1, 2, 2, 4]);
        assert_eq!([256, 512, 1024, 1280, 2048].map(|kib| blocking(kib, avx2)[0]), [2, 4, 8, 10, 16]);
        assert_eq!(blocking(1024, avx512), [2, 252, 48]);
        assert_eq!(blocking(1024, neon), [8, 256, 48]);
        // None that is known, and more than any.
        assert_eq!(blocking(0, avx2), [1, 12, 12]);
        assert_eq!(blocking(64 << 10, avx512), [16, 384, 48]);
    }

    #[test]
    fn tasks_are_enough_for_every_thread_and_take_all() {
        for threads in [1, 2, 3, 8, 16, 64] {
            for (rows, columns, wide) in
                [(128, 512, 64), (128, 2048, 64), (32, 512, 16), (1, 5, 64), (0, 0, 16), (2304, 100, 64)]
            {
                let [high, across] = task([rows, columns], [6, wide], threads);
                assert!(high.is_multiple_of(6) && across.is_multiple_of(wide) && high > 0 && across > 0);
                let tasks = rows.div_ceil(high) * columns.div_ceil(across);
                let most = rows / 12 * columns.div_ceil(wide);
                assert!(
                    tasks >= threads.min(most) && tasks <= 12 * threads,
                    "{rows} x {columns}: {tasks} for {threads}"
                );
            }
        }
        // An LSTM of 512 units and 128 clips on the way back: as before on two threads, enough for 64.
        let tasks = |threads| {
            let [high, across] = task([128, 512], [6, 64], threads);
            (128_usize.div_ceil(high), 512_usize.div_ceil(across))
        };
        assert_eq!([1, 2, 8, 16, 64].map(tasks), [(1, 1), (1, 8), (2, 8), (4, 8), (11, 8)]);
    }
}
