"""`Matcher`: where one answer stands in its constraint; `MaskFiller`: what may come next. No torch here."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from ..constraint import Constraint
from .grammar import refusal

if TYPE_CHECKING:
    from llguidance import LLMatcher

MAX_THREADS = 8


class TokenConstraint(Protocol):
    """What a request and the sampler need of a constraint, whatever it is made of.

    One that begins only after some marker can stand around a `Matcher`: `automaton` is None until then.
    """

    @property
    def done(self) -> bool:
        """Whether the answer is complete and nothing may follow."""

    @property
    def automaton(self) -> LLMatcher | None:
        """What `MaskFiller` asks for the next token; None while every token is allowed."""

    def accept(self, token: int) -> list[int]:
        """Take a token of the answer; the tokens that must follow it, which are taken too."""
        ...

    def check(self) -> None:
        """Raise ConstraintError if the constraint has failed."""


class Matcher:
    """Follows one answer through its constraint. Only one thread at a time may use it.

    It keeps nothing of the KV cache: a request that was preempted goes on with it.
    """

    def __init__(self, constraint: Constraint, automaton: LLMatcher, *, vocab_size: int, forces: bool = True) -> None:
        """`automaton` is this matcher's alone from now on. `forces` off: `accept` gives no tokens that must follow."""
        self.automaton = automaton
        self._constraint, self._vocab_size, self._forces = constraint, vocab_size, forces
        self.done = False
        """Whether the answer is complete and nothing may follow."""

    def accept(self, token: int) -> list[int]:
        """Take a token of the answer; the tokens that must follow it, which are taken too.

        Raises:
            ConstraintError: the token is not allowed, or a limit of the constraint was reached.
        """
        self.automaton.consume_token(token)
        forced = self._forced() if self._forces and not self.automaton.is_stopped() else []
        self.check()
        self.done = self.automaton.is_stopped()
        return forced

    def _forced(self) -> list[int]:
        """What can only follow, as the tokenizer itself would cut it; a model may have fewer tokens than that."""
        forced = self.automaton.compute_ff_tokens()
        if any(token >= self._vocab_size for token in forced):
            return []
        self.automaton.consume_tokens(forced)
        return forced

    def check(self) -> None:
        """Raise ConstraintError if the constraint has failed: it allows no token, or reached a limit."""
        if self.automaton.is_error():
            raise refusal(self._constraint, self.automaton.get_error())


class MaskFiller:
    """Computes the masks of many constraints at once, without holding up other Python threads."""

    def __init__(self) -> None:
        import llguidance

        self._executor = llguidance.LLExecutor(max(1, min(MAX_THREADS, (os.cpu_count() or 1) // 2)))

    def fill(self, automata: Sequence[LLMatcher], address: int, bytes_each: int) -> None:
        """Write the mask of each to memory, one after the other: the bit of an allowed token is set, lowest bit first.

        A constraint that fails says so afterwards (`TokenConstraint.check`); its mask means nothing.
        """
        pairs = [(automaton, index) for index, automaton in enumerate(automata)]
        self._executor.unsafe_compute_mask_ptr(pairs, address, bytes_each, len(pairs))
