"""The shape of the embedded model."""

from __future__ import annotations

from transformers import Qwen3Config, Qwen3ForCausalLM

LONGEST = 2048


def make(vocabulary: int) -> Qwen3ForCausalLM:
    """A model with random weights; torch's seed decides them."""
    config = Qwen3Config(
        vocab_size=vocabulary,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=LONGEST,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=2,
        pad_token_id=0,
        attn_implementation="sdpa",
    )
    return Qwen3ForCausalLM(config)
