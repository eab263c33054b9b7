"""Whatever a client sends: an answer, or a 400 that names the field. Never a 500."""

import asyncio
import copy
import json
from typing import Any

import pytest
from field_uses import CHAT, USES, Body
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from candle_vllm_openai import FIELDS, ApiError, OpenAIAdapter, ScriptedEngine, parse_request

NAMES = sorted({part for path in FIELDS["chat/completions"] for part in path.replace("[]", "").split(".")})
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
def nearly_right(draw: st.DrawFn) -> Body:
    """A request that gives some fields rightly, with something else in one or two places."""
    uses = draw(st.lists(st.sampled_from(sorted(USES["chat/completions"])), min_size=1, max_size=3))
    body = copy.deepcopy(CHAT)
    for path in uses:
        body |= copy.deepcopy(USES["chat/completions"][path].given)
    for _ in range(draw(st.integers(0, 2))):
        *above, last = draw(st.sampled_from([place for place in places(body) if place]))
        holder: Any = body
        for key in above:
            holder = holder[key]
        match draw(st.sampled_from(["change", "drop", "add"])):
            case "change":
                holder[last] = draw(values)
            case "drop":
                del holder[last]
            case "add" if isinstance(holder, dict):
                holder[draw(keys)] = draw(values)
    return body


@pytest.fixture(scope="module")
def runner() -> Any:
    with asyncio.Runner() as runner:
        yield runner


def answer_or_named(body: Any, runner: asyncio.Runner) -> None:
    """An answer, or an error that the client made and that names what is wrong."""
    engine = ScriptedEngine(lambda prompt, params: "ok")
    try:
        request = parse_request(body)
        answered = runner.run(OpenAIAdapter(engine).chat_completion(request))
    except ApiError as error:
        assert error.status == 400 and len(error.message) < 1000
        json.dumps(error.body())
        if isinstance(body, dict):
            named = [name for name in ("messages", *body) if (error.param or "").startswith(name)]
            assert error.param is not None and named, error.message
        return
    assert len(answered.choices) == request.n


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=nearly_right())
def test_a_request_that_is_nearly_right_is_answered_or_named(body: Body, runner: asyncio.Runner) -> None:
    answer_or_named(body, runner)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=values)
def test_any_json_is_answered_or_named(body: Any, runner: asyncio.Runner) -> None:
    answer_or_named(body, runner)


@settings(max_examples=150)
@given(body=st.binary(max_size=64) | values.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    try:
        parse_request(body)
    except ApiError as error:
        assert error.status == 400


@settings(max_examples=150)
@given(body=nearly_right())
def test_a_request_that_is_written_out_reads_the_same(body: Body) -> None:
    try:
        request = parse_request(body)
    except ApiError:
        return
    written = request.model_dump(exclude_none=True)
    assert parse_request(json.dumps(written)).model_dump(exclude_none=True) == written
