"""Messages → the prompt, in the model's own chat template, rendered in Jinja's immutable sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from candle_vllm_core import ChatTemplate, Engine

from .abilities import abilities_of
from .dialogue import Dialogue
from .errors import ApiError
from .marks import ControlMarks, Json, Piece
from .meter import MAX_SECONDS, TOO_LONG
from .offload import INLINE_CHARS
from .sandbox import CompiledTemplate
from .types.requests import ChatCompletionRequest

THINKING_SWITCHES = ("enable_thinking", "thinking")
PROBE_SECONDS = 1.0
"""For each of the small conversations that show what a template can."""
INLINE_SECONDS = 0.1
"""A rendering that takes longer is begun again off the event loop."""

_FIXED: dict[str, Json] = {"documents": None, "add_generation_prompt": True}


class PromptTemplate:
    """A checkpoint's chat template, compiled once; `render` may be called from any thread.

    `may_ask_for_json`: where the template has no place for tools, the model is asked to write calls as plain JSON;
    else it is left to what it was trained to.

    Raises:
        ApiError: the template is not valid Jinja.
    """

    def __init__(self, template: ChatTemplate, *, may_ask_for_json: bool = True) -> None:
        self._plain = self._with_tools = _Variant(template.source, template, may_ask_for_json)
        if template.tool_source is not None:
            self._with_tools = _Variant(template.tool_source, template, may_ask_for_json)
        self._marks = ControlMarks(template.special_tokens)

    def render(self, request: ChatCompletionRequest, seconds: float = MAX_SECONDS) -> list[Piece]:
        """The prompt of a request, in pieces that say which control marks in them the template wrote.

        Raises:
            ApiError: the template refuses the messages, has no place for part of them, does not read a setting, or
                takes longer than this.
        """
        tools = () if request.tool_choice == "none" else tuple(request.tools or ())
        variant = self._variant(request)
        data: dict[str, Json] = _FIXED | variant.settings(request)
        data |= variant.dialogue.write(request.messages, tools)
        hidden, sentinel = self._marks.hide(data, variant.source)
        return self._marks.pieces(variant.render(hidden, seconds), sentinel)

    def source_for(self, request: ChatCompletionRequest) -> str:
        """The Jinja source that renders this request: checkpoints may have one of their own for requests with tools."""
        return self._variant(request).source

    @property
    def asks_for_json(self) -> bool:
        """Whether tools are called in plain JSON, as prompts ask for where the template has no place for tools."""
        return self._with_tools.in_json

    def _variant(self, request: ChatCompletionRequest) -> _Variant:
        has_calls = any(message.tool_calls for message in request.messages)
        return self._with_tools if request.tools or has_calls else self._plain


class _Variant:
    """One of a checkpoint's templates."""

    def __init__(self, source: str, template: ChatTemplate, may_ask_for_json: bool) -> None:
        self.source = source
        self._program = CompiledTemplate(source)
        self._tokens: dict[str, Json] = {
            name: token
            for name, token in (("bos_token", template.bos_token), ("eos_token", template.eos_token))
            if token is not None
        }
        can = abilities_of(lambda data: self.render(_FIXED | dict(data), PROBE_SECONDS))
        self.in_json = may_ask_for_json and can.tools is None and not can.calls
        self.dialogue = Dialogue(can, knows_developer="developer" in source, in_json=self.in_json)

    def render(self, data: Mapping[str, Json], seconds: float) -> str:
        """What it writes with these variables."""
        return self._program.render(self._tokens | dict(data), seconds)

    def settings(self, request: ChatCompletionRequest) -> dict[str, Json]:
        """The variables that a request sets.

        Raises:
            ApiError: the template does not read one of them.
        """
        settings: dict[str, Json] = dict(request.chat_template_kwargs or {})
        for name in settings:
            if name not in (self._program.reads - {"bos_token", "eos_token"}) | {*THINKING_SWITCHES}:
                raise _unread(f"chat_template_kwargs.{name}")
        return self._effort(request.reasoning_effort) | settings

    def _effort(self, effort: str | None) -> dict[str, Json]:
        if effort is None:
            return {}
        told: dict[str, Json] = {"reasoning_effort": effort} | dict.fromkeys(THINKING_SWITCHES, effort != "none")
        read = {name: value for name, value in told.items() if name in self._program.reads}
        if not read:
            raise _unread("reasoning_effort")
        return read


async def prompt_pieces(template: PromptTemplate, request: ChatCompletionRequest) -> list[Piece]:
    """A request's prompt in pieces; the event loop goes on while a long one is made.

    Raises:
        ApiError: as for `PromptTemplate.render`.
    """
    if request.num_chars <= INLINE_CHARS:
        try:
            return template.render(request, INLINE_SECONDS)
        except ApiError as error:
            if error.code != TOO_LONG:
                raise
    return await asyncio.to_thread(template.render, request)


def encode(engine: Engine, pieces: Sequence[Piece]) -> list[int]:
    """The token ids of a rendered prompt; the template has already written what goes around a text."""
    return [
        token
        for piece in pieces
        for token in engine.tokenize(piece.text, add_special_tokens=False, control_marks=piece.control_marks)
    ]


def _unread(path: str) -> ApiError:
    return ApiError(f"`{path}` is not read by the model's template", code="unsupported_field", param=path)
