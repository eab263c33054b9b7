import json
from typing import Any

import pytest
from chat_templates import (
    ASK,
    CALLS,
    CONVERSATIONS,
    FIRST,
    MARKS,
    NAMES,
    SECOND,
    TEMPLATES,
    TOOLS,
    TWO_CALLS,
    as_read,
    call,
    chat_template,
    compiled,
    reference,
    rendered,
    request,
    result,
)

NO_SYSTEM = {"gemma-2"}
NEEDS_TOOLS = {"command-r-plus", "hermes-3"}
"""Templates for requests with tools; their checkpoints have another one beside them."""
NO_TOOLS = {
    "aya-expanse",
    "command-r-plus-default",
    "deepseek-r1-distill",
    "deepseek-v3",
    "deepseek-v3.1",
    "gemma-2",
    "gemma-3",
    "glm-4",
    "llama-3",
    "mistral-v7",
    "phi-3",
    "phi-3.5",
    "phi-4",
    "smollm3",
}
NO_CALLS = (NO_TOOLS - {"deepseek-r1-distill", "deepseek-v3", "deepseek-v3.1"}) | {"granite-3.3", "kimi-k2", "lfm2"}
"""They refuse messages with calls, or leave the calls out."""
ONE_CALL = {"llama-3.1", "llama-3.2", "gpt-oss"}
JOINS_ARGUMENTS = {"deepseek-r1-distill", "deepseek-v3"}
WANTS_EMPTY_CONTENT = {"command-r-plus", "glm-4-moe", "glm-4.6", "gpt-oss", "minimax-m2", "ministral-3-reasoning"} | {
    "qwen3",
    "qwq",
}
THOUGHTS_ARE_PARTS = {"ministral-3-reasoning"}


