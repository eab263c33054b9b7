"""What parity cannot show of SmolLM3: how its published config.json reads, and what is refused."""

from typing import Any

import pytest
from real_checkpoints import real_checkpoint

from candle_vllm_core.errors import ModelLoadError
from candle_vllm_core.model.families import decoder_spec

SMOLLM3 = dict(real_checkpoint("smollm3-3b").config)


def turning(config: dict[str, Any]) -> list[bool]:
    return [layer.attention.rope is not None for layer in decoder_spec(config).layers]


def test_every_fourth_layer_does_not_rotate() -> None:
    assert turning(SMOLLM3) == turning(SMOLLM3 | {"no_rope_layers": None}) == [True, True, True, False] * 9
    assert turning(SMOLLM3 | {"no_rope_layers": None, "no_rope_layer_interval": 2}) == [True, False] * 18


def test_the_list_of_layers_counts_more_than_the_interval_and_may_be_longer() -> None:
    assert turning(SMOLLM3 | {"no_rope_layers": [1] * 35 + [0] * 9}) == [True] * 35 + [False]


@pytest.mark.parametrize("layers", [[1] * 35, [2] * 36, [True] * 36, "1" * 36, [None] * 36])
def test_a_list_that_does_not_say_it_of_each_layer_is_named(layers: object) -> None:
    with pytest.raises(ModelLoadError, match="no_rope_layers"):
        decoder_spec(SMOLLM3 | {"no_rope_layers": layers})


def test_smollm3_3b_is_tied_and_has_no_windows() -> None:
    spec = decoder_spec(SMOLLM3)
    assert (spec.tied, spec.max_position, {layer.attention.window for layer in spec.layers}) == (True, 65536, {None})


def test_windows_that_only_one_field_knows_of_are_a_contradiction() -> None:
    slides = SMOLLM3 | {"layer_types": ["sliding_attention"] + ["full_attention"] * 35}
    for change in ({}, {"sliding_window": 512}, {"use_sliding_window": True}):
        with pytest.raises(ModelLoadError, match="layer_types"):
            decoder_spec(slides | change)
    used = decoder_spec(slides | {"sliding_window": 512, "use_sliding_window": True})
    assert [layer.attention.window for layer in used.layers] == [512] + [None] * 35
