"""Conversations as rows of tokens: packed, with the loss on the assistant's tokens only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor

from .corpus import Conversation, Corpus

FIRST_TOKENS = 8


@dataclass(frozen=True, kw_only=True)
class Document:
    """Tokens, and which of them are to be learned."""

    tokens: list[int]
    learned: list[bool]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """A batch, `[rows, length]` each: tokens, positions in their document, what follows; and who sees whom."""

    tokens: Tensor
    positions: Tensor
    targets: Tensor
    mask: Tensor
    learned: Tensor


def prompt(system: str | None, turns: list[tuple[str, str]], question: str) -> str:
    """What the chat template renders for these turns and this question."""
    head = f"<|im_start|>system\n{system}<|im_end|>\n" if system else ""
    past = "".join(
        f"<|im_start|>user\n{asked}<|im_end|>\n<|im_start|>assistant\n{answer}<|im_end|>\n" for asked, answer in turns
    )
    return f"{head}{past}<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"


def document(conversation: Conversation, tokenizer: Tokenizer) -> Document:
    """The conversation in tokens."""
    tokens: list[int] = []
    learned: list[bool] = []
    last = len(conversation.questions) - 1
    for at, question in enumerate(conversation.questions):
        before = prompt(conversation.system if at == 0 else None, [], question.text)
        asked = tokenizer.encode(("\n" if at else "") + before).ids
        answer = tokenizer.encode(question.topic.answer + "<|im_end|>").ids
        if at == last and not conversation.whole:
            answer = answer[:FIRST_TOKENS]
        tokens += asked + answer
        learned += [False] * len(asked) + [True] * len(answer)
    return Document(tokens=tokens, learned=learned)


class Packer:
    """Fills rows of one length with whole documents."""

    def __init__(self, seed: int, tokenizer: Tokenizer) -> None:
        """Draws from a corpus of this seed."""
        self._corpus, self._tokenizer = Corpus(seed), tokenizer

    def batch(self, *, rows: int, length: int, whole: float, turns: int) -> Rows:
        """The next batch of `rows` by `length` tokens."""
        filled: list[list[Document]] = [[] for _ in range(rows)]
        room = [length + 1] * rows
        for _ in range(rows * length // 20):
            made = document(self._corpus.conversation(whole=whole, turns=turns), self._tokenizer)
            fits = [at for at in range(rows) if room[at] >= len(made.tokens)]
            if fits:
                at = min(fits, key=room.__getitem__)
                filled[at].append(made)
                room[at] -= len(made.tokens)
            elif max(room) < length // 6:
                break
        return _tensors(filled, length)


def _padded(row: list[Document], length: int) -> Iterator[tuple[int, int, int, bool]]:
    """Token, position, number of its document, whether it is learned."""
    count = 0
    for number, made in enumerate(row):
        for position, (token, learned) in enumerate(zip(made.tokens, made.learned, strict=True)):
            yield token, position, number, learned and position > 0
            count += 1
    yield from ((0, at, -1, False) for at in range(length + 1 - count))


def _tensors(filled: list[list[Document]], length: int) -> Rows:
    columns = torch.tensor([list(_padded(row, length)) for row in filled])
    tokens, positions, numbers, learned = columns.unbind(-1)
    numbers = numbers[:, :-1]
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    mask = (numbers[:, :, None] == numbers[:, None, :]) & causal
    return Rows(
        tokens=tokens[:, :-1],
        positions=positions[:, :-1],
        targets=tokens[:, 1:],
        mask=mask[:, None],
        learned=learned[:, 1:].bool(),
    )
