"""Every field of a spec reaches the logits: changed one at a time, the model is refused or answers otherwise."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import random_model, save_model
from paged import CPU, in_chunks
from torch import Tensor
from variants.common import LLAMA3, TUNED, YARN

from candle_vllm_core import spec as s
from candle_vllm_core.errors import ModelLoadError
from candle_vllm_core.model.build import build_decoder
from candle_vllm_core.model.families import decoder_spec
from candle_vllm_core.weights.source import open_source

WITHOUT_EFFECT = {"max_position"}
CASES: dict[str, dict[str, Any]] = {
    "llama": {"rope_parameters": LLAMA3},
    "llama, biases": {"rope_parameters": YARN | TUNED},
    "mistral, window 7": {},
    "qwen2, tied": {},
    "qwen3": {},
}
LENGTH = 41


def mutants(node: Any, path: str = "spec") -> Iterator[tuple[str, Any]]:
    """Every way of changing one field somewhere in a spec, with the path of what was changed."""
    for field in dataclasses.fields(node):
        if field.name in WITHOUT_EFFECT:
            continue
        for where, value in changed(getattr(node, field.name), f"{path}.{field.name}"):
            yield where, dataclasses.replace(node, **{field.name: value})


def changed(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if dataclasses.is_dataclass(value):
        yield from mutants(value, path)
        if path.endswith("qk_norm"):
            yield path, None
    elif path.endswith("layers"):
        yield path, value[:-1]
        yield from ((where, (first, *value[1:])) for where, first in mutants(value[0], f"{path}[0]"))
    elif path.endswith("scaling"):
        if not value:
            yield path, (("factor", 2.0), ("rope_type", "linear"))
        yield from changed_table(dict(value), path)
    elif value is None:
        yield path, s.Norm() if path.endswith("qk_norm") else 5
    elif isinstance(value, bool):
        # A head that the checkpoint stores is used, whatever config.json says of tying.
        if not path.endswith("tied") or value:
            yield path, not value
    elif isinstance(value, int):
        if not path.endswith("rope.dim"):
            yield path, value * 2
        yield path, value - (2 if path.endswith("dim") else 1)
    else:
        yield path, value * 1.5


def changed_table(table: dict[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if name == "rope_type":
            yield f"{path}.{name}", ()
        else:
            new = not value if isinstance(value, bool) else value * 2
            yield f"{path}.{name}", s.as_pairs(table | {name: new})


def answer(path: Path, spec: s.Decoder, ids: Tensor) -> Tensor:
    source = open_source(path)
    return in_chunks(build_decoder(spec, source, device=CPU, dtype=torch.float32), ids, [20, 1, LENGTH - 21])


def test_the_mutants_cover_every_field() -> None:
    """Of all classes that the spec module has."""
    reached = {path.split(".")[-1] for name in CASES for path, _ in mutants(spec_of(name))}
    classes = [found for found in vars(s).values() if dataclasses.is_dataclass(found)]
    leaves = {
        field.name
        for found in classes
        for field in dataclasses.fields(found)  # type: ignore[arg-type]
        if field.name not in {"attention", "feed_forward", "rope", "norm", *WITHOUT_EFFECT}
    }
    assert leaves <= reached


def spec_of(name: str) -> s.Decoder:
    model = random_model(name, **CASES[name])
    return decoder_spec(model.config.to_dict() | {"architectures": [type(model).__name__]})


@pytest.mark.parametrize("name", CASES)
def test_a_changed_field_changes_the_model(name: str, tmp_path: Path) -> None:
    model = save_model(tmp_path, name, **CASES[name])
    ids = torch.randint(0, 97, (LENGTH,), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        right = model(ids[None]).logits[0]
    spec = decoder_spec(open_source(tmp_path).config)
    assert error(answer(tmp_path, spec, ids), right) <= 1e-5
    unnoticed = []
    for path, mutant in mutants(spec):
        try:
            found = error(answer(tmp_path, mutant, ids), right)
        except ModelLoadError:
            continue
        if found <= 1e-3:
            unnoticed.append((path, found))
    assert not unnoticed


def error(found: Tensor, right: Tensor) -> float:
    return ((found - right).abs().max() / right.abs().max()).item()
