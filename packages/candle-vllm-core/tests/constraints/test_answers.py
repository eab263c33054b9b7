"""Constrained answers of a whole engine."""

import asyncio
import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from random_schemas import random_schema

from candle_vllm_core import (
    Constraint,
    ConstraintError,
    EngineClosedError,
    EngineConfig,
    FinishReason,
    GenerationChunk,
    GenerationOutput,
    GenerationParams,
    InferenceEngine,
    InferenceRequest,
    ScriptedEngine,
)
from candle_vllm_core.constraints.matcher import MaskFiller, Matcher

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "kind": {"enum": ["engine", "server"]},
        "size": {"type": "integer", "minimum": 1, "maximum": 50},
    },
    "required": ["name", "kind", "size"],
    "additionalProperties": False,
}
OBJECT = Constraint(json_schema=SCHEMA, compact=True)
GREEDY = GenerationParams(temperature=0, max_tokens=100)
SLOW = Constraint(json_schema={"type": "integer", "multipleOf": 1_000_003})


@pytest.fixture(scope="module")
def engine() -> Iterator[InferenceEngine]:
    with InferenceEngine(EngineConfig(device="cpu", dtype="fp32", max_sequence_length=1024)) as engine:
        yield engine
        assert (engine.stats().running, engine.stats().waiting, engine.stats().kv_blocks_used) == (0, 0, 0)


@pytest.fixture(scope="module")
def prompt(engine: InferenceEngine) -> list[int]:
    return engine.tokenize("<|im_start|>user\nWho are you?<|im_end|>\n<|im_start|>assistant\n")


def answer(engine: InferenceEngine, prompt: Sequence[int], constraint: Constraint, **params: Any) -> GenerationOutput:
    return engine.generate_sync(prompt, replace(GREEDY, constraint=constraint, **params))


async def chunks(engine: InferenceEngine, prompt: Sequence[int], params: GenerationParams) -> list[GenerationChunk]:
    return [chunk async for chunk in engine.generate_stream(prompt, params)]


def validate(schema: dict[str, Any], output: GenerationOutput) -> None:
    assert output.finish_reason == FinishReason.STOP, output
    jsonschema.Draft202012Validator(schema).validate(json.loads(output.text))


def test_answers_to_generated_schemas_validate(engine: InferenceEngine, prompt: list[int]) -> None:
    schemas = [random_schema(seed) for seed in range(12)]
    params = [
        GenerationParams(
            max_tokens=500,
            temperature=float(number % 2),
            seed=number,
            frequency_penalty=2.0,
            constraint=Constraint(json_schema=schema, compact=True),
        )
        for number, schema in enumerate(schemas)
    ]
    for schema, output in zip(schemas, engine.generate_batch([prompt] * len(schemas), params), strict=True):
        validate(schema, output)


@pytest.mark.parametrize(
    ("constraint", "pattern"),
    [
        (Constraint(choice=["yes", "no", "maybe not"]), "yes|no|maybe not"),
        (Constraint(regex="[0-9]{4}-[0-9]{2}"), "[0-9]{4}-[0-9]{2}"),
        (Constraint(grammar='start: "<" word ">"\nword: /[xyz]{1,3}/'), "<[xyz]{1,3}>"),
        (Constraint(json_schema={"const": [1, None]}, compact=True), re.escape("[1,null]")),
    ],
)
@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_an_answer_has_its_form_and_ends_by_stop(
    engine: InferenceEngine, prompt: list[int], constraint: Constraint, pattern: str, temperature: float
) -> None:
    output = answer(engine, prompt, constraint, temperature=temperature, seed=1)
    assert re.fullmatch(pattern, output.text)
    assert output.finish_reason == FinishReason.STOP


async def test_what_can_only_follow_comes_without_a_step_each(engine: InferenceEngine, prompt: list[int]) -> None:
    before = engine.stats()
    found = await chunks(engine, prompt, replace(GREEDY, constraint=OBJECT))
    after = engine.stats()
    output = found[-1].output
    assert output is not None
    assert [token for chunk in found for token in chunk.tokens] == list(output.tokens)
    assert "".join(chunk.text for chunk in found) == output.text
    assert len(found) < 0.7 * len(output.tokens), "the keys are forced"
    assert after.steps - before.steps == len(found)
    assert after.generated_tokens - before.generated_tokens == len(output.tokens)


