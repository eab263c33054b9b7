import logging
import random
from collections.abc import Iterator
from typing import Any

import pytest
from harness import Harness
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from late_runner import LateLaunched, LatePrepared
from null_runner import alone, next_token

from candle_vllm_core.runtime.kv_memory import KVNeeds, Load, divide
from candle_vllm_core.runtime.scheduler import Step
from candle_vllm_core.types import FinishReason, GenerationParams


def test_a_request_runs_to_its_limit() -> None:
    harness = Harness()
    request = harness.add([1, 2, 3], GenerationParams(max_tokens=5))
    harness.run()
    output = harness.output(request)
    assert list(output.tokens) == alone([1, 2, 3], 5)
    assert (output.finish_reason, output.stats.generated_tokens) == (FinishReason.LENGTH, 5)
    assert harness.runner.forgotten == [request.id] and harness.kv.num_used == 0


def test_a_stop_id_ends_the_answer_and_is_in_its_tokens_but_not_in_its_text() -> None:
    harness = Harness()
    expected = alone([1, 2, 3], 10)
    request = harness.add([1, 2, 3], GenerationParams(stop_token_ids=[expected[4]]))
    harness.run()
    output = harness.output(request)
    ending = expected.index(expected[4])
    assert (list(output.tokens), output.finish_reason) == (expected[: ending + 1], FinishReason.STOP)
    assert len(output.text) == ending


def test_prompts_and_answers_longer_than_the_cache_are_computed_in_turns() -> None:
    harness = Harness(num_blocks=8, block_size=2, batch=4, chunk=4)
    requests = [harness.add([number] * 3, GenerationParams(max_tokens=9)) for number in range(6)]
    harness.run()
    assert harness.scheduler.preemptions > 0
    assert [harness.output(request).finish_reason for request in requests] == [FinishReason.LENGTH] * 6
    harness.check_answers()
    harness.check()


def test_an_exception_in_a_step_fails_its_requests_only() -> None:
    harness = Harness(batch=1)
    bad, good = harness.add([1]), harness.add([2], GenerationParams(max_tokens=3))

    def fault(step: Step) -> None:
        if step[0].request is bad and bad.generated:
            raise ValueError("no such luck")

    harness.runner.fault = fault
    harness.run()
    failed = harness.output(bad)
    assert (failed.finish_reason, failed.error) == (FinishReason.ERROR, "ValueError: no such luck")
    assert list(failed.tokens) == [next_token([1])], "what was drawn before the fault is kept"
    assert list(harness.output(good).tokens) == alone([2], 3)
    assert harness.kv.num_used == 0


def test_a_fault_of_one_request_leaves_the_others_of_its_step_alone() -> None:
    harness = Harness()
    bad, good = harness.add([1]), harness.add([2], GenerationParams(max_tokens=3))

    def broken(token: int, *, stops: bool = True) -> str:
        raise KeyError("half a character")

    bad.stream.feed = broken  # type: ignore[method-assign]
    harness.run()
    assert harness.output(bad).finish_reason is FinishReason.ERROR
    assert list(harness.output(good).tokens) == alone([2], 3)


@pytest.mark.parametrize(("whole", "sliding"), [(40, 9), (14, 40)])
def test_preemption_gives_back_the_blocks_of_every_group(whole: int, sliding: int) -> None:
    harness = Harness(num_blocks=whole, block_size=2, batch=4, chunk=4, more={6: sliding})
    requests = [harness.add([number] * 2, GenerationParams(max_tokens=11)) for number in range(6)]
    while harness.stepper.has_work:
        harness.step()
        harness.check()
    assert harness.scheduler.preemptions > 0 and harness.kv.num_used == 0
    assert [harness.output(request).finish_reason for request in requests] == [FinishReason.LENGTH] * 6
    harness.check_answers()


