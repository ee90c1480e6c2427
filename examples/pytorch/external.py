"""A generator of your own beside those of unmute: trains a small network and writes the audio feature of every clip.

    unmute export clips experiments/corsmal --dataset data/corsmal > clips.csv
    python examples/pytorch/external.py data/corsmal clips.csv features/pytorch
    unmute run experiments/corsmal --dataset data/corsmal --features features/pytorch \
        --set 'grid.generator=[lstm, autoencoder, external:pytorch]'

clips.csv says in `has_audio` which clips sound in the experiment: the others must not be trained on.
"""

import csv
import pathlib
import sys

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

data, listed, out = map(pathlib.Path, sys.argv[1:4])
feature = sys.argv[4] if len(sys.argv) > 4 else "vggish"
load = lambda name: next(iter(load_file(data / f"{name}.safetensors").values())).float()
clips = list(csv.DictReader(open(listed)))
# Rows of streams are clips; rows of sound are those clips that the data set itself has sound of, in the same order.
recorded = [row["clip"] for row in csv.DictReader(open(data / "clips.csv")) if row["has_audio"] == "true"]
audio = dict(zip(recorded, load(feature)))
vision = torch.cat([load(name) for name in ("rgb", "flow")], -1).mean(1)
train = [i for i, c in enumerate(clips) if c["split"] == "train" and c["has_audio"] == "true"]
target = torch.stack([audio[clips[i]["clip"]] for i in train])
scale = lambda x: (x.mean(0), x.std(0).clamp_min(1e-6))
(vm, vs), (am, asd) = scale(vision[train]), scale(target)
x, y = (vision - vm) / vs, (target - am) / asd

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(x.shape[1], 256), nn.ReLU(), nn.Dropout(0.5), nn.Linear(256, y.shape[1]))
adam = torch.optim.Adam(model.parameters(), 1e-3, weight_decay=1e-4)
for epoch in range(60):
    for rows in torch.randperm(len(train)).split(32):
        loss = nn.functional.mse_loss(model(x[[train[r] for r in rows]]), y[rows])
        adam.zero_grad(), loss.backward(), adam.step()
with torch.no_grad():
    made = model.eval()(x) * asd + am

out.mkdir(parents=True, exist_ok=True)
for clip, row in zip(clips, made):
    np.save(out / f"{clip['clip']}_{feature}.pytorch.npy", row.numpy())
print(f"{len(clips)} clips, loss {loss.item():.4f}: external:pytorch")
