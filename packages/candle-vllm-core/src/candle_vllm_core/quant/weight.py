"""A matrix of a checkpoint, stored somehow: `Weight`, one whose rows are looked up, and the plain one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..native.structs import Matrix


class Weight(ABC):
    """A matrix [rows, columns] that activations are multiplied with; how it is stored is its own affair."""

    shape: tuple[int, int]

    @abstractmethod
    def matmul(self, x: Tensor, bias: Tensor | None = None, residual: Tensor | None = None) -> Tensor:
        """x [tokens, columns] times the transposed matrix, plus bias [rows], plus a residual: [tokens, rows].

        A residual is added before the sum is rounded, where the device can.
        """

    def matrix(self, bias: Tensor | None) -> Matrix | None:
        """The matrix as C functions take it, who keep neither it nor the bias alive; None if it is not for them."""
        return None

    @abstractmethod
    def dense(self) -> Tensor:
        """The matrix itself [rows, columns]."""

    @abstractmethod
    def rows(self, start: int, stop: int) -> Weight:
        """The matrix of the rows from `start` up to `stop`."""


class Table(Weight):
    """A matrix whose rows are looked up, too."""

    @abstractmethod
    def lookup(self, numbers: Tensor) -> Tensor:
        """The rows of these numbers, from 0 up to `rows`, which is not checked: [numbers, columns]."""


class DenseWeight(Table):
    """A matrix as a plain tensor."""

    def __init__(self, tensor: Tensor) -> None:
        self.shape = (tensor.shape[0], tensor.shape[1])
        self._tensor = tensor

    def matmul(self, x: Tensor, bias: Tensor | None = None, residual: Tensor | None = None) -> Tensor:
        """See `Weight.matmul`."""
        found = F.linear(x, self._tensor, bias)
        return found if residual is None else found + residual

    def dense(self) -> Tensor:
        """See `Weight.dense`."""
        return self._tensor

    def lookup(self, numbers: Tensor) -> Tensor:
        """See `Table.lookup`."""
        return F.embedding(numbers, self._tensor)

    def rows(self, start: int, stop: int) -> DenseWeight:
        """See `Weight.rows`."""
        return DenseWeight(self._tensor[start:stop])


FEWEST_ROWS = 4
"""oneDNN reads a matrix up to a tenth faster for 4 rows than for 1 or 2, and sums up a row of 4 as one of more."""


def filled_up(x: Tensor) -> Tensor:
    """x with more rows below it, no fewer than 4 and at most an eighth of its own, so that few numbers of rows occur.

    oneDNN makes machine code for each number of rows that it multiplies a matrix with, some 300 kB, and keeps it.
    """
    rows = x.shape[0]
    if rows == 1:
        return x.repeat(FEWEST_ROWS, 1)
    missing = FEWEST_ROWS - rows if rows < FEWEST_ROWS else -rows % (1 << max(rows.bit_length() - 4, 0))
    return F.pad(x, (0, 0, 0, missing)) if missing else x


def stack(weights: Sequence[Weight], device: torch.device, dtype: torch.dtype, *, copy: bool = True) -> DenseWeight:
    """One matrix whose rows are those of all, one after the other, as a tensor on a device.

    It is a tensor of its own, but without `copy` it may be the only one of the weights itself.
    """
    if len(weights) == 1:
        return DenseWeight(weights[0].dense().to(device, dtype, copy=copy))
    return DenseWeight(torch.cat([weight.dense().to(device, dtype) for weight in weights]))
