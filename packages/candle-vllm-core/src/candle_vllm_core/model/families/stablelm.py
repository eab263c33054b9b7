"""StableLM in both of its forms."""

from __future__ import annotations

from dataclasses import replace

from ...spec import Decoder, HeadNorm, Layer, Names
from ..fields import Fields
from .common import Family, attention, decoder, dense, layer_norm

LISTED = (("q_norm.weight", "q_layernorm.norms.*.weight"), ("k_norm.weight", "k_layernorm.norms.*.weight"))


def stablelm(c: Fields) -> Decoder:
    """StableLM and StableLM 2; in the largest, heads have a norm each and both parts stand beside each other."""
    around = layer_norm(c)
    heads = HeadNorm(norm=replace(around, bias=False), heads="each") if c.flag("qk_layernorm") else None
    attend = attention(c, kv_heads=32, max_position=4096, partial=0.25)
    layer = Layer(
        attention=replace(attend, qkv_bias=c.flag("use_qkv_bias"), qk_norm=heads),
        feed_forward=dense(c),
        residual="parallel" if c.flag("use_parallel_residual") else "pre",
    )
    return decoder(c, layer, max_position=4096, norm=around, names=Names(listed=LISTED if heads else ()))


FAMILIES = {
    "StableLmForCausalLM": Family(
        read=stablelm,
        model_type="stablelm",
        examples=("stabilityai/stablelm-3b-4e1t", "stabilityai/stablelm-2-1_6b", "stabilityai/stablelm-2-12b"),
    ),
}
