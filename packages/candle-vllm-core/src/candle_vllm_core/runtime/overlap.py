"""A step of a model in parts: prepared while the device computes the one before, launched, drawn for, collected.

Everything is put into one stream, so what a later part writes, it writes after the earlier ones have read. What needs
the host (log probabilities and hidden states of prompts) makes `launch` wait, and nothing else does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..attention.backend import Layout
from .batch import layout_of, on_device, sampling_rows, unknown_tokens
from .device import lack_of_memory_as_memory_error
from .request import Drawn, Limits, Request
from .scheduler import Step


@dataclass(frozen=True, slots=True)
class Drawing:
    """Tokens on their way."""

    tokens: Tensor
    """[requests] int64, where the next step finds them"""
    finish: Callable[[], list[Drawn]]
    """Waits for them."""


class Ready(Protocol):
    """A step that can be computed."""

    @property
    def tokens(self) -> Tensor:
        """[tokens] int64, to be written until it is computed"""
        ...

    def logits(self, rows: Tensor) -> Tensor:
        """Compute it: [rows, vocabulary] of the tokens at `rows`, in ascending order."""
        ...


class Parts(Protocol):
    """What computes the parts."""

    device: torch.device
    block_size: int
    limits: Limits

    def ready(self, step: Step, layout: Layout) -> Ready:
        """A step whose tensors are where they are to be."""
        ...

    def draw(self, logits: Tensor, drawing: Sequence[Request]) -> Drawing:
        """Draw for requests from logits [requests, vocabulary].

        Raises:
            MemoryError: there is too little for so many.
        """
        ...


class PreparedStep:
    """A step whose tensors are on the device, but for tokens that are being drawn."""

    @torch.inference_mode()
    @lack_of_memory_as_memory_error
    def __init__(self, parts: Parts, step: Step, drawing: Sequence[Request]) -> None:
        """`drawing`: the requests that the step before draws for."""
        self._parts, self._step = parts, step
        self._unknown = unknown_tokens(step, drawing, parts.device)
        self._rows = sampling_rows(step, parts.device)
        self._ready = parts.ready(step, layout_of(step, parts.block_size, parts.device))

    @torch.inference_mode()
    @lack_of_memory_as_memory_error
    def launch(self, tokens: Tensor | None) -> LaunchedStep:
        """Compute it; `tokens` [rows] int64 are those of the step before, anything where none could be drawn."""
        if self._unknown is not None:
            if tokens is None:
                raise RuntimeError("a step has tokens that nobody knows, and there is none before it")
            places, rows = self._unknown
            self._ready.tokens.index_copy_(
                0, places, tokens.index_select(0, rows).clamp(0, self._parts.limits.vocab_size - 1)
            )
        return LaunchedStep(self._parts, self._step, self._ready.logits(self._rows))


class LaunchedStep:
    """A step under way."""

    def __init__(self, parts: Parts, step: Step, logits: Tensor) -> None:
        """`logits` [rows, vocabulary] are those of its slices that may sample."""
        self._parts, self._logits = parts, logits
        self._rows = {part.request.id: row for row, part in enumerate(part for part in step if part.may_sample)}
        self._drawing: list[Drawing] = []

    @torch.inference_mode()
    def draw(self, drawing: Sequence[Request]) -> Tensor:
        """The tokens [rows] int64 that are drawn for some of its requests; what an error leaves means nothing."""
        device, logits = self._parts.device, self._logits
        rows = [self._rows[request.id] for request in drawing]
        if rows != list(range(len(logits))):
            logits = logits.index_select(0, on_device(rows, device))
        self._drawing = self._draw(logits, drawing)
        return torch.cat([part.tokens for part in self._drawing])

    def _draw(self, logits: Tensor, drawing: Sequence[Request]) -> list[Drawing]:
        """Draw in halves where there is too little memory; who finds none alone gets an error."""
        try:
            return [self._parts.draw(logits, drawing)]
        except MemoryError as error:
            if len(drawing) == 1:
                failed = [Drawn(-1, None, str(error))]
                return [Drawing(on_device([-1], self._parts.device), lambda: failed)]
        middle = len(drawing) // 2
        return self._draw(logits[:middle], drawing[:middle]) + self._draw(logits[middle:], drawing[middle:])

    def collect(self) -> list[Drawn]:
        """Wait for what was drawn."""
        return [its for part in self._drawing for its in part.finish()]
