"""What models of several kinds keep of their sequences, in engines that run them."""

import logging
import random
from pathlib import Path

import pytest
from checkpoints import save_model
from tiny_models import open_engine, save_tokenizer

from candle_vllm_core import ConfigError, GenerationParams, InferenceEngine, InferenceRequest

GREEDY = GenerationParams(temperature=0, max_tokens=40, ignore_eos=True)
NUMBER = 4  # bytes of float32


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = {}
    for name in ("llama", "mistral, window 7", "gemma3", "deepseek-v2", "qwen3-next"):
        found[name] = tmp_path_factory.mktemp("models")
        save_model(found[name], name)
        save_tokenizer(found[name])
    return found


def prompts(count: int, seed: int = 4) -> list[list[int]]:
    draw = random.Random(seed)
    return [[draw.randrange(97) for _ in range(draw.choice([1, 5, 16, 33, 60]))] for _ in range(count)]


def blocks_used(engine: InferenceEngine, prompt: list[int], count: int) -> list[int]:
    """After each of the steps that draw so many tokens but the last, which gives all blocks back."""
    engine.add_request(InferenceRequest(prompt=prompt, params=GenerationParams(max_tokens=count, ignore_eos=True)))
    used = []
    while not any(update.output for update in engine.step()):
        used.append(engine.stats().kv_blocks_used)
    return used


def touched(first: int, last: int) -> int:
    """Blocks of 4 that the tokens from `first` to `last` lie in."""
    return last // 4 - max(first, 0) // 4 + 1


def test_the_kv_of_a_sequence_stops_growing_at_the_window(paths: dict[str, Path]) -> None:
    with open_engine(paths["mistral, window 7"]) as engine:
        used = blocks_used(engine, [5], 100)
    assert used == [touched(at - 6, at) for at in range(99)]
    assert max(used) == 3


def test_layers_without_a_window_go_on_growing(paths: dict[str, Path]) -> None:
    with open_engine(paths["gemma3"]) as engine:
        assert blocks_used(engine, [5], 100) == [touched(at - 8, at) + touched(0, at) for at in range(99)]
    with open_engine(paths["llama"]) as engine:
        assert blocks_used(engine, [5], 100) == [touched(0, at) for at in range(99)]


@pytest.mark.parametrize(
    ("name", "token", "beyond", "state"),
    [
        ("llama", 3 * 2 * 2 * 8, 3 * 2 * 2 * 8, 0),
        ("mistral, window 7", 3 * 2 * 2 * 8, 0, 0),
        ("gemma3", 3 * 2 * 2 * 12, 2 * 2 * 12, 0),
        ("deepseek-v2", 3 * (20 + 8), 3 * (20 + 8), 0),
        ("qwen3-next", 2 * 2 * 16, 2 * 2 * 16, 3 * (4 * 12 * 20 + (2 * 2 * 12 + 4 * 20) * 3)),
    ],
)
def test_model_info_gives_the_bytes_of_the_formula(
    paths: dict[str, Path], name: str, token: int, beyond: int, state: int
) -> None:
    with open_engine(paths[name]) as engine:
        info = engine.model_info()
    found = (info.kv_bytes_per_token, info.kv_bytes_per_token_beyond_window, info.state_bytes_per_sequence)
    assert found == (token * NUMBER, beyond * NUMBER, state * NUMBER)


def test_a_fingerprint_tells_files_and_how_they_are_read_apart(paths: dict[str, Path]) -> None:
    opened = [
        (paths["gemma3"], "fp32"),
        (paths["gemma3"], "fp32"),
        (paths["gemma3"], "bf16"),
        (paths["deepseek-v2"], "fp32"),
    ]
    prints = []
    for path, dtype in opened:
        with open_engine(path, dtype=dtype) as engine:
            prints.append(engine.model_info().fingerprint)
    assert prints[0] == prints[1] and len(set(prints)) == 3


@pytest.mark.parametrize("name", ["mistral, window 7", "gemma3", "deepseek-v2", "qwen3-next"])
def test_little_memory_changes_no_answer(paths: dict[str, Path], name: str) -> None:
    asked = prompts(16)
    with open_engine(paths[name]) as engine:
        expected = [output.tokens for output in engine.generate_batch(asked, GREEDY)]
        info = engine.model_info()
    memory = info.kv_bytes_per_token * 120 + info.state_bytes_per_sequence * 16
    with open_engine(paths[name], kv_cache_memory=memory) as engine:
        assert [output.tokens for output in engine.generate_batch(asked, GREEDY)] == expected
        stats = engine.stats()
    assert stats.kv_blocks_used == 0
    assert stats.preemptions > 0 or info.kv_bytes_per_token_beyond_window == 0


def test_a_prompt_seen_before_is_not_computed_again_whatever_slid_out(paths: dict[str, Path]) -> None:
    prompt = [number % 90 for number in range(50)]
    with open_engine(paths["gemma3"]) as engine:
        first, second = engine.generate_sync(prompt, GREEDY), engine.generate_sync(prompt, GREEDY)
        third = engine.generate_sync([*prompt, *first.tokens, 3], GREEDY)
    assert [answer.stats.cached_tokens for answer in (first, second, third)] == [0, 48, 88]
    assert first.tokens == second.tokens
    with open_engine(paths["gemma3"], enable_prefix_cache=False) as engine:
        assert engine.generate_sync([*prompt, *first.tokens, 3], GREEDY).tokens == third.tokens


@pytest.mark.parametrize("asked", [True, False])
def test_a_model_with_recurrent_states_says_that_it_has_no_prefix_cache(
    paths: dict[str, Path], asked: bool, caplog: pytest.LogCaptureFixture
) -> None:
    prompt = [number % 90 for number in range(50)]
    with (
        caplog.at_level(logging.INFO, "candle_vllm_core"),
        open_engine(paths["qwen3-next"], enable_prefix_cache=asked) as engine,
    ):
        first, second = engine.generate_sync(prompt, GREEDY), engine.generate_sync(prompt, GREEDY)
    assert first.tokens == second.tokens and second.stats.cached_tokens == 0
    assert ("there is no prefix cache" in caplog.text) is asked


def test_memory_without_room_for_the_states_is_refused(paths: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match="beside 16 recurrent states of .* lower max_batch_size"):
        open_engine(paths["qwen3-next"], kv_cache_memory=200_000)
    with open_engine(paths["qwen3-next"], kv_cache_memory=200_000, max_batch_size=2) as engine:
        assert len(engine.generate_sync([5], GREEDY).tokens) == 40
