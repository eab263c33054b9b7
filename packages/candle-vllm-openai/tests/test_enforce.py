import asyncio
import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from enforcing import ENFORCED, KINDS, Noise, beginning, request_of, save_noise, verdict

from candle_vllm_openai import (
    ApiError,
    ChatCompletionRequest,
    ConstraintError,
    EngineConfig,
    InferenceEngine,
    OpenAIAdapter,
    ScriptedEngine,
    Tool,
)
from candle_vllm_openai.enforce import constraint_of, mark_writer
from candle_vllm_openai.formats import FORMATS
from candle_vllm_openai.reasoning import STYLES

THINK = STYLES["think"]
DIGIT = {
    "type": "object",
    "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 9}},
    "required": ["a"],
    "additionalProperties": False,
}
TEMPLATE = (
    "{% for tool in tools or [] %}{{ tool | tojson }}{% endfor %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}{# <tool_call> #}"
)
MARKS = ("<tool_call>", "</tool_call>", "<think>", "</think>")


def all_marks() -> list[str]:
    tokens = dict.fromkeys(token for name in ENFORCED for token in FORMATS[name].tokens)
    return [*tokens, "<think>", "</think>"]


@pytest.fixture(scope="module", params=["special", "plain"])
def noise(request: pytest.FixtureRequest) -> Iterator[Noise]:
    made = Noise.of(all_marks() if request.param == "special" else [])
    yield made
    made.close()


@pytest.fixture(scope="module")
def plain() -> Iterator[Noise]:
    made = Noise.of([])
    yield made
    made.close()


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAIAdapter]:
    path = save_noise(tmp_path_factory.mktemp("noise"), MARKS, TEMPLATE)
    with InferenceEngine(EngineConfig(model_path=path, device="cpu")) as engine:
        yield OpenAIAdapter(engine)


def asked(*names: str, schema: Any = DIGIT, strict: bool = True, **fields: Any) -> ChatCompletionRequest:
    tools = [{"type": "function", "function": {"name": name, "strict": strict, "parameters": schema}} for name in names]
    body = {"messages": [{"role": "user", "content": "x"}], **({"tools": tools} if tools else {}), **fields}
    return ChatCompletionRequest.model_validate(body)


def answered(adapter: OpenAIAdapter, request: ChatCompletionRequest) -> Any:
    return asyncio.run(adapter.chat_completion(request)).choices[0]


def takes(noise: Noise, request: ChatCompletionRequest, text: str, name: str = "qwen", **how: Any) -> bool:
    """Whether a text is a whole answer to a request."""
    constraint = constraint_of(request, FORMATS[name], mark=noise.marks, **how)
    assert constraint is not None
    automaton = noise.compiler.compile(constraint).result().matcher(forces=False).automaton
    tokens = noise.tokenizer.encode(text)
    return automaton.try_consume_tokens(tokens) == len(tokens) and automaton.is_accepting()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ENFORCED)
def test_whatever_a_model_writes_calls_are_what_the_schema_says(noise: Noise, name: str, kind: str) -> None:
    format, number = FORMATS[name], ENFORCED.index(name) + KINDS.index(kind)
    thinks = number % 2 == 1 and not format.channels
    how: dict[str, Any] = {"reasoning": THINK, "started": True} if thinks else {}
    start = ("so</think>" if thinks else "") + (beginning(format) if kind == "strict" else "")
    for seed in range(number, number + 4):
        request = request_of(format, kind, seed)
        constraint = constraint_of(request, format, mark=noise.marks, **how)
        assert constraint is not None
        text = noise.answer(constraint, seed, start=start)
        if text is not None:
            break
    assert verdict(request, format, text, THINK if thinks else None, started=thinks) == "valid"


CALL = '<tool_call>\n{"name": "f", "arguments": {"a": 3}}\n</tool_call>'
WRONG = CALL.replace("3", "33")


