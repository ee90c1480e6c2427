//! Front ends, preprocessing and flow against torchvggish, HTK, OpenCV and Pillow (../shared/extract/fixtures).

use super::shared;
use compute::audio::htk::{self, Htk};
use compute::audio::mel::{self, LogMel};
use compute::audio::vggish::{Quantise, quantise};
use compute::flow::quantise::{Rounding, quantise as levels};
use compute::flow::tvl1::TvL1;
use compute::vision::crops::{Crops, Table, table, write_plane};
use compute::vision::image::Image;
use compute::vision::pil;
use compute::vision::resize::resize;
use std::path::PathBuf;

struct Fixtures(PathBuf);

impl Fixtures {
    fn here() -> Option<Fixtures> {
        shared().map(|dir| Fixtures(dir.join("fixtures")))
    }

    fn numbers<T, const N: usize>(&self, name: &str, of: fn([u8; N]) -> T) -> Vec<T> {
        let bytes = std::fs::read(self.0.join(format!("{name}.npy"))).unwrap();
        let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        bytes[start..].chunks_exact(N).map(|b| of(b.try_into().unwrap())).collect()
    }

    fn f32(&self, name: &str) -> Vec<f32> {
        self.numbers(name, f32::from_le_bytes)
    }

    fn f64(&self, name: &str) -> Vec<f64> {
        self.numbers(name, f64::from_le_bytes)
    }

    fn u8(&self, name: &str) -> Vec<u8> {
        self.numbers(name, |[b]: [u8; 1]| b)
    }

    fn wav(&self, name: &str) -> Vec<i16> {
        let bytes = std::fs::read(self.0.join(format!("{name}.wav"))).unwrap();
        bytes[44..].chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect()
    }

    fn json(&self, name: &str) -> serde_json::Value {
        serde_json::from_str(&std::fs::read_to_string(self.0.join(name)).unwrap()).unwrap()
    }

    /// The test image, blue first or red first.
    fn image(&self, blue_first: bool) -> Image {
        let mut data = self.u8("test_rgb_480x360");
        if blue_first {
            data.chunks_exact_mut(3).for_each(|p| p.swap(0, 2));
        }
        Image { width: 480, height: 360, channels: 3, data }
    }
}

fn apart<T: Copy + Into<f64>>(ours: &[T], theirs: &[T]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    ours.iter().zip(theirs).map(|(&a, &b)| (a.into() - b.into()).abs()).fold(0.0, f64::max)
}

#[test]
fn log_mels_are_torchvggishs() {
    let Some(fixtures) = Fixtures::here() else { return };
    assert!(apart(&mel::mel_matrix(), &fixtures.f64("vggish_mel_matrix")) < 1e-12);
    let mut front = LogMel::new(0.01);
    for name in ["chirp_16k", "silence_16k"] {
        let samples = fixtures.wav(name);
        let ours = front.log_mel(&samples, 0, LogMel::frames(samples.len()));
        assert!(apart(&ours, &fixtures.f64(&format!("vggish_logmel_{name}"))) < 1e-9, "{name}");
        let ours: Vec<f32> =
            (0..LogMel::patches(samples.len(), 96)).flat_map(|i| front.patch(&samples, i, 96)).collect();
        assert!(apart(&ours, &fixtures.f32(&format!("vggish_patches_{name}"))) < 1e-4, "{name}");
    }
    // As ffmpeg resampled it, which is what extraction starts from.
    for name in ["chirp_44k1", "chirp_44k1_stereo"] {
        let samples: Vec<i16> = fixtures.numbers(&format!("ffmpeg_{name}_16k_s16"), i16::from_le_bytes);
        let ours: Vec<f32> =
            (0..LogMel::patches(samples.len(), 96)).flat_map(|i| front.patch(&samples, i, 96)).collect();
        assert!(apart(&ours, &fixtures.f32(&format!("vggish_patches_{name}_ffmpeg"))) < 1e-4, "{name}");
    }
}

#[test]
fn rows_are_as_many_as_the_references_at_all_lengths() {
    let Some(fixtures) = Fixtures::here() else { return };
    let meta = fixtures.json("audio_meta.json");
    for (seconds, rows) in meta["rows_by_length"].as_object().unwrap().iter().filter(|(_, r)| r["samples"].is_u64()) {
        let number = |key: &str| rows[key].as_u64().unwrap() as usize;
        let samples = number("samples");
        assert_eq!(LogMel::frames(samples), number("frames"), "{seconds}");
        assert_eq!(LogMel::patches(samples, 96), number("vggish_patches"), "{seconds}");
        assert_eq!(Htk::frames(samples), number("htk_frames"), "{seconds}");
        assert_eq!(htk::patches(Htk::frames(samples)), number("aenet_patches"), "{seconds}");
    }
}

