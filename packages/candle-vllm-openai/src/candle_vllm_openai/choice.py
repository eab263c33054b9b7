"""`ChoiceWriter`: what the engine gives for one choice → the deltas of its stream."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from uuid import uuid4

from candle_vllm_core import FinishReason, GenerationChunk, TokenLogprob

from .scanner import CallArguments, CallEnd, CallStart, Event, Grammar, Parser, Reasoning, Text
from .spans import TokenSpans, answer_tokens
from .types.responses import ChatLogprob, ChoiceDelta, ChoiceLogprobs, FinishWord, TopLogprob
from .types.tools import FunctionCallDelta, ToolCallDelta


@dataclass(frozen=True, slots=True)
class Written:
    """A delta, and the log probabilities that go with it."""

    delta: ChoiceDelta
    logprobs: ChoiceLogprobs | None = None


class PlainWriter:
    """Writes a choice whose whole text is content."""

    first_content: str | None = ""
    num_reasoning = 0

    def __init__(self) -> None:
        self._end = 0

    def write(self, chunk: GenerationChunk) -> Iterator[Written]:
        """The deltas of a chunk: its tokens' log probabilities go out with it even while their text is held back."""
        entries = [token.logprob for token in answer_tokens(chunk, self._end) if token.logprob is not None]
        self._end = chunk.ends[-1] if chunk.ends else self._end
        if chunk.text or entries:
            yield Written(ChoiceDelta(content=chunk.text), _logprobs(entries))

    def finish_word(self, reason: FinishReason) -> FinishWord:
        """OpenAI's word for why the choice ended."""
        return "length" if reason is FinishReason.LENGTH else "stop"


class ParsedWriter:
    """Writes a choice whose text is read by a grammar: content, reasoning and calls of tools.

    The log probabilities are those of the tokens that became content, as OpenAI's field of that name says.
    """

    first_content: str | None = None

    def __init__(self, grammar: Grammar, *, counts: bool = True) -> None:
        """`counts`: whether it matters which tokens became what: for log probabilities, and for reasoning."""
        self._parser = Parser(grammar)
        self._tokens = TokenSpans() if counts else None
        self._num_calls = 0
        self._arguments: list[str] = []
        self._has_content = False
        self._cut = False

    @property
    def num_reasoning(self) -> int:
        """How many tokens became reasoning, as far as that is known."""
        return 0 if self._tokens is None else self._tokens.num_reasoning

    def write(self, chunk: GenerationChunk) -> Iterator[Written]:
        """The deltas of a chunk; those of the last one have all that was held back."""
        if self._tokens is not None:
            self._tokens.add(chunk)
        told, entries = self._read(self._parser.read(chunk.text))
        if chunk.output is not None:
            last, more = self._read(self._parser.read_end())
            told, entries = told + last, entries + more
            if self._tokens is not None:
                entries += self._tokens.finished(self._parser.position)
            self._cut = any(isinstance(event, CallEnd) for event in last) and not _is_json("".join(self._arguments))
        yield from self._deltas(list(_joined(told)) if len(told) > 1 else told, entries)
        if chunk.output is not None and not self._has_content and not self._num_calls:
            yield Written(ChoiceDelta(content=""))

    def finish_word(self, reason: FinishReason) -> FinishWord:
        """OpenAI's word for why the choice ended; a call that was broken off is none that ended it."""
        if reason is FinishReason.LENGTH:
            return "length"
        return "tool_calls" if self._num_calls and not self._cut else "stop"

    def _read(self, events: Iterable[Event]) -> tuple[list[Event], list[TokenLogprob]]:
        """The events, and the log probabilities of the content among the tokens whose kind they tell."""
        told: list[Event] = []
        entries: list[TokenLogprob] = []
        for event in events:
            told.append(event)
            match event:
                case CallStart():
                    self._arguments = []
                case CallArguments(fragment):
                    self._arguments.append(fragment)
                case _:
                    pass
            if self._tokens is not None:
                entries += self._settled(event, self._tokens)
        return told, entries

    def _settled(self, event: Event, tokens: TokenSpans) -> list[TokenLogprob]:
        position = self._parser.position
        match event:
            case Text(text):
                tokens.told("content", text, position)
            case Reasoning(text):
                tokens.told("reasoning", text, position)
            case CallEnd():
                return []  # what is given back as text may have begun before it
            case _:
                pass
        return tokens.settled(position)

    def _deltas(self, events: list[Event], entries: list[TokenLogprob]) -> Iterator[Written]:
        last_text = max((place for place, event in enumerate(events) if isinstance(event, Text)), default=None)
        for place, event in enumerate(events):
            delta = self._delta(event)
            if delta is not None:
                yield Written(delta, _logprobs(entries) if place == last_text else None)
        if entries and last_text is None:
            self._has_content = True
            yield Written(ChoiceDelta(content=""), _logprobs(entries))

    def _delta(self, event: Event) -> ChoiceDelta | None:
        match event:
            case Text(text):
                self._has_content = True
                return ChoiceDelta(content=text)
            case Reasoning(text):
                return ChoiceDelta(reasoning_content=text)
            case CallStart(name):
                self._num_calls += 1
                function = FunctionCallDelta(name=name, arguments="")
                return self._call(ToolCallDelta(index=0, id=new_call_id(), type="function", function=function))
            case CallArguments(fragment):
                return self._call(ToolCallDelta(index=0, function=FunctionCallDelta(arguments=fragment)))
        return None

    def _call(self, delta: ToolCallDelta) -> ChoiceDelta:
        delta.index = self._num_calls - 1
        return ChoiceDelta(tool_calls=[delta])


def _joined(events: Iterable[Event]) -> Iterator[Event]:
    """The events, those that follow one another joined where they are pieces of one text."""
    held: Event | None = None
    for event in events:
        match held, event:
            case Text(text), Text(more):
                held = Text(text + more)
            case Reasoning(text), Reasoning(more):
                held = Reasoning(text + more)
            case CallArguments(text), CallArguments(more):
                held = CallArguments(text + more)
            case _:
                if held is not None:
                    yield held
                held = event
    if held is not None:
        yield held


ChoiceWriter = PlainWriter | ParsedWriter


def new_call_id() -> str:
    """A name for a call of a tool, like no other."""
    return f"call_{uuid4().hex[:24]}"


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _logprobs(entries: Iterable[TokenLogprob]) -> ChoiceLogprobs | None:
    content = [_chat_logprob(entry) for entry in entries]
    return ChoiceLogprobs(content=content, refusal=None) if content else None


def _chat_logprob(entry: TokenLogprob) -> ChatLogprob:
    top = [TopLogprob(token=one.token, logprob=one.logprob, bytes=list(one.token_bytes)) for one in entry.top]
    return ChatLogprob(token=entry.token, logprob=entry.logprob, bytes=list(entry.token_bytes), top_logprobs=top)
