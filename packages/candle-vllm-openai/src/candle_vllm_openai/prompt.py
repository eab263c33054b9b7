"""Messages → the prompt, in the model's own chat template, rendered in Jinja's immutable sandbox."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import TemplateError, meta, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from candle_vllm_core import ChatTemplate, Engine

from .errors import SERVER, ApiError
from .marks import ControlMarks, Json, Piece
from .parse import check_json
from .types.messages import Message
from .types.requests import ChatCompletionRequest
from .types.tools import ToolCall

MAX_PROMPT_CHARS = 64 * 1024 * 1024
MAX_SECONDS = 10.0
ALWAYS_TAKEN = frozenset({"enable_thinking", "thinking"})


class PromptTemplate:
    """A checkpoint's chat template, compiled once; `render` may be called from any thread.

    Raises:
        ApiError: the template is not valid Jinja.
    """

    def __init__(self, template: ChatTemplate) -> None:
        self._source = template.source
        self._marks = ControlMarks(template.special_tokens)
        self._tokens: dict[str, Json] = {
            name: token
            for name, token in (("bos_token", template.bos_token), ("eos_token", template.eos_token))
            if token is not None
        }
        environment = _environment()
        try:
            self._compiled = environment.from_string(template.source)
            reads = meta.find_undeclared_variables(environment.parse(template.source))
        except TemplateError as error:
            message = f"the model's chat template is not valid Jinja: {error}"
            raise ApiError(message, status=500, type=SERVER, code="chat_template_invalid") from error
        self._settable = (reads - environment.globals.keys() - {"bos_token", "eos_token"}) | ALWAYS_TAKEN

    def render(self, request: ChatCompletionRequest) -> list[Piece]:
        """The prompt of a request, in pieces that say which control marks in them the template wrote.

        Raises:
            ApiError: the template refuses the messages, has no place for part of them, or does not read a setting.
        """
        settings = self._check_settings(request.chat_template_kwargs or {})
        self._check_tool_calls(request.messages)
        try:
            return self._render(request.messages, settings, as_objects=True)
        except TypeError:
            # Some templates write arguments as an object, others join them to a text.
            return self._render_again(request.messages, settings)

    def _render_again(self, messages: Sequence[Message], settings: dict[str, Json]) -> list[Piece]:
        try:
            return self._render(messages, settings, as_objects=False)
        except TypeError as error:
            raise _failed(error) from error

    def _render(self, messages: Sequence[Message], settings: dict[str, Json], *, as_objects: bool) -> list[Piece]:
        data: dict[str, Json] = settings | {"messages": [self._message(message, as_objects) for message in messages]}
        hidden, sentinel = self._marks.hide(data, self._source)
        fixed: dict[str, Json] = {"tools": None, "documents": None, "add_generation_prompt": True}
        text = _bounded(self._compiled.generate(self._tokens | hidden | fixed))
        return self._marks.pieces(text, sentinel)

    def _check_settings(self, settings: dict[str, Json]) -> dict[str, Json]:
        for name in settings:
            if name not in self._settable:
                path = f"chat_template_kwargs.{name}"
                raise ApiError(f"`{path}` is not read by the model's template", code="unsupported_field", param=path)
        return settings

    def _check_tool_calls(self, messages: Sequence[Message]) -> None:
        for index, message in enumerate(messages):
            if message.tool_calls and "tool_calls" not in self._source:
                path = f"messages[{index}].tool_calls"
                raise ApiError(
                    f"`{path}` has no place in the model's chat template; write the calls as text",
                    code="unsupported_field",
                    param=path,
                )

    def _message(self, message: Message, as_objects: bool) -> dict[str, Json]:
        role = "system" if message.role == "developer" and "developer" not in self._source else message.role
        fields: dict[str, Json] = {"role": role, "content": message.text}
        if message.name is not None:
            fields["name"] = message.name
        if message.tool_call_id is not None:
            fields["tool_call_id"] = message.tool_call_id
        if message.tool_calls:
            fields["tool_calls"] = [_tool_call(call, as_objects) for call in message.tool_calls]
        return fields


def encode(engine: Engine, pieces: Sequence[Piece]) -> list[int]:
    """The token ids of a rendered prompt; the template has already written what goes around a text."""
    return [
        token
        for piece in pieces
        for token in engine.tokenize(piece.text, add_special_tokens=False, control_marks=piece.control_marks)
    ]


def _tool_call(call: ToolCall, as_objects: bool) -> dict[str, Json]:
    arguments = _as_object(call.function.arguments) if as_objects else call.function.arguments
    return {"id": call.id, "type": call.type, "function": {"name": call.function.name, "arguments": arguments}}


def _as_object(arguments: str) -> Json:
    try:
        value: Json = json.loads(arguments)
        check_json(value)
    except (ValueError, RecursionError, ApiError):
        return arguments
    return value if isinstance(value, dict) else arguments


def _bounded(rendering: Iterator[str]) -> str:
    """The text of a rendering, with a limit on its length and on its time."""
    pieces: list[str] = []
    length, deadline = 0, time.monotonic() + MAX_SECONDS
    for piece in _guarded(rendering):
        pieces.append(piece)
        length += len(piece)
        if length > MAX_PROMPT_CHARS or time.monotonic() > deadline:
            raise ApiError(
                f"rendering the messages went beyond {MAX_PROMPT_CHARS} characters or {MAX_SECONDS:g} s; shorten them",
                param="messages",
            )
    return "".join(pieces)


def _guarded(rendering: Iterator[str]) -> Iterator[str]:
    try:
        yield from rendering
    except TypeError:
        raise
    except TemplateError as error:
        raise ApiError(f"the model's chat template refuses these messages: {error}", param="messages") from error
    except Exception as error:  # a template is a foreign program: it can fail in any way
        raise _failed(error) from error


def _failed(error: Exception) -> ApiError:
    return ApiError(f"the model's chat template fails on these messages: {error!r}", param="messages")


class _Generation(Extension):
    """`{% generation %}` marks answers for training; a prompt has just what stands inside."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    return environment


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Jinja's own escapes HTML; templates expect Hugging Face's, which does not."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)


def _strftime_now(layout: str) -> str:
    return datetime.now().strftime(layout)