#[test]
fn filter_banks_are_hcopys() {
    let Some(fixtures) = Fixtures::here() else { return };
    assert!(apart(&htk::filter_bank(), &fixtures.f64("aenet_htk_filterbank_49")) < 1e-12);
    for (kind, normalise) in [("default", true), ("noenorm", false)] {
        for name in ["chirp_16k", "chirp_16k_0.5s", "silence_16k", "chirp_16k_12.0s"] {
            if (kind, name) == ("noenorm", "chirp_16k_12.0s") {
                continue;
            }
            let ours = Htk::new(normalise).features(&fixtures.wav(name));
            assert!(apart(&ours, &fixtures.f32(&format!("aenet_hcopy_{kind}_{name}"))) < 2e-4, "{kind} {name}");
            if name != "silence_16k" {
                let count = htk::patches(ours.len() / htk::WIDTH);
                let patches: Vec<f32> = (0..count).flat_map(|i| htk::patch(&ours, i, None)).collect();
                assert!(
                    apart(&patches, &fixtures.f32(&format!("aenet_patches_{kind}_{name}"))) < 2e-4,
                    "{kind} {name}"
                );
            }
        }
    }
}

#[test]
fn quantised_embeddings_are_googles_and_torchvggishs() {
    let Some(fixtures) = Fixtures::here() else { return };
    let clipped = fixtures.f64("vggish_pca_clipped");
    assert_eq!(quantise(&clipped, Quantise::Truncate), fixtures.u8("vggish_u8_truncated_google"));
    assert_eq!(quantise(&clipped, Quantise::Round), fixtures.u8("vggish_u8_rounded_torchvggish"));
}

#[test]
fn resized_images_are_opencvs_and_pillows_bit_for_bit() {
    let Some(fixtures) = Fixtures::here() else { return };
    assert!(resize(&fixtures.image(true), 340, 256).data == fixtures.u8("tsn_caffe_bgr_340x256"));
    assert!(pil::resize(&fixtures.image(false), 341, 256).data == fixtures.u8("tsn_pytorch_rgb_short256"));
}

#[test]
fn normalised_crops_are_tsn_pytorchs_and_mmactions() {
    let Some(fixtures) = Fixtures::here() else { return };
    let tables: Vec<Table> =
        [(123.675, 58.395), (116.28, 57.12), (103.53, 57.375)].iter().map(|&(mean, std)| table(mean, std)).collect();
    let cases = [
        ("tsn_pytorch_centre", pil::resize(&fixtures.image(false), 341, 256)),
        ("mmaction_centre", resize(&fixtures.image(false), 341, 256)),
    ];
    for (name, image) in cases {
        let crop = Crops::One.places(341, 256, 224)[0];
        let mut ours = vec![0.0; 3 * 224 * 224];
        for (c, out) in ours.chunks_exact_mut(224 * 224).enumerate() {
            write_plane(&image, c, crop, 224, &tables[c], false, out);
        }
        assert!(apart(&ours, &fixtures.f32(name)) < 1e-5, "{name}");
    }
}

/// An array of an .npz file whose members are stored or deflated.
fn npz(fixtures: &Fixtures, name: &str) -> Option<Vec<i16>> {
    let path = fixtures.0.join(format!("{name}.npz"));
    let out = std::process::Command::new("python3")
        .args(["-c", "import sys, zipfile; sys.stdout.buffer.write(zipfile.ZipFile(sys.argv[1]).read('x.npy'))"])
        .arg(path)
        .output()
        .ok()
        .filter(|o| o.status.success())?;
    let start = 10 + usize::from(u16::from_le_bytes([out.stdout[8], out.stdout[9]]));
    Some(out.stdout[start..].chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect())
}

