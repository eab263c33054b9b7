"""`OutputParser`: a model's text, in pieces or whole, as content, reasoning and calls of tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from .detect import AUTO, NONE, choose_format, choose_reasoning
from .formats import Format, Offered
from .formats.anything import ANYTHING
from .formats.plain import plain
from .reasoning import STYLES, ReasoningStyle, thinking
from .scanner import CallArguments, CallStart, Event, Grammar, Parser, Reasoning, Text
from .types.tools import FunctionCall, FunctionDefinition, Tool, ToolCall

Tools = Sequence[Tool | FunctionDefinition | Mapping[str, Any]]
"""Tools as OpenAI writes them, or their functions."""


@dataclass(frozen=True, slots=True)
class ParsedOutput:
    """A model's text, taken apart."""

    content: str | None
    """The answer; None where there is none beside calls of tools."""
    reasoning_content: str | None
    """What the model thought before; None where it did not."""
    tool_calls: list[ToolCall]


class OutputParser:
    """The incremental parser of a model's text.

    ```python
    from candle_vllm_openai import OutputParser

    parser = OutputParser("qwen")
    events = parser.feed('<tool_call>{"name": "add", "argu') + parser.feed('ments": {"a": 1}}</tool_call>')
    events += parser.finish()
    ```
    """

    def __init__(
        self,
        parser_name: str = AUTO,
        tools: Tools | None = None,
        reasoning: str = AUTO,
        *,
        template_source: str | None = None,
        family: str | None = None,
        prompt: str = "",
    ) -> None:
        """`tools`: those on offer; a call of another one is text. None: every name is taken for a tool.

        `template_source` and `family`: the model's chat template and architecture, for the names `auto`; without them
        `auto` reads any format whose marks are plain.
        `prompt`: the rendered prompt, whose end shows whether it has already opened the reasoning.

        Raises:
            ConfigError: there is no parser or no reasoning style of that name.
        """
        self._parser = Parser(
            text_grammar(parser_name, tools, reasoning, template_source=template_source, family=family, prompt=prompt)
        )

    def feed(self, text: str) -> list[Event]:
        """The events that more text makes known."""
        return self._parser.feed(text)

    def finish(self) -> list[Event]:
        """The events that the end of the text makes known; call it once, last."""
        return self._parser.finish()


def parse_output(
    parser_name: str, text: str, tools: Tools | None = None, reasoning: str = AUTO, *, prompt: str = ""
) -> ParsedOutput:
    """A model's whole text, taken apart: what `OutputParser` makes of it, added up.

    Raises:
        ConfigError: there is no parser or no reasoning style of that name.
    """
    parser = OutputParser(parser_name, tools, reasoning, prompt=prompt)
    return parsed([*parser.feed(text), *parser.finish()])


def parsed(events: Sequence[Event]) -> ParsedOutput:
    """What events add up to."""
    content = "".join(event.text for event in events if isinstance(event, Text))
    thought = "".join(event.text for event in events if isinstance(event, Reasoning))
    calls: list[tuple[str, list[str]]] = []
    for event in events:
        match event:
            case CallStart(name):
                calls.append((name, []))
            case CallArguments(fragment):
                calls[-1][1].append(fragment)
            case _:
                pass
    made = [_call(name, "".join(fragments)) for name, fragments in calls]
    return ParsedOutput(content or (None if calls else ""), thought or None, made)


def _call(name: str, arguments: str) -> ToolCall:
    call_id = f"call_{uuid4().hex[:24]}"
    return ToolCall(id=call_id, type="function", function=FunctionCall(name=name, arguments=arguments))


def text_grammar(
    parser_name: str,
    tools: Tools | None,
    reasoning: str,
    *,
    template_source: str | None = None,
    family: str | None = None,
    prompt: str = "",
) -> Grammar:
    """How a text is read of which this much is known; see `OutputParser`."""
    unknown = parser_name == AUTO and template_source is None and family is None
    format = ANYTHING if unknown else choose_format(parser_name, template_source, family)
    chosen = choose_reasoning(reasoning, template_source)
    styles = () if reasoning == NONE else tuple(STYLES.values()) if chosen is None else (chosen,)
    started = next((style for style in styles if style.opened_by(prompt)), None)
    return answer_grammar(format, offered(tools), styles, started)


def answer_grammar(
    format: Format, offered: Offered, styles: Sequence[ReasoningStyle], started: ReasoningStyle | None = None
) -> Grammar:
    """How an answer is read: reasoning in one of the styles, then text and calls; `started` is open from the start."""
    inner = format.grammar(offered) if format.channels or offered.any else plain
    if format.channels:
        return inner
    return thinking(inner, styles, started=started)


def offered(tools: Tools | None) -> Offered:
    """The tools on offer, by name."""
    return Offered(None if tools is None else dict(map(_named, tools)))


def _named(tool: Tool | FunctionDefinition | Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    if isinstance(tool, Mapping):
        return _named(Tool.model_validate(tool) if "function" in tool else FunctionDefinition.model_validate(tool))
    definition = tool.function if isinstance(tool, Tool) else tool
    return definition.name, definition.parameters or {}
