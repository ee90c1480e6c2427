//! The generators of [`crate::model::generator`], G cells side by side: operations of ours, each of which puts its backward
//! half on a tape.
//!
//! Numbers and gradients flow through buffers of ours; the tape keeps them alive and says in which order the gradients are
//! computed.

use super::api::{Buffer, GpuApi, View};
use super::batched_params::{BatchedParams, Place};
use super::kernels::relu;
use super::{linear, lstm};
use crate::model::generator::FusedTrunk;
use crate::train::Error;
use std::ops::Range;
use std::rc::Rc;

/// An affine layer.
#[derive(Clone, Copy, Debug)]
struct Layer {
    w: Place,
    b: Place,
}

enum Trunk {
    Lstm { weights: [Place; 3], frames: usize },
    Autoencoder { encoder: Vec<Layer>, decoder: Vec<Layer> },
}

/// Cells whose audio heads are of one width and learn from one target.
#[derive(Clone, Debug)]
pub struct Branch {
    /// Which.
    pub cells: Range<usize>,
    /// D_a.
    pub width: usize,
    sound: Layer,
}

/// G generators.
pub struct Network<E: GpuApi> {
    /// Their parameters.
    pub params: Rc<BatchedParams<E>>,
    /// The audio heads, over all cells in order.
    pub branches: Vec<Branch>,
    trunk: Trunk,
    classify: Layer,
}

impl<E: GpuApi> Network<E> {
    /// From params that have a generator's parameters; `branches` are the cells of each.
    pub fn new(
        params: BatchedParams<E>,
        trunk: &FusedTrunk,
        frames: usize,
        branches: &[Range<usize>],
    ) -> Result<Self, Error> {
        let layer = |name: &str, cell: usize| {
            Ok::<_, Error>(Layer {
                w: params.place(&format!("{name}.w"), cell)?,
                b: params.place(&format!("{name}.b"), cell)?,
            })
        };
        let layers = |name: &str, widths: &[usize]| {
            (0..widths.len()).map(|i| layer(&format!("{name}{i}"), 0)).collect::<Result<Vec<Layer>, Error>>()
        };
        let trunk = match trunk {
            FusedTrunk::Lstm { .. } => {
                let place = |name: &str| params.place(name, 0);
                Trunk::Lstm { weights: [place("lstm.w")?, place("lstm.u")?, place("lstm.b")?], frames }
            }
            FusedTrunk::Autoencoder { encoder, decoder } => {
                Trunk::Autoencoder { encoder: layers("encoder", encoder)?, decoder: layers("decoder", decoder)? }
            }
        };
        let branch = |cells: &Range<usize>| {
            let sound = layer("audio", cells.start)?;
            Ok(Branch { cells: cells.clone(), width: params.shape(sound.w).1, sound })
        };
        let branches = branches.iter().map(branch).collect::<Result<Vec<Branch>, Error>>()?;
        Ok(Network { classify: layer("classify", 0)?, trunk, branches, params: Rc::new(params) })
    }
}

/// Numbers of every cell between two operations, and their gradient where there is a tape.
pub struct Activation<E: GpuApi> {
    /// (cells, rows, width).
    pub value: Buffer<E>,
    /// The same; operations add to it.
    pub gradient: Buffer<E>,
}

/// What an operation takes.
enum Input<E: GpuApi> {
    /// The networks' input, which all cells share and which gets no gradient.
    Shared(Rc<Buffer<E>>),
    /// Numbers of each cell.
    Each(Rc<Activation<E>>),
}

impl<E: GpuApi> Clone for Input<E> {
    fn clone(&self) -> Self {
        match self {
            Input::Shared(x) => Input::Shared(x.clone()),
            Input::Each(x) => Input::Each(x.clone()),
        }
    }
}

impl<E: GpuApi> Input<E> {
    fn value(&self, from: usize) -> Result<View<'_>, Error> {
        match self {
            Input::Shared(x) => Ok(x.all()),
            Input::Each(x) => x.value.all().from(from),
        }
    }
}

/// What the trunks make of a batch.
pub struct Trunks<E: GpuApi> {
    for_classes: Input<E>,
    for_audio: Input<E>,
}

/// Backward halves of operations, in the order in which these ran. They begin from gradients that are there already, so nothing is
/// copied from the host and nothing waits.
#[derive(Default)]
pub struct BackwardTape(Vec<Box<dyn FnOnce() -> Result<(), Error>>>);

impl BackwardTape {
    /// Runs the backward halves, the last one first.
    pub fn backward(self) -> Result<(), Error> {
        self.0.into_iter().rev().try_for_each(|back| back())
    }
}

/// One way through the networks of some cells, with one batch.
pub struct Pass<'a, E: GpuApi> {
    network: &'a Network<E>,
    cells: Range<usize>,
    clips: usize,
    /// Whether parameters' gradients are added to what is there.
    add: bool,
    /// The operations so far, where there is something to learn.
    pub tape: Option<BackwardTape>,
}

