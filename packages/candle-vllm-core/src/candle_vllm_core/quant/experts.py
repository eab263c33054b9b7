"""The matrices of a mixture's experts: the seam where a grouped kernel takes the loop's place."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .weight import Weight


class Routing(NamedTuple):
    """Which pairs of a token and one of its experts each expert gets; found out once for all matrices of a layer."""

    experts: Tensor
    """[tokens, top_k]; pair `token * top_k + choice` is the token's with its expert of that number"""
    order: Tensor | None = None
    """The pairs, sorted by expert; None: they stay as they are"""
    counts: Sequence[int] = ()
    """How many pairs each expert has; empty where the device keeps that to itself"""
    tiles: Tensor | None = None
    """The same for a device, in parts of one size"""


class ExpertStack(ABC):
    """One matrix [rows, columns] for each of `count` experts."""

    count: int
    rows: int

    @abstractmethod
    def multiply(self, x: Tensor, counts: Sequence[int]) -> Tensor:
        """x [tokens, columns], sorted by expert, `counts` tokens for each: [tokens, rows]. No other expert is read."""

    def route(self, experts: Tensor) -> Routing:
        """Tokens' experts [tokens, top_k] as the stacks of a layer take them."""
        pairs = experts.flatten()
        return Routing(experts, pairs.argsort(stable=True), pairs.bincount(minlength=self.count).tolist())

    def spread(self, x: Tensor, routing: Routing) -> Tensor:
        """x [tokens, columns], each times its experts' matrices: [pairs, rows], in the order that `gather` takes."""
        if routing.order is None:
            raise ValueError("the pairs are not sorted: another kind of stack has routed them")
        return self.multiply(x[routing.order // routing.experts.shape[1]], routing.counts)

    def gather(self, x: Tensor, routing: Routing, weights: Tensor, added: Sequence[Tensor] = ()) -> Tensor:
        """x [pairs, columns], each times its expert's matrix, then weighed and summed for each token: [tokens, rows].

        `weights` [tokens, top_k] are float32. What is `added` [tokens, rows] is, in turn, before the sum is rounded.
        """
        if routing.order is None:
            raise ValueError("the pairs are not sorted: another kind of stack has routed them")
        given = self.multiply(x, routing.counts)
        in_turn = torch.empty_like(given).index_copy_(0, routing.order, given)
        result: Tensor = (in_turn.view(*routing.experts.shape, self.rows) * weights[..., None]).sum(1)
        for its in added:
            result = result + its
        return result.to(x.dtype)


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
