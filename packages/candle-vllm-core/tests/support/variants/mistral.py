from __future__ import annotations

from transformers import (
    Ministral3Config,
    Ministral3ForCausalLM,
    MinistralConfig,
    MinistralForCausalLM,
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    MistralConfig,
    MistralForCausalLM,
)

from .common import LINEAR, SIZES, SLIDING, THETA, YARN, Variant

GROWING = YARN | {
    "original_max_position_embeddings": 16,
    "llama_4_scaling_beta": 0.5,
    "mscale": 1.0,
    "mscale_all_dim": 1.0,
}
WITHOUT_YARN = THETA | {"original_max_position_embeddings": 7, "llama_4_scaling_beta": 0.3}
VISION = {
    "model_type": "pixtral",
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "head_dim": 4,
    "image_size": 8,
    "patch_size": 2,
}


def mistral(**settings: object) -> Variant:
    return Variant(config=MistralConfig, model=MistralForCausalLM, settings=settings)


def ministral(**settings: object) -> Variant:
    return Variant(config=MinistralConfig, model=MinistralForCausalLM, settings={"head_dim": 8} | settings)


def ministral3(**settings: object) -> Variant:
    return Variant(config=Ministral3Config, model=Ministral3ForCausalLM, settings={"head_dim": 12} | settings)


def conditional(tied: bool = False, **settings: object) -> Variant:
    text = {name: value for name, value in SIZES.items() if name != "attn_implementation"} | settings
    outer = {name: "absent" for name in SIZES if name not in ("attn_implementation", "initializer_range")}
    parts = {"text_config": text | {"tie_word_embeddings": tied}, "vision_config": VISION}
    return Variant(
        config=Mistral3Config,
        model=Mistral3ForConditionalGeneration,
        settings=outer | parts | {"tie_word_embeddings": tied},
        beside=("model.vision_tower.", "model.multi_modal_projector."),
    )


MODELS = {
    "mistral, window 7": mistral(sliding_window=7),
    "mistral": mistral(sliding_window=None, rope_parameters=THETA),
    "ministral": ministral(sliding_window=9, layer_types=SLIDING, rope_parameters=THETA),
    "ministral, wide heads, tied": ministral(sliding_window=5, head_dim=20, tie_word_embeddings=True),
    "ministral3": ministral3(rope_parameters=GROWING),
    "ministral3, window, tied": ministral3(rope_parameters=WITHOUT_YARN, sliding_window=9, tie_word_embeddings=True),
    "ministral3, positions not said": ministral3(),
    "mistral3, vision": conditional(model_type="mistral", sliding_window=None, rope_parameters=LINEAR),
    "mistral3, vision, growing, tied": conditional(True, model_type="ministral3", head_dim=10, rope_parameters=GROWING),
}
