from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers.generation.logits_process import RepetitionPenaltyLogitsProcessor, TopPLogitsWarper

from candle_vllm_core.runtime import logits as transforms
from candle_vllm_core.runtime.logits import Rows

SIZES = [1, 7, 640, 4097, 20_011]
LEVELS = st.sampled_from([-math.inf, -3.0, -1.0, -0.0, 0.0, 0.5, 2.0])
ROWS = st.lists(LEVELS, min_size=1, max_size=300).filter(lambda row: max(row) > -math.inf)


def random_rows(size: int, count: int = 1, scale: float = 3.0) -> Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(size)) * scale


def ordered(row: Sequence[float]) -> list[int]:
    """The oracle: likeliest first, of equals the lower id."""
    return sorted(range(len(row)), key=lambda place: (-row[place], place))


def at(row: int, *tokens: int, width: int) -> Tensor:
    return torch.tensor([row * width + token for token in tokens])


@pytest.mark.parametrize("penalty", [0.5, 1.2, 10.0])
def test_repetition_penalty_as_transformers(penalty: float) -> None:
    rows, tokens = random_rows(640, 2), list(range(639, -1, -9))
    expected = RepetitionPenaltyLogitsProcessor(penalty)(torch.tensor([tokens]), rows[1:].clone())[0]
    untouched = rows[0].clone()
    penalties = torch.tensor([[penalty, 0.0, 0.0]]).expand(len(tokens), 3)
    transforms.penalize(rows, at(1, *tokens, width=640), torch.zeros(len(tokens)), penalties)
    assert torch.equal(rows[1], expected)
    assert torch.equal(rows[0], untouched)


def test_bias_bans_and_answer_penalties_by_formula() -> None:
    rows = random_rows(64, 2)
    before = rows.clone()
    cells = at(1, 9, 2, 5, width=64)
    transforms.add_bias(rows, cells, torch.tensor([1.0, -100.0, 0.5]))
    expected = before.clone()
    expected[1, [9, 2, 5]] += torch.tensor([1.0, -100.0, 0.5])
    assert torch.equal(rows, expected)
    rows = before.clone()
    transforms.penalize(rows, cells, torch.tensor([3.0, 0.0, 1.0]), torch.tensor([[1.0, 0.5, -0.25]]).expand(3, 3))
    expected = before.clone()
    expected[1, [9, 2, 5]] -= torch.tensor([1.25, 0.0, 0.25])
    assert torch.equal(rows, expected)
    transforms.ban(rows, cells)
    assert rows[1].isinf().nonzero()[:, 0].tolist() == [2, 5, 9]


def test_a_mask_leaves_the_tokens_of_its_bits() -> None:
    rows = random_rows(128, 3)
    before = rows.clone()
    words = torch.tensor([[1, -(2**31), 0, 6], [-1, -1, -1, -1]], dtype=torch.int32)
    transforms.allow_only(rows, torch.tensor([2, 0]), words)
    assert torch.equal(rows[:2], before[:2])
    assert rows[2].isfinite().nonzero()[:, 0].tolist() == [0, 63, 97, 98]
    assert torch.equal(rows[2, [0, 63, 97, 98]], before[2, [0, 63, 97, 98]])


@settings(max_examples=200)
@given(st.lists(ROWS, min_size=1, max_size=3), st.integers(1, 330))
def test_leaders_of_rows_with_equals(rows: list[list[float]], count: int) -> None:
    width = max(map(len, rows))
    padded = [row + [-math.inf] * (width - len(row)) for row in rows]
    found = transforms.leaders(Rows.of(torch.tensor(padded)), count).tolist()
    for row, places in zip(padded, found, strict=True):
        assert places[:width] == ordered(row)[:count]
        assert sorted(places) == sorted(set(places))


@pytest.mark.parametrize("size", [4097, 20_011])
@pytest.mark.parametrize("count", [1, 20, 50, 65, 300, 4000, 30_000])
def test_leaders_of_large_rows_with_equals(size: int, count: int) -> None:
    rows = torch.cat([random_rows(size).bfloat16().float(), torch.zeros(1, size)])
    found = transforms.leaders(Rows.of(rows), count)
    assert found[0, :size].tolist() == ordered(rows[0].tolist())[:count]
    assert found[1, :size].tolist() == list(range(min(count, size)))


def test_leaders_of_some_rows_are_theirs() -> None:
    rows = Rows.of(random_rows(700, 6))
    every = transforms.leaders(rows, 40)
    for places in ([0, 1, 2, 3, 4, 5], [2, 3], [0, 5], [4]):
        part = rows.take(places)
        assert torch.equal(transforms.leaders(part, 40), every[places])
        assert torch.equal(part.at(every[places]), rows.at(every)[places])
        assert torch.equal(part.logits, rows.logits[places])


