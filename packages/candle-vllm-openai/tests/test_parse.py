import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from candle_vllm_openai import ApiError, ChatCompletionRequest, parse_request
from candle_vllm_openai.parse import MAX_NESTING, _fault, _is_sound

HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello"}]}


def refused(body: object) -> ApiError:
    with pytest.raises(ApiError) as caught:
        parse_request(body)  # type: ignore[arg-type]
    return caught.value


def with_message(**message: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "x"}, message]}


@pytest.mark.parametrize("body", [json.dumps(HELLO).encode(), json.dumps(HELLO), HELLO])
def test_reads_bytes_text_and_objects(body: bytes | str | dict[str, Any]) -> None:
    assert parse_request(body) == ChatCompletionRequest.model_validate(HELLO)


@pytest.mark.parametrize("body", [b"[]", b"null", b'"x"', b"1", b"true", [HELLO], None, 5])
def test_a_body_that_is_no_object_is_refused(body: object) -> None:
    error = refused(body)
    assert (error.status, error.type, error.param) == (400, "invalid_request_error", None)
    assert "must be an object" in error.message


@pytest.mark.parametrize(
    "body", [b"", b"{", b"{'a': 1}", b'{"a": 1}x', b'{"a": 01}', b'{"a": "\xff"}', b"\xef\xbb\xbf{}"]
)
def test_broken_json_is_refused(body: bytes) -> None:
    assert (refused(body).status, refused(body).code) == (400, "invalid_json")


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity"])
def test_words_that_are_no_json_numbers_are_refused(word: str) -> None:
    body = json.dumps(HELLO)[:-1] + f', "temperature": {word}}}'
    assert word in refused(body).message


def test_a_key_given_twice_is_refused() -> None:
    body = json.dumps(HELLO)[:-1] + ', "seed": 1, "seed": 2}'
    assert refused(body).param == "seed"


def test_nesting_is_bounded() -> None:
    def nested(levels: int) -> dict[str, Any]:
        value: Any = 1
        for _ in range(levels):
            value = [value]
        return HELLO | {"chat_template_kwargs": {"enable_thinking": value}}

    parse_request(json.dumps(nested(62)))
    assert "deeper than 64" in refused(json.dumps(nested(63))).message
    assert "deeper than 64" in refused(b"[" * 1_000_000).message
    assert "deeper than 64" in refused(b'{"a":' * 1_000_000).message
    assert "deeper than 64" in refused(nested(900)).message


def test_the_size_of_a_body_is_bounded() -> None:
    error = refused(b" " * (10 * 1024 * 1024 + 1))
    assert (error.status, error.code) == (413, "request_too_large")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"seed": 10**400}, "seed"),
        ({"temperature": 10**400}, "temperature"),
        ({"chat_template_kwargs": {"enable_thinking": {"a": [0, 2**65]}}}, "chat_template_kwargs.enable_thinking.a[1]"),
        ({"chat_template_kwargs": {"enable_thinking": float("inf")}}, "chat_template_kwargs.enable_thinking"),
        ({"temperature": float("nan")}, "temperature"),
        ({"user": "\ud800"}, "user"),
        ({"user": {1}}, "user"),
    ],
)
def test_what_json_cannot_hold_is_refused_with_its_place(fields: dict[str, Any], param: str) -> None:
    assert refused(HELLO | fields).param == param


def test_a_number_beyond_a_float_is_refused() -> None:
    assert refused(json.dumps(HELLO)[:-1] + ', "temperature": 1e999}').param == "temperature"
    assert refused(json.dumps(HELLO)[:-1] + ', "seed": ' + "9" * 5000 + "}").code == "invalid_json"


BAD: list[tuple[str, Any]] = [
    *[("temperature", value) for value in (-1, 2.01, "1", True, [])],
    *[("top_p", value) for value in (0, -0.1, 1.01)],
    *[("n", value) for value in (0, -1, 129, 1.0, True, "1")],
    *[("max_tokens", value) for value in (0, -1, 2**31, 1.5, True)],
    *[("max_completion_tokens", value) for value in (0, -1, 2**31)],
    *[(name, value) for name in ("presence_penalty", "frequency_penalty") for value in (-2.1, 2.1)],
    ("stop", 1),
    ("stop", ["a"] * 17),
    ("logprobs", 1),
    ("top_logprobs", 1),
    ("seed", 2**63),
    ("seed", 1.0),
    ("stream", "yes"),
    ("stream", 1),
    ("stream_options", {"include_usage": True}),
    ("top_k", -2),
    ("min_p", -0.1),
    ("min_p", 1.1),
    ("repetition_penalty", 0),
    ("min_tokens", -1),
    ("priority", 2**31),
    ("ignore_eos", 0),
    ("stop_token_ids", 1),
    ("model", 1),
    ("metadata", {str(key): "v" for key in range(17)}),
    ("logit_bias", {str(key): 0 for key in range(1025)}),
    ("logit_bias", [1]),
    ("chat_template_kwargs", {f"k{key}": 0 for key in range(65)}),
    ("messages", []),
    ("messages", {}),
    ("messages", "hi"),
    ("messages", [HELLO["messages"][0]] * 4097),
]


