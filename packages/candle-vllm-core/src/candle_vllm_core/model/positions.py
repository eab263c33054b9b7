"""How a config.json says rotary positions, in its old form and its new one, brought to one `Rope`. No torch here."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ..errors import ModelLoadError
from ..spec import Number, Rope, as_pairs
from .fields import LAYER_TYPES, MAX_POSITION, Fields

OUTSIDE_THE_FORMULA = {"rope_type", "type", "rope_theta", "partial_rotary_factor", "finetuned"}
Scaling = dict[str, Number]


def rope(
    c: Fields,
    head_dim: int,
    max_position: int,
    *,
    theta: float = 10000.0,
    partial: float = 1.0,
    interleaved: bool = False,
    kind: str | None = None,
    also: Collection[str] = (),
) -> Rope:
    """The rotation of a model's heads, from `rope_parameters`, or from `rope_theta` and `rope_scaling`.

    `theta` and `partial` are what silence means; `kind` is whose rotation it is where the table has one for each type
    of layer; `also` are entries of the table that the family reads itself.

    Raises:
        ModelLoadError: the kind of scaling is unknown, or one of its entries is missing, impossible or unknown.
    """
    entries = rope_table(c, kind)
    theta = entries.number("rope_theta", 1e-3, 1e15, c.number("rope_theta", 1e-3, 1e15, theta))
    share = c.number("partial_rotary_factor", 0.0, 1.0, partial)
    dim = int(head_dim * entries.number("partial_rotary_factor", 0.0, 1.0, share))
    if dim < 2 or dim % 2:
        raise c.wrong("partial_rotary_factor", f"such that an even number of the {head_dim} dimensions is rotated")
    word = entries.word("rope_type" if "rope_type" in entries else "type", SCALINGS, "default")
    scaling = SCALINGS[word](c, entries, max_position)
    known = OUTSIDE_THE_FORMULA | {"factor", "original_max_position_embeddings"} | set(scaling) | set(also)
    entries.refuse_others(known | READ_APART.get(word, set()))
    if word == "dynamic":
        theta, scaling = theta * _stretch(c, entries, max_position) ** (dim / (dim - 2)), {}
    pairs = as_pairs(scaling | {"rope_type": "longrope" if word == "su" else word} if scaling else {})
    return Rope(theta=theta, dim=dim, interleaved=interleaved, scaling=pairs)


def rope_table(c: Fields, kind: str | None = None) -> Fields:
    """The table that says how positions are rotated, for one type of layer where it has one for each; may be empty.

    Raises:
        ModelLoadError: it is there in both spellings, and they differ.
    """
    old, new = c.table("rope_scaling"), c.table("rope_parameters")
    if old and new and any(old[key] != new[key] for key in old.keys() & new.keys()):
        raise ModelLoadError(
            "config.json: `rope_scaling` and `rope_parameters` contradict each other; leave one of them out",
            ["rope_scaling", "rope_parameters"],
        )
    name = "rope_scaling" if old else "rope_parameters"
    entries = Fields(c.table(name), f"config.json, {name}")
    if kind is not None and any(word in c.table(name) for word in LAYER_TYPES):
        return Fields(entries.table(kind), f"config.json, {name}, {kind}")
    return entries


def longest(c: Fields, default: int) -> int:
    """The longest sequence that a model was made for, stretched positions included."""
    said = c.integer("max_position_embeddings", 1, MAX_POSITION, default)
    entries = rope_table(c)
    match entries.word("rope_type" if "rope_type" in entries else "type", SCALINGS, "default"):
        case "dynamic":
            return min(int(said * _factor(entries)), MAX_POSITION)
        case "yarn":
            return min(max(said, int(_original(c, entries, said) * _factor(entries))), MAX_POSITION)
        case _:
            return said


def _none(c: Fields, entries: Fields, max_position: int) -> Scaling:
    return {}


def _linear(c: Fields, entries: Fields, max_position: int) -> Scaling:
    return {"factor": _factor(entries)}


def _dynamic(c: Fields, entries: Fields, max_position: int) -> Scaling:
    return {"factor": _factor(entries)}


def _stretch(c: Fields, entries: Fields, max_position: int) -> float:
    """How much NTK-aware scaling stretches the base, for the longest sequence there may be: one length for all."""
    factor = _factor(entries)
    length = c.length or int(max_position * factor)
    return factor * max(length, max_position) / max_position - (factor - 1)


def _llama3(c: Fields, entries: Fields, max_position: int) -> Scaling:
    low = entries.number("low_freq_factor", 1e-6, 1e6)
    high = entries.number("high_freq_factor", 1e-6, 1e6)
    if high <= low:
        raise entries.wrong("high_freq_factor", f"over low_freq_factor, which is {low:g}")
    return {
        "factor": _factor(entries),
        "low_freq_factor": low,
        "high_freq_factor": high,
        "original_max_position_embeddings": _original(c, entries, max_position),
    }


def _longrope(c: Fields, entries: Fields, max_position: int) -> Scaling:
    """One of two tables of factors, by whether sequences may be longer than those of the first training."""
    original = _original(c, entries, max_position)
    stretch = entries.number("factor", 1e-3, 1e6, max_position / original)
    given = math.sqrt(1 + math.log(stretch) / math.log(original)) if stretch > 1 and original > 1 else 1.0
    tables = {name: entries.numbers(name, 1e-3, 1e6) for name in ("short_factor", "long_factor")}
    return {
        "factors": tables["long_factor" if (c.length or max_position) > original else "short_factor"],
        "attention_factor": entries.number("attention_factor", 0.0, 1e6, given),
    }


def _yarn(c: Fields, entries: Fields, max_position: int) -> Scaling:
    optional = ("attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim")
    given: Scaling = {name: entries.number(name, 0.0, 1e6) for name in optional if name in entries}
    return given | {
        "factor": _factor(entries),
        "original_max_position_embeddings": _original(c, entries, max_position),
        "truncate": entries.flag("truncate", True),
    }


SCALINGS: Mapping[str, Callable[[Fields, Fields, int], Scaling]] = {
    "default": _none,
    "dynamic": _dynamic,
    "linear": _linear,
    "llama3": _llama3,
    "longrope": _longrope,
    "su": _longrope,
    "yarn": _yarn,
}
READ_APART: Mapping[str, set[str]] = {name: {"short_factor", "long_factor"} for name in ("longrope", "su")}


def _factor(entries: Fields) -> float:
    return entries.number("factor", 1e-3, 1e6)


def _original(c: Fields, entries: Fields, max_position: int) -> int:
    """The length that the model was trained for before it was stretched; beside the table it counts more than in it."""
    inside = entries.integer("original_max_position_embeddings", 1, MAX_POSITION, max_position)
    return c.integer("original_max_position_embeddings", 1, MAX_POSITION, inside)


def with_yarn(config: Mapping[str, Any], factor: float) -> Mapping[str, Any]:
    """A config whose positions are stretched by YaRN (Peng et al. 2023), whatever it said before of that factor.

    Raises:
        ModelLoadError: the config stretches positions in another way, or not all layers rotate alike.
    """
    c = Fields(config)
    entries = rope_table(c)
    word = entries.word("rope_type" if "rope_type" in entries else "type", SCALINGS, "default")
    if word not in ("default", "yarn") or any(kind in entries for kind in LAYER_TYPES):
        raise ModelLoadError(
            f"yarn_scaling_factor does not go with this model, whose config.json says {word!r} of its positions",
            ["yarn_scaling_factor"],
        )
    original = c.integer("max_position_embeddings", 1, MAX_POSITION)
    table = dict(c.table("rope_scaling") or c.table("rope_parameters"))
    table = {"original_max_position_embeddings": original} | table | {"rope_type": "yarn", "factor": factor}
    stretched = {"rope_parameters": table, "rope_scaling": None}
    return {**config, **stretched}
