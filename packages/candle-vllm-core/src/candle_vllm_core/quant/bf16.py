"""Products of a packed matrix in bfloat16 in our own code: for few rows at the speed that memory is read at.

The sums are made in the order of oneDNN's own, so that a row's result is the same bits in whatever batch it is. oneDNN
sums up some hundreds of columns from zero before it adds them to those before; how many, is found out by trying.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable

import torch
from torch import Tensor

from ..native import address, library
from ..native.structs import Matrix

TRIED_ROWS = 4
SPANS = (1024, 512, 2048, 256, 4096, 128, 64)
"""Columns that oneDNN may sum up at once."""

Product = Callable[[Tensor, Tensor | None, Tensor | None], Tensor]
"""x [tokens, columns], bias [rows] or none, residual [.., rows] or none, to [.., rows]; all of one type."""
Shape = tuple[int, int]


def check_product(x: Tensor, bias: Tensor | None, residual: Tensor | None, shape: Shape) -> None:
    """What C would read past the end of.

    Raises:
        ValueError: a tensor has another shape than the matrix [rows, columns] asks, or is not bfloat16, or the bias's
            numbers lie apart.
    """
    for tensor, right in ((x, (x.shape[0], shape[1])), (bias, (shape[0],)), (residual, (x.shape[0], shape[0]))):
        if tensor is not None and (tensor.shape != right or tensor.dtype != torch.bfloat16):
            raise ValueError(
                f"a matrix {list(shape)} asks for bfloat16 {list(right)}, not {tensor.dtype} {list(tensor.shape)}"
            )
    if bias is not None and not bias.is_contiguous():
        raise ValueError(f"a matrix {list(shape)} asks for bfloat16 that lie side by side as its bias")


class Bf16Product:
    """What a packed matrix [rows, columns] is multiplied with in our own code."""

    def __init__(self, found: ctypes.CDLL, packed: Tensor, shape: Shape, span: int) -> None:
        self._product = functools.partial(_product, found, packed, shape, span)
        self._packed, self._shape, self._span = packed, shape, span

    def __call__(self, x: Tensor, bias: Tensor | None, residual: Tensor | None) -> Tensor:
        """See `Product`."""
        return self._product(x, bias, residual)

    def matrix(self, bias: Tensor | None) -> Matrix:
        """See `Weight.matrix`."""
        rows, columns = self._shape
        weight = torch.ops.mkldnn.data_ptr(self._packed)
        return Matrix(weight=weight, bias=address(bias), rows=rows, columns=columns, span=self._span)


def bf16_product(packed: Tensor, dtype: torch.dtype, shape: Shape) -> Bf16Product | None:
    """The product with a packed matrix of [rows, columns], if this machine can multiply it in the same bits."""
    found = library()
    if found is None or dtype != torch.bfloat16 or shape[1] % 2:
        return None
    if shape not in _spans:
        _spans[shape] = _span(found, packed, shape)
    span = _spans[shape]
    return None if span is None else Bf16Product(found, packed, shape, span)


_spans: dict[Shape, int | None] = {}
"""What was found for a shape: it is tried once."""


def _span(found: ctypes.CDLL, packed: Tensor, shape: Shape) -> int | None:
    """The first number of columns that gives the same bits as oneDNN does."""
    x = torch.randn(TRIED_ROWS, shape[1], generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    # What is left of a sum when its own rounded value is taken away shows bits that rounding would hide.
    rounded = torch.ops.mkldnn._linear_pointwise(x, packed, None, "none", [], "").neg()
    right = torch.ops.mkldnn._linear_pointwise.binary(x, rounded, packed, None, "add")
    for span in SPANS:
        if torch.equal(_product(found, packed, shape, span, x, None, rounded), right):
            return span
    return None


def _product(
    found: ctypes.CDLL,
    packed: Tensor,
    shape: Shape,
    span: int,
    x: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
) -> Tensor:
    """See `Product`."""
    rows, columns = shape
    check_product(x, bias, residual, shape)
    x, added = x.contiguous(), None if residual is None else residual.contiguous()
    y = x.new_empty(x.shape[0], rows)
    found.native_linear_bf16(
        address(x),
        torch.ops.mkldnn.data_ptr(packed),
        address(bias),
        address(added),
        address(y),
        x.shape[0],
        rows,
        columns,
        span,
        torch.get_num_threads(),
    )
    return y
