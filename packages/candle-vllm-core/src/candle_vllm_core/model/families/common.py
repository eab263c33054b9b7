"""What the families' readers share: each reads some fields of config.json and gives a part of a spec. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from ...spec import Activation, Attention, Decoder, Dense, Layer, Names, Norm, Rope, Router, Sparse
from ..fields import LAYER_TYPES, MAX_EXPERTS, MAX_HEAD_DIM, MAX_HEADS, MAX_LAYERS, MAX_POSITION, MAX_WIDTH, Fields
from ..positions import longest, rope
from .harmless import HARMLESS

ACTIVATIONS: Mapping[str, Activation] = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One architecture: how its config.json is read, and what users know it by."""

    read: Callable[[Fields], Decoder]
    model_type: str
    """The architecture as config.json spells it where it names no class."""
    examples: tuple[str, ...]
    """Released checkpoints of it."""


def attention(
    c: Fields,
    *,
    kv_heads: int | None = None,
    max_position: int,
    head_dim: int | None = None,
    theta: float = 10000.0,
    partial: float | None = None,
    positions: Rope | None = None,
) -> Attention:
    """The attention of most families; the arguments are what silence means in config.json."""
    heads = c.integer("num_attention_heads", 1, MAX_HEADS)
    kv_heads = c.integer_or_none("num_key_value_heads", 1, MAX_HEADS, absent=kv_heads) or heads
    if heads % kv_heads:
        raise c.wrong("num_key_value_heads", f"a divisor of num_attention_heads, which is {heads}")
    head_dim = head_dimension(c, heads, head_dim)
    return Attention(
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        rope=positions or rope(c, head_dim, max_position, theta=theta, partial=partial),
        scale=head_dim**-0.5,
    )


def two_ropes(c: Fields, head_dim: int, max_position: int, *, theta: float, local: float) -> tuple[Rope, Rope]:
    """How layers rotate that see everything, and those with a window, whose rotation the old spelling never scales.

    `theta` is what silence means for the first, `local` is the base of the second where the table has none.
    """
    new, old = c.table("rope_parameters"), c.table("rope_scaling")
    full, sliding = LAYER_TYPES[:2]
    if new and (old or set(new) - {full, sliding}):
        raise c.wrong("rope_parameters", f"a table for {full} and one for {sliding}, without `rope_scaling` beside it")
    if set(old) & {full, sliding}:
        raise c.wrong("rope_scaling", f"the table of {full} alone; `rope_parameters` has one for each")
    said = c.integer("max_position_embeddings", 1, MAX_POSITION, max_position)
    near = Fields({"rope_parameters": new, "rope_theta": local}, length=c.length)
    return rope(c, head_dim, max_position, theta=theta, kind=full), rope(near, head_dim, said, kind=sliding)


