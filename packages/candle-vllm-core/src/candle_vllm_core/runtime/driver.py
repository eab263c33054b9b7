"""Who steps an engine: its own loop, or a caller by hand. No torch here."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from ..errors import GenerationError

How = Literal["loop", "hand"]


class Driver:
    """Who steps the engine: its own loop, or the caller by hand. Only one at a time; idle, one may change over."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._how: How = "loop"
        self._unfinished = 0

    def check(self, how: How) -> None:
        """Raise unless the engine may be stepped this way now."""
        if not self._unfinished or how == self._how:
            return
        if how == "hand":
            raise GenerationError(
                f"generate* is answering {self._unfinished} requests; wait for them before you step by hand"
            )
        raise GenerationError(
            f"{self._unfinished} requests of add_request are unfinished; finish them with step() or cancel them first"
        )

    @contextmanager
    def entering(self, how: How) -> Iterator[None]:
        """Count a request in, unless the engine is stepped the other way; not counted if handing it over fails."""
        with self._lock:
            self.check(how)
            self._how, self._unfinished = how, self._unfinished + 1
        try:
            yield
        except BaseException:
            self.leave()
            raise

    def leave(self) -> None:
        """Count a request out."""
        with self._lock:
            self._unfinished -= 1
