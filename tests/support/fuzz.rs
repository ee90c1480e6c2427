//! Damaged inputs for parsers: the same ones on every machine in `cargo test`, new ones for as long as one likes in `just fuzz`.
//!
//! A target is a name, good inputs, words that mean something to its parser, and an attempt that says whether it took the input.
//! What was found stands in `tests/fuzz/TARGET/`, a file each, and is tried first, always. `just fuzz` sets UNMUTE_FUZZ_SECONDS:
//! each target then goes on that long, from the seed UNMUTE_FUZZ_SEED; inputs that a parser took are changed further. An input
//! at which it panics, fails or takes too long is left in `tests/fuzz/TARGET/`. One that ends the process leaves nothing behind:
//! the same seed once more, with UNMUTE_FUZZ_TRACE=1, writes every input to `tests/fuzz/TARGET/under-way` before it is tried.

use compute::rng::Rng;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A parser under attack.
pub struct Target<'a> {
    /// Its name, and its folder's in `tests/fuzz`.
    pub name: &'a str,
    /// Inputs that it takes.
    pub good: &'a [Vec<u8>],
    /// What means something to it.
    pub words: &'a [&'a str],
    /// Damaged inputs that `cargo test` tries.
    pub times: usize,
}

/// Inputs that a parser took and that are changed further, at most.
const KEPT: usize = 500;
/// Bytes of an input that is made.
const LARGEST: usize = 20_000;
/// An attempt of `just fuzz` may take this long; a test has no clock.
const SLOW: Duration = Duration::from_secs(10);

/// What a run of a target did.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tried {
    /// Damaged inputs.
    pub inputs: usize,
    /// Those of them that the parser took; all, where time was the limit and there is nothing to expect.
    pub taken: usize,
}

impl Target<'_> {
    /// Tries what was found, what is good, and damaged inputs; `attempt` says whether the input was taken.
    pub fn attack(&self, mut attempt: impl FnMut(&[u8]) -> bool) -> Tried {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz").join(self.name);
        for (path, bytes) in found(&folder) {
            let result = catch_unwind(AssertUnwindSafe(|| attempt(&bytes)));
            assert!(result.is_ok(), "{}: see above", path.display());
        }
        for good in self.good {
            assert!(attempt(good), "{}: what nobody damaged is taken: {:?}", self.name, String::from_utf8_lossy(good));
        }
        let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let seconds = number("UNMUTE_FUZZ_SECONDS").map(Duration::from_secs);
        let seed = number("UNMUTE_FUZZ_SEED").unwrap_or(16);
        let mut rng = Rng::new(seed, &format!("fuzz/{}", self.name));
        let mut pool: Vec<Vec<u8>> = self.good.to_vec();
        let mut tried = Tried::default();
        let started = Instant::now();
        let watch = seconds.map(|_| Watch::new(&folder));
        while seconds.map_or(tried.inputs < self.times, |s| started.elapsed() < s) {
            let input = changed(&mut rng, &pool, self.words);
            watch.iter().for_each(|w| w.begin(&input));
            let result = catch_unwind(AssertUnwindSafe(|| attempt(&input)));
            watch.iter().for_each(Watch::end);
            let Ok(taken) = result else {
                let path = keep(&folder, &input);
                panic!("{}: the input is kept in {}: {:?}", self.name, path.display(), String::from_utf8_lossy(&input));
            };
            tried.inputs += 1;
            tried.taken += usize::from(taken);
            // What is taken leads further than what is refused at the first byte.
            if taken && seconds.is_some() && input.len() <= LARGEST {
                match pool.len() < KEPT {
                    true => pool.push(input),
                    false => {
                        let at = self.good.len() + rng.below(KEPT - self.good.len());
                        pool[at] = input;
                    }
                }
            }
        }
        if let Some(watch) = watch {
            watch.stop();
            let Tried { inputs, taken } = tried;
            // Not eprintln!, which the harness keeps to itself when a test passes.
            let line = format!("fuzz {}: {inputs} inputs, {taken} taken, seed {seed}\n", self.name);
            let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
            tried.taken = tried.inputs;
        }
        tried
    }
}

/// What was found earlier, in the order of names.
fn found(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path());
    let mut paths: Vec<PathBuf> = entries.filter(|p| p.is_file()).collect();
    paths.sort();
    paths.into_iter().map(|p| (p.clone(), std::fs::read(&p).unwrap())).collect()
}

