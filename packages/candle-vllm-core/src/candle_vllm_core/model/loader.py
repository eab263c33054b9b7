"""How modules get their tensors: each asks by name and shape, and does not know where they come from or how stored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Self

import torch
from torch import Tensor

from ..quant.packed import pack
from ..quant.weight import DenseWeight, Weight, stack
from ..weights.source import Source


class Loader(ABC):
    """Hands out tensors by the names under a prefix."""

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix

    @abstractmethod
    def within(self, name: str) -> Self:
        """The same loader for the names that begin with `name` and a dot."""

    @abstractmethod
    def tensor(self, name: str, *shape: int) -> Tensor:
        """A tensor of a shape."""

    @abstractmethod
    def matrix(self, names: Sequence[str], rows: Sequence[int], columns: int) -> Weight:
        """One matrix whose rows are those of all the named ones, `rows` of each."""

    @abstractmethod
    def pack(self, tensor: Tensor) -> Weight:
        """A tensor that was handed out before, as a matrix to multiply with."""

    def _path(self, name: str) -> str:
        return f"{self._prefix}.{name}" if self._prefix else name


class Blueprint(Loader):
    """Hands out tensors without content, and keeps the names and shapes that were asked for."""

    def __init__(self, prefix: str = "", shapes: dict[str, tuple[int, ...]] | None = None) -> None:
        super().__init__(prefix)
        self.shapes = {} if shapes is None else shapes

    def within(self, name: str) -> Blueprint:
        """See `Loader.within`."""
        return Blueprint(self._path(name), self.shapes)

    def tensor(self, name: str, *shape: int) -> Tensor:
        """See `Loader.tensor`."""
        self.shapes[self._path(name)] = shape
        return _hollow(*shape)

    def matrix(self, names: Sequence[str], rows: Sequence[int], columns: int) -> Weight:
        """See `Loader.matrix`."""
        self.shapes |= {self._path(name): (part, columns) for name, part in zip(names, rows, strict=True)}
        return DenseWeight(_hollow(sum(rows), columns))

    def pack(self, tensor: Tensor) -> Weight:
        """See `Loader.pack`."""
        return DenseWeight(tensor)


def _hollow(*shape: int) -> Tensor:
    """A tensor of a shape that takes no memory. (Those of the meta device would load torch's compiler: a second.)"""
    return torch.empty(()).expand(shape)


class Checkpoint(Loader):
    """Hands out a source's tensors in one type on one device, matrices packed where that pays; nothing stays mapped."""

    def __init__(
        self,
        source: Source,
        device: torch.device,
        dtype: torch.dtype,
        report: Callable[[int], object],
        prefix: str = "",
    ) -> None:
        super().__init__(prefix)
        self._source = source
        self._device = device
        self._dtype = dtype
        self._report = report

    def within(self, name: str) -> Checkpoint:
        """See `Loader.within`."""
        return Checkpoint(self._source, self._device, self._dtype, self._report, self._path(name))

    def tensor(self, name: str, *shape: int) -> Tensor:
        """See `Loader.tensor`."""
        tensor = self._source.tensor(self._path(name)).to(self._device, self._dtype, copy=True)
        self._report(tensor.nbytes)
        return tensor

    def matrix(self, names: Sequence[str], rows: Sequence[int], columns: int) -> Weight:
        """See `Loader.matrix`."""
        parts = [self._source.weight(self._path(name)) for name in names]
        plain = stack(parts, self._device, self._dtype)
        self._report(plain.dense().nbytes)
        return pack(plain)

    def pack(self, tensor: Tensor) -> Weight:
        """See `Loader.pack`."""
        return pack(DenseWeight(tensor))