@pytest.mark.parametrize("sampling", [{}, {"temperature": 1.0, "seed": 7}, {"repetition_penalty": 1.3}])
def test_forcing_changes_no_token(
    engine: InferenceEngine, prompt: list[int], sampling: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    forced = answer(engine, prompt, OBJECT, **sampling)
    monkeypatch.setattr(Matcher, "_forced", lambda self: [])
    drawn = answer(engine, prompt, OBJECT, **sampling)
    assert (forced.tokens, forced.text, forced.finish_reason) == (drawn.tokens, drawn.text, drawn.finish_reason)


def test_every_token_has_a_logprob_if_they_are_asked_for(engine: InferenceEngine, prompt: list[int]) -> None:
    plain, output = answer(engine, prompt, OBJECT), answer(engine, prompt, OBJECT, logprobs=True, top_logprobs=2)
    assert output.tokens == plain.tokens
    assert output.logprobs is not None and plain.logprobs is None
    assert [entry.token_id for entry in output.logprobs] == list(output.tokens)
    assert min(entry.logprob for entry in output.logprobs) < -1, "of the raw distribution, not of what is allowed"


def test_limits_and_stop_texts_hold_within_forced_text(engine: InferenceEngine, prompt: list[int]) -> None:
    constant = Constraint(choice=["one two three four five six seven eight"])
    whole = answer(engine, prompt, constant)
    assert whole.finish_reason == FinishReason.STOP
    cut = answer(engine, prompt, constant, max_tokens=3)
    assert (cut.tokens, cut.finish_reason) == (whole.tokens[:3], FinishReason.LENGTH)
    exact = answer(engine, prompt, constant, max_tokens=len(whole.tokens))
    assert (exact.text, exact.finish_reason) == (whole.text, FinishReason.STOP)
    stopped = answer(engine, prompt, constant, stop_sequences=["three"])
    assert (stopped.text, stopped.stop_sequence) == ("one two ", "three")
    assert stopped.finish_reason == FinishReason.STOP_SEQUENCE
    late = answer(engine, prompt, constant, stop_sequences=["two"], min_tokens=len(whole.tokens))
    assert (late.text, late.finish_reason) == (whole.text, FinishReason.STOP)


def test_an_answer_may_not_end_before_its_form_nor_before_min_tokens(
    engine: InferenceEngine, prompt: list[int]
) -> None:
    [eos] = engine.tokenize("<|im_end|>")
    eager = {"logit_bias": {eos: 100.0}}
    assert answer(engine, prompt, Constraint(regex="[ab]{5,9}"), **eager).text in _words("ab", 5)
    longer = answer(engine, prompt, Constraint(regex="(a|b)*"), min_tokens=4, **eager)
    assert len(longer.tokens) == 5 and longer.tokens[-1] == eos
    assert answer(engine, prompt, Constraint(regex="[ab]{2}"), min_tokens=50).finish_reason == FinishReason.STOP


def _words(letters: str, length: int) -> set[str]:
    return {""} if not length else {word + letter for word in _words(letters, length - 1) for letter in letters}


def test_past_eos_a_form_still_ends_the_answer(engine: InferenceEngine, prompt: list[int]) -> None:
    [eos] = engine.tokenize("<|im_end|>")
    output = answer(engine, prompt, Constraint(regex="[ab]+"), ignore_eos=True, logit_bias={eos: 100.0})
    assert output.finish_reason == FinishReason.STOP and output.tokens[-1] == eos


def test_a_preempted_answer_goes_on_where_it_stood(prompt: list[int]) -> None:
    config = EngineConfig(device="cpu", dtype="fp32", max_sequence_length=256, block_size=4)
    many = [replace(GREEDY, temperature=1.0, seed=seed, constraint=OBJECT) for seed in range(6)]
    with InferenceEngine(config) as engine:
        bytes_per_token = engine.model_info().kv_bytes_per_token
        alone = [engine.generate_sync(prompt, params) for params in many]
    with InferenceEngine(replace(config, kv_cache_memory=bytes_per_token * 160)) as small:
        together = small.generate_batch([prompt] * len(many), many)
        assert small.stats().preemptions > 0
    assert [output.tokens for output in together] == [output.tokens for output in alone]


def test_a_constraint_that_leaves_no_way_fails_alone(engine: InferenceEngine, prompt: list[int]) -> None:
    plain, dead_end = Constraint(regex="[0-9]{6}"), Constraint(grammar='start: "a" b | "c"\nb: b "x"')
    [a] = engine.tokenize("a")
    params = [replace(GREEDY, constraint=constraint, logit_bias={a: 100.0}) for constraint in (plain, dead_end, plain)]
    first, second, third = engine.generate_batch([prompt] * 3, params)
    assert first.text == third.text and re.fullmatch("[0-9]{6}", first.text)
    assert second.finish_reason == FinishReason.ERROR
    assert second.error is not None and "ConstraintError" in second.error


def test_masks_that_cannot_be_computed_fail_those_who_need_them(
    engine: InferenceEngine, prompt: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(*arguments: object) -> None:
        raise OverflowError("planted")

    with monkeypatch.context() as patch:
        patch.setattr(MaskFiller, "fill", fill)
        params = [replace(GREEDY, constraint=OBJECT), replace(GREEDY, max_tokens=5, ignore_eos=True)]
        constrained, free = engine.generate_batch([prompt] * 2, params)
    assert constrained.finish_reason == FinishReason.ERROR and "planted" in str(constrained.error)
    assert len(free.tokens) == 5
    validate(SCHEMA, answer(engine, prompt, OBJECT))


async def test_a_refused_constraint_raises_and_others_go_on(engine: InferenceEngine, prompt: list[int]) -> None:
    bad = replace(GREEDY, constraint=Constraint(json_schema={"uniqueItems": True}))
    stream = asyncio.create_task(engine.generate(prompt, replace(GREEDY, ignore_eos=True, max_tokens=30)))
    with pytest.raises(ConstraintError) as caught:
        await engine.generate(prompt, bad)
    assert caught.value.keywords == ("uniqueItems",)
    with pytest.raises(ConstraintError):
        engine.generate_sync(prompt, bad)
    in_its_place, other = engine.generate_batch([prompt] * 2, [bad, replace(GREEDY, constraint=OBJECT)])
    assert in_its_place.finish_reason == FinishReason.ERROR and "uniqueItems" in str(in_its_place.error)
    validate(SCHEMA, other)
    assert len((await stream).tokens) == 30


async def test_compiling_holds_up_no_coroutine_and_can_be_given_up(engine: InferenceEngine, prompt: list[int]) -> None:
    slow = asyncio.create_task(engine.generate(prompt, replace(GREEDY, constraint=SLOW)))
    beats = 0
    while not slow.done():
        began = time.monotonic()
        await asyncio.sleep(0.01)
        assert time.monotonic() - began < 1
        beats += 1
        if beats == 20:
            assert slow.cancel()
    with pytest.raises(asyncio.CancelledError):
        await slow
    assert beats >= 20


async def test_closing_ends_what_waits_for_its_constraint() -> None:
    engine = InferenceEngine(EngineConfig(device="cpu", max_sequence_length=256))
    waiting = asyncio.create_task(engine.generate([5, 6], replace(GREEDY, constraint=SLOW)))
    await asyncio.sleep(0.05)
    engine.close()
    with pytest.raises(EngineClosedError):
        await waiting


def test_stepping_by_hand_follows_a_constraint_too(engine: InferenceEngine, prompt: list[int]) -> None:
    engine.add_request(InferenceRequest(prompt=prompt, params=replace(GREEDY, constraint=OBJECT)))
    outputs: list[GenerationOutput] = []
    while not outputs:
        outputs = [update.output for update in engine.step() if update.output is not None]
    assert outputs[0].tokens == answer(engine, prompt, OBJECT).tokens


def test_a_model_with_more_ids_than_its_tokenizer_draws_none_of_them(tiny_llama: Path, tmp_path: Path) -> None:
    for file in tiny_llama.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    found = json.loads((tmp_path / "tokenizer.json").read_text())
    lost = max(found["model"]["vocab"].items(), key=lambda entry: entry[1])
    del found["model"]["vocab"][lost[0]]
    found["model"]["merges"] = [pair for pair in found["model"]["merges"] if "".join(pair) != lost[0]]
    (tmp_path / "tokenizer.json").write_text(json.dumps(found))
    with InferenceEngine(EngineConfig(model_path=tmp_path, device="cpu", max_sequence_length=64)) as engine:
        params = GenerationParams(max_tokens=40, temperature=5.0, constraint=Constraint(regex="(.|\\n){200}"))
        outputs = engine.generate_batch([[5, 6, 7]] * 4, [replace(params, seed=seed) for seed in range(4)])
    assert all(len(output.tokens) == 40 and lost[1] not in output.tokens for output in outputs)


def test_a_scripted_engine_is_told_of_the_constraint() -> None:
    engine = ScriptedEngine(["{}"])
    params = GenerationParams(constraint=Constraint(json_object=True))
    assert engine.generate_sync(engine.tokenize("hi"), params).text == "{}"
    assert engine.requests[0].params.constraint == Constraint(json_object=True)
