"""How a config.json says rotary positions, in its old form and its new one, brought to one `Rope`. No torch here."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ModelLoadError
from ..spec import Number, Rope, as_pairs
from .fields import LAYER_TYPES, MAX_POSITION, Fields

MIN_THETA = 1.01
MAX_THETA = 1e15
MAY_STAND_BESIDE = {"rope_theta", "partial_rotary_factor", "original_max_position_embeddings"}
SAY_NOTHING = {"finetuned"}
Scaling = dict[str, Number]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """The sequences of a model, in tokens."""

    said: int
    """`max_position_embeddings`, which some configs stretch before they say it and some do not."""
    trained: int
    """Those of the training before positions were stretched."""
    asked: int | None
    """The longest that will be computed, where that is known."""


def rope(
    c: Fields,
    head_dim: int,
    max_position: int,
    *,
    theta: float = 10000.0,
    partial: float | None = None,
    original: int | None = None,
    interleaved: bool = False,
    kind: str | None = None,
    also: Collection[str] = (),
) -> Rope:
    """The rotation of a model's heads, from `rope_parameters`, or from `rope_theta` and `rope_scaling`.

    `max_position`, `theta`, `partial` and `original` are what silence means of `max_position_embeddings`, `rope_theta`,
    `partial_rotary_factor` and `original_max_position_embeddings`; a family whose `partial` is None rotates whole
    heads. `kind` is whose rotation it is where the table has one for each type of layer; `also` are entries of the
    table that the family reads itself.

    What depends on how long sequences are is settled once for all of them, by `c.length`, or without it by the longest
    that there may be: which factors longrope takes, and how far "dynamic" stretches the base.

    Raises:
        ModelLoadError: the kind of scaling is unknown, or one of its entries is missing, impossible or unknown.
    """
    entries = rope_table(c, kind)
    theta = _either(c, entries, "rope_theta", MIN_THETA, MAX_THETA, theta)
    dim = _rotated(c, entries, head_dim, partial)
    said = c.integer("max_position_embeddings", 1, MAX_POSITION, max_position)
    lengths = Lengths(said=said, trained=_original(c, entries, original or said), asked=c.length)
    word = _word(entries)
    if word == "dynamic":
        theta = _stretched(entries, lengths, theta, dim)
    scaling = SCALINGS[word](entries, lengths, dim)
    entries.refuse_others(SAY_NOTHING | set(also))
    return Rope(
        theta=theta,
        dim=dim,
        interleaved=interleaved,
        scaling=as_pairs(scaling | {"rope_type": word}) if scaling else (),
    )


def rope_table(c: Fields, kind: str | None = None) -> Fields:
    """The table that says how positions are rotated, for one type of layer where it has one for each; may be empty.

    Raises:
        ModelLoadError: it is there in both spellings, and they differ.
    """
    name, table = _table(c)
    entries = Fields(table, f"config.json, {name}")
    if kind is not None and _is_nested(table):
        entries.refuse_others(LAYER_TYPES)
        return Fields(entries.table(kind), f"config.json, {name}, {kind}")
    return entries


def longest(c: Fields, default: int) -> int:
    """The longest sequence that a model was made for, stretched positions included."""
    said = c.integer("max_position_embeddings", 1, MAX_POSITION, default)
    entries = rope_table(c)
    match _word(entries):
        case "dynamic":
            return min(max(said, int(said * _factor(entries))), MAX_POSITION)
        case "yarn":
            return min(max(said, int(_original(c, entries, said) * _factor(entries))), MAX_POSITION)
        case _:
            return said


def _table(c: Fields) -> tuple[str, dict[str, Any]]:
    """What the two spellings say together, and the name of the one that says the scaling."""
    old, new = c.table("rope_scaling"), c.table("rope_parameters")
    if old and new and _contradict(old, new):
        raise ModelLoadError(
            "config.json: `rope_scaling` and `rope_parameters` contradict each other; leave one of them out",
            ["rope_scaling", "rope_parameters"],
        )
    return "rope_scaling" if old else "rope_parameters", {**new, **old}


def _contradict(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    said = [
        {_ALIASES.get(key, key): value for key, value in table.items() if value is not None} for table in (old, new)
    ]
    shared = said[0].keys() & said[1].keys()
    alone = (said[0].keys() ^ said[1].keys()) - MAY_STAND_BESIDE - SAY_NOTHING
    return bool(alone) or any(_plain(said[0][key]) != _plain(said[1][key]) for key in shared)


_ALIASES = {"type": "rope_type"}


def _plain(value: Any) -> Any:
    return "longrope" if value == "su" else value


def _is_nested(table: Mapping[str, Any]) -> bool:
    return any(kind in table for kind in LAYER_TYPES)


def _word(entries: Fields) -> str:
    """The kind of scaling, which has a name in the table that changed, and one kind whose own name did."""
    words = {_plain(entries.word(name, SCALINGS)) for name in ("rope_type", "type") if name in entries}
    if len(words) > 1:
        raise entries.wrong("rope_type", "the same as `type`, or one of them left out")
    return words.pop() if words else "default"


def _either(c: Fields, entries: Fields, name: str, low: float, high: float, default: float) -> float:
    """A number that stands in the table or beside it; beside tables for each type of layer it is their default."""
    beside = c.number(name, low, high, default)
    inside = entries.number(name, low, high, beside)
    if name in c and inside != beside and not _is_nested(_table(c)[1]):
        raise c.wrong(name, f"{inside:g} as in the table of positions, or left out")
    return inside


def _rotated(c: Fields, entries: Fields, head_dim: int, partial: float | None) -> int:
    """How many dimensions of a head are rotated."""
    share = _either(c, entries, "partial_rotary_factor", 0.0, 1.0, 1.0 if partial is None else partial)
    dim = int(head_dim * share)
    where = entries if "partial_rotary_factor" in entries else c
    if partial is None and share != 1.0:
        raise where.wrong("partial_rotary_factor", "1 or left out, since this kind of model rotates whole heads")
    if dim < 2 or dim % 2:
        raise where.wrong("partial_rotary_factor", f"such that an even number of the {head_dim} dimensions is rotated")
    return dim


def _none(entries: Fields, lengths: Lengths, dim: int) -> Scaling:
    return {}


def _linear(entries: Fields, lengths: Lengths, dim: int) -> Scaling:
    return {"factor": _factor(entries)}


def _stretched(entries: Fields, lengths: Lengths, theta: float, dim: int) -> float:
    """The base that NTK-aware scaling stretches so that the slowest rotation is as slow as the sequence is longer."""
    factor = _factor(entries)
    if dim < 4:
        raise entries.wrong("rope_type", "another one where two dimensions are rotated")
    length = lengths.asked or int(lengths.said * factor)
    stretch = factor * max(length, lengths.said) / lengths.said - (factor - 1)
    theta = theta * stretch ** (dim / (dim - 2))
    if theta > MAX_THETA:
        raise entries.wrong("factor", f"such that the stretched rope_theta, {theta:g}, is at most {MAX_THETA:g}")
    return theta


def _llama3(entries: Fields, lengths: Lengths, dim: int) -> Scaling:
    low = entries.number("low_freq_factor", 1e-6, 1e6)
    high = entries.number("high_freq_factor", 1e-6, 1e6)
    if high <= low:
        raise entries.wrong("high_freq_factor", f"over low_freq_factor, which is {low:g}")
    return {
        "factor": _factor(entries),
        "low_freq_factor": low,
        "high_freq_factor": high,
        "original_max_position_embeddings": lengths.trained,
    }


def _longrope(entries: Fields, lengths: Lengths, dim: int) -> Scaling:
    """One of two tables of factors, by whether sequences may be longer than those of the first training."""
    stretch = entries.number("factor", 1e-3, 1e6, lengths.said / lengths.trained)
    sharp = math.sqrt(1 + math.log(stretch) / math.log(lengths.trained)) if stretch > 1 and lengths.trained > 1 else 1.0
    tables = {name: entries.numbers(name, 1e-3, 1e6) for name in ("short_factor", "long_factor")}
    for name, factors in tables.items():
        if len(factors) != dim // 2:
            raise entries.wrong(name, f"a list of {dim // 2} numbers, one for each pair of dimensions")
    return {
        "factors": tables["long_factor" if (lengths.asked or lengths.said) > lengths.trained else "short_factor"],
        "attention_factor": entries.number("attention_factor", 0.0, 1e6, sharp),
    }


def _yarn(entries: Fields, lengths: Lengths, dim: int) -> Scaling:
    optional = {"attention_factor": 0.0, "beta_fast": 1e-6, "beta_slow": 1e-6, "mscale": 0.0, "mscale_all_dim": 0.0}
    given: Scaling = {name: entries.number(name, low, 1e6) for name, low in optional.items() if name in entries}
    return given | {
        "factor": _factor(entries),
        "original_max_position_embeddings": lengths.trained,
        "truncate": entries.flag("truncate", True),
    }


SCALINGS: Mapping[str, Callable[[Fields, Lengths, int], Scaling]] = {
    "default": _none,
    "dynamic": _none,
    "linear": _linear,
    "llama3": _llama3,
    "longrope": _longrope,
    "su": _longrope,
    "yarn": _yarn,
}


def _factor(entries: Fields) -> float:
    return entries.number("factor", 1e-3, 1e6)


def _original(c: Fields, entries: Fields, default: int) -> int:
    """The length that the model was trained for before it was stretched; beside the table it counts more than in it."""
    inside = entries.integer("original_max_position_embeddings", 1, MAX_POSITION, default)
    return c.integer("original_max_position_embeddings", 1, MAX_POSITION, inside)


def with_yarn(config: Mapping[str, Any], factor: float) -> Mapping[str, Any]:
    """A config whose positions are stretched by YaRN (Peng et al. 2023), whatever it said before of that factor.

    Raises:
        ModelLoadError: the config stretches positions in another way, or not all layers rotate alike.
    """
    if isinstance(inner := config.get("text_config"), dict):
        return {**config, "text_config": with_yarn(inner, factor)}
    c = Fields(config)
    entries, (_, table) = rope_table(c), _table(c)
    word = "by the type of layer" if _is_nested(table) else _word(entries)
    if word not in ("default", "yarn"):
        raise ModelLoadError(
            f"yarn_scaling_factor does not go with this model, whose config.json says {word!r} of its positions",
            ["yarn_scaling_factor"],
        )
    said = c.integer("max_position_embeddings", 1, MAX_POSITION)
    trained = _original(c, entries, said) if word == "yarn" else said
    kept = {name: value for name, value in table.items() if name != "type"}
    return {
        **config,
        "max_position_embeddings": trained,
        "original_max_position_embeddings": trained,
        "rope_scaling": kept | {"rope_type": "yarn", "factor": factor},
        "rope_parameters": None,
    }
