"""Matrices in panels of 64 rows, as our own C functions multiply them: few rows at the speed that memory is read at.

A panel holds, for the first columns that fill 4 bytes, those of each of its 64 rows in turn, then the next ones: two
numbers of bfloat16, or four 8-bit integers. A row of activations is summed by itself in an order that columns alone
say, so its result is the same bits in whatever batch it is.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from ..memory import ask_for_huge_pages
from ..native import address, library, processor
from ..native.structs import Matrix
from .weight import Table, Weight

PANEL = 64
"""Rows."""
WORD = 4
"""Bytes that are multiplied at once."""
FEW_ROWS = 4
"""So many are rounded by one thread."""
SHIFT = 128
"""What makes integers from -127 to 127 positive."""
LARGEST = 127


class Bf16Panels(Table):
    """A matrix on a CPU in bfloat16; the plain copy is not kept."""

    def __init__(self, tensor: Tensor) -> None:
        self.shape = (tensor.shape[0], tensor.shape[1])
        self._library, self._panels = functions(), to_panels(tensor)

    def matmul(self, x: Tensor, bias: Tensor | None = None, residual: Tensor | None = None) -> Tensor:
        """See `Weight.matmul`.

        Raises:
            ValueError: a tensor has another shape or type than is right for the matrix.
        """
        rows, m = self.shape[0], x.shape[0]
        _check(x, bias, residual, self.shape)
        x, added = _even(x).contiguous(), None if residual is None else residual.contiguous()
        y = x.new_empty(m, rows)
        self._library.native_linear_bf16(
            *(address(each) for each in (x, self._panels, bias, added, y)),
            m,
            rows,
            x.shape[1],
            torch.get_num_threads(),
        )
        return y

    def matrix(self, bias: Tensor | None) -> Matrix | None:
        """See `Weight.matrix`."""
        rows, columns = self.shape
        if columns % 2:
            return None
        return Matrix(weight=address(self._panels), bias=address(bias), rows=rows, columns=columns)

    def dense(self) -> Tensor:
        """See `Weight.dense`."""
        return from_panels(self._panels, self.shape, torch.bfloat16)

    def lookup(self, numbers: Tensor) -> Tensor:
        """See `Table.lookup`."""
        found = self._panels[numbers // PANEL, :, numbers % PANEL]
        return found.contiguous().view(torch.bfloat16)[:, : self.shape[1]].contiguous()

    def rows(self, start: int, stop: int) -> Bf16Panels:
        """See `Weight.rows`."""
        return Bf16Panels(self.dense()[start:stop])


class Int8Panels(Weight):
    """A matrix on a CPU as 8-bit integers with one scale for each row, multiplied with activations in bfloat16.

    The integers of a product are summed exactly.
    """

    def __init__(self, shape: tuple[int, int], parts: Iterable[tuple[Tensor, Tensor]]) -> None:
        """`parts` are the integers [.., columns] from -127 to 127 and the scales [..] in float32 of rows in turn.

        Each but the last has a multiple of 64 rows, so that what is rounded need not stand in memory as a whole.
        """
        (rows, columns), self.shape, self._library = shape, shape, functions()
        self._panels = _empty(rows, columns)
        self._scale = torch.empty(rows, dtype=torch.float32, device="cpu")
        """Less what a token is rounded with."""
        self._sums = torch.empty(rows, dtype=torch.int32, device="cpu")
        """What comes to a row's sum since activations are shifted."""
        start = 0
        for rounded, scale in parts:
            stop = start + len(rounded)
            _pack(rounded, self._panels[start // PANEL :])
            torch.div(scale, LARGEST, out=self._scale[start:stop])
            self._sums[start:stop] = rounded.sum(1, dtype=torch.int32).mul_(SHIFT)
            start = stop

    def matmul(self, x: Tensor, bias: Tensor | None = None, residual: Tensor | None = None) -> Tensor:
        """See `Weight.matmul`.

        Raises:
            ValueError: a tensor has another shape or type than is right for the matrix.
        """
        (rows, columns), m, threads = self.shape, x.shape[0], torch.get_num_threads()
        _check(x, bias, residual, self.shape)
        x, added = x.contiguous(), None if residual is None else residual.contiguous()
        stride = columns + -columns % WORD
        shifted, largest = x.new_empty(m, stride, dtype=torch.uint8), x.new_empty(m, dtype=torch.float32)
        rounding = [address(each) for each in (x, shifted, largest)]
        self._library.native_round(*rounding, m, columns, stride, threads if m > FEW_ROWS else 1)
        y = x.new_empty(m, rows)
        given = (shifted, self._panels, self._scale, self._sums, largest, bias, added, y)
        self._library.native_linear_int8(*(address(each) for each in given), m, rows, columns, threads)
        return y

    def matrix(self, bias: Tensor | None) -> Matrix:
        """See `Weight.matrix`."""
        (rows, columns), scale, sums = self.shape, address(self._scale), address(self._sums)
        weight = address(self._panels)
        return Matrix(weight=weight, bias=address(bias), scale=scale, sums=sums, rows=rows, columns=columns)

    def dense(self) -> Tensor:
        """See `Weight.dense`; the rounded matrix."""
        return self._integers().float().mul_(self._scale[:, None] * LARGEST).to(torch.bfloat16)

    def rows(self, start: int, stop: int) -> Int8Panels:
        """See `Weight.rows`."""
        rounded = self._integers()[start:stop]
        return Int8Panels((stop - start, self.shape[1]), [(rounded, self._scale[start:stop] * LARGEST)])

    def _integers(self) -> Tensor:
        return from_panels(self._panels, self.shape, torch.int8)


def has_panels(dtype: torch.dtype) -> bool:
    """Whether matrices of a type, or made of such, are multiplied in our own code here.

    A processor with AMX multiplies matrices faster than our code does, by oneDNN's.
    """
    if dtype != torch.bfloat16 or library() is None:
        return False
    return processor() == "avx2" or not torch.cpu._is_amx_tile_supported()


def panel_bytes(rows: int, columns: int, itemsize: int) -> int:
    """What a matrix in panels takes in memory."""
    return -(-rows // PANEL) * PANEL * -(-columns * itemsize // WORD) * WORD


def functions() -> ctypes.CDLL:
    """The C functions.

    Raises:
        RuntimeError: there are none for this machine.
    """
    found = library()
    if found is None:
        raise RuntimeError("there are no C functions for this machine: ask `has_panels` before matrices are packed")
    return found


def to_panels(tensor: Tensor) -> Tensor:
    """A matrix [rows, columns] as panels: [panels, words of a row, 64] in 32 bits, filled up with zeros."""
    rows, columns = tensor.shape
    panels = _empty(rows, columns * tensor.itemsize)
    _pack(tensor, panels)
    return panels


def from_panels(panels: Tensor, shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """The matrix [rows, columns] of a type in such panels."""
    count, words, rows = panels.shape
    plain = panels.new_empty(count * rows, words)
    plain.view(count, rows, words).copy_(panels.transpose(1, 2))
    return plain.view(dtype)[: shape[0], : shape[1]].contiguous()


def _empty(rows: int, width: int) -> Tensor:
    """Room for a matrix [rows, width bytes]."""
    room = torch.empty(-(-rows // PANEL), -(-width // WORD), PANEL, dtype=torch.int32, device="cpu")
    ask_for_huge_pages(room.data_ptr(), room.nbytes)
    return room


def _pack(tensor: Tensor, panels: Tensor) -> None:
    """Write a matrix to its panels, which are there."""
    (rows, columns), tensor = tensor.shape, tensor.contiguous()
    width = columns * tensor.itemsize
    functions().native_pack(address(tensor), address(panels), rows, width, torch.get_num_threads())


def _even(x: Tensor) -> Tensor:
    """x [.., columns] with an even number of columns."""
    return F.pad(x, (0, 1)) if x.shape[1] % 2 else x


def _check(x: Tensor, bias: Tensor | None, residual: Tensor | None, shape: tuple[int, int]) -> None:
    """Refuse what C would read past the end of."""
    for tensor, right in ((x, (x.shape[0], shape[1])), (bias, (shape[0],)), (residual, (x.shape[0], shape[0]))):
        if tensor is not None and (tensor.shape != right or tensor.dtype != torch.bfloat16):
            raise ValueError(
                f"a matrix {list(shape)} asks for bfloat16 {list(right)}, not {tensor.dtype} {list(tensor.shape)}"
            )
    if bias is not None and not bias.is_contiguous():
        raise ValueError(f"a matrix {list(shape)} asks for bfloat16 that lie side by side as its bias")
