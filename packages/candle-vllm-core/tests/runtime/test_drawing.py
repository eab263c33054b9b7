from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.generation.logits_process import (
    LogitsProcessorList,
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from candle_vllm_core.runtime import drawing
from candle_vllm_core.runtime.drawing import Cuts, Floats

WEIGHTS = st.lists(st.sampled_from([0.0, 0.1, 1.0, 2.5]), min_size=1, max_size=80).filter(any)


def array(*values: float) -> Floats:
    return np.array([values], dtype=np.float64)


def cuts(
    temperature: float = 1.0, top_k: float = math.inf, top_p: float = math.inf, min_p: float = 0.0
) -> tuple[float, float, float, float, float]:
    return temperature, top_k, top_p, min_p, 0.0


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.0])
@pytest.mark.parametrize("top_k", [1, 7, 60, None])
@pytest.mark.parametrize("top_p", [1e-6, 0.3, 0.9, 0.999, None])
@pytest.mark.parametrize("min_p", [1e-9, 0.01, 0.3, 1.0, None])
def test_cuts_as_transformers(temperature: float, top_k: int | None, top_p: float | None, min_p: float | None) -> None:
    logits = (torch.randn(60, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 3).sort(
        descending=True
    )[0]
    processors = LogitsProcessorList([TemperatureLogitsWarper(temperature)])
    processors += [TopKLogitsWarper(top_k)] if top_k else []
    processors += [TopPLogitsWarper(top_p)] if top_p else []
    processors += [MinPLogitsWarper(min_p)] if min_p else []
    expected = processors(torch.tensor([[0]]), logits[None].clone())[0].softmax(0)
    its = Cuts.of([cuts(temperature, top_k or math.inf, top_p or math.inf, min_p or 0.0)])
    weights = drawing.likelihoods(logits[None].numpy(), its)
    count = int(drawing.num_kept(weights, weights.cumsum(-1)[:, -1:], its)[0, 0])
    found = np.where(np.arange(60) < count, weights[0], 0.0)
    torch.testing.assert_close(torch.from_numpy(found / found.sum()), expected)


@pytest.mark.parametrize("scale", [0.0, 0.3, 3.0, 30.0])
@pytest.mark.parametrize("temperature", [0.1, 1.0, 10.0])
def test_what_lies_beyond_the_likeliest_weighs_no_more_than_is_said(scale: float, temperature: float) -> None:
    logits = np.random.default_rng(0).normal(size=(5, 640)).astype(np.float32) * np.float32(scale)
    ordered = -np.sort(-logits.astype(np.float64), axis=-1)
    its = Cuts.of([cuts(temperature)] * 5)
    weights = drawing.likelihoods(ordered, its)
    peaks = logits.reshape(5, 10, 64).max(-1)
    for known in (1, 20, 640):
        most = drawing.most_beyond(peaks, weights[:, :known], its, 64)
        assert (most >= weights[:, known:].sum(-1, keepdims=True)).all()
        assert (most <= 641 * weights[:, known - 1 : known] + 1e-30).all()


def test_a_cut_beyond_what_is_known_is_said_to_be_open() -> None:
    weights = array(0.5, 0.25, 0.125)
    for top_p, min_p, expected in [(0.6, 0.0, 2), (0.9, 0.0, 4), (0.9, 0.3, 2), (0.6, 0.1, 2), (math.inf, 0.1, 4)]:
        its = Cuts.of([cuts(top_p=top_p, min_p=min_p)])
        assert drawing.num_kept(weights, 1.0, its).tolist() == [[expected]]


@pytest.mark.parametrize("value", [1e-320, 1e-45, 1e-30])
def test_the_coldest_temperatures_leave_the_likeliest(value: float) -> None:
    logits = array(3e38, 2.0, 1.0, -3e38, -math.inf)
    assert drawing.likelihoods(logits, Cuts.of([cuts(value)])).tolist() == [[1, 0, 0, 0, 0]]


@given(WEIGHTS, st.floats(0.0, 1.0, exclude_max=True), st.integers(1, 80))
def test_a_draw_inverts_the_distribution_function(row: list[float], uniform: float, count: int) -> None:
    first = next(place for place, weight in enumerate(row) if weight)
    count = min(max(count, first + 1), len(row))
    place = int(drawing.draw_first(array(*row), np.array([[count]]), array(uniform))[0, 0])
    whole = sum(row[:count])
    assert place < count
    assert row[place] > 0
    assert sum(row[:place]) / whole - 1e-12 <= uniform <= sum(row[: place + 1]) / whole + 1e-12


@pytest.mark.parametrize(("uniform", "place"), [(0.0, 1), (math.nextafter(1.0, 0.0), 2), (1.0, 2)])
def test_the_ends_of_the_interval_are_places_with_a_weight(uniform: float, place: int) -> None:
    running = array(0.0, 0.3, 0.5, 0.0).cumsum(-1)
    assert drawing.find(running, uniform * running[:, -1:], running[:, -1:]).tolist() == [[place]]


def test_a_rows_bits_do_not_depend_on_how_many_there_are() -> None:
    logits = -np.sort(np.random.default_rng(0).random((13, 250)) * 60)
    its = [cuts(0.1 + number / 5) for number in range(13)]
    every = drawing.likelihoods(logits, Cuts.of(its))
    for number in range(13):
        alone = drawing.likelihoods(logits[number : number + 1].copy(), Cuts.of(its[number : number + 1]))
        assert np.array_equal(alone[0], every[number])
        assert np.array_equal(alone.cumsum(-1)[0], every.cumsum(-1)[number])
