"""Grouped matrix products of a mixture's experts: each pair of a token and one of its experts in one launch.

With pair p = top_k * token + choice, e = experts[token, choice] and the row r = p // share of x, where share is top_k
for tokens and 1 where each pair has a row of its own:

    out[p] = weight[p] * (x[r] . W_e^T + bias_e)
    combined[t] = sum_k out[top_k * t + k] + added[0][t] + added[1][t]

Products are summed in float32 over columns from the first on, BLOCK_K at a time; that is the same for all tiles that a
type has, so a pair's bits depend on nothing but its own row. A program computes one tile of pairs of one expert
(see `routing`) times BLOCK_N rows of its matrix; where pairs are few, each is a tile by itself and nothing is sorted.

x        [rows, columns], rows may lie apart; fp16, bf16 or fp32, as all below if nothing else is said
W        [experts, rows of out, columns]
bias     [experts, rows of out]
weight   [tokens, top_k] float32
out      [pairs, rows of out]
added    two at most, [tokens, rows of out]; rounded once, after the sum
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import triton
from torch import Tensor
from triton import language as tl

from .case import Case
from .routing import Sorted
from .tiles import tiles as measured

NAMES = {torch.float16: "fp16", torch.bfloat16: "bf16", torch.float32: "fp32"}
COLUMNS = 1024
"""Of one program that combines."""


class Tile(NamedTuple):
    """What one program multiplies, and how it is compiled."""

    pairs: int
    rows: int
    columns: int
    warps: int
    stages: int


# By bytes of a number. Few pairs: all time goes into reading matrices, which small tiles spread over more processors.
# Many: large tiles read less twice. Both sum alike; below 64 pairs Hopper and AMD multiply with other instructions.
_FEW = {2: Tile(64, 64, 64, 4, 4), 4: Tile(64, 64, 32, 8, 2)}
_MANY = {2: Tile(128, 128, 64, 8, 3), 4: Tile(64, 64, 32, 8, 2)}
PAIRS_EACH = 64
"""From so many pairs for each expert on they are many."""
APART = 4
"""Pairs are sorted where there are more than a part of this size of the experts: of fewer hardly two share one."""


@triton.jit
def _multiply_kernel(
    out,
    x,
    matrices,
    biases,
    weights,
    experts,
    order,
    tiles,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    X_ROW: tl.constexpr,
    SHARE: tl.constexpr,
    SORTED: tl.constexpr,
    BIASED: tl.constexpr,
    WEIGHTED: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """One tile of pairs and BLOCK_N rows of their expert's matrix; without SORTED a tile is one pair."""
    across = tl.cdiv(ROWS, BLOCK_N)
    tile = tl.program_id(0) // across
    m, k = tl.arange(0, BLOCK_M), tl.arange(0, BLOCK_K)
    if SORTED:
        expert, live = tl.load(tiles + tile * 2), tl.load(tiles + tile * 2 + 1)
        if live == 0:
            return
        here = m < live
        pair = tl.load(order + tile * BLOCK_M + m, mask=here, other=0)
    else:
        expert, here = tl.load(experts + tile), m == 0
        pair = tl.where(here, tile, 0)
    row = tl.program_id(0) % across * BLOCK_N + tl.arange(0, BLOCK_N)
    # What is past the last row is computed from it again and not stored.
    matrix = (
        matrices + expert.to(tl.int64) * (ROWS * COLUMNS) + tl.minimum(row, ROWS - 1).to(tl.int64)[None, :] * COLUMNS
    )
    source = x + (pair // SHARE).to(tl.int64)[:, None] * X_ROW
    acc = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for at in range(0, COLUMNS, BLOCK_K):
        column = at + k
        if COLUMNS % BLOCK_K == 0:
            a = tl.load(source + column[None, :], mask=here[:, None], other=0.0)
            b = tl.load(matrix + column[:, None])
        else:
            inside = column < COLUMNS
            a = tl.load(source + column[None, :], mask=here[:, None] & inside[None, :], other=0.0)
            b = tl.load(matrix + column[:, None], mask=inside[:, None], other=0.0)
        acc = tl.dot(a, b, acc, input_precision="ieee")
    if BIASED:
        acc += tl.load(biases + expert.to(tl.int64) * ROWS + row, mask=row < ROWS, other=0.0).to(tl.float32)[None, :]
    if WEIGHTED:
        acc *= tl.load(weights + pair, mask=here, other=0.0)[:, None]
    places = out + pair.to(tl.int64)[:, None] * ROWS + row[None, :]
    tl.store(places, acc.to(out.dtype.element_ty), mask=here[:, None] & (row < ROWS)[None, :])


@triton.jit
def _combine_kernel(
    out,
    given,
    first,
    second,
    columns,
    first_row,
    second_row,
    TOP_K: tl.constexpr,
    ADDED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One token and BLOCK columns; ADDED tensors are added, `first` and `second`."""
    token = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = column < columns
    found = tl.zeros((BLOCK,), tl.float32)
    for choice in tl.static_range(TOP_K):
        found += tl.load(given + (token * TOP_K + choice) * columns + column, mask=inside, other=0.0).to(tl.float32)
    if ADDED > 0:
        found += tl.load(first + token * first_row + column, mask=inside, other=0.0).to(tl.float32)
    if ADDED > 1:
        found += tl.load(second + token * second_row + column, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + token * columns + column, found.to(out.dtype.element_ty), mask=inside)


def tile_for(pairs: int, count: int, itemsize: int) -> Tile:
    """The tile for a number of pairs of `count` experts."""
    are_many = pairs >= PAIRS_EACH * count
    tile = (_MANY if are_many else _FEW)[itemsize]
    # What a pair sums, and in which order, is not to be chosen: few and many give it the same bits.
    open_to_choice = {"rows": tile.rows, "warps": tile.warps, "stages": tile.stages}
    key = f"{'many' if are_many else 'few'} pairs, {itemsize} bytes"
    return tile._replace(**measured("experts", key, open_to_choice))


def few(pairs: int, count: int) -> bool:
    """Whether pairs are so few that sorting them gains nothing."""
    return pairs * APART <= count


def multiply(
    x: Tensor,
    matrices: Tensor,
    experts: Tensor,
    found: Sorted | None,
    biases: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Rows of x [tokens or pairs, columns] times the matrices [experts, rows, columns] of `experts` [tokens, top_k].

    `found` is what sorting `experts` with a height of `tile_for` gave, None: each pair is a tile. Gives [pairs, rows].

    Raises:
        ValueError: shapes, types or strides are none that the kernel takes.
    """
    (count, rows, columns), pairs = matrices.shape, experts.numel()
    tile = tile_for(pairs, count, matrices.dtype.itemsize)
    _check(x, matrices, experts, biases, weights)
    if found is not None and len(found.order) != len(found.tiles) * tile.pairs:
        raise ValueError(f"{len(found.order)} places are not {len(found.tiles)} tiles of {tile.pairs}")
    out = x.new_empty(pairs, rows)
    height = pairs if found is None else len(found.tiles)
    if pairs:
        _multiply_kernel[(height * triton.cdiv(rows, tile.rows),)](
            out, x, matrices, biases, weights, experts, *((None, None) if found is None else found), ROWS=rows,
            COLUMNS=columns, X_ROW=x.stride(0), SHARE=pairs // len(x), SORTED=found is not None,
            BIASED=biases is not None, WEIGHTED=weights is not None,
            BLOCK_M=tile.pairs, BLOCK_N=tile.rows, BLOCK_K=tile.columns, num_warps=tile.warps, num_stages=tile.stages,
            enable_fp_fusion=True,
        )  # fmt: skip
    return out


def combine(given: Tensor, top_k: int, added: Sequence[Tensor] = ()) -> Tensor:
    """The sums of what each token's experts gave, `given` [tokens * top_k, columns], plus what is added to them.

    Raises:
        ValueError: shapes or strides are none that the kernel takes.
    """
    pairs, columns = given.shape
    shape = (pairs // top_k, columns)
    if len(added) > 2 or not given.is_contiguous() or any(a.shape != shape or a.stride(1) != 1 for a in added):
        raise ValueError(f"{[tuple(a.shape) for a in added]} cannot be added to {shape}")
    out = given.new_empty(shape)
    if out.numel():
        first, second = (*added, None, None)[:2]
        _combine_kernel[(shape[0], triton.cdiv(columns, COLUMNS))](
            out, given, first, second, columns, 0 if first is None else first.stride(0),
            0 if second is None else second.stride(0), TOP_K=top_k, ADDED=len(added), BLOCK=COLUMNS, num_warps=4,
            enable_fp_fusion=True,
        )  # fmt: skip
    return out


def _check(x: Tensor, matrices: Tensor, experts: Tensor, biases: Tensor | None, weights: Tensor | None) -> None:
    count, rows, columns = matrices.shape
    if x.dtype != matrices.dtype or x.dtype not in NAMES:
        raise ValueError(f"tokens in {x.dtype} cannot be multiplied with matrices in {matrices.dtype}")
    if x.dim() != 2 or x.shape[1] != columns or len(x) not in (len(experts), experts.numel()):
        raise ValueError(f"{tuple(x.shape)} tokens do not fit experts {tuple(experts.shape)} of {columns} columns")
    if x.stride(1) != 1 or not matrices.is_contiguous() or not experts.is_contiguous():
        raise ValueError("the numbers of a token, the matrices and the experts must lie side by side")
    if biases is not None and (biases.shape != (count, rows) or not biases.is_contiguous()):
        raise ValueError(f"biases are {tuple(biases.shape)}, {(count, rows)} are needed")
    if weights is not None and (
        weights.shape != experts.shape or weights.dtype != torch.float32 or not weights.is_contiguous()
    ):
        raise ValueError(
            f"weights are {tuple(weights.shape)} {weights.dtype}, {tuple(experts.shape)} in float32 are needed"
        )


def signatures() -> list[Case]:
    """What is worth compiling ahead of time."""
    found = []
    for dtype, table, is_sorted, last in (
        (torch.bfloat16, _FEW, False, False),
        (torch.bfloat16, _FEW, True, True),
        (torch.bfloat16, _MANY, True, False),
        (torch.float16, _MANY, True, True),
        (torch.float32, _FEW, True, True),
    ):
        tile, name = table[dtype.itemsize], NAMES[dtype]
        rows, columns = (2880, 2896) if last else (1536, 2048)
        constants = {"ROWS": rows, "COLUMNS": columns, "X_ROW": columns, "SHARE": 1 if last else 8}
        constants |= {"SORTED": is_sorted, "BIASED": last, "WEIGHTED": last}
        constants |= {"BLOCK_M": tile.pairs, "BLOCK_N": tile.rows, "BLOCK_K": tile.columns}
        types = {**dict.fromkeys(("out", "x", "matrices", "biases"), f"*{name}"), "weights": "*fp32"}
        types |= {"experts": "*i64", "order": "*i32", "tiles": "*i32"}
        load = "many" if table is _MANY else "few" if is_sorted else "unsorted"
        title = f"experts, {load} pairs, {rows} x {columns}, {name}"
        found.append(Case(title, _multiply_kernel, types, constants, tile.warps, tile.stages))
    types = {**dict.fromkeys(("out", "given", "first", "second"), "*bf16"), "columns": "i32:16"}
    types |= {"first_row": "i32:16", "second_row": "i32:16"}
    combining = {"TOP_K": 8, "ADDED": 2, "BLOCK": COLUMNS}
    return [*found, Case("experts combined, bf16", _combine_kernel, types, combining, 4, 3)]
