"""Which tokens became content, and how many became reasoning: the places of texts, matched with those of tokens."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from candle_vllm_core import FinishReason, GenerationChunk, TokenLogprob

Kind = Literal["content", "reasoning"]


@dataclass(slots=True)
class _Span:
    kind: Kind
    start: int
    end: int


class Token(NamedTuple):
    """A token, and where its text stands; one that completes no character stands where it begins one."""

    start: int
    end: int
    logprob: TokenLogprob | None


class TokenSpans:
    """Holds tokens until it is known what became of their texts.

    A token is content if any of its characters is, and the same for reasoning; one that completes no character goes
    with the character that it begins. What became neither (marks, calls of tools, white space around them) is left out.
    """

    def __init__(self) -> None:
        self._tokens: deque[Token] = deque()
        self._spans: deque[_Span] = deque()
        self._end = 0
        self.num_reasoning = 0

    def add(self, chunk: GenerationChunk) -> None:
        """Take in a chunk's tokens."""
        self._tokens.extend(answer_tokens(chunk, self._end))
        self._end = chunk.ends[-1] if chunk.ends else self._end

    def told(self, kind: Kind, text: str, end: int) -> None:
        """`text` is of that kind, and ends at the character `end` of the whole answer."""
        last = self._spans[-1] if self._spans else None
        if last is not None and last.kind == kind and last.end >= end - len(text):
            last.end = end
        else:
            self._spans.append(_Span(kind, end - len(text), end))

    def settled(self, position: int) -> list[TokenLogprob]:
        """The log probabilities of the content among the tokens before `position`, whose kinds are known now."""
        return [token.logprob for token in self._settle(position) if token.logprob is not None]

    def finished(self, position: int) -> list[TokenLogprob]:
        """Those of the content among all tokens that are left; what comes after the text's end goes with its end."""
        if not self._spans and position == 0:
            self._spans.append(_Span("content", 0, 0))
        if self._spans and self._spans[-1].end == position:
            self._spans[-1].end = sys.maxsize
        return self.settled(sys.maxsize)

    def _settle(self, position: int) -> Iterator[Token]:
        while self._tokens and self._tokens[0].end <= position:
            token = self._tokens.popleft()
            kinds = self._kinds(token)
            self.num_reasoning += "reasoning" in kinds
            if "content" in kinds:
                yield token

    def _kinds(self, token: Token) -> set[Kind]:
        while self._spans and self._spans[0].end <= token.start:
            self._spans.popleft()
        kinds: set[Kind] = set()
        for span in self._spans:
            if span.start >= token.end:
                break
            kinds.add(span.kind)
        return kinds


def num_answer_tokens(chunk: GenerationChunk, end: int) -> int:
    """How many of a chunk's tokens are part of the answer: not the EOS or stop id that ends it, which has no text.

    `end`: where the text of the tokens before the chunk ends.
    """
    ends, count = (end, *chunk.ends), len(chunk.tokens)
    stopped = chunk.finish_reason is FinishReason.STOP and count > 0
    return count - (stopped and (len(ends) == 1 or ends[-1] == ends[-2]))


def answer_tokens(chunk: GenerationChunk, start: int) -> Iterator[Token]:
    """Those of a chunk's tokens that are part of the answer, but for special tokens that are left out of its text.

    `start`: where the text of the tokens before the chunk ends.
    """
    logprobs = chunk.logprobs or ()
    for place in range(num_answer_tokens(chunk, start)):
        end = chunk.ends[place] if place < len(chunk.ends) else None
        logprob = logprobs[place] if place < len(logprobs) else None
        if end != start or logprob is None or not _is_whole(logprob):
            yield Token(start, max(end or start, start + 1), logprob)
        start = end or start


def _is_whole(logprob: TokenLogprob) -> bool:
    """Whether a token stands for whole characters."""
    try:
        return bool(logprob.token_bytes.decode())
    except UnicodeDecodeError:
        return False
