from __future__ import annotations

from transformers import GptOssConfig, GptOssForCausalLM

from .common import SLIDING, THETA, YARN, Variant


def gpt_oss(**settings: object) -> Variant:
    sizes = {"num_local_experts": 6, "num_experts_per_tok": 3, "head_dim": 16, "sliding_window": 9}
    stretched = {"rope_parameters": YARN | {"truncate": False}}
    return Variant(config=GptOssConfig, model=GptOssForCausalLM, settings=sizes | stretched | settings)


MODELS = {
    "gpt-oss": gpt_oss(),
    "gpt-oss, clamped": gpt_oss(initializer_range=0.3, num_experts_per_tok=6),
    "gpt-oss, other layers slide": gpt_oss(layer_types=SLIDING[1:] + SLIDING[1:2], rope_parameters=THETA),
    "gpt-oss, no biases, tied": gpt_oss(attention_bias=False, tie_word_embeddings=True, num_local_experts=3),
}
