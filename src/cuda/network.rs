//! The generators of [`crate::train::generator`], G cells side by side: operations of ours, each of which puts its backward
//! half on a tape.
//!
//! Numbers and gradients flow through buffers of ours; the tape keeps them alive and says in which order the gradients are
//! computed.

use super::engine::{Buffer, Engine, View};
use super::stacks::{Place, Stacks};
use super::tape::Bridge;
use super::{affine, kernels, lstm};
use crate::experiment::config::{Architecture, Config};
use crate::train::{Backend, Error};
use dfdx::prelude::{Gradients, HasErr, Merge, NoneTape, Tape};
use std::marker::PhantomData;
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
pub struct Network<E: Engine> {
    /// Their parameters.
    pub stacks: Rc<Stacks<E>>,
    /// The audio heads, over all cells in order.
    pub branches: Vec<Branch>,
    trunk: Trunk,
    classify: Layer,
}

impl<E: Engine> Network<E> {
    /// From stacks that have a generator's parameters; `branches` are the cells of each.
    pub fn new(
        stacks: Stacks<E>,
        architecture: Architecture,
        config: &Config,
        frames: usize,
        branches: &[Range<usize>],
    ) -> Result<Self, Error> {
        let layer = |name: &str, cell: usize| {
            Ok::<_, Error>(Layer {
                w: stacks.place(&format!("{name}.w"), cell)?,
                b: stacks.place(&format!("{name}.b"), cell)?,
            })
        };
        let layers = |name: &str, widths: &[usize]| {
            (0..widths.len()).map(|i| layer(&format!("{name}{i}"), 0)).collect::<Result<Vec<Layer>, Error>>()
        };
        let trunk = match architecture {
            Architecture::Lstm => {
                let place = |name: &str| stacks.place(name, 0);
                Trunk::Lstm { weights: [place("lstm.w")?, place("lstm.u")?, place("lstm.b")?], frames }
            }
            Architecture::Autoencoder => Trunk::Autoencoder {
                encoder: layers("encoder", &config.autoencoder.encoder)?,
                decoder: layers("decoder", &config.autoencoder.decoder)?,
            },
        };
        let branch = |cells: &Range<usize>| {
            let sound = layer("audio", cells.start)?;
            Ok(Branch { cells: cells.clone(), width: stacks.shape(sound.w).1, sound })
        };
        let branches = branches.iter().map(branch).collect::<Result<Vec<Branch>, Error>>()?;
        Ok(Network { classify: layer("classify", 0)?, trunk, branches, stacks: Rc::new(stacks) })
    }
}

/// Numbers of every cell between two operations, and their gradient where there is a tape.
pub struct Flow<E: Engine> {
    /// (cells, rows, width).
    pub value: Buffer<E>,
    /// The same; operations add to it.
    pub gradient: Buffer<E>,
}

/// What an operation takes.
enum Input<E: Engine> {
    /// The networks' input, which all cells share and which gets no gradient.
    Shared(Rc<Buffer<E>>),
    /// Numbers of each cell.
    Each(Rc<Flow<E>>),
}

impl<E: Engine> Clone for Input<E> {
    fn clone(&self) -> Self {
        match self {
            Input::Shared(x) => Input::Shared(x.clone()),
            Input::Each(x) => Input::Each(x.clone()),
        }
    }
}

impl<E: Engine> Input<E> {
    fn value(&self, from: usize) -> Result<View<'_>, Error> {
        match self {
            Input::Shared(x) => Ok(x.all()),
            Input::Each(x) => x.value.all().from(from),
        }
    }
}

/// What the trunks make of a batch.
pub struct Trunks<E: Engine> {
    for_classes: Input<E>,
    for_audio: Input<E>,
}

type Back<D> = Box<dyn FnOnce(&mut Gradients<f32, D>) -> Result<(), <D as HasErr>::Err>>;

/// A tape whose backward halves begin from gradients that are there already. dfdx's own tape begins with a 1 that it copies from
/// the host's ordinary memory, once a step, and a driver may wait for the queue before such a copy.
pub struct Recorded<D: Backend>(Vec<Back<D>>);

impl<D: Backend> Recorded<D> {
    /// Runs the backward halves, the last one first.
    pub fn backward(self) -> Result<(), Error> {
        let mut none = Gradients::leaky();
        self.0.into_iter().rev().try_for_each(|back| back(&mut none)).map_err(Error::device)
    }
}

impl<D: Backend> Default for Recorded<D> {
    fn default() -> Self {
        Recorded(Vec::new())
    }
}

impl<D: Backend> Merge<Recorded<D>> for Recorded<D> {
    fn merge(mut self, mut other: Recorded<D>) -> Self {
        self.0.append(&mut other.0);
        self
    }
}

impl<D: Backend> Merge<NoneTape> for Recorded<D> {
    fn merge(self, _: NoneTape) -> Self {
        self
    }
}

impl<D: Backend> Tape<f32, D> for Recorded<D> {
    const OWNS_TAPE: bool = true;

    fn add_backward_op<F>(&mut self, operation: F)
    where
        F: 'static + FnOnce(&mut Gradients<f32, D>) -> Result<(), D::Err>,
    {
        self.0.push(Box::new(operation));
    }
}

/// One way through the networks of some cells, with one batch.
pub struct Pass<'a, D: Backend, E: Bridge<D>, T> {
    network: &'a Network<E>,
    cells: Range<usize>,
    clips: usize,
    /// Whether parameters' gradients are added to what is there.
    add: bool,
    /// The operations so far.
    pub tape: T,
    device: PhantomData<D>,
}

