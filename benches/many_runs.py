#!/usr/bin/env python3
"""What plan, ls, report and others cost in stores of many runs: seconds and peak memory at several numbers of runs.

The runs are real ones of experiments/icassp2019, made by `unmute run` with networks of four units, one epoch and a small synthetic data
set, so that a run takes milliseconds; the store has what it has of large ones, but for scores of 40 clips and 5 classes. Called by
`just bench-many-runs`. Needs the standard library only, and Linux for memory.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

EXPERIMENT = Path(__file__).resolve().parent.parent / "experiments" / "icassp2019"
SMALL = [
    "lstm.hidden=4", "autoencoder.encoder=[4, 4]", "autoencoder.decoder=[4]", "train.batch=64", "train.epochs=1", "train.keep=none",
    "tsn.epochs=1", "svm.probability=softmax",
]  # fmt: skip


def run(command):
    """Seconds and peak resident bytes of a command, and what it printed."""
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen([str(c) for c in command], stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        out.seek(0)
        err.seek(0)
        if os.waitstatus_to_exitcode(status) not in (0, 3):
            sys.exit(f"{' '.join(map(str, command))[:300]}: exit code {os.waitstatus_to_exitcode(status)}\n{err.read()[-2000:]}")
        return seconds, 1024 * usage.ru_maxrss, out.read()


def measure(unmute, data, folder, runs):
    """(seconds, bytes) by what was called, in a store of about so many runs."""
    db = folder / f"{runs}.db"
    # 16 generators and 3 heads and banks a seed, and controls that need none.
    sets = [*SMALL, f"seeds=[{','.join(map(str, range(max(1, runs // 19))))}]"]
    grid = [EXPERIMENT, "--dataset", data, *(part for s in sets for part in ("--set", s))]
    figures = {"plan, nothing done": run([unmute, "plan", *grid, "--db", folder / "none.db"])[:2]}
    figures["run"] = run([unmute, "run", *grid, "--db", db, "--device", "cpu"])[:2]
    count = int(run([unmute, "query", "--db", db, "SELECT count(*) FROM run"])[2].split()[-1])
    figures["run, all done"] = run([unmute, "run", *grid, "--db", db, "--device", "cpu"])[:2]
    for name, command in {
        "plan, all done": ["plan", *grid, "--db", db],
        "ls": ["ls", "--db", db],
        "ls --sort -top1": ["ls", "--db", db, "--sort", "-top1"],
        "export tables": ["export", "tables", EXPERIMENT, "--db", db],
        "claims": ["claims", EXPERIMENT, "--db", db],
        "report": ["report", EXPERIMENT, "--db", db, "--out", folder / f"out{runs}"],
    }.items():
        figures[name] = run([unmute, *command])[:2]
    print(f"{count} runs: store {db.stat().st_size / 1e6:.1f} MB, report {size(folder / f'out{runs}') / 1e6:.1f} MB", file=sys.stderr)
    return count, figures


def size(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--unmute", default="target/release/unmute")
    parser.add_argument("--runs", default="2500,5000,10000", help="numbers of runs, about")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="unmute-many-"))
    try:
        run([args.unmute, "data", "synth", folder / "data", "--preset", "mini", "--train", 60, "--val", 40])
        measured = [measure(args.unmute, folder / "data", folder, int(runs)) for runs in args.runs.split(",")]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print("| call | " + " | ".join(f"{count:,} runs" for count, _ in measured) + " |")
    print("| --- |" + " --- |" * len(measured))
    for name in measured[0][1]:
        cells = (f"{seconds:.2f} s, {memory / 2**20:.0f} MiB" for seconds, memory in (figures[name] for _, figures in measured))
        print(f"| `{name}` | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
