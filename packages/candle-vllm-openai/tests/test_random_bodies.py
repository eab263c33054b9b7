"""Whatever a client sends: an answer, or a 400 that names the field. Never a 500."""

import asyncio
import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from endpoints import SHOWS_ALL, parsed, said
from field_uses import BASES, USES, Body
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from candle_vllm_core.testing import CHATML
from candle_vllm_openai import FIELDS, ApiError, OpenAIAdapter, ScriptedEngine
from candle_vllm_openai.fields import Endpoint

PATHS = [path for fields in FIELDS.values() for path in fields]
NAMES = sorted({part for path in PATHS for part in path.replace("[]", "").split(".")})
WORDS = ["auto", "none", "required", "text", "json_object", "json_schema", "function", "allowed_tools", "object", "f"]
ROLES = ["system", "developer", "user", "assistant", "tool"]

texts = st.sampled_from([*WORDS, *ROLES, "#/$defs/a"]) | st.text(max_size=8)
numbers = st.integers(-3, 3) | st.integers(-(2**66), 2**66) | st.floats(allow_nan=True, allow_infinity=True)
keys = (
    st.sampled_from(NAMES) | st.sampled_from(["type", "properties", "$ref", "a b", "as text", ""]) | st.text(max_size=4)
)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)


def places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Where something stands in a JSON value, itself included."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, each in inner for place in places(each, (*path, key)))]


@st.composite
def nearly_right(draw: st.DrawFn) -> tuple[Endpoint, Body]:
    """A request that gives some fields rightly, with something else in one or two places."""
    endpoint = draw(st.sampled_from([*FIELDS, "chat/completions"]))
    body = copy.deepcopy(BASES[endpoint])
    for path in draw(st.lists(st.sampled_from(sorted(USES[endpoint])), min_size=1, max_size=3)):
        body |= copy.deepcopy(USES[endpoint][path].given)
    for _ in range(draw(st.integers(0, 2))):
        _change(draw, body)
    return endpoint, body


def _change(draw: st.DrawFn, body: Body) -> None:
    *above, last = draw(st.sampled_from([place for place in places(body) if place] or [("",)]))
    holder: Any = body
    for key in above:
        holder = holder[key]
    match draw(st.sampled_from(["change", "drop", "add"])):
        case "add" if isinstance(holder, dict):
            holder[draw(keys)] = draw(values)
        case "drop" if last in holder or isinstance(holder, list):
            del holder[last]
        case _:
            holder[last] = draw(values)


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


ANSWERS = [
    "",
    "ok",
    "<think>hm</think>ok",
    '<tool_call>{"name": "f", "arguments": {"x": 1}}</tool_call>',
    "<tool_call>{",
]
models = st.tuples(st.sampled_from([CHATML, SHOWS_ALL]), st.sampled_from(ANSWERS))
"""A model's chat template, and what it answers."""


def answer_or_named(endpoint: Endpoint, body: Any, model: tuple[str, str], runner: asyncio.Runner) -> None:
    """An answer, or an error that the client made and that names what is wrong."""
    template, answer = model
    engine = ScriptedEngine(lambda prompt, params: answer, chat_template=template)
    try:
        assert runner.run(said(OpenAIAdapter(engine), parsed(endpoint, body)))
    except ApiError as error:
        assert error.status == 400 and len(error.message) < 1000
        json.dumps(error.body())
        if isinstance(body, dict):
            named = [name for name in ("messages", *BASES[endpoint], *body) if (error.param or "").startswith(name)]
            assert error.param is not None and named, error.message


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=nearly_right(), model=models)
def test_a_request_that_is_nearly_right_is_answered_or_named(
    asked: tuple[Endpoint, Body], model: tuple[str, str], runner: asyncio.Runner
) -> None:
    answer_or_named(*asked, model, runner)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(endpoint=st.sampled_from(list(FIELDS)), body=values)
def test_any_json_is_answered_or_named(endpoint: Endpoint, body: Any, runner: asyncio.Runner) -> None:
    answer_or_named(endpoint, body, (CHATML, "ok"), runner)


@settings(max_examples=150)
@given(
    endpoint=st.sampled_from(list(FIELDS)),
    body=st.binary(max_size=64) | values.map(lambda value: json.dumps(value).encode()),
)
def test_any_bytes_are_read_or_refused(endpoint: Endpoint, body: bytes) -> None:
    try:
        parsed(endpoint, body)
    except ApiError as error:
        assert error.status == 400


@settings(max_examples=150)
@given(asked=nearly_right())
def test_a_request_that_is_written_out_reads_the_same(asked: tuple[Endpoint, Body]) -> None:
    endpoint, body = asked
    try:
        request = parsed(endpoint, body)
    except ApiError:
        return
    written = request.model_dump(exclude_none=True)
    assert parsed(endpoint, json.dumps(written)).model_dump(exclude_none=True) == written
