"""Heads made ready to attend: normalised, rotated, and keys and values written to the cache, all in one reading.

For one head x of q or k at position t:

    n = x / sqrt(mean(x^2) + eps) * weight + bias        (RMSNorm; LayerNorm takes off the mean first), or x
    r_i = n_i cos(t f_i) -+ n_j sin(t f_i)               for i < turning, j its partner (Su et al. 2021), or n
    q = r (1 + beta log(1 + floor(t / length)))          for q, where queries grow

Partners are i and i + turning / 2, or interleaved 2i and 2i + 1. All is float32 and rounded once, but for growth, which
is multiplied in the type of q. Heads of v are written as they are. A cache in fp8 gets the bits that `cache` writes.

projected   [tokens, columns]: the heads of q, `q_step` apart (2 head_dim where a gate stands behind each), of k, of v
q           [tokens, heads, head_dim]
cache       [slots, 2, kv_heads, head_dim], keys are side 0
scales      [slots, 2, kv_heads] float32, of a cache in fp8
slots       [tokens] int64; a token whose slot is below 0 is not written
positions   [tokens] int64
cos, sin    [tokens, turning] float32; the sine has the sign of its place in the formula, minus before the first partner
weight, bias  [heads + kv_heads, head_dim] float32

The latent's heads (DeepSeek-V2, section 2.1) are different in that only their ends rotate, that the cache has one side,
and that the latent, the beginning of a key, is normalised as in `norm`:

queries     [tokens, heads, nope_dim + turning], of which the end goes to the end of q [tokens, heads, rank + turning]
compressed  [tokens, rank + turning]
cache       [slots, 1, 1, rank + turning], in fp8 with scales [slots, 1, 1] float32
weight      [rank]
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import triton
from torch import Tensor
from triton import language as tl

from .cache import FP8, _in_units, _unit_of
from .case import Case
from .tiles import Tiles, tiles

TILE = 1024
"""Numbers of one program: a few heads, each by itself."""


@triton.jit
def _partner(dims, TURNING: tl.constexpr):
    """With which dimension each one turns, half of them away; of those that do not turn it says nothing."""
    return tl.where(dims < TURNING // 2, dims + TURNING // 2, dims - TURNING // 2)


@triton.jit
def _swapped(x):
    """Each number in the place of its neighbour, with which it turns where they are interleaved."""
    first, second = tl.split(tl.reshape(x, [x.shape[0], x.shape[1] // 2, 2]))
    return tl.reshape(tl.join(second, first), x.shape)


@triton.jit
def _heads_kernel(
    q,
    cache,
    scales,
    projected,
    slots,
    positions,
    cos,
    sin,
    weight,
    bias,
    row_stride,
    heads,
    kv_heads,
    eps,
    beta,
    length,
    CENTRED: tl.constexpr,
    GROWS: tl.constexpr,
    INTERLEAVED: tl.constexpr,
    TURNING: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    STEP: tl.constexpr,
    HEADS: tl.constexpr,
    DIM: tl.constexpr,
):
    """HEADS heads of one token, with DIM >= HEAD_DIM a power of two."""
    blocks = (heads + 2 * kv_heads + HEADS - 1) // HEADS
    token = (tl.program_id(0) // blocks).to(tl.int64)
    head = tl.program_id(0) % blocks * HEADS + tl.arange(0, HEADS)
    dims = tl.arange(0, DIM)
    each = (head < heads + 2 * kv_heads)[:, None] & (dims < HEAD_DIM)[None, :]
    place = tl.where(head < heads, head * STEP, heads * (STEP - 1) + head)
    row = projected + token * row_stride + place * HEAD_DIM
    given = tl.load(row[:, None] + dims[None, :], mask=each, other=0.0).to(tl.float32)
    found = given
    turns = (head < heads + kv_heads)[:, None] & (dims < HEAD_DIM)[None, :]
    others: tl.constexpr = TURNING > 0 and not INTERLEAVED
    if others:
        other_dims = _partner(dims, TURNING)
        other = tl.load(row[:, None] + other_dims[None, :], mask=turns, other=0.0).to(tl.float32)
    if weight is not None:
        weights = weight + head[:, None] * HEAD_DIM
        if CENTRED:
            mean = (tl.sum(found, 1) / HEAD_DIM)[:, None]
            found = tl.where(each, found - mean, 0.0)
        scale = tl.rsqrt(tl.sum(found * found, 1) / HEAD_DIM + eps)[:, None]
        found *= scale * tl.load(weights + dims[None, :], mask=turns, other=0.0)
        if bias is not None:
            found += tl.load(bias + head[:, None] * HEAD_DIM + dims[None, :], mask=turns, other=0.0)
        if others:
            if CENTRED:
                other -= mean
            other *= scale * tl.load(weights + other_dims[None, :], mask=turns, other=0.0)
            if bias is not None:
                other += tl.load(bias + head[:, None] * HEAD_DIM + other_dims[None, :], mask=turns, other=0.0)
    if TURNING > 0:
        if INTERLEAVED:
            other = _swapped(found)
        turning = dims < TURNING
        cosine = tl.load(cos + token * TURNING + dims, mask=turning, other=1.0)[None, :]
        sine = tl.load(sin + token * TURNING + dims, mask=turning, other=0.0)[None, :]
        found = tl.where(turning[None, :], found * cosine + other * sine, found)
    found = tl.where((head < heads + kv_heads)[:, None], found, given).to(q.dtype.element_ty)
    to_cache = tl.where(head < heads + kv_heads, head - heads, head - heads - kv_heads)
    slot = tl.load(slots + token) if slots is not None else token
    side = (head >= heads + kv_heads).to(tl.int64)
    place = (slot * 2 + side) * kv_heads + to_cache
    stored = found
    if scales is not None:
        stored = found.to(tl.float32)
        unit = _unit_of(tl.max(tl.abs(stored), 1))
        stored = _in_units(stored, unit[:, None])
        if slot >= 0:
            tl.store(scales + place, unit, mask=(head >= heads) & (head < heads + 2 * kv_heads))
    if slot >= 0:
        places = cache + place[:, None] * HEAD_DIM + dims[None, :]
        tl.store(places, stored.to(cache.dtype.element_ty), mask=each & (head >= heads)[:, None])
    if GROWS:
        steps = (tl.load(positions + token) // length).to(tl.float32)
        grown = (1 + beta * tl.log(1 + steps)).to(q.dtype.element_ty).to(tl.float32)
        found = (found.to(tl.float32) * grown).to(q.dtype.element_ty)
    tl.store(q + (token * heads + head)[:, None] * HEAD_DIM + dims[None, :], found, mask=each & (head < heads)[:, None])


def turn_heads(
    projected: Tensor,
    heads: int,
    destination: tuple[Tensor, Tensor | None],
    *,
    q_step: int | None = None,
    angles: tuple[Tensor, Tensor] | None = None,
    interleaved: bool = False,
    norm: tuple[Tensor, Tensor | None, float] | None = None,
    centred: bool = False,
    growth: tuple[Tensor, float, int] | None = None,
    scales: Tensor | None = None,
) -> Tensor:
    """q [tokens, heads, head_dim]; keys and values are written to the destination, a cache and its slots.

    Without slots the cache has one for each token, in their order; in fp8 it has `scales`. `angles` are the cosines and
    sines, `norm` is the weight, the bias and eps, `growth` is positions, beta and length; None: that is not done.

    Raises:
        ValueError: shapes, types or strides are none that the kernel takes.
    """
    cache, slots = destination
    (_, sides, kv_heads, head_dim), (tokens, columns) = cache.shape, projected.shape
    q_step = head_dim if q_step is None else q_step
    if sides != 2 or columns != heads * q_step + 2 * kv_heads * head_dim or q_step not in (head_dim, 2 * head_dim):
        raise ValueError(f"{heads} heads of {tuple(projected.shape)} do not fit a cache of {tuple(cache.shape)}")
    cos, sin, turning = _checked_angles(angles, tokens, head_dim)
    weight, bias, eps = norm or (None, None, 0.0)
    if any(p is not None and p.shape != (heads + kv_heads, head_dim) for p in (weight, bias)):
        raise ValueError(f"a norm must have {heads + kv_heads} heads of {head_dim}")
    positions, beta, length = growth or (None, 0.0, 1)
    _check(projected, cache, slots, scales, weight, bias, positions)
    q = projected.new_empty(tokens, heads, head_dim)
    dim = triton.next_power_of_2(head_dim)
    own = tiles("heads", f"{dim} numbers of {q.element_size()} bytes", _tile(dim))
    each = max(1, own["block"] // dim)
    if tokens:
        _heads_kernel[(tokens * triton.cdiv(heads + 2 * kv_heads, each),)](
            q, cache, scales, projected, slots, positions, cos, sin, weight, bias, projected.stride(0), heads,
            kv_heads, eps, beta, length, CENTRED=centred, GROWS=growth is not None, INTERLEAVED=interleaved,
            TURNING=turning, HEAD_DIM=head_dim, STEP=q_step // head_dim, HEADS=each, DIM=dim, num_warps=own["warps"],
        )  # fmt: skip
    return q


@triton.jit
def _turn(x, base, cos, sin, token, dims, here, TURNING: tl.constexpr, INTERLEAVED: tl.constexpr):
    """Heads of TURNING numbers, loaded as x [heads, dims] from the pointers `base`, rotated."""
    if INTERLEAVED:
        other = _swapped(x)
    else:
        other = tl.load(base + _partner(dims, TURNING)[None, :], mask=here, other=0.0).to(tl.float32)
    cosine = tl.load(cos + token * TURNING + dims, mask=dims < TURNING, other=1.0)[None, :]
    sine = tl.load(sin + token * TURNING + dims, mask=dims < TURNING, other=0.0)[None, :]
    return x * cosine + other * sine


@triton.jit
def _latent_kernel(
    q,
    cache,
    scales,
    queries,
    compressed,
    slots,
    cos,
    sin,
    weight,
    query_row,
    query_head,
    compressed_row,
    heads,
    nope,
    eps,
    INTERLEAVED: tl.constexpr,
    TURNING: tl.constexpr,
    RANK: tl.constexpr,
    HEADS: tl.constexpr,
    DIM: tl.constexpr,
    LATENT: tl.constexpr,
):
    """The key of one token, or HEADS heads of its queries; DIM >= TURNING and LATENT >= RANK are powers of two."""
    blocks = (heads + HEADS - 1) // HEADS + 1
    token, block = (tl.program_id(0) // blocks).to(tl.int64), tl.program_id(0) % blocks
    dims = tl.arange(0, DIM)
    if block == 0:
        slot = tl.load(slots + token) if slots is not None else token
        row = compressed + token * compressed_row
        latents = tl.arange(0, LATENT)
        latent = tl.load(row + latents, mask=latents < RANK, other=0.0).to(tl.float32)
        latent *= tl.rsqrt(tl.sum(latent * latent, 0) / RANK + eps)
        latent = latent.to(weight.dtype.element_ty).to(tl.float32)
        latent *= tl.load(weight + latents, mask=latents < RANK, other=0.0).to(tl.float32)
        key_row = cache + slot * (RANK + TURNING)
        here = (dims < TURNING)[None, :]
        key = tl.load(row + RANK + dims[None, :], mask=here, other=0.0).to(tl.float32)
        if cos is not None:
            key = _turn(key, row + RANK, cos, sin, token, dims, here, TURNING, INTERLEAVED)
        if scales is not None:
            latent, key = latent.to(q.dtype.element_ty).to(tl.float32), key.to(q.dtype.element_ty).to(tl.float32)
            unit = _unit_of(tl.maximum(tl.max(tl.abs(latent)), tl.max(tl.abs(key))))
            latent, key = _in_units(latent, unit), _in_units(key, unit)
            if slot >= 0:
                tl.store(scales + slot, unit)
        if slot >= 0:
            tl.store(key_row + latents, latent.to(cache.dtype.element_ty), mask=latents < RANK)
            tl.store(key_row + RANK + dims[None, :], key.to(cache.dtype.element_ty), mask=here)
    else:
        head = (block - 1) * HEADS + tl.arange(0, HEADS)
        each = (head < heads)[:, None] & (dims < TURNING)[None, :]
        base = (queries + token * query_row + head * query_head + nope)[:, None]
        found = tl.load(base + dims[None, :], mask=each, other=0.0).to(tl.float32)
        if cos is not None:
            found = _turn(found, base, cos, sin, token, dims, each, TURNING, INTERLEAVED)
        place = q + (token * heads + head)[:, None] * (RANK + TURNING) + RANK + dims[None, :]
        tl.store(place, found.to(q.dtype.element_ty), mask=each)


def turn_latent(
    q: Tensor,
    queries: Tensor,
    compressed: Tensor,
    destination: tuple[Tensor, Tensor | None],
    weight: Tensor,
    eps: float,
    *,
    angles: tuple[Tensor, Tensor] | None,
    interleaved: bool = False,
    scales: Tensor | None = None,
) -> None:
    """Fill the ends of q, and write keys to the destination, a cache and its slots; see the module's docstring.

    Without slots the cache has one for each token, in their order; in fp8 it has `scales`. Without angles nothing is
    rotated.

    Raises:
        ValueError: shapes, types or strides are none that the kernel takes.
    """
    cache, slots = destination
    tokens, heads, key_dim = q.shape
    rank, turning = weight.shape[0], key_dim - weight.shape[0]
    fits = queries.shape[:2] == q.shape[:2] and compressed.shape == (tokens, key_dim) and turning > 0
    if not fits or cache.shape[1:] != (1, 1, key_dim) or queries.shape[2] < turning:
        raise ValueError(f"{tuple(queries.shape)} and {tuple(compressed.shape)} do not give {tuple(q.shape)}")
    cos, sin, turned = _checked_angles(angles, tokens, turning)
    if turned not in (0, turning) or queries.stride(2) != 1 or weight.dtype not in (torch.float32, q.dtype):
        raise ValueError("the whole end of a key must turn, its numbers side by side, with a weight of its type")
    _check(compressed, cache, slots, scales, q, weight)
    dim, latent = triton.next_power_of_2(turning), triton.next_power_of_2(rank)
    each = max(1, TILE // dim)
    if tokens:
        _latent_kernel[(tokens * (triton.cdiv(heads, each) + 1),)](
            q, cache, scales, queries, compressed, slots, cos, sin, weight, queries.stride(0), queries.stride(1),
            compressed.stride(0), heads, queries.shape[2] - turning, eps, INTERLEAVED=interleaved, TURNING=turning,
            RANK=rank, HEADS=each, DIM=dim, LATENT=latent, num_warps=_tile(latent)["warps"],
        )  # fmt: skip


def _tile(dim: int) -> Tiles:
    """The numbers of a program, and warps: each thread has 8 numbers, which of two bytes are read at once."""
    block = max(TILE, dim)
    return {"block": block, "warps": min(block // 256, 8)}


def _checked_angles(
    angles: tuple[Tensor, Tensor] | None, tokens: int, most: int
) -> tuple[Tensor | None, Tensor | None, int]:
    """Cosines and sines, and how many dimensions turn."""
    if angles is None:
        return None, None, 0
    cos, sin = angles
    turning = cos.shape[-1]
    if not all(a.is_contiguous() and a.dtype == torch.float32 and a.numel() == tokens * turning for a in angles):
        raise ValueError(
            f"cosines of {tuple(cos.shape)} and sines of {tuple(sin.shape)} in float32 for {tokens} tokens"
        )
    if turning > most or turning % 2:
        raise ValueError(f"{turning} of {most} dimensions cannot turn in pairs")
    return cos, sin, turning


def _check(given: Tensor, cache: Tensor, slots: Tensor | None, scales: Tensor | None, *others: Tensor | None) -> None:
    if slots is None and cache.shape[0] < given.shape[0] or slots is not None and slots.shape != given.shape[:1]:
        raise ValueError(f"slots for {given.shape[0]} tokens are needed")
    if slots is not None and slots.dtype != torch.int64:
        raise ValueError(f"slots must be int64, not {slots.dtype}")
    if given.stride(-1) != 1 or not all(t is None or t.is_contiguous() for t in (cache, slots, scales, *others)):
        raise ValueError("the numbers of a row, the cache, slots, scales and weights must lie side by side")
    if (cache.dtype == FP8) != (scales is not None):
        raise ValueError(f"a cache in {cache.dtype} has {'no ' if scales is None else ''}scales")
    if scales is not None and (scales.shape != cache.shape[:3] or scales.dtype != torch.float32):
        raise ValueError(f"scales of {tuple(scales.shape)} in {scales.dtype} do not fit {tuple(cache.shape)}")


def signatures() -> list[Case]:
    """The configurations to compile ahead."""
    return list(_cases())


def _cases() -> Iterator[Case]:
    norm, growth = ("weight",), ("positions",)
    yield _heads_case("heads of 64, gpt-oss", 64, "bf16", ())
    for dtype in ("bf16", "fp16", "fp32"):
        yield _heads_case(f"heads of 128, {dtype}", 128, dtype, ())
    yield _heads_case("heads of 128 normalised, bf16", 128, "bf16", norm)
    yield _heads_case("heads of 128 that grow, bf16", 128, "bf16", growth)
    yield _heads_case("heads of 256 with gates, a quarter turning, bf16", 256, "bf16", norm, turning=64, gated=True)
    yield _heads_case("heads of 128 interleaved, bf16", 128, "bf16", (), interleaved=True)
    yield _heads_case("heads of 80 with LayerNorm, bf16", 80, "bf16", ("weight", "bias"), turning=32, centred=True)
    for interleaved in (True, False):
        yield _latent_case("interleaved" if interleaved else "in halves", interleaved=interleaved)
    # Compute capability 8.0 does not know fp8.
    yield _in_fp8(_heads_case("heads of 128 normalised, bf16, cache in fp8", 128, "bf16", norm))
    yield _in_fp8(_latent_case("interleaved, cache in fp8", interleaved=True))


def _heads_case(
    name: str,
    head_dim: int,
    dtype: str,
    also: tuple[str, ...],
    *,
    turning: int | None = None,
    interleaved: bool = False,
    centred: bool = False,
    gated: bool = False,
) -> Case:
    dim = triton.next_power_of_2(head_dim)
    tile = _tile(dim)
    optional = {"positions": "*i64", "weight": "*fp32", "bias": "*fp32"}
    types = dict.fromkeys(("q", "cache", "projected"), f"*{dtype}") | {"slots": "*i64", "cos": "*fp32", "sin": "*fp32"}
    types |= {argument: optional[argument] for argument in also}
    types |= {"row_stride": "i32:16", "eps": "fp32", "beta": "fp32"}
    types |= dict.fromkeys(("heads", "kv_heads", "length"), "i32")
    constants: dict[str, object] = {argument: None for argument in ("scales", *optional) if argument not in also}
    constants |= {"CENTRED": centred, "GROWS": "positions" in also, "INTERLEAVED": interleaved}
    constants |= {"TURNING": turning or head_dim, "HEAD_DIM": head_dim, "STEP": 1 + gated}
    constants |= {"HEADS": tile["block"] // dim, "DIM": dim}
    return Case(name, _heads_kernel, types, constants, tile["warps"], 1)


def _in_fp8(case: Case) -> Case:
    constants = {name: value for name, value in case.constants.items() if name != "scales"}
    types = {**case.types, "cache": "*fp8e4nv", "scales": "*fp32"}
    return case._replace(types=types, constants=constants, targets=("sm_90", "sm_100", "gfx942"))


def _latent_case(name: str, *, interleaved: bool) -> Case:
    pointers = ("q", "cache", "queries", "compressed", "weight")
    types = dict.fromkeys(pointers, "*bf16") | {"slots": "*i64", "cos": "*fp32", "sin": "*fp32"}
    types |= dict.fromkeys(("query_row", "query_head", "compressed_row", "heads", "nope"), "i32:16") | {"eps": "fp32"}
    constants: dict[str, object] = {"INTERLEAVED": interleaved, "TURNING": 64, "RANK": 512, "HEADS": 16}
    constants |= {"DIM": 64, "LATENT": 512, "scales": None}
    return Case(f"latent of 512 and 64, {name}, bf16", _latent_kernel, types, constants, _tile(512)["warps"], 1)
