"""A directory in Hugging Face's layout: config.json, and safetensors in one file or in shards with an index."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Mapping, Set
from pathlib import Path, PurePosixPath
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import ModelLoadError
from ..quant.weight import DenseWeight, Weight
from .header import Entry, read_header

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
MAX_JSON_BYTES = 64 * 2**20
LOADABLE = ("F64", "F32", "F16", "BF16")
PICKLED = (".bin", ".pt", ".pth", ".ckpt")
OTHER_WEIGHTS = (*(f"*{ending}" for ending in PICKLED), "*.gguf")
MOST_MAPPED, MAPPED_PER_TENSOR = 1 << 23, 1 << 15
"""So many bytes of a file are read before it is mapped anew, or so many for each of its tensors, which takes as long as
its header: what was read before needs no memory any more."""


class SafetensorsSource:
    """The tensors of a directory; files are mapped when the first of their tensors is asked for.

    Raises:
        ModelLoadError: a file is missing, cut short or contradicts itself; found before anything is mapped.
    """

    def __init__(self, path: Path, model_id: str) -> None:
        self.path = path
        self.model_id = model_id
        self.config: Mapping[str, Any] = read_json(path / "config.json")
        self._entries: dict[str, Entry] = {}
        self._files: dict[str, Path] = {}
        self._opened: dict[Path, Any] = {}
        self._read: dict[Path, int] = {}
        self._counts: dict[Path, int] = {}
        for file, names in _files(path).items():
            self._add(file, names)

    def names(self) -> Set[str]:
        """The names of all tensors."""
        return self._entries.keys()

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape, without reading it."""
        return self._entries[name].shape

    def tensor(self, name: str) -> Tensor:
        """A tensor as it is stored: a view of the file, to be copied by who keeps it.

        Raises:
            ModelLoadError: it is of a type that weights are not loaded from.
        """
        entry, file = self._entries[name], self._files[name]
        if entry.dtype not in LOADABLE:
            raise ModelLoadError(
                f"{name} is stored as {entry.dtype}; weights are loaded from {', '.join(LOADABLE)}", [name]
            )
        try:
            tensor: Tensor = self._mapped(file, entry.stop - entry.start).get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise ModelLoadError(f"cannot read {name} from {file}: {error}", [name]) from error
        return tensor

    def _mapped(self, file: Path, size: int) -> Any:
        """A file, of which so many bytes are about to be read."""
        most = max(MOST_MAPPED, self._counts[file] * MAPPED_PER_TENSOR)
        read = self._read.get(file, most)
        if read >= most:
            read, self._opened[file] = 0, safe_open(file, framework="pt")
        self._read[file] = read + size
        return self._opened[file]

    def weight(self, name: str) -> Weight:
        """A matrix, to multiply with."""
        return DenseWeight(self.tensor(name))

    def close(self) -> None:
        """Unmap the files, as far as no tensor of them is held any more."""
        self._opened.clear()
        self._read.clear()

    def _add(self, file: Path, promised: Set[str]) -> None:
        entries = read_header(file)
        if absent := sorted(promised - entries.keys()):
            raise ModelLoadError(f"{INDEX} says that {file.name} has {_some(absent)}, and it has not", absent)
        if twice := sorted(self._entries.keys() & entries.keys()):
            raise ModelLoadError(f"{file.name} has {_some(twice)}, and so has another shard", twice)
        self._entries |= entries
        self._counts[file] = len(entries)
        self._files |= dict.fromkeys(entries, file)


def read_json(file: Path) -> Mapping[str, Any]:
    """A table from a JSON file.

    Raises:
        ModelLoadError: it is not there, too large, not JSON or not a table.
    """
    if not file.is_file():
        raise ModelLoadError(
            f"{file.parent} has no {file.name}; give a directory in Hugging Face's layout", [file.name]
        )
    try:
        if file.stat().st_size > MAX_JSON_BYTES:
            raise ModelLoadError(f"{file} is over {MAX_JSON_BYTES:,} bytes, too large to be what it says", [file.name])
        table = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ModelLoadError(f"{file} is not JSON: {error}", [file.name]) from error
    except OSError as error:
        raise ModelLoadError(f"cannot read {file}: {error.strerror or error}", [file.name]) from error
    if not isinstance(table, dict):
        raise ModelLoadError(f"{file} is not a table but {reprlib.repr(table)}", [file.name])
    return table


def _files(path: Path) -> Mapping[Path, Set[str]]:
    """The files that hold the weights, each with the names that the index promises in it."""
    if (path / SINGLE).exists():
        return {path / SINGLE: set()}
    if not (path / INDEX).exists():
        raise _no_weights(path)
    weight_map = read_json(path / INDEX).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ModelLoadError(f"{path / INDEX} has no `weight_map` from names to files", [INDEX])
    shards: dict[Path, set[str]] = {}
    for name, file in weight_map.items():
        shards.setdefault(path / _shard(path, file), set()).add(name)
    if absent := sorted(shard.name for shard in shards if not shard.is_file()):
        raise ModelLoadError(f"{path} lacks {_some(absent)}, which its {INDEX} names; fetch the rest", absent)
    return shards


def _shard(path: Path, file: object) -> str:
    if (
        isinstance(file, str)
        and "\\" not in file
        and PurePosixPath(file).name == file
        and file.endswith(".safetensors")
    ):
        return file
    raise ModelLoadError(f"{path / INDEX} names {reprlib.repr(file)}, which is no safetensors file beside it", [INDEX])


def _no_weights(path: Path) -> ModelLoadError:
    others = sorted(file.name for pattern in ("*.safetensors", *OTHER_WEIGHTS) for file in path.glob(pattern))
    found = f"; it has {_some(others)}, which this version does not load" if others else ""
    pickled = any(name.endswith(PICKLED) for name in others)
    reason = ": such files can run code, so look for the same model in safetensors" if pickled else ""
    return ModelLoadError(f"{path} has neither {SINGLE} nor {INDEX}{found}{reason}", others)


def _some(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
