#!/usr/bin/env python3
"""Times a grid's parts at growing sizes and draws them: does cost grow linearly in clips and in cells?

Makes synthetic data of the paper's widths at several numbers of train clips, trains one epoch of each generator, the
stream heads and the SVM bank on each, and prints a table; `--plot FILE` draws it as SVG, on logarithmic axes with the
straight line of slope 1 through the first point. Memory is what a process holds beyond the page cache. Called by
`just bench-growth`. Needs the standard library only.
"""

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

EXPERIMENT = Path(__file__).resolve().parent.parent / "experiments" / "icassp2019"
COLOURS = ["#2a6fbb", "#c8553d", "#3a7d44", "#8a5a9e", "#b58900", "#1b9e9e", "#555555", "#d277a8"]


def anonymous(pid):
    """Bytes of anonymous memory of a process, 0 when it is gone."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return 1024 * int(line.split()[1])
    except OSError:
        pass
    return 0


def run(command):
    """Standard output and peak anonymous bytes of a command."""
    process = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    peak, done = [0], threading.Event()

    def follow():
        while not done.wait(0.05):
            peak[0] = max(peak[0], anonymous(process.pid))

    threading.Thread(target=follow, daemon=True).start()
    out, err = process.communicate()
    done.set()
    if process.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit code {process.returncode}\n{err[-2000:]}")
    return out, peak[0]


def measure(args, clips, folder):
    """Seconds of every part by name, and the run's peak bytes."""
    data, db = folder / f"data{clips}", folder / f"runs{clips}.db"
    start = time.perf_counter()
    run([args.unmute, "data", "synth", data, "--preset", "paper", "--train", clips, "--val", clips // 10])
    seconds = {"data synth": time.perf_counter() - start}
    sets = ["train.epochs=1", "tsn.epochs=1", "controls=[]", "grid.audio=[vggish]", "grid.loss=[l2]", f"svm.c={args.svm_c}"]
    sets += [f"grid.classifier=[{','.join(args.classifier)}]", *args.set]
    command = [args.unmute, "run", EXPERIMENT, "--dataset", data, "--db", db, "--seeds", "0", "--workers", "1", "--device", "cpu"]
    start = time.perf_counter()
    _, peak = run([*command, *(part for s in sets for part in ("--set", s))])
    seconds["whole run"] = time.perf_counter() - start
    out, _ = run([args.unmute, "query", "--db", db, "--json", "SELECT kind, key, seconds FROM run"])
    for row in json.loads(out):
        name = " ".join(word for word in [row["kind"], *row["key"].split("/")[:3]] if word)
        seconds[name] = seconds.get(name, 0.0) + row["seconds"]
    shutil.rmtree(data)
    return seconds, peak


def svg(sizes, series):
    """Logarithmic axes; a dashed line of slope 1 through each first point."""
    width, height, left, right, top, bottom = 760, 420, 70, 230, 20, 50
    values = [v for points in series.values() for v in points if v > 0]
    x0, x1 = math.log10(min(sizes)) - 0.05, math.log10(max(sizes)) + 0.05
    y0, y1 = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    x = lambda v: left + (math.log10(v) - x0) / (x1 - x0) * (width - left - right)
    y = lambda v: height - bottom - (math.log10(v) - y0) / (y1 - y0) * (height - top - bottom)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        "<title>Seconds against train clips</title>",
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for power in range(y0, y1 + 1):
        at = y(10.0**power)
        out.append(f'<path d="M{left} {at:.1f}H{width - right}" stroke="#ddd"/>')
        out.append(f'<text x="{left - 8}" y="{at + 4:.1f}" text-anchor="end">{10.0**power:g} s</text>')
    for size in sizes:
        out.append(f'<path d="M{x(size):.1f} {top}V{height - bottom}" stroke="#eee"/>')
        out.append(f'<text x="{x(size):.1f}" y="{height - bottom + 18}" text-anchor="middle">{size:,}</text>')
    out.append(f'<text x="{(left + width - right) / 2}" y="{height - 10}" text-anchor="middle">train clips</text>')
    labels = sorted(series, key=lambda name: -series[name][-1])
    for place, name in enumerate(labels):
        colour, points = COLOURS[place % len(COLOURS)], series[name]
        line = " ".join(f"{x(s):.1f},{y(v):.1f}" for s, v in zip(sizes, points))
        ideal = points[0] * sizes[-1] / sizes[0]
        out.append(
            f'<path d="M{x(sizes[0]):.1f} {y(points[0]):.1f}L{x(sizes[-1]):.1f} {y(min(ideal, 10.0**y1)):.1f}" '
            f'stroke="{colour}" stroke-dasharray="3 4" opacity="0.6"/>'
        )
        out.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [f'<circle cx="{x(s):.1f}" cy="{y(v):.1f}" r="3" fill="{colour}"/>' for s, v in zip(sizes, points)]
        at = top + 14 + 18 * place
        out.append(f'<circle cx="{width - right + 14}" cy="{at - 4}" r="4" fill="{colour}"/>')
        out.append(f'<text x="{width - right + 24}" y="{at}">{name}</text>')
    return "\n".join([*out, "</svg>", ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--unmute", default="target/release/unmute")
    parser.add_argument("--sizes", default="5000,10000,20000", help="numbers of train clips; val clips are a tenth")
    parser.add_argument("--classifier", default=["with"], type=lambda t: t.split(","), help="with, without or both: more cells")
    parser.add_argument("--svm-c", default="0.01")
    parser.add_argument("--set", action="append", default=[], help="further settings of the experiment")
    parser.add_argument("--plot", help="an SVG file to draw")
    args = parser.parse_args()
    sizes = [int(s) for s in args.sizes.split(",")]
    folder = Path(tempfile.mkdtemp(prefix="unmute-growth-"))
    try:
        measured = [measure(args, size, folder) for size in sizes]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    names = list(measured[0][0])
    print("| part | " + " | ".join(f"{s:,} clips" for s in sizes) + " | growth for each doubling |")
    print("| --- |" + " --- |" * (len(sizes) + 1))
    for name in names:
        values = [seconds.get(name, 0.0) for seconds, _ in measured]
        doublings = math.log2(sizes[-1] / sizes[0])
        growth = f"{(values[-1] / values[0]) ** (1 / doublings):.2f} x" if values[0] > 0 and doublings else ""
        print(f"| {name} | " + " | ".join(f"{v:.1f} s" for v in values) + f" | {growth} |")
    print("| peak anonymous memory | " + " | ".join(f"{p / 2**20:.0f} MiB" for _, p in measured) + " | |")
    print(f"\n{os.cpu_count()} threads, {time.strftime('%Y-%m-%d')}", file=sys.stderr)
    if args.plot:
        series = {name: [seconds.get(name, 0.0) for seconds, _ in measured] for name in names}
        Path(args.plot).write_text(svg(sizes, series))


if __name__ == "__main__":
    main()