@pytest.mark.parametrize(
    ("fields", "good", "bad"),
    [
        ({"tool_choice": "required"}, [CALL, f"{CALL}\n{CALL}"], ["", "hello", f"hello {CALL}", WRONG]),
        ({"tool_choice": "required", "parallel_tool_calls": False}, [CALL], [f"{CALL}\n{CALL}"]),
        ({}, ["", "hello", CALL, f"a {CALL} b {CALL} c"], [WRONG, f"a {WRONG}", f"{CALL} and {WRONG}"]),
        ({"parallel_tool_calls": False}, ["hello", CALL], [f"{CALL}\n{CALL}", f"{CALL} b"]),
        ({"response_format": {"type": "json_object"}}, ['{"x": 1}', CALL], ["hello", "[]", WRONG]),
    ],
)
def test_what_an_answer_may_be(plain: Noise, fields: dict[str, Any], good: list[str], bad: list[str]) -> None:
    request = asked("f", **fields)
    assert [text for text in good if not takes(plain, request, text)] == []
    assert [text for text in bad if takes(plain, request, text)] == []


def test_only_the_tools_that_a_choice_leaves_can_be_called(plain: Noise) -> None:
    other = CALL.replace('"f"', '"g"')
    named = {"type": "function", "function": {"name": "f"}}
    for mode, bare in (("required", False), ("auto", True)):
        request = asked(
            "f", "g", tool_choice={"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [named]}}
        )
        assert takes(plain, request, CALL)
        assert not takes(plain, request, other)
        assert takes(plain, request, "hello") == bare
    assert not takes(plain, asked("f", "g", tool_choice=named), other)


def test_nothing_is_enforced_that_was_not_asked_for() -> None:
    mark = mark_writer(ScriptedEngine())
    for request in (asked(), asked("f", strict=False), asked("f", tool_choice="none")):
        assert constraint_of(request, FORMATS["qwen"], mark=mark, reasoning=THINK) is None


def test_a_call_after_a_bare_one_is_enforced_too(plain: Noise) -> None:
    good = '{"name": "f", "parameters": {"a": 3}}'
    bad, request = good.replace("3", "33"), asked("f")
    for text in (good, f"{good}; {good}", f"[{good}]", f"{good} so it is {bad}", f"as {bad} says"):
        assert takes(plain, request, text, "llama"), text
    for text in (bad, f"  {bad}", f"{good}; {bad}", f"{good}\n{bad}", f"[{bad}]", f"a <|python_tag|>{good};{bad}"):
        assert not takes(plain, request, text, "llama"), text


def test_what_is_asked_for_begins_after_the_reasoning(noise: Noise) -> None:
    request = asked(response_format={"type": "json_object"})
    how: dict[str, Any] = {"reasoning": THINK}
    for text in ('{"a": 1}', '<think>any [text]</think>\n\n{"a": 1}', '<think></think>{"a": 1}'):
        assert takes(noise, request, text, **how), text
    for text in ("<think>any text", '<think>any text</think> text {"a": 1}', "any text"):
        assert not takes(noise, request, text, **how), text
    assert takes(noise, request, 'any text</think>\n{"a": 1}', started=True, **how)
    assert not takes(noise, request, '{"a": 1}', started=True, **how)


def test_a_call_is_free_in_reasoning_and_enforced_after_it(plain: Noise) -> None:
    how: dict[str, Any] = {"reasoning": THINK}
    assert takes(plain, asked("f"), f"<think>shall I {WRONG}?</think>\n{CALL}", **how)
    assert not takes(plain, asked("f"), f"<think>I shall</think>\n{WRONG}", **how)


@pytest.mark.parametrize(
    ("form", "good", "bad"),
    [
        ({"json": {"type": "integer"}}, "12", "a"),
        ({"regex": "[a-c]{2}/"}, "ab/", "ab"),
        ({"choice": ["red", 'a"b']}, 'a"b', "green"),
        ({"grammar": 'start: "x" y\ny: /[0-9]/'}, "x1", "x"),
        ({"json_object": True, "disable_any_whitespace": True}, '{"a":1}', '{"a": 1}'),
    ],
)
def test_structured_outputs_are_enforced_alone_and_after_reasoning(
    plain: Noise, form: dict[str, Any], good: str, bad: str
) -> None:
    request = asked(structured_outputs=form)
    assert takes(plain, request, good)
    assert not takes(plain, request, bad)
    assert takes(plain, request, f"<think>so</think>{good}", reasoning=THINK)
    assert not takes(plain, request, f"<think>so</think>{bad}", reasoning=THINK)


def test_marks_are_written_as_the_vocabulary_has_them(adapter: OpenAIAdapter) -> None:
    write = mark_writer(adapter.engine)
    token = adapter.engine.tokenize("<tool_call>", add_special_tokens=False)[0]
    assert list(write("a<tool_call>\n")) == ['"a"', f"<[{token}]>", '"\\n"']
    assert list(write("<TOOLCALL>")) == ['"<TOOLCALL>"']


@pytest.mark.parametrize(
    ("value", "good", "bad"),
    [
        ({"type": "string", "pattern": "^a|b$"}, ["ax", "xb"], ["xay", ""]),
        ({"type": "string", "pattern": r"^\d{2}/[\w-]+$"}, ["12/a-b"], ["12/", "1/a", "12/a b"]),
        ({"type": "string", "pattern": "a.c", "maxLength": 4}, ["abc", "xabc"], ["ab", "xxabc"]),
        ({"type": "string", "format": "date"}, ["2024-02-28"], ["2024-02-30", "2024-13-01", "soon"]),
        ({"type": "string", "format": "ipv6"}, ["::1", "1:2:3:4:5:6:7:8", "fe80::1:2"], ["1:2", "1::2::3", "::g"]),
        ({"type": "string", "minLength": 20}, ["a" * 20], ["a" * 19, "a\n</parameter>" + "b" * 20]),
        ({"enum": ["red", "dark blue"]}, ["dark blue"], ["blue", '"red"']),
        ({"enum": ["red", 7, None]}, ["red", "7", "null"], ["8", '"red"']),
        ({"type": ["string", "null"]}, ["null", "nullify", "12", ""], []),
        (
            {"anyOf": [{"type": "integer", "maximum": 5}, {"type": "string", "maxLength": 3}]},
            ["5", "-3", "abc"],
            ["12", "abcd"],
        ),
        ({"anyOf": [{"type": "string", "format": "date"}, {"const": True}]}, ["true", "2024-02-28"], ["false", "null"]),
        (
            {"oneOf": [{"type": "string", "maxLength": 3}, {"enum": [None, False]}]},
            ["null", "false", "abc"],
            ["true", "abcd"],
        ),
        ({"$ref": "#/$defs/word"}, ["abc"], ["ABC", "ab1"]),
        ({"allOf": [{"$ref": "#/$defs/word"}, {"maxLength": 2}]}, ["ab"], ["abc"]),
        ({"type": "boolean"}, ["true"], ["True", '"true"']),
        ({"type": "array", "items": {"$ref": "#/$defs/word"}}, ['["a", "b"]'], ['["A"]', "a"]),
    ],
)
def test_values_written_as_they_stand_are_what_the_schema_says(
    plain: Noise, value: Any, good: list[str], bad: list[str]
) -> None:
    schema = {
        "type": "object",
        "properties": {"a": value},
        "required": ["a"],
        "$defs": {"word": {"type": "string", "pattern": "^[a-z]+$"}},
    }
    call = "<tool_call>\n<function=f>\n<parameter=a>\n{}\n</parameter>\n</function>\n</tool_call>"
    request = asked("f", schema=schema, tool_choice="required")
    assert [text for text in good if not takes(plain, request, call.format(text), "qwen_coder")] == []
    assert [text for text in bad if takes(plain, request, call.format(text), "qwen_coder")] == []
    assert {verdict(request, FORMATS["qwen_coder"], call.format(text)) for text in good} == {"valid"}


@pytest.mark.parametrize("strict", [True, False])
def test_a_random_model_answers_as_it_is_asked(adapter: OpenAIAdapter, strict: bool) -> None:
    fields = {"tool_choice": "required", "parallel_tool_calls": False, "max_tokens": 500, "seed": 1}
    choice = answered(adapter, asked("f", strict=strict, **fields))
    assert choice.finish_reason == "tool_calls"
    for call in choice.message.tool_calls:
        jsonschema.validate(json.loads(call.function.arguments), DIGIT)
    form = {"type": "json_schema", "json_schema": {"name": "digit", "schema": DIGIT, "strict": strict}}
    choice = answered(adapter, asked(response_format=form, max_tokens=500, seed=1))
    jsonschema.validate(json.loads(choice.message.content), DIGIT)


@pytest.mark.parametrize(
    ("properties", "strict", "path", "code"),
    [
        ({"a": {"not": {}}}, True, ".properties.a.not", "unsupported_field"),
        ({"not": {"items": {"uniqueItems": True}}}, True, ".properties.not.items.uniqueItems", "unsupported_field"),
        ({"a": {"$ref": "#/$defs/none"}}, False, ".properties.a.$ref", "invalid_value"),
        ({"a": {"type": "string", "minLength": 3, "maxLength": 2}}, True, "", "invalid_value"),
        ({"a": False}, False, "", "invalid_value"),
        ({"a": {"type": "string", "pattern": "(?=a)b"}}, False, ".properties.a.pattern", "invalid_value"),
    ],
)
def test_a_refused_schema_is_named_by_its_path(
    adapter: OpenAIAdapter, properties: Any, strict: bool, path: str, code: str
) -> None:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": strict}}
    tools = asked("e", "f", schema=schema, strict=strict, tool_choice="required", max_tokens=4)
    for request, where in (
        (tools, "tools[0].function.parameters"),
        (asked(response_format=form, max_tokens=4), "response_format.json_schema.schema"),
    ):
        with pytest.raises(ApiError) as caught:
            answered(adapter, request)
        assert (caught.value.status, caught.value.param, caught.value.code) == (400, where + path, code)
        assert f"`{where}{path}`" in caught.value.message


def test_what_is_not_strict_is_enforced_as_far_as_it_can_be(plain: Noise) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "null"}, "uniqueItems": True}}}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    assert takes(plain, asked(response_format=form), '{"a": [null, null]}')
    assert not takes(plain, asked(response_format=form), '{"a": [1]}')


