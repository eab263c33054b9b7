from typing import Any

import pytest

from candle_vllm_openai import AdapterConfig, ConfigError


@pytest.mark.parametrize(
    "field", ["temperature", "top_p", "top_k", "min_p", "repetition_penalty", "frequency_penalty", "presence_penalty"]
)
def test_a_default_out_of_its_bounds_is_named(field: str) -> None:
    bad: dict[str, Any] = {field: -5}
    with pytest.raises(ConfigError) as caught:
        AdapterConfig(**bad)
    assert caught.value.field == field


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="model_name"):
        AdapterConfig(model_name="")


def test_everything_may_be_left_out() -> None:
    assert AdapterConfig() == AdapterConfig(model_name=None, temperature=None)
