import pytest
from null_runner import make_request

from candle_vllm_core.runtime.kv import FREED, KVBlocks, KVSizes
from candle_vllm_core.runtime.request import Request


def blocks(*groups: tuple[int | None, int], block_size: int = 4, cache: bool = True, num_states: int = 0) -> KVBlocks:
    windows, counts = zip(*groups, strict=True) if groups else ((), ())
    sizes = KVSizes(block_size=block_size, windows=windows, num_blocks=counts, num_states=num_states)
    return KVBlocks(sizes, prefix_cache=cache)


def start(kv: KVBlocks, request: Request, chunk: int | None = None) -> int:
    """Admit a request; the tokens of it that were there."""
    prefix = kv.match(request)
    assert kv.admit(request, prefix, chunk)
    return prefix.num_tokens


def compute(kv: KVBlocks, request: Request, stop: int) -> None:
    assert kv.extend(request, stop)
    kv.register(request, request.num_computed, stop)
    request.num_computed = stop


def held(request: Request) -> list[int]:
    return [sum(block != FREED for block in table) for table in request.block_tables]


def finish(kv: KVBlocks, prompt: range, chunk: int = 4) -> None:
    """Compute a prompt in chunks and let it go."""
    request = make_request(99, prompt)
    start(kv, request, chunk)
    for stop in [*range(chunk, len(prompt), chunk), len(prompt)]:
        compute(kv, request, max(stop, request.num_computed))
    kv.release(request)


