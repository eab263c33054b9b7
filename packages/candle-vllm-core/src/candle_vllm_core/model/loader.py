"""How modules get their tensors: each asks by name and shape, and does not know where they come from or how stored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Self

import torch
from torch import Tensor

from ..quant.experts import ExpertStack, LoopedExperts
from ..quant.packed import pack
from ..quant.weight import DenseWeight, Weight, stack
from ..weights.source import Source
from .names import NameMap


class Loader(ABC):
    """Hands out tensors by the names under a prefix."""

    def __init__(self, names: NameMap, prefix: str = "") -> None:
        self._names = names
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
    def experts(self, names: Sequence[str], rows: int, columns: int, *, count: int, bias: bool) -> ExpertStack:
        """For each of `count` experts one matrix of all the named ones, `rows` of each."""

    @abstractmethod
    def pack(self, tensor: Tensor) -> Weight:
        """A tensor that was handed out before, as a matrix to multiply with."""

    def biases(self, names: Sequence[str], rows: Sequence[int]) -> Tensor:
        """The biases of the matrix of the same names."""
        parts = self._names.fused(names, rows)
        found = [self.within(name).tensor("bias", count) for name, count in parts]
        return torch.cat(found) if len(found) > 1 else found[0]

    def _path(self, name: str) -> str:
        return f"{self._prefix}.{name}" if self._prefix else name

    def _found(self, name: str) -> str:
        return self._names.found(self._path(name))


class Blueprint(Loader):
    """Hands out tensors without content, and keeps the names and shapes that were asked for, as a checkpoint's."""

    def __init__(self, names: NameMap, prefix: str = "", shapes: dict[str, tuple[int, ...]] | None = None) -> None:
        super().__init__(names, prefix)
        self.shapes = {} if shapes is None else shapes

    def within(self, name: str) -> Blueprint:
        """See `Loader.within`."""
        return Blueprint(self._names, self._path(name), self.shapes)

    def tensor(self, name: str, *shape: int) -> Tensor:
        """See `Loader.tensor`."""
        listed = self._names.listed(self._path(name), shape[0])
        self.shapes |= {found: shape[1:] for found in listed} if listed else {self._found(name): shape}
        return _hollow(*shape)

    def matrix(self, names: Sequence[str], rows: Sequence[int], columns: int) -> Weight:
        """See `Loader.matrix`."""
        parts = self._names.fused(names, rows)
        self.shapes |= {self._found(f"{name}.weight"): (part, columns) for name, part in parts}
        return DenseWeight(_hollow(sum(rows), columns))

    def experts(self, names: Sequence[str], rows: int, columns: int, *, count: int, bias: bool) -> ExpertStack:
        """See `Loader.experts`."""
        if self._names.interleaved:
            (name,) = (name for name, _ in self._names.fused(names, [rows] * len(names)))
            self.shapes[self._found(name)] = (count, columns, rows * len(names))
            self.shapes |= {self._found(f"{name}_bias"): (count, rows * len(names))} if bias else {}
        else:
            ones = [f"{expert}.{name}.weight" for expert in range(count) for name in names]
            self.shapes |= {self._found(name): (rows, columns) for name in ones}
        return _Hollow(count, rows * len(names))

    def pack(self, tensor: Tensor) -> Weight:
        """See `Loader.pack`."""
        return DenseWeight(tensor)


def _hollow(*shape: int) -> Tensor:
    """A tensor of a shape that takes no memory. (Those of the meta device would load torch's compiler: a second.)"""
    return torch.empty(()).expand(shape)


class _Hollow(ExpertStack):
    """Experts without content."""

    def __init__(self, count: int, rows: int) -> None:
        self.count, self.rows = count, rows

    def multiply(self, x: Tensor, counts: Sequence[int]) -> Tensor:
        """See `ExpertStack.multiply`."""
        return _hollow(x.shape[0], self.rows)


class Checkpoint(Loader):
    """Hands out a source's tensors in one type on one device, matrices packed where that pays; nothing stays mapped."""

    def __init__(
        self,
        names: NameMap,
        source: Source,
        device: torch.device,
        dtype: torch.dtype,
        report: Callable[[int], object],
        prefix: str = "",
    ) -> None:
        super().__init__(names, prefix)
        self._source = source
        self._device = device
        self._dtype = dtype
        self._report = report

    def within(self, name: str) -> Checkpoint:
        """See `Loader.within`."""
        return Checkpoint(self._names, self._source, self._device, self._dtype, self._report, self._path(name))

    def tensor(self, name: str, *shape: int) -> Tensor:
        """See `Loader.tensor`."""
        listed = self._names.listed(self._path(name), shape[0])
        found = [self._read(one) for one in listed or [self._found(name)]]
        tensor = torch.stack(found) if listed else found[0]
        self._report(tensor.nbytes)
        return tensor

    def _read(self, name: str) -> Tensor:
        return self._source.tensor(name).to(self._device, self._dtype, copy=True)

    def matrix(self, names: Sequence[str], rows: Sequence[int], columns: int) -> Weight:
        """See `Loader.matrix`."""
        parts = [self._source.weight(self._found(f"{name}.weight")) for name, _ in self._names.fused(names, rows)]
        plain = stack(parts, self._device, self._dtype)
        self._report(plain.dense().nbytes)
        return pack(plain)

    def experts(self, names: Sequence[str], rows: int, columns: int, *, count: int, bias: bool) -> ExpertStack:
        """See `Loader.experts`."""
        whole, biases = torch.empty((count, rows * len(names), columns), dtype=self._dtype, device=self._device), None
        if self._names.interleaved:
            (name,) = (name for name, _ in self._names.fused(names, [rows] * len(names)))
            whole.copy_(_in_turn(self._source.tensor(self._found(name)).mT, len(names)))
            biases = _in_turn(self.tensor(f"{name}_bias", count, rows * len(names)), len(names)) if bias else None
        else:
            for part, tensor in self._each(names, count):
                whole[part // len(names)].narrow(0, part % len(names) * rows, rows).copy_(tensor)
        self._report(whole.nbytes)
        return LoopedExperts(whole, biases)

    def _each(self, names: Sequence[str], count: int) -> Iterator[tuple[int, Tensor]]:
        """The matrices of all experts with their places: those of one expert stand together."""
        for expert in range(count):
            for part, name in enumerate(names):
                found = self._found(f"{expert}.{name}.weight")
                yield expert * len(names) + part, self._source.weight(found).dense()

    def pack(self, tensor: Tensor) -> Weight:
        """See `Loader.pack`."""
        return pack(DenseWeight(tensor))


def _in_turn(rows: Tensor, parts: int) -> Tensor:
    """Rows [experts, rows, ...] that took turns between `parts` matrices, one matrix after the other."""
    return torch.cat([rows[:, part::parts] for part in range(parts)], 1)
