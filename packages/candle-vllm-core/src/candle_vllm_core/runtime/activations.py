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
SCRATCH = 1 << 16
"""What oneDNN works with in a product: 50 kB were measured."""
FLASH_QUERIES = 64
"""Of a tile, that torch's attention computes at once in each thread, with `KEYS_AT_ONCE` keys."""
SPLIT, MOST_KEY_DIM = 512, 640
"""See `attention.native`."""
MOST_NATIVE_DIM = 1024
NATIVE_ACTIVATIONS = ("silu", "gelu_tanh")
"""See `model.native_layer`."""


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
    threads: int = 1
    """That compute."""
    native: bool = False
    """Whether C functions of ours compute what they can, nothing in float32: see `model.native_ops`."""


def activation_bytes(spec: s.Decoder, step: StepSize) -> int:
    """The memory that the largest step takes at its peak: in one of its layers, or where tokens are drawn."""
    layers = max(peak for layer in dict.fromkeys(spec.layers) for peak in _layer(layer, spec, step))
    hidden = 2 * step.tokens * spec.dim * step.itemsize
    return SCRATCH + _whole_step(spec, step) + max(layers, hidden + _logits(spec, step))


def _whole_step(spec: s.Decoder, step: StepSize) -> int:
    """What lives from the first layer to the last: angles, indices, and what attention works with."""
    groups = spec.groups()
    ropes = {a.rope for a in _keeping(spec)}
    angles = sum(2 * rope.dim * FLOAT for rope in ropes if rope is not None)
    indices = (2 + len(groups)) * INDEX
    return step.tokens * (angles + indices) + _workspace(spec, step)


