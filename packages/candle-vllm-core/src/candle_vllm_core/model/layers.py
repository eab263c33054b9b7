"""The parts that every decoder has: normalisation, linear maps, embedding and head."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import spec as s
from .loader import Loader


class Norm(nn.Module):
    """x / rms(x) in float32, rounded to x's type, then times the weight."""

    def __init__(self, norm: s.Norm, dim: int, load: Loader) -> None:
        super().__init__()
        self.eps = norm.eps
        self.weight = load.tensor("weight", dim)

    def forward(self, x: Tensor) -> Tensor:
        """[tokens, dim] to the same."""
        return F.rms_norm(x, x.shape[-1:], None, self.eps) * self.weight


class Linear(nn.Module):
    """One linear map, or several of the same input as one: their outputs stand side by side in the order of `names`."""

    def __init__(self, names: Sequence[str], rows: Sequence[int], columns: int, load: Loader, *, bias: bool) -> None:
        super().__init__()
        self.weight = load.matrix([f"{name}.weight" for name in names], rows, columns)
        biases = [load.tensor(f"{name}.bias", part) for name, part in zip(names, rows, strict=True)] if bias else []
        self.bias = torch.cat(biases) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """[tokens, columns] to [tokens, rows of all]."""
        return self.weight.matmul(x, self.bias)


class Embedding(nn.Module):
    """Token ids to rows of a matrix."""

    def __init__(self, vocab: int, dim: int, load: Loader) -> None:
        super().__init__()
        self.table = load.tensor("weight", vocab, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """[tokens] to [tokens, dim]."""
        return F.embedding(tokens, self.table)


class Head(nn.Module):
    """Hidden states to logits; a tied head is the embedding's matrix."""

    def __init__(self, spec: s.Decoder, embedding: Embedding, load: Loader) -> None:
        super().__init__()
        tied = spec.tied
        self.weight = load.pack(embedding.table) if tied else load.matrix(["lm_head.weight"], [spec.vocab], spec.dim)

    def forward(self, x: Tensor) -> Tensor:
        """[rows, dim] to [rows, vocab] in float32."""
        return self.weight.matmul(x).float()
