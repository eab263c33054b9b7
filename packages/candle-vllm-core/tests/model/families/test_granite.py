"""What parity cannot show of Granite: how a published config.json reads, and what is refused."""

import pytest
from real_checkpoints import real_checkpoint

from candle_vllm_core.errors import ModelLoadError
from candle_vllm_core.model.families import decoder_spec

GRANITE = real_checkpoint("granite-3.3-8b").config
FACTORS = ("attention_multiplier", "embedding_multiplier", "logits_scaling", "residual_multiplier")


def test_granite_3_3_8b() -> None:
    spec = decoder_spec(GRANITE)
    assert {(layer.attention.scale, layer.residual_scale) for layer in spec.layers} == {(1 / 128, 0.22)}
    assert (spec.embed_scale, spec.logit_scale, spec.tied, spec.norm.eps) == (12.0, 1 / 16, True, 1e-5)


def test_a_factor_that_is_not_said_is_one() -> None:
    silent = decoder_spec({name: value for name, value in GRANITE.items() if name not in FACTORS})
    assert {(layer.attention.scale, layer.residual_scale) for layer in silent.layers} == {(1.0, 1.0)}
    assert (silent.embed_scale, silent.logit_scale) == (1.0, 1.0)


@pytest.mark.parametrize("value", [0, -1.0, 1e9, "12", True, float("nan")])
@pytest.mark.parametrize("factor", FACTORS)
def test_a_factor_that_no_model_can_have_is_named(factor: str, value: object) -> None:
    with pytest.raises(ModelLoadError) as raised:
        decoder_spec({**GRANITE, factor: value})
    assert raised.value.names == (factor,)
