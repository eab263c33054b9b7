"""Requests of every kind that come, stop, fail and are cancelled, and what becomes of them in one world or another."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from harness import Harness
from null_runner import alone

from candle_vllm_core import GenerationOutput, GenerationParams, GenerationStats
from candle_vllm_core.runtime.request import Request
from candle_vllm_core.types import Pooling

Asked = tuple[int, list[int], GenerationParams, Pooling | None, int | None, int | None]
"""When a request comes, its prompt, how it is answered, and after how many tokens it is cancelled or its row fails."""


def asked(draw: random.Random, count: int, longest: int) -> Iterator[Asked]:
    for _ in range(count):
        prompt = [draw.randrange(3) for _ in range(draw.randrange(1, longest))]
        params = GenerationParams(
            max_tokens=draw.randrange(1, 25),
            priority=draw.randrange(3),
            stop_token_ids=draw.sample(range(50), draw.choice([0, 0, 3, 10])),
            stop_sequences=[chr(ord("0") + draw.randrange(50))] if draw.random() < 0.2 else [],
            min_tokens=draw.choice([0, 0, 1]),
        )
        pooling: Pooling | None = draw.choice(["mean", "last", "cls"]) if draw.random() < 0.1 else None
        cancelled = draw.randrange(1, 8) if draw.random() < 0.15 else None
        fails = draw.randrange(8) if draw.random() < 0.1 else None
        yield draw.randrange(count), prompt, params, pooling, cancelled, fails


def outputs(work: Sequence[Asked], ahead: bool, size: Mapping[str, Any]) -> tuple[Harness, list[GenerationOutput]]:
    """What becomes of requests, but for when."""
    harness = Harness(**size, ahead=ahead)
    failing: dict[int, int | None] = {}
    harness.runner.row_fault = lambda request: "planted" if failing[request.id] == len(request.generated) else None
    requests: list[Request] = []
    plan = sorted(enumerate(work), key=lambda pair: pair[1][0])
    turn = 0
    while plan or harness.stepper.has_work:
        while plan and plan[0][1][0] <= turn:
            _, (_, prompt, params, pooling, _, fails) = plan[0]
            del plan[0]
            request = harness.add(prompt[: harness.capacity - 1], params, pooling)
            failing[request.id] = fails
            requests.append(request)
        harness.step()
        for request, (_, _, _, _, cancelled, _) in zip(requests, sorted(work, key=lambda its: its[0]), strict=False):
            if cancelled is not None and len(request.generated) >= cancelled and request.finish_reason is None:
                harness.cancel(request)
        harness.check()
        turn += 1
    assert harness.kv.num_used == 0 and not harness.scheduler._retired
    whole = [harness.output(request) for request in requests]
    for request, output in zip(requests, whole, strict=True):
        assert tuple(harness.tokens(request)) == output.tokens
        assert "".join(chunk.text for chunk in harness.chunks[request.id]) == output.text
        assert list(output.tokens) == alone(
            harness.prompts[request.id], len(output.tokens), harness.sizes.windows, harness.has_states
        )
    nothing = GenerationStats(prompt_tokens=0)
    return harness, [replace(output, stats=nothing) for output in whole]


SIZES: dict[str, dict[str, Any]] = {
    "much memory": {"num_blocks": 80, "batch": 6, "chunk": 16},
    "little memory": {"num_blocks": 14, "batch": 6, "chunk": 7, "longest": 50},
    "a window beside": {"num_blocks": 20, "batch": 6, "chunk": 7, "longest": 50, "more": {6: 12}},
    "a window alone": {"batch": 6, "chunk": 7, "longest": 50, "more": {5: 14}, "whole": False},
    "little memory, and the host's": {"num_blocks": 14, "batch": 6, "chunk": 7, "longest": 50, "host_blocks": 10},
    "recurrent": {"num_blocks": 20, "batch": 6, "chunk": 7, "longest": 50, "recurrent": True},
    "recurrent, and the host's": {
        **{"num_blocks": 20, "batch": 6, "chunk": 7, "longest": 50, "recurrent": True},
        **{"host_blocks": 14, "host_states": 3},
    },
    "uncut": {"num_blocks": 24, "batch": 4, "chunk": None, "longest": 60},
}
