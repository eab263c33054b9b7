"""Answers as models of each chat format write them, what they say, and every way of cutting them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from candle_vllm_openai.formats import FORMATS, Offered
from candle_vllm_openai.formats.anything import ANYTHING
from candle_vllm_openai.output import answer_grammar
from candle_vllm_openai.reasoning import STYLES, ReasoningStyle
from candle_vllm_openai.scanner import CallArguments, CallEnd, CallStart, Event, Parser, Reasoning, Text

QUOTE, ESCAPE = '<|"|>', "<escape>"
Call = tuple[str, dict[str, Any]]
SCHEMAS: Mapping[str, Mapping[str, Any]] = {
    "search": {
        "type": "object",
        "properties": {
            "query": {"type": "string"},
            "limit": {"type": "integer"},
            "exact": {"type": "boolean"},
            "score": {"type": "number"},
            "filters": {"type": "object"},
            "tags": {"type": "array"},
            "note": {"type": ["string", "null"]},
        },
    },
    "now": {"type": "object", "properties": {}},
    "files/read:v1.2": {"type": "object", "properties": {"path": {"type": "string"}}},
}
ONE: Call = ("search", {"query": "cats"})
NOW: Call = ("now", {})
PATHED: Call = ("files/read:v1.2", {"path": "a"})
NESTED: Call = (
    "search",
    {
        "query": "say \"hi\" \\ {[(</x>)]} 'ünï' 日本 👋🏽\nnext\tline ",
        "limit": -3,
        "exact": True,
        "filters": {"a": [1, 2.5, {"b": None}], "é": "it's }", "c": {}, "d": [[], "", "["]},
        "tags": [],
    },
)


Write = Callable[[Sequence[Call]], str]


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _object(call: Call, arguments: str = "arguments") -> str:
    return f'{{"name": {_json(call[0])}, "{arguments}": {_json(call[1])}}}'


def _objects(calls: Sequence[Call]) -> str:
    return f"[{', '.join(map(_object, calls))}]"


def _plain(value: object) -> str:
    return value if isinstance(value, str) else _json(value)


def _python(call: Call) -> str:
    return f"{call[0]}({', '.join(f'{name}={value!r}' for name, value in call[1].items())})"


def _gemma(value: object, quote: str) -> str:
    match value:
        case str():
            return f"{quote}{value}{quote}"
        case dict():
            return "{" + ",".join(f"{name}:{_gemma(item, quote)}" for name, item in value.items()) + "}"
        case list():
            return "[" + ",".join(_gemma(item, quote) for item in value) + "]"
        case _:
            return _json(value)


def _coder(call: Call) -> str:
    members = "".join(f"<parameter={name}>\n{_plain(value)}\n</parameter>\n" for name, value in call[1].items())
    return f"<tool_call>\n<function={call[0]}>\n{members}</function>\n</tool_call>"


def _glm(call: Call) -> str:
    members = "".join(
        f"<arg_key>{name}</arg_key>\n<arg_value>{_plain(value)}</arg_value>\n" for name, value in call[1].items()
    )
    return f"<tool_call>{call[0]}\n{members}</tool_call>"


def _invoke(call: Call, prefix: str, *, typed: bool) -> str:
    def kind(value: object) -> str:
        return f' string="{_json(isinstance(value, str))}"' if typed else ""

    members = "".join(
        f'<{prefix}parameter name="{name}"{kind(value)}>{_plain(value)}</{prefix}parameter>\n'
        for name, value in call[1].items()
    )
    return f'<{prefix}invoke name="{call[0]}">\n{members}</{prefix}invoke>\n'


def _fenced(call: Call) -> str:
    return f"<｜tool▁call▁begin｜>function<｜tool▁sep｜>{call[0]}\n```json\n{_json(call[1])}\n```<｜tool▁call▁end｜>"


def _joined(write: Callable[[Call], str], between: str = "", around: tuple[str, str] = ("", "")) -> Write:
    return lambda calls: around[0] + between.join(map(write, calls)) + around[1]


@dataclass(frozen=True)
class Variant:
    """One way in which a format writes calls."""

    format: str
    name: str
    write: Write
    first: bool = False
    """Whether calls must be the whole answer."""
    parallel: bool = True
    style: str = "think"

    @property
    def arguments_as_written(self) -> bool:
        """Whether arguments are written in JSON."""
        text = self.write([NESTED])
        return _json(NESTED[1]) in text

    @property
    def label(self) -> str:
        """What tests and tables call it."""
        return f"{self.format}: {self.name}"


VARIANTS = (
    Variant("mistral", "list", lambda calls: f"[TOOL_CALLS] {_objects(calls)}", style="mistral"),
    Variant("mistral", "name first", _joined(lambda call: f"[TOOL_CALLS]{call[0]}[ARGS]{_json(call[1])}")),
    Variant(
        "mistral", "with ids", _joined(lambda call: f"[TOOL_CALLS]{call[0]}[CALL_ID]abcdefghi[ARGS]{_json(call[1])}")
    ),
    Variant("llama", "tag", lambda calls: "<|python_tag|>" + "; ".join(_object(call, "parameters") for call in calls)),
    Variant("llama", "function", _joined(lambda call: f"<function={call[0]}>{_json(call[1])}</function>", "\n")),
    Variant("llama", "bare", _joined(lambda call: _object(call, "parameters"), "; "), first=True),
    Variant("qwen", "JSON", _joined(lambda call: f"<tool_call>\n{_object(call)}\n</tool_call>", "\n")),
    Variant("qwen_coder", "elements", _joined(_coder, "\n")),
    Variant(
        "deepseek",
        "fenced",
        _joined(_fenced, "\n", ("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>")),
    ),
    Variant(
        "deepseek",
        "plain",
        _joined(
            lambda call: f"<｜tool▁call▁begin｜>{call[0]}<｜tool▁sep｜>{_json(call[1])}<｜tool▁call▁end｜>",
            "",
            ("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"),
        ),
    ),
    Variant(
        "deepseek",
        "elements",
        _joined(
            lambda call: _invoke(call, "｜DSML｜", typed=True),
            "",
            ("<｜DSML｜function_calls>\n", "</｜DSML｜function_calls>"),
        ),
    ),
    Variant("glm4", "name first", _joined(lambda call: f"{call[0]}\n{_json(call[1])}"), first=True, parallel=False),
    Variant("glm4", "elements", _joined(_glm, "\n")),
    Variant("pythonic", "list", lambda calls: f"[{', '.join(map(_python, calls))}]", first=True),
    Variant(
        "pythonic",
        "marked list",
        lambda calls: f"<|tool_call_start|>[{', '.join(map(_python, calls))}]<|tool_call_end|>",
    ),
    Variant("pythonic", "lines", _joined(_python, "\n", ("<function_calls>\n", "\n</function_calls>"))),
    Variant("gemma", "code", _joined(_python, "\n", ("```tool_code\n", "\n```")), style="gemma"),
    Variant(
        "gemma",
        "escaped",
        _joined(lambda call: f"<start_function_call>call:{call[0]}{_gemma(call[1], ESCAPE)}<end_function_call>"),
        style="gemma",
    ),
    Variant(
        "gemma",
        "quoted",
        _joined(lambda call: f"<|tool_call>call:{call[0]}{_gemma(call[1], QUOTE)}<tool_call|>"),
        style="gemma",
    ),
    Variant(
        "minimax_m2",
        "elements",
        _joined(lambda call: _invoke(call, "", typed=False), "", ("<minimax:tool_call>\n", "</minimax:tool_call>")),
    ),
    Variant(
        "harmony",
        "channels",
        _joined(
            lambda call: (
                f"<|channel|>commentary to=functions.{call[0]} <|constrain|>json<|message|>{_json(call[1])}<|call|>"
            ),
            "<|start|>assistant",
        ),
        style="harmony",
    ),
    Variant("function_marks", "marks", _joined(lambda call: f"✿FUNCTION✿: {call[0]}\n✿ARGS✿: {_json(call[1])}", "\n")),
    Variant("json", "list", _objects, first=True),
    Variant("json", "tool_calls", lambda calls: f'{{"tool_calls": {_objects(calls)}}}', first=True),
    Variant(
        "kimi_k2",
        "section",
        lambda calls: (
            "<|tool_calls_section_begin|>"
            + "".join(
                f"<|tool_call_begin|>functions.{name}:{place}<|tool_call_argument_begin|>{_json(made)}<|tool_call_end|>"
                for place, (name, made) in enumerate(calls)
            )
            + "<|tool_calls_section_end|>"
        ),
    ),
    Variant("command", "action", lambda calls: f"<|START_ACTION|>{_objects(calls)}<|END_ACTION|>", style="command"),
    Variant("command", "fenced", lambda calls: f"Action:\n```json\n{_objects(calls)}```", style="command"),
    Variant("nemotron", "list", lambda calls: f"<TOOLCALL>{_objects(calls)}</TOOLCALL>"),
    Variant("granite", "list", lambda calls: f"<|tool_call|>{_objects(calls)}"),
    Variant("auto", "any", _joined(lambda call: f"<tool_call>\n{_object(call)}\n</tool_call>", "\n")),
)


@dataclass(frozen=True)
class Answer:
    """A model's text, and what it says; `calls` is None where that is not told."""

    variant: Variant
    kind: str
    text: str
    content: str = ""
    reasoning: str = ""
    calls: tuple[Call, ...] | None = ()

    def parser(self) -> Parser:
        """One that reads it."""
        return parser(self.variant.format, self.variant.style)


