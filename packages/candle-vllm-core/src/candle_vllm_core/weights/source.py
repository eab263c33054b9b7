"""Where a model's files are: a directory, a Hugging Face id, or the model inside the package."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from ..errors import ModelLoadError
from ..quant.weight import Weight
from .safetensors import SafetensorsSource

EMBEDDED = Path(__file__).parent.parent / "embedded"
EMBEDDED_ID = "candle-vllm-embedded"
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


class Source(Protocol):
    """What a model is loaded from."""

    path: Path
    """The directory with the tokenizer's files."""
    model_id: str
    """What to show as the model's name."""
    config: Mapping[str, Any]
    """The content of config.json."""

    def names(self) -> Set[str]:
        """The names of all tensors."""
        ...

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape, without reading it."""
        ...

    def tensor(self, name: str) -> Tensor:
        """A tensor as it is stored, to be copied by who keeps it."""
        ...

    def weight(self, name: str) -> Weight:
        """A matrix, to multiply with."""
        ...

    def close(self) -> None:
        """Give back what was opened."""
        ...


def open_source(model_path: str | os.PathLike[str] | None) -> Source:
    """Open a directory, fetch a Hugging Face id and open it, or for None open the model inside the package.

    Raises:
        ModelLoadError: says what was asked, what was found and what to do.
    """
    if model_path is None:
        return SafetensorsSource(_directory(EMBEDDED, "the model that ships with the package"), EMBEDDED_ID)
    named = os.fspath(model_path)
    path = Path(named).expanduser()
    if path.suffix.lower() == ".gguf":
        raise ModelLoadError(f"{named} is a GGUF file; this version loads safetensors", [named])
    if path.is_dir():
        return SafetensorsSource(path, path.resolve().name)
    if isinstance(model_path, str) and HUB_ID.fullmatch(named) and not path.exists():
        from .hub import fetch  # its HTTP client takes a third of a second to import

        return SafetensorsSource(_directory(fetch(named), named), named)
    return SafetensorsSource(_directory(path, named), named)


def _directory(path: Path, asked: str) -> Path:
    if path.is_dir():
        return path
    found = "is a file" if path.exists() else "does not exist"
    raise ModelLoadError(
        f"asked for {asked}, but {path} {found}; give a directory with config.json and model.safetensors, "
        "or a Hugging Face id in the form owner/name",
        [asked],
    )
