"""Requests of all kinds as the sampler sees them, drawn by kernels and beside that on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from sampling_rows import EOS, Row, words
from torch import Tensor

from candle_vllm_core.runtime.device_sampling import DeviceSampler
from candle_vllm_core.runtime.sampling import Sampled, Sampler
from candle_vllm_core.types import GenerationParams


def rows_of(ways: Sequence[dict[str, float]], vocab: int) -> list[Row]:
    """Each way, plain or with edits of all kinds in turn."""
    found = []
    for number, way in enumerate(ways, vocab % 2):
        params = GenerationParams(**way, logprobs=True)  # type: ignore[arg-type]
        row = Row(params, id=number, seed=number, prompt=[1, 2, 2, vocab - 1], generated=[5, 2, 5])
        if number % 2:
            row.params = replace(params, logit_bias={3: 4.0, vocab - 2: -100.0, 9: 1.5}, repetition_penalty=1.3)
            row.params = replace(row.params, frequency_penalty=0.7, presence_penalty=-0.5, min_tokens=9)
            row.bad_words = [[4], [2, 5, 6], [9, 9]]
        if number % 4 == 1:
            row.allowed = words(*range(0, vocab, 3), vocab=vocab)
        found.append(row)
    return found


def check(logits: Tensor, rows: Sequence[Row], device: torch.device) -> Sampled:
    vocab = logits.shape[1]
    found = DeviceSampler(vocab, [EOS], device).sample(logits.to(device), rows)
    right = Sampler(vocab, [EOS]).sample(logits, rows)
    assert (found.tokens, found.errors) == (right.tokens, right.errors)
    for its, wanted in zip(found.logprobs, right.logprobs, strict=True):
        assert (its is None) == (wanted is None)
        if its is not None and wanted is not None:
            assert (its.token, its.top) == (wanted.token, wanted.top)
            assert its.logprob == pytest.approx(wanted.logprob, abs=1e-5)
    return found
