import pytest
from null_runner import make_request

from candle_vllm_core.runtime.kv import KVBlocks, KVSizes
from candle_vllm_core.runtime.request import Request
from candle_vllm_core.runtime.scheduler import Scheduler, Step
from candle_vllm_core.types import GenerationParams


def scheduler(
    num_blocks: int = 64,
    block_size: int = 4,
    batch: int = 8,
    chunk: int | None = 16,
    cache: bool = True,
    mixed: int | None = None,
):
    sizes = KVSizes(block_size=block_size, windows=(None,), num_blocks=(num_blocks,))
    kv = KVBlocks(sizes, prefix_cache=cache)
    return Scheduler(kv, max_batch_size=batch, chunk_size=chunk, mixed_chunk_size=mixed)


def lengths(step: Step) -> dict[int, int]:
    return {part.request.id: part.stop - part.start for part in step}


def run(chosen: Scheduler, step: Step) -> None:
    chosen.advance(step)
    for part in step:
        if part.stop == part.request.num_tokens:
            part.request.accept(part.request.id, None)


def ready(chosen: Scheduler, number: int, size: int, **params: int) -> Request:
    request = make_request(number, [number] * size, GenerationParams(**params) if params else None)
    chosen.add(request)
    return request


def test_a_long_prompt_is_cut_and_decodes_go_first() -> None:
    chosen = scheduler()
    ready(chosen, 1, 3)
    run(chosen, chosen.schedule())
    ready(chosen, 2, 40)
    seen = []
    for _ in range(4):
        step = chosen.schedule()
        seen.append(lengths(step))
        run(chosen, step)
    assert seen == [{1: 1, 2: 15}, {1: 1, 2: 15}, {1: 1, 2: 10}, {1: 1, 2: 1}]


def test_beside_answers_prompts_get_shorter_chunks_together() -> None:
    chosen = scheduler(mixed=5)
    ready(chosen, 1, 20)
    seen = []
    for _ in range(7):
        step = chosen.schedule()
        seen.append(lengths(step))
        run(chosen, step)
        if len(seen) == 1:
            ready(chosen, 2, 3)
            ready(chosen, 3, 12)
    alone = [{1: 16}, {1: 4, 2: 3, 3: 9}]
    assert seen == [*alone, {1: 1, 2: 1, 3: 3}, *[{1: 1, 2: 1, 3: 1}] * 4]
    ready(chosen, 4, 3)
    ready(chosen, 5, 12)
    mixed = []
    for _ in range(4):
        step = chosen.schedule()
        mixed.append({number: length for number, length in lengths(step).items() if number > 3})
        run(chosen, step)
    assert mixed == [{4: 3, 5: 2}, {4: 1, 5: 5}, {4: 1, 5: 5}, {4: 1, 5: 1}]


def test_prompts_that_are_never_cut_are_not_cut_beside_answers() -> None:
    chosen = scheduler(chunk=None, mixed=5)
    ready(chosen, 1, 3)
    run(chosen, chosen.schedule())
    ready(chosen, 2, 40)
    assert lengths(chosen.schedule()) == {1: 1, 2: 40}


def test_a_prompt_advances_even_if_decodes_take_the_whole_budget() -> None:
    chosen = scheduler(chunk=2)
    for number in (1, 2, 3):
        ready(chosen, number, 1)
    for _ in range(3):
        run(chosen, chosen.schedule())
    ready(chosen, 4, 5)
    assert lengths(chosen.schedule()) == {1: 1, 2: 1, 3: 1, 4: 1}


def test_without_chunks_a_prompt_is_computed_in_one_step() -> None:
    chosen = scheduler(chunk=None)
    ready(chosen, 1, 100)
    ready(chosen, 2, 30)
    assert lengths(chosen.schedule()) == {1: 100}
    assert chosen.waiting[0].id == 2


def test_no_more_than_the_batch_size_run() -> None:
    chosen = scheduler(batch=2)
    for number in (1, 2, 3):
        ready(chosen, number, 2)
    assert set(lengths(chosen.schedule())) == {1, 2}


def test_smaller_priority_goes_first_then_arrival() -> None:
    chosen = scheduler(batch=1)
    for number, priority in ((1, 5), (2, 0), (3, 0)):
        ready(chosen, number, 2, priority=priority)
    order = []
    while chosen.waiting or chosen.running:
        [part] = chosen.schedule()
        order.append(part.request.id)
        chosen.release(part.request)
    assert order == [2, 3, 1]


def test_the_least_urgent_is_preempted_and_computed_again() -> None:
    chosen = scheduler(num_blocks=4, block_size=2, cache=False)
    first, second = ready(chosen, 1, 3), ready(chosen, 2, 3)
    run(chosen, chosen.schedule())
    run(chosen, chosen.schedule())
    assert lengths(chosen.schedule()) == {1: 1}
    assert (chosen.preemptions, second.block_tables, second.num_computed) == (1, [], 0)
    assert second.num_uncomputed == second.num_tokens == 5
    chosen.release(first)
    assert lengths(chosen.schedule()) == {2: 5}


