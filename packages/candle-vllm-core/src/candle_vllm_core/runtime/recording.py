"""`Recording`: when steps are recorded: one after the other while the engine idles, now and then while it answers.

No torch here.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)

MOST_OF_TIME = 0.1
"""The share of the time that goes into recording while requests run."""


class Recording:
    """Records, between steps, what is left to be recorded."""

    def __init__(self, record_next: Callable[[], bool], clock: Callable[[], float] = time.monotonic) -> None:
        """`record_next` records one more and says whether more are left; `clock` gives seconds."""
        self._record_next, self._clock = record_next, clock
        self._is_done = False
        self._earliest = 0.0

    def go_on(self, *, busy: bool) -> bool:
        """Record one more if it is time for that; whether more are left. `busy`: requests wait meanwhile."""
        began = self._clock()
        if self._is_done or (busy and began < self._earliest):
            return not self._is_done
        try:
            self._is_done = not self._record_next()
        except Exception:
            logger.exception("steps could not be recorded; they are computed without; this is a defect")
            self._is_done = True
        ended = self._clock()
        self._earliest = ended + (ended - began) * (1 / MOST_OF_TIME - 1)
        return not self._is_done
