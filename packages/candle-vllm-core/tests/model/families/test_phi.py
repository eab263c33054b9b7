"""What parity cannot show of Phi: how published config.json files read, and what is refused."""

from typing import Any

import pytest
from real_checkpoints import real_checkpoint

from candle_vllm_core import spec as s
from candle_vllm_core.errors import ModelLoadError
from candle_vllm_core.model.families import decoder_spec

PHI_2 = real_checkpoint("phi-2").config
PHI_3_4K = real_checkpoint("phi-3-mini-4k").config
PHI_3_128K = real_checkpoint("phi-3-mini-128k").config
# What the config.json of microsoft/Phi-4-mini-instruct says of its architecture; its factors are left out.
PHI_4_MINI: dict[str, Any] = {
    "architectures": ["Phi3ForCausalLM"],
    "attention_bias": False,
    "full_attn_mod": 1,
    "hidden_act": "silu",
    "hidden_size": 3072,
    "intermediate_size": 8192,
    "interpolate_factor": 1,
    "lm_head_bias": False,
    "max_position_embeddings": 131072,
    "mlp_bias": False,
    "model_type": "phi3",
    "num_attention_heads": 24,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "original_max_position_embeddings": 4096,
    "partial_rotary_factor": 0.75,
    "rms_norm_eps": 1e-05,
    "rope_scaling": {"type": "longrope", "short_factor": [1.0] * 48, "long_factor": [2.0] * 48},
    "rope_theta": 10000.0,
    "sliding_window": 262144,
    "tie_word_embeddings": True,
    "vocab_size": 200064,
}


def attention(config: dict[str, Any], **settings: Any) -> s.Attention:
    """Of the first layer."""
    found = decoder_spec(config, **settings).layers[0].attention
    assert isinstance(found, s.Attention)
    return found


def test_phi_2() -> None:
    spec = decoder_spec(PHI_2)
    layer = spec.layers[31]
    assert (spec.head_bias, spec.tied, layer.residual, spec.max_position) == (True, False, "parallel", 2048)
    assert spec.norm == s.Norm(kind="layer", eps=1e-5, bias=True, wide=True)
    assert layer.feed_forward == s.Dense(width=10240, act="gelu_tanh", gated=False, bias=True)
    assert attention(PHI_2).rope == s.Rope(theta=10000.0, dim=32)


def test_phi_rotates_half_of_each_head_where_config_json_does_not_say() -> None:
    silent = {name: value for name, value in PHI_2.items() if name != "partial_rotary_factor"}
    assert attention(silent).rope == s.Rope(theta=10000.0, dim=40)


def test_the_window_of_phi_3() -> None:
    assert attention(PHI_3_4K).window == 2047
    assert attention(PHI_3_4K | {"sliding_window": None}).window is None
    assert attention(PHI_3_4K).rope == s.Rope(theta=10000.0, dim=96)


@pytest.mark.parametrize("length", [4096, 4097, None])
def test_phi_3_for_long_contexts_takes_its_factors_by_the_sequences_asked_for(length: int | None) -> None:
    rope = attention(PHI_3_128K, length=length).rope
    assert rope is not None
    scaling, table = dict(rope.scaling), PHI_3_128K["rope_scaling"]
    assert scaling["factors"] == tuple(table["short_factor" if length == 4096 else "long_factor"])
    assert scaling["attention_factor"] == pytest.approx(1.190238, rel=1e-6)  # sqrt(1 + ln(32) / ln(4096))
    assert decoder_spec(PHI_3_128K, length=length).max_position == 131072


def test_the_first_checkpoints_of_phi_3_call_longrope_su() -> None:
    table = {**PHI_3_128K["rope_scaling"], "type": "su"}
    table.pop("rope_type", None)
    assert decoder_spec({**PHI_3_128K, "rope_scaling": table}) == decoder_spec(PHI_3_128K)


def test_phi_3_was_trained_for_4096_tokens_where_config_json_does_not_say() -> None:
    silent = {name: value for name, value in PHI_3_128K.items() if name != "original_max_position_embeddings"}
    assert decoder_spec(silent) == decoder_spec(PHI_3_128K)


def test_phi_4_mini_rotates_three_quarters_of_each_head() -> None:
    rope = attention(PHI_4_MINI).rope
    assert rope is not None
    assert (rope.dim, len(dict(rope.scaling)["factors"])) == (96, 48)  # type: ignore[arg-type]
    assert decoder_spec(PHI_4_MINI).tied


@pytest.mark.parametrize(
    ("config", "change", "field"),
    [
        (PHI_4_MINI, {"full_attn_mod": 2}, "full_attn_mod"),
        (PHI_4_MINI, {"interpolate_factor": 4}, "interpolate_factor"),
        (PHI_4_MINI, {"lm_head_bias": True}, "lm_head_bias"),
        (PHI_4_MINI, {"attention_bias": True}, "attention_bias"),
        (PHI_4_MINI, {"partial_rotary_factor": 1.0}, "short_factor"),
        (PHI_2, {"qk_layernorm": "yes"}, "qk_layernorm"),
        (PHI_2, {"layer_norm_eps": -1.0}, "layer_norm_eps"),
        (PHI_2, {"hidden_act": "relu"}, "hidden_act"),
        (PHI_2, {"sliding_window": 7}, "sliding_window"),
    ],
)
def test_what_is_not_honoured_is_refused_by_name(config: dict[str, Any], change: dict[str, Any], field: str) -> None:
    with pytest.raises(ModelLoadError) as raised:
        decoder_spec(config | change)
    assert raised.value.names == (field,)
