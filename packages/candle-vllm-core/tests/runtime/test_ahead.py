"""Making a step while the one before is computed changes no token, and nothing else that a caller sees."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from harness import Harness
from hypothesis import given, settings
from hypothesis import strategies as st
from late_runner import LateLaunched, LatePrepared, LateRunner
from null_runner import alone
from tiny_models import open_engine
from workloads import SIZES, asked, outputs

from candle_vllm_core import Constraint, FinishReason, GenerationParams, GenerationStats
from candle_vllm_core.runtime import loop
from candle_vllm_core.runtime.ahead import AheadStepper
from candle_vllm_core.runtime.scheduler import Step


@pytest.mark.parametrize("name", SIZES)
def test_ahead_gives_what_the_plain_way_gives(name: str) -> None:
    draw = random.Random(5)
    preempted = 0
    for _ in range(3):
        work = list(asked(draw, 60, 45))
        _, plain = outputs(work, False, SIZES[name])
        harness, ahead = outputs(work, True, SIZES[name])
        assert ahead == plain
        preempted += harness.scheduler.preemptions
    assert (preempted > 0) is (name not in ("much memory", "a window alone"))
    reasons = {output.finish_reason for output in plain}
    assert reasons >= {FinishReason.CANCELLED, FinishReason.ERROR, FinishReason.STOP, FinishReason.LENGTH}


@given(seed=st.integers(0, 2**32), count=st.integers(1, 12), blocks=st.integers(4, 12), chunk=st.integers(1, 9))
@settings(max_examples=40, deadline=None)
def test_ahead_gives_what_the_plain_way_gives_whatever_the_room(seed: int, count: int, blocks: int, chunk: int) -> None:
    size = {"num_blocks": blocks, "block_size": 2, "batch": 3, "chunk": chunk, "longest": 2 * blocks}
    work = list(asked(random.Random(seed), count, 2 * blocks))
    assert outputs(work, True, size)[1] == outputs(work, False, size)[1]


def test_while_answers_go_on_a_step_is_always_under_way() -> None:
    harness = Harness(ahead=True)
    requests = [harness.add([number], GenerationParams(max_tokens=9)) for number in range(3)]
    harness.step()
    for count in range(8):
        assert [len(request.generated) for request in requests] == [count] * 3, "known one step late"
        assert harness.under_way
        harness.step()
    harness.run()
    assert [len(step) for step in harness.runner.steps] == [3] * 9, "the last token is known to be: it is not computed"


def test_what_ended_is_in_one_more_step_and_keeps_its_blocks_until_that_has_landed() -> None:
    harness = Harness(ahead=True)
    ending = alone([1], 4)[3]
    stopped = harness.add([1], GenerationParams(stop_token_ids=[ending], max_tokens=30))
    other = harness.add([2], GenerationParams(max_tokens=30))
    while harness.scheduler.find(stopped.id):
        harness.step()
    assert list(harness.output(stopped).tokens) == alone([1], 4)
    assert [part.request.id for part in harness.runner.steps[-1]] == [stopped.id, other.id]
    assert stopped.block_tables and harness.scheduler._retired == [stopped]
    harness.step()
    assert not stopped.block_tables and not harness.scheduler._retired
    assert [part.request.id for part in harness.runner.steps[-1]] == [other.id]


def test_what_landed_is_found_by_those_who_begin_alike() -> None:
    harness = Harness(ahead=True)
    first = harness.add([1, 2, 3, 4, 5], GenerationParams(max_tokens=9))
    harness.run()
    answer = harness.output(first).tokens
    second = harness.add([1, 2, 3, 4, 5, *answer], GenerationParams(max_tokens=3))
    third = harness.add([1, 2, 3, 4, 9], GenerationParams(max_tokens=3))
    harness.run()
    assert [harness.output(request).stats.cached_tokens for request in (second, third)] == [12, 4]
    harness.check_answers()


def test_nothing_stays_under_way_for_those_who_are_gone() -> None:
    harness = Harness(ahead=True)
    request = harness.add([1, 2, 3], GenerationParams(max_tokens=30))
    harness.step()
    harness.step()
    assert harness.kv.num_used > 0
    harness.cancel(request)
    assert harness.kv.num_used == 0 and not harness.stepper.has_work
    harness.check()


def test_a_step_by_hand_leaves_nothing_under_way() -> None:
    harness = Harness(ahead=True)
    request = harness.add([1, 2, 3], GenerationParams(max_tokens=4))
    counts = []
    while harness.stepper.has_work:
        harness.step(whole=True)
        counts.append(len(harness.tokens(request)))
    assert counts == [1, 2, 3, 4]


@pytest.mark.parametrize("seam", ["prepare", "launch", "draw", "collect"])
def test_a_fault_under_way_fails_the_requests_of_its_step_only(seam: str, monkeypatch: pytest.MonkeyPatch) -> None:
    harness = Harness(batch=2, ahead=True)
    requests = [harness.add([number], GenerationParams(max_tokens=6)) for number in range(4)]
    for _ in range(3):
        harness.step()
    owner = next(owner for owner in (LateRunner, LatePrepared, LateLaunched) if hasattr(owner, seam))
    with monkeypatch.context() as patch:
        patch.setattr(owner, seam, lambda *arguments: 1 / 0)
        harness.step()
    harness.run()
    harness.check()
    harness.check_answers()
    reasons = [harness.output(request).finish_reason for request in requests]
    assert reasons == [FinishReason.ERROR] * 2 + [FinishReason.LENGTH] * 2
    assert harness.kv.num_used == 0
    assert all("ZeroDivisionError" in str(harness.output(request).error) for request in requests[:2])


def test_a_step_without_memory_is_computed_in_halves_after_the_one_under_way() -> None:
    harness = Harness(batch=4, ahead=True)
    requests = [harness.add([number], GenerationParams(max_tokens=6)) for number in range(4)]
    harness.step()

    def fault(step: Step) -> None:
        if len(step) > 2:
            raise MemoryError("too many at once")

    harness.runner.fault = fault
    harness.run()
    harness.check_answers()
    assert [harness.output(request).finish_reason for request in requests] == [FinishReason.LENGTH] * 4


@pytest.fixture
def ahead_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    return lambda: monkeypatch.setattr(loop, "computes_beside", lambda device: True)


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"enum": ["long words", "other words"]}}}
KINDS: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0},
    "hot": {"temperature": 1.5},
    "cut": {"temperature": 0.9, "top_k": 12, "top_p": 0.9},
    "nucleus": {"temperature": 1.1, "top_p": 0.8, "min_p": 0.02},
    "penalties": {"temperature": 0.8, "repetition_penalty": 1.3, "frequency_penalty": 0.4, "presence_penalty": 0.2},
    "log probabilities": {"temperature": 0.7, "logprobs": True, "top_logprobs": 3},
    "of the prompt too": {"temperature": 0.7, "logprobs": True, "prompt_logprobs": 2},
    "bad words": {"temperature": 0.9, "bad_words": ["a", "the"], "logit_bias": {3: 4.0}},
    "not too short": {"temperature": 1.2, "min_tokens": 6, "stop_token_ids": list(range(0, 300, 3))},
    "stop sequences": {"temperature": 1.2, "stop_sequences": ["e", "an"]},
    "a schema": {"temperature": 0.9, "constraint": Constraint(json_schema=SCHEMA)},
    "a schema, log probabilities": {"temperature": 0.9, "constraint": Constraint(json_schema=SCHEMA), "logprobs": True},
}


def mixed(count: int) -> list[tuple[list[int], GenerationParams]]:
    draw = random.Random(11)
    kinds = list(KINDS.values())
    return [
        (
            [draw.randrange(200) for _ in range(draw.choice([1, 3, 17, 40]))] if number % 3 else [7] * (number + 1),
            GenerationParams(seed=number, max_tokens=draw.randrange(1, 30), **kinds[number % len(kinds)]),
        )
        for number in range(count)
    ]


@pytest.mark.parametrize("memory", [None, 90_000])
def test_a_model_answers_the_same_ahead(
    tiny_llama: Path, memory: int | None, ahead_on_a_cpu: Callable[[], None]
) -> None:
    found = []
    for ahead in (False, True):
        if ahead:
            ahead_on_a_cpu()
        with open_engine(tiny_llama, max_batch_size=6, kv_cache_memory=memory) as engine:
            assert isinstance(engine._loop._stepper, AheadStepper) is ahead
            requests = mixed(36)
            answers = engine.generate_batch([prompt for prompt, _ in requests], [params for _, params in requests])
            vectors = engine.embed_sync([prompt for prompt, _ in requests])
            stats = engine.stats()
        assert stats.kv_blocks_used == 0 and (stats.preemptions > 0) is (memory is not None)
        nothing = GenerationStats(prompt_tokens=0)
        found.append(([replace(answer, stats=nothing) for answer in answers], [list(its.values) for its in vectors]))
    assert found[0] == found[1]
