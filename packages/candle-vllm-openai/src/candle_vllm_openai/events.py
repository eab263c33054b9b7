"""What a parser says of a model's text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """A piece of what the model thinks before it answers."""

    text: str


@dataclass(frozen=True, slots=True)
class CallStart:
    """A call of the tool `name` begins."""

    name: str


@dataclass(frozen=True, slots=True)
class CallArguments:
    """A piece of the begun call's arguments: the pieces add up to a JSON text."""

    fragment: str


@dataclass(frozen=True, slots=True)
class CallEnd:
    """The begun call ends: with its arguments whole, or cut short."""


Event: TypeAlias = Text | Reasoning | CallStart | CallArguments | CallEnd
"""What a parser says of the text: the answer's and the reasoning's pieces, and calls from start to end."""
