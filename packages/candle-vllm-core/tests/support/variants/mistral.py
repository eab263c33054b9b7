from __future__ import annotations

from transformers import MistralConfig, MistralForCausalLM

from .common import THETA, Variant


def mistral(**settings: object) -> Variant:
    return Variant(config=MistralConfig, model=MistralForCausalLM, settings=settings)


MODELS = {
    "mistral, window 7": mistral(sliding_window=7),
    "mistral": mistral(sliding_window=None, rope_parameters=THETA),
}
