from __future__ import annotations

from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3Config,
    Gemma3ForCausalLM,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    GemmaConfig,
    GemmaForCausalLM,
)

from .common import LINEAR, SIZES, SLIDING, THETA, Variant

ROPES = {"full_attention": LINEAR, "sliding_attention": {"rope_type": "default", "rope_theta": 50.0}}
GEMMA3 = {
    "head_dim": 12,
    "query_pre_attn_scalar": 7,
    "sliding_window": 9,
    "rms_norm_eps": 0.1,
    "rope_parameters": ROPES,
}
VISION = {
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 8,
    "patch_size": 2,
    "vision_use_head": False,
}


def gemma(**settings: object) -> Variant:
    return Variant(config=GemmaConfig, model=GemmaForCausalLM, settings={"head_dim": 12} | settings)


def gemma2(**settings: object) -> Variant:
    caps = {"attn_logit_softcapping": 1.5, "final_logit_softcapping": 4.0}
    sizes = {"head_dim": 10, "query_pre_attn_scalar": 7, "sliding_window": 9}
    return Variant(config=Gemma2Config, model=Gemma2ForCausalLM, settings=sizes | caps | settings)


def gemma3(**settings: object) -> Variant:
    return Variant(config=Gemma3TextConfig, model=Gemma3ForCausalLM, settings=GEMMA3 | settings)


def conditional(tied: bool = True, **settings: object) -> Variant:
    text = {name: value for name, value in SIZES.items() if name != "attn_implementation"} | GEMMA3 | settings
    outer = {name: "absent" for name in SIZES if name not in ("attn_implementation", "initializer_range")}
    parts = {"text_config": text, "vision_config": VISION, "mm_tokens_per_image": 4}
    return Variant(
        config=Gemma3Config,
        model=Gemma3ForConditionalGeneration,
        settings=outer | parts | {"tie_word_embeddings": tied},
        beside=("model.vision_tower.", "model.multi_modal_projector."),
    )


MODELS = {
    "gemma": gemma(),
    "gemma, untied, biases": gemma(tie_word_embeddings=False, attention_bias=True, hidden_act="gelu"),
    "gemma, silu, linear rope": gemma(hidden_act="silu", rope_parameters=LINEAR),
    "gemma2": gemma2(),
    "gemma2, untied, biases": gemma2(tie_word_embeddings=False, attention_bias=True, rope_parameters=THETA),
    "gemma2, no caps": gemma2(
        attn_logit_softcapping=None, final_logit_softcapping=None, layer_types=SLIDING[1:] + ["full_attention"]
    ),
    "gemma3": gemma3(layer_types=SLIDING),
    "gemma3, pattern": gemma3(sliding_window_pattern=2, num_hidden_layers=5),
    "gemma3, untied, biases, cap": gemma3(
        sliding_window_pattern=3, tie_word_embeddings=False, attention_bias=True, final_logit_softcapping=4.0
    ),
    "gemma3, vision": conditional(layer_types=SLIDING),
    "gemma3, vision, untied": conditional(tied=False, sliding_window_pattern=2),
}
