"""Matrices of 8-bit integers: weights with one scale for each row, activations rounded anew for each token.

With weights w = s q and a token's activations x = t u, where q and u are integers from -127 to 127 and s and t the
largest value of their row over 127, a product is s t (q . u). The sum is of integers, so it is exact: a token's result
is the same bits whatever it is multiplied with. oneDNN is fast where activations are from 0 to 255, so u is shifted.

The operations are private to torch, so they are tried before a matrix is stored in this way.
"""

from __future__ import annotations

import ctypes
import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from ..native import address, library
from ..native.structs import Matrix
from .bf16 import Product, check_product
from .weight import DenseWeight, Weight, filled_up

LARGEST = 127
SHIFT = 128
SMALLEST_SCALE = 1e-30
"""Keeps the scale of a row of zeros off zero."""
ROUNDER = 1.5 * 2**23
"""A float32 of this size has no room for a fraction: adding it rounds, to the even number where two are as near."""
MOST_ERROR = 0.02
"""Of a product, over its length, where numbers are drawn from a normal distribution: twice what rounding makes."""
FEW_ROWS = 4
"""So many are rounded by one thread."""
ROWS_AT_ONCE = 1024
"""Rows that are in 32 bits at once while a matrix is rounded."""


class Int8Weight(Weight):
    """A matrix on a CPU as 8-bit integers in oneDNN's own layout; the plain copy is not kept."""

    def __init__(self, rounded: Tensor, scale: Tensor, dtype: torch.dtype) -> None:
        """Integers [rows, columns] and their scales [rows] in float32; `dtype` is that of the matrix they stand for."""
        self.shape = (rounded.shape[0], rounded.shape[1])
        self._dtype = dtype
        self._packed: Tensor = torch.ops.onednn.qlinear_prepack(rounded, None)
        self._scale = scale / LARGEST
        """Less what a token is rounded with."""
        self._zero = torch.zeros(len(scale), dtype=torch.int32)
        self._native = _native_product(self._packed, self._scale, rounded, self._plain)

    def matmul(self, x: Tensor, bias: Tensor | None = None, residual: Tensor | None = None) -> Tensor:
        """See `Weight.matmul`; a row's result is the same bits however many rows there are."""
        if self._native is not None and x.dtype == torch.bfloat16:
            return self._native(x, bias, residual)
        return self._plain(x, bias, residual)

    def _plain(self, x: Tensor, bias: Tensor | None = None, residual: Tensor | None = None) -> Tensor:
        wide = x.float()
        largest = wide.abs().amax(-1, True)
        found = self._product(_shifted(wide * (torch.tensor(float(LARGEST)) / largest))).mul_(largest)
        for added in (bias, residual):
            if added is not None:
                found.add_(added)
        return found.to(x.dtype)

    def matrix(self, bias: Tensor | None) -> Matrix | None:
        """See `Weight.matrix`."""
        return None if self._native is None else self._native.matrix(bias)

    def dense(self) -> Tensor:
        """See `Weight.dense`; the rounded matrix."""
        return self._unpacked().mul_(self._scale[:, None] * LARGEST).to(self._dtype)

    def rows(self, start: int, stop: int) -> Int8Weight:
        """See `Weight.rows`."""
        rounded = self._unpacked()[start:stop].to(torch.int8)
        return Int8Weight(rounded, self._scale[start:stop] * LARGEST, self._dtype)

    def _unpacked(self) -> Tensor:
        """The integers in float32: every column is what a token with a single 1 is given."""
        ones = torch.eye(self.shape[1], dtype=torch.uint8).add_(SHIFT)
        return (self._product(ones) / self._scale).round_().T.contiguous()

    def _product(self, shifted: Tensor) -> Tensor:
        """Activations from 1 to 255 [tokens, columns] to [tokens, rows] in float32."""
        result: Tensor = torch.ops.onednn.qlinear_pointwise(
            filled_up(shifted),
            1.0,
            SHIFT,
            self._packed,
            self._scale,
            self._zero,
            None,
            1.0,
            0,
            torch.float32,
            "none",
            [],
            "",
        )
        return result[: shifted.shape[0]]