def test_a_window_stops_growing() -> None:
    kv = blocks((None, 40), (8, 40), cache=False)
    request = make_request(1, range(120))
    start(kv, request, chunk=1)
    whole, sliding = [], []
    for stop in range(1, 121):
        compute(kv, request, stop)
        sliding.append(held(request)[1])
        whole.append(held(request)[0])
    assert whole == [30] * 120, "it got them all when it started"
    # 8 tokens lie in 2 blocks if the last of them ends one, else in 3.
    assert sliding == [min(-(-stop // 4), 2 if stop % 4 == 0 else 3) for stop in range(1, 121)]
    assert kv.num_used == 30 + 2
    kv.release(request)
    kv.check()
    assert kv.num_used == 0


@pytest.mark.parametrize(
    ("window", "position", "freed"), [(1, 3, 0), (1, 4, 1), (5, 7, 0), (5, 8, 1), (6, 8, 0), (6, 9, 1), (4, 15, 3)]
)
def test_a_block_goes_when_the_next_token_sees_no_part_of_it(window: int, position: int, freed: int) -> None:
    kv = blocks((window, 10), cache=False)
    request = make_request(1, range(30))
    start(kv, request)
    compute(kv, request, position)
    compute(kv, request, position + 1)
    [table] = request.block_tables
    assert [block == FREED for block in table] == [index < freed for index in range(len(table))]


def test_what_slid_out_is_given_out_again() -> None:
    kv = blocks((4, 3), cache=False)
    request = make_request(1, range(30))
    start(kv, request, chunk=4)
    tables = []
    for stop in (4, 8, 12):
        compute(kv, request, stop)
        tables.append(list(request.block_tables[0]))
    [first], [_, second], _ = tables
    assert tables == [[first], [first, second], [FREED, second, first]]


def test_a_request_that_finds_too_few_blocks_takes_none() -> None:
    kv = blocks((None, 4), (4, 3))
    request = make_request(1, range(16))
    assert not kv.admit(request, kv.match(request), 4), "16 tokens and one more are 5 blocks"
    assert (kv.num_used, request.block_tables) == (0, [])
    kv = blocks((None, 9), (4, 2))
    request = make_request(1, range(16))
    assert not kv.admit(request, kv.match(request), 4), "4 tokens and the 3 before them may lie in 3 blocks"
    assert kv.admit(request, kv.match(request), 2), "5 tokens lie in 2"
    assert kv.extend(request, 8) and not kv.extend(request, 12)
    assert held(request) == [4, 2]


def test_a_prefix_needs_all_blocks_where_there_is_no_window_and_the_last_ones_where_there_is() -> None:
    kv = blocks((None, 20), (8, 20))
    finish(kv, range(40))
    again = make_request(1, range(40))
    assert start(kv, again) == 36, "the last token is always computed"
    # The token at 36 sees the 7 before it: blocks 7 and 8.
    assert [index for index, block in enumerate(again.block_tables[1]) if block != FREED] == [7, 8]
    assert held(again) == [10, 2]
    kv.check()


def test_a_prefix_ends_where_some_group_has_lost_what_its_window_sees() -> None:
    kv = blocks((None, 20), (8, 20))
    finish(kv, range(40))
    sliding = kv._groups[1].pool
    lost = make_request(1, range(40))
    keys = kv._keys(lost, 9)
    for index in (8, 5):
        block = sliding.find(keys[index])
        assert block is not None
        del sliding._block_of[keys[index]], sliding._key_of[block]
    # 9 blocks see block 8; 8 see blocks 6 and 7.
    assert kv.match(lost).num_tokens == 8 * 4
    block = sliding.find(keys[6])
    assert block is not None
    del sliding._block_of[keys[6]], sliding._key_of[block]
    # 8 and 7 see block 6, 6 sees block 5; 5 see blocks 3 and 4.
    assert kv.match(lost).num_tokens == 5 * 4


def test_a_prefix_of_windows_alone_needs_not_its_beginning() -> None:
    kv = blocks((8, 6))
    finish(kv, range(40))
    again = make_request(1, range(41))
    keys = kv._keys(again, 10)
    assert kv._groups[0].pool.find(keys[0]) is None, "its block was given out again"
    assert start(kv, again) == 40
    assert held(again) == [2]


def test_a_window_of_one_token_needs_no_block_of_a_prefix() -> None:
    kv = blocks((None, 20), (1, 5))
    finish(kv, range(20))
    again = make_request(1, range(20))
    assert (start(kv, again), held(again)) == (16, [5, 0])


@pytest.mark.parametrize("cache", [True, False])
def test_without_a_prefix_cache_nothing_is_found(cache: bool) -> None:
    kv = blocks((None, 20), (8, 20), cache=cache)
    finish(kv, range(40))
    assert kv.match(make_request(1, range(40))).num_tokens == (36 if cache else 0)
    assert (kv.num_cached > 0) is cache


def test_states_are_taken_and_given_back_and_there_is_no_prefix_cache_with_them() -> None:
    kv = blocks((None, 20), num_states=2)
    finish(kv, range(8))
    first, second, third = (make_request(number, range(8)) for number in (1, 2, 3))
    assert (start(kv, first), start(kv, second)) == (0, 0)
    assert {first.state_slot, second.state_slot} == {0, 1}
    assert not kv.admit(third, kv.match(third), None)
    slot = first.state_slot
    kv.release(first)
    assert (first.state_slot, start(kv, third), third.state_slot) == (None, 0, slot)
    kv.check()
    kv._free_states += [0, 0]
    with pytest.raises(RuntimeError, match="given back twice"):
        kv.check()


def test_a_model_without_any_tokens_kept_needs_only_states() -> None:
    kv = blocks(num_states=1)
    request = make_request(1, range(50))
    start(kv, request)
    compute(kv, request, 50)
    assert (request.block_tables, request.state_slot, kv.num_blocks) == ([], 0, 0)
    kv.release(request)
    start(kv, make_request(2, [1]))


@pytest.mark.parametrize(
    ("groups", "chunk", "longest"),
    [
        ([(None, 10)], 8, 40),
        ([(None, 10), (8, 5)], 8, 40),  # 20 slots hold 8 + 8 tokens and one block.
        ([(None, 10), (8, 4)], 8, 16),
        ([(8, 5)], 8, None),
        ([(8, 5), (16, 6)], 8, 24),
        ([], 8, None),
    ],
)
def test_windows_limit_a_sequence_only_where_a_step_does_not_fit(
    groups: list[tuple[int | None, int]], chunk: int, longest: int | None
) -> None:
    windows, counts = zip(*groups, strict=True) if groups else ((), ())
    assert KVSizes(block_size=4, windows=windows, num_blocks=counts).longest(chunk) == longest


@pytest.mark.parametrize("windows", [((None, 40),), ((None, 40), (8, 40)), ((8, 40),)])
def test_places_that_were_found_are_forgotten_with_the_blocks(windows: tuple[tuple[int | None, int], ...]) -> None:
    kv = blocks(*windows, cache=False)
    request = make_request(1, range(5))
    for _ in range(2):
        start(kv, request, chunk=4)
        compute(kv, request, 5)
        for stop in range(6, 30):
            compute(kv, request, stop)
            assert [len(table) for table in request.block_tables] == [-(-stop // 4)] * len(windows)
            assert request.num_places in (0, -(-stop // 4) * 4)
        kv.release(request)
        kv.check()
        assert (kv.num_used, request.num_places) == (0, 0)
