"""What a step holds in memory beside weights and KV cache, by the sizes of the tensors that live at once at its peak.

Each function counts bytes at one place of a step where many tensors live: it follows the code of `model` and
`attention.reference`, and `python -m bench memory` compares it with what torch allocates. No torch here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .. import spec as s

FLOAT = 4
"""Bytes of a float32, which rotation, normalisation, scores and logits are computed in."""
INDEX = 8
QUERY_TILE, FEWEST_ROWS, KEYS_AT_ONCE = 256, 4, 512
"""See `attention.reference` and `attention.softmax`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSize:
    """The largest step."""

    tokens: int
    """That it computes."""
    length: int
    """Of the longest sequence in it, in tokens, those computed before included."""
    rows: int
    """Of logits."""
    itemsize: int
    """Bytes of one number of an activation."""
    products_are_wide: bool = False
    """Whether a product with a matrix comes in float32 and is rounded then, as those of 8-bit integers do."""


def activation_bytes(spec: s.Decoder, step: StepSize) -> int:
    """The memory that the largest step takes at its peak: in one of its layers, or where tokens are drawn."""
    layers = max(peak for layer in dict.fromkeys(spec.layers) for peak in _layer(layer, spec.dim, step))
    hidden = 2 * step.tokens * spec.dim * step.itemsize
    return _whole_step(spec, step) + max(layers, hidden + _logits(spec, step))


def _whole_step(spec: s.Decoder, step: StepSize) -> int:
    """What lives from the first layer to the last: angles, indices, masks, and the place for copies of the cache."""
    groups = spec.groups()
    ropes = {a.rope for a in _keeping(spec)}
    angles = sum(2 * rope.dim * FLOAT for rope in ropes if rope is not None)
    indices = (2 + len(groups)) * INDEX
    columns = _tile(step) + KEYS_AT_ONCE
    masks = sum(_tile(step) * (_read(group.window, step) + columns) * step.itemsize for group in groups)
    copied = max((_read(a.window, step) * a.kv_numbers_per_token() for a in _keeping(spec)), default=0)
    return step.tokens * (angles + indices) + masks + copied * step.itemsize


def _keeping(spec: s.Decoder) -> list[s.Attention | s.LatentAttention]:
    return [a for a in spec.attentions() if not isinstance(a, s.DeltaNet)]


def _layer(layer: s.Layer, dim: int, step: StepSize) -> Iterator[int]:
    """The bytes at each place of a layer that can be its peak."""
    i, tokens = step.itemsize, step.tokens
    before, after = 2 * tokens * dim * i, 4 * tokens * dim * i
    match layer.attention:
        case s.Attention() as a:
            yield before + tokens * _rotation(a, i)
            yield before + tokens * _product(dim, (a.heads * (1 + a.gate) + 2 * a.kv_heads) * a.head_dim, step)
            yield before + tokens * _attention(a, i) + _tiles(a, step)
        case s.LatentAttention() as a:
            yield before + tokens * _latent(a, i) + _tiles(a, step)
        case s.DeltaNet() as a:
            yield before + tokens * _delta_net(a, i)
    match layer.feed_forward:
        case s.Dense() as f:
            yield after + tokens * _dense(f, i)
            yield after + tokens * _product(dim, (1 + f.gated) * f.width, step)
        case s.Sparse() as f:
            yield after + tokens * _sparse(f, dim, i)
    yield after + tokens * dim * 3 * FLOAT


def _product(columns: int, rows: int, step: StepSize) -> int:
    """Of one token: what a matrix gives; in 8-bit integers also what it is given, and float32 before it is rounded."""
    wide = (2 if step.itemsize < FLOAT else 1) * FLOAT
    return rows * step.itemsize + (columns + rows * wide if step.products_are_wide else 0)


def _rotation(a: s.Attention, i: int) -> int:
    """Of one token: what was projected, q and k normalised, and four times in float32 while they turn."""
    heads, turning = a.heads + a.kv_heads, 0 if a.rope is None else a.rope.dim
    normed = heads * a.head_dim * i * (a.qk_norm is not None)
    return _projected(a) * i + normed + heads * turning * (4 if i < FLOAT else 3) * FLOAT