def head_dimension(c: Fields, heads: int, default: int | None = None) -> int:
    """The numbers of one head: said, or the family's `default`, or the hidden state divided by the heads."""
    if default is None and "head_dim" not in c and dimension(c) % heads:
        raise c.wrong("hidden_size", f"a multiple of num_attention_heads, which is {heads}")
    found = c.integer("head_dim", 2, MAX_HEAD_DIM, default or dimension(c) // heads)
    if found % 2 or found < 2:
        raise c.wrong("head_dim", f"even, and is {found}")
    return found


def dense(c: Fields, *, bias: bool = False, act: str = "silu", field: str = "hidden_act") -> Dense:
    """A gated feed-forward network; `field` names its activation, `act` is what silence means."""
    return Dense(width=c.integer("intermediate_size", 1, MAX_WIDTH), act=activation(c, act, field), bias=bias)


def router(c: Fields, *, experts: int, top_k: int, renormalize: bool) -> Router:
    """A choice of `num_experts_per_tok` out of all experts, whose number has two names; the arguments mean silence."""
    names = [name for name in ("num_experts", "num_local_experts") if name in c] or ["num_experts"]
    counts = [c.integer(name, 1, MAX_EXPERTS, experts) for name in names]
    if len(set(counts)) > 1:
        raise c.wrong("num_local_experts", f"{counts[0]} as num_experts says, or left out")
    chosen = c.integer("num_experts_per_tok", 1, MAX_EXPERTS, top_k)
    if chosen > counts[0]:
        raise c.wrong("num_experts_per_tok", f"at most the number of experts, which is {counts[0]}")
    return Router(experts=counts[0], top_k=chosen, renormalize=renormalize)


def sparse_at_times(c: Fields, sparse: Sparse, dense: Dense) -> tuple[Sparse | Dense, ...]:
    """For each layer its network: experts on every `decoder_sparse_step`-th that `mlp_only_layers` does not name."""
    step, without = c.integer("decoder_sparse_step", 1, MAX_LAYERS, 1), c.integers("mlp_only_layers", 0, MAX_LAYERS)
    has_experts = [(index + 1) % step == 0 and index not in without for index in range(num_layers(c))]
    return tuple(sparse if has else dense for has in has_experts)


def activation(c: Fields, default: str = "silu", field: str = "hidden_act") -> Activation:
    """The activation that a field names."""
    return ACTIVATIONS[c.word(field, ACTIVATIONS, default)]


def norm(c: Fields, default: float = 1e-6) -> Norm:
    """Normalisation by the root mean square, as most families have it."""
    return Norm(eps=c.number("rms_norm_eps", 0.0, 1.0, default))


def layer_norm(c: Fields, *, bias: bool = True) -> Norm:
    """LayerNorm, which multiplies before it rounds."""
    return Norm(kind="layer", eps=c.number("layer_norm_eps", 0.0, 1.0, 1e-5), wide=True, bias=bias)


def dimension(c: Fields) -> int:
    """The numbers of a hidden state."""
    return c.integer("hidden_size", 1, MAX_WIDTH)


def num_layers(c: Fields) -> int:
    """How many layers the model has."""
    return c.integer("num_hidden_layers", 1, MAX_LAYERS)


def decoder(
    c: Fields,
    layers: Layer | Sequence[Layer],
    *,
    max_position: int,
    norm: Norm,
    tied: bool = False,
    names: Names | None = None,
) -> Decoder:
    """A whole model of these layers, or of one layer over and over."""
    c.refuse("is_causal", (True,), "this version only lets tokens see those before them")
    return Decoder(
        vocab=c.integer("vocab_size", 1, MAX_WIDTH),
        dim=dimension(c),
        norm=norm,
        layers=(layers,) * num_layers(c) if isinstance(layers, Layer) else tuple(layers),
        max_position=longest(c, max_position),
        tied=c.flag("tie_word_embeddings", tied),
        names=names or Names(),
    )


def layer_types(c: Fields, default: Callable[[int], bool]) -> tuple[bool, ...]:
    """For each layer whether its window slides: as `layer_types` says, or by `default` of its number."""
    count = num_layers(c)
    types = c.words("layer_types", LAYER_TYPES[:2], count)
    return tuple(kind == LAYER_TYPES[1] for kind in types) if types else tuple(default(i) for i in range(count))


def window(c: Fields, absent: int | None) -> int | None:
    """The sliding window; `absent` is what silence means, null is always none."""
    return c.integer_or_none("sliding_window", 1, MAX_POSITION, absent=absent)


def windowed(layer: Layer, window: int | None) -> Layer:
    """The same layer with a window."""
    if not isinstance(layer.attention, Attention):
        return layer
    return replace(layer, attention=replace(layer.attention, window=window))


def text_part(c: Fields, text: Fields, spec: Decoder) -> Decoder:
    """The language model that was read from `text`, as it lies in the checkpoint of `c` beside a vision tower."""
    text.refuse_others(HARMLESS)
    beside = ("vision_tower.", "multi_modal_projector.")
    names = replace(
        spec.names,
        roots=(("language_model.model", "language_model.lm_head"), ("model.language_model", "lm_head")),
        ignored=(*beside, *(f"model.{name}" for name in beside)),
    )
    return replace(spec, tied=c.flag("tie_word_embeddings", spec.tied), names=names)
