"""Every parameter of the installed openai package is in the table, and the table tells the truth."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pytest
import typing_extensions
from openai.types.chat import completion_create_params

from candle_vllm_openai import (
    FIELDS,
    ApiError,
    ChatCompletionRequest,
    Message,
    ResponseFormat,
    StreamOptions,
    parse_request,
)
from candle_vllm_openai.types.messages import ContentPart
from candle_vllm_openai.types.strict import Strict
from candle_vllm_openai.types.tools import FunctionCall, ToolCall

CHAT = FIELDS["chat/completions"]
HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello"}]}
CALL: dict[str, Any] = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
PART: dict[str, Any] = {"type": "text", "text": "x"}


def message(**fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "assistant", "content": "x"} | fields]}


def part(**fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [PART | fields]}]}


def call(**fields: Any) -> dict[str, Any]:
    return message(tool_calls=[CALL | fields])


USES: dict[str, dict[str, Any]] = {
    "messages": {},
    "messages[].role": message(role="user"),
    "messages[].content": message(content="x"),
    "messages[].name": message(name="Ann"),
    "messages[].tool_call_id": message(role="tool", tool_call_id="a"),
    "messages[].tool_calls": call(),
    "messages[].tool_calls[].id": call(),
    "messages[].tool_calls[].type": call(),
    "messages[].tool_calls[].function": call(),
    "messages[].tool_calls[].function.name": call(),
    "messages[].tool_calls[].function.arguments": call(),
    "messages[].tool_calls[].custom": call(custom={"name": "x", "input": "y"}),
    "messages[].refusal": {"messages": [{"role": "assistant", "refusal": "No."}]},
    "messages[].annotations": message(annotations=[{"type": "url_citation"}]),
    "messages[].audio": message(audio={"id": "x"}),
    "messages[].function_call": message(function_call={"name": "f", "arguments": "{}"}),
    "messages[].content[].type": part(),
    "messages[].content[].text": part(),
    "messages[].content[].refusal": message(content=[{"type": "refusal", "refusal": "No."}]),
    "messages[].content[].image_url": part(type="image_url", image_url={"url": "http://x/y.png"}),
    "messages[].content[].input_audio": part(type="input_audio", input_audio={"data": "", "format": "wav"}),
    "messages[].content[].file": part(type="file", file={"file_id": "x"}),
    "messages[].content[].prompt_cache_breakpoint": part(prompt_cache_breakpoint={"mode": "explicit"}),
    "stream_options": {"stream": True, "stream_options": {}},
    "stream_options.include_usage": {"stream": True, "stream_options": {"include_usage": True}},
    "stream_options.include_obfuscation": {"stream": True, "stream_options": {"include_obfuscation": False}},
    "response_format": {"response_format": {"type": "text"}},
    "response_format.type": {"response_format": {"type": "text"}},
    "response_format.json_schema": {"response_format": {"type": "text", "json_schema": {"name": "x"}}},
    "model": {"model": "m"},
    "temperature": {"temperature": 0.5},
    "top_p": {"top_p": 0.5},
    "n": {"n": 2},
    "stop": {"stop": "x"},
    "max_tokens": {"max_tokens": 5},
    "max_completion_tokens": {"max_completion_tokens": 5},
    "seed": {"seed": 1},
    "stream": {"stream": True},
    "presence_penalty": {"presence_penalty": 1},
    "frequency_penalty": {"frequency_penalty": 1},
    "logit_bias": {"logit_bias": {"1": 5}},
    "logprobs": {"logprobs": True},
    "top_logprobs": {"logprobs": True, "top_logprobs": 2},
    "top_k": {"top_k": 5},
    "min_p": {"min_p": 0.1},
    "repetition_penalty": {"repetition_penalty": 1.1},
    "min_tokens": {"min_tokens": 1},
    "ignore_eos": {"ignore_eos": True},
    "stop_token_ids": {"stop_token_ids": [1]},
    "priority": {"priority": 1},
    "chat_template_kwargs": {"chat_template_kwargs": {"enable_thinking": True}},
    "modalities": {"modalities": ["text"]},
    "best_of": {"best_of": 1},
    "tools": {"tools": []},
    "tool_choice": {"tool_choice": "auto"},
    "service_tier": {"service_tier": "default"},
    "user": {"user": "u"},
    "metadata": {"metadata": {"a": "b"}},
    "store": {"store": True},
    "safety_identifier": {"safety_identifier": "s"},
    "prompt_cache_key": {"prompt_cache_key": "k"},
    "parallel_tool_calls": {"parallel_tool_calls": False},
    "functions": {"functions": [{"name": "f"}]},
    "function_call": {"function_call": "none"},
    "reasoning_effort": {"reasoning_effort": "low"},
    "structured_outputs": {"structured_outputs": {"regex": "a"}},
    "guided_json": {"guided_json": {}},
    "guided_regex": {"guided_regex": "a"},
    "guided_choice": {"guided_choice": ["a"]},
    "guided_grammar": {"guided_grammar": "a"},
    "verbosity": {"verbosity": "low"},
    "prompt_cache_options": {"prompt_cache_options": {"mode": "implicit"}},
    "prompt_cache_retention": {"prompt_cache_retention": "24h"},
    "cache_salt": {"cache_salt": "x"},
    "audio": {"audio": {"format": "wav", "voice": "x"}},
    "prediction": {"prediction": {"type": "content", "content": "x"}},
    "moderation": {"moderation": {"model": "x"}},
    "web_search_options": {"web_search_options": {}},
    "suffix": {"suffix": "x"},
}


def openai_fields(kind: Any, path: str = "") -> Iterator[str]:
    """The paths of a parameter type of the openai package, down to what the table does not refuse or ignore."""
    if not typing_extensions.is_typeddict(kind):
        listed = "[]" if _is_list(kind) else ""
        for member in typing_extensions.get_args(kind):
            yield from openai_fields(member, path + listed)
        return
    for name, inner in typing_extensions.get_type_hints(kind).items():
        place = f"{path}.{name}".removeprefix(".")
        yield place
        if place not in CHAT or CHAT[place].status == "honoured":
            yield from openai_fields(inner, place)


def _is_list(kind: Any) -> bool:
    origin = typing_extensions.get_origin(kind)
    return isinstance(origin, type) and issubclass(origin, Iterable) and not issubclass(origin, Mapping)


PARAMS = [
    completion_create_params.CompletionCreateParamsNonStreaming,
    completion_create_params.CompletionCreateParamsStreaming,
]
OPENAI = sorted({path for kind in PARAMS for path in openai_fields(kind)})


def test_the_walk_finds_what_is_known_to_be_there() -> None:
    assert {"messages", "messages[].tool_calls[].function.arguments", "messages[].content[].image_url"} <= set(OPENAI)
    assert {"stream_options.include_usage", "web_search_options", "response_format.type"} <= set(OPENAI)


@pytest.mark.parametrize("path", OPENAI)
def test_the_table_has_every_field_of_the_openai_package(path: str) -> None:
    assert path in CHAT


@pytest.mark.parametrize("path", CHAT)
def test_the_table_tells_the_truth(path: str) -> None:
    body = HELLO | USES[path]
    if CHAT[path].status != "refused":
        parse_request(body)
        return
    assert CHAT[path].note
    with pytest.raises(ApiError) as caught:
        parse_request(body)
    assert caught.value.code == "unsupported_field"
    assert caught.value.param == path.replace("[]", "[0]")
    assert CHAT[path].note in caught.value.message


@pytest.mark.parametrize(
    ("model", "prefix"),
    [
        (ChatCompletionRequest, ""),
        (StreamOptions, "stream_options."),
        (ResponseFormat, "response_format."),
        (Message, "messages[]."),
        (ContentPart, "messages[].content[]."),
        (ToolCall, "messages[].tool_calls[]."),
        (FunctionCall, "messages[].tool_calls[].function."),
    ],
)
def test_the_types_take_exactly_what_the_table_does_not_refuse(model: type[Strict], prefix: str) -> None:
    inside = {path.removeprefix(prefix): field for path, field in CHAT.items() if path.startswith(prefix)}
    taken = {name for name, field in inside.items() if field.status != "refused" and not {".", "["} & set(name)}
    assert set(model.model_fields) == taken
    assert model.table_path == prefix
