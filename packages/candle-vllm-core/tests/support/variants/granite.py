from __future__ import annotations

from transformers import GraniteConfig, GraniteForCausalLM

from .common import LINEAR, Variant

FACTORS = {
    "attention_multiplier": 0.21,
    "embedding_multiplier": 3.5,
    "logits_scaling": 6.0,
    "residual_multiplier": 0.4,
}


def granite(**settings: object) -> Variant:
    return Variant(config=GraniteConfig, model=GraniteForCausalLM, settings=FACTORS | settings)


MODELS = {
    "granite": granite(),
    "granite, no factors": granite(**dict.fromkeys(FACTORS, 1.0)),
    "granite, tied, biases": granite(
        tie_word_embeddings=True, attention_bias=True, mlp_bias=True, rope_parameters=LINEAR
    ),
}
