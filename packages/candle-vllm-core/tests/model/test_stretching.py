"""Positions that are stretched as far as sequences will be long, or as the caller asks: lengths and `yarn_factor`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import save_model
from paged import CPU, in_chunks

from candle_vllm_core.errors import ModelLoadError
from candle_vllm_core.model.build import build_decoder
from candle_vllm_core.model.families import decoder_spec
from candle_vllm_core.model.fields import MAX_POSITION, Fields
from candle_vllm_core.model.positions import longest, with_yarn
from candle_vllm_core.spec import Decoder, Rope
from candle_vllm_core.weights.source import open_source

Table = Mapping[str, Any]
HEAD_DIM = 64
SHORT, LONG = ([1.0 + factor * pair for pair in range(HEAD_DIM // 2)] for factor in (0.02, 0.7))
LONGROPE = {"rope_type": "longrope", "short_factor": SHORT, "long_factor": LONG}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LLAMA = {
    "hidden_size": 256,
    "num_attention_heads": 4,
    "max_position_embeddings": 8192,
    "architectures": ["LlamaForCausalLM"],
    "head_dim": HEAD_DIM,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "vocab_size": 1000,
    "rope_theta": 10000.0,
}


def first_rope(spec: Decoder) -> Rope:
    """Of the first layer."""
    found: Rope = spec.layers[0].attention.rope  # type: ignore[assignment, union-attr]
    return found


def test_longrope_takes_its_factors_by_the_longest_sequence_that_will_be_asked_for() -> None:
    config = LLAMA | {"rope_scaling": LONGROPE, "original_max_position_embeddings": 1024}
    found = {length: dict(first_rope(decoder_spec(config, length=length)).scaling) for length in (2, 1024, 1025, None)}
    factors = {length: list(table["factors"]) for length, table in found.items()}  # type: ignore[arg-type]
    assert factors == {2: SHORT, 1024: SHORT, 1025: LONG, None: LONG}
    # Both are as sharp: that is said by how far the model can be stretched, not by how far it is.
    assert len({table["attention_factor"] for table in found.values()}) == 1


def test_dynamic_stretches_the_base_by_the_longest_sequence_that_will_be_asked_for() -> None:
    config = LLAMA | {"rope_scaling": {"type": "dynamic", "factor": 2.0}}
    theta = {length: first_rope(decoder_spec(config, length=length)).theta for length in (2, 8192, 12288, 16384, None)}
    assert theta[2] == theta[8192] == 10000.0
    assert theta[12288] == pytest.approx(10000.0 * 2.0 ** (64 / 62))
    assert theta[16384] == theta[None] == pytest.approx(10000.0 * 3.0 ** (64 / 62))
    assert decoder_spec(config).max_position == 16384


@pytest.mark.parametrize(("length", "original"), [(41, 24), (41, 41), (20, 20)])
def test_a_model_with_longrope_answers_as_transformers_for_its_longest_sequence(
    length: int, original: int, tmp_path: Path
) -> None:
    assert answer_error(tmp_path, "phi3, longrope, long", length, original_max_position_embeddings=original) <= 1e-5


@pytest.mark.parametrize("length", [41, 32, 20])
def test_a_model_with_dynamic_rope_answers_as_transformers_for_its_longest_sequence(
    length: int, tmp_path: Path
) -> None:
    table = {"rope_type": "dynamic", "rope_theta": 500.0, "factor": 2.5}
    changes = {"max_position_embeddings": 32, "rope_parameters": table}
    assert answer_error(tmp_path, "stablelm, biases", length, **changes) <= 1e-5


def answer_error(path: Path, name: str, length: int, **changes: Any) -> float:
    model = save_model(path, name, **changes)
    ids = torch.randint(0, 97, (length,), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        right = model(ids[None]).logits[0]
    source = open_source(path)
    decoder = build_decoder(decoder_spec(source.config, length=length), source, device=CPU, dtype=torch.float32)
    found = in_chunks(decoder, ids, [7, 1, length - 8])
    return ((found - right).abs().max() / right.abs().max()).item()


STRETCHED = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8192}
DEEPSEEK = {"type": "yarn", "beta_fast": 32, "beta_slow": 1, "factor": 40, "mscale": 1.0, "mscale_all_dim": 1.0}


@pytest.mark.parametrize(
    ("config", "stretched"),
    [
        (LLAMA, LLAMA | {"rope_scaling": STRETCHED}),
        (LLAMA | {"rope_scaling": {"type": "default"}}, LLAMA | {"rope_scaling": STRETCHED}),
        (
            LLAMA | {"rope_theta": None, "rope_parameters": {"rope_type": "default", "rope_theta": 300.0}},
            LLAMA | {"rope_theta": 300.0, "rope_scaling": STRETCHED},
        ),
        (LLAMA | {"rope_scaling": {"type": "yarn", "factor": 2.0}}, LLAMA | {"rope_scaling": STRETCHED}),
        (
            LLAMA
            | {
                "max_position_embeddings": 163840,
                "rope_scaling": DEEPSEEK | {"original_max_position_embeddings": 8192},
            },
            LLAMA | {"rope_scaling": DEEPSEEK | STRETCHED},
        ),
        (
            LLAMA | {"original_max_position_embeddings": 4096},
            LLAMA | {"rope_parameters": STRETCHED | {"rope_theta": 10000.0}, "rope_theta": None},
        ),
    ],
)
def test_yarn_factor_is_a_config_that_says_yarn_itself(config: Table, stretched: Table) -> None:
    found = decoder_spec(config, yarn_factor=4.0)
    assert found == decoder_spec(stretched)
    assert found.max_position == 4 * 8192


def test_yarn_factor_reaches_the_text_part_of_a_config() -> None:
    inner = with_yarn({"text_config": LLAMA, "vision_config": {}}, 4.0)
    assert inner == {"text_config": with_yarn(LLAMA, 4.0), "vision_config": {}}


@pytest.mark.parametrize(
    "change",
    [
        {"rope_scaling": {"type": "linear", "factor": 2.0}},
        {"rope_scaling": LLAMA3 | {"original_max_position_embeddings": 1024}},
        {"rope_scaling": LONGROPE},
        {"rope_parameters": {"full_attention": {}, "sliding_attention": {}}},
    ],
)
def test_yarn_factor_is_refused_where_positions_are_stretched_otherwise(change: Table) -> None:
    with pytest.raises(ModelLoadError) as raised:
        decoder_spec(LLAMA | dict(change), yarn_factor=4.0)
    assert raised.value.names == ("yarn_scaling_factor",)


def test_the_longest_sequence_counts_how_far_positions_are_stretched() -> None:
    tables: list[Table] = [
        {"rope_scaling": STRETCHED | {"original_max_position_embeddings": 4096}},
        {"rope_scaling": STRETCHED | {"original_max_position_embeddings": 1024}},
        {"rope_scaling": {"type": "linear", "factor": 4.0}},
        {"rope_scaling": {"type": "dynamic", "factor": 4.0}},
        {"rope_scaling": {"type": "dynamic", "factor": 0.5}},
        {"rope_scaling": {"type": "dynamic", "factor": 1e6}, "max_position_embeddings": 10**6},
        {"rope_scaling": LONGROPE, "original_max_position_embeddings": 1024},
        {"max_position_embeddings": None},
    ]
    found = [longest(Fields(LLAMA | dict(table)), 2048) for table in tables]
    assert found == [16384, 8192, 8192, 32768, 8192, MAX_POSITION, 8192, 2048]
