//! How far each problem goes along its step.

use super::rows::OnRows;
use super::work::Work;
use crate::gpu::api::GpuApi;
use crate::gpu::binary_classifiers::{BinaryClassifiers, Learned};
use crate::train::Error;

impl<E: GpuApi> OnRows<'_, E> {
    /// The length of every open problem's step that minimises f along it; 0 where that is no direction of descent any
    /// more.
    pub(super) fn line_search(
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
