"""JSON schemas made plain: with what they refer to in its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from .enforced import Schema

MAX_STEPS = 8
"""How many references in a row, and unions in each other, are followed."""
DEFINITIONS = ("$defs", "definitions")
UNIONS = ("anyOf", "oneOf")
MAX_CHOICES = 64


@dataclass(frozen=True, slots=True)
class Members:
    """The members that an object may have, as its schema says."""

    properties: dict[str, Schema | bool]
    required: frozenset[str]
    additional: Schema | bool
    """What members of other names are held to."""


def plain(schema: object, root: Schema, steps: int = MAX_STEPS) -> Schema:
    """A schema, and each of those that it unites or intersects, with what `$ref`s stand for in their places.

    `root`: the whole document, in which references are looked up. What is no schema counts as one that allows all.
    """
    if not isinstance(schema, Mapping):
        return {"not": {}} if schema is False else {}
    while steps and isinstance(reference := schema.get("$ref"), str):
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        target, steps = found_at(reference, root), steps - 1
        schema = rest if not isinstance(target, Mapping) else {**target, **rest}
    if not steps:
        return schema
    combined = {
        key: [plain(each, root, steps - 1) for each in schema[key]]
        for key in (*UNIONS, "allOf")
        if isinstance(schema.get(key), list)
    }
    return {**schema, **combined}


def found_at(reference: str, root: Schema) -> object:
    """What a `$ref` within the same document refers to; None if that is not there."""
    target: Any = root
    if not reference.startswith("#"):
        return None
    for part in reference[1:].split("/")[1:]:
        key = unquote(part).replace("~1", "/").replace("~0", "~")
        if isinstance(target, Mapping):
            target = target.get(key)
        elif isinstance(target, list) and key.isdecimal() and int(key) < len(target):
            target = target[int(key)]
        else:
            return None
    return target


def with_definitions(schema: Schema | bool, root: Schema) -> Schema:
    """A part of a document as a document of its own, in which references to definitions hold."""
    part: Schema = schema if isinstance(schema, Mapping) else {"allOf": [schema]}
    return {**{key: root[key] for key in DEFINITIONS if key in root}, **part}


def choices_of_members(schema: Schema) -> list[Members]:
    """What members an object may have: one of these ways. A union at the schema's top has as many as it has choices."""
    return [_members(parts) for parts in _choices([plain(schema, schema)])]


def _choices(together: list[Schema]) -> list[list[Schema]]:
    """The parts that an object has to satisfy together, one list for each way."""
    flat: list[Schema] = []
    waiting = together
    while waiting:
        flat += [{key: value for key, value in each.items() if key != "allOf"} for each in waiting]
        waiting = [part for each in waiting for part in parts(each, "allOf")]
    for place, each in enumerate(flat):
        for union in UNIONS:
            if choices := parts(each, union):
                others = [*flat[:place], {key: each[key] for key in each if key != union}, *flat[place + 1 :]]
                return [way for choice in choices for way in _choices([*others, choice])][:MAX_CHOICES]
    return [flat]


def _members(together: list[Schema]) -> Members:
    properties: dict[str, Schema | bool] = {}
    required: list[str] = []
    additional: Schema | bool = True
    for part in together:
        named = part.get("properties")
        for name, schema in named.items() if isinstance(named, Mapping) else ():
            properties[name] = {"allOf": [properties[name], schema]} if name in properties else schema
        listed = part.get("required")
        required += [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
        said = part.get("additionalProperties", True)
        additional = said if additional is True and isinstance(said, Mapping | bool) else additional
    missing = {name: additional for name in required if name not in properties}
    return Members(properties | missing, frozenset(required), additional)


def parts(schema: Schema, keyword: str) -> list[Schema]:
    """The schemas that a keyword lists."""
    listed = schema.get(keyword)
    return [each for each in listed if isinstance(each, Mapping)] if isinstance(listed, list) else []


def values_of(schema: Schema) -> list[object] | None:
    """The values that a schema allows, if it lists them."""
    if "const" in schema:
        return [schema["const"]]
    listed = schema.get("enum")
    return listed if isinstance(listed, list) else None


def takes(schema: Schema, kind: str, value: bool | None) -> bool:
    """Whether a schema (`plain`) allows a value of type `kind`; what says only something of other types counts not."""
    types, values = schema.get("type", kind), values_of(schema)
    if kind not in ([types] if isinstance(types, str) else types) or "not" in schema:
        return False
    if values is not None and not any(each is value for each in values):
        return False
    unions = [parts(schema, union) for union in UNIONS if union in schema]
    every = all(takes(each, kind, value) for each in parts(schema, "allOf"))
    return every and all(any(takes(each, kind, value) for each in union) for union in unions)
