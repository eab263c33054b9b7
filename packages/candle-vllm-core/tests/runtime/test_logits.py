from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from candle_vllm_core.runtime import logits as transforms
from candle_vllm_core.runtime.logits import Candidates

SIZES = [1, 7, 640, 4096, 4097, 20_011]
LEVELS = st.sampled_from([-math.inf, -3.0, -1.0, 0.0, 0.5, 2.0])
ROWS = st.lists(LEVELS, min_size=1, max_size=80).filter(lambda row: max(row) > -math.inf)


@pytest.fixture(params=["as it is", "in tiny blocks"])
def block_size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small rows take the way of large ones."""
    if request.param == "in tiny blocks":
        for name, value in (("SMALL", 3), ("BLOCK", 4), ("SHORTLIST", 3)):
            monkeypatch.setattr(transforms, name, value)


def random_row(size: int, scale: float = 3.0) -> Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(size)) * scale


def expanded(candidates: Candidates, size: int) -> Tensor:
    if candidates.tokens is None:
        return candidates.logits
    return torch.full((size,), -math.inf).scatter(0, candidates.tokens, candidates.logits)


def ordered(row: Sequence[float]) -> list[int]:
    """The oracle: likeliest first, of equals the lower id."""
    return sorted(range(len(row)), key=lambda place: (-row[place], place))


def possible(row: Tensor) -> set[int]:
    return set(row.isfinite().nonzero()[:, 0].tolist())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("k", [1, 2, 50, 300, 5000, 10**9])
def test_top_k_as_transformers(size: int, k: int) -> None:
    row = random_row(size)
    expected = TopKLogitsWarper(min(k, size))(None, row[None])[0]
    assert torch.equal(expanded(transforms.top_k(Candidates(row), k), size), expected)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scale", [0.1, 1.0, 3.0, 20.0])
@pytest.mark.parametrize("p", [1e-6, 0.1, 0.5, 0.9, 0.999])
def test_top_p_as_transformers(size: int, scale: float, p: float) -> None:
    row = random_row(size, scale)
    expected = TopPLogitsWarper(p)(None, row[None].double())[0].float()
    assert torch.equal(expanded(transforms.top_p(Candidates(row), p), size), expected)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("p", [1e-9, 0.01, 0.3, 1.0])
def test_min_p_as_transformers(size: int, p: float) -> None:
    row = random_row(size)
    expected = MinPLogitsWarper(p)(None, row[None])[0]
    assert torch.equal(transforms.min_p(Candidates(row), p).logits, expected)


@pytest.mark.parametrize("value", [0.01, 0.7, 1.3, 100.0])
def test_temperature_as_transformers(value: float) -> None:
    row = random_row(640)
    expected = TemperatureLogitsWarper(value)(None, row[None])[0]
    torch.testing.assert_close(transforms.temperature(row, value).softmax(0), expected.softmax(0))


@pytest.mark.parametrize("value", [1e-320, 1e-45, 1e-30])
def test_the_coldest_temperatures_leave_the_likeliest(value: float) -> None:
    cold = transforms.temperature(torch.tensor([-3e38, 1.0, 2.0, -math.inf, 3e38, 1.0]), value)
    assert cold.softmax(0).tolist() == [0, 0, 0, 0, 1, 0]


@pytest.mark.parametrize("penalty", [0.5, 1.2, 10.0])
def test_repetition_penalty_as_transformers(penalty: float) -> None:
    row, tokens = random_row(640), torch.tensor([3, 600, 77, 0, 639])
    expected = RepetitionPenaltyLogitsProcessor(penalty)(tokens[None], row[None])[0]
    assert torch.equal(transforms.repetition_penalty(row, tokens, penalty), expected)


def test_bias_mask_and_answer_penalties_by_formula() -> None:
    row, tokens = random_row(10), torch.tensor([9, 2, 5])
    before = row.clone()
    assert transforms.logit_bias(row, tokens, torch.tensor([1.0, -100.0, 0.5])).tolist() == pytest.approx(
        [value + {9: 1.0, 2: -100.0, 5: 0.5}.get(token, 0.0) for token, value in enumerate(before.tolist())]
    )
    assert transforms.answer_penalties(
        row, tokens, torch.tensor([3.0, 0.0, 1.0]), 0.5, -0.25
    ).tolist() == pytest.approx(
        [value - {9: 1.25, 5: 0.25}.get(token, 0.0) for token, value in enumerate(before.tolist())]
    )
    assert possible(transforms.mask(row, tokens)) == set(range(10)) - {9, 2, 5}
    assert torch.equal(row, before)


@pytest.mark.usefixtures("block_size")
def test_leaders_of_rows_with_equals() -> None:
    @given(ROWS, st.integers(1, 90))
    def check(row: list[float], count: int) -> None:
        found = transforms.leaders(torch.tensor(row), count).tolist()
        finite = [place for place in ordered(row) if row[place] > -math.inf]
        assert found[: len(finite)] == finite[:count]
        assert all(row[place] == -math.inf for place in found[len(finite) :])

    check()


@pytest.mark.parametrize("size", [4097, 20_011])
@pytest.mark.parametrize("count", [1, 50, 64, 65, 300, 4000, 30_000])
def test_leaders_of_large_rows_with_equals(size: int, count: int) -> None:
    row = random_row(size).bfloat16().float()
    assert transforms.leaders(row, count).tolist() == ordered(row.tolist())[:count]
    assert transforms.leaders(torch.zeros(size), count).tolist() == list(range(min(count, size)))


@pytest.mark.usefixtures("block_size")
def test_nuclei_of_rows_with_equals() -> None:
    @given(ROWS, st.floats(1e-9, 1.0, exclude_max=True))
    def check(row: list[float], p: float) -> None:
        probs = torch.tensor(row).softmax(0).double()
        mass, nucleus = p * float(probs.sum()), []
        for place in ordered(row):
            nucleus.append(place)
            if sum(float(probs[each]) for each in nucleus) >= mass * (1 + 1e-12):
                break
        least = [
            place for i, place in enumerate(nucleus) if sum(float(probs[n]) for n in nucleus[:i]) < mass * (1 - 1e-12)
        ]
        found = possible(expanded(transforms.top_p(Candidates(torch.tensor(row)), p), len(row)))
        assert set(least) <= found <= set(nucleus)

    check()


def test_a_large_nucleus_cuts_equals_by_id() -> None:
    kept = transforms.top_p(Candidates(torch.zeros(20_000)), 0.75)
    assert possible(expanded(kept, 20_000)) == set(range(15_000))
    row = torch.cat([torch.full((10_000,), 1.0), torch.zeros(10_000)]).flip(0)
    probs = row.softmax(0).double()
    p = float((probs[10_000:].sum() + probs[:5000].sum() - probs[0] / 2) / probs.sum())
    kept = transforms.top_p(Candidates(row), p)
    assert possible(expanded(kept, 20_000)) == {*range(5000), *range(10_000, 20_000)}


@pytest.mark.usefixtures("block_size")
def test_a_nucleus_ends_where_its_mass_is_reached() -> None:
    kept = transforms.top_p(Candidates(torch.zeros(8)), 0.5)
    assert possible(expanded(kept, 8)) == {0, 1, 2, 3}
    probs = torch.tensor([0.125, 0.25, 0.125, 0.25, 0.125, 0.125])
    assert transforms._nucleus(probs, 0.5).tolist() == [False, True, False, True, False, False]
    assert transforms._nucleus(probs, 1.0 + 1e-9).all()


@pytest.mark.usefixtures("block_size")
@pytest.mark.parametrize("p", [math.nextafter(1.0, 0.0), 5e-324])
def test_extreme_nuclei(p: float) -> None:
    row = random_row(30)
    kept = possible(expanded(transforms.top_p(Candidates(row), p), 30))
    assert kept == (set(range(30)) if p > 0.5 else {int(row.argmax())})


def test_cuts_follow_each_other() -> None:
    row = random_row(20_011)
    candidates = transforms.top_p(transforms.top_k(Candidates(row), 40), 0.8)
    expected = TopPLogitsWarper(0.8)(None, TopKLogitsWarper(40)(None, row[None]))[0]
    assert torch.equal(expanded(candidates, 20_011), expected)
    candidates, expected = transforms.min_p(candidates, 0.2), MinPLogitsWarper(0.2)(None, expected[None])[0]
    assert torch.equal(expanded(candidates, 20_011), expected)
    assert candidates.token(0) == int(row.argmax())


@pytest.mark.parametrize("size", [1, 63, 64, 65, 640, 5003])
def test_likeliest_is_the_first_of_equals(size: int) -> None:
    rows = torch.stack([random_row(size), random_row(size).round(), torch.zeros(size)])
    assert transforms.likeliest(rows).tolist() == [ordered(row)[0] for row in rows.tolist()]


@pytest.mark.usefixtures("block_size")
def test_draw_inverts_the_distribution_function() -> None:
    @given(ROWS, st.floats(0.0, 1.0, exclude_max=True))
    def check(row: list[float], uniform: float) -> None:
        probs = torch.tensor(row).softmax(0).double()
        place = transforms.draw(torch.tensor(row), uniform)
        upper = float(probs[: place + 1].sum() / probs.sum())
        lower = upper - float(probs[place] / probs.sum())
        assert row[place] > -math.inf
        assert lower - 1e-12 <= uniform <= upper + 1e-12

    check()


@pytest.mark.parametrize("size", SIZES)
def test_the_ends_of_the_interval_are_tokens_with_a_chance(size: int) -> None:
    row = random_row(size)
    row[: size // 3] = -math.inf
    row[size - size // 3 :] = -math.inf
    assert transforms.draw(row, 0.0) == size // 3
    assert transforms.draw(row, math.nextafter(1.0, 0.0)) == size - size // 3 - 1
    assert transforms.draw(row, 1.0) == size - size // 3 - 1  # what rounding can make of the number before


def test_a_rows_bits_do_not_depend_on_where_it_lies() -> None:
    batch = torch.stack([random_row(5003)] * 7)
    steps = (lambda row: transforms.temperature(row, 0.7), lambda row: row.softmax(0), lambda row: row.log_softmax(0))
    for step in steps:
        assert all(torch.equal(step(row), step(row.clone())) for row in batch)
        assert all(torch.equal(step(row), step(batch[0])) for row in batch)
