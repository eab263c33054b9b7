"""No calls at all: the answer is text as it stands."""

from __future__ import annotations

from ..scanner import Grammar, Scanner, Steps
from .format import Format, Offered


def plain(scan: Scanner) -> Steps[None]:
    """Text, to the end."""
    yield from scan.plain()


def _grammar(offered: Offered) -> Grammar:
    return plain


PASSTHROUGH = Format(name="passthrough", grammar=_grammar, parallel=False)
