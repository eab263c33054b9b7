"""Activations whose bits do not depend on where a number stands in its tensor."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from .. import spec as s


def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + exp(-x)), the same bits wherever a number stands.

    In float32 torch's own sigmoid, and all that are made of it, differ in the last numbers of a tensor or of a thread's
    share; exp and erf do not. In shorter types that difference is lost in rounding.
    """
    return torch.exp(-x.float()).add_(1).reciprocal_().to(x.dtype)


def silu(x: Tensor) -> Tensor:
    """x * sigmoid(x), the same bits wherever a number stands."""
    return x * sigmoid(x) if x.dtype == torch.float32 else F.silu(x)


def gelu(x: Tensor) -> Tensor:
    """x times the chance that a normal number is below it (Hendrycks and Gimpel 2016)."""
    return torch.erf(x * 2**-0.5).add_(1).mul_(x).mul_(0.5) if x.dtype == torch.float32 else F.gelu(x)


def gelu_tanh(x: Tensor) -> Tensor:
    """The approximation of `gelu` by tanh(sqrt(2 / pi) * (x + 0.044715 x^3))."""
    if x.dtype != torch.float32:
        return F.gelu(x, approximate="tanh")
    return x * sigmoid((x * x).mul_(0.044715).add_(1).mul_(x).mul_(2 * math.sqrt(2 / math.pi)))


def _clamped_swish(gate: Tensor, up: Tensor) -> Tensor:
    gate = gate.clamp(max=7.0)
    return (up.clamp(-7.0, 7.0) + 1) * gate * sigmoid(1.702 * gate)


GATED: Mapping[s.Activation, Callable[[Tensor, Tensor], Tensor]] = {
    "silu": lambda gate, up: silu(gate) * up,
    "gelu": lambda gate, up: gelu(gate) * up,
    "gelu_tanh": lambda gate, up: gelu_tanh(gate) * up,
    "clamped_swish": _clamped_swish,
}
"""An activation of the gate, times what it gates; each [tokens, width]."""
