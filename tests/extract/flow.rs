//! Folders of flow images, written and read.

use super::{can_extract, extract, has_ffmpeg, npy, picture, tree, video};
use crate::support::call::Place;

#[test]
fn flow_goes_to_folders_and_comes_back() {
    if !can_extract() {
        return;
    }
    let place = Place::new();
    video(&place.path("videos/a.mp4"), "testsrc2=size=64x48:rate=6:duration=1", None, "");
    video(&place.path("videos/one.mp4"), "testsrc2=size=64x48:rate=6:duration=0.1", None, "-frames:v 1");
    place.call("extract flow videos flow --size 224x224").stderr("one frame only").ends(3);
    assert_eq!(tree(&place.path("flow/a")).len(), 10);
    assert!(place.path("flow/a/flow_x_00001.jpg").exists() && place.path("flow/a/flow_y_00005.jpg").exists());
    std::fs::remove_file(place.path("videos/one.mp4")).unwrap();
    place.call("extract flow videos flow --size 224x224").success();
    place.call("extract flow videos flow --size 224x224 --bound 15").stderr("flow.bound is 20.0 there").fails(1);
    place.call("extract flow videos dis --size 224x224 --method dis --style denseflow").success();
    assert!(place.path("dis/a/flow_x_00000.jpg").exists() && !place.path("dis/a/flow_x_00005.jpg").exists());
    // Computed on the way, and from the folder: the same but for what JPEG loses.
    let size = "resize=224x224";
    extract(&place, &[(&format!("flow=tsn-bninception,{size}"), "flow")]).success();
    let computed = npy(&place.path("features/features/a_flow.npy"));
    std::fs::remove_dir_all(place.path("features")).unwrap();
    extract(&place, &[(&format!("flow=tsn-bninception,by=folder,{size}"), "flow")]).words("--flow flow").success();
    let read = npy(&place.path("features/features/a_flow.npy"));
    assert_eq!(computed.0, [6, 40]);
    assert_eq!(read.0, computed.0);
    let apart = read.1.iter().zip(&computed.1).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let largest = computed.1.iter().map(|x| x.abs()).fold(0.0, f32::max);
    // How strong the flow of a made-up picture is depends on ffmpeg's version, which draws it.
    assert!(apart < 0.5 && apart < 0.5 * largest, "{apart} of {largest}");
    std::fs::remove_dir_all(place.path("features")).unwrap();
    std::fs::remove_file(place.path("dis/a/flow_y_00000.jpg")).unwrap();
    extract(&place, &[(&format!("flow=tsn-bninception,by=folder,{size}"), "flow")])
        .words("--flow dis")
        .stderr("no flow of it")
        .ends(3);
}

#[test]
fn jpegs_are_read_by_others() {
    if !has_ffmpeg() {
        return;
    }
    let place = Place::new();
    let image = compute::vision::image::Image {
        width: 37,
        height: 21,
        channels: 1,
        data: (0..37 * 21).map(|i| (128.0 + 60.0 * (i as f32 * 0.05).sin()) as u8).collect(),
    };
    let path = place.path("x.jpg");
    std::fs::write(&path, compute::vision::jpeg::encode(&image, 95)).unwrap();
    let out = std::process::Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-i"])
        .arg(&path)
        .args(["-f", "rawvideo", "-pix_fmt", "gray", "-"])
        .output()
        .unwrap();
    assert!(out.status.success());
    assert_eq!(out.stdout.len(), image.data.len());
    let apart = out.stdout.iter().zip(&image.data).map(|(&a, &b)| a.abs_diff(b)).max();
    assert!(apart <= Some(4), "{apart:?}");
}

#[test]
fn native_flow_lies_between_neighbouring_frames() {
    if !can_extract() {
        return;
    }
    let place = Place::new();
    video(&place.path("videos/a.mp4"), &picture(0), None, "");
    // Between native frames, half as far apart as the sampled ones, half as much moves.
    extract(&place, &[("native=tsn-bninception,by=dis,pairs=native,resize=224x224", "flow")]).success();
    assert_eq!(npy(&place.path("features/features/a_native.npy")).0, [12, 40]);
}
