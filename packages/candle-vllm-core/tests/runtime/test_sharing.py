"""Requests that begin alike: who computes what, who waits for whom, and that no answer changes."""

import random

import pytest
from harness import Harness
from null_runner import make_request

from candle_vllm_core.events import RequestStarted
from candle_vllm_core.runtime.kv import KVBlocks, KVSizes
from candle_vllm_core.runtime.request import Request
from candle_vllm_core.runtime.scheduler import Step
from candle_vllm_core.types import FinishReason, GenerationParams

PROMPT = [number % 7 for number in range(38)]
"""Nine blocks of four tokens that may be shared, and two tokens more."""


def cached(harness: Harness, *requests: Request) -> list[int]:
    return [harness.output(request).stats.cached_tokens for request in requests]


def finish(harness: Harness) -> None:
    while harness.stepper.has_work:
        harness.step()
        harness.check()
    harness.check_answers()
    assert harness.kv.num_used == 0


def test_several_answers_to_one_prompt_pay_for_it_once() -> None:
    harness = Harness(num_blocks=64, batch=8, chunk=64)
    requests = [harness.add(PROMPT, GenerationParams(max_tokens=3)) for _ in range(5)]
    assert harness.step() == {1: 38}, "one computes, four wait for it"
    assert harness.step() == {1: 1, 2: 2, 3: 2, 4: 2, 5: 2}
    finish(harness)
    assert cached(harness, *requests) == [0, 36, 36, 36, 36]
    stats = harness.stepper.stats()
    assert (stats.prefix_lookup_tokens, stats.prefix_hit_tokens, stats.prompt_tokens) == (5 * 38, 4 * 36, 38 + 4 * 2)
    assert stats.prefix_hit_rate == pytest.approx(144 / 190)


def test_a_prompt_in_many_chunks_is_waited_for_to_its_end() -> None:
    harness = Harness(num_blocks=64, batch=8, chunk=16)
    requests = [harness.add(PROMPT, GenerationParams(max_tokens=2)) for _ in range(3)]
    assert [harness.step() for _ in range(3)] == [{1: 16}, {1: 16}, {1: 6}]
    assert harness.step() == {1: 1, 2: 2, 3: 2}
    finish(harness)
    assert cached(harness, *requests) == [0, 36, 36]


def test_only_the_part_that_is_being_computed_is_waited_for() -> None:
    harness = Harness(num_blocks=64, batch=8, chunk=100)
    first = harness.add(PROMPT, GenerationParams(max_tokens=9))
    longer = harness.add([*PROMPT[:20], 40, 41, 42, 43, 44], GenerationParams(max_tokens=2))
    other = harness.add([8] * 10, GenerationParams(max_tokens=2))
    assert harness.step() == {1: 38, 3: 10}, "who begins otherwise goes on"
    assert harness.step() == {1: 1, 2: 5, 3: 1}
    finish(harness)
    assert cached(harness, first, longer, other) == [0, 20, 0]


def test_the_place_of_who_waits_is_kept() -> None:
    harness = Harness(num_blocks=64, batch=2, chunk=100)
    for prompt in (PROMPT, PROMPT, [8] * 10):
        harness.add(prompt, GenerationParams(max_tokens=5))
    assert [set(harness.step()), set(harness.step())] == [{1}, {1, 2}], "the third would have taken the second's place"
    finish(harness)


def test_the_blocks_of_who_waits_are_kept() -> None:
    # The prompt takes 10 blocks and the second request at most 10 more: the third's 3 would not leave them.
    harness = Harness(num_blocks=22, batch=4, chunk=100)
    for prompt in (PROMPT, PROMPT, [8] * 10):
        harness.add(prompt, GenerationParams(max_tokens=3))
    assert [set(harness.step()), set(harness.step())] == [{1}, {1, 2, 3}]
    finish(harness)
    roomy = Harness(num_blocks=23, batch=4, chunk=100)
    for prompt in (PROMPT, PROMPT, [8] * 10):
        roomy.add(prompt, GenerationParams(max_tokens=3))
    assert set(roomy.step()) == {1, 3}


def test_who_waits_goes_on_when_the_computing_one_is_cancelled() -> None:
    harness = Harness(num_blocks=64, batch=8, chunk=16)
    first, second = (harness.add(PROMPT, GenerationParams(max_tokens=2)) for _ in range(2))
    harness.step()
    harness.cancel(first)
    assert harness.step() == {2: 16}
    finish(harness)
    assert (cached(harness, second), harness.output(second).finish_reason) == ([16], FinishReason.LENGTH)


