"""Exceptions thrown at every seam of a running engine: only what should fails, and the loop lives.

Three requests run and a fourth waits; the second one is the victim. `python -m bench faults` prints the table.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from candle_vllm_core import EngineConfig, FinishReason, GenerationOutput, GenerationParams, InferenceEngine
from candle_vllm_core.detokenizer import TextStream
from candle_vllm_core.events import EngineEvent
from candle_vllm_core.runtime.request import Drawn, Request
from candle_vllm_core.runtime.scheduler import Step
from candle_vllm_core.runtime.stepper import Stepper
from candle_vllm_core.types import GenerationChunk

PROMPTS = [[5, 6, 7], [8, 9], [10, 11, 12, 13], [14, 15]]
PARAMS = GenerationParams(temperature=0, max_tokens=9, ignore_eos=True)
VICTIM = PARAMS.__class__(temperature=0, max_tokens=9, ignore_eos=True, seed=666)

Patch = pytest.MonkeyPatch
Seam = Callable[[Stepper, Patch], None]
SEAMS: dict[str, tuple[Seam, set[int]]] = {}
"""What is broken and how, and which of the four requests should fail."""

SAID = {"a sink": "None", "too few tokens drawn": "tokens were drawn", "taking blocks, which are lost": "more or fewer"}
"""What is said where it is not what was thrown."""


class Planted(Exception):
    """What is thrown."""


def seam(name: str, *failing: int) -> Callable[[Seam], Seam]:
    def listed(plant: Seam) -> Seam:
        SEAMS[name] = plant, set(failing)
        return plant

    return listed


def is_victim(request: object) -> bool:
    return isinstance(request, Request) and request.params.seed == VICTIM.seed and len(request.generated) >= 3


def break_for_victim(patch: Patch, owner: Any, name: str, *, after: bool = False) -> None:
    """Let a method raise when the victim is among its arguments, before or after it has done what it does."""
    method = getattr(owner, name)

    def broken(*arguments: Any, **options: Any) -> Any:
        hit = any(map(is_victim, arguments))
        result = method(*arguments, **options) if after or not hit else None
        if hit:
            raise Planted(name)
        return result

    patch.setattr(owner, name, broken)


def break_once(patch: Patch, owner: Any, name: str, stepper: Stepper) -> None:
    """Let a method raise once, when the victim runs."""
    method = getattr(owner, name)
    left = [1]

    def broken(*arguments: Any) -> Any:
        if left and any(map(is_victim, stepper._scheduler.running)):
            left.clear()
            raise Planted(name)
        return method(*arguments)

    patch.setattr(owner, name, broken)


@seam("the detokenizer", 1)
def detokenizer(stepper: Stepper, patch: Patch) -> None:
    break_for_victim(patch, Request, "_take_token")


@seam("the detokenizer, at the end too", 1)
def detokenizer_end(stepper: Stepper, patch: Patch) -> None:
    break_for_victim(patch, Request, "_take_token")
    finish = TextStream.finish

    def broken(stream: TextStream) -> str:
        [victim] = [request for request in stepper._scheduler.requests() if request.stream is stream]
        if is_victim(victim):
            raise Planted("finish")
        return finish(stream)

    patch.setattr(TextStream, "finish", broken)


@seam("a row of the sampler", 1)
def sampler_row(stepper: Stepper, patch: Patch) -> None:
    run = stepper._runner.run

    def broken(step: Step) -> list[Drawn]:
        drawing = [part.request for part in step if part.samples]
        drawn = zip(drawing, run(step), strict=True)
        return [Drawn(-1, None, "Planted") if is_victim(request) else its for request, its in drawn]

    patch.setattr(stepper._runner, "run", broken)


@seam("the model", 0, 1, 2)
def model(stepper: Stepper, patch: Patch) -> None:
    break_once(patch, stepper._runner, "run", stepper)


@seam("too few tokens drawn", 0, 1, 2)
def too_few_drawn(stepper: Stepper, patch: Patch) -> None:
    run = stepper._runner.run
    patch.setattr(stepper._runner, "run", lambda step: run(step)[any(is_victim(part.request) for part in step) :])


@seam("noting what was computed", 0, 1, 2)
def advance(stepper: Stepper, patch: Patch) -> None:
    break_once(patch, stepper._scheduler, "advance", stepper)


@seam("registering a block", 0, 1, 2)
def register(stepper: Stepper, patch: Patch) -> None:
    break_for_victim(patch, stepper._scheduler.kv, "register")


@seam("taking blocks", 1)
def extend(stepper: Stepper, patch: Patch) -> None:
    break_for_victim(patch, stepper._scheduler.kv, "extend")


@seam("taking blocks, after they were taken", 1)
def extend_after(stepper: Stepper, patch: Patch) -> None:
    break_for_victim(patch, stepper._scheduler.kv, "extend", after=True)


@seam("taking blocks, which are lost", 0, 1, 2, 3)
def extend_losing(stepper: Stepper, patch: Patch) -> None:
    """The scheduler's books no longer say what its requests hold: nobody may go on with them."""
    kv = stepper._scheduler.kv
    extend = kv.extend

    def broken(request: Request, stop: int, **options: Any) -> bool:
        if is_victim(request):
            kv._groups[0].pool.allocate(1)
            raise Planted("extend")
        return extend(request, stop, **options)

    patch.setattr(kv, "extend", broken)


