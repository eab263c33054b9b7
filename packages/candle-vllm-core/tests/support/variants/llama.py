from __future__ import annotations

from transformers import LlamaConfig, LlamaForCausalLM

from .common import LINEAR, LLAMA3, TUNED, YARN, Variant


def llama(**settings: object) -> Variant:
    return Variant(config=LlamaConfig, model=LlamaForCausalLM, settings=settings)


MODELS = {
    "llama": llama(),
    "llama, tied": llama(tie_word_embeddings=True),
    "llama, biases": llama(attention_bias=True, mlp_bias=True),
    "llama, one KV head": llama(num_key_value_heads=1),
    "llama, as many KV heads": llama(num_key_value_heads=6),
    "llama, wide heads": llama(head_dim=20),
    "llama, llama3 rope": llama(rope_parameters=LLAMA3),
    "llama, linear rope": llama(rope_parameters=LINEAR),
    "llama, yarn rope": llama(rope_parameters=YARN),
    "llama, yarn rope, tuned": llama(rope_parameters=YARN | TUNED),
    "llama, yarn rope, half tuned": llama(rope_parameters=YARN | {"mscale": 0.7}),
    "llama, yarn rope, given factor": llama(rope_parameters=YARN | {"attention_factor": 1.3}),
}
