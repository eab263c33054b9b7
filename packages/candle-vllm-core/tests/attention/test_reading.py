import torch

from candle_vllm_core.attention.reading import Neighbours, Scattered, Span, reads


def span(blocks: list[int], start: int, stop: int) -> Span:
    return Span(torch.tensor(blocks), start, stop)


def kinds(*spans: Span, block_size: int = 4) -> list[type]:
    return [type(read) for read in reads(spans, block_size)]


def test_blocks_side_by_side_are_read_without_a_copy() -> None:
    assert kinds(span([5, 6, 7], 0, 10), span([2], 0, 3), span([9, 8], 0, 4)) == [Neighbours] * 3


def test_the_others_are_copied_together_in_runs() -> None:
    scattered = span([3, 1], 0, 8)
    assert kinds(scattered, scattered, scattered) == [Scattered]
    assert kinds(scattered, span([0, 1], 0, 8), scattered, scattered) == [Scattered, Neighbours, Scattered]


def test_long_sequences_are_copied_one_by_one() -> None:
    table = list(range(2000, 0, -1))
    assert kinds(span(table, 0, 8000), span(table, 0, 8000), span(table, 0, 100)) == [Scattered, Scattered]


def test_only_the_blocks_within_the_span_count() -> None:
    assert kinds(span([9, 3, 4, 0], 4, 12)) == [Neighbours]
    assert kinds(span([9, 3, 4, 0], 3, 12)) == [Scattered]
