"""Granite."""

from __future__ import annotations

from dataclasses import replace

from ...spec import Decoder, Layer
from ..fields import Fields
from .common import Family, attention, decoder, dense, norm

MOST = 1e6
LEAST = 1e-6


def granite(c: Fields) -> Decoder:
    """Granite 3: Llama with a factor at each joint."""
    bias, scale = c.flag("attention_bias"), c.number("attention_multiplier", LEAST, MOST, 1.0)
    attend = replace(attention(c, max_position=2048), qkv_bias=bias, out_bias=bias, scale=scale)
    layer = Layer(
        attention=attend,
        feed_forward=dense(c, bias=c.flag("mlp_bias")),
        residual_scale=c.number("residual_multiplier", LEAST, MOST, 1.0),
    )
    return replace(
        decoder(c, layer, max_position=2048, norm=norm(c)),
        embed_scale=c.number("embedding_multiplier", LEAST, MOST, 1.0),
        logit_scale=1 / c.number("logits_scaling", LEAST, MOST, 1.0),
    )


FAMILIES = {
    "GraniteForCausalLM": Family(
        read=granite,
        model_type="granite",
        examples=("ibm-granite/granite-3.3-2b-instruct", "ibm-granite/granite-3.1-8b-instruct"),
    ),
}
