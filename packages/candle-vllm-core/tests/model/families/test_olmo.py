"""What parity cannot show of OLMo: how published config.json files read, and what is refused."""

from typing import Any

import pytest
from real_checkpoints import real_checkpoint

from candle_vllm_core import spec as s
from candle_vllm_core.errors import ModelLoadError
from candle_vllm_core.model.build import expected_shapes
from candle_vllm_core.model.families import decoder_spec

Config = dict[str, Any]
STRETCH = {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 8192}
OLMO_3: Config = dict(real_checkpoint("olmo-2-7b").config) | {
    "architectures": ["Olmo3ForCausalLM"],
    "max_position_embeddings": 65536,
    "model_type": "olmo3",
    "rope_scaling": STRETCH | {"attention_factor": 1.2079441541679836, "beta_fast": 32.0, "beta_slow": 1.0},
    "sliding_window": 4096,
    "vocab_size": 100278,
}


def ropes(config: Config) -> list[s.Rope | None]:
    return [layer.attention.rope for layer in decoder_spec(config).layers]


def test_olmo_2_7b() -> None:
    spec = decoder_spec(real_checkpoint("olmo-2-7b").config)
    norm = s.Norm(eps=1e-6, wide=True)
    rope = s.Rope(theta=500000.0, dim=128)
    together = s.HeadNorm(norm=norm, heads="together")
    attention = s.Attention(heads=32, kv_heads=32, head_dim=128, rope=rope, scale=128**-0.5, qk_norm=together)
    layer = s.Layer(attention=attention, feed_forward=s.Dense(width=11008), residual="post")
    assert (set(spec.layers), spec.norm, spec.max_position) == ({layer}, norm, 4096)


def test_a_layer_has_norms_after_its_parts_only() -> None:
    names = [name for name in expected_shapes(decoder_spec(OLMO_3)) if name.startswith("model.layers.0.")]
    ends = {name.removeprefix("model.layers.0.") for name in names if "norm" in name}
    heads = {"self_attn.q_norm.weight", "self_attn.k_norm.weight"}
    assert ends == heads | {"post_attention_layernorm.weight", "post_feedforward_layernorm.weight"}


def test_three_of_four_layers_of_olmo_3_have_a_window_and_do_not_stretch_positions() -> None:
    spec = decoder_spec(OLMO_3)
    assert [layer.attention.window for layer in spec.layers] == [4096, 4096, 4096, None] * 8
    near, _, _, far = ropes(OLMO_3)[:4]
    assert near == s.Rope(theta=500000.0, dim=128)
    assert far is not None
    assert (far.theta, dict(far.scaling)["factor"], spec.max_position) == (500000.0, 8.0, 65536)


def test_an_older_base_counts_for_both_rotations() -> None:
    """Transformers 5.23 reads it for the layers without a window only; 4.57, with which OLMo 3 came, for all."""
    assert {rope.theta for rope in ropes(OLMO_3 | {"rope_theta": 10000.0}) if rope} == {10000.0}


def test_both_spellings_of_two_rotations_are_one() -> None:
    tables = {"full_attention": OLMO_3["rope_scaling"], "sliding_attention": {"rope_type": "default"}}
    newer = OLMO_3 | {"rope_scaling": None, "rope_parameters": tables}
    assert decoder_spec(newer) == decoder_spec(OLMO_3)


def test_a_new_table_that_does_not_say_for_which_layers_is_refused() -> None:
    with pytest.raises(ModelLoadError, match="rope_parameters"):
        decoder_spec(OLMO_3 | {"rope_scaling": None, "rope_parameters": STRETCH})


def test_what_the_first_generation_did_is_refused_by_name() -> None:
    with pytest.raises(ModelLoadError, match="clip_qkv"):
        decoder_spec(real_checkpoint("olmo-2-7b").config | {"clip_qkv": 8.0})