def test_a_model_that_cannot_write_calls_is_not_asked_to() -> None:
    with pytest.raises(ApiError) as caught:
        constraint_of(asked("f", tool_choice="required"), FORMATS["passthrough"], mark=mark_writer(ScriptedEngine()))
    assert caught.value.param == "tool_choice"


@pytest.mark.parametrize("name", ENFORCED)
@pytest.mark.parametrize(
    "properties",
    [{"a": 1}, {"a": {"anyOf": {}, "type": "string"}}, {"a": {"enum": 5}}, {"a": {"minLength": "x", "type": "string"}}],
)
def test_what_is_no_schema_is_refused_and_breaks_nothing(plain: Noise, name: str, properties: Any) -> None:
    request = asked("f", tool_choice="required")
    schema = {"type": "object", "properties": properties, "required": ["a"]}
    broken = request.tools[0].function.model_copy(update={"parameters": schema}) if request.tools else None
    request = request.model_copy(update={"tools": [Tool.model_construct(definition=broken)]})
    constraint = constraint_of(request, FORMATS[name], mark=plain.marks)
    assert constraint is not None
    with pytest.raises(ConstraintError):
        plain.compiler.compile(constraint).result()


def test_arguments_that_a_format_cannot_write_are_refused_by_name() -> None:
    mark = mark_writer(ScriptedEngine())
    named = {"type": "object", "properties": {'q"t': {"type": "integer"}}, "required": ['q"t']}
    for schema, path in ((named, 'properties.q"t'), ({"type": "object", "minProperties": 1}, "minProperties")):
        with pytest.raises(ApiError) as caught:
            constraint_of(asked("f", schema=schema), FORMATS["minimax_m2"], mark=mark)
        assert caught.value.param == f"tools[0].function.parameters.{path}"
    with pytest.raises(ApiError):
        constraint_of(asked("f", schema={"type": "array"}), FORMATS["qwen"], mark=mark)
