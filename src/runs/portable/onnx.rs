//! Graphs for ONNX Runtime (opset 17), from raw features to raw features or probabilities: scales are part of the graph.
//!
//! A generator has the input `vision` (clips, T, D_v), all streams side by side, and the outputs `audio` (clips, D_a) and
//! `classes` (clips, K); a network of one frame picks its frame itself. A head has `vision` (clips, T, D) and `classes`; an SVM
//! bank `audio` (clips, D_a) and `classes`.

use super::protobuf::Message;
use super::{Error, Portable, Tensor, Weights, tensor, transposed};
use crate::dataset::Standardiser;
use crate::experiment::Part;
use crate::experiment::config::Probability;
use crate::model::generator::{Generator, TestFrame};
use crate::model::network::Sees;
use crate::runs::trained::generator;
use crate::score::Bank;

/// What ONNX calls its types.
const FLOAT: i64 = 1;
const INT64: i64 = 7;

/// A graph that is being written.
#[derive(Default)]
struct Graph {
    nodes: Message,
    tensors: Message,
    values: Message,
    made: usize,
}

/// A node's attribute.
enum Attribute<'a> {
    Int(&'a str, i64),
    Ints(&'a str, &'a [i64]),
    Float(&'a str, f32),
}

impl Graph {
    fn fresh(&mut self) -> String {
        self.made += 1;
        format!("v{}", self.made)
    }

    fn initial(&mut self, shape: &[usize], kind: i64, raw: &[u8]) -> String {
        let name = self.fresh();
        let tensor = shape.iter().fold(Message::default(), |m, n| m.int(1, *n as i64));
        let tensor = tensor.int(2, kind).text(8, &name).bytes(9, raw);
        self.tensors = std::mem::take(&mut self.tensors).message(5, &tensor);
        name
    }

    /// A tensor of numbers.
    fn floats(&mut self, shape: &[usize], values: &[f32]) -> String {
        self.initial(shape, FLOAT, &crate::runs::weights::little_endian(values))
    }

    fn ints(&mut self, values: &[i64]) -> String {
        let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.initial(&[values.len()], INT64, &raw)
    }

    /// A node with one output among `outputs`, whose name it gives; empty names are outputs that nobody reads.
    fn node(&mut self, kind: &str, inputs: &[&str], outputs: &[String], attributes: &[Attribute]) {
        let mut node = inputs.iter().fold(Message::default(), |m, name| m.text(1, name));
        node = outputs.iter().fold(node, |m, name| m.text(2, name)).text(4, kind);
        for attribute in attributes {
            let message = match attribute {
                Attribute::Int(name, value) => Message::default().text(1, name).int(3, *value).int(20, 2),
                Attribute::Float(name, value) => Message::default().text(1, name).float(2, *value).int(20, 1),
                Attribute::Ints(name, values) => {
                    values.iter().fold(Message::default().text(1, name), |m, v| m.int(8, *v)).int(20, 7)
                }
            };
            node = node.message(5, &message);
        }
        self.nodes = std::mem::take(&mut self.nodes).message(1, &node);
    }

    fn with(&mut self, kind: &str, inputs: &[&str], attributes: &[Attribute]) -> String {
        let out = self.fresh();
        self.node(kind, inputs, std::slice::from_ref(&out), attributes);
        out
    }

    fn op(&mut self, kind: &str, inputs: &[&str]) -> String {
        self.with(kind, inputs, &[])
    }

    /// (x - mean) inverse_sd.
    fn scale(&mut self, x: &str, scale: &Standardiser) -> String {
        let (mean, inverse) = self.both(scale);
        let centred = self.op("Sub", &[x, &mean]);
        self.op("Mul", &[&centred, &inverse])
    }

    /// x / inverse_sd + mean.
    fn unscale(&mut self, x: &str, scale: &Standardiser) -> String {
        let (mean, inverse) = self.both(scale);
        let wide = self.op("Div", &[x, &inverse]);
        self.op("Add", &[&wide, &mean])
    }

    fn both(&mut self, scale: &Standardiser) -> (String, String) {
        let width = [scale.width()];
        (self.floats(&width, &scale.mean), self.floats(&width, &scale.inverse_sd))
    }

    /// x W + b with the tensors `NAME.w` and `NAME.b`.
    fn affine(&mut self, x: &str, weights: &Weights, name: &str) -> Result<String, Error> {
        let (w, b) = (tensor(weights, &format!("{name}.w"))?, tensor(weights, &format!("{name}.b"))?);
        let (w, b) = (self.floats(&w.shape, &w.values), self.floats(&[b.values.len()], &b.values));
        let product = self.op("MatMul", &[x, &w]);
        Ok(self.op("Add", &[&product, &b]))
    }

    fn relu_layer(&mut self, x: &str, weights: &Weights, name: &str) -> Result<String, Error> {
        let y = self.affine(x, weights, name)?;
        Ok(self.op("Relu", &[&y]))
    }

    /// The mean over the frames of (clips, T, D).
    fn mean_of_frames(&mut self, x: &str) -> String {
        self.with("ReduceMean", &[x], &[Attribute::Ints("axes", &[1]), Attribute::Int("keepdims", 0)])
    }

    fn softmax(&mut self, x: &str) -> String {
        self.with("Softmax", &[x], &[Attribute::Int("axis", -1)])
    }

    /// Names an input (field 11) or output (field 12) of clips times `shape`.
    fn value(&mut self, field: u32, name: &str, shape: &[usize]) {
        let clips = Message::default().text(2, "clips");
        let dims = shape.iter().map(|n| Message::default().int(1, *n as i64));
        let dims = std::iter::once(clips).chain(dims).fold(Message::default(), |m, dim| m.message(1, &dim));
        let kind = Message::default().message(1, &Message::default().int(1, FLOAT).message(2, &dims));
        let value = Message::default().text(1, name).message(2, &kind);
        self.values = std::mem::take(&mut self.values).message(field, &value);
    }

    fn output(&mut self, from: &str, name: &str, width: usize) {
        self.node("Identity", &[from], &[name.into()], &[]);
        self.value(12, name, &[width]);
    }

    /// The file.
    fn finish(self, name: &str, metadata: &[(&str, String)]) -> Vec<u8> {
        let graph = [self.nodes.0, Message::default().text(2, name).0, self.tensors.0, self.values.0].concat();
        let model = Message::default().int(1, 8).text(2, "unmute").text(3, env!("CARGO_PKG_VERSION"));
        let model = model.bytes(7, &graph).message(8, &Message::default().text(1, "").int(2, 17));
        let prop = |(key, value): &(&str, String)| Message::default().text(1, key).text(2, value);
        metadata.iter().fold(model, |m, entry| m.message(14, &prop(entry))).0
    }
}

/// A graph of what was trained.
pub fn onnx(of: &Portable) -> Result<Vec<u8>, Error> {
    match of {
        Portable::Bank(bank, description) => Ok(of_bank(bank, description)),
        Portable::Network(weights) => match &weights.description.part {
            Part::Stream { .. } => of_head(weights),
            _ => of_generator(weights),
        },
    }
}

fn scale(weights: &Weights, name: &str) -> Result<Standardiser, Error> {
    let why = || format!("no scale {name:?}");
    weights.scale(name).ok_or_else(|| Error::Broken { of: weights.description.name(), why: why() })
}

fn metadata(weights: &Weights) -> [(&'static str, String); 1] {
    [("unmute", serde_json::to_string(&weights.description).unwrap_or_default())]
}

fn of_head(weights: &Weights) -> Result<Vec<u8>, Error> {
    let (d, mut g) = (&weights.description, Graph::default());
    let input = scale(weights, "input")?;
    g.value(11, "vision", &[d.frames, input.width()]);
    let x = g.scale("vision", &input);
    let mean = g.mean_of_frames(&x);
    let logits = g.affine(&mean, weights, "head")?;
    let p = g.softmax(&logits);
    g.output(&p, "classes", d.classes.len());
    Ok(g.finish(&d.name(), &metadata(weights)))
}

fn of_bank(bank: &Bank, description: &str) -> Vec<u8> {
    let mut g = Graph::default();
    let width = bank.scale.width();
    let classes = bank.weights.len() / (width + 1);
    g.value(11, "audio", &[width]);
    let x = g.scale("audio", &bank.scale);
    let rows = || bank.weights.chunks_exact(width + 1);
    let w: Vec<f32> = rows().flat_map(|row| row[..width].to_vec()).collect();
    let w = transposed(&Tensor::matrix("w", width, w));
    let (w, b) = (g.floats(&w.shape, &w.values), g.floats(&[classes], &rows().map(|r| r[width]).collect::<Vec<_>>()));
    let product = g.op("MatMul", &[&x, &w]);
    let z = g.op("Add", &[&product, &b]);
    let p = match bank.probability {
        Probability::Softmax => g.softmax(&z),
        Probability::Platt | Probability::PlattRaw => {
            // p = 1 / (1 + exp(a z + b)).
            let part = |of: fn(&crate::score::platt::Sigmoid) -> f64| -> Vec<f32> {
                bank.sigmoids.iter().map(|s| -of(s) as f32).collect()
            };
            let (a, b) = (g.floats(&[classes], &part(|s| s.a)), g.floats(&[classes], &part(|s| s.b)));
            let steep = g.op("Mul", &[&z, &a]);
            let moved = g.op("Add", &[&steep, &b]);
            let p = g.op("Sigmoid", &[&moved]);
            match bank.probability {
                Probability::PlattRaw => p,
                _ => {
                    let last = g.ints(&[-1]);
                    let sum = g.with("ReduceSum", &[&p, &last], &[Attribute::Int("keepdims", 1)]);
                    g.op("Div", &[&p, &sum])
                }
            }
        }
    };
    g.output(&p, "classes", classes);
    g.finish("SVM bank", &[("unmute", description.into())])
}

fn of_generator(weights: &Weights) -> Result<Vec<u8>, Error> {
    let (d, mut g) = (&weights.description, Graph::default());
    let (generator, sizes, audio) = generator(weights)?;
    g.value(11, "vision", &[sizes.frames, sizes.visual]);
    let mut x = g.scale("vision", &scale(weights, "input")?);
    let one_frame = generator.describe().network(sizes).sees == Sees::OneFrame;
    let averages = one_frame && generator.describe().test_frame() == TestFrame::Mean;
    let (for_classes, for_audio) = match &generator {
        Generator::Lstm(_) => {
            let h = lstm(&mut g, &x, weights)?;
            (h.clone(), h)
        }
        Generator::Autoencoder(settings) => {
            if !averages {
                let centre = g.initial(&[], INT64, &(sizes.frames as i64 / 2).to_le_bytes());
                x = g.with("Gather", &[&x, &centre], &[Attribute::Int("axis", 1)]);
            }
            for i in 0..settings.encoder.len() {
                x = g.relu_layer(&x, weights, &format!("encoder{i}"))?;
            }
            let latent = x.clone();
            for i in 0..settings.decoder.len() {
                x = g.relu_layer(&x, weights, &format!("decoder{i}"))?;
            }
            (latent, x)
        }
        Generator::Mlp(_) => {
            let mean = g.mean_of_frames(&x);
            let first = g.relu_layer(&mean, weights, "mlp0")?;
            let second = g.relu_layer(&first, weights, "mlp1")?;
            (second.clone(), second)
        }
        Generator::Transformer(settings) => {
            let z = transformer(&mut g, &x, weights, (settings.layers, settings.heads, settings.width), sizes.frames)?;
            (z.clone(), z)
        }
        // Whoever adds a generator need not know of this format.
        #[allow(unreachable_patterns)]
        other => return Err(Error::NoForm { of: d.name(), generator: other.architecture().word() }),
    };
    let mut logits = g.affine(&for_classes, weights, "classify")?;
    let mut feature = g.affine(&for_audio, weights, "audio")?;
    if averages {
        logits = g.mean_of_frames(&logits);
        feature = g.mean_of_frames(&feature);
    }
    feature = g.unscale(&feature, &scale(weights, "target")?);
    if weights.get("match.from.mean").is_some() {
        feature = g.scale(&feature, &scale(weights, "match.from")?);
        feature = g.unscale(&feature, &scale(weights, "match.to")?);
    }
    g.output(&feature, "audio", audio.width);
    let p = g.softmax(&logits);
    g.output(&p, "classes", sizes.classes);
    Ok(g.finish(&d.name(), &metadata(weights)))
}

/// The last hidden state, (clips, H). ONNX has gates in the order i, o, f, c; ours are i, f, g, o.
fn lstm(g: &mut Graph, x: &str, weights: &Weights) -> Result<String, Error> {
    let hidden = tensor(weights, "lstm.u")?.shape.first().copied().unwrap_or(0);
    let gates = |t: &Tensor| -> Vec<f32> {
        let each = t.values.len() / 4;
        [0, 3, 1, 2].iter().flat_map(|k| t.values[k * each..(k + 1) * each].to_vec()).collect()
    };
    let (w, u) = (transposed(tensor(weights, "lstm.w")?), transposed(tensor(weights, "lstm.u")?));
    let mut b = gates(tensor(weights, "lstm.b")?);
    b.resize(8 * hidden, 0.0);
    let w = g.floats(&[1, 4 * hidden, w.shape[1]], &gates(&w));
    let u = g.floats(&[1, 4 * hidden, hidden], &gates(&u));
    let b = g.floats(&[1, 8 * hidden], &b);
    let by_frame = g.with("Transpose", &[x], &[Attribute::Ints("perm", &[1, 0, 2])]);
    let last = g.fresh();
    let outputs = [String::new(), last.clone()];
    g.node("LSTM", &[&by_frame, &w, &u, &b], &outputs, &[Attribute::Int("hidden_size", hidden as i64)]);
    let first = g.ints(&[0]);
    Ok(g.op("Squeeze", &[&last, &first]))
}

/// The mean over frames of what the encoder makes, (clips, W).
fn transformer(
    g: &mut Graph,
    x: &str,
    weights: &Weights,
    (layers, heads, width): (usize, usize, usize),
    frames: usize,
) -> Result<String, Error> {
    let norm = |g: &mut Graph, z: &str, name: &str| -> Result<String, Error> {
        let (gain, bias) = (tensor(weights, &format!("{name}.g"))?, tensor(weights, &format!("{name}.b"))?);
        let (gain, bias) = (g.floats(&[width], &gain.values), g.floats(&[width], &bias.values));
        let attributes = [Attribute::Int("axis", -1), Attribute::Float("epsilon", 1e-5)];
        Ok(g.with("LayerNormalization", &[z, &gain, &bias], &attributes))
    };
    let (each, t) = (width / heads.max(1), frames as i64);
    let mut z = g.affine(x, weights, "input")?;
    let positions = tensor(weights, "positions")?;
    let positions = g.floats(&[frames, width], &positions.values);
    z = g.op("Add", &[&z, &positions]);
    for i in 0..layers {
        let y = norm(g, &z, &format!("layer{i}.norm0"))?;
        let qkv = g.affine(&y, weights, &format!("layer{i}.qkv"))?;
        let parts = [g.fresh(), g.fresh(), g.fresh()];
        g.node("Split", &[&qkv], &parts, &[Attribute::Int("axis", 2)]);
        let by_head = g.ints(&[0, t, heads as i64, each as i64]);
        let mut turned = Vec::new();
        for (part, order) in parts.iter().zip([[0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]]) {
            let shaped = g.op("Reshape", &[part, &by_head]);
            turned.push(g.with("Transpose", &[&shaped], &[Attribute::Ints("perm", &order)]));
        }
        let scores = g.op("MatMul", &[&turned[0], &turned[1]]);
        let root = g.floats(&[], &[1.0 / (each as f32).sqrt()]);
        let scores = g.op("Mul", &[&scores, &root]);
        let attended = g.softmax(&scores);
        let mixed = g.op("MatMul", &[&attended, &turned[2]]);
        let mixed = g.with("Transpose", &[&mixed], &[Attribute::Ints("perm", &[0, 2, 1, 3])]);
        let flat = g.ints(&[0, t, width as i64]);
        let mixed = g.op("Reshape", &[&mixed, &flat]);
        let out = g.affine(&mixed, weights, &format!("layer{i}.out"))?;
        z = g.op("Add", &[&out, &z]);
        let y = norm(g, &z, &format!("layer{i}.norm1"))?;
        let up = g.relu_layer(&y, weights, &format!("layer{i}.up"))?;
        let down = g.affine(&up, weights, &format!("layer{i}.down"))?;
        z = g.op("Add", &[&down, &z]);
    }
    z = norm(g, &z, "norm")?;
    Ok(g.mean_of_frames(&z))
}
