"""GLM-4 in both of its forms."""

from __future__ import annotations

from dataclasses import replace

from ...spec import Decoder, Layer, Names
from ..fields import Fields
from ..positions import rope
from .common import Family, attention, decoder, dense, head_dimension, norm

GATE_UP = ((("gate_proj", "up_proj"), "gate_up_proj"),)
SANDWICH = (("attention_out_norm", "post_self_attn_layernorm"), ("feed_forward_out_norm", "post_mlp_layernorm"))


def glm(c: Fields) -> Decoder:
    """GLM-4 of June 2024: half of each head is rotated, in neighbouring pairs."""
    return decoder(c, _layer(c), max_position=131072, norm=norm(c, default=1.5625e-7), names=Names(fused=GATE_UP))


def glm4(c: Fields) -> Decoder:
    """GLM-4 of April 2025 and GLM-Z1: normalised after each part too."""
    layer = replace(_layer(c), residual="sandwich")
    names = Names(fused=GATE_UP, renames=SANDWICH)
    return decoder(c, layer, max_position=131072, norm=norm(c, default=1.5625e-7), names=names)


def _layer(c: Fields) -> Layer:
    positions = rope(c, head_dimension(c, 1, 128), 131072, partial=0.5, interleaved=True)
    attend = attention(c, kv_heads=2, max_position=131072, head_dim=128, positions=positions)
    return Layer(attention=replace(attend, qkv_bias=c.flag("attention_bias", True)), feed_forward=dense(c))


FAMILIES = {
    "GlmForCausalLM": Family(
        read=glm, model_type="glm", examples=("zai-org/glm-4-9b-chat-hf", "zai-org/glm-4-9b-chat-1m-hf")
    ),
    "Glm4ForCausalLM": Family(
        read=glm4,
        model_type="glm4",
        examples=("zai-org/GLM-4-9B-0414", "zai-org/GLM-4-32B-0414", "zai-org/GLM-Z1-9B-0414"),
    ),
}
