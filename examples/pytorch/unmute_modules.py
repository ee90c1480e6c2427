"""Modules that take what `unmute export weights RUN --format safetensors` writes: `load_state_dict(strict=True)`.

    from safetensors import safe_open
    model = load("lstm.safetensors")
    audio, classes = model(vision)      # vision (clips, T, D_v): all streams side by side, as in the data set

Scales are part of the modules: raw features go in, raw features and class probabilities come out.
"""

import json

import torch
from safetensors.torch import load_file, safe_open
from torch import nn


class Generator(nn.Module):
    """Scales and heads; `trunk` makes of (clips, T, D_v) what the classifier and the feature's head read."""

    def __init__(self, about, classes_from, audio_from):
        super().__init__()
        visual = sum(stream["width"] for stream in about["streams"])
        audio, classes = about["audio"]["width"], len(about["classes"])
        scales = [("input", visual), ("target", audio)]
        if about["matched"]:
            scales += [("match_from", audio), ("match_to", audio)]
        for name, width in scales:
            self.register_buffer(f"{name}_mean", torch.zeros(width))
            self.register_buffer(f"{name}_inverse_sd", torch.ones(width))
        self.classify = nn.Linear(classes_from, classes)
        self.audio = nn.Linear(audio_from, audio)
        self.matched = about["matched"]

    def forward(self, vision):
        for_classes, for_audio = self.trunk((vision - self.input_mean) * self.input_inverse_sd)
        logits, audio = self.classify(for_classes), self.audio(for_audio)
        if logits.dim() == 3:
            logits, audio = logits.mean(1), audio.mean(1)
        audio = audio / self.target_inverse_sd + self.target_mean
        if self.matched:
            audio = (audio - self.match_from_mean) * self.match_from_inverse_sd
            audio = audio / self.match_to_inverse_sd + self.match_to_mean
        return audio, logits.softmax(-1)


class Lstm(Generator):
    def __init__(self, about):
        hidden = about["settings"]["hidden"]
        super().__init__(about, hidden, hidden)
        self.lstm = nn.LSTM(len(self.input_mean), hidden, batch_first=True)

    def trunk(self, x):
        h = self.lstm(x)[1][0][0]
        return h, h


class Autoencoder(Generator):
    def __init__(self, about):
        settings = about["settings"]
        encoder, decoder = settings["encoder"], settings["decoder"]
        super().__init__(about, encoder[-1], decoder[-1])
        self.mean = settings["test_frame"] == "mean"
        self.layers = []
        width = len(self.input_mean)
        for part, widths in [("encoder", encoder), ("decoder", decoder)]:
            for i, to in enumerate(widths):
                self.add_module(f"{part}{i}", nn.Linear(width, to))
                self.layers.append(f"{part}{i}")
                width = to
        self.latent = f"encoder{len(encoder) - 1}"

    def trunk(self, x):
        x = x if self.mean else x[:, x.shape[1] // 2]
        latent = x
        for name in self.layers:
            x = getattr(self, name)(x).relu()
            latent = x if name == self.latent else latent
        return latent, x


class Mlp(Generator):
    def __init__(self, about):
        width = about["settings"]["width"]
        super().__init__(about, width, width)
        self.mlp0 = nn.Linear(len(self.input_mean), width)
        self.mlp1 = nn.Linear(width, width)

    def trunk(self, x):
        h = self.mlp1(self.mlp0(x.mean(1)).relu()).relu()
        return h, h


class Layer(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm0, self.norm1 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, z):
        split = lambda y: y.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        q, k, v = map(split, self.qkv(self.norm0(z)).chunk(3, -1))
        # As scaled_dot_product_attention, which PyTorch has from 2.0 on.
        mixed = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1) @ v
        z = z + self.out(mixed.transpose(1, 2).flatten(2))
        return z + self.down(self.up(self.norm1(z)).relu())


class Transformer(Generator):
    def __init__(self, about):
        settings = about["settings"]
        width = settings["width"]
        super().__init__(about, width, width)
        self.input = nn.Linear(len(self.input_mean), width)
        self.positions = nn.Parameter(torch.zeros(about["frames"], width))
        self.count = settings["layers"]
        for i in range(self.count):
            self.add_module(f"layer{i}", Layer(width, settings["heads"]))
        self.norm = nn.LayerNorm(width)

    def trunk(self, x):
        z = self.input(x) + self.positions
        for i in range(self.count):
            z = getattr(self, f"layer{i}")(z)
        z = self.norm(z).mean(1)
        return z, z


class Head(nn.Module):
    """The head on a stream: class probabilities of (clips, T, D)."""

    def __init__(self, about):
        super().__init__()
        width = sum(stream["width"] for stream in about["streams"])
        self.register_buffer("input_mean", torch.zeros(width))
        self.register_buffer("input_inverse_sd", torch.ones(width))
        self.head = nn.Linear(width, len(about["classes"]))

    def forward(self, vision):
        x = (vision - self.input_mean) * self.input_inverse_sd
        return self.head(x.mean(1)).softmax(-1)


MODULES = {"lstm": Lstm, "autoencoder": Autoencoder, "mlp": Mlp, "transformer": Transformer}


def load(path):
    """The module that a file of weights is of, with its weights."""
    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["unmute"])
        about["matched"] = "match_from_mean" in file.keys()
    part = about["part"]
    model = Head(about) if part["kind"] == "stream" else MODULES[part["generator"]](about)
    model.load_state_dict(load_file(path), strict=True)
    return model.eval()
