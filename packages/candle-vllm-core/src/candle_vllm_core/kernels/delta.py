"""One more token through a gated delta-net for every sequence at once (Yang, Kautz and Hatamizadeh 2024, section 3.1).

A value head of a sequence has a memory M [key_dim, value_dim], and every channel of q, k and v its last inputs:

    x = silu(sum_t taps_t input_t)                          over a channel's last `kernel` inputs, this one included
    q = x_q / sqrt((|x_q|^2 + 1e-6) key_dim),  k = x_k / sqrt(|x_k|^2 + 1e-6),  v = x_v
    M' = exp(rate softplus(decay + dt_bias)) M
    M  = M' + k^T sigmoid(beta) (v - k M')
    out = g / sqrt(mean(g^2) + eps) * weight * silu(gate),  g = q M

A key head has `each` = value_heads / key_heads value heads. All is float32; g, and what is normalised, are rounded to
the type of `inner`. A sequence's key head is one program, so its bits do not depend on the other sequences.

inner     [tokens, ..]: for each key head q, k, then v of its value heads, then their gates; behind all of them for each
          key head beta of its value heads, then their decays
out       [tokens, value_heads * value_dim]
conv      [slots, channels, kernel - 1], the inputs before this one, the oldest first; q of all heads, k, then v
memory    [slots, value_heads, key_dim, value_dim] float32
places    [sequences] int64, their slots
rows      [sequences] int64, their tokens; None: sequence i has token i
taps      [kernel, channels] float32
rate, dt_bias  [value_heads] float32; the rate is below 0
weight    [value_dim]
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
import triton
from torch import Tensor
from triton import language as tl

from .activation import _sigmoid
from .case import Case

MOST = 1 << 14
"""Numbers of the memory of one value head, rounded up to powers of two: they are held in registers."""


class Heads(NamedTuple):
    """The shape of a delta-net."""

    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    kernel: int


class Learned(NamedTuple):
    """What a delta-net learned; see the module's docstring."""

    taps: Tensor
    rate: Tensor
    dt_bias: Tensor
    weight: Tensor


@triton.jit
def _softplus(x):
    """log(1 + e^x), to the last bits also where e^x is small; x where e^x is so large that 1 is lost."""
    added = tl.exp(tl.minimum(x, 20.0))
    rounded = 1 + added
    exact = tl.log(rounded) * (added / tl.maximum(rounded - 1, 1e-30))
    return tl.where(x > 20, x, tl.where(rounded == 1, added, exact))


@triton.jit
def _convolved(state, given, taps, channels, here, CHANNELS: tl.constexpr, KERNEL: tl.constexpr, SEEN: tl.constexpr):
    """What some channels give, and their states take the newest input in; SEEN >= KERNEL is a power of two."""
    ages = tl.arange(0, SEEN)
    places = state + channels[:, None] * (KERNEL - 1) + ages[None, :]
    seen = tl.load(places, mask=here[:, None] & (ages < KERNEL - 1)[None, :], other=0.0)
    newest = tl.load(given, mask=here, other=0.0).to(seen.dtype)
    seen = tl.where((ages == KERNEL - 1)[None, :], newest[:, None], seen)
    weights = taps + ages[None, :] * CHANNELS + channels[:, None]
    weights = tl.load(weights, mask=here[:, None] & (ages < KERNEL)[None, :], other=0.0)
    found = tl.sum(seen.to(tl.float32) * weights, 1)
    # Several threads may have read what one of them writes.
    tl.debug_barrier()
    tl.store(places - 1, seen, mask=here[:, None] & ((ages > 0) & (ages < KERNEL))[None, :])
    return found * _sigmoid(found)


