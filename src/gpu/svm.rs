//! The machines of an SVM bank on an engine: the truncated Newton of [`compute::svm`], where formulas and reasons stand,
//! on rows that stay on the device for all folds.
//!
//! A problem is a column of every matrix: weights (D + 1, P), decision values and slopes (N, P). Rows that a fold leaves
//! out are skipped as ranges of rows. The host sees sums of each problem (losses, energies, slopes of a line search) in
//! double precision and decides which problems go on; everything else stays on the device. Problems for the dual
//! ([`compute::svm`]) are solved on the host, from where they are.

use super::api::{Buffer, Factor, GpuApi};
use super::binary_classifiers::{BinaryClassifiers, Learned, losses, lossy};
use super::column_matrix::{ColumnMatrix, Index, Sums, sums_bytes};
use super::memory::budget;
use super::memory::gib;
use crate::score;
use crate::score::solver::{InMemory, Loaded, Rows, Solver};
use crate::train::Error;
use compute::svm::{Fit, MAX_CG, MAX_NEWTON, PATIENCE, Problem, SOLVED, for_the_dual, inverse_level, preconditioner};
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

/// Trains banks on an engine.
pub struct OnDevice<E: GpuApi> {
    engine: Rc<E>,
    free: u64,
}

impl<E: GpuApi> OnDevice<E> {
    /// On an engine with so many bytes of memory free.
    pub fn new(engine: Rc<E>, free: u64) -> Self {
        OnDevice { engine, free }
    }
}

/// Numbers of rows that [`Solver::decisions`] has on the device at once.
const PIECE: usize = 1 << 25;

impl<E: GpuApi> Solver for OnDevice<E> {
    fn load<'a>(&'a self, rows: Rows) -> Result<Box<dyn Loaded + 'a>, score::Error> {
        Ok(Box::new(OnRows::new(&*self.engine, rows, self.free)?))
    }

    fn decisions(&self, x: &[f32], width: usize, weights: &[f32]) -> Result<Vec<f32>, score::Error> {
        let (engine, problems) = (&*self.engine, weights.len() / width.max(1));
        let rows = x.len() / width.max(1);
        let mut all = vec![0.0; problems * rows];
        if all.is_empty() {
            return Ok(all);
        }
        let piece = (PIECE / width).clamp(1, rows);
        let w = Buffer::of(engine, &transposed(weights, width))?;
        let w = ColumnMatrix::new(w.all(), width, problems)?;
        let (on_device, z) = (Buffer::zeros(engine, piece * width)?, Buffer::zeros(engine, piece * problems)?);
        for (i, x) in x.chunks(piece * width).enumerate() {
            let here = x.len() / width;
            on_device.all().write(engine, x)?;
            let z = ColumnMatrix::new(z.all(), here, problems)?;
            z.product(engine, Factor::new(on_device.all(), 0), w, false)?;
            let z = transposed(&z.numbers().read(engine)?, problems);
            for (all, z) in all.chunks_exact_mut(rows).zip(z.chunks_exact(here)) {
                all[i * piece..][..here].copy_from_slice(z);
            }
        }
        Ok(all)
    }
}

/// A matrix with `width` columns, turned over.
fn transposed(numbers: &[f32], width: usize) -> Vec<f32> {
    let rows = numbers.len() / width.max(1);
    (0..numbers.len()).map(|i| numbers[i % rows * width + i / rows]).collect()
}

/// How many problems are trained at once with so many bytes free: all, or equal shares. An error says what one needs.
pub fn block(rows: usize, width: usize, problems: usize, free: u64) -> Result<usize, String> {
    let float = size_of::<f32>();
    // X and labels; Gram and the preconditioner.
    let shared = (rows * width * float + rows * size_of::<i64>() + 2 * width * width * float) as u64;
    // The matrices of `Work`, with a column each.
    let each = (5 * rows + 8 * width + 1) * float + sums_bytes(rows.max(width), 1, TOGETHER);
    let each = each as u64;
    let room = budget(free).saturating_sub(shared) / each;
    if room == 0 {
        return Err(format!(
            "an SVM of {rows} clips with {width} numbers needs {} and {} of GPU memory are free\n  next: end what else runs on the GPU, or use --device cpu",
            gib(shared + each),
            gib(free)
        ));
    }
    let problems = problems.max(1);
    Ok(problems.div_ceil(problems.div_ceil(room.min(problems as u64) as usize)))
}

