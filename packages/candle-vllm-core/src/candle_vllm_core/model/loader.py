"""How modules get their tensors: each asks by name and shape, and does not know where they come from or how stored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Self

import torch
from torch import Tensor

from ..config import Quantization
from ..kernels import available
from ..quant.experts import ExpertStack, LoopedExperts
from ..quant.int8 import quantize
from ..quant.packed import can_pack, pack
from ..quant.panels import Bf16Panels, has_panels
from ..quant.weight import DenseWeight, Table, Weight, stack
from ..weights.source import Source
from .names import NameMap
from .ops import TORCH_OPS, Ops

CPU = torch.device("cpu")


def looks_up_packed(device: torch.device, dtype: torch.dtype, quantization: Quantization | None) -> bool:
    """Whether an embedding that is the head, too, is kept as the head's packed matrix alone."""
    return quantization is None and device.type == "cpu" and has_panels(dtype)


class Loader(ABC):
    """Hands out tensors by the names under a prefix, and `ops`, what is done on the device where they are."""

    def __init__(self, names: NameMap, prefix: str = "", ops: Ops = TORCH_OPS) -> None:
        self.ops = ops
        self._names = names
        self._prefix = prefix

    @abstractmethod
    def within(self, name: str) -> Self:
        """The same loader for the names that begin with `name` and a dot."""

    @abstractmethod
    def tensor(self, name: str, *shape: int, wide: bool = False) -> Tensor:
        """A tensor of a shape; a `wide` one is float32, whatever the type of the others."""

    @abstractmethod
    def matrix(self, names: Sequence[str], rows: Sequence[int], columns: int) -> Weight:
        """One matrix whose rows are those of all the named ones, `rows` of each."""

    @abstractmethod
    def experts(self, names: Sequence[str], rows: int, columns: int, *, count: int, bias: bool) -> ExpertStack:
        """For each of `count` experts one matrix of all the named ones, `rows` of each."""

    @abstractmethod
    def table(self, rows: int, columns: int, *, tied: bool) -> Table:
        """The matrix of an embedding; one tied to the head is kept once, if a packed one has rows to look up."""

    def tied(self, table: Table) -> Weight:
        """The matrix to multiply with that a tied table is."""
        return self.pack(table.dense()) if isinstance(table, DenseWeight) else table

    @abstractmethod
    def pack(self, tensor: Tensor, *, exact: bool = False) -> Weight:
        """A tensor that was handed out before, as a matrix to multiply with; an `exact` one is never rounded."""

    def biases(self, names: Sequence[str], rows: Sequence[int]) -> Tensor:
        """The biases of the matrix of the same names."""
        parts = self._names.fused(names, rows)
        found = [self.within(name).tensor("bias", count) for name, count in parts]
        return torch.cat(found) if len(found) > 1 else found[0]

    def _of_experts(self, names: Sequence[str], count: int, ending: str) -> Sequence[str]:
        """What the checkpoint calls the weights or biases of experts: each its own name, or one for all."""
        if self._names.interleaved:
            ((whole, _),) = self._names.fused(names, [0] * len(names))
            return [self._found(whole if ending == "weight" else f"{whole}_{ending}")]
        return [self._found(f"{expert}.{name}.{ending}") for expert in range(count) for name in names]

    def _path(self, name: str) -> str:
        return f"{self._prefix}.{name}" if self._prefix else name

    def _found(self, name: str) -> str:
        return self._names.found(self._path(name))


class Blueprint(Loader):
    """Hands out tensors without content, and keeps the names and shapes that were asked for, as a checkpoint's."""

    def __init__(
        self,
        names: NameMap,
        prefix: str = "",
        shapes: dict[str, tuple[int, ...]] | None = None,
        *,
        device: torch.device = CPU,
    ) -> None:
        super().__init__(names, prefix)
        self.shapes = {} if shapes is None else shapes
        self._device = device

    def within(self, name: str) -> Blueprint:
        """See `Loader.within`."""
        return Blueprint(self._names, self._path(name), self.shapes, device=self._device)

    def tensor(self, name: str, *shape: int, wide: bool = False) -> Tensor:
        """See `Loader.tensor`."""
        listed = self._names.listed(self._path(name), shape[0])
        self.shapes |= {found: shape[1:] for found in listed} if listed else {self._found(name): shape}
        return self._hollow(*shape)

    def matrix(self, names: Sequence[str], rows: Sequence[int], columns: int) -> Weight:
        """See `Loader.matrix`."""
        parts = self._names.fused(names, rows)
        self.shapes |= {self._found(f"{name}.weight"): (part, columns) for name, part in parts}
        return DenseWeight(self._hollow(sum(rows), columns))

    def experts(self, names: Sequence[str], rows: int, columns: int, *, count: int, bias: bool) -> ExpertStack:
        """See `Loader.experts`."""
        for ending, width in (("weight", (columns,)), ("bias", ()))[: 1 + bias]:
            shape = (count, *width, rows * len(names)) if self._names.interleaved else (rows, *width)
            self.shapes |= dict.fromkeys(self._of_experts(names, count, ending), shape)
        return LoopedExperts([DenseWeight(self._hollow(rows * len(names), columns))] * count)

    def table(self, rows: int, columns: int, *, tied: bool) -> Table:
        """See `Loader.table`."""
        return DenseWeight(self.tensor("weight", rows, columns))

    def pack(self, tensor: Tensor, *, exact: bool = False) -> Weight:
        """See `Loader.pack`."""
        return DenseWeight(tensor)

    def _hollow(self, *shape: int) -> Tensor:
        """A tensor of a shape, without memory for it. (A default of meta would load torch's compiler: a second.)"""
        return torch.empty((), device=self._device).expand(shape)