/// Leaves an input for the next time.
fn keep(folder: &Path, input: &[u8]) -> PathBuf {
    std::fs::create_dir_all(folder).unwrap();
    let path = folder.join(&blake3::hash(input).to_hex()[..16]);
    std::fs::write(&path, input).unwrap();
    path
}

/// An input that is good, or was taken, changed in one to four places.
fn changed(rng: &mut Rng, pool: &[Vec<u8>], words: &[&str]) -> Vec<u8> {
    const TELLING: [u8; 10] = [0, 1, 0x7f, 0x80, 0xff, b'0', b'-', b'\n', b'"', b'\''];
    const NESTED: [&str; 8] = ["[", "{a: ", "(", "*", "9", "a.", "- ", "  "];
    let mut bytes = pool[rng.below(pool.len())].clone();
    for _ in 0..1 + rng.below(4) {
        let at = rng.below(bytes.len() + 1);
        let end = (at + rng.below(64)).min(bytes.len());
        let part = bytes[at..end].to_vec();
        match rng.below(10) {
            0 if at < bytes.len() => bytes[at] ^= 1 << rng.below(8),
            1 if at < bytes.len() => bytes[at] = TELLING[rng.below(TELLING.len())],
            2 => bytes.truncate(at),
            3 => drop(bytes.splice(at..end, [])),
            4 => drop(bytes.splice(at..at, part)),
            5 => {
                // Moved elsewhere.
                bytes.splice(at..end, []);
                let to = rng.below(bytes.len() + 1);
                bytes.splice(to..to, part);
            }
            6 => {
                // A piece of another input.
                let other = &pool[rng.below(pool.len())];
                let from = rng.below(other.len() + 1);
                let piece = other[from..(from + rng.below(64)).min(other.len())].to_vec();
                bytes.splice(at..end, piece);
            }
            7 if rng.below(4) == 0 => {
                let many = NESTED[rng.below(NESTED.len())].repeat(1 + rng.below(200));
                bytes.splice(at..at, many.into_bytes());
            }
            8 if !words.is_empty() => drop(bytes.splice(at..end, words[rng.below(words.len())].bytes())),
            _ if !words.is_empty() => drop(bytes.splice(at..at, words[rng.below(words.len())].bytes())),
            _ => bytes.push(rng.below(256) as u8),
        }
    }
    bytes
}

/// Ends the process at an attempt that takes too long, and leaves its input.
struct Watch {
    current: PathBuf,
    input: std::sync::Arc<std::sync::Mutex<Vec<u8>>>,
    traced: bool,
    started: Instant,
    /// Milliseconds since `started` at which the attempt began; 0 between attempts.
    since: std::sync::Arc<AtomicU64>,
    over: std::sync::Arc<AtomicBool>,
}

impl Watch {
    fn new(folder: &Path) -> Watch {
        let watch = Watch {
            current: folder.join("under-way"),
            input: Default::default(),
            traced: std::env::var_os("UNMUTE_FUZZ_TRACE").is_some(),
            started: Instant::now(),
            since: Default::default(),
            over: Default::default(),
        };
        let (since, over, started) = (watch.since.clone(), watch.over.clone(), watch.started);
        let (folder, input) = (folder.to_path_buf(), watch.input.clone());
        std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(200));
                let began = since.load(Ordering::Relaxed);
                let now = started.elapsed().as_millis() as u64;
                if began > 0 && now.saturating_sub(began) > SLOW.as_millis() as u64 {
                    let path = keep(&folder, &input.lock().unwrap());
                    let line = format!("{}: it takes more than {SLOW:?}\n", path.display());
                    let _ = std::io::Write::write_all(&mut std::io::stderr(), line.as_bytes());
                    std::process::abort();
                }
            }
        });
        watch
    }

    fn begin(&self, input: &[u8]) {
        if self.traced {
            std::fs::create_dir_all(self.current.parent().unwrap()).unwrap();
            std::fs::write(&self.current, input).unwrap();
        }
        let mut kept = self.input.lock().unwrap();
        kept.clear();
        kept.extend(input);
        self.since.store(self.started.elapsed().as_millis() as u64 + 1, Ordering::Relaxed);
    }

    fn end(&self) {
        self.since.store(0, Ordering::Relaxed);
    }

    fn stop(&self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = std::fs::remove_file(&self.current);
    }
}