/// Sums that are read together at most: three of the losses, w.w, w.g and g.g.
const TOGETHER: usize = 6;

/// Matrices and sums of a block of P problems, of which W are still open.
struct Work<E: GpuApi> {
    /// Decision values, (N, P).
    z: Buffer<E>,
    /// Slopes of the losses, (N, W).
    a: Buffer<E>,
    /// X v for the directions v of conjugate gradients, (N, W).
    xv: Buffer<E>,
    /// 2 C X v where rows have a loss, (N, W).
    lossy: Buffer<E>,
    /// X s for the Newton steps s, (N, W).
    x_step: Buffer<E>,
    /// Weights, (D + 1, P).
    w: Buffer<E>,
    /// All that follow: (D + 1, W).
    gradient: Buffer<E>,
    step: Buffer<E>,
    residual: Buffer<E>,
    /// What the preconditioner makes of the residual.
    turned: Buffer<E>,
    direction: Buffer<E>,
    /// The Hessian's product with the direction.
    hv: Buffer<E>,
    spare: Buffer<E>,
    /// A number for each problem, (W).
    by: Buffer<E>,
    sums: Sums<E>,
}

impl<E: GpuApi> Work<E> {
    fn new(engine: &E, rows: usize, width: usize, problems: usize) -> Result<Self, Error> {
        let long = || Buffer::zeros(engine, rows * problems);
        let short = || Buffer::zeros(engine, width * problems);
        Ok(Work {
            z: long()?,
            a: long()?,
            xv: long()?,
            lossy: long()?,
            x_step: long()?,
            w: short()?,
            gradient: short()?,
            step: short()?,
            residual: short()?,
            turned: short()?,
            direction: short()?,
            hv: short()?,
            spare: short()?,
            by: Buffer::zeros(engine, problems)?,
            sums: Sums::new(engine, rows.max(width), problems, TOGETHER)?,
        })
    }

    /// Writes a number for each problem.
    fn put(&self, engine: &E, numbers: impl Iterator<Item = f64>) -> Result<(), Error> {
        let numbers: Vec<f32> = numbers.map(|number| number as f32).collect();
        self.by.all().write(engine, &numbers)
    }
}

/// Rows on the device.
struct OnRows<'a, E: GpuApi> {
    engine: &'a E,
    free: u64,
    /// (N, D + 1).
    x: Buffer<E>,
    /// (N).
    labels: Buffer<E, i64>,
    rows: usize,
    width: usize,
    c: f32,
    tolerance: f64,
    /// X^T X, on the host; empty until it is asked for.
    gram: Vec<f32>,
    /// Preconditioners by their level, on the host.
    inverses: BTreeMap<i32, Vec<f32>>,
    /// The one that is on the device, and its level.
    inverse: Buffer<E>,
    level: Option<i32>,
    /// The same rows for the problems that the host solves.
    host: InMemory,
}

