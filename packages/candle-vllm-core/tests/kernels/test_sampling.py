"""Tokens that kernels draw, beside those of the sampler on a CPU and of the reference."""

import math

import pytest
import torch
from device_rows import check, rows_of
from kernel_errors import close
from sampling_rows import EOS, GREEDY, Row, random_logits, words
from torch import Tensor

from candle_vllm_core.kernels import reference_sampling as reference
from candle_vllm_core.kernels.adjust import adjust
from candle_vllm_core.kernels.leaders import leaders
from candle_vllm_core.kernels.rows import Drawn
from candle_vllm_core.kernels.sampling import draw
from candle_vllm_core.runtime import sampling
from candle_vllm_core.runtime.device_sampling import DeviceSampler, Prepared
from candle_vllm_core.runtime.sampling import Sampler
from candle_vllm_core.types import GenerationParams

# What lanes compute that are not looked at: a GPU says nothing of it.
pytestmark = [pytest.mark.filterwarnings("ignore::RuntimeWarning"), pytest.mark.usefixtures("poisoned")]
WAYS: list[dict[str, float]] = [
    {"temperature": 0.0},
    {},
    {"temperature": 0.3},
    {"temperature": 3.0},
    {"top_p": 0.6},
    {"top_p": 0.97, "temperature": 1.7},
    {"top_p": 1e-9},
    {"min_p": 0.05},
    {"min_p": 1e-6},
    {"top_k": 1},
    {"top_k": 7, "top_p": 0.8},
    {"top_k": 64, "min_p": 0.01},
    {"temperature": 1e-300},
]


@pytest.mark.parametrize(("vocab", "scale"), [(40, 2.0), (65, 0.1), (4999, 4.0)])
def test_kernels_draw_the_tokens_that_a_cpu_draws(vocab: int, scale: float, device: torch.device) -> None:
    rows = rows_of(WAYS, vocab)
    check(random_logits(len(rows), vocab, seed=vocab, scale=scale), rows, device)


def test_of_equal_logits_the_first_are_likelier(device: torch.device) -> None:
    rows = rows_of([way for way in WAYS if way.get("temperature", 1.0) > 0], 300)
    check(random_logits(len(rows), 300, scale=1.0).round(decimals=1), rows, device)
    check(torch.zeros(3, 300), rows[:6:2], device)


@pytest.mark.parametrize("top_p", [0.5, 0.9999])
def test_nuclei_of_many_tokens_are_drawn_from_whole(top_p: float, device: torch.device) -> None:
    params = [GenerationParams(top_p=top_p), GenerationParams(top_p=top_p, min_p=0.3), GenerationParams(min_p=0.2)]
    rows = [Row(params[number], id=number, seed=number) for number in range(3)]
    exact = random_logits(3, 4200, scale=0.5)
    for logits in (exact, exact.bfloat16().float()):
        assert all(check(logits, rows, device).tokens)


def test_kernels_draw_as_the_reference(device: torch.device) -> None:
    vocab, rows = 1300, rows_of(WAYS[:9], 1300)
    logits = random_logits(len(rows), vocab, scale=1.0)
    logits[1], logits[3, 7], logits[5, ::2] = -math.inf, math.nan, -math.inf
    sampler = DeviceSampler(vocab, [EOS], device)
    right = reference.draw(logits, DeviceSampler(vocab, [EOS], torch.device("cpu")).prepare(rows).requests)
    found = sampler.draw(logits.to(device), sampler.prepare(rows))
    assert found.tokens.tolist() == right.tokens.tolist()
    assert found.statuses.tolist() == right.statuses.tolist()
    drawn = right.statuses == 0
    close(found.logprobs.cpu()[drawn], right.logprobs[drawn].float(), atol=1e-5, rtol=1e-6)


def test_edits_are_rounded_as_on_a_cpu(device: torch.device) -> None:
    vocab, rows = 4200, rows_of(WAYS[:4], 4200)
    logits = random_logits(len(rows), vocab, scale=9.0)
    requests = DeviceSampler(vocab, [EOS], device).prepare(rows).requests
    plain = DeviceSampler(vocab, [EOS], torch.device("cpu")).prepare(rows).requests
    found = adjust(logits.to(device), requests)
    right = [reference.edit(logits[number], number, plain) for number in range(1, len(rows), 2)]
    assert torch.equal(found.work.cpu(), torch.stack(right))
    assert not found.peaks.isnan().any()


