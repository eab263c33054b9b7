from __future__ import annotations

from transformers import SmolLM3Config, SmolLM3ForCausalLM

from .common import SLIDING, YARN, Variant


def smollm3(**settings: object) -> Variant:
    small = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    return Variant(config=SmolLM3Config, model=SmolLM3ForCausalLM, settings=small | settings)


MODELS = {
    "smollm3": smollm3(num_hidden_layers=5),
    "smollm3, every other layer": smollm3(no_rope_layer_interval=2, rope_parameters=YARN),
    "smollm3, windows": smollm3(use_sliding_window=True, sliding_window=9, no_rope_layer_interval=2),
    "smollm3, windows that rotate": smollm3(
        use_sliding_window=True, sliding_window=7, layer_types=SLIDING, no_rope_layers=[1, 0, 0]
    ),
    "smollm3, untied, biases": smollm3(tie_word_embeddings=False, attention_bias=True, mlp_bias=True),
}
