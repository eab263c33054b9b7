"""`DecodeGraphs`: steps of answers recorded once for each padded number of sequences, and played from then on.

A step of answers is a thousand small kernels, and launching them takes longer than they do. Recorded, they are launched
at once, but always on the same tensors and always for as many sequences: so each step is copied into those tensors, and
the rows that are left over write to a block that nobody has, and are thrown away.

```text
sizes      1  2  4  8  16  24  32  ...  up to the most that run at once
tensors    tokens, positions, slots [largest]; logits [largest, vocabulary]; each size has the beginning of them
recording  the largest first: the others find the memory that it used
```
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from ..attention.backend import Layout, Pass
from ..attention.native import NativeBackend
from ..attention.reference import ReferenceBackend
from .kv import KVSizes
from .scheduler import Step

if TYPE_CHECKING:
    from ..attention.triton import TritonBackend

    Backend = ReferenceBackend | NativeBackend | TritonBackend
    """What `attention.choose_backend` gives."""

logger = logging.getLogger(__name__)

SMALL = (1, 2, 4)
STEP = 8
MOST = 512
"""Sequences; where there are more, launching takes little beside computing."""

INDEX, FLOAT = 8, 4
"""Bytes of an int64 and of a float32."""

Replay = Callable[[], None]
"""Does again what was recorded, on what is in the same tensors now."""

Capture = Callable[[Callable[[], None]], Replay]
"""Records what a function has the device do; it need not do it."""


class RefillablePass(Pass, Protocol):
    """A pass whose tensors stay where they are."""

    def refill(self, layout: Layout) -> bool:
        """Write another step of answers into the same tensors; False if they do not take it."""
        ...


class RefillableBackend(Protocol):
    """Attention whose passes can be recorded."""

    def plan(self, layout: Layout, longest: int | None = None) -> RefillablePass:
        """A pass for as many sequences of one new token each, of at most `longest` tokens."""
        ...

    def pass_bytes(self, sequences: Sequence[int], longest: int) -> int:
        """What all passes keep together that are planned so, one for each number of sequences, the largest first."""
        ...


class Model(Protocol):
    """What is recorded."""

    def __call__(self, tokens: Tensor, pass_: Pass, rows: Tensor | None = None) -> Tensor:
        """Logits [rows, vocabulary] in float32 of the tokens [tokens]; `rows` says of which ones, None of all."""
        ...


@dataclass(frozen=True, slots=True)
class _Recorded:
    """A step of `size` answers."""

    size: int
    plan: RefillablePass
    replay: Replay


@dataclass(frozen=True, slots=True)
class Filled:
    """A recorded step that holds another one now, until the next is filled in."""

    tokens: Tensor
    """[sequences] int64, to be written until it is played"""
    _logits: Tensor
    _replay: Replay

    def logits(self, rows: Tensor) -> Tensor:
        """[rows, vocabulary] of the sequences at `rows`, in ascending order; until the next is played."""
        self._replay()
        return self._logits if len(rows) == len(self._logits) else self._logits.index_select(0, rows)


class DecodeGraphs:
    """Recorded steps of answers of one model. Only one thread may use it."""

    def __init__(
        self,
        model: Model,
        backend: RefillableBackend,
        capture: Capture,
        *,
        kv_sizes: KVSizes,
        has_states: bool,
        sequences: int,
        longest: int,
        vocab: int,
        device: torch.device,
    ) -> None:
        """`backend` keeps one block more in each group than `kv_sizes` says, and one recurrent state more if the model
        `has_states`; those are nobody's.

        `sequences` is the most that run at once, `longest` the most tokens of one.
        """
        self._model, self._backend, self._capture, self._longest = model, backend, capture, longest
        self._block_size, self._blocks = kv_sizes.block_size, kv_sizes.num_blocks
        self._nobodys_state = [kv_sizes.num_states] if has_states else []
        self.left = sizes(sequences)
        """Those that are still to be recorded, the next one last."""
        self._recorded: dict[int, _Recorded] = {}
        largest = self.left[-1]
        self._tokens, self._positions, *self._slots = (
            torch.zeros(largest, dtype=torch.int64, device=device) for _ in range(2 + len(self._blocks))
        )
        self._logits = torch.empty(largest, vocab, dtype=torch.float32, device=device)
        self._tables = [torch.tensor([count], dtype=torch.int64, device=device) for count in self._blocks]

    @staticmethod
    def static_bytes(sequences: int, groups: int, vocab: int) -> int:
        """What is held from the beginning, with so many groups of layers."""
        return sizes(sequences)[-1] * ((2 + groups) * INDEX + vocab * FLOAT) + groups * INDEX

    @torch.inference_mode()
    def record_next(self) -> bool:
        """Record one more size; False if there is none left. Where that fails, no more is recorded."""
        if not self.left:
            return False
        size = self.left.pop()
        try:
            self._recorded[size] = self._record(size)
        except RuntimeError as error:
            logger.warning(
                "a step of %d answers could not be recorded; its kernels are launched singly: %s", size, error
            )
            self.left.clear()
        return bool(self.left)

    def fill(self, step: Step, layout: Layout) -> Filled | None:
        """A recorded step that holds this one; None if there is none for it."""
        count = len(step)
        size = min((size for size in self._recorded if size >= count), default=None)
        if size is None or not all(_are_answers(step)):
            return None
        recorded = self._recorded[size]
        if not recorded.plan.refill(self._padded(layout, size)):
            return None
        return Filled(self._tokens[:count], self._logits[:count], recorded.replay)

    def largest(self) -> Callable[[], None]:
        """Computes a step of the largest size as it is recorded, for nobody."""
        return torch.inference_mode()(self._computed(self.left[-1])[1])

    def _record(self, size: int) -> _Recorded:
        plan, work = self._computed(size)
        work()  # whatever is made when it is first used
        return _Recorded(size, plan, self._capture(work))

    def _computed(self, size: int) -> tuple[RefillablePass, Callable[[], None]]:
        """A pass of so many answers, and what computes it."""
        nobody = torch.empty(0, dtype=torch.int64, device=self._tokens.device)
        empty = Layout(
            tokens=nobody,
            positions=nobody,
            slot_mapping=[nobody] * len(self._slots),
            block_tables=[[]] * len(self._slots),
            query_lens=[],
            seq_lens=[],
        )
        layout = self._padded(empty, size)
        plan = self._backend.plan(layout, self._longest)
        if not plan.refill(layout):
            raise RuntimeError("this model's attention cannot be filled anew")
        tokens, logits = self._tokens[:size], self._logits[:size]
        return plan, lambda: _put(logits, self._model(tokens, plan))

    def _padded(self, layout: Layout, size: int) -> Layout:
        """A step in the tensors of a recorded one, where rows that are left over belong to nobody."""
        count = len(layout.seq_lens)
        more = size - count
        self._tokens[:count].copy_(layout.tokens)
        self._tokens[count:size].zero_()
        self._positions[:count].copy_(layout.positions)
        self._positions[count:size].zero_()
        for slots, given, block in zip(self._slots, layout.slot_mapping, self._blocks, strict=True):
            slots[:count].copy_(given)
            slots[count:size].fill_(block * self._block_size)
        return replace(
            layout,
            tokens=self._tokens[:size],
            positions=self._positions[:size],
            slot_mapping=[slots[:size] for slots in self._slots],
            block_tables=[
                [*given, *[table] * more] for given, table in zip(layout.block_tables, self._tables, strict=True)
            ],
            query_lens=[*layout.query_lens, *[1] * more],
            seq_lens=[*layout.seq_lens, *[1] * more],
            state_slots=[*layout.state_slots, *self._nobodys_state * more],
        )


def held_bytes(backend: RefillableBackend, *, sequences: int, longest: int, groups: int, vocab: int) -> int:
    """What `DecodeGraphs` holds once all sizes are recorded, but for what they compute in; see there."""
    static = DecodeGraphs.static_bytes(sequences, groups, vocab)
    return static + backend.pass_bytes(sizes(sequences)[::-1], longest)


def sizes(sequences: int) -> list[int]:
    """The numbers of sequences that are recorded where so many run at most, in ascending order."""
    largest = min(sequences, MOST)
    return sorted({size for size in (*SMALL, *range(STEP, largest, STEP)) if size < largest} | {largest})


def refillable(backend: Backend) -> RefillableBackend | None:
    """A backend, if its passes can be recorded."""
    return None if isinstance(backend, ReferenceBackend | NativeBackend) else backend


def capture_on(device: torch.device) -> Capture | None:
    """What records on a device: CUDA graphs, which share their memory, for one is played at a time; None: nothing."""
    if device.type != "cuda":
        return None
    pool = torch.cuda.graph_pool_handle()

    def capture(work: Callable[[], None]) -> Replay:
        torch.cuda.synchronize(device)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(device), torch.cuda.graph(graph, pool=pool):
            work()
        return graph.replay

    return capture


def _put(place: Tensor, found: Tensor) -> None:
    place.copy_(found)


def _are_answers(step: Step) -> Sequence[bool]:
    """For each slice, whether it is one token of an answer."""
    return [
        stop - start == 1 and start >= len(request.prompt) and request.pool is None for request, start, stop in step
    ]
