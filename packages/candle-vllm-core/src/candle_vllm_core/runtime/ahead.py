"""`AheadStepper`: the next step is made and launched while the device computes the one before. No torch here.

```text
host    schedule n+1, prepare it │ draw n │ launch n+1 │ take n's tokens │ schedule n+2, prepare it │ draw n+1 │ ...
device  ─── n's forward ────────────────────┤ n's draw ├── n+1's forward ────────────────────────────────────┤ ...
```

Step n+1 is made before anybody knows what n draws: whoever draws in n goes on in n+1 with a token that only the device
has. So an answer that ends with that token is in n+1 too; nothing is drawn for it there, and it holds its blocks until
n+1 has landed. A step is drawn for after the tokens of the one before it were taken: masks, penalties and bad words
know every token, and the device computes meanwhile. Where there is no room without taking it from somebody, the step
under way lands first.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from ..events import Subscribers
from ..types import FinishReason
from .request import Drawn, Request
from .scheduler import Emission, Scheduler, Step
from .stepper import Runner, Stepper, said

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)


class Launched(Protocol):
    """A step that the device computes."""

    def draw(self, drawing: Sequence[Request]) -> Tensor:
        """Draw a token for each of these requests, some of those whose slices `may_sample`, in their order.

        They are given where the next step finds them, as [requests] int64; what an error leaves means nothing.
        """
        ...

    def collect(self) -> list[Drawn]:
        """Wait for what was drawn."""
        ...


class Prepared(Protocol):
    """A step that is ready to be launched."""

    def launch(self, tokens: Tensor | None) -> Launched:
        """Let the device compute it, after what it computes already; `tokens` are those of the step before."""
        ...


class AheadRunner(Runner, Protocol):
    """What computes steps in parts, so that the host need not wait for the device between them."""

    def prepare(self, step: Step, drawing: Sequence[Request]) -> Prepared:
        """Ready a step. Where it has a token that is not known yet, that is the one that is drawn for its request in
        the step before it, which draws for the requests `drawing`.
        """
        ...


class _Flight:
    """A step under way."""

    def __init__(self, step: Step, launched: Launched) -> None:
        self.step, self.launched = step, launched
        self.requests = {part.request.id for part in step}

    @property
    def drawing(self) -> list[Request]:
        """Those that a token is to be drawn for, as far as is known."""
        return [part.request for part in self.step if part.samples and part.is_alive]

    @property
    def is_alive(self) -> bool:
        """Whether anybody still wants it."""
        return any(part.is_alive for part in self.step)


class AheadStepper(Stepper):
    """A stepper that keeps one step under way; its answers are those of a plain one, token for token."""

    def __init__(self, scheduler: Scheduler, runner: AheadRunner, subscribers: Subscribers | None = None) -> None:
        """See `Stepper`."""
        super().__init__(scheduler, runner, subscribers)
        self._ahead = runner
        self._flight: _Flight | None = None

    def cancel(self, request_id: int) -> list[Emission]:
        """See `Stepper.cancel`."""
        emissions = super().cancel(request_id)
        self._drop_unwanted()
        return emissions

    def cancel_all(self) -> list[Emission]:
        """See `Stepper.cancel_all`."""
        emissions = super().cancel_all()
        self._drop_unwanted()
        return emissions

    def _step(self, out: list[Emission], whole: bool) -> None:
        if self._flight is None:
            self._begin(out)
            if whole:
                self._land(out)
        elif whole:
            self._land(out)
        elif step := self._schedule(out, self._flight.step):
            self._go_on(self._flight, step, out)
        else:
            self._land(out)
            self._begin(out)
        self._drop_unwanted()

    def _begin(self, out: list[Emission]) -> None:
        """Launch a step that follows none."""
        if not self.has_work or not (step := self._schedule(out)):
            return
        try:
            self._launch(step, self._ahead.prepare(step, ()), None)
        except Exception as error:
            self._fail_step(step, error, out)

    def _go_on(self, flight: _Flight, step: Step, out: list[Emission]) -> None:
        """Launch a step behind the one under way, and land that."""
        drawing, fault = flight.drawing, None
        prepared: Prepared | None = None
        try:
            prepared = self._ahead.prepare(step, drawing)
        except Exception as error:
            fault = error
        self._flight = None
        tokens = self._draw(flight, drawing, out)
        if tokens is None:
            return
        if prepared is not None:
            try:
                self._launch(step, prepared, tokens)
            except Exception as error:
                fault = error
        self._collect(flight, drawing, out)
        if fault is not None and (left := _alive(step)):
            self._fail_step(left, fault, out)

    def _launch(self, step: Step, prepared: Prepared, tokens: Tensor | None) -> None:
        self._flight = _Flight(step, prepared.launch(tokens))
        self._scheduler.launched(step)

    def _land(self, out: list[Emission]) -> None:
        """Take what the step under way draws, with none behind it."""
        flight, self._flight = self._flight, None
        if flight is None:
            return
        drawing = flight.drawing
        if self._draw(flight, drawing, out) is not None:
            self._collect(flight, drawing, out)

    def _draw(self, flight: _Flight, drawing: Sequence[Request], out: list[Emission]) -> Tensor | None:
        """The tokens of the step under way; None if they could not be drawn, and its requests have failed.

        It is not computed again: the step after it has been made, and blocks that slid out of windows were given away.
        """
        try:
            return flight.launched.draw(drawing)
        except Exception as error:
            self._scheduler.settle()
            self._fail_flight(flight, error, out)
            return None

    def _collect(self, flight: _Flight, drawing: Sequence[Request], out: list[Emission]) -> None:
        """Take the tokens of a step that was drawn for, behind which another may be under way."""
        self._scheduler.settle()
        try:
            drawn = flight.launched.collect()
            if len(drawn) != len(drawing):
                raise RuntimeError(f"{len(drawn)} tokens were drawn for {len(drawing)} requests")
            self._scheduler.landed(flight.step)
        except Exception as error:
            self._fail_flight(flight, error, out)
            return
        self._take(flight.step, drawing, drawn, out)

    def _fail_flight(self, flight: _Flight, error: Exception, out: list[Emission]) -> None:
        logger.error("a step of %d requests failed", len(flight.step), exc_info=error)
        self._end([part.request for part in _alive(flight.step)], FinishReason.ERROR, said(error), out)
        self._journal.step_ends(flight.step, said(error))

    def _let_go(self, request: Request) -> None:
        if self._flight is not None and request.id in self._flight.requests:
            self._scheduler.retire(request)
        else:
            super()._let_go(request)

    def _reset(self) -> None:
        self._flight = None
        super()._reset()

    def _drop_unwanted(self) -> None:
        """Give back what is held for a step that nobody waits for any more."""
        if self._flight is not None and not self._flight.is_alive:
            self._flight = None
            self._scheduler.settle()


def _alive(step: Step) -> Step:
    return tuple(part for part in step if part.is_alive)