impl<E: GpuApi> Loaded for OnRows<'_, E> {
    fn train(
        &mut self,
        out: Range<usize>,
        problems: &[Problem],
        weights: &mut [f32],
    ) -> Result<Vec<Fit>, score::Error> {
        let pieces: Vec<Range<usize>> =
            [0..out.start, out.end..self.rows].into_iter().filter(|piece| !piece.is_empty()).collect();
        let block = block(self.rows, self.width, problems.len(), self.free).map_err(Error::Memory)?;
        let classes: Vec<usize> = problems.iter().map(|problem| problem.class).collect();
        let mut fits = Vec::with_capacity(problems.len());
        let mut rest = Vec::new();
        for (classes, weights) in classes.chunks(block).zip(weights.chunks_mut(block * self.width)) {
            let first = fits.len();
            let (these, for_the_dual) = self.newton(&pieces, classes, weights)?;
            fits.extend(these);
            rest.extend(for_the_dual.into_iter().map(|place| first + place));
        }
        if !rest.is_empty() {
            let d = self.width;
            let these: Vec<Problem> = rest.iter().map(|&place| problems[place].clone()).collect();
            let mut w: Vec<f32> = rest.iter().flat_map(|&place| weights[place * d..][..d].to_vec()).collect();
            let ended = self.host.train(out, &these, &mut w)?;
            for ((&place, fit), w) in rest.iter().zip(ended).zip(w.chunks_exact(d)) {
                weights[place * d..][..d].copy_from_slice(w);
                fits[place] = fit.after(&fits[place]);
            }
        }
        Ok(fits)
    }

    fn decisions(&mut self, rows: Range<usize>, weights: &[f32]) -> Result<Vec<f32>, score::Error> {
        let problems = weights.len() / self.width.max(1);
        let w = Buffer::of(self.engine, &transposed(weights, self.width))?;
        let z = Buffer::zeros(self.engine, rows.len() * problems)?;
        let z = ColumnMatrix::new(z.all(), rows.len(), problems)?;
        let x = self.x.all().from(rows.start * self.width)?;
        z.product(self.engine, Factor::new(x, 0), ColumnMatrix::new(w.all(), self.width, problems)?, false)?;
        Ok(transposed(&z.numbers().read(self.engine)?, problems))
    }
}

impl<'a, E: GpuApi> OnRows<'a, E> {
    fn new(engine: &'a E, rows: Rows, free: u64) -> Result<Self, Error> {
        let (x, width, labels) = (&rows.x, rows.width, &rows.labels);
        // One problem at least has to have room, before anything is copied.
        block(labels.len(), width, 1, free).map_err(Error::Memory)?;
        let numbers: Vec<i64> = labels.iter().map(|&label| label as i64).collect();
        Ok(OnRows {
            x: Buffer::of(engine, x)?,
            labels: Buffer::of(engine, &numbers)?,
            inverse: Buffer::zeros(engine, width * width)?,
            rows: labels.len(),
            width,
            c: rows.c,
            tolerance: rows.tolerance,
            free,
            gram: Vec::new(),
            inverses: BTreeMap::new(),
            level: None,
            engine,
            host: InMemory::for_the_dual(rows),
        })
    }

