from __future__ import annotations

from transformers import StableLmConfig, StableLmForCausalLM

from .common import LINEAR, Variant


def stablelm(**settings: object) -> Variant:
    norm = {"layer_norm_eps": 0.01, "rms_norm_eps": "absent"}
    return Variant(config=StableLmConfig, model=StableLmForCausalLM, settings=norm | settings)


MODELS = {
    "stablelm": stablelm(hidden_size=96),
    "stablelm, biases": stablelm(use_qkv_bias=True, partial_rotary_factor=0.5),
    "stablelm, tied": stablelm(tie_word_embeddings=True, partial_rotary_factor=0.75, rope_parameters=LINEAR),
    "stablelm, parallel, head norms": stablelm(
        use_parallel_residual=True, qk_layernorm=True, partial_rotary_factor=0.5
    ),
}
