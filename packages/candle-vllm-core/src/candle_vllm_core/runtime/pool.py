"""What an embedding is gathered in while its prompt is computed, and how a model says to make it. No torch here."""

from __future__ import annotations

import json
import logging
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..types import Pooling

if TYPE_CHECKING:
    from torch import Tensor

MAX_FILE_BYTES = 1 << 20

MODES: dict[str, Pooling] = {"mean": "mean", "lasttoken": "last", "cls": "cls"}
"""The ways of pooling as sentence-transformers names them."""

FLAGS: dict[str, Pooling] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_lasttoken": "last",
    "pooling_mode_cls_token": "cls",
}

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Pool:
    """The hidden states of one prompt, as far as they were computed, brought together."""

    positions: range
    """The tokens whose hidden states are wanted."""
    dimensions: int | None = None
    """How many numbers of the result are wanted; None: all."""
    num_taken: int = 0
    total: Tensor | None = None
    """[dim] float64, the sum of those that were taken"""
    values: array[float] | None = None
    """The result, once all were taken."""
    error: str | None = None
    """Why there is none, if so."""

    @classmethod
    def of(cls, pooling: Pooling, length: int, dimensions: int | None = None) -> Pool:
        """An empty one for a prompt of `length` tokens."""
        positions = {"mean": range(length), "last": range(length - 1, length), "cls": range(1)}[pooling]
        return cls(positions, dimensions)

    @property
    def next(self) -> int:
        """The first token whose hidden state is still to be taken."""
        return self.positions.start + self.num_taken

    @property
    def done(self) -> bool:
        """Whether all were taken."""
        return self.num_taken == len(self.positions)


def declared_pooling(path: Path) -> Pooling:
    """How the files of a checkpoint say to pool, where they are made for sentence-transformers; else mean."""
    file = path / "1_Pooling" / "config.json"
    if not file.is_file() or file.stat().st_size > MAX_FILE_BYTES:
        return "mean"
    try:
        config = json.loads(file.read_text())
    except (OSError, ValueError):
        config = None
    said = _said(config) if isinstance(config, dict) else []
    if len(said) == 1:
        return said[0]
    logger.warning("%s asks for none of the ways to pool that are known, or for several; the mean is taken", file)
    return "mean"


def _said(config: dict[str, object]) -> list[Pooling]:
    mode = config.get("pooling_mode")
    if isinstance(mode, str):
        return [MODES[mode]] if mode in MODES else []
    asked = [name for name, value in config.items() if name.startswith("pooling_mode_") and value is True]
    return [FLAGS[name] for name in asked] if all(name in FLAGS for name in asked) else []
