"""Matrices packed once, as oneDNN multiplies them, which is what makes a CPU come near its memory's speed.

The operations are private to torch, so they are tried when the first matrix of a type is packed; where they are missing
or wrong, matrices stay plain.
"""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from ..native.structs import Matrix
from .bf16 import bf16_product
from .weight import DenseWeight, Weight, filled_up


class PackedWeight(Weight):
    """A matrix on a CPU in oneDNN's own layout; the plain copy is not kept."""

    def __init__(self, tensor: Tensor) -> None:
        self.shape = (tensor.shape[0], tensor.shape[1])
        self._packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(tensor, None)
        self._own = bf16_product(self._packed, tensor.dtype, self.shape)

    def matmul(self, x: Tensor, bias: Tensor | None = None, residual: Tensor | None = None) -> Tensor:
        """See `Weight.matmul`; a row's result is the same bits however many rows there are."""
        if self._own is not None:
            return self._own(x, bias, residual)
        added = None if residual is None else filled_up(residual)
        return _multiply(filled_up(x), self._packed, bias, added)[: x.shape[0]]

    def matrix(self, bias: Tensor | None) -> Matrix | None:
        """See `Weight.matrix`."""
        return None if self._own is None else self._own.matrix(bias)

    def dense(self) -> Tensor:
        """See `Weight.dense`."""
        return self._packed.to_dense()

    def rows(self, start: int, stop: int) -> PackedWeight:
        """See `Weight.rows`."""
        return PackedWeight(self.dense()[start:stop])


def pack(weight: DenseWeight) -> Weight:
    """The same matrix packed, if this device, type and build of torch can; else as it is."""
    tensor = weight.dense()
    return PackedWeight(tensor) if tensor.device.type == "cpu" and can_pack(tensor.dtype) else weight


def packed_bytes(rows: int, columns: int, itemsize: int) -> int:
    """What a packed matrix takes in memory: oneDNN fills up its rows to 64 and its columns to 64 bytes."""
    if rows == 1 and itemsize == 4:  # is multiplied as a vector, as it stands
        return columns * itemsize
    return -(-rows // 64) * 64 * -(-columns * itemsize // 64) * 64


@functools.cache
def can_pack(dtype: torch.dtype) -> bool:
    """Whether packed matrices of a type multiply right on this machine; tried once, against plain multiplication."""
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


@functools.cache
def multiplies_here() -> bool:
    """Whether packed matrices of a usual shape in bfloat16 are multiplied in our own code; tried once."""
    return can_pack(torch.bfloat16) and PackedWeight(torch.ones(64, 1024, dtype=torch.bfloat16))._own is not None
