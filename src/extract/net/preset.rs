//! What the authors of a network feed it with, under a name; `key=value` changes one thing.

use compute::audio::{htk, mel};
use compute::flow::quantise::Rounding;
use compute::vision::crops::Crops;
use serde::{Deserialize, Serialize};

/// How a frame gets its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Size {
    /// Width and height, whatever the aspect.
    Exact(usize, usize),
    /// The shorter side; the longer one follows.
    Short(usize),
}

/// How pixels between pixels are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// OpenCV's bilinear.
    Cv2,
    /// Pillow's bilinear, which smooths where it shrinks.
    Pil,
}

/// Which colour comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Blue, green, red: Caffe's.
    Bgr,
    /// Red, green, blue.
    Rgb,
}

/// Frames as a network takes them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Frames {
    /// The size of the whole frame.
    pub resize: Size,
    /// Its interpolation.
    pub filter: Filter,
    /// The side of a crop.
    pub crop: usize,
    /// Crops of a frame; their features are averaged.
    #[serde(with = "crops")]
    pub crops: Crops,
    /// The colours' order.
    pub order: Order,
    /// Taken off each colour, in that order.
    pub mean: [f64; 3],
    /// Divided by, in that order.
    pub std: [f64; 3],
}

/// Where flow comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FlowBy {
    /// Computed here, TV-L1.
    TvL1,
    /// Computed here, dense inverse search: much faster, less exact.
    Dis,
    /// Images that dense_flow, denseflow or `unmute extract flow` wrote.
    Folder,
}

impl std::str::FromStr for FlowBy {
    type Err = String;

    fn from_str(text: &str) -> Result<FlowBy, String> {
        match text {
            "tvl1" => Ok(FlowBy::TvL1),
            "dis" => Ok(FlowBy::Dis),
            _ => Err(format!("--method {text}: should be tvl1 or dis")),
        }
    }
}

/// Which frames a flow field lies between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pairs {
    /// Neighbours among the sampled frames.
    Sampled,
    /// Neighbours among the frames as they were recorded.
    Native,
}

/// Stacks of flow as a network takes them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FlowStacks {
    /// The size of the whole field.
    pub resize: Size,
    /// The side of a crop.
    pub crop: usize,
    /// Crops of a stack; their features are averaged.
    #[serde(with = "crops")]
    pub crops: Crops,
    /// Fields in a stack: x1 y1 x2 y2 ...
    pub depth: usize,
    /// Taken off.
    pub mean: f64,
    /// Divided by.
    pub std: f64,
    /// Motion of so many pixels becomes 0 or 255.
    pub bound: f64,
    /// How levels are rounded.
    #[serde(with = "rounding")]
    pub rounding: Rounding,
    /// Where it comes from.
    pub by: FlowBy,
    /// Which frames it lies between; a folder has its own.
    pub pairs: Pairs,
}

/// What becomes of VGGish's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Post {
    /// As it is.
    Raw,
    /// PCA, clipped to plus and minus 2.
    Pca,
    /// And 8 bits, rounded down, as in AudioSet.
    Quantised,
    /// And 8 bits, rounded to the nearest.
    QuantisedNearest,
}

/// Log-mel patches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogMelPatches {
    /// ln(mel + offset).
    pub offset: f64,
    /// Frames of 10 ms from a patch to the next; a patch has 96.
    pub hop: usize,
    /// What becomes of the output.
    pub post: Post,
}

/// HTK's filter banks in patches of 2 s.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HtkPatches {
    /// Energies relative to the loudest frame.
    pub normalise_energy: bool,
    /// Rows are divided by their length.
    pub l2: bool,
    /// Whether (x - mean) / deviation is taken, by `--aenet-stats`.
    pub stats: bool,
}

/// What a network is fed with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "kebab-case")]
pub enum Input {
    /// Single frames.
    Frames(Frames),
    /// Stacks of optical flow.
    Flow(FlowStacks),
    /// Log-mel patches of sound.
    LogMel(LogMelPatches),
    /// HTK's filter banks.
    Htk(HtkPatches),
}

