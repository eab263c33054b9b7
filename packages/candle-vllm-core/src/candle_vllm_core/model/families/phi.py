"""Phi: the second generation, and the third and fourth, which are built otherwise."""

from __future__ import annotations

from dataclasses import replace

from ...spec import Decoder, Dense, HeadNorm, Layer, Names
from ..fields import MAX_HEADS, MAX_WIDTH, Fields
from ..positions import rope
from .common import (
    Family,
    activation,
    attention,
    decoder,
    dense,
    head_dimension,
    layer_norm,
    norm,
    window,
)

PHI = {
    "norm": "final_layernorm",
    "o_proj": "dense",
    "up_proj": "fc1",
    "down_proj": "fc2",
    "q_norm": "q_layernorm",
    "k_norm": "k_layernorm",
}
PHI3 = ((("q_proj", "k_proj", "v_proj"), "qkv_proj"), (("gate_proj", "up_proj"), "gate_up_proj"))


def phi(c: Fields) -> Decoder:
    """Phi-1, Phi-1.5 and Phi-2: attention and a plain network beside each other, with biases everywhere."""
    around = layer_norm(c)
    heads = HeadNorm(norm=around) if c.flag("qk_layernorm") else None
    attend = attention(c, max_position=2048, partial=0.5)
    attend = replace(attend, qkv_bias=True, out_bias=True, qk_norm=heads)
    width, act = c.integer("intermediate_size", 1, MAX_WIDTH), activation(c, "gelu_new")
    layer = Layer(
        attention=attend, feed_forward=Dense(width=width, act=act, gated=False, bias=True), residual="parallel"
    )
    names = Names(renames=tuple(PHI.items()))
    return replace(decoder(c, layer, max_position=2048, norm=around, names=names), head_bias=True)


def phi3(c: Fields) -> Decoder:
    """Phi-3, Phi-3.5 and Phi-4: q, k and v are one matrix, gate and up another; longrope for long contexts."""
    for name in ("full_attn_mod", "interpolate_factor"):
        c.refuse(name, (1,), "no released model says other than 1")
    head_dim = head_dimension(c, c.integer("num_attention_heads", 1, MAX_HEADS))
    positions = rope(c, head_dim, 4096, partial=1.0, original=4096)
    attend = replace(attention(c, max_position=4096, positions=positions), window=window(c, absent=None))
    layer = Layer(attention=attend, feed_forward=dense(c))
    return decoder(c, layer, max_position=4096, norm=norm(c, 1e-5), names=Names(fused=PHI3))


FAMILIES = {
    "PhiForCausalLM": Family(read=phi, model_type="phi", examples=("microsoft/phi-2", "microsoft/phi-1_5")),
    "Phi3ForCausalLM": Family(
        read=phi3,
        model_type="phi3",
        examples=(
            "microsoft/Phi-3-mini-4k-instruct",
            "microsoft/Phi-3.5-mini-instruct",
            "microsoft/Phi-4-mini-instruct",
            "microsoft/phi-4",
        ),
    ),
}