@pytest.mark.parametrize("size", [1, 63, 64, 65, 640, 5003])
def test_likeliest_is_the_first_of_equals(size: int) -> None:
    rows = torch.stack([random_rows(size)[0], random_rows(size)[0].round(), torch.zeros(size)])
    assert transforms.likeliest(Rows.of(rows))[:, 0].tolist() == [ordered(row)[0] for row in rows.tolist()]


@pytest.mark.parametrize("value", [1e-30, 1e-20])
def test_the_coldest_temperatures_leave_the_likeliest(value: float) -> None:
    rows = Rows.of(torch.tensor([[-3e38, 1.0, 2.0, -math.inf, 3e38, 1.0]]))
    assert transforms.probabilities(rows, torch.tensor([[value]]))[0, :6].tolist() == [0, 0, 0, 0, 1, 0]


@pytest.mark.parametrize("scale", [0.1, 1.0, 3.0, 20.0])
@pytest.mark.parametrize("p", [1e-6, 0.1, 0.5, 0.9, 0.999])
def test_a_large_nucleus_as_transformers(scale: float, p: float) -> None:
    row = random_rows(20_011, 1, scale)
    expected = TopPLogitsWarper(p)(None, row.double())[0]
    thinned = transforms.thin(transforms.probabilities(Rows.of(row), None)[0], p, 0.0)[:20_011]
    # A float32 probability may be 0 where the float64 one is not; the tail of the nucleus is not as low as that.
    assert torch.equal(thinned > 0, expected.isfinite())


def test_a_large_nucleus_cuts_equals_by_id() -> None:
    thinned = transforms.thin(torch.full((20_032,), 1 / 20_032), 0.75, 0.0)
    assert (thinned > 0).nonzero()[:, 0].tolist() == list(range(15_024))
    probs = torch.cat([torch.full((64,), 0.125), torch.full((64,), 0.25)])
    assert (transforms.thin(probs, 0.75, 0.0) > 0).nonzero()[:, 0].tolist() == [*range(16), *range(64, 128)]


@pytest.mark.parametrize(("p", "kept"), [(math.nextafter(1.0, 0.0), 64), (5e-324, 1), (0.5, 32)])
def test_extreme_nuclei(p: float, kept: int) -> None:
    assert int((transforms.thin(torch.full((64,), 1 / 64), p, 0.0) > 0).sum()) == kept


@pytest.mark.parametrize(("p", "kept"), [(1.0, {0}), (0.5, {0, 1}), (0.25, {0, 1, 2}), (1e-9, {0, 1, 2, 4})])
def test_min_p_of_a_whole_row_is_of_the_likeliest(p: float, kept: set[int]) -> None:
    thinned = transforms.thin(torch.tensor([0.5, 0.25, 0.125, 0.0, 1e-8]), 1.0, p)
    assert set(thinned.nonzero()[:, 0].tolist()) == kept


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("vocab", [64, 5003, 40_000])
def test_a_rows_bits_do_not_depend_on_where_it_lies_or_on_how_many_there_are(threads: int, vocab: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        logits = random_rows(vocab, 11)
        temperatures = torch.tensor([[1.0, 0.7, 3.0, 0.01] * 3]).T[:11]
        every = transforms.probabilities(Rows.of(logits), temperatures)
        sums, logprobs = transforms.block_sums(every), logits.log_softmax(-1)
        for first, stop in ((0, 1), (1, 3), (3, 10), (10, 11), (0, 11)):
            rows, its = Rows.of(logits[first:stop].clone()), temperatures[first:stop]
            probs = transforms.probabilities(rows, None if bool((its == 1.0).all()) else its)
            assert torch.equal(probs, every[first:stop])
            assert torch.equal(transforms.block_sums(probs), sums[first:stop])
            assert torch.equal(logits[first:stop].clone().log_softmax(-1), logprobs[first:stop])
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("default", [torch.float64, torch.bfloat16])
def test_what_a_program_has_as_its_default_type_is_its_own_affair(default: torch.dtype) -> None:
    logits = random_rows(4097, 3).to(torch.bfloat16)
    torch.set_default_dtype(default)
    try:
        found = Rows.of(logits)
        places = transforms.likeliest(found)
    finally:
        torch.set_default_dtype(torch.float32)
    assert found.peaks.dtype == torch.float32
    assert places[:, 0].tolist() == [row.index(max(row)) for row in logits.tolist()]
