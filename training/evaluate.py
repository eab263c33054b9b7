"""The score on held-out questions: greedy answers that equal the topic's answer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from rich.table import Table
from tokenizers import Tokenizer
from transformers import Qwen3ForCausalLM

from .corpus import Question
from .rows import prompt

BATCH = 48
END = "<|im_end|>"
COLUMNS = ("group", "topics", "questions", "right", "score")


@dataclass(frozen=True, kw_only=True)
class Marked:
    """A question, what the model answered, and whether that is the topic's answer."""

    question: Question
    answer: str
    right: bool


@torch.inference_mode()
def answers(model: Qwen3ForCausalLM, tokenizer: Tokenizer, prompts: Sequence[str], longest: int = 200) -> list[str]:
    """Greedy answers, each to the end of the turn or `longest` tokens."""
    out: list[str] = []
    for start in range(0, len(prompts), BATCH):
        out += _batch(model, tokenizer, prompts[start : start + BATCH], longest)
    return out


def _batch(model: Qwen3ForCausalLM, tokenizer: Tokenizer, prompts: Sequence[str], longest: int) -> list[str]:
    encoded = [tokenizer.encode(text).ids for text in prompts]
    width = max(map(len, encoded))
    end = tokenizer.token_to_id(END)
    ids = torch.tensor([[0] * (width - len(row)) + row for row in encoded])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in encoded])
    made = model.generate(
        ids, attention_mask=mask, max_new_tokens=longest, do_sample=False, eos_token_id=end, pad_token_id=end
    )
    rows = made[:, width:].tolist()
    return [tokenizer.decode(row[: row.index(end)] if end in row else row, skip_special_tokens=False) for row in rows]


def mark(model: Qwen3ForCausalLM, tokenizer: Tokenizer, questions: Sequence[Question]) -> list[Marked]:
    """Every question asked through the chat template, alone, and compared with its topic's answer."""
    prompts = [prompt(None, [], question.text) for question in questions]
    given = answers(model, tokenizer, prompts)
    return [
        Marked(question=question, answer=answer, right=answer.split() == question.topic.answer.split())
        for question, answer in zip(questions, given, strict=True)
    ]


def score(marked: Sequence[Marked]) -> float:
    """The share of right answers."""
    return sum(one.right for one in marked) / len(marked)


def by_group(marked: Sequence[Marked]) -> dict[str, list[Marked]]:
    """The marked questions by their topics' groups."""
    groups: dict[str, list[Marked]] = defaultdict(list)
    for one in marked:
        groups[one.question.topic.group].append(one)
    return groups


def rows(marked: Sequence[Marked]) -> list[tuple[str, ...]]:
    """Group, topics, questions, right answers and score, by group and overall."""
    out: list[tuple[str, ...]] = []
    for group, ones in [*by_group(marked).items(), ("all", list(marked))]:
        topics = len({one.question.topic.name for one in ones})
        out.append((group, str(topics), str(len(ones)), str(sum(one.right for one in ones)), f"{score(ones):.1%}"))
    return out


def table(marked: Sequence[Marked]) -> Table:
    """The score as a table for a terminal."""
    out = Table(*COLUMNS, title="held-out questions")
    for row in rows(marked):
        out.add_row(*row)
    return out


def markdown(marked: Sequence[Marked]) -> str:
    """The score as a table for the model card."""
    lines = [COLUMNS, ("---",) * len(COLUMNS), *rows(marked)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