class NativeProduct:
    """The same product, in the same bits, in our own code, which reads oneDNN's layout."""

    def __init__(self, found: ctypes.CDLL, packed: Tensor, scale: Tensor, rounded: Tensor) -> None:
        """`packed` and `scale` are those of the weight, `rounded` [rows, columns] its integers."""
        self._library, self._packed, self._scale = found, packed, scale
        self._shape = rounded.shape
        starts = range(0, len(rounded), ROWS_AT_ONCE)
        each = [rounded[start : start + ROWS_AT_ONCE].sum(1, dtype=torch.int32) for start in starts]
        self._sums = torch.cat(each).mul_(SHIFT)

    def __call__(self, x: Tensor, bias: Tensor | None, residual: Tensor | None) -> Tensor:
        """x [tokens, columns] in bfloat16, as `Weight.matmul` takes it."""
        (rows, columns), m, threads = self._shape, x.shape[0], torch.get_num_threads()
        check_product(x, bias, residual, (rows, columns))
        x, added = x.contiguous(), None if residual is None else residual.contiguous()
        stride = -(-columns // 4) * 4
        shifted, largest = x.new_empty(m, stride, dtype=torch.uint8), x.new_empty(m, dtype=torch.float32)
        self._library.native_round(
            address(x), address(shifted), address(largest), m, columns, stride, threads if m > FEW_ROWS else 1
        )
        y = x.new_empty(m, rows)
        self._library.native_linear_int8(
            address(shifted),
            torch.ops.mkldnn.data_ptr(self._packed),
            address(self._scale),
            address(self._sums),
            address(largest),
            address(bias),
            address(added),
            address(y),
            m,
            rows,
            columns,
            threads,
        )
        return y

    def matrix(self, bias: Tensor | None) -> Matrix:
        """See `Weight.matrix`."""
        (rows, columns), weight = self._shape, torch.ops.mkldnn.data_ptr(self._packed)
        scale, sums = address(self._scale), address(self._sums)
        return Matrix(weight=weight, bias=address(bias), scale=scale, sums=sums, rows=rows, columns=columns)


def _native_product(packed: Tensor, scale: Tensor, rounded: Tensor, plain: Product) -> NativeProduct | None:
    """The product in our own code, if there is any for this machine, and the matrix lies as that takes it."""
    found, shape = library(), tuple(rounded.shape)
    if found is None:
        return None
    own = NativeProduct(found, packed, scale, rounded)
    if shape not in _agrees:
        x = torch.randn(FEW_ROWS, shape[1], generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
        _agrees[shape] = torch.equal(own(x, None, None), plain(x, None, None))
    return own if _agrees[shape] else None


_agrees: dict[tuple[int, ...], bool] = {}
"""Whether both products are the same bits, by the shape of the matrix: it is tried once."""


def quantize(weight: DenseWeight) -> Weight:
    """The same matrix in 8-bit integers; one that is on no device stays as it is."""
    tensor = weight.dense()
    return weight if tensor.is_meta else Int8Weight(*_rounded(tensor), tensor.dtype)


def int8_bytes(rows: int, columns: int) -> int:
    """What a matrix takes in memory: oneDNN fills up both sides to 64 and keeps rows' sums, and so do we."""
    filled = -(-rows // 64) * 64
    return filled * -(-columns // 64) * 64 + 4 * filled + (2 if library() is None else 3) * 4 * rows


@functools.cache
def can_quantize() -> bool:
    """Whether such matrices multiply right on this machine; tried once, against plain multiplication."""
    generator = torch.Generator().manual_seed(0)
    plain, x = (torch.randn(shape, generator=generator) for shape in ((48, 320), (5, 320)))
    right = F.linear(x, plain)
    try:
        found = Int8Weight(*_rounded(plain), plain.dtype).matmul(x)
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
    return float((found - right).norm() / right.norm()) <= MOST_ERROR


def _shifted(scaled: Tensor) -> Tensor:
    """Numbers from -127 to 127 in float32, rounded and shifted, in 8 bits; such casts from integers are fast."""
    return scaled.add_(ROUNDER + SHIFT).view(torch.int32).to(torch.uint8)


def _rounded(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """The integers [rows, columns] and the scales [rows]."""
    rounded = torch.empty(tensor.shape, dtype=torch.int8)
    scale = torch.empty(tensor.shape[0], dtype=torch.float32)
    for start in range(0, tensor.shape[0], ROWS_AT_ONCE):
        part = tensor[start : start + ROWS_AT_ONCE].float()
        own = part.abs().amax(1).div_(LARGEST).clamp_(min=SMALLEST_SCALE)
        rounded[start : start + ROWS_AT_ONCE] = (part / own[:, None]).round_()
        scale[start : start + ROWS_AT_ONCE] = own
    return rounded, scale
