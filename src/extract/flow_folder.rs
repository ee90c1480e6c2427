//! Folders of flow images, as dense_flow and denseflow write them: `CLIP/flow_x_00001.jpg`, `CLIP/flow_y_00001.jpg` and on,
//! counted from 1 or from 0.

use super::error::{ClipError, Error};
use super::list::Clip;
use super::net::Net;
use super::net::preset::{FlowBy, Input};
use compute::vision::image::Image;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Whether there is a folder of flow where a network needs one.
pub(super) fn check(folder: Option<&Path>, nets: &[Net]) -> Result<(), Error> {
    let by_folder = |n: &&Net| matches!(&n.input, Input::Flow(f) if f.by == FlowBy::Folder);
    match (folder, nets.iter().find(by_folder)) {
        (None, Some(net)) => Err(Error::Usage(format!(
            "--net {}: by=folder needs folders of flow images\n  next: add --flow DIR with DIR/CLIP/flow_x_00001.jpg in it",
            net.name
        ))),
        (Some(dir), Some(_)) if !dir.is_dir() => Err(Error::Usage(format!("--flow {}: no such folder", dir.display()))),
        (Some(_), None) => Err(Error::Usage("--flow is given, but no network has by=folder\n  next: say so, such as --net flow=tsn-bninception,by=folder:flow.onnx".into())),
        _ => Ok(()),
    }
}

/// The flow of one clip.
pub(super) struct Fields {
    dir: PathBuf,
    first: usize,
    count: usize,
}

impl Fields {
    /// Finds a clip's folder: by its name, or by its video's path without the ending.
    pub(super) fn of(folder: &Path, clip: &Clip) -> Result<Fields, ClipError> {
        let stem = Path::new(&clip.shown).with_extension("");
        let file_stem = clip.path.file_stem().map(PathBuf::from).unwrap_or_default();
        let places = [
            folder.join(&clip.name),
            folder.join(stem),
            folder.join(&clip.label).join(&file_stem),
            folder.join(file_stem),
        ];
        let dir = places
            .iter()
            .find(|p| p.is_dir())
            .cloned()
            .ok_or_else(|| ClipError::Flow(format!("no flow of it: {} is no folder", places[0].display())))?;
        let missing = |path: PathBuf| Err(ClipError::Flow(format!("no flow of it: {} is missing", path.display())));
        let numbers =
            numbers(&dir).map_err(|e| ClipError::Flow(format!("{}: {}", dir.display(), crate::explain_io(&e))))?;
        let (Some(&first), Some(&last)) = (numbers.first(), numbers.last()) else {
            return missing(image(&dir, 'x', 1));
        };
        // One that is missing at the start or between others would move those behind it to other frames.
        for n in first.min(1)..=last {
            if let Some(axis) = ['x', 'y'].into_iter().find(|axis| !image(&dir, *axis, n).is_file()) {
                return missing(image(&dir, axis, n));
            }
        }
        Ok(Fields { dir, first: first.min(1), count: last + 1 - first.min(1) })
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// The images x and y of a field.
    pub(super) fn read(&self, field: usize) -> Result<[Image; 2], ClipError> {
        let read = |axis: char| {
            let path = image(&self.dir, axis, self.first + field);
            decode(&path).map_err(|e| ClipError::Flow(format!("{}: {e}", path.display())))
        };
        let (x, y) = (read('x')?, read('y')?);
        if (x.width, x.height) != (y.width, y.height) {
            let path = image(&self.dir, 'x', self.first + field);
            return Err(ClipError::Flow(format!("{}: another size than its y", path.display())));
        }
        Ok([x, y])
    }
}

/// The numbers of the images of either axis in a folder.
fn numbers(dir: &Path) -> std::io::Result<BTreeSet<usize>> {
    let mut numbers = BTreeSet::new();
    for entry in std::fs::read_dir(dir)? {
        let name = entry?.file_name();
        let stem = name.to_str().and_then(|name| name.strip_suffix(".jpg"));
        let number = stem.and_then(|s| s.strip_prefix("flow_x_").or_else(|| s.strip_prefix("flow_y_")));
        numbers.extend(number.filter(|n| n.len() == 5).and_then(|n| n.parse::<usize>().ok()));
    }
    Ok(numbers)
}

fn image(dir: &Path, axis: char, number: usize) -> PathBuf {
    dir.join(format!("flow_{axis}_{number:05}.jpg"))
}

/// Bytes of an image that are read.
const LARGEST_IMAGE: u64 = 64 << 20;

/// A JPEG as a grey image.
pub(super) fn decode(path: &Path) -> Result<Image, String> {
    use zune_jpeg::JpegDecoder;
    use zune_jpeg::zune_core::bytestream::ZCursor;
    use zune_jpeg::zune_core::colorspace::ColorSpace;
    use zune_jpeg::zune_core::options::DecoderOptions;
    let bytes = crate::files::read(path, LARGEST_IMAGE).map_err(|e| crate::explain_io(&e))?;
    let options = DecoderOptions::default().jpeg_set_out_colorspace(ColorSpace::Luma);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    let data = decoder.decode().map_err(|e| format!("no JPEG that can be read: {e}"))?;
    let (width, height) = decoder.dimensions().ok_or("no JPEG that can be read")?;
    if data.len() != width * height {
        return Err("no grey JPEG".into());
    }
    Ok(Image { width, height, channels: 1, data })
}