@seam("looking for a prefix", 3)
def match(stepper: Stepper, patch: Patch) -> None:
    match = stepper._scheduler.kv.match

    def broken(request: Request, coming: set[bytes]) -> Any:
        if request.prompt == PROMPTS[3]:
            raise Planted("match")
        return match(request, coming)

    patch.setattr(stepper._scheduler.kv, "match", broken)


@seam("the whole of scheduling", 0, 1, 2)
def schedule(stepper: Stepper, patch: Patch) -> None:
    break_once(patch, stepper._scheduler, "schedule", stepper)


@seam("giving blocks back", 1, 2, 3)
def release(stepper: Stepper, patch: Patch) -> None:
    """The first request has its whole answer when its blocks cannot be given back."""
    break_once(patch, stepper._scheduler.kv, "release", stepper)


@seam("what nobody foresees", 0, 1, 2, 3)
def unforeseen(stepper: Stepper, patch: Patch) -> None:
    break_for_victim(patch, stepper._journal, "drew")


@seam("the runner's keepsakes")
def forget(stepper: Stepper, patch: Patch) -> None:
    patch.setattr(stepper._runner, "forget", lambda request_id: 1 / 0)


@seam("a subscriber")
def subscriber(stepper: Stepper, patch: Patch) -> None:
    def hook(event: EngineEvent) -> None:
        raise Planted(str(event))

    stepper._journal._subscribers.add(hook)


@seam("a sink", 1)
def sink(stepper: Stepper, patch: Patch) -> None:
    """Whoever waited is gone; it is told of the end all the same."""
    add = stepper.add

    def adding(request: Request) -> None:
        deliver = request.sink

        def broken(chunk: GenerationChunk) -> None:
            if chunk.output is None and is_victim(request):
                raise Planted("sink")
            deliver(chunk)

        request.sink = broken
        add(request)

    patch.setattr(stepper, "add", adding)


@seam("taking a request in", 1)
def add(stepper: Stepper, patch: Patch) -> None:
    add = stepper.add

    def adding(request: Request) -> None:
        if request.params.seed == VICTIM.seed:
            raise Planted("add")
        add(request)

    patch.setattr(stepper, "add", adding)


@pytest.fixture(scope="module")
def small(tiny_llama: Path) -> Iterator[InferenceEngine]:
    """One engine for all seams: it has to live through them all."""
    config = EngineConfig(model_path=tiny_llama, device="cpu", dtype="fp32", block_size=4, max_batch_size=3)
    with InferenceEngine(config) as engine:
        yield engine


def ask(engine: InferenceEngine) -> list[GenerationOutput]:
    """The answers to all prompts, which reach the engine at once."""
    outputs: queue.SimpleQueue[tuple[int, GenerationOutput]] = queue.SimpleQueue()

    def sink(index: int) -> Callable[[GenerationChunk], None]:
        return lambda chunk: outputs.put((index, chunk.output)) if chunk.output is not None else None

    def submit() -> None:
        for index, prompt in enumerate(PROMPTS):
            engine._submit(prompt, VICTIM if index == 1 else PARAMS, sink(index))

    engine._loop.call(submit)
    return [output for _, output in sorted((outputs.get(timeout=30) for _ in PROMPTS), key=lambda pair: pair[0])]


@pytest.mark.parametrize("name", SEAMS)
def test_only_what_should_fails_and_the_loop_lives(
    name: str, small: InferenceEngine, record_property: Callable[[str, object], None]
) -> None:
    expected = ask(small)
    stepper = small._loop._required_stepper()
    plant, failing = SEAMS[name]
    with pytest.MonkeyPatch.context() as patch:
        small._loop.call(lambda: plant(stepper, patch))
        outputs = ask(small)
    failed = {index for index, output in enumerate(outputs) if output.finish_reason is not FinishReason.LENGTH}
    after = ask(small)
    alive = [output.tokens for output in after] == [output.tokens for output in expected]
    row = {"seam": name, "should fail": _said(failing), "failed": _said(failed), "alive": alive}
    record_property("faults", {key: str(value) for key, value in row.items()})
    assert failed == failing
    for index, output in enumerate(outputs):
        if index in failing:
            assert "Planted" in str(output.error) or SAID.get(name, "Planted") in str(output.error)
            assert output.tokens == expected[index].tokens[: len(output.tokens)], "what was drawn before is kept"
        else:
            assert output.tokens == expected[index].tokens
    assert alive, "the next requests are answered"
    small._loop.call(stepper._scheduler.check)
    stats = small.stats()
    assert (stats.running, stats.waiting, stats.kv_blocks_used) == (0, 0, 0), "nothing was lost"


def test_a_command_that_fails_fails_its_caller_only(small: InferenceEngine) -> None:
    def fail() -> None:
        raise Planted("command")

    with pytest.raises(Planted):
        small._loop.call(fail)
    small._loop._post(fail)
    assert [output.finish_reason for output in ask(small)] == [FinishReason.LENGTH] * 4


def test_whoever_counts_requests_sees_the_end_of_one_whose_sink_failed(small: InferenceEngine) -> None:
    def sink(chunk: GenerationChunk) -> None:
        raise Planted("sink")

    small._submit([5, 6], PARAMS, sink)
    ask(small)
    assert small._driver._unfinished == 0, "or it could never be stepped by hand again"


def _said(failing: set[int]) -> str:
    if not failing:
        return "none"
    return "all" if len(failing) == len(PROMPTS) else ", ".join(str(index + 1) for index in sorted(failing))
