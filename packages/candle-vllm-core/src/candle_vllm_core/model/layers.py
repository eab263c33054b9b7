"""The parts that every decoder has: normalisation, linear maps, activations, embedding and head."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import spec as s
from .loader import Loader


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


def norm_parameters(norm: s.Norm, load: Loader, *shape: int) -> tuple[Tensor, Tensor | None]:
    """Weight and bias of a normalisation, in float32 where they count before rounding."""
    weight, bias = load.tensor("weight", *shape), load.tensor("bias", *shape) if norm.bias else None
    if norm.wide:
        weight, bias = weight.float(), None if bias is None else bias.float()
    return weight + 1 if norm.offset else weight, bias


def normalise(norm: s.Norm, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Normalise the last dimension of x in float32, round to the weight's type, apply weight and bias."""
    wide = x.to(weight.dtype)
    found = F.rms_norm(wide, x.shape[-1:], None, norm.eps) if norm.kind == "rms" else _centred(wide, norm.eps)
    found = found * weight if bias is None else torch.addcmul(bias, found, weight)
    return found.to(x.dtype)


def _centred(x: Tensor, eps: float) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], None, None, eps)


class Norm(nn.Module):
    """A normalisation of the hidden state."""

    def __init__(self, norm: s.Norm, dim: int, load: Loader) -> None:
        super().__init__()
        self.spec = norm
        self.weight, self.bias = norm_parameters(norm, load, dim)

    def forward(self, x: Tensor) -> Tensor:
        """[tokens, dim] to the same."""
        return normalise(self.spec, x, self.weight, self.bias)


class Linear(nn.Module):
    """One linear map, or several of the same input as one: their outputs stand side by side in the order of `names`."""

    def __init__(self, names: Sequence[str], rows: Sequence[int], columns: int, load: Loader, *, bias: bool) -> None:
        super().__init__()
        self.weight = load.matrix(names, rows, columns)
        self.bias = load.biases(names, rows) if bias else None

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """[tokens, columns] to [tokens, rows of all], plus a residual of that shape."""
        return self.weight.matmul(x, self.bias, residual)


class Embedding(nn.Module):
    """Token ids to rows of a matrix."""

    def __init__(self, vocab: int, dim: int, scale: float, load: Loader) -> None:
        super().__init__()
        self.table = load.tensor("weight", vocab, dim)
        self._scale = torch.tensor(scale).to(self.table.dtype).item()

    def forward(self, tokens: Tensor) -> Tensor:
        """[tokens] to [tokens, dim]."""
        found = F.embedding(tokens, self.table)
        return found if self._scale == 1.0 else found * self._scale


class Head(nn.Module):
    """Hidden states to logits; a tied head is the embedding's matrix."""

    def __init__(self, spec: s.Decoder, embedding: Embedding, load: Loader) -> None:
        super().__init__()
        self.spec = spec
        self.weight = load.pack(embedding.table) if spec.tied else load.matrix(["lm_head"], [spec.vocab], spec.dim)
        self.bias = load.biases(["lm_head"], [spec.vocab]) if spec.head_bias else None

    def forward(self, x: Tensor) -> Tensor:
        """[rows, dim] to [rows, vocab] in float32."""
        logits = self.weight.matmul(x, self.bias).float()
        if self.spec.logit_scale != 1.0:
            logits = logits * self.spec.logit_scale
        cap = self.spec.logit_softcap
        return logits if cap is None else torch.tanh(logits / cap) * cap