def _workspace(spec: s.Decoder, step: StepSize) -> int:
    """What attention works with in all layers: results of splits; or masks and the place for copies of the cache."""
    if _reads_in_place(spec, step):
        row = max((a.heads * (-(-a.value_dim // 16) * 16 + 16) for a in _keeping(spec)), default=0)
        return step.rows * (step.length // SPLIT + 2) * row * FLOAT
    columns = _tile(step) + KEYS_AT_ONCE
    masks = sum(_tile(step) * (_read(group.window, step) + columns) * step.itemsize for group in spec.groups())
    copied = max((_read(a.window, step) * a.kv_numbers_per_token() for a in _keeping(spec)), default=0)
    return masks + copied * step.itemsize + step.threads * _flash(spec, step)


def _reads_in_place(spec: s.Decoder, step: StepSize) -> bool:
    """Whether C functions attend to keys and values where they lie, without copies and masks."""
    return all(_fits(a, step) for a in _keeping(spec))


def _fits(a: s.Attention | s.LatentAttention, step: StepSize) -> bool:
    return step.native and a.key_dim % 2 == 0 and a.key_dim <= MOST_KEY_DIM


def _flash(spec: s.Decoder, step: StepSize) -> int:
    """Of one thread: scores in float32 and rounded, and what is summed up of the values."""
    widest = max((a.value_dim for a in _keeping(spec)), default=0)
    rounded = KEYS_AT_ONCE * step.itemsize * (step.itemsize < FLOAT)
    return FLASH_QUERIES * ((KEYS_AT_ONCE + 2 + widest) * FLOAT + rounded)


def _keeping(spec: s.Decoder) -> list[s.Attention | s.LatentAttention]:
    return [a for a in spec.attentions() if not isinstance(a, s.DeltaNet)]


def _layer(layer: s.Layer, spec: s.Decoder, step: StepSize) -> Iterator[int]:
    """The bytes at each place of a layer that can be its peak."""
    i, tokens, dim = step.itemsize, step.tokens, spec.dim
    before, after = 2 * tokens * dim * i, 4 * tokens * dim * i
    match layer.attention:
        case s.Attention() as a:
            yield before + tokens * _rotation(a, step)
            yield before + tokens * _product(dim, (a.heads * (1 + a.gate) + 2 * a.kv_heads) * a.head_dim, step)
            yield before + tokens * _attention(a, step) + _tiles(a, step)
            yield after + tokens * _attention_out(a, step)
        case s.LatentAttention() as a:
            yield before + tokens * _latent(a, i) + _tiles(a, step)
        case s.DeltaNet() as a:
            yield before + tokens * _delta_net(a, i)
    match layer.feed_forward:
        case s.Dense() as f:
            yield after + tokens * (_dense(f, step) + _given(dim, step))
            yield after + tokens * _product(dim, (1 + f.gated) * f.width, step)
        case s.Sparse() as f:
            yield after + tokens * _sparse(f, dim, step)
    narrow = step.native and layer.residual in ("pre", "parallel") and _is_plain(spec.norm)
    yield after + tokens * dim * (i if narrow else 3 * FLOAT)


def _is_plain(norm: s.Norm) -> bool:
    """Whether C functions compute a normalisation."""
    return norm.kind == "rms" and not norm.bias


def _product(columns: int, rows: int, step: StepSize) -> int:
    """Of one token: what a matrix gives; in 8-bit integers also what it is given, and float32 before it is rounded."""
    wide = (2 if step.itemsize < FLOAT else 1) * FLOAT
    if step.products_are_wide and step.native:
        return rows * step.itemsize + columns
    return rows * step.itemsize + (columns + rows * wide if step.products_are_wide else 0)


def _is_native(a: s.Attention, step: StepSize) -> bool:
    """Whether C functions normalise and turn its heads, and write keys and values where they are kept."""
    norm = a.qk_norm
    plain = norm is None or (norm.heads != "together" and _is_plain(norm.norm))
    return step.native and plain and not a.gate and a.query_growth is None and a.head_dim <= MOST_NATIVE_DIM


def _rotation(a: s.Attention, step: StepSize) -> int:
    """Of one token: what was projected, q and k normalised, and four times in float32 while they turn."""
    i = step.itemsize
    if _is_native(a, step):
        return (_projected(a) + a.heads * a.head_dim) * i
    heads, turning = a.heads + a.kv_heads, 0 if a.rope is None else a.rope.dim
    normed = heads * a.head_dim * i * (a.qk_norm is not None)
    return _projected(a) * i + normed + heads * turning * (4 if i < FLOAT else 3) * FLOAT


def _projected(a: s.Attention) -> int:
    """Numbers that come out of the projections; with a gate q, k and v stand in a copy beside it."""
    qkv = (a.heads + 2 * a.kv_heads) * a.head_dim
    return qkv + (qkv + 2 * a.heads * a.head_dim if a.gate else 0)


def _attention(a: s.Attention, step: StepSize) -> int:
    """Of one token: what was projected, q and k turned, keys and values to be written, and what the heads give."""
    i, q, kv = step.itemsize, a.heads * a.head_dim, a.kv_heads * a.head_dim
    if _is_native(a, step):
        return (_projected(a) + 2 * q) * i
    grown = q * (a.query_growth is not None)
    return (_projected(a) + q + kv + grown + max(q, 2 * kv)) * i + (2 * FLOAT * q if a.gate else 0)


def _attention_out(a: s.Attention, step: StepSize) -> int:
    """Of one token: what is left of attention while its heads are multiplied, which are copied for that."""
    q, kv = a.heads * a.head_dim, a.kv_heads * a.head_dim
    turned = q + (0 if _is_native(a, step) else kv)
    return (_projected(a) + turned + q) * step.itemsize + _given(q, step)


def _given(columns: int, step: StepSize) -> int:
    """Of one token: the copy that is multiplied, of 8-bit integers or with more rows: `quant.weight.filled_up`."""
    return columns * step.products_are_wide if step.native else columns * step.itemsize


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
    if a.softcap is None or _fits(a, step):
        return 0
    keys = -(-_read(a.window, step) // KEYS_AT_ONCE) * KEYS_AT_ONCE
    return a.heads * _tile(step) * keys * 3 * FLOAT + keys * a.kv_numbers_per_token() * FLOAT


def _tile(step: StepSize) -> int:
    """Queries that attend at once."""
    return min(QUERY_TILE, step.tokens) + FEWEST_ROWS


def _read(window: int | None, step: StepSize) -> int:
    """The most tokens of one sequence that are read for a step."""
    return step.length if window is None else min(step.length, window + step.tokens + KEYS_AT_ONCE)


def _dense(f: s.Dense, step: StepSize) -> int:
    """Of one token: gate and up, what the activation makes of them, and their product; without a gate one less."""
    gate = f.width * step.itemsize * f.gated
    made = f.width * _activated(f.act, step) - (0 if f.gated else f.width * step.itemsize)
    return max(made, gate + 2 * f.width * step.itemsize + _given(f.width, step))


def _activated(act: s.Activation, step: StepSize) -> int:
    """Bytes for one number of the width where most of them live."""
    i = step.itemsize
    if step.native and act in NATIVE_ACTIVATIONS:
        return 3 * i
    match act:
        case "silu" | "gelu":
            return 4 * i
        case "gelu_tanh":
            return 4 * i if i < FLOAT else 5 * i
        case "clamped_swish":
            return 5 * i + 3 * FLOAT if i < FLOAT else 7 * i


def _sparse(f: s.Sparse, dim: int, step: StepSize) -> int:
    """Of one token: its rows for all of its experts, at the largest of the places along their way."""
    i, k, w = step.itemsize, f.router.top_k, f.width
    chosen = k * (2 * INDEX + FLOAT)
    if step.native:
        return chosen + max(_native_sparse(f, dim, step))
    multiplied = max((dim + 4 * w) * i, w * _activated(f.act, step), (3 * w + 2 * dim) * i)
    weighed = (2 * w + 2 * dim) * i + dim * FLOAT * (2 if i < FLOAT else 1)
    shared = _dense(f.shared, step) + 2 * dim * FLOAT + 2 * k * (w + dim) * i if f.shared else 0
    return max(k * max(multiplied, weighed) + chosen, shared)


def _native_sparse(f: s.Sparse, dim: int, step: StepSize) -> Iterator[int]:
    """Of one token at each place: into its experts, in them, beside a network for all, and out of them."""
    i, k, w = step.itemsize, f.router.top_k, f.width
    yield k * ((dim + 2 * w) * i + _given(dim, step) + INDEX)
    yield k * w * _activated(f.act, step)
    if f.shared is not None:
        yield k * w * i + _dense(f.shared, step)
    yield k * ((w + dim) * i + _given(w, step)) + (1 + (f.shared is not None)) * dim * i


def _logits(spec: s.Decoder, step: StepSize) -> int:
    """The logits as computed, in float32 (three times where they are capped), and one row while it is drawn."""
    wide = 3 if spec.logit_softcap is not None else 2
    return step.rows * spec.vocab * (step.itemsize + wide * FLOAT) + 8 * spec.vocab * FLOAT
