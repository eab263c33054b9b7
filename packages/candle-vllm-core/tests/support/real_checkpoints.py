"""What released checkpoints are made of: names, shapes and config.json facts, without a single weight.

The folder `model/checkpoints` has one file for each. Names are written as patterns: `model.layers.{0-31}.norm.weight`
stands for 32 names, `{0-2,4}` for the numbers 0, 1, 2 and 4.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "model" / "checkpoints"
BRACES = re.compile(r"\{(.*?)\}")
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RealCheckpoint:
    """One released checkpoint."""

    checkpoint: str
    architecture: str
    parameters: int
    """Of the language model, a matrix that is used twice counted once."""
    source: Mapping[str, str]
    """Where each of these facts is from."""
    config: Mapping[str, Any]
    """Its config.json."""
    tensors: Shapes
    """What the language model is made of."""
    ignored: Shapes
    """What else its files have: other models, and buffers without effect."""
    copies: Shapes
    """What its files have a second time, under another name."""


def checkpoint_names() -> Sequence[str]:
    """What the known checkpoints are called here."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def real_checkpoint(name: str) -> RealCheckpoint:
    """One of `checkpoint_names`."""
    facts = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    for part in ("tensors", "ignored", "copies"):
        facts[part] = expand(facts.get(part, {}))
    return RealCheckpoint(**facts)


def expand(patterns: Mapping[str, Sequence[int]]) -> Shapes:
    """The names that patterns stand for, each with its shape."""
    return {name: tuple(shape) for pattern, shape in patterns.items() for name in _names(pattern)}


def _names(pattern: str) -> Iterable[str]:
    plain, braced = BRACES.split(pattern)[::2], BRACES.findall(pattern)
    for numbers in itertools.product(*map(_numbers, braced)):
        yield "".join(itertools.chain(*zip(plain, map(str, numbers), strict=False))) + plain[-1]


def _numbers(runs: str) -> Sequence[int]:
    ends = [run.split("-") for run in runs.split(",")]
    return [number for end in ends for number in range(int(end[0]), int(end[-1]) + 1)]