def test_a_prefix_that_is_found_in_two_groups_changes_no_answer() -> None:
    harness = Harness(num_blocks=40, block_size=4, more={6: 40})
    prompt = [number % 7 for number in range(30)]
    first = harness.add(prompt, GenerationParams(max_tokens=9))
    harness.run()
    turn = [*prompt, *harness.output(first).tokens, 3]
    others = [harness.add(tokens) for tokens in (prompt, [*prompt[:21], 40, 40], turn, prompt[1:])]
    harness.run()
    # Of 30 tokens and 9 drawn, of which the last was not computed, 38 were, 36 of them in whole blocks.
    assert [harness.output(request).stats.cached_tokens for request in others] == [28, 20, 36, 0]
    harness.check_answers()
    harness.check()


def test_an_urgent_prompt_takes_a_block_from_a_running_answer_that_was_to_go_on_in_the_same_step() -> None:
    harness = Harness(num_blocks=40, block_size=2, chunk=2, more={4: 5})
    answers = [harness.add([number], GenerationParams(max_tokens=30, priority=1)) for number in range(2)]
    harness.step()
    urgent = harness.add([3] * 20, GenerationParams(max_tokens=3))
    while harness.stepper.has_work:
        harness.step()
        harness.check()
    assert harness.scheduler.preemptions > 0
    assert [len(harness.output(request).tokens) for request in (*answers, urgent)] == [30, 30, 3]
    harness.check_answers()


GROUPS: dict[str, dict[str, Any]] = {
    "no window": {},
    "a window beside": {"more": {8: 14}},
    "a window alone": {"more": {8: 24}, "whole": False},
    "two windows": {"more": {5: 20, 20: 24}},
    "recurrent": {"recurrent": True},
}
OTHERS: dict[str, dict[str, Any]] = {
    "a tight window alone": {"more": {8: 7}, "whole": False},
    "recurrent alone": {"recurrent": True, "whole": False},
    **{f"{name}, prompts uncut": {**groups, "chunk": None} for name, groups in GROUPS.items()},
}


@pytest.mark.parametrize(("groups", "count"), [*((name, 1200) for name in GROUPS), *((name, 300) for name in OTHERS)])
def test_many_requests_with_cancels_lose_no_block(groups: str, count: int) -> None:
    draw = random.Random(7)
    harness = Harness(40, 4, batch=12, **{"chunk": 16, "longest": 100, **(GROUPS | OTHERS)[groups]})
    cancelled = 0
    while len(harness.prompts) < count or harness.stepper.has_work:
        for _ in range(draw.randrange(3) if len(harness.prompts) < count else 0):
            prompt = [draw.randrange(3) for _ in range(draw.randrange(1, min(60, harness.capacity)))]
            harness.add(prompt, GenerationParams(max_tokens=draw.randrange(1, 40), priority=draw.randrange(3)))
        unfinished = harness.scheduler.requests()
        if unfinished and draw.random() < 0.1:
            cancelled += 1
            harness.take(harness.stepper.cancel(draw.choice(unfinished).id))
        harness.step()
        harness.check()
    assert harness.kv.num_used == 0 and cancelled > count / 20
    reasons = [harness.chunks[number][-1].finish_reason for number in harness.chunks]
    assert reasons.count(FinishReason.CANCELLED) == cancelled
    assert reasons.count(FinishReason.LENGTH) == len(harness.prompts) - cancelled
    if count == 1200:
        assert harness.scheduler.preemptions > 0
        assert (harness.scheduler.prefix_hit_tokens == 0) is harness.has_states
    harness.check_answers()


@pytest.mark.parametrize("chunk", [7, 16, 60])
@pytest.mark.parametrize("window", [1, 5, 8, 30])
def test_a_window_given_what_it_needs_preempts_nobody(window: int, chunk: int) -> None:
    load = Load(sequences=6, length=100, chunk=chunk, block_size=4)
    [count] = divide(10**9, KVNeeds((window,), (10,), 0), load).num_blocks
    harness = Harness(num_blocks=600, batch=6, chunk=chunk, more={window: count}, longest=100)
    draw = random.Random(3)
    for _ in range(150):
        prompt = [draw.randrange(3) for _ in range(draw.randrange(1, 99))]
        harness.add(prompt, GenerationParams(max_tokens=draw.randrange(1, 40), priority=draw.randrange(3)))
    harness.run()
    assert harness.scheduler.preemptions == 0 and not harness.runner.wrong
    harness.check_answers()