impl<'a, D: Backend, E: Bridge<D>, T: Tape<f32, D>> Pass<'a, D, E, T> {
    /// Through the networks of `cells`, `clips` clips at once.
    pub fn new(network: &'a Network<E>, cells: Range<usize>, clips: usize, add: bool) -> Self {
        Pass { network, cells, clips, add, tape: T::default(), device: PhantomData }
    }

    fn flow(&self, numbers: usize) -> Result<Flow<E>, Error> {
        let engine = &**self.network.stacks.engine();
        let gradient = if T::OWNS_TAPE { numbers } else { 0 };
        Ok(Flow { value: Buffer::zeros(engine, numbers)?, gradient: Buffer::zeros(engine, gradient)? })
    }

    fn record(&mut self, back: impl FnOnce() -> Result<(), Error> + 'static) {
        self.tape.add_backward_op(move |_| back().map_err(E::failed));
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
    pub fn logits(&mut self, trunks: &Trunks<E>) -> Result<Rc<Flow<E>>, Error> {
        self.affine(&trunks.for_classes, self.network.classify, self.cells.clone())
    }

    /// What those cells of a branch that are in the pass generate, (cells, B, D_a).
    pub fn audio(&mut self, trunks: &Trunks<E>, branch: &Branch) -> Result<Rc<Flow<E>>, Error> {
        self.affine(&trunks.for_audio, branch.sound, self.of(branch))
    }

    /// Cells of a branch that are in the pass.
    pub fn of(&self, branch: &Branch) -> Range<usize> {
        let start = branch.cells.start.max(self.cells.start);
        start..branch.cells.end.min(self.cells.end).max(start)
    }

    /// y = x W + b of `cells`, which are some of the pass's.
    fn affine(&mut self, x: &Input<E>, layer: Layer, cells: Range<usize>) -> Result<Rc<Flow<E>>, Error> {
        let stacks = self.network.stacks.clone();
        let (from, to) = stacks.shape(layer.w);
        let (rows, add) = (self.clips, self.add);
        let shared = matches!(x, Input::Shared(_));
        let shape = affine::Shape { cells: cells.len(), rows, from, to, shared };
        let first = (cells.start - self.cells.start) * rows * from;
        let y = Rc::new(self.flow(cells.len() * rows * to)?);
        let (w, b) = (stacks.value(layer.w, &cells)?, stacks.value(layer.b, &cells)?);
        affine::forward(&**stacks.engine(), &shape, x.value(first)?, w, b, y.value.all())?;
        if T::OWNS_TAPE {
            let (x, out) = (x.clone(), y.clone());
            self.record(move || {
                let (engine, dy) = (&**stacks.engine(), out.gradient.all());
                let gradients = [stacks.gradient(layer.w, &cells)?, stacks.gradient(layer.b, &cells)?];
                affine::backward_weights(engine, &shape, x.value(first)?, dy, gradients, add)?;
                match &x {
                    Input::Shared(_) => Ok(()),
                    Input::Each(x) => {
                        let dx = x.gradient.all().from(first)?;
                        affine::backward_input(engine, &shape, dy, stacks.value(layer.w, &cells)?, dx)
                    }
                }
            });
        }
        Ok(y)
    }

    /// max(x W + b, 0) of all cells of the pass.
    fn relu(&mut self, x: &Input<E>, layer: Layer) -> Result<Rc<Flow<E>>, Error> {
        let y = self.affine(x, layer, self.cells.clone())?;
        let engine = self.network.stacks.engine().clone();
        kernels::relu_forward(&*engine, y.value.all())?;
        if T::OWNS_TAPE {
            let out = y.clone();
            self.record(move || kernels::relu_backward(&*engine, out.value.all(), out.gradient.all()));
        }
        Ok(y)
    }

    /// h_T of all cells of the pass, (cells, B, H).
    fn lstm(&mut self, x: Rc<Buffer<E>>, places: [Place; 3], steps: usize) -> Result<Rc<Flow<E>>, Error> {
        let (stacks, cells, add) = (self.network.stacks.clone(), self.cells.clone(), self.add);
        let (hidden, input) = (stacks.shape(places[1]).0, stacks.shape(places[0]).0);
        let shape = lstm::Shape { cells: cells.len(), steps, batch: self.clips, input, hidden };
        let engine = stacks.engine().clone();
        let [w, u, b] = places;
        let values = [stacks.value(w, &cells)?, stacks.value(u, &cells)?, stacks.value(b, &cells)?];
        let trace = lstm::Trace::new(&*engine, shape)?;
        lstm::forward(&*engine, x.all(), values, &trace)?;
        let one = self.clips * hidden;
        let h = Rc::new(self.flow(cells.len() * one)?);
        for cell in 0..cells.len() {
            trace.last(cell)?.copy_to(&*engine, h.value.all().from(cell * one)?)?;
        }
        if T::OWNS_TAPE {
            let out = h.clone();
            self.record(move || {
                let place = |p| stacks.gradient(p, &cells);
                let gradients = [place(w)?, place(u)?, place(b)?];
                let u = stacks.value(u, &cells)?;
                lstm::backward(&**stacks.engine(), x.all(), u, trace, out.gradient.all(), gradients, add)
            });
        }
        Ok(h)
    }
}
