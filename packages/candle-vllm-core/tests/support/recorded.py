"""Recorded steps on a CPU: what was recorded is done again, on the same tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from candle_vllm_core.attention.backend import Destination, Layout, States, recorded_rows
from candle_vllm_core.attention.reference import ReferenceBackend, ReferencePass
from candle_vllm_core.runtime import loop, plan, runner
from candle_vllm_core.spec import Attention, LatentAttention


class RefilledPass:
    """A reference pass that is made anew when it is filled."""

    def __init__(self, backend: ReferenceBackend, layout: Layout, longest: int | None) -> None:
        self._backend, self._longest, self._sequences = backend, longest, len(layout.seq_lens)
        self.positions = layout.positions
        self._places = torch.empty(self._sequences, dtype=torch.int64) if backend.cache.states else None
        self._fill(layout)

    def _fill(self, layout: Layout) -> None:
        self._pass: ReferencePass = self._backend.plan(layout)
        if self._places is not None:
            self._places.copy_(torch.tensor(layout.state_slots, dtype=torch.int64))

    def refill(self, layout: Layout) -> bool:
        if self._longest is None or len(layout.seq_lens) != self._sequences or max(layout.seq_lens) > self._longest:
            return False
        if layout.positions.data_ptr() != self.positions.data_ptr():
            raise ValueError("the tensors of a recorded step moved")
        self._fill(layout)
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

    def destination(self, layer: int) -> Destination | None:
        return self._pass.destination(layer)

    def recurrent(self, layer: int) -> States:
        return States(*self._backend.cache.states[layer], recorded_rows(self._sequences), self._places)


class RefillableReference:
    """The reference backend, whose passes can be filled anew."""

    def __init__(self, backend: ReferenceBackend) -> None:
        self._backend = backend

    def plan(self, layout: Layout, longest: int | None = None) -> RefilledPass:
        return RefilledPass(self._backend, layout, longest)

    def pass_bytes(self, sequences: Sequence[int], longest: int) -> int:
        """Each pass is made anew, but for the places of recurrent states."""
        return sum(sequences) * 8 if self._backend.cache.states else 0


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


class Tape(Recorder):
    """Records what is done to tensors, as a GPU does: the same operations on the same memory, and nothing of Python."""

    def __call__(self, work: Callable[[], None]) -> Callable[[], None]:
        with Operations() as done:
            work()

        def replay() -> None:
            for operation, arguments, options, result in done.calls:
                again = operation(*arguments, **options)
                for old, new in zip(tree_leaves(result), tree_leaves(again), strict=True):
                    if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                        old.copy_(new)

        return super().__call__(replay)


class Operations(TorchDispatchMode):
    """Notes every operation that torch does, with what it gave."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], Any]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("the host waits for the device in what is to be recorded")
        result = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, result))
        return result


def record_on_a_cpu(patch: pytest.MonkeyPatch, *, ahead: bool = False, recorder: Recorder | None = None) -> Recorder:
    """Let engines that are opened from now on record their steps of answers."""
    recorder = recorder or Recorder()
    for module in (plan, runner):
        patch.setattr(module, "capture_on", lambda device: recorder)
        patch.setattr(module, "refillable", RefillableReference)
    patch.setattr(loop, "computes_beside", lambda device: ahead)
    return recorder