@pytest.fixture(autouse=True)
def quiet(request: pytest.FixtureRequest) -> Iterator[None]:
    """Thousands of planted faults are logged with their tracebacks: not where any order is tried."""
    if request.cls is not None:
        logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


SEAMS = ["match", "extend", "admit", "schedule", "run", "register", "release", "move"]
SEAMS += ["prepare", "launch", "draw", "collect"]  # of a runner that computes in parts


class AnyOrder(RuleBasedStateMachine):
    """Whatever is asked in whatever order, blocks add up and every answer is the one that its prompt gives alone."""

    ahead = False

    def __init__(self) -> None:
        super().__init__()
        self.harness = Harness(num_blocks=6, block_size=2, batch=3, chunk=3, ahead=self.ahead)
        self.failed: set[int] = set()

    @initialize(
        more=st.dictionaries(st.integers(1, 7), st.integers(2, 7), max_size=2),
        whole=st.booleans(),
        recurrent=st.booleans(),
        chunk=st.none() | st.integers(1, 4),
        host=st.tuples(st.integers(0, 5), st.integers(0, 2)),
    )
    def groups(
        self, more: dict[int, int], whole: bool, recurrent: bool, chunk: int | None, host: tuple[int, int]
    ) -> None:
        self.harness = Harness(
            num_blocks=6,
            block_size=2,
            batch=3,
            chunk=chunk,
            more=more,
            whole=whole or not more,
            recurrent=recurrent,
            longest=12,
            ahead=self.ahead,
            host_blocks=host[0],
            host_states=host[1],
        )

    @rule(
        prompt=st.lists(st.integers(0, 1), min_size=1, max_size=8),
        count=st.integers(1, 6),
        priority=st.integers(0, 1),
        salt=st.none() | st.just("a"),
    )
    def add(self, prompt: list[int], count: int, priority: int, salt: str | None) -> None:
        prompt = prompt[: self.harness.capacity - 1]
        self.harness.add(prompt, GenerationParams(max_tokens=count, priority=priority, cache_salt=salt))

    @rule(whole=st.booleans())
    def step(self, whole: bool) -> None:
        before = self.harness.stepper.has_work
        self.harness.step(whole=whole)
        assert not before or self.harness.runner.steps
        assert not whole or not self.harness.under_way

    @precondition(lambda self: self.harness.stepper.has_work)
    @rule(part=st.sampled_from(SEAMS), kind=st.sampled_from([ZeroDivisionError, MemoryError]))
    def step_with_a_fault(self, part: str, kind: type[Exception]) -> None:
        """Something in the step raises; its requests may fail, and nothing else may happen."""

        def broken(*arguments: Any, **options: Any) -> Any:
            raise kind(part)

        owners = (self.harness.kv, self.harness.scheduler, self.harness.runner, LatePrepared, LateLaunched)
        owner = next((owner for owner in owners if hasattr(owner, part)), self.harness.runner)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(owner, part, broken, raising=False)
            self.harness.step()
        ended = {number for number, chunks in self.harness.chunks.items() if chunks and chunks[-1].output is not None}
        self.failed |= {n for n in ended if self.harness.chunks[n][-1].finish_reason is FinishReason.ERROR}

    @precondition(lambda self: self.harness.stepper.has_work)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        unfinished = self.harness.scheduler.requests()
        self.harness.take(self.harness.stepper.cancel(data.draw(st.sampled_from(unfinished)).id))

    @invariant()
    def sound(self) -> None:
        self.harness.check()
        self.harness.check_answers()

    def teardown(self) -> None:
        self.harness.run()
        assert self.harness.kv.num_used == 0
        for number, chunks in self.harness.chunks.items():
            assert (chunks[-1].finish_reason is FinishReason.ERROR) is (number in self.failed)
            assert [chunk for chunk in chunks if chunk.output is not None] == chunks[-1:]


class AnyOrderAhead(AnyOrder):
    """The same where each step is made while the one before is computed."""

    ahead = True


AnyOrder.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
AnyOrderAhead.TestCase.settings = AnyOrder.TestCase.settings
TestAnyOrder = AnyOrder.TestCase
TestAnyOrderAhead = AnyOrderAhead.TestCase
