#!/usr/bin/env python3
"""What a GPU makes of unmute: tests, then times beside PyTorch with cuDNN and beside the same machine's CPU.

Needs no cargo, so that it can be carried to a GPU machine: this folder, `experiments/`, three programs (`unmute`, the
bench `parts`, the test binary) and a Python with peers/requirements.txt, whose wheels bring cuBLAS for ours too; `just
bench-cuda` brings them together. Sizes: `--size mini` takes minutes; `--size paper` has the paper's counts and widths,
with made-up features (200 classes, 100,000 train clips; 8 GB on disk). In each round ours runs before theirs, part by
part; figures are medians. Targets are printed with the word holds or misses. `--device cpu` tries the whole script
without a GPU, and says so. Needs the standard library only.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "peers"))
sys.dont_write_bytecode = True

from compare import progress, refuse_without_gpu, run  # noqa: E402

# Widths of the paper's protocol, and of the small set; what both sides are told.
SIZES = {
    "paper": {"hidden": 256, "encoder": [512, 256], "decoder": [512], "batch": 128, "head_lr": 1e-3, "synth": []},
    "mini": {"hidden": 64, "encoder": [128, 64], "decoder": [128], "batch": 64, "head_lr": 3e-3, "synth": []},
    "smoke": {
        "hidden": 8, "encoder": [8, 4], "decoder": [8], "batch": 64, "head_lr": 3e-3, "synth": ["--train", 600, "--val", 80],
    },
}  # fmt: skip
STEPS = {
    "LSTM step 2048 -> 512": ("lstm", "lstm-step", {"dims": 2048, "hidden": 512}),
    "LSTM step 1024 -> 256": ("lstm", "lstm-step", {"dims": 1024, "hidden": 256}),
    "autoencoder step 2048": ("autoencoder", "ae-step", {"dims": 2048}),
}
AUDIO = ["aenet", "vggish"]
MISSING, SVM_C = 0.448, 0.01


class GpuMemory(threading.Thread):
    """Follows what a GPU's memory holds above what it held before, as nvidia-smi tells; others should leave it alone."""

    def __init__(self, device):
        super().__init__(daemon=True)
        ordinal = device.partition(":")[2] or "0"
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        self.gpu = visible[int(ordinal)] if len(visible) > int(ordinal) and visible[int(ordinal)] else ordinal
        self.bytes, self.done = 0, threading.Event()
        self.before = self.used()

    def used(self):
        ask = ["nvidia-smi", "-i", self.gpu, "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
        try:
            return int(subprocess.run(ask, capture_output=True, text=True, timeout=20).stdout.split()[0]) * 2**20
        except (OSError, ValueError, IndexError, subprocess.TimeoutExpired):
            return 0

    def run(self):
        while not self.done.wait(0.2):
            self.bytes = max(self.bytes, self.used() - self.before)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.join()


class Part:
    """One line: figures of both sides on the GPU and on the CPU, and what is asked of them."""

    def __init__(self, unit, ratio=None, most=None, note=""):
        self.unit, self.ratio, self.most, self.note = unit, ratio, most, note
        self.figures = {}

    def add(self, side, value):
        self.figures.setdefault(side, []).append(value)

    def median(self, side):
        return statistics.median(self.figures[side]) if side in self.figures else None

    def shown(self, side):
        values = self.figures.get(side)
        if not values:
            return ""
        scale, digits = {"ms": (1e3, 2), "s": (1.0, 2), "MiB": (2.0**-20, 0)}[self.unit]
        text = f"{statistics.median(values) * scale:.{digits}f} {self.unit}"
        if len(values) > 1:
            text += f" ({min(values) * scale:.{digits}f} to {max(values) * scale:.{digits}f})"
        return text

    def times(self, one, other):
        """How often `one` goes into `other`."""
        one, other = self.median(one), self.median(other)
        return f"{other / one:.2f} x" if one and other else ""

    def verdicts(self):
        ours, theirs, out = self.median("ours"), self.median("theirs"), []
        if self.ratio is not None and ours and theirs:
            out.append(f"at least {self.ratio:g} x: {'holds' if theirs / ours >= self.ratio else 'misses'}")
        elif self.ratio is not None:
            out.append(f"at least {self.ratio:g} x: not measured")
        if self.most is not None:
            out.append(f"at most {self.most:g} s: {'holds' if ours <= self.most else 'misses'}" if ours else f"at most {self.most:g} s: not measured")
        return "; ".join(out)


class Bench:
    def __init__(self, args):
        self.args, self.size = args, SIZES[args.size]
        self.gpu = args.device != "cpu"
        self.folder = Path(tempfile.mkdtemp(prefix="unmute-cuda-", dir=args.scratch))
        self.table, self.lines = {}, []
        # Targets are the paper's size's; another size and a CPU are measured without them.
        self.targets = self.gpu and args.size == "paper"

    def part(self, name, *arguments, **more):
        return self.table.setdefault(name, Part(*arguments, **more))

    def say(self, line):
        progress(line)
        self.lines.append(line)

    # The calls of both sides.

    def program(self, *arguments):
        env = {"RAYON_NUM_THREADS": str(self.args.threads)}
        out, seconds, peak = run([self.args.unmute, *arguments], env=env)
        return out, seconds, peak

    def ours_parts(self, device, *arguments):
        env = {"RAYON_NUM_THREADS": str(self.args.threads)}
        out, _, _ = run([self.args.parts, "json=1", *arguments, f"device={device}"], env=env)
        return statistics.median(json.loads(out.splitlines()[-1])["seconds"])

    def theirs(self, command, device, *arguments):
        both = ["--threads", self.args.threads, "--device", device, *(["--tf32"] if self.args.tf32 else [])]
        out, seconds, _ = run([self.args.python, HERE / "peers" / "grid.py", command, *both, *arguments])
        return json.loads(out.splitlines()[-1]), seconds

    def train(self, device, db, epochs, *settings):
        size = self.size
        sets = [
            f"lstm.hidden={size['hidden']}", f"autoencoder.encoder={size['encoder']}", f"autoencoder.decoder={size['decoder']}",
            f"train.batch={size['batch']}", f"train.epochs={epochs}", f"missing.rate={MISSING}", f"svm.c={SVM_C}",
            f"tsn.lr={size['head_lr']}", f"tsn.epochs={self.args.epochs}", *settings,
        ]  # fmt: skip
        for path in [db, Path(f"{db}-wal"), Path(f"{db}-shm")]:
            path.unlink(missing_ok=True)
        sets = [word for setting in sets for word in ("--set", setting)]
        data = ["--dataset", self.data(), "--db", db, "--device", device, "--seeds", 0]
        return self.program("run", self.args.experiment, *data, *sets)

    def peer_grid(self, device, epochs, audio, *arguments):
        size = self.size
        widths = [*size["encoder"], *size["decoder"]]
        return self.theirs(
            "grid", device, self.data(), "--audio", audio, "--missing", MISSING, "--seeds", 1, "--epochs", epochs,
            "--hidden", size["hidden"], "--ae-widths", ",".join(map(str, widths)), "--batch", size["batch"],
            "--head-epochs", self.args.epochs, "--head-lr", size["head_lr"], "--svm-c", SVM_C, "--jobs", self.args.threads, *arguments,
        )  # fmt: skip

    def data(self):
        """The data set, made once: every clip with sound, so that the peer can silence some and knows the truth too."""
        data = Path(self.args.data) if self.args.data else self.folder / "data"
        if not (data / "dataset.yaml").exists():
            progress(f"making data in {data}")
            preset = "paper" if self.args.size == "paper" else "mini"
            self.program("data", "synth", data, "--preset", preset, "--sounded", *self.size["synth"])
        return data

    # What is measured.

    def tests(self):
        """The tests of a GPU: outputs and gradients at 1e-4 among them."""
        if not self.args.tests:
            self.say("Right at 1e-4: not measured, no --tests given")
            return
        tests = [self.args.tests, "gpu::", "--include-ignored", "--test-threads", "1"]
        done = subprocess.run(tests, capture_output=True, text=True, cwd=HERE.parent)
        results = dict(re.findall(r"^test (gpu::\S+).*?(ok|FAILED)$", done.stdout, re.MULTILINE | re.DOTALL))
        failed = sorted(name for name, result in results.items() if result == "FAILED")
        right = [result for name, result in results.items() if name.endswith("outputs_and_gradients_are_the_cpus")]
        verdict = "not measured (the tests say nothing)" if not right else "holds" if right == ["ok"] else "misses"
        self.say(f"Right at 1e-4 (outputs and gradients against the CPU): {verdict}")
        self.say(f"Tests: {len(results) - len(failed)} of {len(results)} pass{': failed ' + ', '.join(failed) if failed else ''}")
        if failed or done.returncode:
            (self.folder.parent / "unmute-cuda-tests.txt").write_text(done.stdout + done.stderr)
            self.say(f"What they said is in {self.folder.parent / 'unmute-cuda-tests.txt'}")

    def steps(self):
        for name, (part, peer, sizes) in STEPS.items():
            if self.args.size == "smoke":
                sizes = {key: 16 for key in sizes}
            row = self.part(name, "ms", 1.0 if self.targets else None, note="batch 128" + (", T 18" if part == "lstm" else ""))
            for side, device in [("ours", self.args.device), ("ours on the CPU", "cpu")]:
                row.add(side, self.ours_parts(device, part, *(f"{k}={v}" for k, v in sizes.items()), f"repeat={self.repeat(device, part)}"))
            for side, device in [("theirs", self.args.device), ("theirs on the CPU", "cpu")]:
                report, _ = self.theirs(peer, device, *(f"--{k}={v}" for k, v in sizes.items()), "--repeat", self.repeat(device, part))
                row.add(side, next(v["median_s"] for k, v in report["timings"].items() if k.endswith("step")))

    def repeat(self, device, part):
        return 3 if self.args.size == "smoke" else 100 if device != "cpu" or part != "lstm" else 8

    def epoch(self):
        """One epoch of one cell alone, its val measures included: of ours, what two trainings of different length differ by."""
        for kind in ["lstm", "autoencoder"]:
            row = self.part(f"epoch of a cell, {kind}", "s", 1.0 if self.targets else None, note="l2, with classifier, vggish; alone")
            alone = ["grid.audio=[vggish]", f"grid.generator=[{kind}]", "grid.loss=[l2]", "grid.classifier=[with]", "controls=[]"]
            for suffix, device, more in [("", self.args.device, 4), (" on the CPU", "cpu", 1)]:
                seconds = []
                for epochs in [1, 1 + more]:
                    db = self.folder / "epoch.db"
                    self.train(device, db, epochs, "tsn.epochs=1", *alone)
                    out, _, _ = self.program("query", "SELECT sum(seconds) AS s FROM run WHERE kind = 'generator'", "--db", db, "--json")
                    seconds.append(json.loads(out)[0]["s"])
                row.add("ours" + suffix, max(seconds[1] - seconds[0], 0.0) / more)
                report, _ = self.peer_grid(device, 1 + more, "vggish", "--cells", f"{kind}/l2/with")
                row.add("theirs" + suffix, report["timings"][f"epoch {kind}"]["median_s"])

    def grid(self):
        """Sixteen cells, one seed: SVM banks, heads, controls, trainings, tables."""
        args, db, out = self.args, self.folder / "runs.db", self.folder / "report"
        note = f"16 cells, 1 seed, {args.epochs} epochs, SVM banks, heads, controls, tables"
        row = self.part("whole grid", "s", 2.0 if self.targets else None, 600 if self.targets else None, note)
        memory = self.part("peak GPU memory, grid", "MiB", note="nvidia-smi, above what was in use before; PyTorch's own report: tensors")
        with GpuMemory(args.device) if self.gpu else threading.Lock() as peak:
            _, seconds, _ = self.train(args.device, db, args.epochs)
        if self.gpu:
            memory.add("ours", peak.bytes)
        _, report_seconds, _ = self.program("report", args.experiment, "--db", db, "--out", out)
        row.add("ours", seconds + report_seconds)
        timed = ["--svm-timed", args.svm_timed] if args.svm_timed else []
        theirs, whole = self.peer_grid(args.device, args.epochs, ",".join(AUDIO), *timed)
        if timed:
            classes = json.loads(self.program("data", "stats", self.data(), "--json")[0])
            classes = classes["classes"] if isinstance(classes.get("classes"), int) else 200
            svm = theirs["timings"]["svm bank"]["total_s"]
            whole += svm * (classes / args.svm_timed - 1)
            row.note = f"{note}; of their banks {args.svm_timed} of {classes} classes timed and scaled, {svm * classes / args.svm_timed:.0f} s; without banks theirs is {whole - svm * classes / args.svm_timed:.0f} s"
        row.add("theirs", whole)
        if self.gpu:
            memory.add("theirs", theirs["environment"]["peak_allocated_bytes"])
        if args.cpu_grid and self.gpu:
            _, seconds, _ = self.train("cpu", self.folder / "cpu.db", args.epochs)
            row.add("ours on the CPU", seconds + report_seconds)

    def print(self):
        args = self.args
        print(f"{args.device} ({device_name(args.device)}), {args.threads} threads, size {args.size}, {args.rounds} rounds, TF32 {'on for the peer' if args.tf32 else 'off'}, {time.strftime('%Y-%m-%d')}")
        if not self.gpu:
            print("A trial of this script on the CPU: nothing here says anything about a GPU.")
        print()
        for line in self.lines:
            print(f"- {line}")
        print()
        head = ["part", "ours", "PyTorch", "ratio", "target", "ours on the CPU", "PyTorch on the CPU", "GPU over CPU, ours", "conditions"]
        rows = [head, ["---"] * len(head)]
        for name, part in self.table.items():
            rows.append([
                name, part.shown("ours"), part.shown("theirs"), part.times("ours", "theirs"), part.verdicts(),
                part.shown("ours on the CPU"), part.shown("theirs on the CPU"), part.times("ours", "ours on the CPU"), part.note,
            ])  # fmt: skip
        print("\n".join("| " + " | ".join(row) + " |" for row in rows))


def device_name(device):
    if device == "cpu":
        return "no GPU"
    ordinal = device.partition(":")[2] or "0"
    ask = ["nvidia-smi", "-i", ordinal, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    return subprocess.run(ask, capture_output=True, text=True).stdout.strip() or "a GPU"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--unmute", required=True, help="the program")
    parser.add_argument("--parts", required=True, help="the program of benches/parts, likewise")
    parser.add_argument("--tests", help="the test binary, likewise (cargo test --no-run names it)")
    parser.add_argument("--python", default=sys.executable, help="a Python with peers/requirements.txt")
    parser.add_argument("--experiment", default=HERE.parent / "experiments" / "icassp2019")
    parser.add_argument("--device", default="cuda", help="cuda or cuda:N; cpu tries the script")
    parser.add_argument("--size", choices=SIZES, default="mini", help="smoke: so small that times say nothing")
    parser.add_argument("--data", help="folder of the made-up data set, kept for the next time")
    parser.add_argument("--scratch", help="folder for everything else (default: the system's)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--epochs", type=int, default=30, help="of the grid")
    parser.add_argument("--svm-timed", type=int, help="time so many classes of the peer's banks (default: 8 at the paper's size, else all)")
    parser.add_argument("--cpu-grid", action="store_true", help="ours on the CPU too, the whole grid")
    parser.add_argument("--tf32", action="store_true", help="let PyTorch round products to TF32; ours never does")
    parser.add_argument("--only", default="tests,steps,epoch,grid", help="which of tests, steps, epoch, grid")
    args = parser.parse_args()
    if args.svm_timed is None:
        args.svm_timed = 8 if args.size == "paper" else 0
    refuse_without_gpu(args.device)
    bench = Bench(args)
    wanted = args.only.split(",")
    for name in wanted:
        if name not in ("tests", "steps", "epoch", "grid"):
            sys.exit(f"--only {name}: should be tests, steps, epoch, grid")
    try:
        if "tests" in wanted:
            bench.tests()
        for number in range(1, args.rounds + 1):
            for name in ["steps", "epoch", "grid"]:
                # The grid takes minutes and is timed once.
                if name in wanted and (name != "grid" or number == 1):
                    progress(f"round {number} of {args.rounds}: {name}")
                    getattr(bench, name)()
    finally:
        # What was measured before something failed is not lost.
        bench.print()
        shutil.rmtree(bench.folder, ignore_errors=True)


if __name__ == "__main__":
    main()
