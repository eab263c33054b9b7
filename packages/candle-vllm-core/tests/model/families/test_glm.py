"""What parity cannot show of GLM-4: how published config.json files read, and what is refused."""

import json
from typing import Any

import pytest
from real_checkpoints import real_checkpoint
from transformers import Glm4Config, GlmConfig, PreTrainedConfig

from candle_vllm_core import spec as s
from candle_vllm_core.errors import ModelLoadError
from candle_vllm_core.model.build import expected_shapes
from candle_vllm_core.model.families import decoder_spec

Config = dict[str, Any]
SIZES = {"architectures", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size"}
BOTH = ("glm-4-9b", "glm-4-9b-0414")


def published(name: str) -> Config:
    return dict(real_checkpoint(name).config)


def without(config: Config, *names: str) -> Config:
    return {name: value for name, value in config.items() if name not in names}


@pytest.mark.parametrize(("name", "family"), [("glm-4-9b", GlmConfig), ("glm-4-32b-0414", Glm4Config)])
def test_a_published_config_is_what_transformers_makes_of_it(name: str, family: type[PreTrainedConfig]) -> None:
    config = published(name)
    written = json.loads(family(**published(name)).to_json_string(use_diff=False))
    assert decoder_spec(config) == decoder_spec(written | {"architectures": config["architectures"]})


@pytest.mark.parametrize(("name", "family"), [("glm-4-9b", GlmConfig), ("glm-4-9b-0414", Glm4Config)])
def test_a_config_of_sizes_alone_is_what_transformers_makes_of_it(name: str, family: type[PreTrainedConfig]) -> None:
    config = {key: value for key, value in published(name).items() if key in SIZES}
    written = json.loads(family(**config).to_json_string(use_diff=False))
    assert decoder_spec(config) == decoder_spec(written | {"architectures": config["architectures"]})


def test_glm_4_9b() -> None:
    spec = decoder_spec(published("glm-4-9b"))
    rope = s.Rope(theta=10000.0, dim=64, interleaved=True)
    attention = s.Attention(heads=32, kv_heads=2, head_dim=128, rope=rope, scale=128**-0.5, qkv_bias=True)
    assert set(spec.layers) == {s.Layer(attention=attention, feed_forward=s.Dense(width=13696))}
    assert (spec.norm, spec.tied, spec.max_position) == (s.Norm(eps=1.5625e-07), False, 131072)


def test_the_second_form_is_the_first_with_two_norms_more() -> None:
    forms = {"glm": "GlmForCausalLM", "glm4": "Glm4ForCausalLM"}
    said = [{"model_type": kind, "architectures": [name]} for kind, name in forms.items()]
    first, second = (decoder_spec(published("glm-4-9b") | form) for form in said)
    assert {layer.residual for layer in second.layers} == {"sandwich"}
    shared = expected_shapes(first)
    added = {name: shape for name, shape in expected_shapes(second).items() if name not in shared}
    ends = ("post_self_attn_layernorm.weight", "post_mlp_layernorm.weight")
    assert added == {f"model.layers.{layer}.{end}": (4096,) for layer in range(40) for end in ends}


@pytest.mark.parametrize("name", BOTH)
def test_silence_means_half_of_each_head_and_biases_of_q_k_and_v(name: str) -> None:
    config = published(name)
    assert decoder_spec(without(config, "partial_rotary_factor", "attention_bias")) == decoder_spec(config)
    nested = {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.25}}
    attention = decoder_spec(without(config, "rope_theta", "partial_rotary_factor") | nested).layers[0].attention
    assert isinstance(attention, s.Attention)
    assert attention.rope == s.Rope(theta=10000.0, dim=32, interleaved=True)


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("partial_rotary_factor", 0.4),
        ("partial_rotary_factor", 2),
        ("attention_bias", "yes"),
        ("hidden_act", "relu"),
        ("num_key_value_heads", 3),
        ("sliding_window", 4096),
        ("layer_types", ["full_attention"]),
        ("use_qk_norm", True),
        ("n_routed_experts", 128),
        ("mrope_section", [16, 24, 24]),
    ],
)
def test_what_would_be_ignored_is_refused_by_name(name: str, field: str, value: object) -> None:
    with pytest.raises(ModelLoadError) as raised:
        decoder_spec(published(name) | {field: value})
    assert field in raised.value.names
    assert field in str(raised.value)
