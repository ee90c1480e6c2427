#!/usr/bin/env python3
"""Processor seconds (user + system, of all processes) that a build takes: a changed line in src/cli/mod.rs to a rebuilt
program, and to rebuilt tests; with --first, the first build of the program in an empty target folder."""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time

LINE = "pub fn run(cli: Cli) -> i32 {\n"


def cargo(*arguments, target=None):
    """Runs cargo; processor seconds, seconds of waiting."""
    env = dict(os.environ)
    if target:
        env["CARGO_TARGET_DIR"] = target
    spent = lambda: sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    before, began = spent(), time.monotonic()
    done = subprocess.run(["cargo", *arguments], env=env, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.stderr + f"cargo {' '.join(arguments)} failed")
    return spent() - before, time.monotonic() - began


def changed(path, arguments, target, times):
    """What cargo takes after a changed line, the median of some times. The file is put back."""
    with open(path) as file:
        text = file.read()
    if LINE not in text:
        sys.exit(f"{path} has no line {LINE!r}\n  next: change LINE in benches/build.py")
    cargo(*arguments, target=target)
    measured = []
    try:
        for i in range(times):
            with open(path, "w") as file:
                file.write(text.replace(LINE, LINE + f"    std::hint::black_box({os.getpid() * 100 + i});\n"))
            measured.append(cargo(*arguments, target=target))
    finally:
        with open(path, "w") as file:
            file.write(text)
    return sorted(measured)[times // 2]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first", action="store_true", help="also the first build of the program, which takes minutes")
    parser.add_argument("--only-first", action="store_true", help="that alone")
    parser.add_argument("--times", type=int, default=1, help="changes, of which the median is printed (default: 1)")
    parser.add_argument("--target", help="target folder of the changes (default: cargo's own)")
    options = parser.parse_args()
    os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
    cores = len(os.sched_getaffinity(0))
    print(f"{'':44}{'processor':>10}{'waiting':>10}   on {cores} core(s)")

    def tell(what, figures):
        busy = figures[0] / figures[1] / cores
        print(f"{what:44}{figures[0]:9.1f}s{figures[1]:9.1f}s   {busy:4.0%} busy", flush=True)

    if not options.only_first:
        builds = [("a line in src/cli to the program", ["build", "--locked"])]
        builds.append(("a line in src/cli to the tests", ["test", "--locked", "--test", "unmute", "--no-run"]))
        for what, arguments in builds:
            tell(what, changed("src/cli/mod.rs", arguments, options.target, options.times))
    if options.first or options.only_first:
        target = tempfile.mkdtemp(prefix="unmute-first-build-")
        try:
            tell("the first build of the program (release)", cargo("build", "--release", "--locked", "--timings", target=target))
            for name in os.listdir(os.path.join(target, "cargo-timings")):
                if name == "cargo-timing.html":
                    kept = os.path.abspath("target/first-build.html")
                    os.makedirs("target", exist_ok=True)
                    shutil.copy(os.path.join(target, "cargo-timings", name), kept)
                    print(f"what took how long: {kept}")
        finally:
            shutil.rmtree(target)


if __name__ == "__main__":
    main()
