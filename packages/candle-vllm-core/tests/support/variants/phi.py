from __future__ import annotations

from transformers import Phi3Config, Phi3ForCausalLM, PhiConfig, PhiForCausalLM

from .common import Variant

NORM = {"layer_norm_eps": 0.01, "rms_norm_eps": "absent", "pad_token_id": None}
SHORT, LONG = [1.0, 1.2, 1.5, 2.0], [1.1, 2.0, 4.5, 7.0]


def phi(**settings: object) -> Variant:
    return Variant(config=PhiConfig, model=PhiForCausalLM, settings=NORM | settings)


def phi3(*, length: int | None = None, **settings: object) -> Variant:
    return Variant(config=Phi3Config, model=Phi3ForCausalLM, settings={"pad_token_id": None} | settings, length=length)


def longrope(**more: object) -> dict[str, object]:
    return {"rope_type": "longrope", "rope_theta": 500.0, "short_factor": SHORT, "long_factor": LONG} | more


MODELS = {
    "phi": phi(),
    "phi, tied": phi(partial_rotary_factor=0.75, tie_word_embeddings=True),
    "phi, head norms": phi(qk_layernorm=True, num_key_value_heads=6),
    "phi3": phi3(),
    "phi3, tied": phi3(tie_word_embeddings=True, num_key_value_heads=6),
    "phi3, window 7": phi3(sliding_window=7),
    "phi3, partial rope": phi3(partial_rotary_factor=0.75),
    "phi3, longrope, long": phi3(original_max_position_embeddings=4, rope_parameters=longrope()),
    "phi3, longrope, short": phi3(length=110, original_max_position_embeddings=128, rope_parameters=longrope()),
    "phi3, longrope, given factor": phi3(
        original_max_position_embeddings=4, rope_parameters=longrope(attention_factor=1.3)
    ),
    "phi3, longrope, partial": phi3(
        hidden_size=60,
        original_max_position_embeddings=4,
        rope_parameters=longrope(partial_rotary_factor=0.8),
    ),
}
