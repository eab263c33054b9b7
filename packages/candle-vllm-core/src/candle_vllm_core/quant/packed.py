"""Matrices packed once, as our own C functions or oneDNN multiply them: so a CPU comes near its memory's speed.

oneDNN's operations are private to torch, so they are tried when the first matrix of a type is packed; where they are
missing or wrong, matrices stay plain.
"""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from .panels import Bf16Panels, has_panels, panel_bytes
from .weight import DenseWeight, Weight, filled_up


class PackedWeight(Weight):
    """A matrix on a CPU in oneDNN's own layout; the plain copy is not kept."""

    def __init__(self, tensor: Tensor) -> None:
        self.shape = (tensor.shape[0], tensor.shape[1])
        self._packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(tensor, None)

    def matmul(self, x: Tensor, bias: Tensor | None = None, residual: Tensor | None = None) -> Tensor:
        """See `Weight.matmul`; a row's result is the same bits however many rows there are."""
        added = None if residual is None else filled_up(residual)
        return _multiply(filled_up(x), self._packed, bias, added)[: x.shape[0]]

    def dense(self) -> Tensor:
        """See `Weight.dense`."""
        return self._packed.to_dense()

    def rows(self, start: int, stop: int) -> PackedWeight:
        """See `Weight.rows`."""
        return PackedWeight(self.dense()[start:stop])


def pack(weight: DenseWeight) -> Weight:
    """The same matrix packed, if this device, type and build of torch can; else as it is."""
    tensor = weight.dense()
    if tensor.device.type != "cpu" or not can_pack(tensor.dtype):
        return weight
    return Bf16Panels(tensor) if has_panels(tensor.dtype) else PackedWeight(tensor)


def packed_bytes(rows: int, columns: int, dtype: torch.dtype) -> int:
    """What a packed matrix takes in memory: oneDNN fills up its rows to 64 and its columns to 64 bytes."""
    itemsize = dtype.itemsize
    if has_panels(dtype):
        return panel_bytes(rows, columns, itemsize)
    if rows == 1 and itemsize == 4:  # is multiplied as a vector, as it stands
        return columns * itemsize
    return -(-rows // 64) * 64 * -(-columns * itemsize // 64) * 64


def can_pack(dtype: torch.dtype) -> bool:
    """Whether matrices of a type are packed on this machine."""
    return has_panels(dtype) or _multiplies_right(dtype)


@functools.cache
def _multiplies_right(dtype: torch.dtype) -> bool:
    """Whether oneDNN multiplies packed matrices of a type right; tried once, against plain multiplication."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((48, 40), (48,), (5, 40), (5, 48))
    plain, bias, x, added = (torch.randn(shape, generator=generator).to(dtype) for shape in shapes)
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(plain, None)
        found, unpacked = _multiply(x, packed, bias, added), packed.to_dense()
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
    right = F.linear(x.float(), plain.float(), bias.float()) + added.float()
    near = torch.allclose(found.float(), right, rtol=0, atol=64 * torch.finfo(dtype).eps)
    return near and torch.equal(unpacked, plain)


def _multiply(x: Tensor, packed: Tensor, bias: Tensor | None, added: Tensor | None = None) -> Tensor:
    if added is None:
        result: Tensor = torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")
    else:
        result = torch.ops.mkldnn._linear_pointwise.binary(x, added, packed, bias, "add")
    return result
