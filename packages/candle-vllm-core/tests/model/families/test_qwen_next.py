"""What parity cannot show of Qwen3-Next: how published config.json files read, and what is refused."""

import json
from typing import Any

import pytest
from real_checkpoints import real_checkpoint
from transformers import Qwen3NextConfig

from candle_vllm_core import spec as s
from candle_vllm_core.errors import ModelLoadError
from candle_vllm_core.model.families import decoder_spec

Config = dict[str, Any]


def published() -> Config:
    return dict(real_checkpoint("qwen3-next-80b-a3b").config)


def test_a_published_config_is_what_transformers_makes_of_it() -> None:
    config = published()
    written = json.loads(Qwen3NextConfig(**published()).to_json_string(use_diff=False))
    assert decoder_spec(config) == decoder_spec(written | {"architectures": config["architectures"]})


def test_qwen3_next_80b() -> None:
    spec = decoder_spec(published())
    norm = s.Norm(eps=1e-6, offset=True, wide=True)
    experts = s.Sparse(
        router=s.Router(experts=512, top_k=10, renormalize=True), width=512, shared=s.Dense(width=512), shared_gate=True
    )
    delta = s.DeltaNet(key_heads=16, value_heads=32, key_dim=128, value_dim=128, kernel=4, norm=s.Norm(eps=1e-6))
    full = s.Attention(
        heads=16,
        kv_heads=2,
        head_dim=256,
        rope=s.Rope(theta=1e7, dim=64),
        scale=1 / 16,
        qk_norm=s.HeadNorm(norm=norm),
        gate=True,
    )
    kinds = [s.Layer(attention=attention, feed_forward=experts) for attention in (delta, delta, delta, full)]
    assert spec.layers == tuple(kinds * 12)
    assert (spec.norm, spec.tied, spec.max_position) == (norm, False, 262144)
    assert spec.kv_numbers_per_token() == 12 * 2 * 2 * 256
    assert spec.state_numbers() == 36 * (32 * 128 * 128 + 8192 * 3)


def test_layer_types_count_more_than_the_interval() -> None:
    config = published() | {"num_hidden_layers": 4, "full_attention_interval": 2}
    found = [
        [isinstance(attention, s.DeltaNet) for attention in decoder_spec(config | change).attentions()]
        for change in ({}, {"layer_types": ["full_attention"] * 3 + ["linear_attention"]})
    ]
    assert found == [[True, False, True, False], [False, False, False, True]]


def test_layers_without_experts() -> None:
    config = published() | {"num_hidden_layers": 6}
    found = [
        [type(layer.feed_forward) is s.Dense for layer in decoder_spec(config | change).layers]
        for change in ({"decoder_sparse_step": 3}, {"mlp_only_layers": [0, 5]})
    ]
    assert found == [[True, True, False, True, True, False], [True, False, False, False, False, True]]
    plain = decoder_spec(config | {"mlp_only_layers": [0]}).layers[0].feed_forward
    assert plain == s.Dense(width=5120)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("hidden_act", "gelu"),
        ("layer_types", ["sliding_attention"] * 48),
        ("layer_types", ["linear_attention"]),
        ("full_attention_interval", 0),
        ("linear_num_value_heads", 24),
        ("linear_num_key_heads", 0),
        ("linear_key_head_dim", -1),
        ("linear_conv_kernel_dim", 1),
        ("linear_conv_kernel_dim", 10**6),
        ("decoder_sparse_step", 0),
        ("num_experts", 0),
        ("num_experts_per_tok", 513),
        ("mlp_only_layers", ["0"]),
        ("use_sliding_window", True),
        ("partial_rotary_factor", 0.001),
    ],
)
def test_what_would_be_ignored_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ModelLoadError) as raised:
        decoder_spec(published() | {field: value})
    assert field in raised.value.names
    assert field in str(raised.value)
