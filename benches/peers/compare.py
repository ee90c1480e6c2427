#!/usr/bin/env python3
"""Times unmute and its peers in turn on this machine, and prints medians and ratios.

Each round runs ours, then theirs, part by part, so that a busy minute hurts both; the table has the medians over the
rounds. Called by `just bench-peers`, which builds both sides. With `UNMUTE_SIMD=avx2` both do without AVX-512. With
`--device cuda` both train on a GPU (`../cuda.py` measures more there). Needs the standard library only.
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
STEPS = {
    "LSTM step 2048 -> 512": ("lstm", "lstm-step", {"dims": 2048, "hidden": 512}, 1.3),
    "LSTM step 2048 -> 512, bf16": ("lstm", "lstm-step", {"dims": 2048, "hidden": 512, "precision": "bf16"}, None),
    "LSTM step 1024 -> 256": ("lstm", "lstm-step", {"dims": 1024, "hidden": 256}, 1.3),
    "autoencoder step": ("autoencoder", "ae-step", {"dims": 2048}, None),
}
# What keeps both sides from AVX-512: unmute, ATen, oneDNN, MKL.
NARROW = {
    "UNMUTE_SIMD": "avx2",
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
}


def has_avx512():
    """Whether products use it: the processor has it and UNMUTE_SIMD does not keep from it."""
    flags = Path("/proc/cpuinfo").read_text().split() if Path("/proc/cpuinfo").exists() else []
    return "avx512f" in flags and os.environ.get("UNMUTE_SIMD") not in ("avx2", "scalar")


GRID_TARGET = 2.5 if has_avx512() else 2


def progress(message):
    print(f"{time.strftime('%H:%M:%S')} {message}", file=sys.stderr, flush=True)


class Peak(threading.Thread):
    """Follows the anonymous memory of a process and its children."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.bytes, self.done = pid, 0, threading.Event()

    def run(self):
        while not self.done.wait(0.02):
            self.bytes = max(self.bytes, self.anonymous(self.pid))

    def anonymous(self, pid):
        total = 0
        try:
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("RssAnon:"):
                    total += 1024 * int(line.split()[1])
            for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
                total += self.anonymous(int(child))
        except (OSError, ValueError):
            pass
        return total


def run(command, narrow=False, env=None):
    """Standard output, seconds and peak anonymous bytes of a command."""
    environment = {**os.environ, **(NARROW if narrow else {}), **(env or {})}
    start = time.perf_counter()
    process = subprocess.Popen(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
    )
    peak = Peak(process.pid)
    peak.start()
    out, err = process.communicate()
    seconds = time.perf_counter() - start
    peak.done.set()
    if process.returncode not in (0, 3):
        sys.exit(f"{' '.join(map(str, command))}: exit code {process.returncode}\n{err[-2000:]}")
    return out, seconds, peak.bytes


def refuse_without_gpu(device):
    """Ends the program where a GPU is asked for and none answers."""
    if device == "cpu":
        return
    try:
        answer = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60)
        found = [line for line in answer.stdout.splitlines() if line.startswith("GPU ")]
        said = answer.stderr.strip() or answer.stdout.strip()
    except (OSError, subprocess.TimeoutExpired) as error:
        found, said = [], str(error)
    if not found:
        sys.exit(
            f"--device {device}: no GPU answers here (nvidia-smi -L: {said or 'no answer'}), so nothing was timed\n"
            "  next: run it where nvidia-smi lists a GPU; docs/cuda.md tells what is tested without one"
        )
    progress(f"{'; '.join(found)}")


class Row:
    """One line of the table: figures of both sides over the rounds."""

    def __init__(self, name, unit, target=None, note=""):
        self.name, self.unit, self.target, self.note = name, unit, target, note
        self.ours, self.theirs = [], []
        # Of the machine's FMA limit, ours; where operations are counted.
        self.shares = []

    def cells(self):
        ours, theirs = statistics.median(self.ours), statistics.median(self.theirs)
        ratio = theirs / ours if ours else float("nan")
        target = "" if self.target is None else f"{self.target:g} x"
        verdict = "" if self.target is None else ("holds" if ratio >= self.target else "misses")
        return [
            self.name,
            self.shown(ours, self.ours),
            self.shown(theirs, self.theirs),
            f"{ratio:.2f} x",
            f"{100 * statistics.median(self.shares):.0f} %" if self.shares else "",
            target,
            verdict,
            self.note,
        ]

    def shown(self, median, all_of_them):
        scale = {"ms": 1e3, "s": 1.0, "MiB": 2.0**-20}[self.unit]
        digits = 0 if self.unit == "MiB" else 1 if self.unit == "ms" else 2
        low, high = min(all_of_them) * scale, max(all_of_them) * scale
        return f"{median * scale:.{digits}f} {self.unit} ({low:.{digits}f} to {high:.{digits}f})"


