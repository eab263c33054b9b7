"""What parity cannot show of Cohere's models: how published config.json files read, and what is refused."""

from typing import Any

import pytest
from real_checkpoints import real_checkpoint

from candle_vllm_core import spec as s
from candle_vllm_core.errors import ModelLoadError
from candle_vllm_core.model.families import decoder_spec

COMMAND_R = real_checkpoint("command-r").config
COMMAND_R7B = real_checkpoint("command-r7b").config
NORM = s.Norm(kind="layer", eps=1e-5, wide=True)


def attentions(config: dict[str, Any]) -> list[s.Attention]:
    """Of all layers."""
    return [found for found in decoder_spec(config).attentions() if isinstance(found, s.Attention)]


def test_command_r() -> None:
    spec, attention = decoder_spec(COMMAND_R), attentions(COMMAND_R)[0]
    assert (spec.norm, spec.tied, spec.logit_scale, spec.layers[0].residual) == (NORM, True, 0.0625, "parallel")
    assert attention.rope == s.Rope(theta=8e6, dim=128, interleaved=True)
    assert attention.qk_norm is None


def test_command_r_is_made_for_as_many_tokens_as_it_says_beside_max_position_embeddings() -> None:
    silent = {name: value for name, value in COMMAND_R.items() if name != "model_max_length"}
    assert [decoder_spec(config).max_position for config in (COMMAND_R, silent)] == [131072, 8192]


def test_command_r_plus_has_a_norm_for_each_head() -> None:
    assert attentions({**COMMAND_R, "use_qk_norm": True})[0].qk_norm == s.HeadNorm(norm=NORM, heads="each")


def test_every_fourth_layer_of_command_r7b_sees_everything_without_positions() -> None:
    local = s.Rope(theta=50000.0, dim=128, interleaved=True)
    found = [(attention.window, attention.rope) for attention in attentions(COMMAND_R7B)]
    assert found == [*[(4096, local)] * 3, (None, None)] * 8
    assert decoder_spec(COMMAND_R7B).logit_scale == 0.25


def test_the_pattern_of_layers_is_said_in_three_ways() -> None:
    silent = {name: COMMAND_R7B[name] for name in COMMAND_R7B if name not in ("sliding_window_pattern", "layer_switch")}
    types = ["full_attention" if index % 4 == 3 else "sliding_attention" for index in range(32)]
    ways: list[dict[str, Any]] = [{}, {"sliding_window_pattern": 4}, {"layer_switch": 4}, {"layer_types": types}]
    assert {decoder_spec(silent | way) for way in ways} == {decoder_spec(COMMAND_R7B)}
    assert [attention.window for attention in attentions(silent | {"layer_switch": 2})] == [4096, None] * 16


@pytest.mark.parametrize(
    ("config", "change", "field"),
    [
        (COMMAND_R, {"logit_scale": 0.0}, "logit_scale"),
        (COMMAND_R, {"logit_scale": float("inf")}, "logit_scale"),
        (COMMAND_R, {"model_max_length": 10**30}, "model_max_length"),
        (COMMAND_R, {"sliding_window": 4096}, "sliding_window"),
        (COMMAND_R, {"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        (COMMAND_R7B, {"sliding_window": None}, "sliding_window"),
        (COMMAND_R7B, {"sliding_window_pattern": 0}, "sliding_window_pattern"),
        (COMMAND_R7B, {"layer_switch": 2}, "layer_switch"),
        (COMMAND_R7B, {"rotary_pct": 0.5}, "rotary_pct"),
        (COMMAND_R7B, {"position_embedding_type": "alibi"}, "position_embedding_type"),
        (COMMAND_R7B, {"use_parallel_block": False}, "use_parallel_block"),
        (COMMAND_R7B, {"use_qk_norm": True}, "use_qk_norm"),
        (COMMAND_R7B, {"order_of_interleaved_layers": "global_attn_first"}, "order_of_interleaved_layers"),
    ],
)
def test_what_is_not_honoured_is_refused_by_name(config: dict[str, Any], change: dict[str, Any], field: str) -> None:
    with pytest.raises(ModelLoadError) as raised:
        decoder_spec({**config, **change})
    assert raised.value.names == (field,)
