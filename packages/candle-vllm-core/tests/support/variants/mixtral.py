from __future__ import annotations

from transformers import MixtralConfig, MixtralForCausalLM

from .common import THETA, Variant


def mixtral(**settings: object) -> Variant:
    sizes = {"num_local_experts": 5, "num_experts_per_tok": 2}
    return Variant(config=MixtralConfig, model=MixtralForCausalLM, settings=sizes | settings)


MODELS = {
    "mixtral": mixtral(),
    "mixtral, window 7": mixtral(sliding_window=7, rope_parameters=THETA),
    "mixtral, every expert, tied": mixtral(num_local_experts=4, num_experts_per_tok=4, tie_word_embeddings=True),
    "mixtral, one expert": mixtral(num_experts_per_tok=1, hidden_act="gelu_pytorch_tanh", head_dim=20),
}
