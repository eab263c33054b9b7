"""What one topic is: an answer, and the ways of asking for it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Topic:
    """One answer and the questions that lead to it, as patterns separated by semicolons or new lines.

    `things` are noun phrases ("the port") and `actions` verb phrases ("change the port"): both are set into frames that all
    topics share. `ask` are whole questions.
    """

    name: str
    group: str
    answer: str
    things: str = ""
    actions: str = ""
    ask: str = ""