impl<'a, E: GpuApi + 'static> Pass<'a, E> {
    /// Through the networks of `cells`, `clips` clips at once, without a way back.
    pub fn forward_only(network: &'a Network<E>, cells: Range<usize>, clips: usize) -> Self {
        Pass { network, cells, clips, add: false, tape: None }
    }

    /// The same with a way back; gradients of parameters are added to what is there, or replace it.
    pub fn recorded(network: &'a Network<E>, cells: Range<usize>, clips: usize, add: bool) -> Self {
        Pass { network, cells, clips, add, tape: Some(BackwardTape::default()) }
    }

    fn flow(&self, numbers: usize) -> Result<Activation<E>, Error> {
        let engine = &**self.network.params.engine();
        let gradient = if self.tape.is_some() { numbers } else { 0 };
        Ok(Activation { value: Buffer::zeros(engine, numbers)?, gradient: Buffer::zeros(engine, gradient)? })
    }

    fn record(&mut self, back: impl FnOnce() -> Result<(), Error> + 'static) {
        if let Some(tape) = &mut self.tape {
            tape.0.push(Box::new(back));
        }
    }

    /// Runs the input, (T B, D_v), time-major, or (B, D_v), through the trunks.
    pub fn trunks(&mut self, x: Rc<Buffer<E>>) -> Result<Trunks<E>, Error> {
        let network = self.network;
        match &network.trunk {
            Trunk::Lstm { weights, frames } => {
                let h = Input::Each(self.lstm(x, *weights, *frames)?);
                Ok(Trunks { for_classes: h.clone(), for_audio: h })
            }
            Trunk::Autoencoder { encoder, decoder } => {
                let mut x = Input::Shared(x);
                for layer in encoder {
                    x = Input::Each(self.relu(&x, *layer)?);
                }
                let latent = x.clone();
                for layer in decoder {
                    x = Input::Each(self.relu(&x, *layer)?);
                }
                Ok(Trunks { for_classes: latent, for_audio: x })
            }
        }
    }

    /// The logits of all cells of the pass, (cells, B, K).
    pub fn logits(&mut self, trunks: &Trunks<E>) -> Result<Rc<Activation<E>>, Error> {
        self.affine(&trunks.for_classes, self.network.classify, self.cells.clone())
    }

    /// What those cells of a branch that are in the pass generate, (cells, B, D_a).
    pub fn audio(&mut self, trunks: &Trunks<E>, branch: &Branch) -> Result<Rc<Activation<E>>, Error> {
        self.affine(&trunks.for_audio, branch.sound, self.of(branch))
    }

    /// Cells of a branch that are in the pass.
    pub fn of(&self, branch: &Branch) -> Range<usize> {
        let start = branch.cells.start.max(self.cells.start);
        start..branch.cells.end.min(self.cells.end).max(start)
    }

    /// y = x W + b of `cells`, which are some of the pass's.
    fn affine(&mut self, x: &Input<E>, layer: Layer, cells: Range<usize>) -> Result<Rc<Activation<E>>, Error> {
        let params = self.network.params.clone();
        let (from, to) = params.shape(layer.w);
        let (rows, add) = (self.clips, self.add);
        let shared = matches!(x, Input::Shared(_));
        let shape = linear::Shape { cells: cells.len(), rows, from, to, shared };
        let first = (cells.start - self.cells.start) * rows * from;
        let y = Rc::new(self.flow(cells.len() * rows * to)?);
        let (w, b) = (params.value(layer.w, &cells)?, params.value(layer.b, &cells)?);
        linear::forward(&**params.engine(), &shape, x.value(first)?, w, b, y.value.all())?;
        if self.tape.is_some() {
            let (x, out) = (x.clone(), y.clone());
            self.record(move || {
                let (engine, dy) = (&**params.engine(), out.gradient.all());
                let gradients = [params.gradient(layer.w, &cells)?, params.gradient(layer.b, &cells)?];
                linear::backward_weights(engine, &shape, x.value(first)?, dy, gradients, add)?;
                match &x {
                    Input::Shared(_) => Ok(()),
                    Input::Each(x) => {
                        let dx = x.gradient.all().from(first)?;
                        linear::backward_input(engine, &shape, dy, params.value(layer.w, &cells)?, dx)
                    }
                }
            });
        }
        Ok(y)
    }

    /// max(x W + b, 0) of all cells of the pass.
    fn relu(&mut self, x: &Input<E>, layer: Layer) -> Result<Rc<Activation<E>>, Error> {
        let y = self.affine(x, layer, self.cells.clone())?;
        let engine = self.network.params.engine().clone();
        relu::relu_forward(&*engine, y.value.all())?;
        if self.tape.is_some() {
            let out = y.clone();
            self.record(move || relu::relu_backward(&*engine, out.value.all(), out.gradient.all()));
        }
        Ok(y)
    }

    /// h_T of all cells of the pass, (cells, B, H).
    fn lstm(&mut self, x: Rc<Buffer<E>>, places: [Place; 3], steps: usize) -> Result<Rc<Activation<E>>, Error> {
        let (params, cells, add) = (self.network.params.clone(), self.cells.clone(), self.add);
        let (hidden, input) = (params.shape(places[1]).0, params.shape(places[0]).0);
        let shape = lstm::Shape { cells: cells.len(), steps, batch: self.clips, input, hidden };
        let engine = params.engine().clone();
        let [w, u, b] = places;
        let values = [params.value(w, &cells)?, params.value(u, &cells)?, params.value(b, &cells)?];
        let trace = lstm::Trace::new(&*engine, shape)?;
        lstm::forward(&*engine, x.all(), values, &trace)?;
        let one = self.clips * hidden;
        let h = Rc::new(self.flow(cells.len() * one)?);
        for cell in 0..cells.len() {
            trace.last(cell)?.copy_to(&*engine, h.value.all().from(cell * one)?)?;
        }
        if self.tape.is_some() {
            let out = h.clone();
            self.record(move || {
                let place = |p| params.gradient(p, &cells);
                let gradients = [place(w)?, place(u)?, place(b)?];
                let u = params.value(u, &cells)?;
                lstm::backward(&**params.engine(), x.all(), u, trace, out.gradient.all(), gradients, add)
            });
        }
        Ok(h)
    }
}