def _projected(a: s.Attention) -> int:
    """Numbers that come out of the projections; with a gate q, k and v stand in a copy beside it."""
    qkv = (a.heads + 2 * a.kv_heads) * a.head_dim
    return qkv + (qkv + 2 * a.heads * a.head_dim if a.gate else 0)


def _attention(a: s.Attention, i: int) -> int:
    """Of one token: what was projected, q and k turned, keys and values to be written, and what the heads give."""
    q, kv = a.heads * a.head_dim, a.kv_heads * a.head_dim
    grown = q * (a.query_growth is not None)
    return (_projected(a) + q + kv + grown + max(q, 2 * kv)) * i + (2 * FLOAT * q if a.gate else 0)


def _latent(a: s.LatentAttention, i: int) -> int:
    """Of one token: q as projected and in the latent, and what the heads give, by themselves and out of the latent."""
    projected = a.heads * (a.nope_dim + a.rope.dim) + 2 * a.key_dim
    return (projected + a.heads * (a.key_dim + 2 * a.kv_rank)) * i


def _delta_net(a: s.DeltaNet, i: int) -> int:
    """Of one token: what was projected, and what goes through the convolution, in float32."""
    values = a.value_heads * a.value_dim
    return (2 * a.conv_dim + 3 * values) * i + (3 * a.conv_dim + 4 * values) * FLOAT


def _tiles(a: s.Attention | s.LatentAttention, step: StepSize) -> int:
    """The scores of one tile, and keys and values in float32, where a soft cap has them written out."""
    if a.softcap is None:
        return 0
    keys = -(-_read(a.window, step) // KEYS_AT_ONCE) * KEYS_AT_ONCE
    return a.heads * _tile(step) * keys * 3 * FLOAT + keys * a.kv_numbers_per_token() * FLOAT


def _tile(step: StepSize) -> int:
    """Queries that attend at once."""
    return min(QUERY_TILE, step.tokens) + FEWEST_ROWS


def _read(window: int | None, step: StepSize) -> int:
    """The most tokens of one sequence that are read for a step."""
    return step.length if window is None else min(step.length, window + step.tokens + KEYS_AT_ONCE)


def _dense(f: s.Dense, i: int) -> int:
    """Of one token: gate and up, what the activation makes of them, and their product; without a gate one less."""
    return f.width * (_activated(f.act, i) if f.gated else _activated(f.act, i) - i)


def _activated(act: s.Activation, i: int) -> int:
    """Bytes for one number of the width where most of them live."""
    match act:
        case "silu" | "gelu":
            return 4 * i
        case "gelu_tanh":
            return 4 * i if i < FLOAT else 5 * i
        case "clamped_swish":
            return 5 * i + 3 * FLOAT if i < FLOAT else 7 * i


def _sparse(f: s.Sparse, dim: int, i: int) -> int:
    """Of one token: its rows for all of its experts, at the largest of the places along their way."""
    k, w = f.router.top_k, f.width
    multiplied = max((dim + 4 * w) * i, w * _activated(f.act, i), (3 * w + 2 * dim) * i)
    weighed = (2 * w + 2 * dim) * i + dim * FLOAT * (2 if i < FLOAT else 1)
    chosen = 2 * INDEX + FLOAT
    shared = _dense(f.shared, i) + 2 * dim * FLOAT + 2 * k * (w + dim) * i if f.shared else 0
    return max(k * (max(multiplied, weighed) + chosen), shared)


def _logits(spec: s.Decoder, step: StepSize) -> int:
    """The logits as computed, in float32 (three times where they are capped), and one row while it is drawn."""
    wide = 3 if spec.logit_softcap is not None else 2
    return step.rows * spec.vocab * (step.itemsize + wide * FLOAT) + 8 * spec.vocab * FLOAT
