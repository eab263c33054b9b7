"""The matrices of a mixture's experts: the seam where a grouped kernel takes the loop's place."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from .weight import Weight


class ExpertStack(ABC):
    """One matrix [rows, columns] for each of `count` experts."""

    count: int
    rows: int

    @abstractmethod
    def multiply(self, x: Tensor, counts: Sequence[int]) -> Tensor:
        """x [tokens, columns], sorted by expert, `counts` tokens for each: [tokens, rows]. No other expert is read."""


class LoopedExperts(ExpertStack):
    """Experts one after the other, each over its own tokens."""

    def __init__(self, experts: Sequence[Weight], biases: Tensor | None = None) -> None:
        """`experts` are of one shape, `biases` [experts, rows]."""
        self.count, self.rows = len(experts), experts[0].shape[0]
        self._experts = experts
        self._biases = biases

    def multiply(self, x: Tensor, counts: Sequence[int]) -> Tensor:
        """See `ExpertStack.multiply`."""
        found = [
            self._experts[expert].matmul(own, None if self._biases is None else self._biases[expert])
            for expert, own in enumerate(x.split_with_sizes(list(counts)))
            if own.shape[0]
        ]
        return torch.cat(found) if found else x.new_empty(0, self.rows)