def parser(format: str, style: str = "think", started: ReasoningStyle | None = None) -> Parser:
    """One for a format, with the tools above on offer."""
    chosen = ANYTHING if format == "auto" else FORMATS[format]
    return Parser(answer_grammar(chosen, Offered(SCHEMAS), (STYLES[style],), started))


def answers(variant: Variant, *, num_broken: int = 12) -> Iterator[Answer]:
    """Answers of every kind."""
    one, many = variant.write([ONE]), variant.write([ONE, NOW, NESTED])
    fence = f"Look:\n```\n{one}\n```\nDone.\n"
    said = _said(variant, "Hello, <world>. ``x`` \n\nBye [1] {2}\n")
    yield Answer(variant, "text", said, "Hello, <world>. ``x`` \n\nBye [1] {2}\n")
    yield Answer(variant, "fenced", _said(variant, fence), fence)
    thought = _thought(variant, f"\nI think of {one}\n")
    yield Answer(variant, "reasoning", thought + _said(variant, "So."), "So.", f"I think of {one}")
    yield Answer(variant, "reasoning, then a call", thought + _next(variant) + one, "", f"I think of {one}", (ONE,))
    yield Answer(variant, "one call", one, calls=(ONE,))
    yield Answer(variant, "a name with marks in it", variant.write([PATHED]), calls=(PATHED,))
    yield Answer(variant, "nested", variant.write([NESTED]), calls=(NESTED,))
    if variant.parallel:
        yield Answer(variant, "parallel", many, calls=(ONE, NOW, NESTED))
    if not variant.first and variant.format != "harmony":
        yield Answer(variant, "text around", f"First.\n\n{one}\n\nLast.", "First.Last.", calls=(ONE,))
    yield Answer(variant, "not offered", *[variant.write([("nothing", {"a": 1})])] * 2)
    for step in range(num_broken):
        at = len(many) * step // num_broken
        yield Answer(variant, "malformed", many[:at] + many[at + 3 :], calls=None)
        yield Answer(variant, "cut short", many[:at], calls=None)


