#!/usr/bin/env python3
"""The missing-sound study with PyTorch and scikit-learn: a peer to compare unmute's numbers and times with.

It shares no code with unmute and is written the way a user of these libraries would write it. `grid` does the whole
study on a folder of per-clip .npy files and prints the rows of Tables 3 and 4; `heads`, `svm`, `lstm-step` and
`ae-step` do one stage alone, for timing. With `--device cuda` PyTorch's part runs on a GPU, nn.LSTM by cuDNN, with the
features in the GPU's memory where they fit. Tables and JSON go to stdout (the JSON last), progress to stderr.
See README.md beside this file.
"""

import argparse
import contextlib
import csv
import json
import platform
import statistics
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import sklearn
import torch
import torch.nn.functional as F
from joblib import Parallel, delayed
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import Ridge
from sklearn.model_selection import StratifiedKFold
from sklearn.neighbors import KNeighborsRegressor
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from torch import nn

# ---------------------------------------------------------------------------------------------------------------
# times


class Timings:
    """Wall-clock seconds of every visit to a stage. A GPU's work is waited for before a stage and at its end."""

    def __init__(self, device):
        self.device, self.visits = device, defaultdict(list)

    def wait(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    @contextlib.contextmanager
    def stage(self, name):
        self.wait()
        start = time.perf_counter()
        yield
        self.wait()
        self.visits[name].append(time.perf_counter() - start)

    def summary(self):
        return {
            name: {
                "visits": len(seconds),
                "total_s": round(sum(seconds), 6),
                "median_s": round(statistics.median(seconds), 6),
                "min_s": round(min(seconds), 6),
            }
            for name, seconds in self.visits.items()
        }


def environment(device):
    return {
        **gpu(device),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "scikit-learn": sklearn.__version__,
        "numpy": np.__version__,
        "machine": platform.machine(),
        "threads": torch.get_num_threads(),
    }


def gpu(device):
    """The GPU and what was taken of its memory at most: by tensors, and by PyTorch from the driver."""
    if device.type != "cuda":
        return {"device": "cpu"}
    return {
        "device": torch.cuda.get_device_name(device),
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "tf32": torch.backends.cuda.matmul.allow_tf32,
        "peak_allocated_bytes": torch.cuda.max_memory_allocated(device),
        "peak_reserved_bytes": torch.cuda.max_memory_reserved(device),
    }


def open_device(args):
    """The device that PyTorch works on, in full single precision unless --tf32."""
    try:
        device = torch.device(args.device)
    except RuntimeError:
        sys.exit(f"--device {args.device}: should be cpu, cuda or cuda:N")
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            what = "this PyTorch has no CUDA" if torch.version.cuda is None else f"PyTorch sees {count} GPUs"
            sys.exit(f"--device {args.device}: {what}\n  next: --device cpu, or install PyTorch with CUDA (README.md)")
        torch.cuda.set_device(device)
        torch.cuda.reset_peak_memory_stats(device)
    torch.backends.cuda.matmul.allow_tf32 = args.tf32
    torch.backends.cudnn.allow_tf32 = args.tf32
    return device


def place(array, device):
    """An array as a tensor: on the device where it takes at most four fifths of the free memory, else pinned on the host."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    if device.type == "cpu":
        return tensor
    free, _ = torch.cuda.mem_get_info(device)
    if tensor.nbytes <= 0.8 * free:
        return tensor.to(device)
    progress(f"{tensor.nbytes / 2**30:.1f} GiB do not fit into {free / 2**30:.1f} GiB of {device}: batches are copied")
    return tensor.pin_memory()


def rows(tensor, index, device):
    """Rows of a tensor that may be on the host, on the device."""
    if tensor.device == index.device:
        return tensor[index]
    return tensor[index.cpu()].to(device, non_blocking=True)


def progress(message):
    print(message, file=sys.stderr, flush=True)


# ---------------------------------------------------------------------------------------------------------------
# data


def resample(rows, count):
    """`count` rows at the centres of as many equal segments; a short sequence repeats rows."""
    index = np.floor((np.arange(count) + 0.5) * len(rows) / count).astype(int)
    return rows[index]


def safetensor(path):
    """The one array of a .safetensors file."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    (about,) = header.values()
    kind = {"F32": np.float32, "F16": np.float16}[about["dtype"]]
    return np.memmap(path, kind, "r", 8 + length + about["data_offsets"][0], tuple(about["shape"]))


class Clips:
    """Features of one folder: rgb and flow (N, T, D), audio (N, rows * D) and the labels; `train` and `val` index
    the clips of a split; `sounded` is the simulated availability of sound. The folder has per-clip .npy files, or is a
    data set of unmute's in which every clip has sound."""

    def __init__(self, folder, frames, audio_stream, audio_rows, missing, missing_seed):
        folder = Path(folder)
        with open(folder / "clips.csv", newline="") as file:
            table = list(csv.DictReader(file))

        def stream(name, rows):
            if (folder / f"{name}.safetensors").exists():
                return safetensor(folder / f"{name}.safetensors").astype(np.float32)
            return np.stack(
                [resample(np.load(folder / "features" / f"{row['clip']}_{name}.npy"), rows) for row in table]
            ).astype(np.float32)

        self.classes = sorted({row["label"] for row in table})
        self.labels = np.array([self.classes.index(row["label"]) for row in table])
        rgb = stream("rgb", frames)
        flow = stream("flow", frames)
        split = np.array([row["split"] for row in table])
        self.train, self.val = np.flatnonzero(split == "train"), np.flatnonzero(split == "val")

        rng = np.random.default_rng(missing_seed)
        self.sounded = np.ones(len(table), dtype=bool)
        for part in (self.train, self.val):
            silent = rng.choice(part, size=round(missing * len(part)), replace=False)
            self.sounded[silent] = False
        self.heard = self.train[self.sounded[self.train]]  # what generators and SVMs are trained on

        # inputs with the statistics of all train frames, audio with those of sounded train clips
        vision = np.concatenate([rgb, flow], axis=2)
        width, d_rgb = vision.shape[2], rgb.shape[2]
        del rgb, flow
        scaler = StandardScaler().fit(vision[self.train].reshape(-1, width))
        self.vision = scaler.transform(vision.reshape(-1, width), copy=False).reshape(vision.shape)
        self.streams = {"rgb": slice(None, d_rgb), "flow": slice(d_rgb, None)}
        self.stream, self.audio_rows = stream, audio_rows
        self.listen(audio_stream)

    def listen(self, name):
        """Takes another audio stream."""
        self.audio = self.stream(name, self.audio_rows).reshape(len(self.labels), -1)
        if len(self.audio) != len(self.labels):
            sys.exit(f"{name}: {len(self.audio)} rows for {len(self.labels)} clips; make the data with --sounded")
        self.audio_scaler = StandardScaler().fit(self.audio[self.heard])
        self.target = self.audio_scaler.transform(self.audio).astype(np.float32)

    def to(self, device):
        """Features and labels as tensors, once for all trainings."""
        if not hasattr(self, "tensors"):
            self.tensors = {"vision": place(self.vision, device), "labels": torch.from_numpy(self.labels).to(device)}
        if self.tensors.get("name") is not self.target:
            self.tensors.update(name=self.target, target=place(self.target, device))
        return self.tensors["vision"], self.tensors["target"], self.tensors["labels"]


def top_k(probabilities, labels, k):
    """Percent of rows whose label is among the k best; a row without scores (all zero) is wrong."""
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    right = (best == labels[:, None]).any(axis=1) & probabilities.any(axis=1)
    return 100.0 * right.mean()


# ---------------------------------------------------------------------------------------------------------------
# generators


class LstmGenerator(nn.Module):
    def __init__(self, width, hidden, audio, classes):
        super().__init__()
        self.lstm = nn.LSTM(width, hidden, batch_first=True)
        self.classify = nn.Linear(hidden, classes)
        self.reconstruct = nn.Linear(hidden, audio)

    def forward(self, frames):
        _, (last, _) = self.lstm(frames)
        return self.classify(last[0]), self.reconstruct(last[0])

    def draw(self, clips):
        return clips

    def at_test(self, clips):
        return clips


class AutoencoderGenerator(nn.Module):
    def __init__(self, width, widths, audio, classes):
        super().__init__()
        first, latent, last = widths
        self.encoder = nn.Sequential(nn.Linear(width, first), nn.ReLU(), nn.Linear(first, latent), nn.ReLU())
        self.decoder = nn.Sequential(nn.Linear(latent, last), nn.ReLU())
        self.classify = nn.Linear(latent, classes)
        self.reconstruct = nn.Linear(last, audio)

    def forward(self, frame):
        latent = self.encoder(frame)
        return self.classify(latent), self.reconstruct(self.decoder(latent))

    def draw(self, clips):
        """A fresh random frame of each clip."""
        frames = torch.randint(clips.shape[1], (len(clips),), device=clips.device)
        return clips[torch.arange(len(clips), device=clips.device), frames]

    def at_test(self, clips):
        return clips[:, clips.shape[1] // 2]


def make_generator(kind, width, args, audio, classes):
    if kind == "lstm":
        return LstmGenerator(width, args.hidden, audio, classes)
    return AutoencoderGenerator(width, args.ae_widths, audio, classes)


def train_forward(model, x, args):
    """Logits and features for a step; with `--precision bf16` an LSTM runs as autocast has it, products of bfloat16 numbers."""
    rounded = args.precision == "bf16" and isinstance(model, LstmGenerator)
    with torch.autocast(x.device.type, torch.bfloat16, enabled=rounded):
        logits, r = model(x)
    return logits.float(), r.float()


def generator_loss(logits, r, labels, target, loss, classifier):
    if loss == "l2":
        value = F.mse_loss(r, target)
    else:
        value = F.kl_div(
            F.log_softmax(r, dim=1), F.log_softmax(target, dim=1), reduction="batchmean", log_target=True
        )
    return value + F.cross_entropy(logits, labels) if classifier else value


def predict(model, clips, device):
    """Logits and features of the val clips."""
    vision, _, _ = clips.to(device)
    val = torch.from_numpy(clips.val).to(device)
    model.eval()
    with torch.no_grad():
        # all at once where they are few
        parts = [model(model.at_test(rows(vision, part, device))) for part in val.split(10_000)]
    return [torch.cat(part) for part in zip(*parts)]


def measure(model, clips, loss, classifier, device):
    """Losses and feature error on sounded val clips, accuracy of the classifier branch on all."""
    _, target, labels = clips.to(device)
    val = torch.from_numpy(clips.val).to(device)
    sounded = torch.from_numpy(clips.sounded[clips.val]).to(device)
    logits, r = predict(model, clips, device)
    target = rows(target, val, device)
    with torch.no_grad():
        loss = generator_loss(logits[sounded], r[sounded], labels[val][sounded], target[sounded], loss, classifier)
        accuracy = (logits.argmax(dim=1) == labels[val]).float().mean()
        error = F.mse_loss(r[sounded], target[sounded])
    return float(loss), float(accuracy), float(error)


def train_generator(clips, kind, loss, classifier, seed, args, timings):
    """Generated (standardised) audio features of the val clips, and what is measured on them after every epoch."""
    torch.manual_seed(seed)
    device = timings.device
    vision, target, labels = clips.to(device)
    heard = torch.from_numpy(clips.heard).to(device)
    model = make_generator(kind, vision.shape[2], args, target.shape[1], len(clips.classes)).to(device)
    optimiser = torch.optim.Adam(model.parameters(), lr=args.lr)
    curve = []
    for _ in range(args.epochs):
        with timings.stage(f"epoch {kind}"):
            model.train()
            for batch in heard[torch.randperm(len(heard), device=device)].split(args.batch):
                optimiser.zero_grad()
                logits, r = train_forward(model, model.draw(rows(vision, batch, device)), args)
                generator_loss(logits, r, labels[batch], rows(target, batch, device), loss, classifier).backward()
                optimiser.step()
            with timings.stage("val measures"):
                curve.append(measure(model, clips, loss, classifier, device))
    _, r = predict(model, clips, device)
    return r.cpu().numpy(), curve


def control_features(clips, kind):
    """Standardised audio features of the val clips by a method without training in PyTorch."""
    mean_frame = clips.vision.mean(axis=1)
    x, y, query = mean_frame[clips.heard], clips.target[clips.heard], mean_frame[clips.val]
    if kind == "zero":
        return clips.audio_scaler.transform(np.zeros((len(query), y.shape[1])))
    if kind == "mean":
        return np.zeros((len(query), y.shape[1]))
    if kind == "ridge":
        return Ridge(alpha=100.0).fit(x, y).predict(query)
    if kind == "knn":
        return KNeighborsRegressor(n_neighbors=5).fit(x, y).predict(query)
    assert kind == "oracle"
    return clips.target[clips.val]


def feature_error(clips, generated):
    """On silent val clips, against the audio that was hidden: mean squared error and R^2 of the standardised
    features (pooled over dimensions), mean cosine similarity of the raw ones."""
    silent = ~clips.sounded[clips.val]
    got, true = generated[silent], clips.target[clips.val][silent]
    raw_got, raw_true = clips.audio_scaler.inverse_transform(got), clips.audio[clips.val][silent]
    norms = np.linalg.norm(raw_got, axis=1) * np.linalg.norm(raw_true, axis=1)
    return {
        "mse": float(((got - true) ** 2).mean()),
        "r2": float(1.0 - ((got - true) ** 2).sum() / ((true - true.mean(axis=0)) ** 2).sum()),
        "cosine": float(((raw_got * raw_true).sum(axis=1) / np.maximum(norms, 1e-12)).mean()),
    }


# ---------------------------------------------------------------------------------------------------------------
# classifiers


def svm_bank(x, labels, c, jobs):
    """One-vs-rest linear SVMs with Platt's sigmoid fitted on 3-fold cross-validated decision values; probabilities
    of a clip normalised to sum 1."""
    svm = LinearSVC(C=c, loss="squared_hinge", dual=False, intercept_scaling=1.0, max_iter=10_000)
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    return CalibratedClassifierCV(svm, method="sigmoid", cv=folds, ensemble=False, n_jobs=jobs).fit(x, labels)


def train_head(clips, name, seed, args, device):
    """A linear layer on every frame of a stream, logits averaged over frames; class probabilities of the val clips."""
    torch.manual_seed(seed)
    vision, _, y = clips.to(device)
    x = vision[:, :, clips.streams[name]]
    head = nn.Linear(x.shape[2], len(clips.classes)).to(device)
    optimiser = torch.optim.Adam(head.parameters(), lr=args.head_lr, weight_decay=args.head_weight_decay)
    train, val = torch.from_numpy(clips.train).to(device), torch.from_numpy(clips.val).to(device)
    for _ in range(args.head_epochs):
        for batch in train[torch.randperm(len(train), device=device)].split(args.batch):
            optimiser.zero_grad()
            F.cross_entropy(head(rows(x, batch, device)).mean(dim=1), y[batch]).backward()
            optimiser.step()
    with torch.no_grad():
        return head(rows(x, val, device)).mean(dim=1).softmax(dim=1).cpu().numpy()


# ---------------------------------------------------------------------------------------------------------------
# subcommands


def load(args):
    return Clips(args.data, args.frames, args.audio.split(",")[0], args.audio_rows, args.missing, args.missing_seed)


def run_grid(args, timings):
    """The study for each audio stream; the heads of the visual ones are trained once."""
    with timings.stage("load"):
        clips = load(args)
    with timings.stage("upload"):
        clips.to(timings.device)
    heads = {}
    for seed in range(args.seeds):
        for name in ["rgb", "flow"] if args.cells is None else []:
            with timings.stage(f"head {name}"):
                heads.setdefault(name, []).append(train_head(clips, name, seed, args, timings.device))
    results = {}
    for number, audio in enumerate(args.audio.split(",")):
        if number > 0:
            with timings.stage("load"):
                clips.listen(audio)
        results[audio] = run_study(clips, audio, heads, args, timings)
    return results if len(results) > 1 else next(iter(results.values()))


def time_parts(clips, cells, args, timings):
    """The study's costs without its tables: controls, some cells, some classes of the bank."""
    if args.svm_timed:
        x, labels = clips.target[clips.heard], clips.labels[clips.heard]
        settings = argparse.Namespace(svm_c=args.svm_c, tol=1e-4, calibrated=True)
        with timings.stage("svm bank"), Parallel(n_jobs=args.jobs) as parallel:
            parallel(delayed(fit_class)(x, labels, k, settings) for k in range(args.svm_timed))
    for kind in ["zero", "mean", "ridge", "knn", "oracle"] if args.cells is None else []:
        with timings.stage(f"control {kind}"):
            control_features(clips, kind)
    for seed in range(args.seeds):
        for kind, loss, classifier in cells:
            with timings.stage(f"train {kind}"):
                train_generator(clips, kind, loss, classifier, seed, args, timings)


def run_study(clips, audio, heads, args, timings):
    labels, sounded = clips.labels[clips.val], clips.sounded[clips.val]
    progress(
        f"{len(clips.train)} train ({len(clips.heard)} sounded), {len(clips.val)} val ({sounded.sum()} sounded), "
        f"{len(clips.classes)} classes"
    )
    cells = [
        (kind, loss, classifier)
        for kind in ["lstm", "autoencoder"]
        for loss in ["l2", "kl"]
        for classifier in [True, False]
        if args.cells is None or f"{kind}/{loss}/{'with' if classifier else 'without'}" in args.cells
    ]
    if args.svm_timed or args.cells is not None:
        time_parts(clips, cells, args, timings)
        return {}
    with timings.stage("svm bank"):
        bank = svm_bank(clips.target[clips.heard], clips.labels[clips.heard], args.svm_c, args.jobs)
    with timings.stage("svm scores"):
        real = bank.predict_proba(clips.target[clips.val])
    baseline = real * sounded[:, None]

    def audio_scores(generated):
        """Sounded clips by their real feature, silent ones by the generated one."""
        with timings.stage("svm scores"):
            return np.where(sounded[:, None], real, bank.predict_proba(generated))

    # scores[row] is a list over seeds of (n_val, classes) probabilities
    scores, errors, curves = defaultdict(list, heads), defaultdict(list), defaultdict(list)
    scores["baseline"] = [baseline]
    for kind in ["zero", "mean", "ridge", "knn", "oracle"]:
        with timings.stage(f"control {kind}"):
            generated = control_features(clips, kind)
        scores[kind] = [audio_scores(generated)]
        errors[kind] = [feature_error(clips, generated)]
    for seed in range(args.seeds):
        for kind, loss, classifier in cells:
            row = f"{kind} {loss} {'with' if classifier else 'without'}"
            with timings.stage(f"train {kind}"):
                generated, curve = train_generator(clips, kind, loss, classifier, seed, args, timings)
            curves[row].append(curve)
            scores[row].append(audio_scores(generated))
            errors[row].append(feature_error(clips, generated))
        progress(f"seed {seed} done")

    results = {}

    def line(table, name, *streams):
        """One row: the streams' probabilities added, seed by seed; mean and deviation over seeds."""
        values = []
        for seed in range(args.seeds):
            total = sum(scores[s][seed % len(scores[s])] for s in streams)
            silent = total[~sounded], labels[~sounded]
            values.append((top_k(total, labels, 1), top_k(total, labels, 5), top_k(*silent, 1), top_k(*silent, 5)))
        values = np.array(values)
        mean, sd = values.mean(axis=0), values.std(axis=0, ddof=1) if args.seeds > 1 else np.zeros(4)
        error = {}
        if len(streams) == 1 and streams[0] in errors:
            error = {key: float(np.mean([e[key] for e in errors[streams[0]]])) for key in ["mse", "r2", "cosine"]}
        keys = ["top1", "top5", "top1_silent", "top5_silent"]
        results.setdefault(table, {})[name] = {
            **{key: round(float(m), 4) for key, m in zip(keys, mean)},
            "top1_sd": round(float(sd[0]), 4),
            "top5_sd": round(float(sd[1]), 4),
            **{key: round(value, 5) for key, value in error.items()},
        }
        print(
            f"{name:<34} {mean[0]:6.2f} ±{sd[0]:5.2f} {mean[1]:7.2f} ±{sd[1]:5.2f} {mean[2]:8.2f} {mean[3]:7.2f}"
            + (f" {error['mse']:8.3f} {error['r2']:7.3f} {error['cosine']:7.3f}" if error else "")
        )

    def header(title):
        print(
            f"{title:<34} {'top-1':>6}  {'sd':>5} {'top-5':>7}  {'sd':>5} {'silent 1':>8} {'5':>7} "
            f"{'mse':>8} {'R2':>7} {'cosine':>7}"
        )

    header(f"Table 3: {audio} alone")
    line("table3", "without generation (baseline)", "baseline")
    for kind, loss, classifier in cells:
        row = f"{kind} {loss} {'with' if classifier else 'without'}"
        line("table3", row, row)
    for kind in ["zero", "mean", "ridge", "knn", "oracle"]:
        line("table3", f"control: {kind}", kind)

    def best(kind):
        rows = [row for row in results["table3"] if row.startswith(kind)]
        return max(rows, key=lambda row: results["table3"][row]["top1"])

    lstm, ae = best("lstm"), best("autoencoder")
    print(f"\nGen-LSTM is '{lstm}', Gen-AE is '{ae}': the best of Table 3 by top-1")
    header("Table 4: fusions")
    line("table4", "RGB", "rgb")
    line("table4", "Flow", "flow")
    line("table4", "RGB + Flow", "rgb", "flow")
    for prefix, streams in [("RGB", ["rgb"]), ("fusion", ["rgb", "flow"])]:
        line("table4", f"{prefix} + {audio}", *streams, "baseline")
        line("table4", f"{prefix} + {audio} (Gen-LSTM)", *streams, lstm)
        line("table4", f"{prefix} + {audio} (Gen-AE)", *streams, ae)
        line("table4", f"{prefix} + {audio} (oracle)", *streams, "oracle")
    print()
    return results


def run_heads(args, timings):
    with timings.stage("load"):
        clips = load(args)
    labels, results = clips.labels[clips.val], {}
    for seed in range(args.seeds):
        total = 0.0
        for name in ["rgb", "flow"]:
            with timings.stage(f"head {name}"):
                p = train_head(clips, name, seed, args, timings.device)
            total = total + p
            results.setdefault(name, []).append(round(top_k(p, labels, 1), 3))
        results.setdefault("rgb + flow", []).append(round(top_k(total, labels, 1), 3))
    return results


def run_svm(args, timings):
    """The bank alone, on a data folder or on made-up clips."""
    if args.data:
        clips = load(args)
        x, labels = clips.target[clips.heard], clips.labels[clips.heard]
    else:
        rng = np.random.default_rng(0)
        labels = np.arange(args.clips) % args.classes
        centres = rng.standard_normal((args.classes, args.audio_dims)) * 0.3
        x = (centres[labels] + rng.standard_normal((args.clips, args.audio_dims))).astype(np.float32)
        x = StandardScaler().fit_transform(x)
    for _ in range(args.repeat):
        with timings.stage("svm bank"):
            bank = svm_bank(x, labels, args.svm_c, args.jobs)
    with timings.stage("svm scores"):
        p = bank.predict_proba(x)
    return {"clips": len(x), "dims": x.shape[1], "train_top1": round(top_k(p, labels, 1), 3)}


def fit_class(x, labels, k, args):
    """One class against the rest; the objective (in float64) where it is not calibrated."""
    positive = labels == k
    svm = LinearSVC(
        C=args.svm_c, loss="squared_hinge", dual=False, intercept_scaling=1.0, tol=args.tol, max_iter=10_000
    )
    if args.calibrated:
        folds = StratifiedKFold(3, shuffle=True, random_state=0)
        CalibratedClassifierCV(svm, method="sigmoid", cv=folds, ensemble=False).fit(x, positive)
        return 0.0
    svm.fit(x, positive)
    w, b = svm.coef_[0].astype(np.float64), float(svm.intercept_[0])
    margins = np.maximum(0.0, 1.0 - np.where(positive, 1.0, -1.0) * (x.astype(np.float64) @ w + b))
    return 0.5 * (w @ w + b * b) + args.svm_c * float((margins**2).sum())


def run_svm_classes(args, timings):
    """Some classes of a one-vs-rest bank, shared among `jobs` processes: x is a file of float32 rows, clip i of class
    i mod `classes`."""
    x = np.fromfile(args.x, dtype=np.float32).reshape(-1, args.dims)
    labels = np.arange(len(x)) % args.classes
    with Parallel(n_jobs=args.jobs) as parallel:
        parallel(delayed(abs)(k) for k in range(args.jobs))  # processes begin outside the time
        for _ in range(args.repeat):
            with timings.stage("svm classes"):
                objectives = parallel(delayed(fit_class)(x, labels, k, args) for k in range(args.timed))
    return {"objectives": objectives}


def run_step(args, timings, kind):
    """Optimiser steps of one generator on made-up clips: forward, loss, backward, Adam."""
    torch.manual_seed(0)
    device = timings.device
    model = make_generator(kind, args.dims, args, args.audio_dims, args.classes).to(device)
    optimiser = torch.optim.Adam(model.parameters(), lr=args.lr)
    shape = (args.batch, args.frames, args.dims) if kind == "lstm" else (args.batch, args.dims)
    x, target = torch.randn(shape).to(device), torch.randn(args.batch, args.audio_dims).to(device)
    labels = torch.randint(args.classes, (args.batch,)).to(device)

    def step():
        optimiser.zero_grad()
        logits, r = train_forward(model, x, args)
        value = generator_loss(logits, r, labels, target, args.loss, args.classifier == "with")
        value.backward()
        optimiser.step()
        return value.item()

    for _ in range(3):
        step()
    for _ in range(args.repeat):
        with timings.stage(f"{kind} step"):
            value = step()
    return {"parameters": sum(p.numel() for p in model.parameters()), "last_loss": value}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)

    def widths(text):
        values = tuple(int(v) for v in text.split(","))
        if len(values) != 3:
            raise argparse.ArgumentTypeError("three widths, such as 512,256,512")
        return values

    def command(name, help):
        p = commands.add_parser(name, help=help, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
        p.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of PyTorch")
        p.add_argument("--device", default="cpu", help="of PyTorch: cpu, cuda or cuda:N; scikit-learn stays on the CPU")
        p.add_argument("--tf32", action="store_true", help="let the GPU round products to TF32")
        p.add_argument("--frames", type=int, default=18, help="frames of a clip")
        return p

    def data(p, optional=False):
        p.add_argument("data", nargs="?" if optional else None, help="folder with clips.csv and features/")
        p.add_argument("--audio", default="vggish", help="audio stream, as in features/CLIP_AUDIO.npy; grid: or several, a,b")
        p.add_argument("--audio-rows", type=int, default=3, help="rows of the audio stream, flattened")
        p.add_argument("--missing", type=float, default=0.44, help="share of clips made silent")
        p.add_argument("--missing-seed", type=int, default=0)

    def generator(p):
        p.add_argument("--hidden", type=int, default=256, help="of the LSTM")
        p.add_argument("--ae-widths", type=widths, default=(512, 256, 512), help="encoder, latent, decoder")
        p.add_argument("--lr", type=float, default=1e-3)
        p.add_argument("--precision", choices=["f32", "bf16"], default="f32", help="of an LSTM's products in training")

    def batch(p):
        p.add_argument("--batch", type=int, default=128)

    def head(p):
        p.add_argument("--head-epochs", type=int, default=20)
        p.add_argument("--head-lr", type=float, default=1e-3)
        p.add_argument("--head-weight-decay", type=float, default=0.0)

    def svm(p):
        p.add_argument("--svm-c", type=float, default=0.01)
        p.add_argument("--jobs", type=int, default=1, help="processes of scikit-learn, one for each fold at most")

    def made_up(p):
        p.add_argument("--audio-dims", type=int, default=384)
        p.add_argument("--classes", type=int, default=200)

    p = command("grid", "the whole study on a data folder")
    data(p), generator(p), batch(p), head(p), svm(p)
    p.add_argument("--epochs", type=int, default=20)
    p.add_argument("--seeds", type=int, default=3)
    p.add_argument("--cells", type=lambda text: text.split(","), help="time these alone: lstm/l2/with,...; no tables")
    p.add_argument("--svm-timed", type=int, default=0, help="time so many classes of the bank, no tables; 0: all")
    p = command("heads", "the linear heads of the visual streams alone")
    data(p), batch(p), head(p)
    p.add_argument("--seeds", type=int, default=3)
    p = command("svm", "the SVM bank with Platt's sigmoid alone")
    data(p, optional=True), svm(p), made_up(p)
    p.add_argument("--clips", type=int, default=2000, help="made-up clips, without a data folder")
    p.add_argument("--repeat", type=int, default=1)
    p = command("svm-classes", "some classes of a one-vs-rest bank on given features, in parallel")
    svm(p)
    p.add_argument("x", help="file of float32 rows")
    p.add_argument("--dims", type=int, default=1024)
    p.add_argument("--classes", type=int, default=100)
    p.add_argument("--timed", type=int, default=8, help="classes to fit")
    p.add_argument("--tol", type=float, default=1e-4, help="of LinearSVC")
    p.add_argument("--calibrated", action="store_true", help="with Platt's sigmoid over three folds")
    p.add_argument("--repeat", type=int, default=1)
    for name in ["lstm-step", "ae-step"]:
        p = command(name, f"one optimiser step of the {name.split('-')[0]} generator alone, on made-up clips")
        generator(p), batch(p), made_up(p)
        p.add_argument("--dims", type=int, default=2048, help="visual dimensions of a frame")
        p.add_argument("--loss", choices=["l2", "kl"], default="l2")
        p.add_argument("--classifier", choices=["with", "without"], default="with")
        p.add_argument("--repeat", type=int, default=20)

    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    timings = Timings(open_device(args))
    with timings.stage("everything"):
        if args.command == "grid":
            results = run_grid(args, timings)
        elif args.command == "heads":
            results = run_heads(args, timings)
        elif args.command == "svm":
            results = run_svm(args, timings)
        elif args.command == "svm-classes":
            results = run_svm_classes(args, timings)
        else:
            results = run_step(args, timings, "lstm" if args.command == "lstm-step" else "autoencoder")
    arguments = {key: value for key, value in vars(args).items() if key not in ["data", "x"]}
    report = {
        "environment": environment(timings.device),
        "arguments": arguments,
        "results": results,
        "timings": timings.summary(),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
