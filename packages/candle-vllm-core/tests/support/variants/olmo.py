from __future__ import annotations

from transformers import Olmo2Config, Olmo2ForCausalLM, Olmo3Config, Olmo3ForCausalLM

from .common import LINEAR, SLIDING, THETA, YARN, Variant

ROPES = {"full_attention": YARN, "sliding_attention": {"rope_type": "default", "rope_theta": 50.0}}


def olmo2(**settings: object) -> Variant:
    return Variant(config=Olmo2Config, model=Olmo2ForCausalLM, settings=settings)


def olmo3(**settings: object) -> Variant:
    return Variant(config=Olmo3Config, model=Olmo3ForCausalLM, settings={"sliding_window": 9} | settings)


MODELS = {
    "olmo2": olmo2(rope_parameters=THETA),
    "olmo2, as many KV heads": olmo2(num_key_value_heads="absent", rope_parameters=LINEAR),
    "olmo2, tied, biases": olmo2(tie_word_embeddings=True, attention_bias=True),
    "olmo3": olmo3(num_hidden_layers=5),
    "olmo3, two ropes": olmo3(layer_types=SLIDING, rope_parameters=ROPES, attention_bias=True),
    "olmo3, no windows, tied": olmo3(layer_types=["full_attention"] * 3, tie_word_embeddings=True),
}
