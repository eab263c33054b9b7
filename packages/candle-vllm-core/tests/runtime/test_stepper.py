import random
from collections.abc import Sequence

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from null_runner import NullRunner, alone, make_request, next_token

from candle_vllm_core.runtime.blocks import BlockPool
from candle_vllm_core.runtime.request import Request
from candle_vllm_core.runtime.scheduler import Scheduler, Step
from candle_vllm_core.runtime.stepper import Stepper
from candle_vllm_core.types import FinishReason, GenerationChunk, GenerationOutput, GenerationParams


class Harness:
    """A stepper over a null runner, and everything that came out of it."""

    def __init__(self, num_blocks: int = 16, block_size: int = 4, batch: int = 4, chunk: int | None = 8) -> None:
        self.pool = BlockPool(num_blocks, block_size)
        self.runner = NullRunner(num_blocks, block_size)
        self.scheduler = Scheduler(self.pool, max_batch_size=batch, chunk_size=chunk)
        self.stepper = Stepper(self.scheduler, self.runner)
        self.capacity = num_blocks * block_size
        self.prompts: dict[int, list[int]] = {}
        self.chunks: dict[int, list[GenerationChunk]] = {}

    def add(self, prompt: Sequence[int], params: GenerationParams | None = None) -> Request:
        request = make_request(len(self.prompts) + 1, prompt, params, limit=self.capacity)
        self.prompts[request.id] = list(prompt)
        self.chunks[request.id] = []
        self.stepper.add(request)
        return request

    def take(self, emissions: list[tuple[Request, GenerationChunk]]) -> None:
        for request, chunk in emissions:
            self.chunks[request.id].append(chunk)

    def step(self) -> None:
        self.take(self.stepper.step())

    def run(self) -> None:
        while self.stepper.has_work:
            self.step()

    def output(self, request: Request) -> GenerationOutput:
        output = self.chunks[request.id][-1].output
        assert output is not None
        return output

    def check(self) -> None:
        self.pool.check()
        held = sorted(block for request in self.scheduler.running for block in set(request.block_table))
        assert len(set(held)) == self.pool.num_used

    def check_answers(self) -> None:
        for number, chunks in self.chunks.items():
            tokens = [token for chunk in chunks for token in chunk.tokens]
            assert tokens == alone(self.prompts[number], len(tokens)), "an answer differs from the one it gives alone"


def test_a_request_runs_to_its_limit() -> None:
    harness = Harness()
    request = harness.add([1, 2, 3], GenerationParams(max_tokens=5))
    harness.run()
    output = harness.output(request)
    assert list(output.tokens) == alone([1, 2, 3], 5)
    assert (output.finish_reason, output.stats.generated_tokens) == (FinishReason.LENGTH, 5)
    assert harness.runner.forgotten == [request.id] and harness.pool.num_used == 0


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
    assert harness.pool.num_used == 0


def test_a_fault_of_one_request_leaves_the_others_of_its_step_alone() -> None:
    harness = Harness()
    bad, good = harness.add([1]), harness.add([2], GenerationParams(max_tokens=3))

    def broken(token: int, *, stops: bool = True) -> str:
        raise KeyError("half a character")

    bad.stream.feed = broken  # type: ignore[method-assign]
    harness.run()
    assert harness.output(bad).finish_reason is FinishReason.ERROR
    assert list(harness.output(good).tokens) == alone([2], 3)


def test_two_thousand_requests_with_cancels_lose_no_block() -> None:
    draw = random.Random(7)
    harness = Harness(num_blocks=40, block_size=4, batch=12, chunk=16)
    cancelled = 0
    while len(harness.prompts) < 2000 or harness.stepper.has_work:
        for _ in range(draw.randrange(3) if len(harness.prompts) < 2000 else 0):
            prompt = [draw.randrange(3) for _ in range(draw.randrange(1, 60))]
            harness.add(prompt, GenerationParams(max_tokens=draw.randrange(1, 40), priority=draw.randrange(3)))
        unfinished = harness.scheduler.requests()
        if unfinished and draw.random() < 0.1:
            cancelled += 1
            harness.take(harness.stepper.cancel(draw.choice(unfinished).id))
        harness.step()
        harness.check()
    assert harness.pool.num_used == 0 and cancelled > 100
    reasons = [harness.chunks[number][-1].finish_reason for number in harness.chunks]
    assert reasons.count(FinishReason.CANCELLED) == cancelled
    assert reasons.count(FinishReason.LENGTH) == len(harness.prompts) - cancelled
    assert harness.scheduler.prefix_hit_tokens > 0 and harness.scheduler.preemptions > 0
    harness.check_answers()


class AnyOrder(RuleBasedStateMachine):
    """Whatever is asked in whatever order, blocks add up and every answer is the one that its prompt gives alone."""

    def __init__(self) -> None:
        super().__init__()
        self.harness = Harness(num_blocks=6, block_size=2, batch=3, chunk=3)

    @rule(
        prompt=st.lists(st.integers(0, 1), min_size=1, max_size=8),
        count=st.integers(1, 6),
        priority=st.integers(0, 1),
    )
    def add(self, prompt: list[int], count: int, priority: int) -> None:
        self.harness.add(prompt, GenerationParams(max_tokens=count, priority=priority))

    @rule()
    def step(self) -> None:
        before = self.harness.stepper.has_work
        self.harness.step()
        assert not before or self.harness.runner.steps

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
        assert self.harness.pool.num_used == 0
        for chunks in self.harness.chunks.values():
            assert [chunk for chunk in chunks if chunk.output is not None] == chunks[-1:]


AnyOrder.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestAnyOrder = AnyOrder.TestCase
