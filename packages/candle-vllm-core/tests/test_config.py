from dataclasses import fields
from typing import Any

import pytest

from candle_vllm_core import ConfigError, EngineBuilder, EngineConfig

REFUSED: list[tuple[str, Any]] = [
    ("model_path", ""),
    ("device", "tpu"),
    ("device", "cuda:x"),
    ("device", "cpu:0"),
    ("max_batch_size", 0),
    ("max_batch_size", None),
    ("max_batch_size", True),
    ("max_sequence_length", 1),
    ("kv_cache_memory", 0),
    ("kv_cache_memory", 2**51),
    ("kv_fraction", 0),
    ("kv_fraction", 1.5),
    ("kv_fraction", float("nan")),
    ("dtype", "fp8"),
    ("kv_cache_dtype", "int8"),
    ("quantization", "q4k"),
    ("prefill_chunk_size", 0),
    ("mixed_chunk_size", 0),
    ("block_size", 0),
    ("block_size", 16.0),
    ("num_threads", 0),
    ("num_threads", 1025),
    ("yarn_scaling_factor", 1.0),
    ("yarn_scaling_factor", True),
    ("yarn_scaling_factor", float("inf")),
    ("yarn_scaling_factor", "4"),
    ("seed", 2**64),
]


@pytest.mark.parametrize(("field", "value"), REFUSED, ids=lambda value: repr(value))
def test_an_impossible_setting_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ConfigError) as raised:
        EngineConfig(**{field: value})
    assert raised.value.field == field and field in str(raised.value)


def test_the_builder_sets_every_field_and_nothing_else() -> None:
    values: dict[str, Any] = {
        "model_path": "somewhere",
        "device": "cuda:1",
        "max_batch_size": 3,
        "max_sequence_length": 99,
        "kv_cache_memory": 1 << 20,
        "kv_fraction": 0.5,
        "kv_swap_memory": 1 << 20,
        "dtype": "fp32",
        "kv_cache_dtype": "fp8",
        "quantization": "int8",
        "num_threads": 3,
        "enable_cuda_graph": False,
        "enable_chunked_prefill": False,
        "prefill_chunk_size": 7,
        "mixed_chunk_size": 5,
        "block_size": 8,
        "enable_prefix_cache": False,
        "yarn_scaling_factor": 4.0,
        "seed": 5,
    }
    assert set(values) == {field.name for field in fields(EngineConfig)}
    builder = EngineConfig.builder()
    for name, value in values.items():
        builder = getattr(builder, name)(value)
    assert builder.build() == EngineConfig(**values)


def test_a_builder_hands_its_config_to_what_it_builds() -> None:
    assert EngineBuilder(lambda config: config.block_size).block_size(8).build() == 8


def test_the_defaults_are_those_of_the_contract() -> None:
    config = EngineConfig.from_model_path("x")
    assert (config.device, config.max_batch_size, config.dtype, config.kv_fraction) == ("auto", 16, "auto", 0.6)
    assert (config.prefill_chunk_size, config.block_size, config.enable_prefix_cache) == (8192, None, True)
