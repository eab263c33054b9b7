"""Recorded steps on a CPU: what was recorded is done again, on the same tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from torch import Tensor

from candle_vllm_core.attention.backend import Layout, States
from candle_vllm_core.attention.reference import ReferenceBackend, ReferencePass
from candle_vllm_core.runtime import loop, plan, runner
from candle_vllm_core.spec import Attention, LatentAttention


class RefilledPass:
    """A reference pass that is made anew when it is filled."""

    def __init__(self, backend: ReferenceBackend, layout: Layout, longest: int | None) -> None:
        self._backend, self._longest, self._sequences = backend, longest, len(layout.seq_lens)
        self.positions = layout.positions
        self._pass: ReferencePass = backend.plan(layout)

    def refill(self, layout: Layout) -> bool:
        if self._longest is None or len(layout.seq_lens) != self._sequences or max(layout.seq_lens) > self._longest:
            return False
        if layout.positions.data_ptr() != self.positions.data_ptr():
            raise ValueError("the tensors of a recorded step moved")
        self._pass = self._backend.plan(layout)
        return True

    def attend(
        self,
        layer: int,
        attention: Attention | LatentAttention,
        q: Tensor,
        k: Tensor | None,
        v: Tensor | None,
        sinks: Tensor | None = None,
    ) -> Tensor:
        return self._pass.attend(layer, attention, q, k, v, sinks)

    def destination(self, layer: int) -> tuple[Tensor, Tensor] | None:
        return self._pass.destination(layer)

    def recurrent(self, layer: int) -> States:
        return self._pass.recurrent(layer)


class RefillableReference:
    """The reference backend, whose passes can be filled anew."""

    def __init__(self, backend: ReferenceBackend) -> None:
        self._backend = backend

    def plan(self, layout: Layout, longest: int | None = None) -> RefilledPass:
        return RefilledPass(self._backend, layout, longest)

    def pass_bytes(self, sequences: Sequence[int], longest: int) -> int:
        """Nothing is kept: each pass is made anew."""
        return 0


class Recorder:
    """Records functions, and counts how often they are done again."""

    def __init__(self) -> None:
        self.recorded = self.played = 0

    def __call__(self, work: Callable[[], None]) -> Callable[[], None]:
        self.recorded += 1

        def replay() -> None:
            self.played += 1
            work()

        return replay


def record_on_a_cpu(patch: pytest.MonkeyPatch, *, ahead: bool = False) -> Recorder:
    """Let engines that are opened from now on record their steps of answers."""
    recorder = Recorder()
    for module in (plan, runner):
        patch.setattr(module, "capture_on", lambda device: recorder)
        patch.setattr(module, "refillable", RefillableReference)
    patch.setattr(loop, "computes_beside", lambda device: ahead)
    return recorder
