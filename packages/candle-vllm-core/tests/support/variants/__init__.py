"""Small variants of every family, by the name that tables show: config class, model class, and what is set."""

from __future__ import annotations

from collections.abc import Mapping

from . import (
    cohere,
    deepseek,
    gemma,
    glm,
    gpt_oss,
    granite,
    llama,
    mistral,
    mixtral,
    olmo,
    phi,
    qwen,
    qwen_next,
    smollm,
    stablelm,
)
from .common import SIZES as SIZES
from .common import Variant as Variant

MODELS: Mapping[str, Variant] = {
    **llama.MODELS,
    **mistral.MODELS,
    **mixtral.MODELS,
    **qwen.MODELS,
    **qwen_next.MODELS,
    **phi.MODELS,
    **stablelm.MODELS,
    **gemma.MODELS,
    **glm.MODELS,
    **deepseek.MODELS,
    **olmo.MODELS,
    **granite.MODELS,
    **smollm.MODELS,
    **cohere.MODELS,
    **gpt_oss.MODELS,
}
