"""Tile sizes that were measured on a machine: data files, one per kind of GPU, beside each kernel's own choice.

A file `tuned/NVIDIA-H200.json` is written by `python -m bench tune`, which notes the machine. It holds, for an
operation and a key of the operation's own (its dtypes and sizes), what replaces the built-in choice. Where there is no
file, or no such key in it, the built-in choice stays.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch

Tiles = Mapping[str, int]
Asked = dict[tuple[str, str], Tiles]
TUNED = Path(__file__).parent / "tuned"
_trying: Asked = {}
_listeners: list[Asked] = []


def tiles(operation: str, key: str, default: Tiles) -> Tiles:
    """What to launch an operation with: sizes, `warps` and `stages`; `default` has all that may be chosen otherwise."""
    for listener in _listeners:
        listener[operation, key] = default
    return _trying.get((operation, key)) or _chosen(operation, key) or default


@contextmanager
def trying(operation: str, key: str, values: Tiles) -> Iterator[None]:
    """Launch an operation with these values meanwhile, to measure them."""
    _trying[operation, key] = values
    try:
        yield
    finally:
        del _trying[operation, key]


@contextmanager
def asking() -> Iterator[Asked]:
    """The operations and keys that are asked for meanwhile, with their built-in choices."""
    listener: Asked = {}
    _listeners.append(listener)
    try:
        yield listener
    finally:
        _listeners.remove(listener)


def file_name(device: str) -> str:
    """The name of the file for a kind of GPU, from the driver's name of it."""
    return "-".join("".join(c if c.isalnum() else " " for c in device).split()) + ".json"


@functools.cache
def _chosen(operation: str, key: str) -> Tiles | None:
    """What the file for this machine's GPU says."""
    if not torch.cuda.is_available():
        return None
    return read(TUNED / file_name(torch.cuda.get_device_name())).get(operation, {}).get(key)


def read(path: Path) -> Mapping[str, Mapping[str, Tiles]]:
    """The tables of a file, by operation and key; none if there is no such file."""
    if not path.exists():
        return {}
    tables: Mapping[str, Mapping[str, Tiles]] = json.loads(path.read_text(encoding="utf-8"))["tables"]
    return tables
