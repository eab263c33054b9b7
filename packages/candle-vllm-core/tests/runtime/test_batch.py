import torch
from null_runner import make_request

from candle_vllm_core.runtime.batch import layout_of, sampling_rows
from candle_vllm_core.runtime.scheduler import Slice

CPU = torch.device("cpu")


def test_a_step_becomes_flat_tensors_with_slots_from_the_block_tables() -> None:
    decoding = make_request(1, [1, 2, 3])
    decoding.accept(4, None)
    decoding.block_table, decoding.num_computed = [5, 2], 3
    prompting = make_request(2, [7, 8, 9, 10, 11])
    prompting.block_table = [0, 9]
    step = (Slice(decoding, 3, 4), Slice(prompting, 1, 4))
    layout = layout_of(step, 3, CPU)
    assert layout.tokens.tolist() == [4, 8, 9, 10]
    assert layout.positions.tolist() == [3, 1, 2, 3]
    assert layout.slot_mapping.tolist() == [2 * 3 + 0, 0 * 3 + 1, 0 * 3 + 2, 9 * 3 + 0]
    assert [list(map(int, table)) for table in layout.block_tables] == [[5, 2], [0, 9]]
    assert (list(layout.query_lens), list(layout.seq_lens)) == ([1, 3], [4, 4])


def test_only_slices_that_reach_the_last_token_are_sampled() -> None:
    decoding, prompting = make_request(1, [1]), make_request(2, [7, 8, 9])
    step = (Slice(prompting, 0, 2), Slice(decoding, 0, 1))
    assert sampling_rows(step, CPU).tolist() == [2]
    assert sampling_rows((Slice(prompting, 0, 2),), CPU).tolist() == []
    assert sampling_rows((Slice(prompting, 2, 3), Slice(decoding, 0, 1)), CPU).tolist() == [0, 1]
