"""The matrices of a mixture's experts on a GPU: all in one launch, and the host never learns who gets what."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..kernels import experts as kernel
from ..kernels.routing import Sorted, sort_pairs
from .experts import ExpertStack, Routing


class GroupedExperts(ExpertStack):
    """Experts as one tensor, which a grouped kernel reads. Pairs stand in the order of their numbers everywhere."""

    def __init__(self, matrices: Tensor, biases: Tensor | None = None) -> None:
        """`matrices` are [experts, rows, columns], `biases` [experts, rows]."""
        self.count, self.rows = matrices.shape[:2]
        self._matrices = matrices
        self._biases = biases

    def multiply(self, x: Tensor, counts: Sequence[int]) -> Tensor:
        """See `ExpertStack.multiply`."""
        owners = torch.arange(self.count, device=x.device).repeat_interleave(torch.tensor(counts, device=x.device))
        return self.spread(x, self.route(owners[:, None]))

    def route(self, experts: Tensor) -> Routing:
        """See `ExpertStack.route`; nothing waits for the device."""
        pairs = experts.numel()
        if kernel.few(pairs, self.count):
            return Routing(experts)
        height = kernel.tile_for(pairs, self.count, self._matrices.dtype.itemsize).pairs
        found = sort_pairs(experts, self.count, height)
        return Routing(experts, found.order, (), found.tiles)

    def spread(self, x: Tensor, routing: Routing) -> Tensor:
        """See `ExpertStack.spread`."""
        return kernel.multiply(x, self._matrices, routing.experts, _sorted(routing), self._biases)

    def gather(self, x: Tensor, routing: Routing, weights: Tensor, added: Sequence[Tensor] = ()) -> Tensor:
        """See `ExpertStack.gather`; what an expert gives is weighed before it is rounded."""
        given = kernel.multiply(x, self._matrices, routing.experts, _sorted(routing), self._biases, weights)
        return kernel.combine(given, routing.experts.shape[1], added)


def _sorted(routing: Routing) -> Sorted | None:
    if routing.order is None or routing.tiles is None:
        return None
    return Sorted(routing.order, routing.tiles)
