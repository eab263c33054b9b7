import pytest
import torch

from candle_vllm_core.attention import reading
from candle_vllm_core.attention.reading import Neighbours, Scattered, Span, read_many, read_one


def span(blocks: list[int], start: int, stop: int) -> Span:
    return Span(torch.tensor(blocks), start, stop)


def together(*spans: Span, token_bytes: int = 512) -> list[int]:
    return [len(group.spans) for group in read_many(spans, 16, token_bytes)]


def table(read: object) -> list[int]:
    assert isinstance(read, Scattered)
    return read.table.tolist()


def test_blocks_side_by_side_are_read_without_a_copy() -> None:
    assert read_one(span([5, 6, 7], 0, 40), 16) == Neighbours(80, 48)


def test_blocks_that_lie_apart_are_copied() -> None:
    assert table(read_one(span([5, 7, 6], 0, 40), 16)) == [5, 7, 6]


def test_keys_that_make_the_number_right_stand_in_for_blocks_that_are_not_there() -> None:
    short = span([9, 4], 0, 20)
    assert short.length % 16 == 0
    assert table(read_one(span([3, 2, 1], 0, 9), 4))[:3] == [3, 2, 1]
    assert set(table(read_one(span([3, 2, 1], 0, 9), 4))[3:]) <= {1}


def test_blocks_that_slid_out_of_a_window_are_not_read() -> None:
    blocks = [-1] * 40 + list(range(100, 124))
    slid = span(blocks, 40 * 16 + 3, 64 * 16)
    assert slid.base == 512
    assert table(read_one(slid, 16)) == [100] * 8 + list(range(100, 124))


def test_sequences_of_like_lengths_are_copied_together() -> None:
    assert together(*[span(list(range(i, 100 + i)), 0, 1000 + i) for i in range(4)]) == [4]


def test_a_long_sequence_does_not_make_short_ones_long() -> None:
    short, long = span([1], 0, 9), span(list(range(100)), 0, 1600)
    assert together(short, short, long, long, short) == [2, 2, 1]


def test_no_more_is_copied_at_once_than_the_cache_of_the_processor_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MOST_COPIED", 512 * 160)
    assert together(*[span([1, 2, 3], 0, 40)] * 7) == [3, 3, 1]
    assert together(*[span([1, 2, 3], 0, 40)] * 2, token_bytes=10**9) == [1, 1]
