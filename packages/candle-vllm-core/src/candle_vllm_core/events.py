"""What an engine tells those who subscribe: frozen events, in the order in which they happen. No torch here.

```python
from candle_vllm_core import ScriptedEngine

engine = ScriptedEngine(["Hello."])
leave = engine.subscribe(print)
engine.generate_sync(engine.tokenize("hi"))
leave()
```
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from .types import FinishReason, GenerationStats

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestQueued:
    """A request was taken in and waits for its turn."""

    request_id: int
    """Names the request in all events; for requests of `add_request` it is the handle's number."""
    prompt_tokens: int
    priority: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestStarted:
    """A request runs for the first time."""

    request_id: int
    cached_tokens: int
    """Prompt tokens that were found in the prefix cache."""
    queue_seconds: float
    """From its arrival until now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestPreempted:
    """A running request gave its memory back to a more urgent one; it goes on later."""

    request_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstToken:
    """A request's first token was drawn."""

    request_id: int
    seconds: float
    """From its arrival until now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFinished:
    """A request ended, for whatever reason."""

    request_id: int
    finish_reason: FinishReason
    error: str | None
    stats: GenerationStats


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFinished:
    """A step was computed, or failed."""

    seconds: float
    num_requests: int
    """Requests that something was computed for."""
    num_tokens: int
    """Tokens that were computed."""
    error: str | None = None
    """What went wrong, if it failed."""


EngineEvent = RequestQueued | RequestStarted | RequestPreempted | FirstToken | RequestFinished | StepFinished
"""What a hook is told: which request, and what happened to it; or that a step was computed."""

EventHook = Callable[[EngineEvent], None]
"""Takes each event as it happens, on the engine's thread; must not block. One that raises is not called again."""


class Subscribers:
    """Those who want to know. Any thread may subscribe; what they raise goes to the log and no further."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hooks: tuple[EventHook, ...] = ()

    def __bool__(self) -> bool:
        """Whether there is anyone to tell."""
        return bool(self._hooks)

    def add(self, hook: EventHook) -> Callable[[], None]:
        """Tell a hook of every event from now on; the function that is given ends that."""

        def once(event: EngineEvent) -> None:
            hook(event)

        with self._lock:
            self._hooks = (*self._hooks, once)
        return lambda: self._remove(once)

    def _remove(self, hook: EventHook) -> None:
        with self._lock:
            self._hooks = tuple(other for other in self._hooks if other is not hook)

    def tell(self, event: EngineEvent) -> None:
        """Call every hook."""
        for hook in self._hooks:
            try:
                hook(event)
            except Exception:
                logger.exception("a subscriber of the engine failed at %s; it is not called again", event)
                self._remove(hook)