def test_tokens_are_counted_where_they_are_drawn(device: torch.device) -> None:
    params = GenerationParams(frequency_penalty=1.5, repetition_penalty=1.2, temperature=0.0, min_tokens=3)
    rows = [Row(params, id=number, prompt=[number]) for number in range(3)]
    sampler, right = DeviceSampler(40, [EOS], device), Sampler(40, [EOS])
    for step in range(6):
        logits = random_logits(3, seed=step // 3)
        for part in ([0, 1, 2], [0]) if step == 2 else ([0, 1, 2],):
            its = [rows[number] for number in part]
            found = sampler.sample(logits[part].to(device), its)
            assert found.tokens == right.sample(logits[part], its).tokens
        for row, token in zip(rows, right.sample(logits, rows).tokens, strict=True):
            row.generated.append(token)
        if step == 3:
            rows[1].generated += [8, 8, 9]
            rows[2].generated = []
    sampler.forget(0)
    rows[0] = Row(params, id=7)
    assert sampler.sample(logits.to(device), rows).tokens == right.sample(logits, rows).tokens


def test_a_row_alone_is_the_row_in_any_batch(device: torch.device) -> None:
    rows = rows_of([*WAYS[1:12:3], {"top_k": 100}], 700)
    logits = random_logits(len(rows), 700).to(device)
    together = DeviceSampler(700, [EOS], device).sample(logits, rows)
    for number in range(0, len(rows), 2):
        alone = DeviceSampler(700, [EOS], device).sample(logits[number : number + 1], rows[number : number + 1])
        assert (alone.tokens[0], alone.logprobs[0]) == (together.tokens[number], together.logprobs[number])


def test_what_is_wrong_with_a_row_fails_it_alone(device: torch.device) -> None:
    logits = random_logits(6)
    logits[0, 3], logits[1], logits[2, 3] = math.nan, -math.inf, math.inf
    rows = [Row(GenerationParams(top_p=0.5, logprobs=True, top_logprobs=2), id=number) for number in range(5)]
    rows[3].allowed, rows[4].params = words(), GenerationParams(logit_bias={99: 1.0})
    found = check(logits, [*rows, Row(GREEDY, id=5)], device)
    assert [error is None for error in found.errors] == [False] * 5 + [True]


def test_the_likeliest_are_found_in_their_order(device: torch.device) -> None:
    vocab, rows = 9001, [Row(GenerationParams(top_p=0.5), id=number) for number in range(3)]
    logits = random_logits(3, vocab).round(decimals=1)
    logits[1], logits[2, 50:] = 0.0, -math.inf
    requests = DeviceSampler(vocab, [EOS], device).prepare(rows).requests
    on_device = logits.to(device)
    tokens, values = leaders(on_device, adjust(on_device, requests), requests, requests.narrow, 64)
    right = logits.sort(descending=True, stable=True).indices[:, :64].sort().values
    assert torch.equal(tokens[:2].cpu().long(), right[:2])
    assert torch.equal(values[:2].cpu(), logits.gather(1, right)[:2])
    assert tokens[2, :50].tolist() == list(range(50))


def test_a_sampler_on_a_gpu_draws_with_kernels_whatever_is_asked(
    device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling, "available", lambda _: True)
    drawn: list[int] = []
    by_kernels = DeviceSampler.draw

    def counted(self: DeviceSampler, logits: Tensor, prepared: Prepared) -> Drawn:
        drawn.append(len(logits))
        return by_kernels(self, logits, prepared)

    monkeypatch.setattr(DeviceSampler, "draw", counted)
    penalized = GenerationParams(temperature=0.0, frequency_penalty=2.0)
    rows, sampler, logits = [Row(penalized), Row(GREEDY, id=1)], Sampler(300, [EOS]), random_logits(2, 300)
    for step in range(6):
        rows[1].params = GenerationParams(top_k=129) if step in (2, 4) else GREEDY
        tokens = sampler.sample(logits.to(device), rows).tokens
        for row, token in zip(rows, tokens, strict=True):
            row.generated.append(token)
    monkeypatch.undo()
    assert drawn == [2] * 6
    assert len(set(rows[0].generated)) > 1
    row, right = Row(penalized), Sampler(300, [EOS])
    while len(row.generated) < 6:
        row.generated += right.sample(logits[:1], [row]).tokens
    assert row.generated == rows[0].generated


def test_logits_that_kernels_do_not_take_are_refused(device: torch.device) -> None:
    sampler = DeviceSampler(40, [EOS], device)
    requests = sampler.prepare([Row(GREEDY)]).requests
    for wrong in (torch.zeros(2, 40), torch.zeros(1, 40).half(), torch.zeros(1, 80)[:, ::2], torch.zeros(1, 2**19)):
        with pytest.raises(ValueError, match="logits"):
            draw(wrong.to(device), requests)