#[test]
fn ten_crops_of_frames_and_of_flow_are_tsns() {
    let Some(fixtures) = Fixtures::here() else { return };
    let (Some(frames), Some(flow)) = (npz(&fixtures, "tsn_caffe_10crop"), npz(&fixtures, "tsn_caffe_flow_10crop"))
    else {
        crate::support::require::found("python3", None::<()>);
        return;
    };
    let plane = 224 * 224;
    let image = resize(&fixtures.image(true), 340, 256);
    let crops = Crops::Ten.places(340, 256, 224);
    let mut ours = vec![0.0; plane];
    for (n, &crop) in crops.iter().enumerate() {
        for (c, mean) in [104.0, 117.0, 123.0].into_iter().enumerate() {
            write_plane(&image, c, crop, 224, &table(mean, 1.0), false, &mut ours);
            let theirs = &frames[(n * 3 + c) * plane..][..plane];
            assert!(ours.iter().zip(theirs).all(|(&a, &b)| a == f32::from(b)), "crop {n}, channel {c}");
        }
    }
    let images = fixtures.u8("flow_tvl1_u8_round_denseflow");
    let size = 256 * 340;
    for (n, &crop) in crops.iter().enumerate() {
        for field in 0..5 {
            for axis in 0..2 {
                let data = images[field * size * 2..][..size * 2].iter().skip(axis).step_by(2).copied().collect();
                let image = Image { width: 340, height: 256, channels: 1, data };
                write_plane(&image, 0, crop, 224, &table(128.0, 1.0), crop.mirrored && axis == 0, &mut ours);
                let theirs = &flow[(n * 10 + field * 2 + axis) * plane..][..plane];
                assert!(
                    ours.iter().zip(theirs).all(|(&a, &b)| a == f32::from(b)),
                    "crop {n}, field {field}, axis {axis}"
                );
            }
        }
    }
}

/// Mean end-point error of a field, and the share of quantised values that are equal.
fn compare(fixtures: &Fixtures, pair: usize, field: &compute::flow::Field) -> (f64, f64) {
    let size = 256 * 340;
    let theirs = &fixtures.f32("flow_tvl1")[pair * size * 2..][..size * 2];
    let error =
        (0..size).map(|i| f64::from((field.x[i] - theirs[2 * i]).hypot(field.y[i] - theirs[2 * i + 1]))).sum::<f64>();
    let images = &fixtures.u8("flow_tvl1_u8_round_denseflow")[pair * size * 2..][..size * 2];
    let (x, y) = (levels(&field.x, 20.0, Rounding::Nearest), levels(&field.y, 20.0, Rounding::Nearest));
    let equal =
        (0..size).map(|i| usize::from(x[i] == images[2 * i]) + usize::from(y[i] == images[2 * i + 1])).sum::<usize>();
    (error / size as f64, equal as f64 / (2 * size) as f64)
}

fn frame(fixtures: &Fixtures, n: usize) -> Image {
    let size = 256 * 340;
    let data = fixtures.u8("flow_grey_frames")[n * size..][..size].to_vec();
    Image { width: 340, height: 256, channels: 1, data }
}

#[test]
fn tvl1_flow_is_opencvs_within_a_tenth_of_a_pixel() {
    let Some(fixtures) = Fixtures::here() else { return };
    for pair in 0..5 {
        let field = TvL1::default().flow(&frame(&fixtures, pair), &frame(&fixtures, pair + 1));
        let (error, equal) = compare(&fixtures, pair, &field);
        assert!(error < 0.1 && equal >= 0.95, "pair {pair}: error {error}, equal {equal}");
    }
}

#[test]
fn dense_inverse_search_is_about_as_near_to_tvl1_as_opencvs() {
    let Some(fixtures) = Fixtures::here() else { return };
    let field = compute::flow::dis::flow(&frame(&fixtures, 0), &frame(&fixtures, 1));
    let (ours, _) = compare(&fixtures, 0, &field);
    let theirs = fixtures.f32("flow_dis_medium");
    let half = |axis: usize| theirs.iter().skip(axis).step_by(2).copied().collect();
    let opencvs = compute::flow::Field { width: 340, height: 256, x: half(0), y: half(1) };
    let (theirs, _) = compare(&fixtures, 0, &opencvs);
    assert!(ours < 1.5 * theirs, "{ours} {theirs}");
}

#[test]
fn quantised_flow_is_denseflows_and_mmactions() {
    let Some(fixtures) = Fixtures::here() else { return };
    let flow = fixtures.f32("flow_tvl1");
    assert!(levels(&flow, 20.0, Rounding::Nearest) == fixtures.u8("flow_tvl1_u8_round_denseflow"));
    assert!(levels(&flow, 20.0, Rounding::Down) == fixtures.u8("flow_tvl1_u8_trunc_mmaction"));
}
