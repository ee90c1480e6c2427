//! `--net NAME=PRESET[,key=value...]:FILE.onnx[#output]`: a network of the user's and what it is fed with.

use super::preset::{Input, Preset};
use crate::brief::shortened;
use std::path::PathBuf;

/// A network as it is called for.
#[derive(Clone, Debug, PartialEq)]
pub struct NetSpec {
    /// The stream's or audio feature's name.
    pub name: String,
    /// The preset.
    pub preset: Preset,
    /// What changes the preset, in order.
    pub keys: Vec<(String, String)>,
    /// The ONNX file.
    pub file: PathBuf,
    /// The output to take; the only one by default.
    pub output: Option<String>,
}

impl NetSpec {
    /// Takes a `--net` apart; says how one is written.
    pub fn parse(text: &str) -> Result<NetSpec, String> {
        let shown = shortened(text, 200);
        let form = || {
            format!("--net {shown}: should be NAME=PRESET[,key=value...]:FILE.onnx, such as vggish=vggish:vggish.onnx")
        };
        let (name, rest) = text.split_once('=').ok_or_else(form)?;
        let (preset, file) = rest.split_once(':').ok_or_else(form)?;
        if file.is_empty() {
            return Err(form());
        }
        check_name(name).map_err(|e| format!("--net {shown}: {e}"))?;
        let mut words = preset.split(',');
        let preset = words.next().unwrap_or_default().parse().map_err(|e| format!("--net {shown}: {e}"))?;
        let keys = words
            .map(|word| word.split_once('=').map(|(k, v)| (k.to_string(), v.to_string())).ok_or_else(form))
            .collect::<Result<_, _>>()?;
        // A file may have a # in its name.
        let (file, output) = match file.rsplit_once('#') {
            Some((before, output)) if !std::path::Path::new(file).exists() => (before, Some(output.to_string())),
            _ => (file, None),
        };
        if output.as_deref() == Some("") {
            return Err(format!("--net {shown}: the name of an output should follow #"));
        }
        Ok(NetSpec { name: name.into(), preset, keys, file: file.into(), output })
    }

    /// What the network is fed with; `channels` of its input, where they are known, tell flow from frames.
    pub fn input(&self, channels: Option<usize>, crops: Option<&str>) -> Result<Input, String> {
        let flow = match self.keys.iter().find(|(key, _)| key == "of") {
            Some((_, of)) if of == "flow" => true,
            Some((_, of)) if of == "frames" => false,
            Some((_, of)) => return Err(format!("of={of}: should be frames or flow")),
            None => channels.is_some_and(|c| c % 2 == 0 && !self.preset.is_sound()),
        };
        if flow && self.preset.is_sound() {
            return Err(format!("of=flow: {} takes sound", self.preset.name()));
        }
        let mut input = self.preset.input(flow);
        if let (false, Some(crops)) = (input.is_sound(), crops) {
            input.set("crops", crops)?;
        }
        if let (Input::Flow(stacks), Some(channels)) = (&mut input, channels)
            && channels % 2 == 0
        {
            stacks.depth = channels / 2;
        }
        for (key, value) in self.keys.iter().filter(|(key, _)| key != "of") {
            input.set(key, value)?;
        }
        Ok(input)
    }
}

/// A name becomes a part of file names, `CLIP_NAME.npy`; an underscore would make it ambiguous where the clip's name ends.
fn check_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if name.is_empty() || name.len() > 40 || !name.chars().all(plain) {
        return Err(format!("the name {:?} should be letters, digits and '-' only, such as rgb", shortened(name, 100)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_a_name_a_preset_keys_a_file_and_an_output() {
        let spec = NetSpec::parse("rgb=imagenet,mean=127,std=128:models/a:b,c=d.onnx#/features/Conv_0:0").unwrap();
        assert_eq!((spec.name.as_str(), spec.preset), ("rgb", Preset::Imagenet));
        assert_eq!(spec.keys, [("mean".into(), "127".into()), ("std".into(), "128".into())]);
        assert_eq!(spec.file, PathBuf::from("models/a:b,c=d.onnx"));
        assert_eq!(spec.output.as_deref(), Some("/features/Conv_0:0"));
        for bad in [
            "rgb",
            "rgb=imagenet",
            "=imagenet:x",
            "r_gb=imagenet:x",
            "rgb=imagnet:x",
            "rgb=imagenet,mean:x",
            "rgb=imagenet:",
            "rgb=imagenet:x#",
        ] {
            assert!(NetSpec::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn channels_tell_flow_from_frames() {
        let spec = NetSpec::parse("flow=tsn-bninception:x.onnx").unwrap();
        assert!(matches!(spec.input(Some(3), None), Ok(Input::Frames(_))));
        let Ok(Input::Flow(stacks)) = spec.input(Some(20), Some("10")) else { panic!() };
        assert_eq!((stacks.depth, stacks.crops.count()), (10, 10));
        assert!(NetSpec::parse("a=vggish,of=flow:x").unwrap().input(None, None).is_err());
    }
}
