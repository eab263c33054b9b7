from __future__ import annotations

from transformers import Qwen3NextConfig, Qwen3NextForCausalLM

from .common import Variant

SMALL = {
    "head_dim": 16,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 12,
    "linear_value_head_dim": 20,
    "num_experts": 8,
    "num_experts_per_tok": 3,
    "moe_intermediate_size": 24,
    "shared_expert_intermediate_size": 40,
    "num_hidden_layers": 4,
    # With larger weights the comparison shows the roundings of transformers' own chunked rule.
    "initializer_range": 0.1,
}


def qwen3_next(**settings: object) -> Variant:
    return Variant(config=Qwen3NextConfig, model=Qwen3NextForCausalLM, settings=SMALL | settings)


MODELS = {
    "qwen3-next": qwen3_next(),
    "qwen3-next, biases": qwen3_next(attention_bias=True, full_attention_interval=2, num_hidden_layers=2),
    "qwen3-next, some layers dense": qwen3_next(decoder_sparse_step=2, mlp_only_layers=[1], norm_topk_prob=False),
    "qwen3-next, other sizes, every expert": qwen3_next(
        num_experts_per_tok=8,
        linear_num_key_heads=3,
        linear_num_value_heads=3,
        linear_conv_kernel_dim=2,
        layer_types=["full_attention", "linear_attention"],
        num_hidden_layers=2,
        partial_rotary_factor=0.5,
        tie_word_embeddings=True,
    ),
}
