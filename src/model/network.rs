//! A network, described once: from this come its parameters and their initial values, what a clip costs in operations and
//! memory, what a checkpoint of it looks like, and its drawing.

use compute::rng::Rng;

/// Sizes that a network is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Frames, T.
    pub frames: usize,
    /// Width of all streams, D_v.
    pub visual: usize,
    /// Width of the audio feature, D_a.
    pub audio: usize,
    /// Classes, K.
    pub classes: usize,
}

/// What a network sees of a clip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sees {
    /// All frames, in order: (T B, D_v), time-major.
    Frames,
    /// One frame, a fresh one each epoch while it trains: (B, D_v).
    OneFrame,
}

crate::words!(
    /// What a network of one frame sees of a val clip (A6).
    TestFrame {
        /// The centre frame, T / 2.
        Centre = "centre",
        /// Every frame; outputs are averaged.
        Mean = "mean",
    }
);

/// Where a parameter's values begin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Uniform in [-bound, bound).
    Uniform(f64),
    /// One value everywhere.
    Constant(f32),
}

/// A trained matrix; vectors are (1, n).
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// `lstm.w`, `audio.b`, ...
    pub name: String,
    /// (rows, columns).
    pub shape: (usize, usize),
    /// Its first values.
    pub init: Init,
}

impl Param {
    /// The first values, row-major, from the stream `init/NAME` of the seed.
    pub fn initial(&self, seed: u64) -> Vec<f32> {
        let len = self.shape.0 * self.shape.1;
        match self.init {
            Init::Constant(value) => vec![value; len],
            Init::Uniform(bound) => drawn(&self.name, len, bound, seed),
        }
    }
}

/// Numbers drawn uniformly from [-bound, bound), from the stream `init/NAME` of the seed.
pub fn drawn(name: &str, len: usize, bound: f64, seed: u64) -> Vec<f32> {
    let mut rng = Rng::new(seed, &format!("init/{name}"));
    (0..len).map(|_| ((2.0 * rng.uniform() - 1.0) * bound) as f32).collect()
}

/// A box of the drawing, and what it costs.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// What it is: `LSTM`, `encoder (ReLU)`.
    pub name: String,
    /// Its size in words: `512, 18 steps`.
    pub size: String,
    /// The stages that it reads.
    pub after: Vec<usize>,
    /// Multiplications of a clip's forward pass.
    pub multiplications: usize,
    /// Numbers that a clip leaves here for the backward pass, and their gradients.
    pub kept: usize,
}

/// A network: what it sees, its parameters, its stages.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// What it sees of a clip.
    pub sees: Sees,
    /// Every parameter, in the order of checkpoints.
    pub params: Vec<Param>,
    /// The input, what it goes through, and the two heads, which come last: the feature's, then the classifier's.
    pub stages: Vec<Stage>,
}

impl Network {
    /// A network that has only its input.
    pub fn new(sees: Sees, sizes: Sizes) -> Network {
        let (name, size) = match sees {
            Sees::Frames => ("frames", format!("{} × {}", sizes.frames, sizes.visual)),
            Sees::OneFrame => ("one frame", sizes.visual.to_string()),
        };
        let input = Stage { name: name.into(), size, after: vec![], multiplications: 0, kept: 0 };
        Network { sees, params: vec![], stages: vec![input] }
    }

    /// Adds a parameter.
    pub fn param(&mut self, name: &str, shape: (usize, usize), init: Init) {
        self.params.push(Param { name: name.into(), shape, init });
    }

    /// Adds the parameters of x W + b, uniform in +-1/sqrt(inputs): `NAME.w` and `NAME.b`.
    pub fn affine(&mut self, name: &str, from: usize, to: usize) {
        let bound = Init::Uniform(1.0 / (from as f64).sqrt());
        self.param(&format!("{name}.w"), (from, to), bound);
        self.param(&format!("{name}.b"), (1, to), bound);
    }

    /// Adds a stage behind `after`, and gives its number.
    pub fn stage(&mut self, name: &str, size: String, after: &[usize], multiplications: usize, kept: usize) -> usize {
        self.stages.push(Stage { name: name.into(), size, after: after.to_vec(), multiplications, kept });
        self.stages.len() - 1
    }

    /// Adds the two heads: the classifier on what stage `for_classes` makes, the feature's on `for_audio`; each stage with
    /// its width.
    pub fn heads(mut self, sizes: Sizes, for_classes: (usize, usize), for_audio: (usize, usize)) -> Network {
        self.affine("classify", for_classes.1, sizes.classes);
        self.affine("audio", for_audio.1, sizes.audio);
        // Outputs, their gradients, and what the losses are summed of.
        self.stage("feature head", sizes.audio.to_string(), &[for_audio.0], for_audio.1 * sizes.audio, 3 * sizes.audio);
        self.stage(
            "classifier",
            format!("softmax {}", sizes.classes),
            &[for_classes.0],
            for_classes.1 * sizes.classes,
            3 * sizes.classes,
        );
        self
    }

    /// Number of trained numbers.
    pub fn count(&self) -> usize {
        self.params.iter().map(|p| p.shape.0 * p.shape.1).sum()
    }

    /// Floating-point operations of a clip's forward pass, as far as they are products.
    pub fn operations(&self) -> f64 {
        self.stages.iter().map(|s| 2.0 * s.multiplications as f64).sum()
    }

    /// Those of the first products, whose input gets no gradient.
    pub fn first_operations(&self) -> f64 {
        self.stages.iter().filter(|s| s.after == [0]).map(|s| 2.0 * s.multiplications as f64).sum()
    }

    /// Numbers that a clip takes while it trains, beside its input and target.
    pub fn numbers_of_a_clip(&self) -> usize {
        self.stages.iter().map(|s| s.kept).sum()
    }

    /// Names and shapes, in the order of checkpoints.
    pub fn shapes(&self) -> impl Iterator<Item = (&str, (usize, usize))> {
        self.params.iter().map(|p| (p.name.as_str(), p.shape))
    }
}
