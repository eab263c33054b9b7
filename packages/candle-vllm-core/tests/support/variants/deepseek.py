from __future__ import annotations

from transformers import DeepseekV2Config, DeepseekV2ForCausalLM, DeepseekV3Config, DeepseekV3ForCausalLM

from .common import LINEAR, YARN, Variant

LATENT = {
    "kv_lora_rank": 20,
    "q_lora_rank": 28,
    "qk_nope_head_dim": 10,
    "qk_rope_head_dim": 8,
    "v_head_dim": 14,
    "num_key_value_heads": 6,
    "num_hidden_layers": 3,
    "first_k_dense_replace": 1,
    "n_routed_experts": 12,
    "n_shared_experts": 2,
    "num_experts_per_tok": 5,
    "moe_intermediate_size": 24,
    "routed_scaling_factor": 1.7,
}
GROUPS = {"n_group": 4, "topk_group": 2}
LITE = {"topk_method": "greedy", "q_lora_rank": None, "n_group": 1, "topk_group": 1, "n_shared_experts": 1}
SHARP = YARN | {"mscale": 0.707, "mscale_all_dim": 0.707}
EVERY = {"n_group": 1, "topk_group": 1, "n_routed_experts": 5}
UNEVEN = YARN | {"mscale": 1.4, "mscale_all_dim": 0.6, "beta_fast": 4.0, "beta_slow": 0.5}


def deepseek_v2(**settings: object) -> Variant:
    grouped = {"topk_method": "group_limited_greedy"} | GROUPS
    return Variant(config=DeepseekV2Config, model=DeepseekV2ForCausalLM, settings=LATENT | grouped | settings)


def deepseek_v3(**settings: object) -> Variant:
    return Variant(config=DeepseekV3Config, model=DeepseekV3ForCausalLM, settings=LATENT | GROUPS | settings)


MODELS = {
    "deepseek-v2": deepseek_v2(rope_parameters=SHARP),
    "deepseek-v2-lite": deepseek_v2(rope_parameters=UNEVEN, **LITE),
    "deepseek-v2, biases, tied": deepseek_v2(attention_bias=True, mlp_bias=True, tie_word_embeddings=True),
    "deepseek-v2, one group of four": deepseek_v2(topk_group=1, num_experts_per_tok=3, rope_parameters=LINEAR),
    "deepseek-v2, every expert": deepseek_v2(rope_parameters=SHARP, **EVERY | {"topk_method": "greedy"}),
    "deepseek-v3": deepseek_v3(rope_parameters=SHARP),
    "deepseek-v3, every expert": deepseek_v3(rope_parameters=SHARP, **EVERY),
    "deepseek-v3, uneven yarn": deepseek_v3(rope_parameters=UNEVEN, topk_group=3, first_k_dense_replace=2),
    "deepseek-v3, halves, weights as they are": deepseek_v3(rope_interleave=False, norm_topk_prob=False),
    "deepseek-v3, one group, biases": deepseek_v3(
        n_group=1,
        topk_group=1,
        q_lora_rank=None,
        attention_bias=True,
        first_k_dense_replace=0,
        tie_word_embeddings=True,
    ),
}