@pytest.mark.parametrize(("field", "value"), BAD, ids=[f"{field}-{index}" for index, (field, _) in enumerate(BAD)])
def test_a_field_out_of_its_bounds_is_named(field: str, value: Any) -> None:
    error = refused(HELLO | {field: value})
    assert (error.status, error.type, error.code, error.param) == (400, "invalid_request_error", "invalid_value", field)
    assert error.message.startswith(f"`{field}` ") and len(error.message) < 300


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"stop": ""}, "stop", "invalid_value"),
        ({"stop": ["a", ""]}, "stop[1]", "invalid_value"),
        ({"stop": "x" * 1001}, "stop", "invalid_value"),
        ({"logit_bias": {"5": 101}}, "logit_bias.5", "invalid_value"),
        ({"logit_bias": {"-5": 1}}, "logit_bias.-5", "invalid_value"),
        ({"stop_token_ids": [1, -1]}, "stop_token_ids[1]", "invalid_value"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "invalid_value"),
        ({"max_tokens": 5, "max_completion_tokens": 6}, "max_completion_tokens", "invalid_value"),
        ({"max_tokens": 5, "min_tokens": 6}, "min_tokens", "invalid_value"),
        ({"max_completion_tokens": 5, "min_tokens": 6}, "min_tokens", "invalid_value"),
        ({"metadata": {"a": 1}}, "metadata.a", "invalid_value"),
        ({"n": 2, "best_of": 3}, "best_of", "unsupported_field"),
        ({"service_tier": "flex"}, "service_tier", "unsupported_field"),
        ({"modalities": ["text", "audio"]}, "modalities", "unsupported_field"),
        ({"stream": True, "stream_options": {"include_usage": 1}}, "stream_options.include_usage", "invalid_value"),
        ({"stream": True, "stream_options": {"x": 1}}, "stream_options.x", "unsupported_field"),
        (
            {"stream": True, "stream_options": {"include_obfuscation": True}},
            "stream_options.include_obfuscation",
            "unsupported_field",
        ),
        ({"response_format": {"type": "banana"}}, "response_format.type", "invalid_value"),
        ({"response_format": {"type": "text", "x": 1}}, "response_format.x", "unsupported_field"),
        ({"tool_choice": "banana"}, "tool_choice", "invalid_value"),
        ({"cache_salt": ""}, "cache_salt", "invalid_value"),
        ({"bad_words": ["a", ""]}, "bad_words[1]", "invalid_value"),
        ({"reasoning_effort": "banana"}, "reasoning_effort", "invalid_value"),
        ({"parallel_tool_calls": 1}, "parallel_tool_calls", "invalid_value"),
        *[
            ({"chat_template_kwargs": {name: 1}}, f"chat_template_kwargs.{name}", "unsupported_field")
            for name in ("chat_template", "tokenize", "messages", "tools", "add_generation_prompt")
        ],
        ({"no_such_field": 1}, "no_such_field", "unsupported_field"),
        ({"a" * 5000: 1}, "a" * 200, "unsupported_field"),
        ({"as text": 1}, "as text", "unsupported_field"),
    ],
)
def test_a_field_that_does_not_fit_is_named(fields: dict[str, Any], param: str, code: str) -> None:
    error = refused(HELLO | fields)
    assert (error.status, error.param, error.code) == (400, param, code)
    assert len(error.message) < 500


