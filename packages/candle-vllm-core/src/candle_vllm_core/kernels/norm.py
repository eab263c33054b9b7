"""Normalisation of rows with the sums around it, each row read once.

    s = x + added,                                 rounded to the type of x
    n = s / sqrt(mean(s^2) + eps)                  (RMSNorm), or
    n = (s - mean(s)) / sqrt(var(s) + eps)         (LayerNorm), in float32
    out = round(n * weight + bias) + residual

Where the weight is not float32, n is rounded to its type before it is multiplied. A weight that a checkpoint stores
less one is given whole.

x, added, residual, total      [rows, dim], numbers of a row side by side; total is s
index                          [results] int64, which rows are normalised; None: all
weight, bias                   [dim]
out                            [results, dim]
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import triton
from torch import Tensor
from triton import language as tl

from .case import Case
from .tiles import tiles

MOST_COLUMNS = 32768
"""The longest row: one program holds it whole."""


@triton.jit(do_not_specialize=["count"])
def _norm_kernel(
    out,
    total,
    x,
    added,
    residual,
    index,
    weight,
    bias,
    count,
    dim,
    x_stride,
    added_stride,
    residual_stride,
    eps,
    CENTRED: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """ROWS results, with BLOCK >= dim a power of two."""
    results, columns = tl.program_id(0) * ROWS + tl.arange(0, ROWS).to(tl.int64), tl.arange(0, BLOCK)
    rows = results
    if index is not None:
        rows = tl.load(index + results, mask=results < count, other=0)
    each = (results < count)[:, None] & (columns < dim)[None, :]
    found = tl.load(x + rows[:, None] * x_stride + columns[None, :], mask=each, other=0.0).to(tl.float32)
    if added is not None:
        found += tl.load(added + rows[:, None] * added_stride + columns[None, :], mask=each, other=0.0).to(tl.float32)
        summed = found.to(x.dtype.element_ty)
        if total is not None:
            tl.store(total + results[:, None] * dim + columns[None, :], summed, mask=each)
        found = summed.to(tl.float32)
    if CENTRED:
        found = tl.where(each, found - tl.sum(found, 1)[:, None] / dim, 0.0)
    found *= tl.rsqrt(tl.sum(found * found, 1) / dim + eps)[:, None]
    found = found.to(weight.dtype.element_ty).to(tl.float32)
    found *= tl.load(weight + columns, mask=columns < dim, other=0.0).to(tl.float32)[None, :]
    if bias is not None:
        found += tl.load(bias + columns, mask=columns < dim, other=0.0).to(tl.float32)[None, :]
    if residual is not None:
        found = found.to(out.dtype.element_ty).to(tl.float32)
        after = residual + rows[:, None] * residual_stride + columns[None, :]
        found += tl.load(after, mask=each, other=0.0).to(tl.float32)
    tl.store(out + results[:, None] * dim + columns[None, :], found.to(out.dtype.element_ty), mask=each)


def normalise(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    eps: float,
    *,
    centred: bool = False,
    added: Tensor | None = None,
    residual: Tensor | None = None,
    index: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """What is normalised [results, dim], and the sum of x and what is added to it [rows, dim].

    With an index no sum is made, and x is given back in its place, as where nothing is added.

    Raises:
        ValueError: shapes, types or strides are none that the kernel takes.
    """
    _check(x, weight, bias, added, residual)
    count, dim = x.shape[0] if index is None else index.shape[0], x.shape[1]
    out = x.new_empty(count, dim)
    total = x.new_empty(count, dim) if added is not None and index is None else None
    rows, block, warps = _tile(dim)
    own = tiles("norm", f"{dim} numbers of {x.dtype.itemsize} bytes", {"warps": warps})
    if count:
        _norm_kernel[(triton.cdiv(count, rows),)](
            out, total, x, added, residual, index, weight, bias, count, dim, x.stride(0),
            0 if added is None else added.stride(0), 0 if residual is None else residual.stride(0), eps,
            CENTRED=centred, ROWS=rows, BLOCK=block, num_warps=own["warps"],
        )  # fmt: skip
    return out, x if total is None else total


def _check(x: Tensor, weight: Tensor, bias: Tensor | None, added: Tensor | None, residual: Tensor | None) -> None:
    if x.dim() != 2 or not 0 < x.shape[1] <= MOST_COLUMNS:
        raise ValueError(f"rows of {tuple(x.shape)}; they must have 1 to {MOST_COLUMNS} numbers")
    for other in (added, residual):
        if other is not None and (other.shape != x.shape or other.dtype != x.dtype):
            raise ValueError(f"{tuple(other.shape)} in {other.dtype} cannot be added to {tuple(x.shape)} in {x.dtype}")
    for parameter in (weight, bias):
        if parameter is not None and (parameter.shape != x.shape[1:] or parameter.dtype != weight.dtype):
            raise ValueError(f"a parameter of {tuple(parameter.shape)} in {parameter.dtype} for {tuple(x.shape)}")
    if weight.dtype not in (torch.float32, x.dtype):
        raise ValueError(f"a weight in {weight.dtype} for rows in {x.dtype}")
    if any(tensor is not None and tensor.stride(-1) != 1 for tensor in (x, weight, bias, added, residual)):
        raise ValueError("the numbers of a row must lie side by side")


def _tile(dim: int) -> tuple[int, int, int]:
    """Rows, columns and warps of a program; they never follow from how many rows there are, nor do the sums' bits."""
    block = triton.next_power_of_2(dim)
    rows = max(1, 1024 // block)  # Several short rows, so that a program has enough to do.
    warps = min(max(rows * block // 512, 1), 16)  # 16 numbers of each thread, as 8 of two bytes are read at once.
    return rows, block, warps


def signatures() -> list[Case]:
    """The configurations to compile ahead."""
    return list(_cases())


def _cases() -> Iterator[Case]:
    for dim in (128, 4096, MOST_COLUMNS):
        yield _case(f"RMSNorm of {dim}, bf16", dim, "bf16", "bf16", ())
    for dtype in ("bf16", "fp16", "fp32"):
        yield _case(f"RMSNorm of 4096 with sum, {dtype}", 4096, dtype, dtype, ("added", "total"))
    yield _case("RMSNorm of some rows with sum, bf16", 4096, "bf16", "fp32", ("added", "index"))
    yield _case("RMSNorm of 4096 and residual, bf16", 4096, "bf16", "fp32", ("residual",))
    yield _case("LayerNorm of 8192 with sum, bf16", 8192, "bf16", "fp32", ("bias", "added", "total"), centred=True)


def _case(name: str, dim: int, dtype: str, weight: str, also: tuple[str, ...], *, centred: bool = False) -> Case:
    rows, block, warps = _tile(dim)
    optional = {"total": dtype, "added": dtype, "residual": dtype, "index": "i64", "bias": weight}
    pointers = {"out": dtype, "x": dtype, "weight": weight} | {each: optional[each] for each in also}
    numbers = {"count": "i32"} | dict.fromkeys(("dim", "x_stride", "added_stride", "residual_stride"), "i32:16")
    types = {argument: f"*{kind}" for argument, kind in pointers.items()} | numbers | {"eps": "fp32"}
    absent = {argument: None for argument in optional if argument not in also}
    constants = {"CENTRED": centred, "ROWS": rows, "BLOCK": block, **absent}
    return Case(name, _norm_kernel, types, constants, warps, 1)
