"""The parts that every decoder has: normalisation, linear maps, embedding and head."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .. import spec as s
from .loader import Loader
from .ops import NormWeights


def norm_weights(norm: s.Norm, load: Loader, *shape: int) -> NormWeights:
    """What a normalisation of a shape learned."""
    weight, bias = load.tensor("weight", *shape), load.tensor("bias", *shape) if norm.bias else None
    if norm.wide:
        weight, bias = weight.float(), None if bias is None else bias.float()
    return NormWeights(norm, weight + 1 if norm.offset else weight, bias)


class Norm(nn.Module):
    """A normalisation of the hidden state."""

    def __init__(self, norm: s.Norm, dim: int, load: Loader) -> None:
        super().__init__()
        self.ops, self.weights = load.ops, norm_weights(norm, load, dim)

    def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """[tokens, dim] to the same, plus a residual."""
        return self.ops.normalise(self.weights, x, residual)


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

    def __init__(self, vocab: int, dim: int, scale: float, load: Loader, *, tied: bool) -> None:
        super().__init__()
        self.table = load.table(vocab, dim, tied=tied)
        self._scale = scale

    def forward(self, tokens: Tensor) -> Tensor:
        """[tokens] to [tokens, dim]."""
        found = self.table.lookup(tokens)
        return found if self._scale == 1.0 else found * _rounded(self._scale, found.dtype)


@functools.cache
def _rounded(number: float, dtype: torch.dtype) -> float:
    return float(torch.tensor(number).to(dtype).item())


class Head(nn.Module):
    """Hidden states to logits; a tied head is the embedding's matrix."""

    def __init__(self, spec: s.Decoder, embedding: Embedding, load: Loader) -> None:
        super().__init__()
        self.spec = spec
        self.weight = load.tied(embedding.table) if spec.tied else load.matrix(["lm_head"], [spec.vocab], spec.dim)
        self.bias = load.biases(["lm_head"], [spec.vocab]) if spec.head_bias else None

    def forward(self, x: Tensor) -> Tensor:
        """[rows, dim] to [rows, vocab]; in float32 if they are scaled or capped."""
        logits, scale, cap = self.weight.matmul(x, self.bias), self.spec.logit_scale, self.spec.logit_softcap
        if scale != 1.0:
            logits = logits.float() * scale
        return logits if cap is None else torch.tanh(logits.float() / cap) * cap
