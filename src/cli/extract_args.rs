//! The flags of `unmute extract` and `unmute extract flow`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Shown below the help.
pub(super) const EXAMPLES: &str = "Examples:
  unmute extract VIDEOS features --net rgb=tsn-bninception:rgb.onnx --net vggish=vggish:vggish.onnx
  unmute extract VIDEOS features --net rgb=imagenet,mean=127,std=128:effnet.onnx \\
    --net yamnet=yamnet:yamnet.onnx --import data/mine
  unmute extract VIDEOS features --net aenet=aenet:aenet.onnx --aenet-stats gmean.npy,gstd.npy
  unmute extract VIDEOS features --net rgb=tsn-bninception:tsn.onnx#global_pool \\
    --scores rgb=fc --classes classes.txt
  unmute extract flow VIDEOS flow && \\
    unmute extract VIDEOS features --flow flow --net flow=tsn-bninception,by=folder:flow.onnx

VIDEOS holds train/LABEL/FILE and val/LABEL/FILE; of other folders labels and splits are filled in later, in features/clips.csv.

Presets and their keys (--net NAME=PRESET,key=value:FILE.onnx#output):
  vggish, yamnet     sound, log-mel patches of 0.96 s; offset, hop (frames of 10 ms), post=raw|pca|quantised|quantised-nearest
  aenet              sound, HTK filter banks, patches of 2 s; energy=normalised|raw, l2=yes|no, stats=yes|no
  tsn-bninception    frames 340x256, BGR less (104, 117, 123), OpenCV's bilinear (TSN in Caffe)
  tsn-resnet         frames of short side 256, RGB, ImageNet's mean and deviation, Pillow's bilinear (tsn-pytorch)
  mmaction-r50       the same with OpenCV's bilinear (mmaction2)
  imagenet           as torchvision evaluates classifiers, Pillow's bilinear
    of frames: resize=340x256|256, filter=cv2|pil, crop=224, crops=1|5|10, order=rgb|bgr, mean=a/b/c, std=a/b/c (of 0 to 255)
    of flow (a network of 10 channels, or of=flow): resize, crop, crops, depth=5, mean, std, bound=20, rounding=nearest|down,
    by=tvl1|dis|folder, pairs=sampled|native

Interrupt with Ctrl-C at any time; the same command goes on where it stopped, also on several machines at once. Exit code 3 when
clips failed: failures.csv names them. docs/guide/videos.md has the rest.";

#[derive(Debug, Args)]
pub(super) struct ExtractArgs {
    #[command(subcommand)]
    pub what: Option<ExtractWhat>,
    /// The folder of the videos
    #[arg(required = true)]
    pub videos: Option<PathBuf>,
    /// The folder for the features; what is done there is not done again
    #[arg(required = true)]
    pub dst: Option<PathBuf>,
    /// A network: the stream's or audio feature's name, a preset, the ONNX file (repeatable)
    #[arg(long = "net", value_name = "NAME=PRESET:FILE", required = true)]
    pub nets: Vec<String>,
    /// Videos by a table with a column path, and clip, label, split if it has them; paths are relative to VIDEOS
    #[arg(long, value_name = "FILE")]
    pub clips: Option<PathBuf>,
    /// Frames per second
    #[arg(long, default_value = "6", value_name = "N")]
    pub fps: String,
    /// Crops of a frame, whose features are averaged: 1, 5 or 10
    #[arg(long, value_name = "N")]
    pub crops: Option<String>,
    /// What becomes of sound too short for a row: pad with zeros, silent (the clip has no sound), or fail
    #[arg(long, default_value = "pad", value_name = "HOW")]
    pub short: String,
    /// Folders of flow images, CLIP/flow_x_00001.jpg, for networks with by=folder
    #[arg(long, value_name = "DIR")]
    pub flow: Option<PathBuf>,
    /// AENet's mean and deviation, 150 numbers each
    #[arg(long, value_name = "MEAN.npy,STD.npy", value_delimiter = ',')]
    pub aenet_stats: Option<Vec<PathBuf>>,
    /// VGGish's PCA, for post=pca and post=quantised
    #[arg(long, value_name = "VECTORS.npy,MEANS.npy", value_delimiter = ',')]
    pub vggish_pca: Option<Vec<PathBuf>>,
    /// An output of a network that is class scores before the softmax; they go to scores/ (repeatable)
    #[arg(long, value_name = "NAME=OUTPUT")]
    pub scores: Vec<String>,
    /// The classes of the scores in the network's order, one a line; the videos' labels in alphabetical order by default
    #[arg(long, value_name = "FILE")]
    pub classes: Option<PathBuf>,
    /// Fail clips with frames that do not decode, instead of counting them in extract.json
    #[arg(long)]
    pub strict: bool,
    /// What runs the networks: onnxruntime, onnxruntime=PATH (its library or the folder it is in), rten (if built in)
    #[arg(long, default_value = "onnxruntime", value_name = "RUNTIME")]
    pub runtime: String,
    /// Where the networks run: cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu", value_name = "DEVICE")]
    pub device: String,
    /// Clips worked on at once; as many as there are cores by default
    #[arg(long, value_name = "N")]
    pub workers: Option<usize>,
    /// Only this part of the clips: I/N, I from 1 to N
    #[arg(long, value_name = "I/N")]
    pub shard: Option<String>,
    /// Print the summary as JSON
    #[arg(long)]
    pub json: bool,
    /// Go on to a data set: import the features into this new folder
    #[arg(long, value_name = "SET")]
    pub import: Option<PathBuf>,
    /// With --import: how rows of an audio feature become one vector; 3 (AENet: mean) by default (repeatable)
    #[arg(long, value_name = "NAME=N", requires = "import")]
    pub rows: Vec<String>,
    /// With --import: frames per clip, T
    #[arg(long, value_name = "T", requires = "import")]
    pub frames: Option<String>,
    /// With --import: the data set's name
    #[arg(long, value_name = "NAME", requires = "import")]
    pub name: Option<String>,
    /// With --import: numbers on disk, f32 or f16
    #[arg(long, value_name = "TYPE", requires = "import")]
    pub precision: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum ExtractWhat {
    /// Write optical flow as images: DST/CLIP/flow_x_00001.jpg, as dense_flow does
    #[command(after_help = "Examples:
  unmute extract flow VIDEOS flow                       (TV-L1 between frames of 6 a second)
  unmute extract flow VIDEOS flow --fps native          (between all frames, as dense_flow does)
  unmute extract flow VIDEOS flow --method dis --style denseflow")]
    Flow(ExtractFlowArgs),
}

#[derive(Debug, Args)]
pub(super) struct ExtractFlowArgs {
    /// The folder of the videos
    pub videos: PathBuf,
    /// The folder for the images; clips that are there are not done again
    pub dst: PathBuf,
    /// Videos by a table with a column path
    #[arg(long, value_name = "FILE")]
    pub clips: Option<PathBuf>,
    /// How: tvl1, or dis, which is quicker and less exact
    #[arg(long, default_value = "tvl1", value_name = "METHOD")]
    pub method: String,
    /// Frames per second, or native: all frames
    #[arg(long, default_value = "6", value_name = "N")]
    pub fps: String,
    /// Motion of so many pixels becomes 0 or 255
    #[arg(long, default_value_t = 20.0, value_name = "PIXELS")]
    pub bound: f64,
    /// Frames are resized to this first: WIDTHxHEIGHT, or the shorter side
    #[arg(long, default_value = "340x256", value_name = "SIZE")]
    pub size: String,
    /// How images are numbered: dense_flow from 1, denseflow from 0
    #[arg(long, default_value = "dense_flow", value_name = "STYLE", value_parser = ["dense_flow", "denseflow"])]
    pub style: String,
    /// Clips worked on at once; as many as there are cores by default
    #[arg(long, value_name = "N")]
    pub workers: Option<usize>,
    /// Only this part of the clips: I/N, I from 1 to N
    #[arg(long, value_name = "I/N")]
    pub shard: Option<String>,
}
