"""Rotary positions: cosines and sines once per step, one table for each distinct `Rope` of a model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from .. import spec as s


class Rotary:
    """The rotation of one `Rope`: pairs of dimensions, the i-th turned by position * theta ** (-2i / dim)."""

    def __init__(self, rope: s.Rope, device: torch.device) -> None:
        steps = torch.arange(0, rope.dim, 2, dtype=torch.float32) / rope.dim
        scaling = dict(rope.scaling)
        scale = SCALINGS[str(scaling.get("rope_type", "default"))]
        frequencies, self._magnitude = scale(rope.theta**-steps, rope, scaling)
        self._frequencies = frequencies.to(device)
        self._interleaved = rope.interleaved

    def angles(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and signed sines [tokens, 1, dim] in float32, for `rotate`."""
        angles = positions[:, None, None] * self._frequencies
        cos, sin = angles.cos() * self._magnitude, angles.sin() * self._magnitude
        if self._interleaved:
            return cos.repeat_interleave(2, -1), torch.stack((-sin, sin), -1).flatten(-2)
        return torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor, *, interleaved: bool = False) -> Tensor:
    """Rotate heads [tokens, heads, head_dim] in float32; dimensions beyond those of cos and sin pass through."""
    dim = cos.shape[-1]
    turning = x[..., :dim].float()
    other = turning.view(*turning.shape[:-1], -1, 2).flip(-1).flatten(-2) if interleaved else turning.roll(dim // 2, -1)
    turned = torch.addcmul(turning * cos, other, sin).to(x.dtype)
    return turned if dim == x.shape[-1] else torch.cat((turned, x[..., dim:]), -1)


Scaled = tuple[Tensor, float]


def _default(frequencies: Tensor, rope: s.Rope, c: Mapping[str, Any]) -> Scaled:
    return frequencies, 1.0


def _linear(frequencies: Tensor, rope: s.Rope, c: Mapping[str, Any]) -> Scaled:
    """All positions closer together (Chen et al. 2023)."""
    return frequencies / c["factor"], 1.0


def _llama3(frequencies: Tensor, rope: s.Rope, c: Mapping[str, Any]) -> Scaled:
    """Slow rotations stretched, fast ones kept, those between blended (Llama 3.1)."""
    low, high = c["low_freq_factor"], c["high_freq_factor"]
    turns = c["original_max_position_embeddings"] * frequencies / (2 * math.pi)
    kept = ((turns - low) / (high - low)).clamp(0, 1)
    return frequencies * (kept + (1 - kept) / c["factor"]), 1.0


def _longrope(frequencies: Tensor, rope: s.Rope, c: Mapping[str, Any]) -> Scaled:
    """Each frequency stretched by a factor of its own, and sharpened (Ding et al. 2024)."""
    return frequencies / torch.tensor(c["factors"]), c["attention_factor"]


def _yarn(frequencies: Tensor, rope: s.Rope, c: Mapping[str, Any]) -> Scaled:
    """Stretched by how often a dimension turns within the original length, and sharpened (Peng et al. 2023)."""
    first = _yarn_dimension(c.get("beta_fast", 32), rope, c)
    last = _yarn_dimension(c.get("beta_slow", 1), rope, c)
    if c["truncate"]:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, rope.dim - 1)
    width = last - first if last != first else 1e-3
    stretched = ((torch.arange(rope.dim // 2, dtype=torch.float32) - first) / width).clamp(0, 1)
    return frequencies * (1 - stretched + stretched / c["factor"]), _yarn_magnitude(c)


def _yarn_dimension(turns: float, rope: s.Rope, c: Mapping[str, Any]) -> float:
    original = c["original_max_position_embeddings"]
    return rope.dim * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(rope.theta))


def _yarn_magnitude(c: Mapping[str, Any]) -> float:
    if (given := c.get("attention_factor")) is not None:
        return float(given)
    log = 0.1 * math.log(max(c["factor"], 1.0))
    above, below = c.get("mscale"), c.get("mscale_all_dim")
    return (above * log + 1.0) / (below * log + 1.0) if above and below else log + 1.0


SCALINGS: Mapping[str, Callable[[Tensor, s.Rope, Mapping[str, Any]], Scaled]] = {
    "default": _default,
    "linear": _linear,
    "llama3": _llama3,
    "longrope": _longrope,
    "yarn": _yarn,
}
