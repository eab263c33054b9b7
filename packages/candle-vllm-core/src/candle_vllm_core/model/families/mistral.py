"""Mistral and Ministral."""

from __future__ import annotations

from dataclasses import replace

from ...spec import Decoder, Layer
from ..fields import Fields
from .common import Family, attention, decoder, dense, norm, window


def mistral(c: Fields) -> Decoder:
    """Mistral; its window is 4,096 tokens where config.json does not say null or another number."""
    attend = replace(attention(c, kv_heads=8, max_position=131072), window=window(c, absent=4096))
    return decoder(c, Layer(attention=attend, feed_forward=dense(c)), max_position=131072, norm=norm(c))


FAMILIES = {
    "MistralForCausalLM": Family(
        read=mistral,
        model_type="mistral",
        examples=("mistralai/Mistral-7B-Instruct-v0.3", "mistralai/Ministral-8B-Instruct-2410"),
    ),
}