def in_parts(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages with reasoning as a part of the content."""
    for message in messages:
        if "reasoning_content" in message:
            text = [{"type": "text", "text": message["content"]}] if message["content"] else []
            message["content"] = [{"type": "thinking", "thinking": message["reasoning_content"]}, *text]
    return messages


def test_every_template_has_its_source() -> None:
    sources = json.loads((TEMPLATES / "sources.json").read_text(encoding="utf-8"))
    assert sorted(sources) == NAMES and len(NAMES) >= 40
    assert all(source["model"] and source["copy"] for source in sources.values())


@pytest.mark.parametrize("tools", [None, TOOLS], ids=["", "tools"])
@pytest.mark.parametrize("name", NAMES)
def test_renders_as_transformers_does(name: str, tools: list[dict[str, Any]] | None) -> None:
    if name in (NO_TOOLS if tools else NEEDS_TOOLS):
        return
    template = chat_template(name)
    for label, messages in CONVERSATIONS.items():
        if name not in NO_SYSTEM or messages[0]["role"] != "system":
            wanted = in_parts(as_read(messages)) if name in THOUGHTS_ARE_PARTS else as_read(messages)
            assert rendered(template, messages, tools=tools) == reference(template, wanted, tools=tools), label


@pytest.mark.parametrize("name", [name for name in NAMES if name not in NO_CALLS])
def test_renders_calls_and_results_as_transformers_does(name: str) -> None:
    template, tools = chat_template(name), None if name in NO_TOOLS else TOOLS
    conversations = CALLS if name in ONE_CALL else CALLS | {"two calls": TWO_CALLS}
    for label, messages in conversations.items():
        read = as_read(
            messages, as_text=name in JOINS_ARGUMENTS, no_content="" if name in WANTS_EMPTY_CONTENT else None
        )
        wanted = in_parts(read) if name in THOUGHTS_ARE_PARTS else read
        assert rendered(template, messages, tools=tools) == reference(template, wanted, tools=tools), label


@pytest.mark.parametrize("name", sorted(ONE_CALL))
def test_a_template_that_takes_one_call_gets_several_one_by_one(name: str) -> None:
    apart = [
        ASK,
        {"role": "assistant", "content": None, "tool_calls": [FIRST]},
        result("abcdefghi", "sunny"),
        {"role": "assistant", "content": None, "tool_calls": [SECOND]},
        result("abcdefghj", "12"),
        *TWO_CALLS[4:],
    ]
    backwards = [*TWO_CALLS[:2], TWO_CALLS[3], TWO_CALLS[2], *TWO_CALLS[4:]]
    template = chat_template(name)
    assert rendered(template, TWO_CALLS, tools=TOOLS) == rendered(template, apart, tools=TOOLS)
    first, second = (rendered(template, each, tools=TOOLS) for each in (TWO_CALLS, backwards))
    assert first != second and sorted(first) == sorted(second)


@pytest.mark.parametrize("name", NAMES)
def test_says_every_tool_call_and_result_in_some_way(name: str) -> None:
    calls = [call("one", arguments='{"city": "qZjvK"}'), call("two", "now", "{}")]
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "Sys-tem."},
        {"role": "user", "content": "Qu-estion?"},
        {"role": "assistant", "content": None, "tool_calls": calls},
        result("one", "First-result"),
        result("two", "Second-result"),
        {"role": "assistant", "content": "An-swer."},
        {"role": "user", "content": "Go-on"},
    ]
    prompt = rendered(chat_template(name), messages, tools=TOOLS)
    wanted = ["Sys-tem.", "Qu-estion?", "qZjvK", "First-result", "Second-result", "An-swer.", "Go-on"]
    if name == "command-r-plus":
        wanted.remove("qZjvK")  # its template shows the calls of the last turn only
    places = [prompt.find(each) for each in wanted]
    assert -1 not in places and places[1:] == sorted(places[1:])
    assert all(said in prompt for said in ("get_weather", "state", "Where"))


@pytest.mark.parametrize("name", NAMES)
def test_a_mark_in_a_content_is_rendered_as_it_stands(name: str) -> None:
    template, tools = chat_template(name), TOOLS if name in NEEDS_TOOLS else None
    for mark in MARKS:
        messages = [{"role": "system", "content": f"a {mark}"}, {"role": "user", "content": f"x{mark}y {mark}{mark} z"}]
        if name in NO_SYSTEM:
            del messages[0]
        assert rendered(template, messages, tools=tools) == reference(template, messages, tools=tools), mark


@pytest.mark.parametrize("name", NAMES)
def test_what_a_client_writes_holds_no_control_marks(name: str) -> None:
    template = compiled(chat_template(name))

    def written(text: str) -> str:
        """What the template itself has written of the prompt, if a client writes this everywhere."""
        tool = json.loads(json.dumps(TOOLS[0]))
        tool["function"]["description"] = text
        tool["function"]["parameters"]["properties"] |= {
            "more": {"type": "string", "description": text, "enum": [text]}
        }
        messages: list[dict[str, Any]] = [
            {"role": "system", "content": f"s {text}"},
            {"role": "user", "content": f"u {text}"},
            {
                "role": "assistant",
                "content": f"a {text}",
                "tool_calls": [call("abcdefghi", arguments=json.dumps({"city": text, text: text}))],
            },
            result("abcdefghi", f"t {text}"),
        ]
        pieces = template.render(request(messages, tools=[tool]))
        return "".join(piece.text for piece in pieces if piece.control_marks)

    mine, theirs = written("harmless"), written("<|im_end|>[INST]</s><tool_response>")
    for mark in MARKS:
        assert mine.count(mark) == theirs.count(mark), mark


@pytest.mark.parametrize("name", [name for name in NAMES if name not in NEEDS_TOOLS])
def test_a_prompt_without_marks_in_its_contents_is_one_piece(name: str) -> None:
    template = compiled(chat_template(name))
    for label in ("one", "system", "turns", "named"):
        pieces = template.render(request(CONVERSATIONS[label]))
        assert [piece.control_marks for piece in pieces] == [True], label
