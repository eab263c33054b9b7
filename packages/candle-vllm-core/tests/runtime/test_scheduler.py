import pytest
from null_runner import make_request

from candle_vllm_core.runtime.kv import KVBlocks, KVSizes
from candle_vllm_core.runtime.request import Request
from candle_vllm_core.runtime.scheduler import Scheduler, Step
from candle_vllm_core.types import GenerationParams


def scheduler(num_blocks: int = 64, block_size: int = 4, batch: int = 8, chunk: int | None = 16, cache: bool = True):
    sizes = KVSizes(block_size=block_size, windows=(None,), num_blocks=(num_blocks,))
    return Scheduler(KVBlocks(sizes, prefix_cache=cache), max_batch_size=batch, chunk_size=chunk)


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
