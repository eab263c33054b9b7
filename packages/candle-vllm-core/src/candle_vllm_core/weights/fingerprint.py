"""What tells a checkpoint from every other: the same on every machine that has the same files."""

from __future__ import annotations

import hashlib
from pathlib import Path

WHOLE = 1 << 24
"""A file of at most so many bytes is read whole."""
PIECES = 64
PIECE = 1 << 16
"""Of a larger one this many pieces of this many bytes are read, evenly spread, its first and last among them."""


def fingerprint(folder: Path) -> bytes:
    """A SHA-256 of the files in a checkpoint's folder: their names, sizes, and what is in them.

    Large files are not read whole, so two that differ in a few numbers may look alike; training changes all of them.
    """
    found = hashlib.sha256()
    for file in sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")):
        found.update(repr((file.name, file.stat().st_size)).encode())
        found.update(_content(file))
    return found.digest()


def _content(file: Path) -> bytes:
    size = file.stat().st_size
    with file.open("rb") as opened:
        if size <= WHOLE:
            return hashlib.file_digest(opened, "sha256").digest()
        pieces = hashlib.sha256()
        for index in range(PIECES):
            opened.seek((size - PIECE) * index // (PIECES - 1))
            pieces.update(opened.read(PIECE))
        return pieces.digest()
