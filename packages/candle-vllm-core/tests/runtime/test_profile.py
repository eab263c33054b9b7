"""The KV cache of a device that counts its memory: sized from what the weights leave and the largest step takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from allocated import allocations
from checkpoints import save_model
from recorded import record_on_a_cpu
from tiny_models import open_engine, save_tokenizer

from candle_vllm_core import EngineConfig, GenerationParams, OutOfMemoryError, plan
from candle_vllm_core.runtime import runner
from candle_vllm_core.runtime.graphs import DecodeGraphs
from candle_vllm_core.runtime.kv_memory import Load
from candle_vllm_core.runtime.profile import _new_tokens, counted_memory, largest_step
from candle_vllm_core.runtime.runner import ModelRunner

KINDS = ["llama", "gemma3", "qwen3-moe", "deepseek-v2", "gpt-oss", "qwen3-next"]
MEBIBYTE = 1 << 20


class Counted:
    """A device on which so much is left beside the weights."""

    def __init__(self, left: int, peak: int | None = None) -> None:
        self.left, self.peak = left, peak
        self.worked = 0

    def free(self) -> int:
        return self.left

    def peak_of(self, work: Callable[[], None]) -> int:
        self.worked += 1
        found = max(allocations(work), default=0)
        return found if self.peak is None else self.peak


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = {}
    for name in KINDS:
        found[name] = tmp_path_factory.mktemp("models")
        save_model(found[name], name)
        save_tokenizer(found[name])
    return found


def test_a_cpu_does_not_count() -> None:
    assert counted_memory(torch.device("cpu")) is None


@pytest.mark.parametrize(
    ("sequences", "chunk", "expected"), [(4, 10, [7, 1, 1, 1]), (1, 10, [10]), (4, 2, [1, 1]), (4, 4, [1, 1, 1, 1])]
)
def test_the_largest_step_has_all_tokens_and_all_sequences(sequences: int, chunk: int, expected: list[int]) -> None:
    load = Load(sequences=sequences, length=100, chunk=chunk, block_size=4)
    assert _new_tokens(load) == expected


@pytest.mark.parametrize("name", KINDS)
def test_the_largest_step_takes_about_what_was_predicted(paths: dict[str, Path], name: str) -> None:
    config = EngineConfig(
        model_path=paths[name], device="cpu", dtype="fp32", max_batch_size=4, block_size=4, prefill_chunk_size=200
    )
    loaded = ModelRunner(config)
    load = Load(sequences=4, length=loaded.limits.max_sequence_length, chunk=200, block_size=4)

    def work() -> None:
        largest_step(loaded._model, loaded._sampler, loaded._model.spec, load, torch.float32, torch.device("cpu"))

    work()  # the first one finds out what the library's attention can do
    predicted = plan(config).activation_bytes
    assert 0.3 * predicted <= Counted(0).peak_of(work) <= 1.3 * predicted


def opened(path: Path, patch: pytest.MonkeyPatch, counted: Counted, **settings: object) -> ModelRunner:
    patch.setattr(runner, "counted_memory", lambda device: counted)
    known = {"model_path": path, "device": "cpu", "dtype": "fp32", "max_batch_size": 64, "prefill_chunk_size": 64}
    return ModelRunner(EngineConfig(**known | settings))


@pytest.mark.parametrize("name", KINDS)
def test_the_cache_gets_its_share_of_what_is_left(
    paths: dict[str, Path], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = opened(paths[name], monkeypatch, Counted(6 * MEBIBYTE, peak=2 * MEBIBYTE), kv_fraction=0.5)
    memory = loaded.info.memory
    assert memory is not None and memory.activation_bytes == 2 * MEBIBYTE
    assert memory.free_bytes == 6 * MEBIBYTE + memory.weight_bytes
    assert 0 < memory.kv_bytes <= 2 * MEBIBYTE
    assert loaded._backend.kv_bytes == memory.kv_bytes, "and that is what is made"
    assert 2 * MEBIBYTE - memory.kv_bytes < 2 * MEBIBYTE // max(min(loaded.kv_sizes.num_blocks, default=1), 1) + 70_000


@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_what_recorded_steps_take_is_no_longer_the_caches(
    paths: dict[str, Path], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its share is of what weights, the largest step and recorded steps leave."""
    record_on_a_cpu(monkeypatch)
    left, peak = 9 * MEBIBYTE, MEBIBYTE
    memory = opened(paths[name], monkeypatch, Counted(left, peak), kv_fraction=0.5).info.memory
    assert memory is not None and memory.activation_bytes == peak
    recorded = memory.graph_bytes - peak
    assert recorded > 64 * 97 * 4, "logits, and what is nobody's"
    assert memory.kv_bytes <= (left - peak - memory.graph_bytes) // 2
    assert "recorded steps" in str(memory) and memory.total_bytes > memory.weight_bytes + memory.kv_bytes + 2 * peak
    without = opened(paths[name], monkeypatch, Counted(left, peak), kv_fraction=0.5, enable_cuda_graph=False)
    assert without.info.memory is not None and without.info.memory.graph_bytes == 0
    assert without.info.memory.kv_bytes > memory.kv_bytes


