"""What a model's weights take in memory as they are held, found out from their shapes alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..config import Quantization
from ..quant.experts import ExpertStack, LoopedExperts
from ..quant.int8 import int8_bytes
from ..quant.packed import can_pack, packed_bytes
from ..quant.weight import DenseWeight, Table, Weight
from ..spec import Decoder as DecoderSpec
from .decoder import Decoder
from .loader import CPU, Loader, looks_up_packed
from .names import NameMap


@dataclass
class _Count:
    weight_bytes: int = 0


@dataclass(frozen=True)
class Holding:
    """How weights are held."""

    device: torch.device
    dtype: torch.dtype
    quantization: Quantization | None = None

    def matrix(self, rows: int, columns: int) -> int:
        """Bytes of one matrix to multiply with."""
        if self.quantization is not None:
            return int8_bytes(rows, columns, self.dtype)
        return self._plain(rows, columns, self.dtype)

    def exact_matrix(self, rows: int, columns: int) -> int:
        """Bytes of one matrix that is never rounded, and is float32."""
        return self._plain(rows, columns, torch.float32)

    def packs(self, dtype: torch.dtype) -> bool:
        """Whether matrices of a type are packed, as `quant.packed.pack` decides."""
        return self.device.type == "cpu" and can_pack(dtype)

    def _plain(self, rows: int, columns: int, dtype: torch.dtype) -> int:
        return packed_bytes(rows, columns, dtype) if self.packs(dtype) else rows * columns * dtype.itemsize


def weight_bytes(spec: DecoderSpec, names: NameMap, holding: Holding) -> int:
    """The memory that the weights of a model take; nothing is read and nothing of their size is made."""
    ledger = Ledger(names, holding)
    Decoder(spec, ledger, device=CPU)
    return ledger.count.weight_bytes


class Ledger(Loader):
    """Hands out tensors without content and counts the bytes that those of a checkpoint would take."""

    def __init__(self, names: NameMap, holding: Holding, prefix: str = "", count: _Count | None = None) -> None:
        super().__init__(names, prefix)
        self._holding = holding
        self.count = count if count is not None else _Count()

    def within(self, name: str) -> Ledger:
        """See `Loader.within`."""
        return Ledger(self._names, self._holding, self._path(name), self.count)

    def tensor(self, name: str, *shape: int, wide: bool = False) -> Tensor:
        """See `Loader.tensor`."""
        tensor = _hollow(*shape)
        self.count.weight_bytes += tensor.numel() * (4 if wide else self._holding.dtype.itemsize)
        return tensor

    def matrix(self, names: Sequence[str], rows: Sequence[int], columns: int) -> Weight:
        """See `Loader.matrix`."""
        self.count.weight_bytes += self._holding.matrix(sum(rows), columns)
        return DenseWeight(_hollow(sum(rows), columns))

    def experts(self, names: Sequence[str], rows: int, columns: int, *, count: int, bias: bool) -> ExpertStack:
        """See `Loader.experts`."""
        rows *= len(names)
        self.count.weight_bytes += count * self._holding.matrix(rows, columns)
        self.count.weight_bytes += count * rows * self._holding.dtype.itemsize if bias else 0
        return LoopedExperts([DenseWeight(_hollow(rows, columns))] * count)

    def table(self, rows: int, columns: int, *, tied: bool) -> Table:
        """See `Loader.table`."""
        held = self._holding
        if tied and looks_up_packed(held.device, held.dtype, held.quantization):
            self.count.weight_bytes += held.matrix(rows, columns)
            return _Counted(_hollow(rows, columns))
        return DenseWeight(self.tensor("weight", rows, columns))

    def tied(self, table: Table) -> Weight:
        """See `Loader.tied`."""
        return table if isinstance(table, _Counted) else self.pack(table.dense())

    def pack(self, tensor: Tensor, *, exact: bool = False) -> Weight:
        """See `Loader.pack`: unless it is packed, the tensor itself, which was counted when it was handed out.

        Of an exact one nothing else is kept.
        """
        (rows, columns), held = tensor.shape, self._holding
        if exact:
            self.count.weight_bytes += held.exact_matrix(rows, columns) - rows * columns * held.dtype.itemsize
        elif held.quantization is not None or held.packs(held.dtype):
            self.count.weight_bytes += held.matrix(rows, columns)
        return DenseWeight(tensor)


class _Counted(DenseWeight):
    """A table that is counted as the head's matrix, too."""


def _hollow(*shape: int) -> Tensor:
    """A tensor of a shape, without memory for it."""
    return torch.empty(()).expand(shape)
