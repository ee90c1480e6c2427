//! Frames and flow to what networks take.

use super::error::ClipError;
use super::net::preset::{Filter, FlowStacks, Frames, Order, Size};
use compute::flow::Field;
use compute::flow::quantise::quantise;
use compute::vision::crops::{Crop, Crops, Table, table, write_plane};
use compute::vision::image::Image;
use compute::vision::pil;
use compute::vision::resize::{resize, short_side};

/// The size of a frame after resizing, never smaller than the crop.
fn target(size: Size, filter: Filter, image: &Image, crop: usize) -> (usize, usize) {
    let (width, height) = match size {
        Size::Exact(width, height) => (width, height),
        Size::Short(side) => short_side(image.width, image.height, side, filter == Filter::Cv2),
    };
    (width.max(crop), height.max(crop))
}

fn resized(image: &Image, size: Size, filter: Filter, crop: usize) -> Image {
    let (width, height) = target(size, filter, image, crop);
    match filter {
        Filter::Cv2 => resize(image, width, height),
        Filter::Pil => pil::resize(image, width, height),
    }
}

/// Crops of frames for one network.
pub(super) struct FrameFront {
    frames: Frames,
    tables: [Table; 3],
}

impl FrameFront {
    pub(super) fn new(frames: &Frames) -> FrameFront {
        let tables = std::array::from_fn(|c| table(frames.mean[c], frames.std[c]));
        FrameFront { frames: frames.clone(), tables }
    }

    /// All crops of a bgr24 frame, (crops, 3, side, side).
    pub(super) fn crops(&self, frame: &Image) -> Vec<f32> {
        let Frames { resize, filter, crop: side, crops, order, .. } = &self.frames;
        let image = resized(frame, *resize, *filter, *side);
        let plane = side * side;
        let mut out = vec![0.0; crops.count() * 3 * plane];
        for (crop, out) in
            crops.places(image.width, image.height, *side).into_iter().zip(out.chunks_exact_mut(3 * plane))
        {
            for (c, out) in out.chunks_exact_mut(plane).enumerate() {
                let channel = if *order == Order::Bgr { c } else { 2 - c };
                write_plane(&image, channel, crop, *side, &self.tables[c], false, out);
            }
        }
        out
    }
}

/// The grey frame that flow is computed on.
pub(super) fn grey(frame: &Image, stacks: &FlowStacks) -> Image {
    resized(frame, stacks.resize, Filter::Cv2, stacks.crop).grey()
}

/// A flow field as two grey images, x and y.
pub(super) fn levels(field: &Field, stacks: &FlowStacks) -> [Image; 2] {
    [&field.x, &field.y].map(|plane| Image {
        width: field.width,
        height: field.height,
        channels: 1,
        data: quantise(plane, stacks.bound, stacks.rounding),
    })
}

/// Flow images of a folder at the size that the network wants.
pub(super) fn levels_resized(image: &Image, stacks: &FlowStacks) -> Image {
    resized(image, stacks.resize, Filter::Cv2, stacks.crop)
}

/// Gathers fields into stacks while they come: row t holds the fields from `step` t on, `depth` of them; where they end,
/// the last one is repeated.
pub(super) struct Stacker {
    stacks: FlowStacks,
    table: Table,
    step: f64,
    row: usize,
    /// The number of the first kept field.
    first: usize,
    kept: std::collections::VecDeque<[Image; 2]>,
}

impl Stacker {
    /// `step` fields lie between a row and the next.
    pub(super) fn new(stacks: &FlowStacks, step: f64) -> Stacker {
        let table = table(stacks.mean, stacks.std);
        Stacker { stacks: stacks.clone(), table, step, row: 0, first: 0, kept: Default::default() }
    }

    fn start(&self, row: usize) -> usize {
        (row as f64 * self.step + 1e-6) as usize
    }

    /// One more field; the crops of a row that is now complete.
    pub(super) fn push(
        &mut self,
        field: [Image; 2],
        mut row: impl FnMut(Vec<f32>) -> Result<(), ClipError>,
    ) -> Result<(), ClipError> {
        self.kept.push_back(field);
        while self.start(self.row) + self.stacks.depth <= self.first + self.kept.len() {
            row(self.crops())?;
            self.advance();
        }
        Ok(())
    }

    /// The rows up to `rows` that the end of the clip cuts short.
    pub(super) fn finish(
        &mut self,
        rows: usize,
        mut row: impl FnMut(Vec<f32>) -> Result<(), ClipError>,
    ) -> Result<(), ClipError> {
        while self.row < rows && !self.kept.is_empty() {
            row(self.crops())?;
            self.advance();
        }
        Ok(())
    }

