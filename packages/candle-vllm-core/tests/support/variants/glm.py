from __future__ import annotations

from transformers import Glm4Config, Glm4ForCausalLM, GlmConfig, GlmForCausalLM

from .common import LINEAR, TUNED, YARN, Variant


def glm(**settings: object) -> Variant:
    return Variant(config=GlmConfig, model=GlmForCausalLM, settings={"head_dim": 12, "pad_token_id": 0} | settings)


def glm4(**settings: object) -> Variant:
    return Variant(config=Glm4Config, model=Glm4ForCausalLM, settings={"head_dim": 20, "pad_token_id": 0} | settings)


MODELS = {
    "glm": glm(),
    "glm, no biases, a quarter rotated": glm(attention_bias=False, head_dim=24, partial_rotary_factor=0.25),
    "glm, linear rope": glm(rope_parameters=LINEAR),
    "glm4": glm4(),
    "glm4, tied, no biases": glm4(tie_word_embeddings=True, attention_bias=False),
    "glm4, yarn rope": glm4(rope_parameters=YARN | TUNED),
}