    /// X of some rows.
    fn x(&self, rows: &Range<usize>) -> Result<Factor<'_>, Error> {
        Ok(Factor::new(self.x.all().part(rows.start * self.width, rows.len() * self.width)?, 0))
    }

    /// A matrix (N, `width`).
    fn long<'b>(&self, buffer: &'b Buffer<E>, width: usize) -> Result<ColumnMatrix<'b>, Error> {
        ColumnMatrix::new(buffer.all(), self.rows, width)
    }

    /// A matrix (D + 1, `width`).
    fn short<'b>(&self, buffer: &'b Buffer<E>, width: usize) -> Result<ColumnMatrix<'b>, Error> {
        ColumnMatrix::new(buffer.all(), self.width, width)
    }

    /// X v for the rows of all pieces: v (D + 1, W) -> out (N, W).
    fn forward(&self, pieces: &[Range<usize>], v: ColumnMatrix, out: ColumnMatrix) -> Result<(), Error> {
        pieces.iter().try_for_each(|piece| out.rows(piece.clone())?.product(self.engine, self.x(piece)?, v, false))
    }

    /// out += X^T a over the rows of all pieces: a (N, W), out (D + 1, W).
    fn backward(&self, pieces: &[Range<usize>], a: ColumnMatrix, out: ColumnMatrix) -> Result<(), Error> {
        pieces.iter().try_for_each(|piece| out.product(self.engine, self.x(piece)?.t(), a.rows(piece.clone())?, true))
    }

    /// to += by from, (N, W), over the rows of all pieces.
    fn move_along(
        &self,
        pieces: &[Range<usize>],
        to: ColumnMatrix,
        index: &Index<E>,
        by: &Buffer<E>,
        from: ColumnMatrix,
    ) -> Result<(), Error> {
        pieces
            .iter()
            .try_for_each(|piece| to.rows(piece.clone())?.add(self.engine, index, by.all(), from.rows(piece.clone())?))
    }

    /// One block of problems: how they ended, and the places of those for the dual.
    fn newton(
        &mut self,
        pieces: &[Range<usize>],
        classes: &[usize],
        weights: &mut [f32],
    ) -> Result<(Vec<Fit>, Vec<usize>), Error> {
        let (engine, problems) = (self.engine, classes.len());
        let c2 = 2.0 * self.c;
        let mut work = Work::new(engine, self.rows, self.width, problems)?;
        work.w.all().write(engine, &transposed(weights, self.width))?;
        self.forward(pieces, self.short(&work.w, problems)?, self.long(&work.z, problems)?)?;
        let (mut fits, mut left) = (vec![Fit::default(); problems], Vec::new());
        let mut open: Vec<usize> = (0..problems).collect();
        for newton in 0..=MAX_NEWTON {
            let rows = Learned { pieces, labels: self.labels.all(), c2 };
            let mut machines = BinaryClassifiers::new(engine, classes, &open)?;
            let measured = self.measure(&rows, &machines, &mut work, open.len())?;
            for (&place, m) in open.iter().zip(&measured) {
                let (objective, dual) = (m.objective(), m.dual());
                fits[place].objective = objective;
                fits[place].gradient_norm = m.gg.sqrt();
                fits[place].duality_gap = ((objective - dual) / objective.max(f64::MIN_POSITIVE)).max(0.0);
                fits[place].newton_steps = newton;
            }
            let going = |m: &Measured| 0.5 * m.gg > self.tolerance * m.objective() && newton < MAX_NEWTON;
            let mut stay: Vec<usize> = (0..open.len()).filter(|&i| going(&measured[i])).collect();
            stay.retain(|&i| {
                let lossy = || measured[i].lossy as usize;
                let leaves = for_the_dual(fits[open[i]].cg_steps, PATIENCE, lossy, self.width);
                if leaves {
                    left.push(open[i]);
                }
                !leaves
            });
            if stay.is_empty() {
                break;
            }
            if stay.len() < open.len() {
                self.short(&work.spare, stay.len())?.select(
                    engine,
                    self.short(&work.gradient, open.len())?,
                    &Index::new(engine, &stay)?,
                )?;
                std::mem::swap(&mut work.gradient, &mut work.spare);
                open = stay.iter().map(|&i| open[i]).collect();
                machines = BinaryClassifiers::new(engine, classes, &open)?;
                machines.slopes(engine, &rows, self.long(&work.z, problems)?, self.long(&work.a, open.len())?)?;
            }
            let rows_with_loss: f64 = stay.iter().map(|&i| measured[i].lossy).sum();
            self.precondition(rows_with_loss / open.len() as f64)?;
            self.directions(pieces, &mut work, &open, &mut fits)?;
            let rows = Learned { pieces, labels: self.labels.all(), c2 };
            let lengths = self.line_search(&rows, &machines, &mut work, open.len())?;
            work.put(engine, lengths.iter().copied())?;
            let (step, x_step) = (self.short(&work.step, open.len())?, self.long(&work.x_step, open.len())?);
            self.short(&work.w, problems)?.add(engine, machines.index(), work.by.all(), step)?;
            self.move_along(pieces, self.long(&work.z, problems)?, machines.index(), &work.by, x_step)?;
            // No progress left in f32: what there is, is the answer; its gap is reported.
            let mut moved = lengths.iter().map(|length| *length > 0.0);
            open.retain(|_| moved.next().unwrap_or(false));
            if open.is_empty() {
                break;
            }
            // z drifts by rounding when it is only ever added to.
            if newton % 8 == 7 {
                self.forward(pieces, self.short(&work.w, problems)?, self.long(&work.z, problems)?)?;
            }
        }
        weights.copy_from_slice(&transposed(&work.w.all().read(engine)?, problems));
        Ok((fits, left))
    }

    /// Slopes and gradient of the open problems at their decision values, and what they sum up to.
    fn measure(
        &self,
        rows: &Learned,
        machines: &BinaryClassifiers<E>,
        work: &mut Work<E>,
        open: usize,
    ) -> Result<Vec<Measured>, Error> {
        let (engine, problems) = (self.engine, work.by.all().len());
        let (a, w, gradient) =
            (self.long(&work.a, open)?, self.short(&work.spare, open)?, self.short(&work.gradient, open)?);
        machines.slopes(engine, rows, self.long(&work.z, problems)?, a)?;
        losses(engine, rows.pieces, a, &mut work.sums)?;
        w.select(engine, self.short(&work.w, problems)?, machines.index())?;
        w.numbers().copy_to(engine, gradient.numbers())?;
        self.backward(rows.pieces, a, gradient)?;
        for (a, b) in [(w, w), (w, gradient), (gradient, gradient)] {
            work.sums.dot(engine, a, b)?;
        }
        let sums = work.sums.read(engine)?;
        let of = |which: usize, i: usize| sums[which * open + i];
        let measured = (0..open).map(|i| Measured {
            // The squares of slopes 2 C m are 4 C times the losses C m^2.
            loss: of(0, i) / (2.0 * f64::from(rows.c2)),
            alphas: of(1, i),
            lossy: of(2, i),
            ww: of(3, i),
            wg: of(4, i),
            gg: of(5, i),
        });
        Ok(measured.collect())
    }

    /// Puts the preconditioner of problems that have so many rows with a loss, on average, on the device.
    fn precondition(&mut self, lossy: f64) -> Result<(), Error> {
        let d = self.width;
        if self.gram.is_empty() {
            let (x, gram) = (self.x(&(0..self.rows))?, Buffer::zeros(self.engine, d * d)?);
            ColumnMatrix::new(gram.all(), d, d)?.product(
                self.engine,
                x.t(),
                ColumnMatrix::new(self.x.all(), self.rows, d)?,
                false,
            )?;
            self.gram = gram.all().read(self.engine)?;
        }
        let level = inverse_level(lossy / self.rows as f64);
        if self.level != Some(level) {
            let made = self.inverses.entry(level);
            let inverse = made.or_insert_with(|| preconditioner(&self.gram, d, self.c, level));
            self.inverse.all().write(self.engine, inverse)?;
            self.level = Some(level);
        }
        Ok(())
    }

    /// Conjugate gradients for all open problems: Newton steps s and X s from the gradients.
    fn directions(
        &self,
        pieces: &[Range<usize>],
        work: &mut Work<E>,
        open: &[usize],
        fits: &mut [Fit],
    ) -> Result<(), Error> {
        let (engine, wide) = (self.engine, open.len());
        let inverse = Factor::new(self.inverse.all(), 0);
        // Problems still worked on, by their place among the open ones, which is their column of a, s and X s; and their
        // column of what is kept for these alone.
        let mut at: Vec<usize> = (0..wide).collect();
        let mut columns = Index::new(engine, &at)?;
        let mut own = Index::new(engine, &at)?;
        self.short(&work.step, wide)?.numbers().fill_zeros(engine)?;
        self.long(&work.x_step, wide)?.numbers().fill_zeros(engine)?;
        let (residual, turned) = (self.short(&work.residual, wide)?, self.short(&work.turned, wide)?);
        residual.numbers().fill_zeros(engine)?;
        work.put(engine, at.iter().map(|_| -1.0))?;
        residual.add(engine, &own, work.by.all(), self.short(&work.gradient, wide)?)?;
        turned.product(engine, inverse, residual, false)?;
        turned.numbers().copy_to(engine, self.short(&work.direction, wide)?.numbers())?;
        work.sums.dot(engine, residual, turned)?;
        work.sums.dot(engine, residual, residual)?;
        let sums = work.sums.read(engine)?;
        let mut energies = sums[..wide].to_vec();
        // Rounding made the preconditioner indefinite here.
        let odd: Vec<usize> = (0..wide).filter(|&i| sums[i] <= 0.0).collect();
        if !odd.is_empty() {
            let (index, some) = (Index::new(engine, &odd)?, self.short(&work.spare, odd.len())?);
            for (from, sign) in [(turned, -1.0), (residual, 1.0)] {
                some.select(engine, from, &index)?;
                work.put(engine, odd.iter().map(|_| sign))?;
                self.short(&work.direction, wide)?.add(engine, &index, work.by.all(), some)?;
            }
            odd.iter().for_each(|&i| energies[i] = sums[wide + i]);
        }
        let mut goals: Vec<f64> = energies.iter().map(|energy| SOLVED * energy).collect();
        for _ in 0..MAX_CG {
            let width = at.len();
            let (direction, hv) = (self.short(&work.direction, width)?, self.short(&work.hv, width)?);
            let (xv, with_loss) = (self.long(&work.xv, width)?, self.long(&work.lossy, width)?);
            let rows = Learned { pieces, labels: self.labels.all(), c2: 2.0 * self.c };
            self.forward(pieces, direction, xv)?;
            lossy(engine, &rows, self.long(&work.a, wide)?, &columns, xv, with_loss)?;
            direction.numbers().copy_to(engine, hv.numbers())?;
            self.backward(pieces, with_loss, hv)?;
            work.sums.dot(engine, direction, hv)?;
            let curvatures = work.sums.read(engine)?;
            let length = |(energy, curvature): (&f64, &f64)| energy / curvature.max(f64::MIN_POSITIVE);
            let lengths: Vec<f64> = energies.iter().zip(&curvatures).map(length).collect();
            work.put(engine, lengths.iter().copied())?;
            self.short(&work.step, wide)?.add(engine, &columns, work.by.all(), direction)?;
            self.move_along(pieces, self.long(&work.x_step, wide)?, &columns, &work.by, xv)?;
            work.put(engine, lengths.iter().map(|length| -length))?;
            let (residual, turned) = (self.short(&work.residual, width)?, self.short(&work.turned, width)?);
            residual.add(engine, &own, work.by.all(), hv)?;
            at.iter().for_each(|&i| fits[open[i]].cg_steps += 1);
            turned.product(engine, inverse, residual, false)?;
            work.sums.dot(engine, residual, turned)?;
            let after: Vec<f64> = work.sums.read(engine)?.iter().map(|energy| energy.max(0.0)).collect();
            let turn = |(after, before): (&f64, &f64)| after / before.max(f64::MIN_POSITIVE);
            work.put(engine, after.iter().zip(&energies).map(turn))?;
            direction.turn(engine, work.by.all(), turned)?;
            let stay: Vec<usize> = (0..width).filter(|&i| after[i] > goals[i]).collect();
            if stay.is_empty() {
                break;
            }
            energies = stay.iter().map(|&i| after[i]).collect();
            if stay.len() < width {
                let index = Index::new(engine, &stay)?;
                self.short(&work.spare, stay.len())?.select(engine, residual, &index)?;
                std::mem::swap(&mut work.residual, &mut work.spare);
                self.short(&work.spare, stay.len())?.select(engine, self.short(&work.direction, width)?, &index)?;
                std::mem::swap(&mut work.direction, &mut work.spare);
                goals = stay.iter().map(|&i| goals[i]).collect();
                at = stay.iter().map(|&i| at[i]).collect();
                columns = Index::new(engine, &at)?;
                own = Index::new(engine, &(0..at.len()).collect::<Vec<_>>())?;
            }
        }
        Ok(())
    }

    /// The length of every open problem's step that minimises f along it; 0 where that is no direction of descent any
    /// more.
    fn line_search(
        &self,
        rows: &Learned,
        machines: &BinaryClassifiers<E>,
        work: &mut Work<E>,
        open: usize,
    ) -> Result<Vec<f64>, Error> {
        let (engine, problems) = (self.engine, work.by.all().len());
        let (z, step, x_step) =
            (self.long(&work.z, problems)?, self.short(&work.step, open)?, self.long(&work.x_step, open)?);
        let w = self.short(&work.spare, open)?;
        w.select(engine, self.short(&work.w, problems)?, machines.index())?;
        work.sums.dot(engine, w, step)?;
        work.sums.dot(engine, step, step)?;
        work.put(engine, (0..open).map(|_| 0.0))?;
        machines.line(engine, rows, z, x_step, work.by.all(), &mut work.sums)?;
        let sums = work.sums.read(engine)?;
        let c2 = f64::from(rows.c2);
        let mut lines: Vec<Line> =
            (0..open).map(|i| Line::new(sums[i], sums[open + i], c2 * sums[2 * open + i])).collect();
        for _ in 0..30 {
            if lines.iter().all(|line| line.found) {
                break;
            }
            work.put(engine, lines.iter().map(|line| line.t))?;
            machines.line(engine, rows, z, x_step, work.by.all(), &mut work.sums)?;
            let sums = work.sums.read(engine)?;
            for (i, line) in lines.iter_mut().enumerate().filter(|(_, line)| !line.found) {
                line.turn(c2 * sums[i], c2 * sums[open + i]);
            }
        }
        Ok(lines.iter().map(|line| line.t).collect())
    }
}

