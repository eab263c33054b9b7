"""What requests change in their logits, seen in what is drawn then."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from sampling_rows import EOS, GREEDY, VOCAB, Row, draws, random_logits, sample, sample_one, words
from torch import Tensor
from transformers.generation.logits_process import (
    MinNewTokensLengthLogitsProcessor,
    NoBadWordsLogitsProcessor,
    SequenceBiasLogitsProcessor,
)

from candle_vllm_core.runtime.sampling import RowLogprobs, Sampler
from candle_vllm_core.types import GenerationParams


def test_bias_comes_before_everything() -> None:
    logits = random_logits()[0]
    assert sample_one(logits, GenerationParams(temperature=0.0, logit_bias={11: 100.0})) == 11
    assert set(draws(logits, GenerationParams(logit_bias={11: 100.0}, top_k=1), 20)) == {11}
    best = int(logits.argmax())
    assert sample_one(logits, GenerationParams(temperature=0.0, logit_bias={best: -100.0})) == int(
        logits.index_fill(0, torch.tensor([best]), -100.0).argmax()
    )
    # 3 + 4 over the penalty of 2 is 3.5, and less than 3.75; 3 over 2, plus 4, would be more.
    pair = torch.tensor([3.0, 3.75])
    params = GenerationParams(temperature=0.0, logit_bias={0: 4.0}, repetition_penalty=2.0)
    assert sample_one(pair, params, prompt=[0]) == 1


def test_repetition_counts_prompt_and_answer_the_other_penalties_only_the_answer() -> None:
    logits = torch.tensor([4.0, 3.9, 3.8, 0.0, 0.0, 0.0, 0.0, 0.0])
    rows = {"prompt": [0], "generated": [1]}
    assert sample_one(logits, GREEDY, **rows) == 0
    assert sample_one(logits, replace(GREEDY, repetition_penalty=1.5), **rows) == 2
    assert sample_one(logits, replace(GREEDY, presence_penalty=2.0), **rows) == 0
    assert sample_one(logits, replace(GREEDY, presence_penalty=2.0), prompt=[1], generated=[0]) == 1
    assert sample_one(logits, replace(GREEDY, frequency_penalty=0.15), prompt=[], generated=[0]) == 1
    assert sample_one(logits, replace(GREEDY, frequency_penalty=0.15), prompt=[], generated=[0, 0, 1]) == 2
    assert sample_one(logits, replace(GREEDY, frequency_penalty=-0.15), prompt=[], generated=[1]) == 1
    assert sample_one(logits, replace(GREEDY, presence_penalty=0.15), prompt=[], generated=[0, 0, 1]) == 0
    # Divided first, then subtracted from: 4 / 2 - 2 = 0 is less than 0.5, (4 - 2) / 2 = 1 would be more.
    pair = torch.tensor([4.0, 0.5])
    assert (
        sample_one(pair, replace(GREEDY, repetition_penalty=2.0, presence_penalty=2.0), generated=[0], prompt=[]) == 1
    )


def test_until_min_tokens_nothing_ends_the_answer() -> None:
    params = GenerationParams(temperature=0.0, min_tokens=2, stop_token_ids=(3,))
    logits = torch.zeros(VOCAB)
    logits[[EOS, 3, 12]] = torch.tensor([9.0, 8.0, 1.0])
    for each in (params, replace(params, temperature=1.0, top_k=1), replace(params, logit_bias={0: 0.5})):
        assert [sample_one(logits, each, generated=[0] * length) for length in range(4)] == [12, 12, EOS, EOS]
    assert set(draws(logits, replace(params, temperature=1.0), 100)).isdisjoint({EOS, 3})
    assert sample_one(logits, replace(params, ignore_eos=True)) == EOS


@pytest.mark.parametrize("bad", [[[12]], [[12], [3, 9], [2, 3, 13]], [[5, 2, 3, 12], [3, 12]], [[1, 2, 3, 4, 5, 12]]])
@pytest.mark.parametrize("generated", [[], [3], [5, 2, 3], [2, 3, 7]])
def test_bad_words_as_transformers(bad: list[list[int]], generated: list[int]) -> None:
    logits, prompt = random_logits(), [9, 2]
    before = torch.tensor([prompt + generated])
    banned = NoBadWordsLogitsProcessor(bad, eos_token_id=[EOS])(before, logits.clone())
    weights = Sampler(VOCAB).sample(
        logits.expand(VOCAB, -1),
        [
            Row(GREEDY, id=token, prompt=prompt, generated=generated, bad_words=bad, allowed=words(token))
            for token in range(VOCAB)
        ],
    )
    assert [token == -1 for token in weights.tokens] == banned[0].isinf().tolist()


def test_min_tokens_as_transformers() -> None:
    logits = random_logits(scale=0.1)
    logits[0, EOS] = 9.0
    processor = MinNewTokensLengthLogitsProcessor(3, 4, [EOS], device="cpu")
    for count in range(7):
        expected = processor(torch.zeros(1, 3 + count, dtype=torch.int64), logits.clone())[0].argmax()
        row = Row(replace(GREEDY, min_tokens=4), generated=[0] * count)
        assert sample(logits, row).tokens == [int(expected)]


def test_bias_as_transformers() -> None:
    logits = random_logits(6)
    bias = {3: 5.0, 17: -2.5, 39: 0.125}
    processor = SequenceBiasLogitsProcessor([[[token], value] for token, value in bias.items()])
    expected = processor(torch.zeros(6, 1, dtype=torch.int64), logits.clone()).argmax(-1).tolist()
    assert sample(logits, *(Row(replace(GREEDY, logit_bias=bias), id=i) for i in range(6))).tokens == expected


def test_a_mask_over_everything_fails_its_row() -> None:
    params = GenerationParams(min_tokens=1, stop_token_ids=tuple(range(VOCAB)))
    sampled = sample(random_logits(2), Row(params, id=0), Row(GREEDY, id=1))
    assert sampled.errors[0] is not None
    assert "left no token" in sampled.errors[0]
    assert sampled.errors[1] is None


def test_only_allowed_tokens_are_drawn() -> None:
    logits = random_logits()[0]
    allowed = [3, 31, 32, 39]
    best = max(allowed, key=lambda token: float(logits[token]))
    assert sample_one(logits, GREEDY, allowed=words(*allowed)) == best
    rows = [Row(GenerationParams(temperature=5.0), seed=seed, allowed=words(*allowed)) for seed in range(200)]
    assert set(sample(logits.expand(200, -1), *rows).tokens) == set(allowed)


def test_a_mask_comes_after_bias_and_leaves_logprobs_as_they_were() -> None:
    logits = random_logits()
    params = GenerationParams(temperature=0.0, logprobs=True, logit_bias={5: 100.0, 9: 90.0})
    sampled = sample(logits, Row(params, allowed=words(2, 9)))
    assert sampled.tokens == [9]
    assert sampled.logprobs == [RowLogprobs(9, float(logits[0].log_softmax(0)[9]))]


@pytest.mark.parametrize("params", [GREEDY, GenerationParams()])
@pytest.mark.parametrize("mask", [words(), words(1, vocab=VOCAB + 32), words(1).long()])
def test_a_mask_that_leaves_nothing_or_is_none_fails_its_row_alone(params: GenerationParams, mask: Tensor) -> None:
    logits = random_logits(3)
    rows = [Row(params, id=0), Row(params, id=1, allowed=mask), Row(params, id=2)]
    sampled = sample(logits, *rows)
    assert [error is None for error in sampled.errors] == [True, False, True]
    assert sampled.tokens == [*sample(logits[:1], rows[0]).tokens, -1, *sample(logits[2:], rows[2]).tokens]


def test_tokens_that_the_logits_have_not_fail_their_row() -> None:
    rows = [Row(GenerationParams(repetition_penalty=1.1), prompt=[99]), Row(GREEDY, id=1)]
    assert [error is None for error in sample(random_logits(2), *rows).errors] == [False, True]


def test_what_is_kept_of_a_request_can_be_forgotten() -> None:
    sampler = Sampler(VOCAB)
    logits = torch.tensor([[5.0, 4.0] + [0.0] * (VOCAB - 2)])
    penalized = replace(GREEDY, repetition_penalty=2.0)
    assert sampler.sample(logits, [Row(penalized, prompt=[0])]).tokens == [1]
    sampler.forget(0)
    assert sampler.sample(logits, [Row(penalized, prompt=[1])]).tokens == [0]
    sampler.forget(0)
    sampler.forget(12345)
    assert not sampler._adjustments._kept


def test_eos_ids_that_the_logits_have_not_are_nothing() -> None:
    sampled = Sampler(VOCAB, [EOS, VOCAB, -1]).sample(random_logits(), [Row(GenerationParams(min_tokens=1))])
    assert sampled.errors == [None]
