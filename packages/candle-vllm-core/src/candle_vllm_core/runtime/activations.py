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
QUERY_TILE = 256
"""The most queries of one sequence that attend at once; see `attention.reference`."""


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


def activation_bytes(spec: s.Decoder, step: StepSize) -> int:
    """The memory that the largest step takes at its peak: in one of its layers, or where tokens are drawn."""
    layers = max(peak for layer in dict.fromkeys(spec.layers) for peak in _layer(layer, spec.dim, step))
    hidden = 2 * step.tokens * spec.dim * step.itemsize
    return _whole_step(spec, step) + max(layers, hidden + _logits(spec, step))


def _whole_step(spec: s.Decoder, step: StepSize) -> int:
    """Angles, indices and masks, which live from the first layer to the last."""
    groups = spec.groups()
    ropes = {a.rope for a in spec.attentions() if not isinstance(a, s.DeltaNet)}
    angles = sum(2 * rope.dim * FLOAT for rope in ropes if rope is not None)
    indices = (2 + len(groups)) * INDEX
    masks = sum(
        _tile(step) * (_seen(group.window, step, step.tokens) + _tile(step)) * step.itemsize for group in groups
    )
    return step.tokens * (angles + indices) + masks


def _layer(layer: s.Layer, dim: int, step: StepSize) -> Iterator[int]:
    """The bytes at each place of a layer that can be its peak."""
    i, tokens = step.itemsize, step.tokens
    before, after = 2 * tokens * dim * i, 4 * tokens * dim * i
    match layer.attention:
        case s.Attention() as a:
            yield before + tokens * _rotation(a, i)
            yield before + tokens * _attention(a, i) + _tiles(a, step)
        case s.LatentAttention() as a:
            yield before + tokens * _latent(a, i) + _tiles(a, step)
        case s.DeltaNet() as a:
            yield before + tokens * _delta_net(a, i)
    match layer.feed_forward:
        case s.Dense() as f:
            yield after + tokens * _dense(f, i)
        case s.Sparse() as f:
            yield after + tokens * _sparse(f, dim, i)
    yield after + tokens * dim * 3 * FLOAT


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
    """Of one token: what was projected, q and k turned, and what the heads give, in tiles and put together."""
    grown = a.heads * a.head_dim * (a.query_growth is not None)
    return (_projected(a) + (3 * a.heads + a.kv_heads) * a.head_dim + grown) * i


def _latent(a: s.LatentAttention, i: int) -> int:
    """Of one token: q as projected and in the latent, and what the heads give, in tiles and put together."""
    projected = a.heads * (a.nope_dim + a.rope.dim) + 2 * a.key_dim
    return (projected + a.heads * (a.key_dim + 2 * a.kv_rank)) * i


def _delta_net(a: s.DeltaNet, i: int) -> int:
    """Of one token: what was projected, and what goes through the convolution, in float32."""
    values = a.value_heads * a.value_dim
    return (2 * a.conv_dim + 3 * values) * i + (3 * a.conv_dim + 4 * values) * FLOAT


def _tiles(a: s.Attention | s.LatentAttention, step: StepSize) -> int:
    """One sequence's keys and values, copied if its blocks lie apart, and the scores where they are written out."""
    seen = _seen(a.window, step, step.tokens)
    copied = seen * a.kv_numbers_per_token() * step.itemsize
    if a.softcap is None and not a.sinks and a.key_dim == a.value_dim:
        return copied
    scores = a.heads * _tile(step) * _seen(a.window, step, _tile(step))
    wide = 3 * FLOAT if a.softcap is not None else 2 * FLOAT + step.itemsize % FLOAT
    return copied + scores * wide + seen * a.kv_heads * a.key_dim * FLOAT


def _tile(step: StepSize) -> int:
    return min(QUERY_TILE, step.tokens)


def _seen(window: int | None, step: StepSize, queries: int) -> int:
    """The most tokens that so many queries of one sequence see together."""
    return step.length if window is None else min(step.length, window + queries)


def _dense(f: s.Dense, i: int) -> int:
    """Of one token: gate and up, the gate's activation, and the product; without a gate one less."""
    return (4 if f.gated else 3) * f.width * i


def _sparse(f: s.Sparse, dim: int, i: int) -> int:
    """Of one token: its rows for all of its experts, at the largest of the places along their way."""
    k, w = f.router.top_k, f.width
    multiplied = (max(dim + 4 * w, 3 * w + 2 * dim)) * i
    weighed = (2 * w + 2 * dim) * i + dim * FLOAT * (2 if i < FLOAT else 1)
    chosen = 2 * INDEX + FLOAT
    shared = _dense(f.shared, i) + 2 * dim * FLOAT + 2 * k * (w + dim) * i if f.shared else 0
    return max(k * (max(multiplied, weighed) + chosen), shared)


def _logits(spec: s.Decoder, step: StepSize) -> int:
    """The logits as computed, in float32 (three times where they are capped), and one row while it is drawn."""
    wide = 3 if spec.logit_softcap is not None else 2
    return step.rows * spec.vocab * (step.itemsize + wide * FLOAT) + 8 * spec.vocab * FLOAT
