"""NTv3 once more, in plain float64 numpy and one piece: what the network under test is compared with.

Written from the equations alone, slowly and without any shortcut of `networks/ntv3.py`: no tiles, no fused
upsampling, no fused attention. Convention: activations are (position, channel).
"""

import json
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file

from tests.extractor.golden import GOLDEN

Array = npt.NDArray[np.float64]

#: Of every norm of a tower; the configured epsilon holds in the transformer.
TOWER_EPS = 1e-5


class PlainNTv3:
    """A golden model, with another epsilon in its transformer blocks where asked."""

    def __init__(self, model: str, eps: float) -> None:
        self.config: dict[str, Any] = json.loads((GOLDEN / f"tiny{model}_config.json").read_text())
        self.eps = eps
        found = load_file(GOLDEN / f"tiny{model}_weights.safetensors")
        self.weights = {name.removeprefix("core."): w.astype(np.float64) for name, w in found.items()}

    def taps(self, ids: npt.NDArray[Any], species: int | None = None) -> dict[str, Array]:
        """Every tap of token ids (L,)."""
        w, c = self.weights, self.config
        condition = None if species is None else w["cond_tables.0.weight"][species]
        found: dict[str, Array] = {}
        x = _gelu(_correlate(w["embed_layer.weight"][ids], w["stem.conv.weight"], w["stem.conv.bias"]))
        found["stem"] = x
        skips = []
        for i in range(c["num_downsamples"]):
            skips.append(x)
            name = f"conv_tower_blocks.{i}"
            y = self._norm(x, f"{name}.conv.layer_norm", TOWER_EPS, condition)
            y = _gelu(_correlate(y, w[f"{name}.conv.conv.weight"], w[f"{name}.conv.conv.bias"]))
            kernel = w[f"{name}.res_conv.conv_block.conv.weight"]
            y = self._residual(y, f"{name}.res_conv", kernel, condition)
            found[f"down.{i}"] = y
            x = (y[0::2] + y[1::2]) / 2
        for i in range(c["num_layers"]):
            x = self._transformer(x, f"transformer_blocks.{i}", condition)
            found[f"transformer.{i}"] = x
        for j in range(c["num_downsamples"]):
            name = f"deconv_tower_blocks.{j}"
            y = self._norm(x, f"{name}.conv.layer_norm", TOWER_EPS, condition)
            kernel, bias = w[f"{name}.conv.conv.weight"], w[f"{name}.conv.conv.bias"]
            if c["deconv_upsample_type"] == "repeat+conv":
                y = np.repeat(y, 2, axis=0)
            else:
                spread = np.zeros((2 * len(y), y.shape[1]))
                spread[1::2] = y
                y, kernel = spread, kernel.transpose(1, 0, 2)
            y = _gelu(_correlate(y, kernel, bias))
            pointwise = w[f"{name}.res_conv.conv_block.conv.weight"].transpose(1, 0, 2)
            x = self._residual(y, f"{name}.res_conv", pointwise, condition) + skips.pop()
            found[f"up.{j}"] = x
        return found

    def _norm(self, x: Array, name: str, eps: float, condition: Array | None) -> Array:
        w = self.weights
        centred = x - x.mean(1, keepdims=True)
        y = centred / np.sqrt((centred**2).mean(1, keepdims=True) + eps)
        y = y * w[f"{name}.weight"] + w[f"{name}.bias"]
        if condition is not None:
            shift, scale = np.split(self._linear(condition, f"{name}.modulation_layers.0"), 2)
            y = y * (1 + scale) + shift
        return np.asarray(y)

    def _residual(self, x: Array, name: str, kernel: Array, condition: Array | None) -> Array:
        y = self._norm(x, f"{name}.conv_block.layer_norm", TOWER_EPS, condition)
        y = _gelu(_correlate(y, kernel, self.weights[f"{name}.conv_block.conv.bias"]))
        return x + self._gated(y, name, condition)

    def _transformer(self, x: Array, name: str, condition: Array | None) -> Array:
        y = self._norm(x, f"{name}.self_attention_layer_norm", self.eps, condition)
        x = x + self._attention(y, f"{name}.sa_layer")
        y = self._norm(x, f"{name}.final_layer_norm", self.eps, condition)
        gate, value = np.split(y @ self.weights[f"{name}.fc1.weight"].T, 2, axis=1)
        y = (gate / (1 + np.exp(-gate)) * value) @ self.weights[f"{name}.fc2.weight"].T
        return x + self._gated(y, name, condition)

    def _attention(self, x: Array, name: str) -> Array:
        size, half = self.config["key_size"], self.config["key_size"] // 2
        angles = np.arange(len(x))[:, None] * 10_000.0 ** (-np.arange(half) / half)
        cos, sin = np.cos(angles), np.sin(angles)

        def rotated(y: Array) -> Array:
            first, second = y[:, :half], y[:, half:]
            return np.hstack((first * cos - second * sin, second * cos + first * sin))

        query, key, value = (
            self._linear(x, f"{name}.{one}_head.linear") for one in ("query", "key", "value")
        )
        heads = []
        for start in range(0, x.shape[1], size):
            own = slice(start, start + size)
            logits = rotated(query[:, own]) @ rotated(key[:, own]).T / np.sqrt(size)
            weights = np.exp(logits - logits.max(1, keepdims=True))
            heads.append(weights / weights.sum(1, keepdims=True) @ value[:, own])
        return self._linear(np.hstack(heads), f"{name}.mha_output")

    def _gated(self, y: Array, name: str, condition: Array | None) -> Array:
        return y if condition is None else y * (1 + self._linear(condition, f"{name}.modulation_layers.0"))

    def _linear(self, x: Array, name: str) -> Array:
        y: Array = x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]
        return y


def _gelu(x: Array) -> Array:
    y: Array = x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    return y


def _correlate(x: Array, kernel: Array, bias: Array) -> Array:
    """Zero-padded to the same length; the kernel is (out, in, odd size)."""
    size = kernel.shape[2]
    padded = np.pad(x, ((size // 2, size // 2), (0, 0)))
    y: Array = np.sum([padded[k : k + len(x)] @ kernel[:, :, k].T for k in range(size)], axis=0)
    return y + bias