@pytest.mark.parametrize(
    ("message", "param", "code"),
    [
        ({"role": "bob", "content": "x"}, "messages[1].role", "invalid_value"),
        ({"role": "function", "content": "x", "name": "f"}, "messages[1].role", "invalid_value"),
        ({"content": "x"}, "messages[1].role", "invalid_value"),
        ({"role": "user"}, "messages[1].content", "invalid_value"),
        ({"role": "user", "content": None}, "messages[1].content", "invalid_value"),
        ({"role": "user", "content": 1}, "messages[1].content", "invalid_value"),
        ({"role": "user", "content": []}, "messages[1].content", "invalid_value"),
        ({"role": "assistant"}, "messages[1].content", "invalid_value"),
        ({"role": "assistant", "tool_calls": []}, "messages[1].content", "invalid_value"),
        ({"role": "user", "content": "x", "colour": 1}, "messages[1].colour", "unsupported_field"),
        ({"role": "user", "content": [{"type": "text"}]}, "messages[1].content[0].text", "invalid_value"),
        ({"role": "user", "content": [{"type": "text", "text": 1}]}, "messages[1].content[0].text", "invalid_value"),
        ({"role": "user", "content": [{"type": "text", "text": "a"}, 1]}, "messages[1].content[1]", "invalid_value"),
        ({"role": "user", "content": [{"type": "x", "text": "a"}]}, "messages[1].content[0].type", "invalid_value"),
        (
            {"role": "user", "content": [{"type": "text", "text": "a", "x": 1}]},
            "messages[1].content[0].x",
            "unsupported_field",
        ),
        ({"role": "user", "content": [{"type": "refusal", "refusal": "no"}]}, "messages[1].content", "invalid_value"),
        ({"role": "tool", "content": "x"}, "messages[1].tool_call_id", "invalid_value"),
        ({"role": "user", "content": "x", "tool_call_id": "a"}, "messages[1].tool_call_id", "invalid_value"),
        (
            {
                "role": "user",
                "content": "x",
                "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}],
            },
            "messages[1].tool_calls",
            "unsupported_field",
        ),
        (
            {"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f"}}]},
            "messages[1].tool_calls[0].function.arguments",
            "invalid_value",
        ),
        ({"role": "assistant", "content": "a", "refusal": "b"}, "messages[1].refusal", "invalid_value"),
        (
            {"role": "user", "content": "a", "reasoning_content": "b"},
            "messages[1].reasoning_content",
            "unsupported_field",
        ),
        ({"role": "tool", "content": "a", "reasoning": "b"}, "messages[1].reasoning", "unsupported_field"),
        (
            {"role": "assistant", "content": "a", "reasoning": "b", "reasoning_content": "c"},
            "messages[1].reasoning",
            "invalid_value",
        ),
    ],
)
def test_a_message_that_does_not_fit_is_named(message: dict[str, Any], param: str, code: str) -> None:
    error = refused(with_message(**message))
    assert (error.status, error.param, error.code) == (400, param, code)


def test_what_the_official_client_writes_back_is_taken() -> None:
    openai_chat = pytest.importorskip("openai.types.chat")
    answer = {
        "role": "assistant",
        "content": "Hi",
        "refusal": None,
        "annotations": [],
        "audio": None,
        "function_call": None,
    }
    written = openai_chat.ChatCompletionMessage.model_validate(answer | {"tool_calls": None}).model_dump()
    assert parse_request(with_message(**written)).messages[1].text == "Hi"
    refusal = openai_chat.ChatCompletionMessage.model_validate({"role": "assistant", "refusal": "No."}).model_dump()
    assert parse_request(with_message(**refusal)).messages[1].text == "No."
    parts = [{"type": "refusal", "refusal": "No."}, {"type": "text", "text": "Really."}]
    assert parse_request(with_message(role="assistant", content=parts)).messages[1].text == "No.\nReally."


def test_a_null_counts_as_left_out() -> None:
    nulls = dict.fromkeys([*ChatCompletionRequest.model_fields, "functions", "reasoning_effort", "never_heard_of"])
    assert parse_request(nulls | HELLO) == parse_request(HELLO)


def test_values_at_their_bounds_are_taken() -> None:
    fields = {
        "temperature": 2,
        "top_p": 1e-6,
        "n": 128,
        "stop": ["x" * 1000] * 16,
        "max_tokens": 2**31 - 1,
        "max_completion_tokens": 2**31 - 1,
        "logit_bias": {str(key): -100 for key in range(1024)},
        "logprobs": True,
        "top_logprobs": 20,
        "seed": -(2**63),
        "best_of": 128,
        "top_k": -1,
        "messages": HELLO["messages"] * 4096,
    }
    assert parse_request(fields).n == 128


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**65), 2**65)
    | st.floats()
    | st.text(st.characters(codec=None), max_size=3)
    | st.just(b"x")
    | st.just((1, "\ud800")),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=2) | st.just("\ud800") | st.just(1), inner, max_size=3)
        | inner.map(lambda value: nested_in_lists(value, 61))
    ),
    max_leaves=8,
)


def nested_in_lists(value: Any, levels: int) -> Any:
    for _ in range(levels):
        value = [value]
    return value


@settings(max_examples=300)
@given(anything)
def test_what_is_found_sound_has_no_fault(value: Any) -> None:
    assert not _is_sound(value) or _fault(value, 1) is None


def test_the_quick_look_is_enough_for_a_usual_request() -> None:
    assert _is_sound(HELLO | {"é": [1, 2.5, None, True, {"a": "日本"}], "deep": nested_in_lists(1, MAX_NESTING - 2)})
    assert not _is_sound(nested_in_lists([], MAX_NESTING))
    assert not _is_sound({"a": "\ud800"}) and not _is_sound({"a": float("nan")}) and not _is_sound({"a": 2**65})
