import torch
from null_runner import make_request

from candle_vllm_core.runtime.batch import layout_of, sampling_rows
from candle_vllm_core.runtime.kv import FREED
from candle_vllm_core.runtime.scheduler import Slice

CPU = torch.device("cpu")


def test_a_step_becomes_flat_tensors_with_slots_from_the_block_tables() -> None:
    decoding = make_request(1, [1, 2, 3])
    decoding.accept(4, None)
    decoding.block_tables, decoding.num_computed = [[5, 2], [FREED, 7]], 3
    prompting = make_request(2, [7, 8, 9, 10, 11])
    prompting.block_tables = [[0, 9, 3], [4, 1]]
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