def test_who_waits_goes_on_when_the_computing_one_fails() -> None:
    harness = Harness(num_blocks=64, batch=8, chunk=16)
    first, second = (harness.add(PROMPT, GenerationParams(max_tokens=2)) for _ in range(2))

    def fault(step: Step) -> None:
        if any(part.request is first and part.stop == 38 for part in step):
            raise RuntimeError("out of luck")

    harness.runner.fault = fault
    finish(harness)
    assert harness.output(first).finish_reason is FinishReason.ERROR
    assert (cached(harness, second), harness.output(second).finish_reason) == ([32], FinishReason.LENGTH)


def test_who_waits_goes_on_when_the_computing_one_is_preempted() -> None:
    harness = Harness(num_blocks=12, batch=8, chunk=4)
    answer = harness.add([9] * 3, GenerationParams(max_tokens=20))
    harness.step()
    first, second = (harness.add(PROMPT, GenerationParams(max_tokens=2, priority=1)) for _ in range(2))
    finish(harness)
    assert harness.scheduler.preemptions > 0
    assert [len(harness.output(request).tokens) for request in (answer, first, second)] == [20, 2, 2]
    [found] = [event.cached_tokens for event in harness.events if isinstance(event, RequestStarted)][2:]
    assert cached(harness, second) == [found] and found > 0


def test_the_urgent_wait_for_nobody_who_is_less_so() -> None:
    harness = Harness(num_blocks=64, batch=8, chunk=16)
    slow = harness.add(PROMPT, GenerationParams(max_tokens=2, priority=5))
    harness.step()
    urgent = harness.add(PROMPT, GenerationParams(max_tokens=2, priority=0))
    assert harness.step() == {2: 16}, "it takes what is there and computes the rest itself"
    assert harness.step() == {2: 6, 1: 10}
    finish(harness)
    assert cached(harness, slow, urgent) == [0, 16]


@pytest.mark.parametrize("more", [{}, {6: 40}, {3: 40, 11: 40}])
@pytest.mark.parametrize("chunk", [None, 5, 100])
def test_alike_and_together_all_answer_as_alone(more: dict[int, int], chunk: int | None) -> None:
    harness = Harness(num_blocks=64, batch=8, chunk=chunk, more=more, longest=60)
    draw = random.Random(1)
    requests = [
        harness.add(
            [*PROMPT[: draw.choice([8, 20, 21, 38])], *([9] * draw.randrange(4))], GenerationParams(max_tokens=5)
        )
        for _ in range(30)
    ]
    finish(harness)
    assert sum(cached(harness, *requests)) > 300


def test_salts_and_models_share_nothing() -> None:
    harness = Harness(num_blocks=64, batch=8, chunk=64)
    salts = [None, "a", "b", "a", None]
    requests = [harness.add(PROMPT, GenerationParams(max_tokens=2, cache_salt=salt)) for salt in salts]
    finish(harness)
    assert cached(harness, *requests) == [0, 0, 0, 36, 36]
    sizes = KVSizes(block_size=4, windows=(None,), num_blocks=(20,))
    keys = [KVBlocks(sizes, fingerprint=model)._keys(make_request(1, PROMPT), 9) for model in (b"one", b"two", b"one")]
    assert keys[0] == keys[2] and not set(keys[0]) & set(keys[1])


def test_who_wants_the_prompts_log_probabilities_computes_all_of_it() -> None:
    harness = Harness(num_blocks=64, batch=8, chunk=100)
    params = [GenerationParams(max_tokens=2), GenerationParams(max_tokens=2, prompt_logprobs=0)]
    requests = [harness.add(PROMPT, each) for each in params]
    assert harness.step() == {1: 38, 2: 38}, "nor does it wait"
    finish(harness)
    assert cached(harness, *requests) == [0, 0]


def test_the_second_turn_of_a_chat_computes_its_new_tokens_only() -> None:
    harness = Harness(num_blocks=400, block_size=16, batch=4, chunk=512)
    first = harness.add([number % 11 for number in range(2000)], GenerationParams(max_tokens=100))
    finish(harness)
    turn = [*harness.prompts[first.id], *harness.tokens(first), *([3] * 40)]
    before = harness.stepper.stats().prompt_tokens
    second = harness.add(turn, GenerationParams(max_tokens=1))
    finish(harness)
    # Of 2,100 tokens the last was never computed: 2,099 fill 131 blocks of 16 tokens.
    assert cached(harness, second) == [131 * 16]
    assert harness.stepper.stats().prompt_tokens - before == len(turn) - 131 * 16 == 44
