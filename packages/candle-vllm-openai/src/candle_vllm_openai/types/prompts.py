"""Prompts as OpenAI's endpoints without messages take them: a text, several, token ids, or several lists of them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Discriminator, Tag
from pydantic import Field as Bounds

from .sampling import TokenId

MAX_PROMPTS = 2048

TokenIds = Annotated[list[TokenId], Bounds(min_length=1)]


def _kind(value: object) -> str:
    """Which member of the union a value belongs to; its first entry says it."""
    if not isinstance(value, list):
        return "as text"
    match value[:1]:
        case [list()]:
            return "as lists of ids"
        case [int()]:
            return "as ids"
    return "as texts"


Prompts = Annotated[
    Annotated[str, Tag("as text")]
    | Annotated[list[str], Bounds(min_length=1, max_length=MAX_PROMPTS), Tag("as texts")]
    | Annotated[TokenIds, Tag("as ids")]
    | Annotated[list[TokenIds], Bounds(min_length=1, max_length=MAX_PROMPTS), Tag("as lists of ids")],
    Discriminator(_kind),
]
"""One prompt or up to 2,048."""

Prompt = str | list[int]
"""One prompt: a text, or token ids."""


def listed(prompts: str | list[str] | list[int] | list[list[int]]) -> list[Prompt]:
    """The prompts one by one."""
    if isinstance(prompts, str) or isinstance(prompts[0], int):
        return [prompts]
    return list(prompts)
