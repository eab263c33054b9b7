"""Chat templates of released checkpoints, conversations to render with them, and what transformers makes of both."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from transformers.utils.chat_template_utils import render_jinja_template

from candle_vllm_openai import ChatCompletionRequest, ChatTemplate
from candle_vllm_openai.prompt import PromptTemplate

TEMPLATES = Path(__file__).parent / "templates"
NAMES = sorted(path.stem for path in TEMPLATES.glob("*.jinja"))
MARKS = ("<|im_start|>", "<|im_end|>", "[INST]", "[/INST]", "<s>", "</s>", "<think>", "</think>", "<tool_response>")

ARGUMENTS = '{"city": "Zürich", "days": [1, 2.5, null], "deep": {"a": "<&>"}}'

TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": 'The weather\'s <state> in a "city".',
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "Where"},
                    "days": {"type": "array", "description": "When", "items": {"type": "number"}},
                },
                "required": ["city"],
            },
        },
    },
    {
        "type": "function",
        "function": {"name": "now", "description": "The time", "parameters": {"type": "object", "properties": {}}},
    },
]


def call(call_id: str, name: str = "get_weather", arguments: str = ARGUMENTS) -> dict[str, Any]:
    """A call as OpenAI's clients send it back."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def result(call_id: str, content: str) -> dict[str, Any]:
    """What a call gave."""
    return {"role": "tool", "tool_call_id": call_id, "content": content}


ASK: dict[str, Any] = {"role": "user", "content": "Weather?"}
FIRST, SECOND = call("abcdefghi"), call("abcdefghj", "now", "{}")

CONVERSATIONS: dict[str, list[dict[str, Any]]] = {
    "one": [{"role": "user", "content": "Hello"}],
    "system": [{"role": "system", "content": " Be brief.\n"}, {"role": "user", "content": "  Hi <b>&amp; é 👋 \n"}],
    "turns": [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "1"},
        {"role": "assistant", "content": " 2 "},
        {"role": "user", "content": "3"},
    ],
    "thought": [
        {"role": "user", "content": "1"},
        {"role": "assistant", "content": "<think>\nhmm\n</think>\n\n2"},
        {"role": "user", "content": "3"},
    ],
    "reasoned": [
        {"role": "user", "content": "1"},
        {"role": "assistant", "content": "2", "reasoning_content": "I count."},
        {"role": "user", "content": "3"},
    ],
    "named": [{"role": "user", "content": "x", "name": "Ann"}],
}
CALLS: dict[str, list[dict[str, Any]]] = {
    "one call": [ASK, {"role": "assistant", "content": None, "tool_calls": [FIRST]}, result("abcdefghi", '{"a": 1}')],
    "text and a call": [
        ASK,
        {"role": "assistant", "content": "Let me see.", "tool_calls": [FIRST]},
        result("abcdefghi", "sunny"),
    ],
    "reasoning and a call": [
        ASK,
        {"role": "assistant", "content": None, "reasoning_content": "I look.", "tool_calls": [FIRST]},
        result("abcdefghi", "sunny"),
        {"role": "assistant", "content": None, "reasoning_content": "And when?", "tool_calls": [SECOND]},
        result("abcdefghj", "12"),
    ],
}
TWO_CALLS: list[dict[str, Any]] = [
    ASK,
    {"role": "assistant", "content": None, "tool_calls": [FIRST, SECOND]},
    result("abcdefghi", "sunny"),
    result("abcdefghj", "12"),
    {"role": "assistant", "content": "Sunny."},
    {"role": "user", "content": "Thanks"},
]


def chat_template(name: str, marks: tuple[str, ...] = MARKS) -> ChatTemplate:
    """The template of that name; `marks` are its control tokens."""
    source = (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")
    return ChatTemplate(source=source, bos_token="<s>", eos_token="</s>", special_tokens=marks)


def reference(template: ChatTemplate, messages: list[dict[str, Any]], **settings: Any) -> str:
    """The prompt that transformers' `apply_chat_template` gives."""
    rendered = render_jinja_template(
        conversations=[messages],
        chat_template=template.source,
        add_generation_prompt=True,
        bos_token=template.bos_token,
        eos_token=template.eos_token,
        **settings,
    )
    return str(rendered[0][0])


def request(messages: list[dict[str, Any]], **fields: Any) -> ChatCompletionRequest:
    """A chat request."""
    return ChatCompletionRequest.model_validate({"messages": messages, **fields})


def rendered(template: ChatTemplate, messages: list[dict[str, Any]], **fields: Any) -> str:
    """The prompt that we give."""
    return "".join(piece.text for piece in compiled(template).render(request(messages, **fields)))


@cache
def compiled(template: ChatTemplate) -> PromptTemplate:
    """Our template, made once."""
    return PromptTemplate(template)


def as_read(
    messages: list[dict[str, Any]], *, as_text: bool = False, no_content: str | None = None
) -> list[dict[str, Any]]:
    """What a user of transformers writes: arguments as objects, and what some templates want for no content."""
    read: list[dict[str, Any]] = json.loads(json.dumps(messages))
    for message in read:
        for made in message.get("tool_calls", ()):
            if not as_text:
                made["function"]["arguments"] = json.loads(made["function"]["arguments"])
        if message["content"] is None:
            message["content"] = no_content
        if "reasoning_content" in message:
            message["thinking"] = message["reasoning_content"]
    return read
