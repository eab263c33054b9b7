"""A step of a model in parts: prepared while the device computes the one before, launched, drawn for, collected.

Everything is put into one stream, so what a later part writes, it writes after the earlier ones have read. What needs
the host (log probabilities and hidden states of prompts) makes `launch` wait, and nothing else does.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from ..attention.backend import Layout
from .batch import layout_of, on_device, sampling_rows, unknown_tokens
from .device import lack_of_memory_as_memory_error
from .request import Drawn, Request
from .scheduler import Step


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

    def ready(self, step: Step, layout: Layout) -> Ready:
        """A step whose tensors are where they are to be."""
        ...

    def draw(self, logits: Tensor, drawing: Sequence[Request]) -> list[Drawn]:
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
        """Compute it; `tokens` [rows] int64 are those of the step before, below 0 where none could be drawn."""
        if self._unknown is not None:
            if tokens is None:
                raise RuntimeError("a step has tokens that nobody knows, and there is none before it")
            places, rows = self._unknown
            self._ready.tokens.index_copy_(0, places, tokens.index_select(0, rows).clamp(min=0))
        return LaunchedStep(self._parts, self._step, self._ready.logits(self._rows))


class LaunchedStep:
    """A step under way."""

    def __init__(self, parts: Parts, step: Step, logits: Tensor) -> None:
        """`logits` [rows, vocabulary] are those of its slices that may sample."""
        self._parts, self._logits = parts, logits
        self._rows = {part.request.id: row for row, part in enumerate(part for part in step if part.may_sample)}
        self._drawn: list[Drawn] = []

    @torch.inference_mode()
    def draw(self, drawing: Sequence[Request]) -> Tensor:
        """The tokens [rows] int64 that are drawn for some of its requests, below 0 where there is an error."""
        device, logits = self._parts.device, self._logits
        rows = [self._rows[request.id] for request in drawing]
        if rows != list(range(len(logits))):
            logits = logits.index_select(0, on_device(array("q", rows), device))
        self._drawn = self._draw(logits, drawing)
        return on_device(array("q", [its.token for its in self._drawn]), device)

    def _draw(self, logits: Tensor, drawing: Sequence[Request]) -> list[Drawn]:
        """Draw in halves where there is too little memory; who finds none alone gets an error."""
        try:
            return self._parts.draw(logits, drawing)
        except MemoryError as error:
            if len(drawing) == 1:
                return [Drawn(-1, None, str(error))]
        middle = len(drawing) // 2
        return self._draw(logits[:middle], drawing[:middle]) + self._draw(logits[middle:], drawing[middle:])

    def collect(self) -> list[Drawn]:
        """What was drawn."""
        return self._drawn
