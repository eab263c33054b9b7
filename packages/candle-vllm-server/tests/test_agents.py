"""Agents of others against the server on a socket: they call a tool and answer with what it gave.

They are of the extra `clients`; where it is not installed, these tests are skipped.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from candle_vllm_core import GenerationParams, ScriptedEngine

TEMPLATES = Path(__file__).parents[2] / "candle-vllm-openai/tests/support/templates"
QUESTION = "How warm is it in Zürich?"
WEATHER = "It is 22 degrees in Zürich."
CALLS = {
    "qwen3": (
        "<think>\nI look.\n</think>\n\n"
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Zürich"}}\n</tool_call>'
    ),
    "mistral-small-3.2": '[TOOL_CALLS]get_weather[ARGS]{"city": "Zürich"}',
    "llama-3.1": '{"name": "get_weather", "parameters": {"city": "Zürich"}}',
}

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.parametrize("template", CALLS)]
Serve = Callable[[str], Any]


def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"22 degrees in {city}"


def installed(module: str) -> Any:
    """A client's module; the test is skipped where it is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(module)


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of them calls home."""
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    monkeypatch.setenv("OPENAI_AGENTS_DISABLE_TRACING", "1")
    monkeypatch.setenv("LANGSMITH_TRACING", "false")


@pytest.fixture
def url(live: Callable[..., Any], template: str) -> Iterator[str]:
    """A server whose model calls the tool, and says what it gave once it has been told."""

    def script(prompt: str, params: GenerationParams) -> str:
        assert "get_weather" in prompt
        return WEATHER if "22 degrees in Zürich" in prompt else CALLS[template]

    source = (TEMPLATES / f"{template}.jinja").read_text(encoding="utf-8")
    special = ("<tool_call>", "</tool_call>", "[TOOL_CALLS]", "[ARGS]", "<think>", "</think>", "[INST]", "[/INST]")
    with live(ScriptedEngine(script, chat_template=source, special_tokens=special, chunk_size=[3, 1])) as server:
        yield f"{server.url}/v1"


@pytest.mark.parametrize("stream", [False, True])
async def test_openai_agents(url: str, template: str, stream: bool) -> None:
    agents = installed("agents")
    client = importlib.import_module("openai").AsyncOpenAI(base_url=url, api_key="unused", max_retries=0)
    async with client:
        agent = agents.Agent(
            name="guide",
            instructions="Answer briefly.",
            tools=[agents.function_tool(get_weather)],
            model=agents.OpenAIChatCompletionsModel(model="default", openai_client=client),
        )
        if stream:
            result = agents.Runner.run_streamed(agent, QUESTION)
            events = [event async for event in result.stream_events()]
            assert len(events) > 10
        else:
            result = await agents.Runner.run(agent, QUESTION)
    called = [item.raw_item for item in result.new_items if item.type == "tool_call_item"]
    assert [(call.name, call.arguments) for call in called] == [("get_weather", '{"city": "Zürich"}')]
    assert result.final_output == WEATHER


@pytest.mark.parametrize("stream", [False, True])
def test_langchain(url: str, template: str, stream: bool) -> None:
    chat, messages = installed("langchain_openai"), installed("langchain_core.messages")
    tool = installed("langchain_core.tools").tool(get_weather)
    model = chat.ChatOpenAI(base_url=url, api_key="unused", model="default", max_retries=0).bind_tools([tool])
    said: list[Any] = [messages.HumanMessage(QUESTION)]

    def answer() -> Any:
        if not stream:
            return model.invoke(said)
        first, *rest = model.stream(said)
        return sum(rest, first)

    said.append(answer())
    assert [(call["name"], call["args"]) for call in said[-1].tool_calls] == [("get_weather", {"city": "Zürich"})]
    said.extend(tool.invoke(call) for call in said[-1].tool_calls)
    assert answer().content == WEATHER


@pytest.mark.parametrize("stream", [False, True])
def test_litellm(url: str, template: str, stream: bool) -> None:
    litellm = installed("litellm")
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": parameters}}]
    said: list[Any] = [{"role": "user", "content": QUESTION}]

    def answer() -> Any:
        made = litellm.completion(
            model="openai/default", api_base=url, api_key="unused", messages=said, tools=tools, stream=stream
        )
        return (litellm.stream_chunk_builder(list(made)) if stream else made).choices[0]

    first = answer()
    assert first.finish_reason == "tool_calls"
    [call] = first.message.tool_calls
    assert (call.function.name, call.function.arguments) == ("get_weather", '{"city": "Zürich"}')
    said += [first.message, {"role": "tool", "tool_call_id": call.id, "content": get_weather("Zürich")}]
    last = answer()
    assert (last.message.content, last.finish_reason) == (WEATHER, "stop")
