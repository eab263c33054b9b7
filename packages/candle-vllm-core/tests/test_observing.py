"""What an engine with a model counts, tells and refuses, and what it need not compute again."""

import asyncio
import threading
from pathlib import Path

import pytest

from candle_vllm_core import (
    CapacityError,
    EngineConfig,
    EngineEvent,
    FinishReason,
    FirstToken,
    GenerationParams,
    InferenceEngine,
    RequestFinished,
    RequestQueued,
    RequestStarted,
    ScriptedEngine,
    StepFinished,
)

GREEDY = GenerationParams(temperature=0, max_tokens=10, ignore_eos=True)


def opened(path: Path, **settings: object) -> InferenceEngine:
    return InferenceEngine(
        EngineConfig(**{"model_path": path, "device": "cpu", "dtype": "fp32", "block_size": 4} | settings)
    )


def test_events_are_told_on_the_engines_thread_until_their_hook_leaves(tiny_llama: Path) -> None:
    events: list[EngineEvent] = []
    threads: set[str] = set()

    def hook(event: EngineEvent) -> None:
        events.append(event)
        threads.add(threading.current_thread().name)

    with opened(tiny_llama) as engine:
        leave = engine.subscribe(hook)
        output = engine.generate_sync([5, 6, 7], GREEDY)
        engine.model_info()
        engine._loop.call(leave)
        told = len(events)
        engine.generate_sync([5, 6, 7], GREEDY)
        assert len(events) == told
    assert threads == {"candle-vllm-engine"}
    kinds = [type(event) for event in events if not isinstance(event, StepFinished)]
    assert kinds == [RequestQueued, RequestStarted, FirstToken, RequestFinished]
    [finished] = [event for event in events if isinstance(event, RequestFinished)]
    assert (finished.finish_reason, finished.stats) == (FinishReason.LENGTH, output.stats)
    steps = [event for event in events if isinstance(event, StepFinished)]
    assert [step.num_tokens for step in steps] == [3, *[1] * 9] and all(step.seconds > 0 for step in steps)


def test_stats_count_requests_tokens_and_how_long_they_took(tiny_llama: Path) -> None:
    with opened(tiny_llama) as engine:
        before = engine.stats()
        outputs = engine.generate_batch([[5, 6, 7], [8]], GREEDY)
        stats = engine._loop.call(engine.stats)
    assert (before.generated_tokens, before.first_token_seconds.count) == (0, 0)
    assert (stats.generated_tokens, stats.prompt_tokens, stats.prefix_lookup_tokens) == (20, 4, 4)
    assert (stats.first_token_seconds.count, stats.inter_token_seconds.count, stats.queue_seconds.count) == (2, 18, 2)
    waited = sum(output.stats.time_to_first_token_ms for output in outputs) / 1000
    assert stats.first_token_seconds.sum == pytest.approx(waited, rel=0.2, abs=0.01)
    assert stats.queue_seconds.sum <= stats.first_token_seconds.sum
    assert (stats.step_seconds, stats.stuck) == (0.0, False)


async def test_answers_to_one_prompt_at_once_compute_it_once_and_are_those_it_gets_alone(tiny_llama: Path) -> None:
    prompt = [5 + number % 40 for number in range(50)]
    params = [GenerationParams(seed=number, max_tokens=12) for number in range(6)]
    with opened(tiny_llama, enable_prefix_cache=False) as engine:
        alone = [engine.generate_sync(prompt, each) for each in params]
    async with opened(tiny_llama, prefill_chunk_size=16) as engine:
        together = await asyncio.gather(*(engine.generate(prompt, each) for each in params))
        assert engine.stats().prompt_tokens == 50 + 5 * 2
    assert [output.stats.cached_tokens for output in together] == [0, *[48] * 5]
    assert [output.tokens for output in together] == [output.tokens for output in alone]


def test_who_has_another_salt_shares_nothing_and_gets_the_same_answer(tiny_llama: Path) -> None:
    prompt = [5 + number % 40 for number in range(50)]
    with opened(tiny_llama) as engine:
        salts = [None, "mine", "yours", "mine"]
        outputs = [
            engine.generate_sync(prompt, GenerationParams(temperature=0, max_tokens=9, cache_salt=salt))
            for salt in salts
        ]
    assert [output.stats.cached_tokens for output in outputs] == [0, 0, 0, 48]
    assert len({output.tokens for output in outputs}) == 1


def test_the_second_turn_of_a_chat_computes_its_new_tokens_only(tiny_llama: Path) -> None:
    prompt = [2 + number % 250 for number in range(200)]
    with opened(tiny_llama) as engine:
        first = engine.generate_sync(prompt, GREEDY)
        turn = [*prompt, *first.tokens, 9, 9, 9]
        before = engine.stats().prompt_tokens
        second = engine.generate_sync(turn, GREEDY)
        computed = engine.stats().prompt_tokens - before
    with opened(tiny_llama, enable_prefix_cache=False) as engine:
        again = engine.generate_sync(turn, GREEDY)
    # The last of 210 tokens was never computed: 209 fill 52 blocks of 4.
    assert (second.stats.cached_tokens, computed) == (208, 5)
    assert second.tokens == again.tokens


def test_what_can_never_fit_is_refused_and_what_fits_later_waits(tiny_llama: Path) -> None:
    with opened(tiny_llama, kv_cache_memory=64 * 512) as engine:
        limit = engine.model_info().max_sequence_length
        with pytest.raises(CapacityError, match=f"{limit + 1} tokens .* {limit}; .* larger kv_cache_memory") as raised:
            engine.generate_sync([5] * limit)
        error = raised.value
        assert (error.tokens_needed, error.tokens_available) == (limit + 1, limit)
        full = GenerationParams(temperature=0, max_tokens=limit, ignore_eos=True)
        outputs = engine.generate_batch([[5 + number] * (limit - 4) for number in range(5)], full)
        assert [len(output.tokens) for output in outputs] == [4] * 5


def test_a_scripted_engine_tells_of_its_requests_too() -> None:
    engine, events = ScriptedEngine(["ab", "c"]), list[EngineEvent]()
    leave = engine.subscribe(events.append)
    engine.generate_sync([1], GenerationParams())
    leave()
    engine.generate_sync([1], GenerationParams())
    assert [type(event) for event in events] == [RequestQueued, RequestStarted, FirstToken, RequestFinished]