/// A name for what a network is fed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// Google's VGGish.
    Vggish,
    /// Google's YAMNet.
    Yamnet,
    /// AENet.
    Aenet,
    /// TSN on BN-Inception, as in Caffe.
    TsnBninception,
    /// TSN on a ResNet, as in tsn-pytorch.
    TsnResnet,
    /// TSN on a ResNet-50, as in mmaction2.
    MmactionR50,
    /// A classifier of ImageNet, as torchvision evaluates it.
    Imagenet,
}

const IMAGENET_MEAN: [f64; 3] = [123.675, 116.28, 103.53];
const IMAGENET_STD: [f64; 3] = [58.395, 57.12, 57.375];

impl Preset {
    /// All, in the order of the documentation.
    pub const ALL: [Preset; 7] = [
        Preset::Vggish,
        Preset::Yamnet,
        Preset::Aenet,
        Preset::TsnBninception,
        Preset::TsnResnet,
        Preset::MmactionR50,
        Preset::Imagenet,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Preset::Vggish => "vggish",
            Preset::Yamnet => "yamnet",
            Preset::Aenet => "aenet",
            Preset::TsnBninception => "tsn-bninception",
            Preset::TsnResnet => "tsn-resnet",
            Preset::MmactionR50 => "mmaction-r50",
            Preset::Imagenet => "imagenet",
        }
    }

    /// Whether it takes sound.
    pub fn is_sound(self) -> bool {
        matches!(self, Preset::Vggish | Preset::Yamnet | Preset::Aenet)
    }

    /// What it feeds a network with; `flow` chooses between the two that a vision preset has.
    pub fn input(self, flow: bool) -> Input {
        let log_mel = |offset, hop| Input::LogMel(LogMelPatches { offset, hop, post: Post::Raw });
        let frames = |resize, filter, order, mean, std| {
            Input::Frames(Frames { resize, filter, crop: 224, crops: Crops::One, order, mean, std })
        };
        let stacks = |resize, mean, std, rounding| {
            Input::Flow(FlowStacks {
                resize,
                crop: 224,
                crops: Crops::One,
                depth: 5,
                mean,
                std,
                bound: 20.0,
                rounding,
                by: FlowBy::TvL1,
                pairs: Pairs::Sampled,
            })
        };
        let nearest = Rounding::Nearest;
        // The mean of ImageNet's three deviations, which tsn-pytorch takes for flow.
        let flow_std = 0.226 * 255.0;
        match (self, flow) {
            (Preset::Vggish, _) => log_mel(0.01, mel::PATCH),
            (Preset::Yamnet, _) => log_mel(0.001, mel::PATCH / 2),
            (Preset::Aenet, _) => Input::Htk(HtkPatches { normalise_energy: true, l2: true, stats: true }),
            (Preset::TsnBninception, false) => {
                frames(Size::Exact(340, 256), Filter::Cv2, Order::Bgr, [104.0, 117.0, 123.0], [1.0; 3])
            }
            (Preset::TsnBninception, true) => stacks(Size::Exact(340, 256), 128.0, 1.0, nearest),
            (Preset::TsnResnet | Preset::Imagenet, false) => {
                frames(Size::Short(256), Filter::Pil, Order::Rgb, IMAGENET_MEAN, IMAGENET_STD)
            }
            (Preset::TsnResnet | Preset::Imagenet, true) => stacks(Size::Short(256), 127.5, flow_std, nearest),
            (Preset::MmactionR50, false) => {
                frames(Size::Short(256), Filter::Cv2, Order::Rgb, IMAGENET_MEAN, IMAGENET_STD)
            }
            (Preset::MmactionR50, true) => stacks(Size::Short(256), 128.0, 128.0, Rounding::Down),
        }
    }
}

impl std::str::FromStr for Preset {
    type Err = String;

    fn from_str(name: &str) -> Result<Preset, String> {
        Preset::ALL.into_iter().find(|p| p.name() == name).ok_or_else(|| {
            let names = Preset::ALL.map(|p| p.name().to_string());
            format!(
                "no preset is called {:?}{}",
                crate::brief::shortened(name, 100),
                crate::suggest::nearest(name, &names)
            )
        })
    }
}

impl Input {
    /// The shape that a network must take, without the batch.
    pub fn shape(&self) -> Vec<usize> {
        match self {
            Input::Frames(f) => vec![3, f.crop, f.crop],
            Input::Flow(f) => vec![2 * f.depth, f.crop, f.crop],
            Input::LogMel(_) => vec![1, mel::PATCH, mel::BANDS],
            Input::Htk(_) => vec![htk::CHANNELS, htk::PATCH, htk::STATIC],
        }
    }

