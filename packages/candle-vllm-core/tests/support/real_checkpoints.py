"""What released checkpoints are made of: names, shapes and config.json facts, without a single weight.

The folder `model/checkpoints` has one file for each. Names are written as patterns: `model.layers.{0-31}.norm.weight`
stands for 32 names, `{0-2,4}` for the numbers 0, 1, 2 and 4.

Where a published index was found (`model.safetensors.index.json`, which says in which file each tensor is), the file
has what identifies it: how many characters it has, and its `total_size` in bytes. The names of the tensors, written
down as that index is, must be as many characters.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "model" / "checkpoints"
BRACES = re.compile(r"\{(.*?)\}")
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """How the files of an index hold one part of a checkpoint: its `tensors`, `ignored` or `copies`."""

    bytes: int
    """Of a number, or 0 where the total of the index leaves this part out."""
    shard: str
    """The name of one of its files; those of the others are as long."""
    forms: Mapping[str, Mapping[str, str]] | None = None
    """Of quantized matrices: what stands in place of that which matches a pattern, and its bytes for each number."""

    def stored(self, shapes: Shapes) -> Mapping[str, Fraction]:
        """The names of these tensors in the files, and how many bytes they have."""
        stored = {}
        for name, shape in shapes.items():
            for found, size in self._forms(name).items():
                stored[found] = size * math.prod(shape)
        return stored

    def _forms(self, name: str) -> Mapping[str, Fraction]:
        for pattern, forms in (self.forms or {}).items():
            if re.search(pattern, name):
                return {re.sub(pattern, form, name): Fraction(size) for form, size in forms.items()}
        return {name: Fraction(self.bytes)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """What a published index says, without its names."""

    of: str
    """The checkpoint that it belongs to."""
    file: str
    """The public copy that was read."""
    read: str
    """Which of its names were read one by one."""
    characters: int
    metadata: Mapping[str, int | str]
    indent: int | None
    newline: str
    end: str
    parts: Mapping[str, Part]

    def written(self, parts: Mapping[str, Shapes]) -> tuple[str, Fraction]:
        """The text of an index of these tensors, laid out as this one is, and their bytes."""
        shards, total = {}, Fraction(0)
        for name, part in self.parts.items():
            stored = part.stored(parts[name])
            shards |= dict.fromkeys(stored, part.shard)
            total += sum(stored.values())
        text = json.dumps({"metadata": self.metadata, "weight_map": shards}, indent=self.indent)
        return (text + self.end).replace("\n", self.newline), total


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
    index: Index | None = None
    """A published index whose names these are."""


def checkpoint_names() -> Sequence[str]:
    """What the known checkpoints are called here."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def real_checkpoint(name: str) -> RealCheckpoint:
    """One of `checkpoint_names`."""
    facts = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    for part in ("tensors", "ignored", "copies"):
        facts[part] = expand(facts.get(part, {}))
    if index := facts.get("index"):
        parts = {name: Part(**part) for name, part in index.pop("parts").items()}
        facts["index"] = Index(**index, parts=parts)
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