@triton.jit
def _delta_kernel(
    out,
    inner,
    conv,
    memory,
    places,
    rows,
    taps,
    rate,
    dt_bias,
    weight,
    row_stride,
    eps,
    KEY_HEADS: tl.constexpr,
    EACH: tl.constexpr,
    KEY_DIM: tl.constexpr,
    VALUE_DIM: tl.constexpr,
    KERNEL: tl.constexpr,
    KEY: tl.constexpr,
    VALUE: tl.constexpr,
    SEEN: tl.constexpr,
):
    """A key head of a sequence and its EACH value heads, with KEY >= KEY_DIM and VALUE >= VALUE_DIM powers of two."""
    channels: tl.constexpr = KEY_HEADS * (2 * KEY_DIM + EACH * VALUE_DIM)
    part: tl.constexpr = 2 * KEY_DIM + 2 * EACH * VALUE_DIM
    sequence, head = tl.program_id(0) // KEY_HEADS, tl.program_id(0) % KEY_HEADS
    row = tl.load(rows + sequence) if rows is not None else sequence.to(tl.int64)
    place = tl.load(places + sequence)
    given = inner + row * row_stride + head * part
    gates = inner + row * row_stride + KEY_HEADS * part + head * (2 * EACH)
    state = conv + place * (channels * (KERNEL - 1))
    keys, values = tl.arange(0, KEY), tl.arange(0, VALUE)
    real, wanted = keys < KEY_DIM, values < VALUE_DIM
    first_k: tl.constexpr = KEY_HEADS * KEY_DIM
    first_v: tl.constexpr = 2 * KEY_HEADS * KEY_DIM
    q = _convolved(state, given + keys, taps, head * KEY_DIM + keys, real, channels, KERNEL, SEEN)
    k = _convolved(state, given + KEY_DIM + keys, taps, first_k + head * KEY_DIM + keys, real, channels, KERNEL, SEEN)
    q *= tl.rsqrt((tl.sum(q * q, 0) + 1e-6) * KEY_DIM)
    k *= tl.rsqrt(tl.sum(k * k, 0) + 1e-6)
    for own in tl.range(EACH):
        value_head = head * EACH + own
        at = memory + (place * (KEY_HEADS * EACH) + value_head) * (KEY_DIM * VALUE_DIM)
        at += keys[:, None] * VALUE_DIM + values[None, :]
        held = tl.load(at, mask=real[:, None] & wanted[None, :], other=0.0)
        given_v = given + 2 * KEY_DIM + own * VALUE_DIM + values
        v = _convolved(state, given_v, taps, first_v + value_head * VALUE_DIM + values, wanted, channels, KERNEL, SEEN)
        beta, decay = tl.load(gates + own).to(tl.float32), tl.load(gates + EACH + own).to(tl.float32)
        held *= tl.exp(tl.load(rate + value_head) * _softplus(decay + tl.load(dt_bias + value_head)))
        written = _sigmoid(beta) * (v - tl.sum(held * k[:, None], 0))
        held += k[:, None] * written[None, :]
        tl.store(at, held, mask=real[:, None] & wanted[None, :])
        found = tl.sum(held * q[:, None], 0).to(out.dtype.element_ty).to(tl.float32)
        found *= tl.rsqrt(tl.sum(found * found, 0) / VALUE_DIM + eps)
        found = found.to(weight.dtype.element_ty).to(tl.float32)
        found *= tl.load(weight + values, mask=wanted, other=0.0).to(tl.float32)
        gate = tl.load(given_v + EACH * VALUE_DIM, mask=wanted, other=0.0).to(tl.float32)
        found = found.to(out.dtype.element_ty).to(tl.float32) * (gate * _sigmoid(gate))
        places_out = out + (row * (KEY_HEADS * EACH) + value_head) * VALUE_DIM + values
        tl.store(places_out, found.to(out.dtype.element_ty), mask=wanted)


def takes(heads: Heads) -> bool:
    """Whether the kernel can hold the memories of a delta-net."""
    numbers: int = triton.next_power_of_2(heads.key_dim) * triton.next_power_of_2(heads.value_dim)
    return numbers <= MOST


