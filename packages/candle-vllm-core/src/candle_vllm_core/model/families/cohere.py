"""Cohere: Command-R, Aya, Command-R7B and Command-A."""

from __future__ import annotations

from dataclasses import replace

from ...spec import Attention, Decoder, HeadNorm, Layer
from ..fields import MAX_HEADS, MAX_LAYERS, MAX_POSITION, Fields
from ..positions import rope
from .common import (
    Family,
    attention,
    decoder,
    dense,
    head_dimension,
    layer_norm,
    layer_types,
    num_layers,
    window,
    windowed,
)

ALWAYS_SO = {
    "position_embedding_type": "rope_gptj",
    "rotary_pct": 1.0,
    "order_of_interleaved_layers": "local_attn_first",
    "use_embedding_sharing": True,
    "use_gated_activation": True,
    "use_parallel_block": True,
    "use_parallel_embedding": True,
}
"""What the released models say of themselves beside what `transformers` reads."""


def cohere(c: Fields) -> Decoder:
    """Command-R, Aya: attention and network beside each other, rotation in neighbouring pairs, scaled logits."""
    heads = HeadNorm(norm=layer_norm(c, bias=False), heads="each") if c.flag("use_qk_norm") else None
    attend = replace(_attention(c, theta=500000.0), qk_norm=heads)
    spec = _decoder(c, [_layer(c, attend)] * num_layers(c))
    return replace(spec, max_position=c.integer("model_max_length", 1, MAX_POSITION, spec.max_position))


def cohere2(c: Fields) -> Decoder:
    """Command-R7B, Command-A: most layers have a window and positions, every fourth sees all without positions."""
    for name, value in ALWAYS_SO.items():
        c.refuse(name, (value,), f"this version knows {value!r} only, which all released models have")
    every = c.integer("sliding_window_pattern", 1, MAX_LAYERS, c.integer("layer_switch", 1, MAX_LAYERS, 4))
    c.refuse("layer_switch", (every,), f"`sliding_window_pattern` is {every}, and one of them must be wrong")
    width = window(c, absent=4096)
    if width is None:
        raise c.wrong("sliding_window", "a number of tokens")
    attend = _attention(c, theta=10000.0)
    local, full = windowed(_layer(c, attend), width), _layer(c, replace(attend, rope=None))
    slides = layer_types(c, lambda index: (index + 1) % every != 0)
    return _decoder(c, [local if slide else full for slide in slides])


def _attention(c: Fields, *, theta: float) -> Attention:
    head_dim = head_dimension(c, c.integer("num_attention_heads", 1, MAX_HEADS))
    positions = rope(c, head_dim, 8192, theta=theta, interleaved=True)
    bias = c.flag("attention_bias")
    return replace(attention(c, max_position=8192, positions=positions), qkv_bias=bias, out_bias=bias)


def _layer(c: Fields, attend: Attention) -> Layer:
    return Layer(attention=attend, feed_forward=dense(c), residual="parallel")


def _decoder(c: Fields, layers: list[Layer]) -> Decoder:
    spec = decoder(c, layers, max_position=8192, norm=layer_norm(c, bias=False), tied=True)
    return replace(spec, logit_scale=c.number("logit_scale", 1e-6, 1e6, 0.0625))


FAMILIES = {
    "CohereForCausalLM": Family(
        read=cohere,
        model_type="cohere",
        examples=("CohereLabs/c4ai-command-r-v01", "CohereLabs/c4ai-command-r-plus", "CohereLabs/aya-23-8B"),
    ),
    "Cohere2ForCausalLM": Family(
        read=cohere2,
        model_type="cohere2",
        examples=("CohereLabs/c4ai-command-r7b-12-2024", "CohereLabs/c4ai-command-a-03-2025"),
    ),
}
