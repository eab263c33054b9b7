"""How one model's answers are read: its way of calling tools and of reasoning, and what they are held to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from candle_vllm_core import Constraint, Engine

from .config import AdapterConfig
from .detect import choose_format, choose_reasoning
from .enforce import constraint_of, mark_writer
from .formats.enforced import MarkWriter
from .output import answer_grammar, offered
from .scanner import Grammar
from .types.requests import ChatCompletionRequest

PROMPT_END_CHARS = 256
"""How much of a prompt's end shows whether it has opened the reasoning."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How the answers to one request are read."""

    grammar: Grammar | None
    """None: all of an answer's text is content."""
    constraint: Constraint | None
    shown_ids: tuple[int, ...]
    """Special tokens that the grammar must see as text."""
    reasons: bool
    """Whether an answer can hold reasoning."""


class AnswerReader:
    """Knows in what format a model calls tools and how it reasons: as the config says, else as its template shows."""

    def __init__(self, engine: Engine, config: AdapterConfig, template_source: str) -> None:
        self._engine, self._template = engine, template_source
        self._format = choose_format(config.parser, template_source, engine.model_info().architecture)
        self._style = None if self._format.channels else choose_reasoning(config.reasoning, template_source)

    def reading(self, request: ChatCompletionRequest, prompt_end: str) -> Reading:
        """How the answers to `request` are read, whose rendered prompt ends with `prompt_end`.

        Raises:
            ApiError: the request asks for calls, and the model has no way of writing any.
            ParameterError: what the answer is held to is too large.
        """
        tools, style = request.callable_tools, self._style
        started = style if style is not None and style.opened_by(prompt_end) else None
        constraint = constraint_of(
            request,
            self._format,
            mark=self._mark,
            template=self._template,
            reasoning=style,
            started=started is not None,
        )
        if not tools and style is None and not self._format.channels:
            return Reading(None, constraint, (), reasons=False)
        grammar = answer_grammar(self._format, offered(tools), () if style is None else (style,), started)
        with_calls = bool(tools) or self._format.channels
        shown_ids = self._style_ids + (self._format_ids if with_calls else ())
        return Reading(grammar, constraint, shown_ids, reasons=style is not None or self._format.channels)

    @cached_property
    def _mark(self) -> MarkWriter:
        return mark_writer(self._engine)

    @cached_property
    def _format_ids(self) -> tuple[int, ...]:
        return self._ids(self._format.tokens)

    @cached_property
    def _style_ids(self) -> tuple[int, ...]:
        return self._ids(() if self._style is None else (self._style.opening, self._style.closing))

    def _ids(self, marks: tuple[str, ...]) -> tuple[int, ...]:
        """Those of the special tokens that stand in the marks."""
        special = [token for token in self._engine.model_info().special_tokens if any(token in mark for mark in marks)]
        encoded = [self._engine.tokenize(token, add_special_tokens=False) for token in special]
        return tuple(ids[0] for ids in encoded if len(ids) == 1)