class Checkpoint(Loader):
    """Hands out a source's tensors in one type on one device; nothing stays mapped.

    Matrices are packed where that pays, or stored as `quantization` says.
    """

    def __init__(
        self,
        names: NameMap,
        source: Source,
        device: torch.device,
        dtype: torch.dtype,
        report: Callable[[int], object],
        prefix: str = "",
        quantization: Quantization | None = None,
        ops: Ops = TORCH_OPS,
    ) -> None:
        super().__init__(names, prefix, ops)
        self._quantization = quantization
        self._source = source
        self._device = device
        self._dtype = dtype
        self._report = report

    def within(self, name: str) -> Checkpoint:
        """See `Loader.within`."""
        return Checkpoint(
            self._names,
            self._source,
            self._device,
            self._dtype,
            self._report,
            self._path(name),
            self._quantization,
            self.ops,
        )

    def tensor(self, name: str, *shape: int, wide: bool = False) -> Tensor:
        """See `Loader.tensor`."""
        listed = self._names.listed(self._path(name), shape[0])
        dtype = torch.float32 if wide else self._dtype
        found = [self._read(one, dtype) for one in listed or [self._found(name)]]
        tensor = torch.stack(found) if listed else found[0]
        self._report(tensor.numel() * self._dtype.itemsize)
        return tensor

    def _read(self, name: str, dtype: torch.dtype) -> Tensor:
        return self._source.tensor(name).to(self._device, dtype, copy=True)

    def matrix(self, names: Sequence[str], rows: Sequence[int], columns: int) -> Weight:
        """See `Loader.matrix`."""
        parts = [self._source.weight(self._found(f"{name}.weight")) for name, _ in self._names.fused(names, rows)]
        plain = stack(parts, self._device, self._dtype, copy=not self._stores_anew())
        self._report(plain.dense().nbytes)
        return self._stored(plain)

    def experts(self, names: Sequence[str], rows: int, columns: int, *, count: int, bias: bool) -> ExpertStack:
        """See `Loader.experts`."""
        biases = self._whole(names, count, "bias", rows) if bias else None
        if available(self._device):
            from ..quant.grouped import GroupedExperts

            return GroupedExperts(self._whole(names, count, "weight", rows, columns), biases)
        return LoopedExperts([self._expert(parts) for parts in self._parts(names, count, "weight")], biases)

    def _expert(self, parts: Sequence[Tensor]) -> Weight:
        """The matrix of one expert, whose rows are those of all parts."""
        plain = stack([DenseWeight(part) for part in parts], self._device, self._dtype, copy=not self._stores_anew())
        self._report(plain.dense().nbytes)
        return self._stored(plain)

    def _whole(self, names: Sequence[str], count: int, ending: str, rows: int, *columns: int) -> Tensor:
        """The weights or biases of all experts [experts, rows of all names, ...]."""
        whole = torch.empty((count, len(names) * rows, *columns), dtype=self._dtype, device=self._device)
        for matrix, parts in zip(whole, self._parts(names, count, ending), strict=True):
            for place, part in zip(matrix.split(rows), parts, strict=True):
                place.copy_(part)
        self._report(whole.nbytes)
        return whole

    def _parts(self, names: Sequence[str], count: int, ending: str) -> Iterator[Sequence[Tensor]]:
        """The weights or biases of each expert in turn, those of each name as they stand in the file."""
        found, parts = self._of_experts(names, count, ending), len(names)
        if not self._names.interleaved:
            for first in range(0, len(found), parts):
                yield [self._source.tensor(name) for name in found[first : first + parts]]
            return
        for expert in self._source.tensor(found[0]).movedim(-1, 1):
            yield [expert[part::parts] for part in range(parts)]

    def table(self, rows: int, columns: int, *, tied: bool) -> Table:
        """See `Loader.table`."""
        if not (tied and looks_up_packed(self._device, self._dtype, self._quantization)):
            return DenseWeight(self.tensor("weight", rows, columns))
        table = Bf16Panels(self._source.tensor(self._found("weight")).to(self._dtype))
        self._report(rows * columns * self._dtype.itemsize)
        return table

    def pack(self, tensor: Tensor, *, exact: bool = False) -> Weight:
        """See `Loader.pack`."""
        return pack(DenseWeight(tensor)) if exact else self._stored(DenseWeight(tensor))

    def _stores_anew(self) -> bool:
        """Whether `_stored` gives a matrix memory of its own, so that it may stand in its file until then."""
        packs = self._device.type == "cpu" and can_pack(self._dtype)
        return packs if self._quantization is None else True

    def _stored(self, plain: DenseWeight) -> Weight:
        return pack(plain) if self._quantization is None else quantize(plain)
