"""The largest difference between the features of two folders, by name: compare.py OURS THEIRS"""
import pathlib
import sys

import numpy as np

ours, theirs = map(pathlib.Path, sys.argv[1:3])
worst, files, wrong = {}, 0, []
for path in sorted(theirs.glob("*.npy")):
    name = path.stem.rsplit("_", 1)[1]
    if not (ours / path.name).exists():
        wrong.append(f"{path.name} is missing")
        continue
    a, b = np.load(ours / path.name), np.load(path)
    if a.shape != b.shape:
        wrong.append(f"{path.name}: {a.shape} and {b.shape}")
        continue
    files += 1
    worst[name] = max(worst.get(name, 0.0), float(np.abs(a - b).max()))
print(f"{files} files; largest differences: {worst}")
print("\n".join(wrong))
sys.exit(bool(wrong) or any(w > 1e-3 for w in worst.values()))
