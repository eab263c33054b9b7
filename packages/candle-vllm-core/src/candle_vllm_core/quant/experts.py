"""The matrices of a mixture's experts: the seam where a grouped kernel takes the loop's place."""

from __future__ import annotations

import ctypes
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..native import Number, address, library
from ..native.structs import Matrix
from .weight import Weight

MOST_ADDED = 2
"""Tensors that our own code adds."""


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
        return self._combined(given, routing.order, weights, added)

    def _combined(self, given: Tensor, order: Tensor, weights: Tensor, added: Sequence[Tensor]) -> Tensor:
        """See `gather`; `given` [pairs, rows] are sorted by expert."""
        in_turn = torch.empty_like(given).index_copy_(0, order, given)
        result: Tensor = (in_turn.view(*weights.shape, self.rows) * weights[..., None]).sum(1)
        for its in added:
            result = result + its
        return result.to(given.dtype)


class LoopedExperts(ExpertStack):
    """Experts one after the other, each over its own tokens."""

    def __init__(self, experts: Sequence[Weight], biases: Tensor | None = None) -> None:
        """`experts` are of one shape, `biases` [experts, rows]."""
        self.count, self.rows = len(experts), experts[0].shape[0]
        self._experts = experts
        self._biases = biases
        self._native = _native(experts, biases)

    def multiply(self, x: Tensor, counts: Sequence[int]) -> Tensor:
        """See `ExpertStack.multiply`."""
        if self._native is not None and x.dtype == torch.bfloat16:
            return self._native(x, counts)
        found = [
            self._experts[expert].matmul(own, None if self._biases is None else self._biases[expert])
            for expert, own in enumerate(x.split_with_sizes(list(counts)))
            if own.shape[0]
        ]
        return torch.cat(found) if found else x.new_empty(0, self.rows)

    def _combined(self, given: Tensor, order: Tensor, weights: Tensor, added: Sequence[Tensor]) -> Tensor:
        if self._native is None or len(added) > MOST_ADDED or any(t.dtype != torch.bfloat16 for t in (given, *added)):
            return super()._combined(given, order, weights, added)
        return self._native.combine(given, order, weights, added)


class NativeExperts:
    """What experts give, and the sum of that, each in one call of our own code."""

    def __init__(self, found: ctypes.CDLL, matrices: Sequence[Matrix]) -> None:
        """`matrices` are of one shape and kind."""
        self._library, self._first, self._count = found, matrices[0], len(matrices)
        self._matrices = (Matrix * len(matrices))(*matrices)

    def __call__(self, x: Tensor, counts: Sequence[int]) -> Tensor:
        """See `ExpertStack.multiply`; x is bfloat16."""
        (pairs, columns), right = x.shape, self._first.columns
        if (columns, pairs, len(counts)) != (right, sum(counts), self._count) or min(counts) < 0:
            raise ValueError(f"{self._count} experts take rows of {right}, not {list(x.shape)} in parts of {counts}")
        x, y = x.contiguous(), x.new_empty(pairs, self._first.rows)
        rounded = None if self._first.scale is None else x.new_empty(pairs, columns + -columns % 4, dtype=torch.uint8)
        largest = None if rounded is None else x.new_empty(pairs, dtype=torch.float32)
        self._library.native_experts(
            ctypes.byref(self._matrices),
            (Number * self._count)(*counts),
            self._count,
            *(address(each) for each in (x, rounded, largest, y)),
            pairs,
            torch.get_num_threads(),
        )
        return y

    def combine(self, given: Tensor, order: Tensor, weights: Tensor, added: Sequence[Tensor]) -> Tensor:
        """See `ExpertStack.gather`; all but the weights are bfloat16, and `added` are two at most."""
        (tokens, choices), dim = weights.shape, self._first.rows
        shapes = [(tokens * choices, dim), (tokens * choices,), *[(tokens, dim)] * len(added)]
        if [each.shape for each in (given, order, *added)] != shapes:
            raise ValueError(f"{list(given.shape)} are not {choices} of {dim} numbers for each of {tokens} tokens")
        places = torch.empty_like(order).index_copy_(0, order, torch.arange(len(order)))
        kept = [each.contiguous() for each in (given, places, weights.float(), *added)]
        y = given.new_empty(tokens, dim)
        where = [address(each) for each in kept] + [None] * (MOST_ADDED - len(added))
        threads = torch.get_num_threads() if tokens > 1 else 1
        self._library.native_combine(*where, address(y), tokens, choices, dim, threads)
        return y


def _native(experts: Sequence[Weight], biases: Tensor | None) -> NativeExperts | None:
    """The experts in our own code, if it takes all of their matrices."""
    if biases is not None and (biases.dtype != torch.bfloat16 or not biases.is_contiguous()):
        return None
    each = [expert.matrix(None if biases is None else biases[number]) for number, expert in enumerate(experts)]
    matrices = [matrix for matrix in each if matrix is not None]
    found = library() if len(matrices) == len(experts) else None
    return None if found is None else NativeExperts(found, matrices)
