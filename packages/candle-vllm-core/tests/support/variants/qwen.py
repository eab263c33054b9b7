from __future__ import annotations

from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

from .common import SLIDING, THETA, Variant


def qwen2(**settings: object) -> Variant:
    return Variant(config=Qwen2Config, model=Qwen2ForCausalLM, settings=settings)


def qwen3(**settings: object) -> Variant:
    return Variant(config=Qwen3Config, model=Qwen3ForCausalLM, settings={"head_dim": 16} | settings)


MODELS = {
    "qwen2": qwen2(),
    "qwen2, tied": qwen2(tie_word_embeddings=True),
    "qwen2, windows": qwen2(use_sliding_window=True, sliding_window=9, max_window_layers=1),
    "qwen3": qwen3(),
    "qwen3, tied": qwen3(tie_word_embeddings=True, rope_parameters=THETA),
    "qwen3, windows": qwen3(use_sliding_window=True, sliding_window=5, layer_types=SLIDING),
}