class Comparison:
    def __init__(self, args):
        self.args = args
        self.folder = Path(tempfile.mkdtemp(prefix="unmute-bench-"))
        self.rows = {}

    def row(self, *arguments, **more):
        row = Row(*arguments, **more)
        return self.rows.setdefault(row.name, row)

    def parts(self, *arguments, narrow=False):
        env = {"RAYON_NUM_THREADS": str(self.args.threads)}
        device = [f"device={self.args.device}"] if arguments[0] in ("lstm", "autoencoder") else []
        out, _, peak = run([self.args.parts, "json=1", *arguments, *device], narrow, env)
        return json.loads(out.splitlines()[-1]), peak

    def peer(self, *arguments, narrow=False):
        both = ["--threads", self.args.threads, "--device", self.args.device]
        command = [self.args.python, HERE / "grid.py", arguments[0], *both, *arguments[1:]]
        out, seconds, peak = run(command, narrow)
        return json.loads(out.splitlines()[-1]), seconds, peak

    def steps(self, narrow=False):
        for name, (part, peer, sizes, target) in STEPS.items():
            if narrow and (part != "lstm" or "precision" in sizes):
                continue
            suffix = ", no AVX-512" if narrow else ""
            row = self.row(name + suffix, "ms", None if narrow else target, note="batch 128, T 18" if part == "lstm" else "batch 128")
            repeat = 12 if part == "lstm" else 100
            ours, _ = self.parts(part, *(f"{k}={v}" for k, v in sizes.items()), f"repeat={repeat}", narrow=narrow)
            try:
                theirs, _, _ = self.peer(
                    peer, *(f"--{k}={v}" for k, v in sizes.items()), "--repeat", repeat, narrow=narrow
                )
            except SystemExit as failed:
                if "precision" not in sizes:
                    raise
                # PyTorch has such an LSTM only where the processor has the instructions.
                progress(f"{name} is left out: {str(failed).strip().splitlines()[-1]}")
                del self.rows[name + suffix]
                continue
            row.ours.append(statistics.median(ours["seconds"]))
            if ours.get("limits"):
                row.shares.append(ours["flops"] / row.ours[-1] / statistics.median(ours["limits"]))
            row.theirs.append(next(v["median_s"] for k, v in theirs["timings"].items() if k.endswith("step")))

    def svm(self):
        timed, classes, data = 8, 100, self.folder / "x.f32"
        sizes = ["clips=20000", "dims=1024", f"classes={classes}", "c=0.01", "repeat=1"]
        note = f"20,000 x 1024 x {classes} classes; theirs {timed} classes on {self.args.threads} processes, scaled"
        bank, _ = self.parts("svm", *sizes, "tolerance=0.001", f"data={data}")
        platt, _ = self.parts("platt", *sizes, "tolerance=0.001")
        for name, ours, more, target in [
            ("SVM bank", bank, [], 20),
            ("SVM bank with Platt", platt, ["--calibrated"], 30),
        ]:
            row = self.row(name, "s", target, note=note)
            theirs, _, _ = self.peer(
                "svm-classes", data, "--svm-c", 0.01, "--classes", classes, "--timed", timed, "--jobs", self.args.threads, *more
            )
            row.ours.append(statistics.median(ours["seconds"]))
            row.theirs.append(theirs["timings"]["svm classes"]["median_s"] * classes / timed)
            if not more:
                pairs = list(zip(ours["facts"]["objectives"], theirs["results"]["objectives"]))
                apart = max((o - t) / t for o, t in pairs)
                row.note = f"{note}; objective above theirs by at most {apart:.1e}"
        data.unlink()

    def grid(self):
        self.grids("f32")
        if self.args.bf16:
            self.grids("bf16")

    def grids(self, precision):
        args = self.args
        settings = ["seeds=[0,1,2]", f"train.epochs={args.epochs}", "lstm.hidden=512", "tsn.epochs=30"]
        settings.append(f"lstm.precision={precision}")
        sets = [part for setting in settings for part in ("--set", setting)]
        db, data, out = self.folder / "runs.db", self.folder / "data", self.folder / "report"
        env = {"RAYON_NUM_THREADS": str(args.threads)}
        for path in [data, out]:
            shutil.rmtree(path, ignore_errors=True)
        db.unlink(missing_ok=True)
        experiment = HERE.parent.parent / "experiments" / "corsmal"
        seconds, peaks = [], []
        for command in [
            ["data", "import", args.data, data, "--rows", "vggish=3"],
            ["run", experiment, "--dataset", data, "--db", db, "--device", args.device, *sets],
            ["report", experiment, "--db", db, "--out", out],
        ]:
            _, took, peak = run([args.unmute, *command], env=env)
            seconds.append(took)
            peaks.append(peak)
        seeds = 3 if args.full else 1
        theirs, took, peak = self.peer(
            "grid", args.data, "--seeds", seeds, "--epochs", args.epochs, "--hidden", 512, "--batch", 32,
            "--head-epochs", 30, "--svm-c", 0.01, "--jobs", args.threads, "--precision", precision,
        )  # fmt: skip
        stages = theirs["timings"]
        per_seed = sum(v["total_s"] for k, v in stages.items() if k.startswith(("train ", "head ")))
        whole = took + per_seed * (3 - seeds) / seeds
        how = "in full" if args.full else "theirs: 1 seed timed, its trainings counted three times"
        val = stages["val measures"]["total_s"] * 3 / seeds
        note = (
            f"8 cells, 3 seeds, {args.epochs} epochs with val measured after each, hidden 512, batch 32, {how}; "
            f"without its val measures theirs is {whole - val:.0f} s"
        )
        suffix = "" if precision == "f32" else f", {precision}"
        grid = self.row("whole grid" + suffix, "s", GRID_TARGET, note=note)
        grid.ours.append(sum(seconds))
        grid.theirs.append(whole)
        if suffix:
            return
        load = self.row("import of features", "s", None, note="684 clips, 2,052 files; theirs is read at every start")
        load.ours.append(seconds[0])
        load.theirs.append(stages["load"]["total_s"])
        memory = self.row("peak anonymous memory, grid", "MiB")
        memory.ours.append(max(peaks))
        memory.theirs.append(peak)

    def table(self):
        head = ["part", "ours", "theirs", "ratio", "ours of the FMA limit", "target", "", "conditions"]
        lines = [head, ["---"] * len(head), *(row.cells() for row in self.rows.values())]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", required=True, help="the program of benches/parts")
    parser.add_argument("--unmute", required=True, help="the unmute program")
    parser.add_argument("--python", default=sys.executable, help="a Python with requirements.txt")
    parser.add_argument("--data", help="CORSMAL's folder (clips.csv, features/); without it the grid is left out")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N, of both sides")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of both sides")
    parser.add_argument("--epochs", type=int, default=30, help="of the grid")
    parser.add_argument("--full", action="store_true", help="train all three seeds of the peer's grid")
    parser.add_argument("--bf16", action="store_true", help="the grid once more with an LSTM's products in bfloat16, on both sides")
    parser.add_argument("--only", default="steps,narrow,svm,grid", help="which of steps, narrow, svm, grid")
    args = parser.parse_args()
    refuse_without_gpu(args.device)
    # Who keeps unmute from AVX-512 wants to know how both do without it.
    narrow = os.environ.get("UNMUTE_SIMD") == "avx2"
    os.environ.update(NARROW if narrow else {})
    comparison = Comparison(args)
    # Instruction sets are the CPU's.
    wanted = [name for name in args.only.split(",") if name != "narrow" or args.device == "cpu"]
    try:
        for number in range(1, args.rounds + 1):
            for name, part in [
                ("steps", comparison.steps),
                ("narrow", lambda: comparison.steps(narrow=True)),
                ("svm", comparison.svm),
                ("grid", comparison.grid),
            ]:
                if name in wanted and not (name == "grid" and args.data is None):
                    progress(f"round {number} of {args.rounds}: {name}")
                    part()
    finally:
        shutil.rmtree(comparison.folder, ignore_errors=True)
    vectors = ", both without AVX-512" if narrow else ""
    print(f"{platform.machine()}, {args.device}, {args.threads} threads{vectors}, {args.rounds} rounds, {time.strftime('%Y-%m-%d')}\n")
    print(comparison.table())


if __name__ == "__main__":
    main()