def test_a_request_waits_until_its_prompt_and_one_token_fit() -> None:
    chosen = scheduler(num_blocks=4, block_size=2)
    first = ready(chosen, 1, 3)
    ready(chosen, 2, 4)
    assert lengths(chosen.schedule()) == {1: 3}
    chosen.release(first)
    assert lengths(chosen.schedule()) == {2: 4}


def test_a_prompt_that_begins_like_an_earlier_one_is_not_computed_again() -> None:
    chosen = scheduler()
    first = make_request(1, range(10))
    chosen.add(first)
    run(chosen, chosen.schedule())
    second = make_request(2, [*range(8), 9, 9, 9])
    chosen.add(second)
    assert lengths(chosen.schedule())[2] == 3
    assert second.num_cached == 8
    assert second.block_tables[0][:2] == first.block_tables[0][:2]


@pytest.mark.parametrize("cache", [True, False])
def test_the_last_token_is_always_computed(cache: bool) -> None:
    chosen = scheduler(cache=cache)
    first = make_request(1, range(8))
    chosen.add(first)
    run(chosen, chosen.schedule())
    chosen.release(first)
    again = make_request(2, range(8))
    chosen.add(again)
    assert lengths(chosen.schedule())[2] == (4 if cache else 8)


def test_a_long_prompt_costs_running_answers_no_step() -> None:
    chosen = scheduler(num_blocks=6000, block_size=4, batch=128, chunk=512)
    for number in range(1, 101):
        ready(chosen, number, 4)
    run(chosen, chosen.schedule())
    ready(chosen, 101, 16_384)
    steps = []
    while chosen.running[-1].num_computed < 16_384:
        steps.append(lengths(step := chosen.schedule()))
        run(chosen, step)
    assert all(set(step) == set(range(1, 102)) for step in steps), "every answer goes on in every step"
    assert {sum(step.values()) for step in steps[:-1]} == {512}, "no step is longer than one chunk"
    assert len(steps) == -(-16_384 // 412)


def test_an_urgent_prompt_does_not_wait_for_the_end_of_a_long_one() -> None:
    chosen = scheduler(num_blocks=200)
    ready(chosen, 1, 400, priority=1)
    run(chosen, chosen.schedule())
    ready(chosen, 2, 20, priority=0)
    ready(chosen, 3, 20, priority=1)
    seen = []
    for _ in range(3):
        seen.append(lengths(step := chosen.schedule()))
        run(chosen, step)
    assert seen == [{2: 16}, {2: 4, 1: 12}, {2: 1, 1: 15}], "and of one priority the earlier goes first"


def test_tokens_that_an_answer_was_given_at_once_are_computed_at_once_and_before_prompts() -> None:
    chosen = scheduler(num_blocks=200)
    request = ready(chosen, 2, 3)
    run(chosen, chosen.schedule())
    ready(chosen, 1, 100)
    run(chosen, chosen.schedule())
    for token in range(4):
        request.accept(token, None)
    assert lengths(step := chosen.schedule()) == {2: 5, 1: 11}
    run(chosen, step)
    for token in range(40):
        request.accept(token % 7, None)
    assert lengths(chosen.schedule()) == {2: 15, 1: 1}, "more than a step takes is cut, and the prompt goes on"


def test_who_was_preempted_goes_before_who_came_later() -> None:
    chosen = scheduler(num_blocks=5, block_size=2, cache=False)
    first, second = ready(chosen, 1, 3), ready(chosen, 2, 3)
    run(chosen, chosen.schedule())
    third = ready(chosen, 3, 1)
    while not chosen.preemptions:
        run(chosen, chosen.schedule())
    assert (chosen.running, chosen.waiting) == ([first], [second, third]), "the third would have had room"
    chosen.release(first)
    assert list(lengths(chosen.schedule())) == [2, 3]


def test_a_large_request_is_not_starved_by_small_ones_that_keep_coming() -> None:
    chosen = scheduler(num_blocks=12, block_size=4, batch=4)
    numbers = iter(range(1, 1000))
    for size in (4, 4, 4, 4, 40):
        ready(chosen, next(numbers), size)
    started = []
    for _ in range(12):
        ready(chosen, next(numbers), 4)
        run(chosen, chosen.schedule())
        started += [request.id for request in chosen.started]
        for request in list(chosen.running):
            if len(request.generated) == 3:
                chosen.release(request)
    assert started[:6] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("at", ["running", "waiting"])
def test_letting_go_of_a_request_twice_is_found_and_touches_no_other(at: str) -> None:
    chosen = scheduler(batch=2)
    requests = [ready(chosen, number, 2) for number in (1, 2, 3, 4)]
    chosen.schedule()
    request = requests[0 if at == "running" else 2]
    chosen.release(request)
    with pytest.raises(KeyError):
        chosen.release(request)
    assert [other.id for other in chosen.requests()] == [other.id for other in requests if other is not request]
    chosen.check()


def test_uncut_prompts_share_a_step_up_to_the_longest_that_waits() -> None:
    chosen = scheduler(chunk=None, num_blocks=200)
    for number, size in ((1, 30), (2, 100), (3, 60), (4, 20)):
        ready(chosen, number, size)
    seen = []
    for _ in range(3):
        seen.append(lengths(step := chosen.schedule()))
        run(chosen, step)
    assert seen == [{1: 30}, {1: 1, 2: 100}, {1: 1, 2: 1, 3: 60}]
