"""Random requests, most of them nearly right, and what becomes of one."""

import asyncio
import copy
import json
from typing import Any

from endpoints import SHOWS_ALL, parsed, said
from field_uses import BASES, USES, Body
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


ANSWERS = [
    "",
    "ok",
    "<think>hm</think>ok",
    '<tool_call>{"name": "f", "arguments": {"x": 1}}</tool_call>',
    "<tool_call>{",
]
models = st.tuples(st.sampled_from([CHATML, SHOWS_ALL]), st.sampled_from(ANSWERS))
"""A model's chat template, and what it answers."""


def answer_or_named(endpoint: Endpoint, body: Any, model: tuple[str, str], runner: asyncio.Runner) -> str:
    """An answer, or an error that the client made and that names what is wrong: its code is given."""
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
        return error.code
    return "answered"
