from __future__ import annotations

from transformers import Cohere2Config, Cohere2ForCausalLM, CohereConfig, CohereForCausalLM

from .common import LLAMA3, THETA, Variant

NORM = {"layer_norm_eps": 0.01, "rms_norm_eps": "absent"}


def cohere(**settings: object) -> Variant:
    return Variant(config=CohereConfig, model=CohereForCausalLM, settings=NORM | settings)


def cohere2(**settings: object) -> Variant:
    settings = NORM | {"num_hidden_layers": 5, "sliding_window": 7} | settings
    return Variant(config=Cohere2Config, model=Cohere2ForCausalLM, settings=settings)


MODELS = {
    "cohere": cohere(rope_parameters=THETA),
    "cohere, untied": cohere(tie_word_embeddings=False, logit_scale=0.25),
    "cohere, biases, llama3 rope": cohere(attention_bias=True, rope_parameters=LLAMA3),
    "cohere, head norms": cohere(use_qk_norm=True),
    "cohere2": cohere2(rope_parameters=THETA),
    "cohere2, biases": cohere2(
        attention_bias=True, layer_types=["full_attention", "sliding_attention"] * 2 + ["full_attention"]
    ),
}
