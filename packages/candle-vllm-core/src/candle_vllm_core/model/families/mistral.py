"""Mistral and Ministral."""

from __future__ import annotations

from dataclasses import replace

from ...spec import Decoder, Layer, QueryGrowth
from ..fields import MAX_POSITION, Fields
from ..positions import rope, rope_table
from .common import (
    Family,
    attention,
    decoder,
    dense,
    head_dimension,
    layer_types,
    norm,
    text_part,
    window,
    windowed,
)

VISION = (
    *("vision_config", "vision_feature_layer", "image_token_index", "spatial_merge_size"),
    *("projector_hidden_act", "multimodal_projector_bias"),
)
BESIDE_YARN = ("llama_4_scaling_beta", "max_position_embeddings")
STRETCHED = {
    "rope_type": "yarn",
    "rope_theta": 1e6,
    "factor": 16.0,
    "original_max_position_embeddings": 16384,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
    "llama_4_scaling_beta": 0.1,
}
"""How Ministral 3 turns positions where its config.json says nothing of them."""


def mistral(c: Fields) -> Decoder:
    """Mistral; its window is 4,096 tokens where config.json does not say null or another number."""
    attend = replace(attention(c, kv_heads=8, max_position=131072), window=window(c, absent=4096))
    return decoder(c, Layer(attention=attend, feed_forward=dense(c)), max_position=131072, norm=norm(c))


def ministral(c: Fields) -> Decoder:
    """Ministral: layers with a window, and layers without one where `layer_types` says so."""
    full = Layer(attention=attention(c, kv_heads=8, max_position=131072), feed_forward=dense(c))
    local = windowed(full, window(c, absent=4096))
    layers = [local if slides else full for slides in layer_types(c, lambda _: True)]
    return decoder(c, layers, max_position=131072, norm=norm(c))


def ministral3(c: Fields) -> Decoder:
    """Ministral 3: queries grow with their position, which YaRN stretches."""
    c = c if c.table("rope_parameters") or c.table("rope_scaling") else c.filled({"rope_parameters": STRETCHED})
    turn = rope(c, head_dimension(c, 1, 128), 262144, also=BESIDE_YARN)
    attend = attention(c, kv_heads=8, max_position=262144, head_dim=128, positions=turn)
    attend = replace(attend, window=window(c, absent=None), query_growth=_growth(rope_table(c)))
    return decoder(c, Layer(attention=attend, feed_forward=dense(c)), max_position=262144, norm=norm(c, default=1e-5))


def mistral3(c: Fields) -> Decoder:
    """Mistral 3, Ministral 3 and Devstral 2 with a vision tower: the text part."""
    c.leave(*VISION)
    text = Fields(c.table("text_config"), "config.json, text_config", length=c.length)
    read = TEXT[text.word("model_type", TEXT, "mistral")]
    return text_part(c, text, read(text))


TEXT = {"mistral": mistral, "ministral": ministral, "ministral3": ministral3}


def _growth(positions: Fields) -> QueryGrowth | None:
    beta = positions.number("llama_4_scaling_beta", 0.0, 1e3, 0.0)
    if beta == 0.0:
        return None
    return QueryGrowth(beta=beta, length=positions.integer("original_max_position_embeddings", 1, MAX_POSITION))


FAMILIES = {
    "MistralForCausalLM": Family(
        read=mistral,
        model_type="mistral",
        examples=("mistralai/Mistral-7B-Instruct-v0.3", "mistralai/Ministral-8B-Instruct-2410"),
    ),
    "MinistralForCausalLM": Family(
        read=ministral, model_type="ministral", examples=("mistralai/Ministral-8B-Instruct-2410",)
    ),
    "Ministral3ForCausalLM": Family(
        read=ministral3, model_type="ministral3", examples=("mistralai/Ministral-3-8B-Instruct-2512-BF16",)
    ),
    "Mistral3ForConditionalGeneration": Family(
        read=mistral3,
        model_type="mistral3",
        examples=("mistralai/Mistral-Small-3.2-24B-Instruct-2506", "mistralai/Ministral-3-3B-Reasoning-2512"),
    ),
}
