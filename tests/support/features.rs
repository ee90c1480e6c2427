//! A small folder of per-clip `.npy` files, as `unmute data import` takes it; every test may spoil its own.

use super::random::Random;
use compute::rng::Rng;
use std::path::{Path, PathBuf};

/// What the folder holds.
#[derive(Clone)]
pub struct Source {
    /// Clips; the first three quarters of each class train.
    pub clips: usize,
    /// Class names.
    pub classes: Vec<&'static str>,
    /// Streams and their widths.
    pub streams: Vec<(&'static str, usize)>,
    /// Audio features and the widths of their rows.
    pub audio: Vec<(&'static str, usize)>,
    /// Every so many-th clip is silent (said in a has_audio column); 0: none, and no such column.
    pub silent_every: usize,
}

impl Default for Source {
    fn default() -> Self {
        Source {
            clips: 48,
            classes: vec!["barking", "cheering", "dripping"],
            streams: vec![("rgb", 6), ("flow", 4)],
            audio: vec![("vggish", 5)],
            silent_every: 0,
        }
    }
}

impl Source {
    /// Writes `clips.csv` and `features/CLIP_NAME.npy` into a folder. Vision and sound depend on the class, so that there
    /// is something to learn.
    pub fn write(&self, dir: &Path) {
        std::fs::create_dir_all(dir.join("features")).unwrap();
        let with_column = self.silent_every > 0;
        let mut csv = String::from(if with_column { "clip,label,split,has_audio\n" } else { "clip,label,split\n" });
        for i in 0..self.clips {
            let class = i % self.classes.len();
            let split = if i / self.classes.len() % 4 == 3 { "val" } else { "train" };
            let silent = with_column && i % self.silent_every == 0;
            let sound = if with_column { format!(",{}", !silent) } else { String::new() };
            csv += &format!("c{i},{},{split}{sound}\n", self.classes[class]);
            let mut stream = Rng::new(i as u64, "clip");
            let mut array = |name: &str, width: usize, frames: usize| {
                let value = |d: usize, stream: &mut Rng| {
                    stream.normal() as f32 + if d % self.classes.len() == class { 1.5 } else { 0.0 }
                };
                let values: Vec<f32> = (0..frames * width).map(|at| value(at % width, &mut stream)).collect();
                write_npy(&npy(dir, &format!("c{i}"), name), &[frames, width], &values);
            };
            for (name, width) in &self.streams {
                array(name, *width, 4 + i % 3);
            }
            for (name, width) in self.audio.iter().filter(|_| !silent) {
                array(name, *width, 3 + i % 2);
            }
        }
        std::fs::write(dir.join("clips.csv"), csv).unwrap();
    }
}

/// A clip's file.
pub fn npy(dir: &Path, clip: &str, name: &str) -> PathBuf {
    dir.join(format!("features/{clip}_{name}.npy"))
}

/// Writes little-endian f32 in NumPy's format, version 1.0.
pub fn write_npy(path: &Path, shape: &[usize], values: &[f32]) {
    let shape: String = shape.iter().map(|n| format!("{n},")).collect();
    let mut bytes = npy_header(&format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({shape}), }}"));
    bytes.extend(values.iter().flat_map(|v| v.to_le_bytes()));
    std::fs::write(path, bytes).unwrap();
}

/// Magic, version, length and a padded header.
pub fn npy_header(dictionary: &str) -> Vec<u8> {
    let length = (10 + dictionary.len() + 1).next_multiple_of(64) - 10;
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((length as u16).to_le_bytes());
    bytes.extend(format!("{dictionary:<width$}\n", width = length - 1).bytes());
    bytes
}

/// 4 classes, 96 clips, two streams and one audio feature around class centres.
pub fn write_class_centres(dir: &Path) {
    std::fs::create_dir_all(dir.join("features")).unwrap();
    let mut random = Random(1);
    let mut csv = String::from("clip,label,split\n");
    for i in 0..96usize {
        let class = i % 4;
        csv += &format!("c{i:03},class{class},{}\n", if i < 64 { "train" } else { "val" });
        for (name, rows, width) in [("rgb", 4, 6), ("flow", 4, 4), ("vggish", 1, 5)] {
            let centre = |j: usize| if (j % width) % 4 == class { 1.0 } else { 0.0 };
            let value = |j: usize| (centre(j) + 0.7 * (random.unit() - 0.5)) as f32;
            let values: Vec<f32> = (0..rows * width).map(value).collect();
            write_npy(&npy(dir, &format!("c{i:03}"), name), &[rows, width], &values);
        }
    }
    std::fs::write(dir.join("clips.csv"), csv).unwrap();
}
