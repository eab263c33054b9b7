from typing import Any

import pytest

from candle_vllm_openai import ApiError, parse_request

USER: dict[str, Any] = {"role": "user", "content": "x"}


def calls(*ids: str) -> dict[str, Any]:
    function = {"name": "f", "arguments": "{}"}
    return {"role": "assistant", "tool_calls": [{"id": each, "type": "function", "function": function} for each in ids]}


def result(call_id: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": "r"}


@pytest.mark.parametrize(
    "messages",
    [
        [USER, calls("a"), result("a")],
        [USER, calls("a", "b"), result("b"), result("a"), USER],
        [calls("a"), result("a"), calls("a"), result("a")],
        [USER, calls("a"), result("a"), {"role": "assistant", "content": "x"}, USER, calls("b"), result("b")],
    ],
)
def test_calls_with_their_results_are_taken(messages: list[dict[str, Any]]) -> None:
    assert len(parse_request({"messages": messages}).messages) == len(messages)


@pytest.mark.parametrize(
    ("messages", "param", "said"),
    [
        ([result("a")], "messages[0].role", "no message with `tool_calls`"),
        ([USER, result("a")], "messages[1].role", "no message with `tool_calls`"),
        ([USER, calls("a"), result("b")], "messages[2].tool_call_id", "is 'b', which is not among"),
        ([calls("a"), result("a"), result("a")], "messages[2].tool_call_id", "has its result already"),
        ([calls("a"), result("a"), USER, result("a")], "messages[3].role", "no message with `tool_calls`"),
        ([calls("a", "b", "c"), result("b"), USER], "messages[0].tool_calls", "no results for ['a', 'c']"),
        ([USER, calls("a")], "messages[1].tool_calls", "no results for ['a']"),
        ([calls("a"), calls("b"), result("b")], "messages[0].tool_calls", "no results for ['a']"),
        ([calls("a", "a"), result("a")], "messages[0].tool_calls", "two calls of one id"),
    ],
)
def test_calls_without_results_and_results_without_calls_are_refused(
    messages: list[dict[str, Any]], param: str, said: str
) -> None:
    with pytest.raises(ApiError) as caught:
        parse_request({"messages": messages})
    assert (caught.value.status, caught.value.code, caught.value.param) == (400, "invalid_value", param)
    assert said in caught.value.message