    /// Whether it is made of sound.
    pub fn is_sound(&self) -> bool {
        matches!(self, Input::LogMel(_) | Input::Htk(_))
    }

    /// Sets one thing; says which keys there are where it has no such one.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let known: &[&str] = match self {
            Input::Frames(_) => &["resize", "filter", "crop", "crops", "order", "mean", "std"],
            Input::Flow(_) => &["resize", "crop", "crops", "depth", "mean", "std", "bound", "rounding", "by", "pairs"],
            Input::LogMel(_) => &["offset", "hop", "post"],
            Input::Htk(_) => &["energy", "l2", "stats"],
        };
        if !known.contains(&key) {
            let names: Vec<String> = known.iter().map(|k| k.to_string()).collect();
            return Err(format!("no key {key:?} here{}", crate::suggest::nearest(key, &names)));
        }
        let bad = |wanted: &str| format!("{key}={value}: should be {wanted}");
        match (self, key) {
            (Input::Frames(Frames { resize, .. }) | Input::Flow(FlowStacks { resize, .. }), "resize") => {
                *resize = parse_size(value)
                    .ok_or_else(|| bad("WIDTHxHEIGHT such as 340x256, or the shorter side, such as 256"))?;
            }
            (Input::Frames(Frames { crop, .. }) | Input::Flow(FlowStacks { crop, .. }), "crop") => {
                *crop = side(value).ok_or_else(|| bad("a number of pixels, such as 224"))?;
            }
            (Input::Frames(Frames { crops, .. }) | Input::Flow(FlowStacks { crops, .. }), "crops") => {
                *crops = parse_crops(value).ok_or_else(|| bad("1, 5 or 10"))?;
            }
            (Input::Frames(f), "filter") => f.filter = word(value, &bad)?,
            (Input::Frames(f), "order") => f.order = word(value, &bad)?,
            (Input::Frames(f), "mean") => {
                f.mean = three(value).ok_or_else(|| bad("one number, or three such as 104/117/123"))?
            }
            (Input::Frames(f), "std") => {
                let std = three(value).filter(|s| s.iter().all(|&x| x > 0.0));
                f.std = std.ok_or_else(|| bad("one number above 0, or three such as 58.395/57.12/57.375"))?;
            }
            (Input::Flow(f), "depth") => {
                f.depth = value.parse().ok().filter(|n| (1..=64).contains(n)).ok_or_else(|| bad("1 to 64"))?;
            }
            (Input::Flow(f), "mean") => f.mean = number(value).ok_or_else(|| bad("a number"))?,
            (Input::Flow(f), "std") => {
                f.std = number(value).filter(|x| *x > 0.0).ok_or_else(|| bad("a number above 0"))?;
            }
            (Input::Flow(f), "bound") => {
                f.bound = number(value).filter(|x| *x > 0.0).ok_or_else(|| bad("a number of pixels above 0"))?;
            }
            (Input::Flow(f), "rounding") => {
                f.rounding = match value {
                    "nearest" => Rounding::Nearest,
                    "down" => Rounding::Down,
                    _ => return Err(bad("nearest or down")),
                };
            }
            (Input::Flow(f), "by") => f.by = word(value, &bad)?,
            (Input::Flow(f), "pairs") => f.pairs = word(value, &bad)?,
            (Input::LogMel(m), "offset") => {
                m.offset = number(value).filter(|x| *x > 0.0).ok_or_else(|| bad("a number above 0"))?;
            }
            (Input::LogMel(m), "hop") => {
                m.hop = side(value).ok_or_else(|| bad("frames of 10 ms from a patch to the next, such as 96"))?;
            }
            (Input::LogMel(m), "post") => m.post = word(value, &bad)?,
            (Input::Htk(h), "energy") => {
                h.normalise_energy = match value {
                    "normalised" => true,
                    "raw" => false,
                    _ => return Err(bad("normalised or raw")),
                };
            }
            (Input::Htk(h), "l2") => h.l2 = yes(value).ok_or_else(|| bad("yes or no"))?,
            (Input::Htk(h), "stats") => h.stats = yes(value).ok_or_else(|| bad("yes or no"))?,
            _ => return Err(format!("no key {key:?} here")),
        }
        Ok(())
    }
}