    /// Goes on to the next row, and forgets fields that no row needs any more; the last one may be repeated.
    fn advance(&mut self) {
        self.row += 1;
        while self.first < self.start(self.row) && self.kept.len() > 1 {
            self.kept.pop_front();
            self.first += 1;
        }
    }

    /// All crops of the current row's stack, (crops, 2 depth, side, side): x1 y1 x2 y2 ...; mirror images have 255 - x.
    fn crops(&self) -> Vec<f32> {
        let FlowStacks { crop: side, crops, depth, .. } = &self.stacks;
        let plane = side * side;
        let start = self.start(self.row).saturating_sub(self.first);
        let size = |image: &Image| (image.width, image.height);
        let (width, height) = self.kept.front().map_or((*side, *side), |f| size(&f[0]));
        let mut out = vec![0.0; crops.count() * 2 * depth * plane];
        let places: Vec<Crop> = Crops::places(*crops, width, height, *side);
        for (crop, out) in places.into_iter().zip(out.chunks_exact_mut(2 * depth * plane)) {
            for (i, out) in out.chunks_exact_mut(plane).enumerate() {
                let at = (start + i / 2).min(self.kept.len() - 1);
                let horizontal = i % 2 == 0;
                let image = &self.kept[at][i % 2];
                write_plane(image, 0, crop, *side, &self.table, crop.mirrored && horizontal, out);
            }
        }
        out
    }
}

/// Rows of single crops averaged over the crops of a frame.
pub(super) fn average(rows: &[Vec<f32>], crops: usize) -> Vec<Vec<f32>> {
    if crops == 1 {
        return rows.to_vec();
    }
    let mean = |rows: &[Vec<f32>]| {
        let mut sum = vec![0.0f64; rows[0].len()];
        for row in rows {
            sum.iter_mut().zip(row).for_each(|(s, &x)| *s += f64::from(x));
        }
        sum.into_iter().map(|s| (s / rows.len() as f64) as f32).collect()
    };
    rows.chunks_exact(crops).map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::super::net::preset::{Input, Preset};
    use super::*;

    fn stacks() -> FlowStacks {
        let Input::Flow(mut stacks) = Preset::TsnBninception.input(true) else { panic!() };
        (stacks.resize, stacks.crop, stacks.depth, stacks.mean) = (Size::Exact(2, 2), 2, 3, 0.0);
        stacks
    }

    fn rows(step: f64, fields: usize, rows: usize) -> Vec<Vec<f32>> {
        let image = |v: usize| Image { width: 2, height: 2, channels: 1, data: vec![v as u8; 4] };
        let mut stacker = Stacker::new(&stacks(), step);
        let mut out = Vec::new();
        let mut take = |crops: Vec<f32>| {
            out.push(crops.iter().step_by(4).copied().collect());
            Ok(())
        };
        for i in 0..fields {
            stacker.push([image(i), image(100 + i)], &mut take).unwrap();
        }
        stacker.finish(rows, &mut take).unwrap();
        out
    }

    #[test]
    fn a_stack_begins_at_its_row_and_repeats_the_last_field_at_the_end() {
        assert_eq!(
            rows(1.0, 3, 4),
            [
                [0.0, 100.0, 1.0, 101.0, 2.0, 102.0],
                [1.0, 101.0, 2.0, 102.0, 2.0, 102.0],
                [2.0, 102.0, 2.0, 102.0, 2.0, 102.0],
                [2.0, 102.0, 2.0, 102.0, 2.0, 102.0],
            ]
        );
        let native = rows(5.0, 14, 3);
        assert_eq!(native.iter().map(|r| r[0]).collect::<Vec<_>>(), [0.0, 5.0, 10.0]);
        assert_eq!(rows(1.0, 1, 1), [[0.0, 100.0, 0.0, 100.0, 0.0, 100.0]]);
        assert_eq!(rows(5.0, 3, 3)[2], [2.0, 102.0, 2.0, 102.0, 2.0, 102.0]);
    }

    #[test]
    fn crops_are_averaged() {
        let rows = [vec![1.0, 2.0], vec![3.0, 6.0], vec![0.0, 0.0], vec![2.0, 0.0]];
        assert_eq!(average(&rows, 2), [[2.0, 4.0], [1.0, 0.0]]);
        assert_eq!(average(&rows, 1), rows);
    }

    #[test]
    fn small_frames_are_enlarged_to_the_crop() {
        let Input::Frames(mut frames) = Preset::Imagenet.input(false) else { panic!() };
        frames.resize = Size::Short(8);
        frames.crop = 10;
        let image = Image::black(3, 3, 3);
        assert_eq!(FrameFront::new(&frames).crops(&image).len(), 300);
    }
}
