"""How a config.json says rotary positions, in its old form and its new one, brought to one `Rope`. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ModelLoadError
from ..spec import Rope, as_pairs
from .fields import Fields

MAX_POSITION = 2**31 - 1
OUTSIDE_THE_FORMULA = {"rope_type", "type", "rope_theta", "partial_rotary_factor", "finetuned"}


def rope(c: Fields, head_dim: int, max_position: int) -> Rope:
    """The rotation of whole heads, from `rope_parameters`, or from `rope_theta` and `rope_scaling`.

    Raises:
        ModelLoadError: the kind of scaling is unknown, or one of its entries is missing, impossible or unknown.
    """
    name = "rope_scaling" if c.table("rope_scaling") else "rope_parameters"
    table = c.table(name)
    entries = Fields(table, f"config.json, {name}")
    entries.refuse("partial_rotary_factor", (1,), "this architecture rotates whole heads")
    theta = entries.number("rope_theta", 1e-3, 1e15, c.number("rope_theta", 1e-3, 1e15, 10000.0))
    kind_field = "rope_type" if "rope_type" in entries else "type"
    kind = entries.word(kind_field, (*SCALINGS, "default"), "default")
    scaling = {} if kind == "default" else SCALINGS[kind](entries, _original(c, entries, max_position))
    _refuse_unknown(name, table, scaling)
    return Rope(theta=theta, dim=head_dim, scaling=as_pairs(scaling | {"rope_type": kind} if scaling else {}))


def _linear(entries: Fields, original: int) -> dict[str, Any]:
    return {"factor": _factor(entries)}


def _llama3(entries: Fields, original: int) -> dict[str, Any]:
    low = entries.number("low_freq_factor", 1e-6, 1e6)
    high = entries.number("high_freq_factor", 1e-6, 1e6)
    if high <= low:
        raise entries.wrong("high_freq_factor", f"over low_freq_factor, which is {low:g}")
    factor = _factor(entries)
    return {
        "factor": factor,
        "low_freq_factor": low,
        "high_freq_factor": high,
        "original_max_position_embeddings": original,
    }


def _yarn(entries: Fields, original: int) -> dict[str, Any]:
    optional = ("attention_factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim")
    given = {name: entries.number(name, 0.0, 1e6) for name in optional if name in entries}
    return {
        "factor": _factor(entries),
        "original_max_position_embeddings": original,
        "truncate": entries.flag("truncate", True),
        **given,
    }


SCALINGS = {"linear": _linear, "llama3": _llama3, "yarn": _yarn}


def _factor(entries: Fields) -> float:
    return entries.number("factor", 1e-3, 1e6)


def _original(c: Fields, entries: Fields, max_position: int) -> int:
    """The length that the model was trained for before it was stretched; beside the table it counts more than in it."""
    inside = entries.integer("original_max_position_embeddings", 1, MAX_POSITION, max_position)
    return c.integer("original_max_position_embeddings", 1, MAX_POSITION, inside)


def _refuse_unknown(name: str, table: Mapping[str, Any], scaling: Mapping[str, Any]) -> None:
    known = OUTSIDE_THE_FORMULA | set(scaling) | {"original_max_position_embeddings"}
    unknown = sorted(str(key) for key, value in table.items() if value is not None and key not in known)
    if unknown:
        raise ModelLoadError(f"config.json, {name}: this version does not know {', '.join(unknown)[:200]}", unknown)
