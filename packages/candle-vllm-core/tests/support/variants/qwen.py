from __future__ import annotations

from transformers import (
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2MoeConfig,
    Qwen2MoeForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from .common import SLIDING, THETA, YARN, Variant

MOE = {"num_experts": 6, "num_experts_per_tok": 3, "moe_intermediate_size": 24}


def qwen2(**settings: object) -> Variant:
    return Variant(config=Qwen2Config, model=Qwen2ForCausalLM, settings=settings)


def qwen2_moe(**settings: object) -> Variant:
    sizes = MOE | {"shared_expert_intermediate_size": 40}
    return Variant(config=Qwen2MoeConfig, model=Qwen2MoeForCausalLM, settings=sizes | settings)


def qwen3(**settings: object) -> Variant:
    return Variant(config=Qwen3Config, model=Qwen3ForCausalLM, settings={"head_dim": 16} | settings)


def qwen3_moe(**settings: object) -> Variant:
    return Variant(config=Qwen3MoeConfig, model=Qwen3MoeForCausalLM, settings=MOE | settings)


MODELS = {
    "qwen2": qwen2(),
    "qwen2, tied": qwen2(tie_word_embeddings=True),
    "qwen2, windows": qwen2(use_sliding_window=True, sliding_window=9, max_window_layers=1),
    "qwen2-moe": qwen2_moe(),
    "qwen2-moe, some layers dense": qwen2_moe(decoder_sparse_step=2, norm_topk_prob=True, qkv_bias=False),
    "qwen2-moe, every expert": qwen2_moe(num_experts=4, num_experts_per_tok=4),
    "qwen2-moe, windows": qwen2_moe(
        use_sliding_window=True, sliding_window=9, max_window_layers=2, mlp_only_layers=[1], rope_parameters=THETA
    ),
    "qwen3": qwen3(),
    "qwen3, tied": qwen3(tie_word_embeddings=True, rope_parameters=THETA),
    "qwen3, windows": qwen3(use_sliding_window=True, sliding_window=5, layer_types=SLIDING),
    "qwen3-moe": qwen3_moe(head_dim=16),
    "qwen3-moe, every expert": qwen3_moe(num_experts=4, num_experts_per_tok=4, head_dim=16),
    "qwen3-moe, some layers dense": qwen3_moe(
        mlp_only_layers=[0, 2], num_hidden_layers=4, norm_topk_prob=True, attention_bias=True, rope_parameters=YARN
    ),
    "qwen3-moe, window 9": qwen3_moe(
        use_sliding_window=True, sliding_window=9, decoder_sparse_step=3, tie_word_embeddings=True
    ),
}
