"""What parity cannot show of StableLM: how published config.json files read, and what is refused."""

from typing import Any

import pytest
from real_checkpoints import real_checkpoint

from candle_vllm_core import spec as s
from candle_vllm_core.errors import ModelLoadError
from candle_vllm_core.model.build import expected_shapes
from candle_vllm_core.model.families import decoder_spec

SMALL = real_checkpoint("stablelm-2-1.6b").config
LARGE = real_checkpoint("stablelm-2-12b").config
NORM = s.Norm(kind="layer", eps=1e-5, bias=True, wide=True)


def layer(config: dict[str, Any]) -> tuple[s.Layer, s.Attention]:
    """The first one, and its attention."""
    found = decoder_spec(config).layers[0]
    assert isinstance(found.attention, s.Attention)
    return found, found.attention


def test_stablelm_2() -> None:
    found, attention = layer(SMALL)
    assert (found.residual, attention.qkv_bias, attention.out_bias, attention.qk_norm) == ("pre", True, False, None)
    assert attention.rope == s.Rope(theta=10000.0, dim=16)
    assert decoder_spec(SMALL).norm == NORM


def test_the_largest_stablelm_2_has_a_norm_for_each_head_and_both_parts_beside_each_other() -> None:
    found, attention = layer(LARGE)
    head_norm = s.Norm(kind="layer", eps=1e-5, wide=True)
    assert (found.residual, attention.qkv_bias, attention.kv_heads) == ("parallel", False, 8)
    assert attention.qk_norm == s.HeadNorm(norm=head_norm, heads="each")
    shapes = expected_shapes(decoder_spec(LARGE))
    assert shapes["model.layers.39.self_attn.k_layernorm.norms.7.weight"] == (160,)
    assert not [name for name in shapes if "post_attention_layernorm" in name]


def test_a_quarter_of_each_head_is_rotated_where_config_json_does_not_say() -> None:
    silent = {name: value for name, value in LARGE.items() if name != "partial_rotary_factor"}
    assert decoder_spec(silent) == decoder_spec(LARGE)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"use_qkv_bias": 1}, "use_qkv_bias"),
        ({"use_parallel_residual": "yes"}, "use_parallel_residual"),
        ({"partial_rotary_factor": 0.01}, "partial_rotary_factor"),
        ({"attention_bias": True}, "attention_bias"),
        ({"rope_pct": 0.5}, "rope_pct"),
    ],
)
def test_what_is_not_honoured_is_refused_by_name(change: dict[str, Any], field: str) -> None:
    with pytest.raises(ModelLoadError) as raised:
        decoder_spec({**SMALL, **change})
    assert raised.value.names == (field,)