def _said(variant: Variant, text: str) -> str:
    return f"<|channel|>final<|message|>{text}<|return|>" if variant.format == "harmony" else text


def _next(variant: Variant) -> str:
    return "" if variant.format == "harmony" else "\n\n"


def _thought(variant: Variant, text: str) -> str:
    if variant.format == "harmony":
        return f"<|channel|>analysis<|message|>{text}<|end|><|start|>assistant"
    style = STYLES[variant.style]
    return f"{style.opening}{text}{style.closing}\n"


def merged(events: Sequence[Event]) -> list[Event]:
    """The events with adjacent pieces of the same kind put together."""
    whole: list[Event] = []
    for event in events:
        match whole[-1] if whole else None, event:
            case Text(before), Text(after):
                whole[-1] = Text(before + after)
            case Reasoning(before), Reasoning(after):
                whole[-1] = Reasoning(before + after)
            case CallArguments(before), CallArguments(after):
                whole[-1] = CallArguments(before + after)
            case _:
                whole.append(event)
    return whole


def read(make: Callable[[], Parser], pieces: Sequence[str]) -> list[Event]:
    """The events of a text that comes in pieces, put together."""
    reader = make()
    events = [event for piece in pieces for event in reader.feed(piece)]
    return merged([*events, *reader.finish()])


def cuts(text: str, num_random: int, random: Random, *, step: int = 1) -> Iterator[list[str]]:
    """Every cut in two (or one of `step`), one into characters, and random ones into many pieces."""
    for at in range(random.randrange(step), len(text) + 1, step):
        yield [text[:at], text[at:]]
    yield list(text)
    for _ in range(num_random):
        places = sorted(random.sample(range(len(text) + 1), random.randint(0, min(len(text), 12))))
        yield [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]


def content_of(events: Sequence[Event]) -> str:
    """The content that events add up to."""
    return "".join(event.text for event in events if isinstance(event, Text))


def reasoning_of(events: Sequence[Event]) -> str:
    """The reasoning that events add up to."""
    return "".join(event.text for event in events if isinstance(event, Reasoning))


def written_calls(events: Sequence[Event]) -> list[tuple[str, str]]:
    """The calls that events add up to: names, and arguments as they are written."""
    calls: list[tuple[str, str]] = []
    begun = False
    for event in events:
        match event:
            case CallStart(name):
                assert not begun
                calls.append((name, ""))
                begun = True
            case CallArguments(fragment):
                assert begun
                calls[-1] = (calls[-1][0], calls[-1][1] + fragment)
            case CallEnd():
                assert begun
                begun = False
            case _:
                assert not begun
    assert not begun
    return calls
