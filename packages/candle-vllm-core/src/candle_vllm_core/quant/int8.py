"""Matrices of 8-bit integers: weights with one scale for each row, activations rounded anew for each token.

With weights w = s q and a token's activations x = t u, where q and u are integers from -127 to 127 and s and t the
largest value of their row over 127, a product is s t (q . u). The sum is of integers, so it is exact: a token's result
is the same bits whatever it is multiplied with. oneDNN is fast where activations are from 0 to 255, so u is shifted.

Our own C functions multiply them where they are and activations are bfloat16 (with AVX-512 they, too, want u shifted),
else oneDNN does in the same bits. Its operations are private to torch, so they are tried before a matrix is stored in
this way.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from .panels import LARGEST, SHIFT, Int8Panels, has_panels, panel_bytes
from .weight import DenseWeight, Weight, filled_up

ROWS_AT_ONCE = 1024
"""Rows that are in 32 bits at once while a matrix is rounded."""
SMALLEST_SCALE = 1e-30
"""Keeps the scale of a row of zeros off zero."""
ROUNDER = 1.5 * 2**23
"""A float32 of this size has no room for a fraction: adding it rounds, to the even number where two are as near."""
MOST_ERROR = 0.02
"""Of a product, over its length, where numbers are drawn from a normal distribution: twice what rounding makes."""


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

    def matmul(self, x: Tensor, bias: Tensor | None = None, residual: Tensor | None = None) -> Tensor:
        """See `Weight.matmul`; a row's result is the same bits however many rows there are."""
        wide = x.float()
        largest = wide.abs().amax(-1, True)
        largest += largest - largest  # a token with an infinite number is none
        found = self._product(_shifted(wide * (torch.tensor(float(LARGEST)) / largest))).mul_(largest)
        for added in (bias, residual):
            if added is not None:
                found.add_(added)
        return found.to(x.dtype)

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


def quantize(weight: DenseWeight) -> Weight:
    """The same matrix in 8-bit integers; one that is on no device stays as it is."""
    tensor = weight.dense()
    if tensor.is_meta:
        return weight
    if has_panels(tensor.dtype):
        return Int8Panels(weight.shape, _rounded(tensor))
    return Int8Weight(*_joined(_rounded(tensor)), tensor.dtype)


def int8_bytes(rows: int, columns: int, dtype: torch.dtype) -> int:
    """What a matrix that was of a type takes in memory, with scales and sums; oneDNN fills up both sides to 64."""
    if has_panels(dtype):
        return panel_bytes(rows, columns, 1) + 2 * 4 * rows
    filled = -(-rows // 64) * 64
    return filled * -(-columns // 64) * 64 + 4 * filled + 2 * 4 * rows


def can_quantize(dtype: torch.dtype) -> bool:
    """Whether matrices that were of a type multiply right on this machine."""
    return has_panels(dtype) or _multiplies_right()


@functools.cache
def _multiplies_right() -> bool:
    """Whether oneDNN multiplies such matrices right; tried once, against plain multiplication."""
    generator = torch.Generator().manual_seed(0)
    plain, x = (torch.randn(shape, generator=generator) for shape in ((48, 320), (5, 320)))
    right = F.linear(x, plain)
    try:
        found = Int8Weight(*_joined(_rounded(plain)), plain.dtype).matmul(x)
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
    return float((found - right).norm() / right.norm()) <= MOST_ERROR


def _shifted(scaled: Tensor) -> Tensor:
    """Numbers from -127 to 127 in float32, rounded and shifted, in 8 bits; such casts from integers are fast."""
    return scaled.add_(ROUNDER + SHIFT).view(torch.int32).to(torch.uint8)


def _joined(parts: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """The integers [rows, columns] and the scales [rows] of all parts."""
    rounded, scales = zip(*parts, strict=True)
    return torch.cat(rounded), torch.cat(scales)


def _rounded(tensor: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """The integers [.., columns] and the scales [..] of some rows in turn."""
    for start in range(0, max(len(tensor), 1), ROWS_AT_ONCE):
        part = tensor[start : start + ROWS_AT_ONCE].float()
        scale = part.abs().amax(1).div_(LARGEST).clamp_(min=SMALLEST_SCALE)
        yield (part / scale[:, None]).round_().to(torch.int8), scale
