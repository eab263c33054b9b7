"""What released checkpoints are made of: names, shapes and config.json facts, without a single weight.

The folder `model/checkpoints` has one file for each. Names are written as patterns: `model.layers.{0-31}.norm.weight`
stands for 32 names, `{0-2,4}` for the numbers 0, 1, 2 and 4, `{gate,up}` for two words.

Where a published index was found (`model.safetensors.index.json`, which says in which file each tensor is), the file
has what identifies it: how many characters it has, and its `total_size` in bytes. The names of the tensors, written
down as that index is, must be as many characters. Of some the digest is known: then it is the same text.

Where the lengths of the published files with the tensors were found, or how long these are together, the file has
these. Such a file begins with a header of the names, shapes and places of its tensors, so files of the same tensors
are as long.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "model" / "checkpoints"
BRACES = re.compile(r"\{(.*?)\}")
WIDTHS = {"BF16": 2, "F16": 2}
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
    digest: Mapping[str, str] | None = None
    """Its SHA-256 or the one of git, where that was published. It says too in which file each tensor is."""

    def written(self, parts: Mapping[str, Shapes], files: Mapping[str, str]) -> tuple[str, Fraction]:
        """The text of an index of these tensors, laid out as this one is, and their bytes; `files` are those known."""
        shards, total = {}, Fraction(0)
        for name, part in self.parts.items():
            stored = part.stored(parts[name])
            shards |= {tensor: files.get(tensor, part.shard) for tensor in stored}
            total += sum(stored.values())
        text = json.dumps({"metadata": self.metadata, "weight_map": dict(sorted(shards.items()))}, indent=self.indent)
        return (text + self.end).replace("\n", self.newline), total


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """How a checkpoint is cut into safetensors files, and how long the published ones are."""

    of: str
    """The checkpoint that they belong to."""
    file: str
    """The public list of files that was read."""
    count: int
    dtype: str
    """Of all tensors."""
    order: Mapping[str, Sequence[str]]
    """In which the tensors were written: each start of a name with all its ends that there are, as patterns."""
    limit: int
    """The bytes of tensors of a file, at most."""
    reached: bool = False
    """Whether the tensor that reaches the limit still belongs to the file."""
    lengths: Mapping[str, int]
    """In bytes, of the published files by their numbers; those that are known."""
    total: int | None = None
    """The bytes of all the published files together, where those of each are not known."""

    def names(self, shapes: Shapes) -> Mapping[str, str]:
        """In which file each of these tensors is."""
        return {
            name: f"model-{number:05}-of-{self.count:05}.safetensors"
            for number, names in enumerate(self.cut(shapes), start=1)
            for name in names
        }

    def cut(self, shapes: Shapes) -> Sequence[Sequence[str]]:
        """The tensors of each file."""
        files: list[list[str]] = [[]]
        size = 0
        for name in self._ordered(shapes):
            added = WIDTHS[self.dtype] * math.prod(shapes[name])
            if size and (size >= self.limit if self.reached else size + added > self.limit):
                files.append([])
                size = 0
            files[-1].append(name)
            size += added
        return files

    def length(self, shapes: Shapes) -> int:
        """Of a safetensors file of these tensors, in bytes.

        Eight bytes say how long the header is, which is padded to a multiple of eight
        (github.com/huggingface/safetensors, "Format"; written by its library, with the tensors in order of names).
        """
        header: dict[str, object] = {"__metadata__": {"format": "pt"}}
        end = 0
        for name, shape in sorted(shapes.items()):
            start, end = end, end + WIDTHS[self.dtype] * math.prod(shape)
            header[name] = {"dtype": self.dtype, "shape": shape, "data_offsets": [start, end]}
        return 8 + math.ceil(len(json.dumps(header, separators=(",", ":"))) / 8) * 8 + end

    def _ordered(self, shapes: Shapes) -> Iterable[str]:
        for starts, ends in self.order.items():
            for start, pattern in itertools.product(_names(starts), ends):
                yield from (name for end in _names(pattern) if (name := start + end) in shapes)


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
    files: Files | None = None
    """Published files that these are the tensors of."""
    config_digest: Mapping[str, str] | None = None
    """Of config.json, where that was published."""


def checkpoint_names() -> Sequence[str]:
    """What the known checkpoints are called here."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


@cache
def real_checkpoint(name: str) -> RealCheckpoint:
    """One of `checkpoint_names`."""
    facts = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    for part in ("tensors", "ignored", "copies"):
        facts[part] = expand(facts.get(part, {}))
    if index := facts.get("index"):
        parts = {name: Part(**part) for name, part in index.pop("parts").items()}
        facts["index"] = Index(**index, parts=parts)
    if files := facts.get("files"):
        facts["files"] = Files(**files)
    return RealCheckpoint(**facts)


def digest(text: str, kind: str) -> str:
    """The SHA-256 of a text, or what git calls a file of it by."""
    written = text.encode()
    if kind == "git":
        return hashlib.sha1(b"blob %d\0" % len(written) + written).hexdigest()
    return hashlib.new(kind, written).hexdigest()


def expand(patterns: Mapping[str, Sequence[int]]) -> Shapes:
    """The names that patterns stand for, each with its shape."""
    return {name: tuple(shape) for pattern, shape in patterns.items() for name in _names(pattern)}


def _names(pattern: str) -> Iterable[str]:
    plain, braced = BRACES.split(pattern)[::2], BRACES.findall(pattern)
    for words in itertools.product(*map(_words, braced)):
        yield "".join(itertools.chain(*zip(plain, words, strict=False))) + plain[-1]


def _words(runs: str) -> Sequence[str]:
    return [word for run in runs.split(",") for word in _run(run)]


def _run(run: str) -> Sequence[str]:
    first, _, last = run.partition("-")
    return [str(number) for number in range(int(first), int(last or first) + 1)] if first.isdigit() else [run]
