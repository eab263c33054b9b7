"""Every field of a spec reaches the logits: changed one at a time, the model is refused or answers otherwise.

The ways of changing a field follow from its type, so a field that is added to a spec is tested, or fails here.
"""

import dataclasses
import functools
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from checkpoints import random_model, save_model
from paged import CPU, in_chunks
from torch import Tensor
from variants import MODELS

from candle_vllm_core import spec as s
from candle_vllm_core.model.build import build_decoder
from candle_vllm_core.model.families import decoder_spec
from candle_vllm_core.weights.source import open_source

LENGTH = 41
NOTICED = 1e-4
WITHOUT_EFFECT = {
    "Decoder.max_position",  # bounds the sequences, not what is computed
    "Norm.wide",  # where rounding happens, which float32 does not show: test_layers compares it in bf16
}
# Classes of the spec that hold others and nothing of their own but these fields.
HOLDERS = {"Decoder.names", "Decoder.norm", "HeadNorm.norm", "LatentAttention.norm", "DeltaNet.norm"} | {
    *("Layer.attention", "Layer.feed_forward", "LatentAttention.rope", "Sparse.router"),
}
PROBES: Mapping[str, Any] = {
    "HeadNorm": s.HeadNorm(norm=s.Norm()),
    "QueryGrowth": s.QueryGrowth(beta=0.5, length=8),
    "Rope": s.Rope(theta=100.0, dim=4),
    "Dense": s.Dense(width=16),
}


def mutants(node: Any, path: str = "spec") -> Iterator[tuple[str, str, Any]]:
    """Every way of changing one field below a spec: its class and name, the path to it, and the changed spec."""
    hints = typing.get_type_hints(type(node), vars(s))
    for field in dataclasses.fields(node):
        if field.name == "names":
            continue
        value, where = getattr(node, field.name), f"{path}.{field.name}"
        named = f"{type(node).__name__}.{field.name}"
        for inner, inner_path, changed in changes(value, hints[field.name], named, where):
            yield inner, inner_path, dataclasses.replace(node, **{field.name: changed})


def changes(value: Any, hint: Any, named: str, path: str) -> Iterator[tuple[str, str, Any]]:
    """Every way of changing a value, by its type."""
    if dataclasses.is_dataclass(value):
        yield from mutants(value, path)
        if type(None) in typing.get_args(hint):
            yield named, path, None
    elif named == "Decoder.layers":
        yield named, path, value[:-1]
        for index in distinct(value):
            for inner, where, layer in mutants(value[index], f"{path}[{index}]"):
                yield inner, where, (*value[:index], layer, *value[index + 1 :])
    elif named == "Rope.scaling":
        yield named, path, () if value else (("factor", 2.0), ("rope_type", "linear"))
        yield from ((named, f"{path}.{name}", table) for name, table in changed_tables(dict(value)))
    else:
        yield from ((named, path, changed) for changed in changed_values(value, hint, named))


def distinct(layers: tuple[s.Layer, ...]) -> list[int]:
    """The first layer of each kind."""
    return [layers.index(layer) for layer in dict.fromkeys(layers)]


def changed_values(value: Any, hint: Any, named: str) -> Iterator[Any]:
    options = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    words = [word for option in options if typing.get_origin(option) is Literal for word in typing.get_args(option)]
    if words:
        yield from (word for word in words if word != value)
    elif value is None:
        yield from (PROBES[option.__name__] if option.__name__ in PROBES else option(3) for option in options[:1])
    elif isinstance(value, bool):
        if value or named != "Decoder.tied":  # a head that is stored is used, whatever config.json says of tying
            yield not value
    elif isinstance(value, int):
        yield from (value * 2, value - 2 if named.endswith("dim") else value - 1)
    elif isinstance(value, float):
        yield value * 1.5
    else:
        raise AssertionError(f"nobody knows how to change {named}, which is {value!r}")


def changed_tables(table: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if name != "rope_type":
            new = (
                not value
                if isinstance(value, bool)
                else tuple(v * 2 for v in value)
                if isinstance(value, tuple)
                else value * 2
            )
            yield name, s.as_pairs(table | {name: new})


def answer(path: Path, spec: s.Decoder, ids: Tensor) -> Tensor:
    source = open_source(path)
    return in_chunks(build_decoder(spec, source, device=CPU, dtype=torch.float32), ids, [20, 1, LENGTH - 21])


class Prepared:
    """One variant as a checkpoint, its spec, and the logits that transformers gives."""

    def __init__(self, name: str, path: Path) -> None:
        self.path, self.ids = path, torch.randint(0, 97, (LENGTH,), generator=torch.Generator().manual_seed(1))
        model = save_model(path, name)
        with torch.inference_mode():
            self.right = model(self.ids[None]).logits[0]
        self.spec = decoder_spec(open_source(path).config, length=MODELS[name].length)
        assert self.error_of(self.spec) <= 1e-5

    def error_of(self, spec: s.Decoder) -> float:
        found = answer(self.path, spec, self.ids)
        return ((found - self.right).abs().max() / self.right.abs().max()).item()

    def notices(self, mutant: s.Decoder) -> bool:
        try:
            return not self.error_of(mutant) <= NOTICED
        except Exception:
            return True  # what no config.json can say need not be refused in good form


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Prepared]:
    @functools.cache
    def prepare(name: str) -> Prepared:
        return Prepared(name, tmp_path_factory.mktemp("variant"))

    return prepare


@functools.cache
def spec_of(name: str) -> s.Decoder:
    model = random_model(name)
    return decoder_spec(model.config.to_dict() | {"architectures": [type(model).__name__]}, length=MODELS[name].length)


def all_fields() -> list[str]:
    """Of all classes that the spec module has, but those that only hold other classes."""
    classes = [found for found in vars(s).values() if dataclasses.is_dataclass(found) and found is not s.Group]
    names = [f"{found.__name__}.{field.name}" for found in classes for field in dataclasses.fields(found)]  # type: ignore[arg-type, union-attr]
    return sorted(set(names) - HOLDERS - WITHOUT_EFFECT)


def mutants_of(spec: s.Decoder, field: str) -> Mapping[str, s.Decoder]:
    """Every spec that differs in this field only, by where and how."""
    if field.startswith("Names."):
        name = field.removeprefix("Names.")
        usual = dataclasses.replace(spec.names, **{name: getattr(s.Names(), name)})
        return {field: dataclasses.replace(spec, names=usual)} if usual != spec.names else {}
    found = (
        (f"{path} {number}", mutant) for number, (named, path, mutant) in enumerate(mutants(spec)) if named == field
    )
    return dict(found)


@pytest.mark.parametrize("field", all_fields())
def test_a_changed_field_changes_the_model(field: str, prepared: Callable[[str], Prepared]) -> None:
    """Every change of it, in some family that uses it."""
    unnoticed = {}
    using = [name for name in MODELS if mutants_of(spec_of(name), field)]
    for name in reversed(using):  # the families at the end have more kinds of layers
        variant = prepared(name)
        unseen = [how for how, mutant in mutants_of(variant.spec, field).items() if not variant.notices(mutant)]
        if not unseen:
            return
        unnoticed[name] = unseen
    pytest.fail(f"no variant shows every change of {field}: {unnoticed}")


def test_fields_said_to_have_no_effect_have_none(prepared: Callable[[str], Prepared]) -> None:
    variant = prepared("llama")
    for field in WITHOUT_EFFECT:
        assert not any(variant.notices(mutant) for mutant in mutants_of(variant.spec, field).values())
