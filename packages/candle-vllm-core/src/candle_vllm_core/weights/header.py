"""The header of a safetensors file, checked against the file's size before anything is mapped.

A file is: 8 bytes, the header's length n in little endian; n bytes of JSON, `{name: {dtype, shape, data_offsets}}`; and
the tensors' bytes, which the offsets cover without gaps or overlaps.
"""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ModelLoadError

MAX_HEADER_BYTES = 100_000_000
MAX_DIMENSIONS = 8
BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "U16": 16, "I16": 16, "F16": 16, "BF16": 16,
    "U32": 32, "I32": 32, "F32": 32, "U64": 64, "I64": 64, "F64": 64, "C64": 64, "F4": 4,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor of a file, as its header says."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


def read_header(file: Path) -> Mapping[str, Entry]:
    """The tensors of a safetensors file by name.

    Raises:
        ModelLoadError: the file cannot be read, is cut short, or its header is not well-formed or lies.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            if size < 8 or length > min(size - 8, MAX_HEADER_BYTES):
                raise _broken(file, f"it has {size:,} bytes, and its first 8 promise a header of {length:,}")
            text = opened.read(length)
    except OSError as error:
        raise ModelLoadError(f"cannot read {file}: {error.strerror or error}", [file.name]) from error
    entries = {name: _entry(file, name, told) for name, told in _parse(file, text).items() if name != "__metadata__"}
    _check_offsets(file, entries, size - 8 - length)
    return entries


def _parse(file: Path, text: bytes) -> Mapping[str, Any]:
    try:
        header = json.loads(text, object_pairs_hook=_distinct)
    except (ValueError, RecursionError) as error:
        raise _broken(file, f"its header is not JSON ({error})") from error
    if not isinstance(header, dict):
        raise _broken(file, "its header is not a table of tensors")
    return header


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name occurs twice")
    return table


def _entry(file: Path, name: str, told: object) -> Entry:
    match told:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [int(start), int(stop)]} if dtype in BITS:
            if len(shape) <= MAX_DIMENSIONS and all(_is_size(size) for size in (*shape, start, stop)):
                bits = BITS[dtype] * math.prod(shape)
                if bits == 8 * (stop - start):
                    return Entry(dtype, tuple(shape), start, stop)
    raise _broken(file, f"its header says of {reprlib.repr(name)} {reprlib.repr(told)}, which is not a tensor's size")


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _check_offsets(file: Path, entries: Mapping[str, Entry], available: int) -> None:
    end = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].start, item[1].stop)):
        if entry.start != end:
            raise _broken(file, f"{reprlib.repr(name)} begins at byte {entry.start:,}, where {end:,} should follow")
        end = entry.stop
    if end != available:
        raise _broken(file, f"its header describes {end:,} bytes of tensors, and {available:,} are there")


def _broken(file: Path, found: str) -> ModelLoadError:
    return ModelLoadError(f"{file} is not a whole safetensors file: {found}; fetch it again", [file.name])