/// What one problem's numbers sum up to.
struct Measured {
    /// Of all rows.
    loss: f64,
    /// The sum of the dual point alpha_i = 2 C max(0, 1 - y_i z_i).
    alphas: f64,
    /// Rows with a loss.
    lossy: f64,
    /// w.w, w.g and g.g, g the gradient.
    ww: f64,
    wg: f64,
    gg: f64,
}

impl Measured {
    fn objective(&self) -> f64 {
        0.5 * self.ww + self.loss
    }

    /// The dual's value at alpha: sum alpha - |w - g|^2 / 2 - losses, since X^T a = g - w.
    fn dual(&self) -> f64 {
        self.alphas - 0.5 * (self.ww - 2.0 * self.wg + self.gg) - self.loss
    }
}

/// Newton's method on the slope of phi(t) = f(w + t s), inside a bracket.
struct Line {
    /// w.s and s.s.
    ws: f64,
    ss: f64,
    /// The slope at 0.
    start: f64,
    low: f64,
    high: f64,
    t: f64,
    found: bool,
}

impl Line {
    /// `losses` is how much the losses' slope falls short of 0 at t = 0.
    fn new(ws: f64, ss: f64, losses: f64) -> Line {
        let start = ws - losses;
        let none = start >= 0.0 || start.is_nan();
        Line { ws, ss, start, low: 0.0, high: f64::INFINITY, t: if none { 0.0 } else { 1.0 }, found: none }
    }

    /// Goes on from t, where the losses' first derivative is -`losses` and their second `curvature`.
    fn turn(&mut self, losses: f64, curvature: f64) {
        let (first, second) = (self.ws + self.t * self.ss - losses, self.ss + curvature);
        if first.abs() <= 0.01 * self.start.abs() {
            self.found = true;
            return;
        }
        if first > 0.0 {
            self.high = self.t
        } else {
            self.low = self.t
        }
        let newton = self.t - first / second;
        self.t = if newton > self.low && newton < self.high {
            newton
        } else if self.high.is_finite() {
            0.5 * (self.low + self.high)
        } else {
            2.0 * self.t
        };
    }
}