fn number(value: &str) -> Option<f64> {
    value.parse().ok().filter(|x: &f64| x.is_finite())
}

fn side(value: &str) -> Option<usize> {
    value.parse().ok().filter(|n| (1..=4096).contains(n))
}

/// `340x256`, or the shorter side.
pub fn parse_size(value: &str) -> Option<Size> {
    match value.split_once('x') {
        Some((width, height)) => Some(Size::Exact(side(width)?, side(height)?)),
        None => Some(Size::Short(side(value)?)),
    }
}

fn three(value: &str) -> Option<[f64; 3]> {
    let numbers: Vec<f64> = value.split('/').map(number).collect::<Option<_>>()?;
    match numbers[..] {
        [x] => Some([x; 3]),
        [a, b, c] => Some([a, b, c]),
        _ => None,
    }
}

fn yes(value: &str) -> Option<bool> {
    match value {
        "yes" | "true" => Some(true),
        "no" | "false" => Some(false),
        _ => None,
    }
}

/// A value that serde knows by name.
fn word<T: serde::de::DeserializeOwned>(value: &str, bad: &dyn Fn(&str) -> String) -> Result<T, String> {
    serde_json::from_value(serde_json::Value::String(value.into())).map_err(|e| {
        let message = e.to_string();
        bad(message.split_once("expected ").map_or(&message, |(_, expected)| expected))
    })
}

/// 1, 5 or 10.
pub fn parse_crops(value: &str) -> Option<Crops> {
    match value {
        "1" => Some(Crops::One),
        "5" => Some(Crops::Five),
        "10" => Some(Crops::Ten),
        _ => None,
    }
}

mod crops {
    use super::Crops;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(crops: &Crops, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u64(crops.count() as u64)
    }

    pub fn deserialize<'d, D: Deserializer<'d>>(d: D) -> Result<Crops, D::Error> {
        let n = u64::deserialize(d)?;
        super::parse_crops(&n.to_string()).ok_or_else(|| D::Error::custom("crops should be 1, 5 or 10"))
    }
}

mod rounding {
    use super::Rounding;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(rounding: &Rounding, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(if *rounding == Rounding::Nearest { "nearest" } else { "down" })
    }

    pub fn deserialize<'d, D: Deserializer<'d>>(d: D) -> Result<Rounding, D::Error> {
        Ok(if String::deserialize(d)? == "nearest" { Rounding::Nearest } else { Rounding::Down })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_found_by_its_name_and_others_are_suggested() {
        for preset in Preset::ALL {
            assert_eq!(preset.name().parse(), Ok(preset));
        }
        assert!("vgish".parse::<Preset>().unwrap_err().contains("vggish"));
    }

    #[test]
    fn keys_change_one_thing_and_wrong_ones_are_told() {
        let mut input = Preset::Imagenet.input(false);
        for (key, value) in [("mean", "127"), ("std", "128"), ("crops", "10"), ("filter", "cv2"), ("resize", "340x256")]
        {
            input.set(key, value).unwrap();
        }
        let Input::Frames(f) = &input else { panic!("{input:?}") };
        assert_eq!((f.mean, f.std, f.crops, f.filter), ([127.0; 3], [128.0; 3], Crops::Ten, Filter::Cv2));
        assert_eq!(f.resize, Size::Exact(340, 256));
        assert!(input.set("men", "1").unwrap_err().contains("mean"));
        assert!(input.set("std", "0").unwrap_err().contains("above 0"));
        assert!(
            input.set("filter", "area").unwrap_err().contains("cv2"),
            "{}",
            input.set("filter", "area").unwrap_err()
        );
        assert!(input.set("crops", "3").is_err());
        let mut sound = Preset::Vggish.input(false);
        sound.set("post", "quantised").unwrap();
        assert!(sound.set("crop", "224").unwrap_err().contains("no key"));
    }

    #[test]
    fn settings_survive_json() {
        for preset in Preset::ALL {
            for flow in [false, true] {
                let input = preset.input(flow);
                let text = serde_json::to_string(&input).unwrap();
                assert_eq!(serde_json::from_str::<Input>(&text).unwrap(), input, "{text}");
            }
        }
    }
}
