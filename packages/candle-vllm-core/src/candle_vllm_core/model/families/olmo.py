"""OLMo, from the second generation on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ...spec import Attention, Decoder, HeadNorm, Layer, Names, Norm, Rope
from ..fields import MAX_HEADS, Fields
from ..positions import MAX_THETA, MIN_THETA
from .common import Family, attention, decoder, dense, head_dimension, layer_types, norm, two_ropes, window

AFTER = (("attention_out_norm", "post_attention_layernorm"), ("feed_forward_out_norm", "post_feedforward_layernorm"))


def olmo2(c: Fields) -> Decoder:
    """OLMo 2: normalised after each part; the heads are normalised as one vector."""
    return _decoder(c, _layer(c, _attention(c)))


def olmo3(c: Fields) -> Decoder:
    """OLMo 3: as OLMo 2, but three of four layers have a window, and only the others stretch positions."""
    head_dim = head_dimension(c, c.integer("num_attention_heads", 1, MAX_HEADS))
    local = c.number("rope_theta", MIN_THETA, MAX_THETA, 500000.0)
    far, near = two_ropes(c, head_dim, 2048, theta=500000.0, local=local)
    full = _layer(c, _attention(c, far))
    sliding = _layer(c, replace(_attention(c, near), window=window(c, absent=4096)))
    return _decoder(c, [sliding if slides else full for slides in layer_types(c, lambda index: index % 4 != 3)])


def _attention(c: Fields, positions: Rope | None = None) -> Attention:
    bias, together = c.flag("attention_bias"), HeadNorm(norm=_norm(c), heads="together")
    found = attention(c, max_position=2048, positions=positions)
    return replace(found, qkv_bias=bias, out_bias=bias, qk_norm=together)


def _layer(c: Fields, attend: Attention) -> Layer:
    return Layer(attention=attend, feed_forward=dense(c), residual="post")


def _norm(c: Fields) -> Norm:
    return replace(norm(c, default=1e-5), wide=True)


def _decoder(c: Fields, layers: Layer | Sequence[Layer]) -> Decoder:
    return decoder(c, layers, max_position=2048, norm=_norm(c), names=Names(renames=AFTER))


FAMILIES = {
    "Olmo2ForCausalLM": Family(
        read=olmo2,
        model_type="olmo2",
        examples=("allenai/OLMo-2-0425-1B-Instruct", "allenai/OLMo-2-1124-7B", "allenai/OLMo-2-0325-32B"),
    ),
    "Olmo3ForCausalLM": Family(
        read=olmo3, model_type="olmo3", examples=("allenai/Olmo-3-7B-Instruct", "allenai/Olmo-3-32B-Think")
    ),
}
