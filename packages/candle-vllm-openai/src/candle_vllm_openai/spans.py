"""Which tokens became content, and how many became reasoning: the places of texts, matched with those of tokens."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal

from candle_vllm_core import FinishReason, GenerationChunk, TokenLogprob

Kind = Literal["content", "reasoning"]


@dataclass(slots=True)
class _Span:
    kind: Kind
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Token:
    start: int
    end: int
    logprob: TokenLogprob | None


class TokenSpans:
    """Holds tokens until it is known what became of their texts.

    A token is content if any of its characters is, and the same for reasoning; one that completes no character goes
    with the character that it begins. What became neither (marks, calls of tools, white space around them) is left out.
    """

    def __init__(self) -> None:
        self._tokens: deque[_Token] = deque()
        self._spans: deque[_Span] = deque()
        self._end = 0
        self.num_reasoning = 0

    def add(self, chunk: GenerationChunk) -> None:
        """Take in a chunk's tokens."""
        for end, logprob in zip_longest(chunk.ends[: num_answer_tokens(chunk, self._end)], chunk.logprobs or ()):
            if end is None:
                break
            self._tokens.append(_Token(self._end, max(end, self._end + 1), logprob))
            self._end = end

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

    def _settle(self, position: int) -> Iterator[_Token]:
        while self._tokens and self._tokens[0].end <= position:
            token = self._tokens.popleft()
            kinds = self._kinds(token)
            self.num_reasoning += "reasoning" in kinds
            if "content" in kinds:
                yield token

    def _kinds(self, token: _Token) -> set[Kind]:
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
