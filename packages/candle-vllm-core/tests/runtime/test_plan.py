"""What is predicted of a model's memory, against what torch's allocator then counts."""

from pathlib import Path

import pytest
from allocated import allocations
from checkpoints import save_model
from null_runner import make_request
from tiny_models import save_tokenizer

from candle_vllm_core import ConfigError, EngineConfig, GenerationParams, InferenceEngine, OutOfMemoryError, plan
from candle_vllm_core.attention import native, reference, softmax
from candle_vllm_core.memory import said_bytes
from candle_vllm_core.model import native_layer
from candle_vllm_core.runtime import activations
from candle_vllm_core.runtime import plan as planning
from candle_vllm_core.runtime.kv import KVBlocks
from candle_vllm_core.runtime.runner import ModelRunner
from candle_vllm_core.runtime.scheduler import Scheduler
from candle_vllm_core.runtime.stepper import Stepper
from candle_vllm_core.weights.safetensors import SafetensorsSource

KINDS = ["llama", "llama, tied", "qwen3, tied", "gemma2", "gemma3", "qwen3-moe", "deepseek-v2", "gpt-oss", "qwen3-next"]
MEBIBYTE = 1 << 20


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = {}
    for name in KINDS:
        found[name] = tmp_path_factory.mktemp("models")
        save_model(found[name], name)
        save_tokenizer(found[name])
    return found


def config(path: Path, **settings: object) -> EngineConfig:
    known = {"model_path": path, "device": "cpu", "dtype": "fp32", "max_batch_size": 4, "block_size": 4}
    return EngineConfig(**known | {"prefill_chunk_size": 32} | settings)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("name", KINDS)
def test_weights_and_cache_take_what_was_predicted(paths: dict[str, Path], name: str, dtype: str) -> None:
    asked = config(paths[name], dtype=dtype)
    kept: list[ModelRunner] = []
    held = allocations(lambda: kept.append(ModelRunner(asked)))[-1]
    predicted = plan(asked)
    assert held == pytest.approx(predicted.weight_bytes + predicted.kv_bytes, rel=0.02)
    assert kept[0].kv_sizes.num_blocks and kept[0].info.memory is not None


def test_eight_bits_are_predicted_too(paths: dict[str, Path]) -> None:
    asked = config(paths["llama"], quantization="int8", kv_cache_memory=MEBIBYTE)
    kept: list[ModelRunner] = []
    held = allocations(lambda: kept.append(ModelRunner(asked)))[-1]
    assert held == pytest.approx(plan(asked).weight_bytes + plan(asked).kv_bytes, rel=0.02)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("name", KINDS)
def test_the_largest_step_takes_no_more_than_was_predicted(paths: dict[str, Path], name: str, dtype: str) -> None:
    asked = config(paths[name], dtype=dtype, prefill_chunk_size=1024, max_batch_size=1)
    runner = ModelRunner(asked)
    stepper = Stepper(Scheduler(KVBlocks(runner.kv_sizes), max_batch_size=1, chunk_size=1024), runner)
    peaks = []
    for number in range(2):  # the first one finds out what the library's attention can do
        prompt = [number + 5] * (runner.limits.longest - 1)
        stepper.add(make_request(number, prompt, GenerationParams(max_tokens=1), limit=runner.limits.longest))
        peaks.append(max(allocations(stepper.step)))
    predicted = plan(asked).activation_bytes
    assert 0.98 * peaks[1] <= predicted <= 1.5 * peaks[1]


def test_nothing_is_loaded_to_predict(paths: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(SafetensorsSource, "tensor")
    assert max(allocations(lambda: plan(config(paths["llama"]))), default=0) < 1024


def test_the_cache_gets_its_share_of_what_the_rest_leaves(
    paths: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    once = plan(config(paths["llama"])).overhead_bytes
    monkeypatch.setattr(planning, "free_memory", lambda device: 8 * MEBIBYTE + once)
    found = plan(config(paths["llama"], max_batch_size=4096, kv_fraction=0.5, prefill_chunk_size=64))
    left = found.free_bytes - found.weight_bytes - found.activation_bytes - found.overhead_bytes
    assert 0 < found.kv_bytes <= left // 2
    assert found.kv_bytes + found.kv_bytes // found.kv_blocks > left // 2
    assert found.longest_sequences == found.kv_tokens // found.max_sequence_length < 4096


@pytest.mark.parametrize(
    ("settings", "free", "way_out"),
    [
        ({}, 1000, "the weights alone do not fit"),
        ({"prefill_chunk_size": 1 << 20, "max_batch_size": 4096}, 3 * MEBIBYTE, "lower .* prefill_chunk_size"),
        ({"kv_cache_memory": 1 << 30}, 1 << 29, "lower kv_cache_memory or prefill_chunk_size"),
    ],
)
def test_a_model_that_cannot_fit_is_refused_before_it_is_loaded(
    paths: dict[str, Path], monkeypatch: pytest.MonkeyPatch, settings: dict[str, int], free: int, way_out: str
) -> None:
    monkeypatch.setattr(planning, "free_memory", lambda device: free)
    monkeypatch.delattr(SafetensorsSource, "tensor")
    asked = config(paths["llama"], **settings)
    for opening in (plan, InferenceEngine):
        with pytest.raises(OutOfMemoryError, match=way_out) as raised:
            opening(asked)
        assert (raised.value.bytes_available, raised.value.device) == (free, "cpu")
        assert raised.value.bytes_needed > free


def test_one_line_says_it_all(paths: dict[str, Path]) -> None:
    found = plan(config(paths["llama"], kv_cache_memory=MEBIBYTE))
    counted = found.weight_bytes + found.kv_bytes + found.activation_bytes
    assert found.total_bytes == counted + found.overhead_bytes
    tokens = f"{found.kv_blocks:,} blocks of 4, {found.kv_tokens:,} tokens, {found.longest_sequences} sequences of"
    assert tokens in str(found) and "free on cpu: weights" in str(found) and "\n" not in str(found)
    assert f"once for the process {said_bytes(found.overhead_bytes)}" in str(found)


def test_what_the_config_asks_beyond_the_model_is_refused_in_the_plan_too(paths: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match="made for"):
        plan(config(paths["llama"], max_sequence_length=1 << 20))


def test_what_is_predicted_of_is_what_is_computed_with() -> None:
    """The prediction is made without torch, so it repeats what stands beside the code that needs torch."""
    assert (activations.QUERY_TILE, activations.FEWEST_ROWS) == (reference.QUERY_TILE, softmax.FEWEST_ROWS)
    assert activations.KEYS_AT_ONCE == softmax.KEYS_AT_ONCE
    assert (activations.SPLIT, activations.MOST_KEY_DIM) == (native.SPLIT, native.MOST_DIM)
    assert activations.MOST_NATIVE_DIM == native_layer.MOST_DIM
    assert set(activations.NATIVE_ACTIVATIONS) == set(native_layer.ACTIVATIONS)