def step(
    out: Tensor,
    inner: Tensor,
    states: tuple[Tensor, Tensor],
    places: Tensor,
    heads: Heads,
    learned: Learned,
    eps: float,
    *,
    rows: Tensor | None = None,
) -> None:
    """Give some sequences what their next tokens get, into rows of `out`, and change their states where they lie.

    `states` are conv and memory; no slot may be two sequences', unless nobody looks at what becomes of them.

    Raises:
        ValueError: shapes, types or strides are none that the kernel takes.
    """
    conv, memory = states
    _check(out, inner, conv, memory, heads, learned)
    for indices in (places, rows):
        if indices is not None and (indices.shape != places.shape or indices.dtype != torch.int64):
            raise ValueError(f"places and rows must be int64 [{len(places)}], not {indices.dtype}")
    if rows is None and len(places) > len(inner):
        raise ValueError(f"{len(places)} sequences do not have {len(inner)} tokens")
    each = heads.value_heads // heads.key_heads
    key, value = triton.next_power_of_2(heads.key_dim), triton.next_power_of_2(heads.value_dim)
    if len(places):
        _delta_kernel[(len(places) * heads.key_heads,)](
            out, inner, conv, memory, places, rows, *learned, inner.stride(0), eps, KEY_HEADS=heads.key_heads,
            EACH=each, KEY_DIM=heads.key_dim, VALUE_DIM=heads.value_dim, KERNEL=heads.kernel, KEY=key, VALUE=value,
            SEEN=triton.next_power_of_2(heads.kernel), num_warps=_warps(key * value), enable_fp_fusion=True,
        )  # fmt: skip


def _warps(numbers: int) -> int:
    """So many that each thread holds 64 numbers of the memory."""
    return max(numbers // 2048, 1)


def _check(out: Tensor, inner: Tensor, conv: Tensor, memory: Tensor, heads: Heads, learned: Learned) -> None:
    key_heads, value_heads, key_dim, value_dim, kernel = heads
    if value_heads % key_heads or not takes(heads):
        raise ValueError(f"{heads}: value heads must be shared out, and a memory have at most {MOST} numbers")
    values = value_heads * value_dim
    channels = 2 * key_heads * key_dim + values
    fits = inner.shape == (len(out), channels + values + 2 * value_heads) and out.shape[1] == values
    fits &= conv.shape[1:] == (channels, kernel - 1) and memory.shape[1:] == (value_heads, key_dim, value_dim)
    shapes = ((kernel, channels), (value_heads,), (value_heads,), (value_dim,))
    fits &= all(tensor.shape == shape for tensor, shape in zip(learned, shapes, strict=True))
    if not fits or len(conv) != len(memory):
        raise ValueError(
            f"{tuple(inner.shape)} and states of {tuple(conv.shape)}, {tuple(memory.shape)} are not {heads}"
        )
    wide = (memory, learned.taps, learned.rate, learned.dt_bias)
    if any(tensor.dtype != torch.float32 for tensor in wide) or not conv.dtype == inner.dtype == out.dtype:
        raise ValueError(f"tokens in {inner.dtype}, their states in {conv.dtype}, the memory in {memory.dtype}")
    if inner.stride(1) != 1 or not all(tensor.is_contiguous() for tensor in (out, conv, memory, *learned)):
        raise ValueError("the numbers of a token, states and what was learned must lie side by side")


def signatures() -> list[Case]:
    """The configurations to compile ahead."""
    return list(_cases())


def _cases() -> Iterator[Case]:
    yield _case("16 heads of 128, 2 value heads of 128 each, bf16, recorded", Heads(16, 32, 128, 128, 4), "bf16")
    for dtype in ("bf16", "fp16", "fp32"):
        name = f"16 heads of 128, 2 value heads of 128 each, {dtype}"
        yield _case(name, Heads(16, 32, 128, 128, 4), dtype, rows="*i64")
    yield _case("2 heads of 96, 3 value heads of 80 each, bf16", Heads(2, 6, 96, 80, 3), "bf16", rows="*i64")


def _case(name: str, heads: Heads, dtype: str, *, rows: str | None = None) -> Case:
    types = dict.fromkeys(("out", "inner", "conv", "weight"), f"*{dtype}") | {"places": "*i64"}
    types |= dict.fromkeys(("memory", "taps", "rate", "dt_bias"), "*fp32") | {"row_stride": "i32:16", "eps": "fp32"}
    types |= {"rows": rows} if rows else {}
    key, value = triton.next_power_of_2(heads.key_dim), triton.next_power_of_2(heads.value_dim)
    constants: dict[str, object] = {"KEY_HEADS": heads.key_heads, "EACH": heads.value_heads // heads.key_heads}
    constants |= {"KEY_DIM": heads.key_dim, "VALUE_DIM": heads.value_dim, "KERNEL": heads.kernel}
    constants |= {"KEY": key, "VALUE": value, "SEEN": triton.next_power_of_2(heads.kernel)}
    constants |= {} if rows else {"rows": None}
    return Case(name, _delta_kernel, types, constants, _warps(key * value), 3)
