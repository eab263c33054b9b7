from __future__ import annotations

import random
from array import array

import torch
from hypothesis import given
from hypothesis import strategies as st
from null_runner import make_request

from candle_vllm_core.runtime.batch import UNKNOWN, layout_of, sampling_rows
from candle_vllm_core.runtime.kv import FREED
from candle_vllm_core.runtime.scheduler import Slice

CPU = torch.device("cpu")


def tables_of(*tables: list[int]) -> list[array[int]]:
    return [array("q", table) for table in tables]


def test_a_step_becomes_flat_tensors_with_slots_from_the_block_tables() -> None:
    decoding = make_request(1, [1, 2, 3])
    decoding.accept(4, None)
    decoding.block_tables, decoding.num_computed = tables_of([5, 2], [FREED, 7]), 3
    prompting = make_request(2, [7, 8, 9, 10, 11])
    prompting.block_tables = tables_of([0, 9, 3], [4, 1])
    step = (Slice(decoding, 3, 4), Slice(prompting, 1, 4))
    layout = layout_of(step, 3, CPU)
    assert layout.tokens.tolist() == [4, 8, 9, 10]
    assert layout.positions.tolist() == [3, 1, 2, 3]
    assert [slots.tolist() for slots in layout.slot_mapping] == [
        [2 * 3 + 0, 0 * 3 + 1, 0 * 3 + 2, 9 * 3 + 0],
        [7 * 3 + 0, 4 * 3 + 1, 4 * 3 + 2, 1 * 3 + 0],
    ]
    tables = [[table.tolist() for table in tables] for tables in layout.block_tables]
    assert tables == [[[5, 2], [0, 9]], [[FREED, 7], [4, 1]]]
    assert (list(layout.query_lens), list(layout.seq_lens)) == ([1, 3], [4, 4])
    assert list(layout.state_slots) == []


def test_recurrent_states_are_named_in_the_order_of_the_sequences() -> None:
    first, second = make_request(1, [1, 2, 3]), make_request(2, [7])
    first.state_slot, second.state_slot = 4, 0
    layout = layout_of((Slice(second, 0, 1), Slice(first, 0, 2)), 3, CPU)
    assert (list(layout.state_slots), layout.slot_mapping, layout.block_tables) == ([0, 4], [], [])


def test_only_slices_that_reach_the_last_token_are_sampled() -> None:
    decoding, prompting = make_request(1, [1]), make_request(2, [7, 8, 9])
    step = (Slice(prompting, 0, 2), Slice(decoding, 0, 1))
    assert sampling_rows(step, CPU).tolist() == [2]
    assert sampling_rows((Slice(prompting, 0, 2),), CPU).tolist() == []
    assert sampling_rows((Slice(prompting, 2, 3), Slice(decoding, 0, 1)), CPU).tolist() == [0, 1]


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 9), st.randoms(use_true_random=False)), min_size=1))
def test_every_token_has_its_position_and_the_slot_that_its_block_table_says(
    slices: list[tuple[int, int, random.Random]],
) -> None:
    step = []
    for number, (start, length, draw) in enumerate(slices):
        request = make_request(number, range(start + length))
        request.block_tables = tables_of(draw.choices(range(99), k=14), draw.choices(range(99), k=14))
        step.append(Slice(request, start, start + length))
    layout = layout_of(tuple(step), 3, CPU)
    each = [(request, at) for request, start, stop in step for at in range(start, stop)]
    assert layout.tokens.tolist() == layout.positions.tolist() == [at for _, at in each]
    for group in (0, 1):
        tables = [request.block_tables[group] for request, _ in each]
        slots = [table[at // 3] * 3 + at % 3 for table, (_, at) in zip(tables, each, strict=True)]
        assert layout.slot_mapping[group].tolist() == slots
        own = [list(request.block_tables[group][: -(-stop // 3)]) for request, _, stop in step]
        assert [table.tolist() for table in layout.block_tables[group]] == own


def test_tokens_that_are_being_drawn_stand_as_unknown() -> None:
    first, second = make_request(1, [5, 6]), make_request(2, [7, 8, 9])
    layout = layout_of((Slice(first, 2, 3), Slice(second, 1, 3), Slice(first, 1, 4)), 3, CPU)
    assert layout.tokens.tolist() == [UNKNOWN, 8, 9, 6, UNKNOWN, UNKNOWN]
    assert layout.positions.tolist() == [2, 1, 2, 1, 2, 3]