def test_where_recorded_steps_leave_no_room_none_is_recorded(
    paths: dict[str, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    record_on_a_cpu(monkeypatch)
    loaded = opened(paths["llama"], monkeypatch, Counted(3 * MEBIBYTE, 2 * MEBIBYTE))
    assert "no steps are recorded" in caplog.text
    assert loaded._graphs is None and not loaded.record_next() and loaded.kv_sizes.num_blocks[0] > 0
    assert loaded.info.memory is not None and loaded.info.memory.graph_bytes == 0
    assert loaded._backend.kv_bytes == loaded.info.memory.kv_bytes, "no block is nobody's"


def test_more_room_gives_more_blocks_and_a_larger_peak_fewer(
    paths: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = [
        opened(paths["llama"], monkeypatch, Counted(left * MEBIBYTE, peak * MEBIBYTE)).kv_sizes.num_blocks[0]
        for left, peak in ((6, 3), (6, 1), (9, 1))
    ]
    assert blocks == sorted(set(blocks))


def test_what_is_asked_for_is_made_if_it_fits(paths: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = opened(paths["llama"], monkeypatch, Counted(6 * MEBIBYTE, MEBIBYTE), kv_cache_memory=MEBIBYTE)
    assert loaded.info.memory is not None and loaded.info.memory.kv_bytes <= MEBIBYTE
    with pytest.raises(OutOfMemoryError, match="lower kv_cache_memory or prefill_chunk_size"):
        opened(paths["llama"], monkeypatch, Counted(6 * MEBIBYTE, MEBIBYTE), kv_cache_memory=6 * MEBIBYTE)


def test_a_device_without_memory_for_the_largest_step_is_opened_with_what_was_predicted(
    paths: dict[str, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Full(Counted):
        def peak_of(self, work: Callable[[], None]) -> int:
            raise torch.OutOfMemoryError("CUDA out of memory")

    loaded = opened(paths["llama"], monkeypatch, Full(64 * MEBIBYTE))
    assert "will be in parts" in caplog.text and loaded.kv_sizes.num_blocks[0] > 0


@pytest.mark.parametrize("part", ["__init__", "largest"])
def test_what_recorded_steps_compute_in_is_predicted_where_it_cannot_be_measured(
    paths: dict[str, Path], part: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    record_on_a_cpu(monkeypatch)
    measured = opened(paths["llama"], monkeypatch, Counted(64 * MEBIBYTE, peak=5)).info.memory
    failed: list[str] = []
    right = getattr(DecodeGraphs, part)

    def once(*arguments: Any, **options: Any) -> Any:
        if not failed:
            failed.append(part)
            raise torch.OutOfMemoryError("CUDA out of memory")
        return right(*arguments, **options)

    monkeypatch.setattr(DecodeGraphs, part, once)
    loaded = opened(paths["llama"], monkeypatch, Counted(64 * MEBIBYTE, peak=5))
    assert failed and "will be in parts" in caplog.text and loaded._graphs is not None
    assert loaded.info.memory is not None and measured is not None
    assert loaded.info.memory.graph_bytes > measured.graph_bytes > 5


def test_a_step_that_finds_no_memory_fails_no_request(paths: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    params = GenerationParams(temperature=0, max_tokens=8, ignore_eos=True, prompt_logprobs=1)
    prompts = [[number + 5] * (number * 7 + 1) for number in range(6)]
    with open_engine(paths["llama"]) as engine:
        expected = [(answer.tokens, answer.prompt_logprobs) for answer in engine.generate_batch(prompts, params)]
    failures = []
    with open_engine(paths["llama"]) as engine:
        model = engine._loop._required_stepper()._runner._model
        head = model.head.forward

        def scarce(hidden: torch.Tensor) -> torch.Tensor:
            if len(hidden) > 2:
                failures.append(len(hidden))
                raise torch.OutOfMemoryError("CUDA out of memory")
            found: torch.Tensor = head(hidden)
            return found

        monkeypatch.setattr(model.head, "forward", scarce)
        answers = engine.generate_batch(prompts, params)
        assert engine.stats().kv_blocks_used == 0
    assert failures and [(answer.tokens, answer.prompt_logprobs) for answer in answers] == expected
