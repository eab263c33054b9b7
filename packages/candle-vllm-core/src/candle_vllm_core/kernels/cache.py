"""Writing keys and values into the slots of a paged KV cache.

In fp8 (e4m3) each head of each slot has a scale of its own, so that what one token is stored as depends on no other:

    scale = max(|x|) / 448,  stored = fp8(x / scale)

k, v      [tokens, kv_heads, head_dim]; they may have a wider row
cache     [slots, sides, kv_heads, head_dim], one side where the value is the key's beginning
scales    [slots, sides, kv_heads] float32, of a cache in fp8
slots     [tokens] int64; a token whose slot is below 0 is not written
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import triton
from torch import Tensor
from triton import language as tl

from .case import Case

FP8 = torch.float8_e4m3fn
_LARGEST: tl.constexpr = tl.constexpr(448.0)


@triton.jit
def _unit_of(largest):
    """The scale of heads whose largest number is so large; one that is all zeros has a scale too."""
    return tl.maximum(largest, 1e-20) / _LARGEST


@triton.jit
def _in_units(x, unit):
    """Numbers in float32 as fp8 takes them."""
    return tl.clamp(x / unit, -_LARGEST, _LARGEST)


@triton.jit
def _write_kernel(
    cache,
    scales,
    k,
    v,
    slots,
    K_ROW: tl.constexpr,
    V_ROW: tl.constexpr,
    KV_HEADS: tl.constexpr,
    HEADS: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    DIM: tl.constexpr,
    SIDES: tl.constexpr,
    SCALED: tl.constexpr,
):
    """One side of one token, with HEADS >= KV_HEADS and DIM >= HEAD_DIM powers of two."""
    token, side = tl.program_id(0) // SIDES, tl.program_id(0) % SIDES
    slot = tl.load(slots + token)
    if slot < 0:
        return
    heads, dims = tl.arange(0, HEADS), tl.arange(0, DIM)
    each = (heads < KV_HEADS)[:, None] & (dims < HEAD_DIM)[None, :]
    inner = heads[:, None] * HEAD_DIM + dims[None, :]
    if side == 0:
        given = tl.load(k + token.to(tl.int64) * K_ROW + inner, mask=each, other=0.0)
    else:
        given = tl.load(v + token.to(tl.int64) * V_ROW + inner, mask=each, other=0.0)
    row = slot * SIDES + side
    if SCALED:
        given = given.to(tl.float32)
        unit = _unit_of(tl.max(tl.abs(given), 1))
        given = _in_units(given, unit[:, None])
        tl.store(scales + row * KV_HEADS + heads, unit, mask=heads < KV_HEADS)
    tl.store(cache + row * (KV_HEADS * HEAD_DIM) + inner, given.to(cache.dtype.element_ty), mask=each)


def write(cache: Tensor, slots: Tensor, k: Tensor, v: Tensor | None = None, *, scales: Tensor | None = None) -> None:
    """Put k [tokens, kv_heads, head_dim], and v unless the cache has one side, into slots [tokens]; not below slot 0.

    A cache in fp8 gets for each slot, side and head the scale that brings the largest number to fp8's largest.

    Raises:
        ValueError: shapes, types or strides are none that the kernel takes.
    """
    _, sides, kv_heads, head_dim = cache.shape
    given = (k,) if v is None else (k, v)
    if len(given) != sides or any(side.shape != (len(slots), kv_heads, head_dim) for side in given):
        raise ValueError(f"{[tuple(side.shape) for side in given]} do not fit a cache of {tuple(cache.shape)}")
    if not cache.is_contiguous() or any(side.stride()[1:] != (head_dim, 1) for side in given):
        raise ValueError("the cache and the heads of one token must lie side by side")
    if (cache.dtype == FP8) != (scales is not None):
        raise ValueError(f"a cache in {cache.dtype} has {'no ' if scales is None else ''}scales")
    if len(slots):
        _write_kernel[(len(slots) * sides,)](
            cache, scales, k, v, slots, K_ROW=k.stride(0), V_ROW=0 if v is None else v.stride(0), KV_HEADS=kv_heads,
            HEADS=triton.next_power_of_2(kv_heads), HEAD_DIM=head_dim, DIM=triton.next_power_of_2(head_dim),
            SIDES=sides, SCALED=scales is not None, num_warps=4, enable_fp_fusion=True,
        )  # fmt: skip


def signatures() -> list[Case]:
    """The configurations to compile ahead."""
    return list(_cases())


def _cases() -> Iterator[Case]:
    sizes = {"K_ROW": 1024, "V_ROW": 1024, "KV_HEADS": 8, "HEADS": 8, "HEAD_DIM": 128, "DIM": 128, "SIDES": 2}
    types = {"k": "*bf16", "v": "*bf16", "slots": "*i64"}
    plain: dict[str, object] = {**sizes, "SCALED": False, "scales": None}
    yield Case("heads of 128, bf16", _write_kernel, types | {"cache": "*bf16"}, plain, 4, 3)
    scaled: dict[str, object] = {**sizes, "SCALED": True}
    types |= {"cache": "*fp8e4nv", "scales": "*fp32"}
    # Compute capability 8.0 does not know fp8.
    yield Case("heads of 128, fp8", _write_kernel, types, scaled, 4, 3, ("sm_90", "sm_100", "gfx942"))
