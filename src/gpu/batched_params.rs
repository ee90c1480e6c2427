//! The parameters of G cells side by side: a parameter's matrices lie one behind the other, cell after cell, and all
//! parameters in one buffer each of values, moments and gradients, so that Adam is one kernel.

use super::api::{Buffer, GpuApi, View};
use super::kernels::adam::{Adam, Learned, adam as update};
use crate::train::Error;
use crate::train::trainer::SavedParam;
use compute::nn::ParamState;
use std::cell::Cell;
use std::ops::Range;
use std::rc::Rc;

/// A parameter of some of the cells, all of one shape.
#[derive(Clone, Debug)]
struct Stack {
    name: String,
    shape: (usize, usize),
    cells: Range<usize>,
    /// Its place in the buffers.
    from: usize,
}

impl Stack {
    fn size(&self) -> usize {
        self.shape.0 * self.shape.1
    }
}

/// A stack's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(usize);

/// Parameters with their gradients and what Adam keeps of them.
pub struct BatchedParams<E: GpuApi> {
    engine: Rc<E>,
    params: Vec<Stack>,
    cells: usize,
    value: Buffer<E>,
    moment1: Buffer<E>,
    moment2: Buffer<E>,
    gradient: Buffer<E>,
    step: Cell<i32>,
}

impl<E: GpuApi> BatchedParams<E> {
    /// From every cell's own parameters. Cells that follow each other share a stack where name and shape agree.
    pub fn new(engine: &Rc<E>, cells: &[&[SavedParam]], step: i32) -> Result<Self, Error> {
        let mut params: Vec<Stack> = Vec::new();
        let mut len = 0;
        for place in 0..cells.first().map_or(0, |of_cell| of_cell.len()) {
            let mut last: Option<Stack> = None;
            for (cell, of_cell) in cells.iter().enumerate() {
                let saved = of_cell.get(place).ok_or_else(|| Error::refused("cells of unlike networks"))?;
                match &mut last {
                    Some(stack) if stack.name == saved.name && stack.shape == saved.shape => stack.cells.end = cell + 1,
                    open => {
                        params.extend(open.take());
                        let (name, shape) = (saved.name.clone(), saved.shape);
                        *open = Some(Stack { name, shape, cells: cell..cell + 1, from: len });
                    }
                }
                len += saved.state.value.len();
            }
            params.extend(last);
        }
        let buffer = || Buffer::zeros(&**engine, len);
        let all = BatchedParams {
            engine: engine.clone(),
            params,
            cells: cells.len(),
            value: buffer()?,
            moment1: buffer()?,
            moment2: buffer()?,
            gradient: buffer()?,
            step: Cell::new(step),
        };
        for (cell, params) in cells.iter().enumerate() {
            all.restore(cell, params)?;
        }
        Ok(all)
    }

    /// Gives a cell these parameters and moments.
    pub fn restore(&self, cell: usize, params: &[SavedParam]) -> Result<(), Error> {
        for (stack, saved) in self.of(cell).zip(params) {
            let ParamState { value, moment1, moment2 } = &saved.state;
            for (buffer, numbers) in [(&self.value, value), (&self.moment1, moment1), (&self.moment2, moment2)] {
                if numbers.len() != stack.size() {
                    return Err(Error::refused(format!("{}: {} numbers", saved.name, numbers.len())));
                }
                self.part(buffer, stack, &(cell..cell + 1))?.write(&*self.engine, numbers)?;
            }
        }
        Ok(())
    }

    /// G.
    pub fn cells(&self) -> usize {
        self.cells
    }

    /// Where everything is.
    pub(super) fn engine(&self) -> &Rc<E> {
        &self.engine
    }

    /// A cell's params, in the order of its parameters.
    fn of(&self, cell: usize) -> impl Iterator<Item = &Stack> {
        self.params.iter().filter(move |stack| stack.cells.contains(&cell))
    }

    /// The stack that has a parameter of a cell.
    pub fn place(&self, name: &str, cell: usize) -> Result<Place, Error> {
        let found = self.params.iter().position(|stack| stack.name == name && stack.cells.contains(&cell));
        found.map(Place).ok_or_else(|| Error::refused(format!("no parameter {name} of cell {cell}")))
    }

    /// (rows, columns) of a stack's matrices.
    pub fn shape(&self, place: Place) -> (usize, usize) {
        self.params[place.0].shape
    }

    fn part<'a>(&self, buffer: &'a Buffer<E>, stack: &Stack, cells: &Range<usize>) -> Result<View<'a>, Error> {
        if cells.start < stack.cells.start || cells.end > stack.cells.end {
            return Err(Error::refused(format!("{} of cells {cells:?}: it has {:?}", stack.name, stack.cells)));
        }
        let from = stack.from + (cells.start - stack.cells.start) * stack.size();
        buffer.all().part(from, cells.len() * stack.size())
    }

    /// Values of some cells, (cells, rows, columns).
    pub fn value(&self, place: Place, cells: &Range<usize>) -> Result<View<'_>, Error> {
        self.part(&self.value, &self.params[place.0], cells)
    }

    /// Their gradients.
    pub fn gradient(&self, place: Place, cells: &Range<usize>) -> Result<View<'_>, Error> {
        self.part(&self.gradient, &self.params[place.0], cells)
    }

    /// One step of Adam for all cells.
    pub fn update(&self, adam: &Adam) -> Result<(), Error> {
        self.step.set(self.step.get() + 1);
        let [value, moment1, moment2, gradient] =
            [&self.value, &self.moment1, &self.moment2, &self.gradient].map(Buffer::all);
        update(&*self.engine, adam, self.step.get(), &Learned { value, moment1, moment2, gradient })
    }

    /// Steps taken.
    pub fn step(&self) -> i32 {
        self.step.get()
    }

    /// A cell's parameters with their moments.
    pub fn save(&self, cell: usize) -> Result<Vec<SavedParam>, Error> {
        let read = |buffer: &Buffer<E>, stack: &Stack| self.part(buffer, stack, &(cell..cell + 1))?.read(&*self.engine);
        let saved = |stack: &Stack| {
            let value = read(&self.value, stack)?;
            let (moment1, moment2) = (read(&self.moment1, stack)?, read(&self.moment2, stack)?);
            Ok(SavedParam {
                name: stack.name.clone(),
                shape: stack.shape,
                state: ParamState { value, moment1, moment2 },
            })
        };
        self.of(cell).map(saved).collect()
    }

    /// A cell's trained numbers.
    pub fn count(&self, cell: usize) -> usize {
        self.of(cell).map(Stack::size).sum()
    }
}
