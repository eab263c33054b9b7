"""`Compiler`: constraints in, matchers out, on threads of its own and within limits in time and size. No torch here."""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from ..constraint import Constraint
from ..errors import ConstraintError, EngineClosedError
from .grammar import grammar_of, refusal
from .matcher import Matcher
from .sandbox import Sandbox, TrialError
from .vocabulary import vocabulary

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

    from ..tokenizer import Tokenizer

TRIAL_SECONDS = 1.0
TRIAL_PATIENCE = 10.0
NUM_WORKERS = 2
MAX_WAITING = 1024
MAX_CACHED = 64

LIMITS: dict[str, Any] = {
    "initial_lexer_fuel": 400_000,
    "step_lexer_fuel": 100_000,
    "step_max_items": 50_000,
    "max_items_in_row": 2000,
    "max_lexer_states": 25_000,
    "max_grammar_size": 200_000,
}
"""Of llguidance: what compiling may take, and then one step: some 20 ms, and 50 MB of states for one answer."""


class Compiled:
    """A constraint that is ready to be followed, by any number of answers at once."""

    def __init__(self, constraint: Constraint, automaton: LLMatcher, vocab_size: int) -> None:
        """`automaton` stays at the beginning: each answer gets a copy."""
        self._constraint, self._automaton, self._vocab_size = constraint, automaton, vocab_size

    def matcher(self, *, forces: bool = True) -> Matcher:
        """A matcher at the beginning of an answer; see `Matcher` for `forces`."""
        return Matcher(self._constraint, self._automaton.deep_copy(), vocab_size=self._vocab_size, forces=forces)


class Compiler:
    """Compiles each constraint once, for any number of threads.

    A constraint is first tried in a process that can be ended (`Sandbox`), then compiled here. What was compiled, and
    what was refused, is kept by its content, the least recently used let go first.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        vocab_size: int,
        *,
        seconds: float = TRIAL_SECONDS,
        patience: float = TRIAL_PATIENCE,
    ) -> None:
        """`vocab_size`: of the model, which may be larger or smaller than the tokenizer's.

        `seconds`, `patience`: of `Sandbox`.
        """
        self._tokenizer, self._vocab_size = tokenizer, vocab_size
        self._lock = threading.Lock()
        self._cache: OrderedDict[Constraint, Future[Compiled]] = OrderedDict()
        self._workers = ThreadPoolExecutor(NUM_WORKERS, thread_name_prefix="candle-vllm-constraints")
        self._all_sandboxes = [Sandbox(LIMITS, seconds, patience) for _ in range(NUM_WORKERS)]
        self._sandboxes: SimpleQueue[Sandbox] = SimpleQueue()
        for sandbox in self._all_sandboxes:
            self._sandboxes.put(sandbox)
        self._vocabulary: LLTokenizer | None = None
        self._vocabulary_lock = threading.Lock()
        self._num_waiting = 0
        self._closed = False

    def compile(self, constraint: Constraint) -> Future[Compiled]:
        """A constraint, when it is ready. The future is shared: never cancel it.

        It raises ConstraintError: something in it cannot be enforced, or it takes too much.

        Raises:
            EngineClosedError: the compiler was closed.
        """
        with self._lock:
            if self._closed:
                raise EngineClosedError("the engine was closed; make a new one")
            if (known := self._cache.get(constraint)) is not None:
                self._cache.move_to_end(constraint)
                return known
            if self._num_waiting >= MAX_WAITING:
                raise ConstraintError(constraint.kind, "too many constraints are waiting to be compiled; try later")
            self._num_waiting += 1
            future = self._cache[constraint] = self._workers.submit(self._compile, constraint)
            while len(self._cache) > MAX_CACHED:
                self._cache.popitem(last=False)
            return future

    def close(self) -> None:
        """End the trials that are running and refuse further constraints."""
        with self._lock:
            self._closed = True
            self._cache.clear()
        for sandbox in self._all_sandboxes:
            sandbox.close()
        self._workers.shutdown(wait=False)

    def _compile(self, constraint: Constraint) -> Compiled:
        import llguidance

        with self._lock:
            self._num_waiting -= 1
            if self._closed:
                raise EngineClosedError("the engine was closed; make a new one")
        grammar = grammar_of(constraint)
        self._try_out(constraint, grammar)
        limits = llguidance.LLParserLimits(**LIMITS, verbose_errors=False)
        automaton = llguidance.LLMatcher(self._required_vocabulary(), grammar, log_level=0, limits=limits)
        if not automaton.is_error():
            automaton.deep_copy().compute_bitmask()
        if automaton.is_error():
            raise refusal(constraint, automaton.get_error())
        return Compiled(constraint, automaton, self._vocab_size)

    def _try_out(self, constraint: Constraint, grammar: str) -> None:
        sandbox = self._sandboxes.get()
        try:
            said = sandbox.try_out(grammar)
        except (TrialError, OSError) as error:
            if self._closed:
                raise EngineClosedError("the engine was closed; make a new one") from error
            if not (isinstance(error, TrialError) and error.for_good):
                self._forget(constraint)
            raise ConstraintError(constraint.kind, f"{error}; make it simpler") from error
        finally:
            self._sandboxes.put(sandbox)
        if said:
            raise refusal(constraint, said)

    def _forget(self, constraint: Constraint) -> None:
        """Let it be tried again, for what went wrong was not its fault."""
        with self._lock:
            self._cache.pop(constraint, None)

    def _required_vocabulary(self) -> LLTokenizer:
        with self._vocabulary_lock:
            if self._vocabulary is None:
                self._vocabulary = vocabulary(self._tokenizer, self._vocab_size)
            return self._vocabulary
