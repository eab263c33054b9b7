"""Llama, and what is built like it."""

from __future__ import annotations

from dataclasses import replace

from ...spec import Decoder, Layer
from ..fields import Fields
from .common import Family, attention, decoder, dense, norm


def llama(c: Fields) -> Decoder:
    """Llama 2, 3 and 3.1 to 3.3, Yi, and what was distilled into them."""
    bias = c.flag("attention_bias")
    attend = replace(attention(c, max_position=2048), qkv_bias=bias, out_bias=bias)
    return decoder(
        c,
        Layer(attention=attend, feed_forward=dense(c, bias=c.flag("mlp_bias"))),
        max_position=2048,
        norm=norm(c),
    )


FAMILIES = {
    "LlamaForCausalLM": Family(
        read=llama,
        model_type="llama",
        examples=(
            "meta-llama/Llama-3.1-8B-Instruct",
            "meta-llama/Llama-3.2-1B",
            "01-ai/Yi-34B",
            "deepseek-ai/DeepSeek-R1-Distill-Llama-8B",
        ),
    ),
}
