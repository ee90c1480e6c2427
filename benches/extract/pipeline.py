"""What `unmute extract` does, as one would write it in Python: ffmpeg, numpy, OpenCV (or Pillow), onnxruntime.

    pip install numpy opencv-python-headless pillow onnxruntime
    python pipeline.py VIDEOS OUT --rgb effnet.onnx --sound yamnet.onnx [--filter cv2|pil] [--workers N]

Frames at 6 a second, the shorter side 256, the centre 224, (x - 127) / 128; log-mel patches of YAMNet. It serves as the
reference that features are compared with, and as the clock that ours is timed against.
"""
import argparse
import json
import multiprocessing
import pathlib
import resource
import subprocess
import time

import numpy as np

RATE, WINDOW, HOP, FFT = 16000, 400, 160, 512


def mel_matrix():
    mel = lambda hz: 1127.0 * np.log1p(hz / 700.0)
    bins = mel(np.linspace(0.0, RATE / 2, FFT // 2 + 1))
    edges = np.linspace(mel(125.0), mel(7500.0), 66)
    weights = np.zeros((FFT // 2 + 1, 64))
    for band in range(64):
        low, centre, high = edges[band : band + 3]
        weights[:, band] = np.maximum(0.0, np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre)))
    weights[0] = 0.0
    return weights


MEL = mel_matrix()
HANN = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)


def patches(samples, offset, hop):
    samples = samples / 32768.0
    samples = np.pad(samples, (0, max(0, 15600 - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP] * HANN
    log_mel = np.log(np.abs(np.fft.rfft(frames, FFT)) @ MEL + offset)
    starts = range(0, len(log_mel) - 95, hop)
    return np.stack([log_mel[s : s + 96] for s in starts])[:, None].astype(np.float32)


def ffmpeg(path, *args):
    call = ["ffmpeg", "-nostdin", "-v", "error", "-threads", "1", "-i", f"file:{path}", *args, "-"]
    return subprocess.run(call, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def probe(path):
    call = ["ffprobe", "-v", "error", "-show_streams", "-of", "json", f"file:{path}"]
    out = subprocess.run(call, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return json.loads(out.stdout).get("streams", []) if out.returncode == 0 else []


def centre(frame, how):
    height, width = frame.shape[:2]
    scale = 256 / min(height, width)
    if how == "cv2":
        import cv2

        cv2.setNumThreads(1)
        size = (256, int(height * scale + 0.5)) if width <= height else (int(width * scale + 0.5), 256)
        frame = cv2.resize(frame, size)[:, :, ::-1]
    else:
        from PIL import Image

        size = (256, int(256 * height / width)) if width <= height else (int(256 * width / height), 256)
        frame = np.asarray(Image.fromarray(frame[:, :, ::-1]).resize(size, Image.BILINEAR))
    top, left = (frame.shape[0] - 224) // 2, (frame.shape[1] - 224) // 2
    crop = frame[top : top + 224, left : left + 224].astype(np.float32)
    return ((crop - 127) / 128).transpose(2, 0, 1)[None]


def start(args):
    global ARGS, RGB, SOUND
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    load = lambda path: onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    ARGS, RGB, SOUND = args, load(args.rgb), load(args.sound)


def run(session, x):
    return session.run(None, {session.get_inputs()[0].name: np.ascontiguousarray(x)})[0]


def extract(path):
    streams = probe(path)
    video = [s for s in streams if s["codec_type"] == "video"]
    if not video:
        return path.stem
    width, height = video[0]["width"], video[0]["height"]
    turned = [abs(int(d.get("rotation", 0))) for d in video[0].get("side_data_list", [])]
    if any(t in (90, 270) for t in turned):
        width, height = height, width
    raw = ffmpeg(path, "-map", "0:V:0", "-vf", "fps=6", "-f", "rawvideo", "-pix_fmt", "bgr24").stdout
    frames = np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)
    rows = [run(RGB, centre(f, ARGS.filter)).reshape(-1) for f in frames]
    np.save(ARGS.out / f"{path.stem}_rgb.npy", np.stack(rows))
    if any(s["codec_type"] == "audio" for s in streams):
        raw = ffmpeg(path, "-map", "0:a:0", "-ac", "1", "-ar", "16000", "-c:a", "pcm_s16le", "-f", "s16le").stdout
        samples = np.frombuffer(raw, np.int16)
        if np.abs(samples.astype(np.int32)).max(initial=0) > 1:
            rows = [run(SOUND, p[None]).reshape(-1) for p in patches(samples, ARGS.offset, ARGS.hop)]
            np.save(ARGS.out / f"{path.stem}_yamnet.npy", np.stack(rows))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("videos", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--rgb", required=True)
    parser.add_argument("--sound", required=True)
    parser.add_argument("--filter", default="cv2")
    parser.add_argument("--offset", type=float, default=0.001)
    parser.add_argument("--hop", type=int, default=48)
    parser.add_argument("--workers", type=int, default=multiprocessing.cpu_count())
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    paths = sorted(p for p in args.videos.rglob("*") if p.is_file())
    began = time.monotonic()
    with multiprocessing.Pool(args.workers, start, (args,)) as pool:
        failed = [f for f in pool.imap_unordered(extract, paths) if f]
        pool.close()
        pool.join()
    wall = time.monotonic() - began
    own, children = (resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    total = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
    print(json.dumps({"clips": len(paths), "failed": sorted(failed), "wall": wall, "processor_seconds": total}))


if __name__ == "__main__":
    main()
