"""What parity cannot show of gpt-oss: how its published config.json reads, and what is refused."""

from typing import Any

import pytest
from real_checkpoints import real_checkpoint

from candle_vllm_core import spec as s
from candle_vllm_core.errors import ModelLoadError
from candle_vllm_core.model.build import expected_shapes
from candle_vllm_core.model.families import decoder_spec

CONFIG: dict[str, Any] = dict(real_checkpoint("gpt-oss-20b").config)
STRETCHED = (
    ("beta_fast", 32.0),
    ("beta_slow", 1.0),
    ("factor", 32.0),
    ("original_max_position_embeddings", 4096),
    ("rope_type", "yarn"),
    ("truncate", False),
)


def without(*names: str) -> dict[str, Any]:
    return {name: value for name, value in CONFIG.items() if name not in names}


@pytest.mark.parametrize(("name", "layers", "experts"), [("gpt-oss-20b", 24, 32), ("gpt-oss-120b", 36, 128)])
def test_gpt_oss(name: str, layers: int, experts: int) -> None:
    spec = decoder_spec(real_checkpoint(name).config)
    attention = s.Attention(
        heads=64,
        kv_heads=8,
        head_dim=64,
        rope=s.Rope(theta=150000.0, dim=64, scaling=STRETCHED),
        scale=0.125,
        qkv_bias=True,
        out_bias=True,
        sinks=True,
        window=128,
    )
    router = s.Router(experts=experts, top_k=4, renormalize=True, bias=True)
    assert spec.layers[0].attention == attention
    assert spec.layers[0].feed_forward == s.Sparse(router=router, width=2880, act="clamped_swish", bias=True)
    assert [layer.attention.window for layer in spec.layers] == [128, None] * (layers // 2)
    assert (spec.norm, spec.tied, spec.max_position) == (s.Norm(eps=1e-5, wide=True), False, 131072)


def test_experts_are_one_stack_with_their_biases() -> None:
    shapes = expected_shapes(decoder_spec(CONFIG))
    found = {name: shape for name, shape in shapes.items() if ".layers.7.mlp." in name}
    assert found == {
        "model.layers.7.mlp.router.weight": (32, 2880),
        "model.layers.7.mlp.router.bias": (32,),
        "model.layers.7.mlp.experts.gate_up_proj": (32, 2880, 5760),
        "model.layers.7.mlp.experts.gate_up_proj_bias": (32, 5760),
        "model.layers.7.mlp.experts.down_proj": (32, 2880, 2880),
        "model.layers.7.mlp.experts.down_proj_bias": (32, 2880),
    }


def test_the_published_checkpoint_is_refused_because_it_is_quantized() -> None:
    parts = ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]
    method = {"modules_to_not_convert": parts, "quant_method": "mxfp4"}
    with pytest.raises(ModelLoadError, match=r"`quantization_config` .* quantized \('mxfp4'\)") as raised:
        decoder_spec(CONFIG | {"quantization_config": method})
    assert list(raised.value.names) == ["quantization_config"]


def test_silence_means_what_the_released_models_are() -> None:
    positions = ("rope_scaling", "rope_theta", "initial_context_length", "max_position_embeddings")
    sizes = ("head_dim", "num_key_value_heads", "num_experts_per_tok", "experts_per_token", "rms_norm_eps")
    also = ("layer_types", "sliding_window", "attention_bias", "swiglu_limit", "hidden_act")
    silent = without(*positions, *sizes, *also)
    assert decoder_spec(silent) == decoder_spec(CONFIG)
    assert decoder_spec(without("num_local_experts")).layers[0].feed_forward.router.experts == 128
    null = decoder_spec(CONFIG | {"head_dim": None, "hidden_size": 8192})
    assert null.layers[0].attention.key_dim == 128


def test_positions_may_be_stretched_further() -> None:
    for config in (CONFIG, without("rope_scaling", "rope_theta", "initial_context_length")):
        rope = decoder_spec(config, yarn_factor=64.0).layers[0].attention.rope
        assert dict(rope.scaling)["factor"] == 64.0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("swiglu_limit", 10.0),
        ("swiglu_alpha", 1.0),
        ("hidden_act", "gelu"),
        ("experts_per_token", 8),
        ("initial_context_length", 8192),
        ("num_experts_per_tok", 33),
        ("layer_types", ["chunked_attention"] * 24),
        ("sliding_window", 0),
        ("rope_scaling", {"rope_type": "unheard of"}),
        ("norm_topk_prob", True),
    ],
)
def test_what_would_compute_something_else_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ModelLoadError, match="rope_type" if field == "rope_scaling" else field):
        decoder_spec(CONFIG | {field: value})
