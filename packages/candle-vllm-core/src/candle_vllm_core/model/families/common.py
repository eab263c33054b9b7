"""What the families' readers share: each reads some fields of config.json and gives a part of a spec. No torch here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from ...spec import Activation, Attention, Decoder, Dense, Layer, Names, Norm, Rope
from ..fields import LAYER_TYPES, MAX_HEAD_DIM, MAX_HEADS, MAX_LAYERS, MAX_POSITION, MAX_WIDTH, Fields
from ..positions import longest, rope

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
        rope=positions or rope(c, head_dim, longest(c, max_position)),
        scale=head_dim**-0.5,
    )


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


def activation(c: Fields, default: str = "silu", field: str = "hidden_act") -> Activation:
    """The activation that a field names."""
    return ACTIVATIONS[c.word(field, ACTIVATIONS, default)]


def norm(c: Fields, default: float = 1e-6) -> Norm:
    """Normalisation by the root mean square, as most families have it."""
    return Norm(eps=c.number("rms_norm_eps", 0.0, 1.0, default))


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
