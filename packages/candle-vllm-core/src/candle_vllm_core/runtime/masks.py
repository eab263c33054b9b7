"""`Masks`: which tokens the constraints of a step allow, found out while the model computes.

```text
masks = Masks(vocab_size)
pending = masks.begin(requests)  # before the model runs
failed = pending.join()  # after it: every request's `allowed` is set, or its id is among the failed
```
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..constraints.matcher import MaskFiller
from .request import Request

if TYPE_CHECKING:
    from llguidance import LLMatcher

BITS = 32


class Pending:
    """The masks of one step, on their way."""

    def __init__(self, requests: Sequence[Request], words: Tensor, filled: Future[None] | None) -> None:
        self._requests, self._words, self._filled = requests, words, filled

    def join(self) -> dict[int, str]:
        """Wait for the masks and give each request its own; what went wrong, by the request's id."""
        if self._filled is None:
            return {}
        failed: dict[int, str] = {}
        fault = self._filled.exception()
        for request, words in zip(self._requests, self._words, strict=True):
            request.allowed = words
            try:
                if fault is not None:
                    raise fault
                if request.constraint is not None:
                    request.constraint.check()
            except Exception as error:
                request.allowed = None
                failed[request.id] = f"{type(error).__name__}: {error}"
        return failed


NOTHING = Pending((), torch.empty(0, 0, dtype=torch.int32), None)


class Masks:
    """Computes masks on a thread of its own, which waits for nobody while Python runs elsewhere."""

    def __init__(self, vocab_size: int) -> None:
        """`vocab_size`: of the model. Nothing is started until a request has a constraint."""
        self._num_words = -(-vocab_size // BITS)
        self._worker: ThreadPoolExecutor | None = None
        self._filler: MaskFiller | None = None

    def begin(self, requests: Sequence[Request]) -> Pending:
        """Start computing the masks of those of the requests that have a constraint."""
        constrained: list[Request] = []
        automata = []
        for request in requests:
            if request.constraint is not None:
                request.allowed = None
                if (automaton := request.constraint.automaton) is not None:
                    constrained.append(request)
                    automata.append(automaton)
        if not automata:
            return NOTHING
        words = torch.empty(len(automata), self._num_words, dtype=torch.int32)
        if self._worker is None or self._filler is None:
            self._worker = ThreadPoolExecutor(1, thread_name_prefix="candle-vllm-masks")
            self._filler = MaskFiller()
        return Pending(constrained, words, self._worker.submit(_fill, self._filler, automata, words))


def _fill(filler: MaskFiller, automata: Sequence[LLMatcher], words: Tensor) -> None:
    """Fill a matrix with masks; it holds the memory as long as something writes to it."""
    filler.fill(automata, words.data_ptr(), words.shape[1] * words.element_size())
