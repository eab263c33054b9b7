"""Random JSON schemas of the kinds that programs ask for; every one has answers of a few hundred characters."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

Schema = dict[str, Any]

WORDS = ["name", "kind", "city", "size", "tags", "owner", "price", "état", "a b", 'q"t', "x/y", "números", "日付", "id"]
PATTERNS = [
    "^[a-z]{2,8}$",
    "^[A-Z]{3}-[0-9]{4}$",
    "^(red|green|blue)(ish)?$",
    "^\\d{1,3}(\\.\\d{1,3}){3}$",
    "^[^@ ]{1,8}@[a-z]{2,6}\\.(com|org)$",
    "^v[0-9]+\\.[0-9]{1,2}$",
    "^(a|b)*a(a|b){4}$",
]
FORMATS = ["date", "time", "date-time", "uuid", "ipv4", "ipv6", "email", "hostname", "duration"]


def random_schema(seed: int) -> Schema:
    """A schema of an object, with definitions that it refers to."""
    draw = random.Random(seed)
    names = [f"d{number}" for number in range(draw.randrange(3))]
    schema = _object(draw, 3, names)
    schema["$defs"] = {name: _any(draw, 1, names[index + 1 :]) for index, name in enumerate(names)}
    if draw.random() < 0.15:
        schema["$defs"]["tree"] = _tree(draw)
        schema["properties"]["tree"] = {"$ref": "#/$defs/tree"}
    return schema


def _any(draw: random.Random, depth: int, names: list[str]) -> Schema:
    kinds: list[Callable[[random.Random, int, list[str]], Schema]]
    kinds = [_string, _pattern, _format, _integer, _number, _enum, _const, _plain]
    if depth > 0:
        kinds += [_object, _object, _array, _tuple, _union, _intersection, _map]
    if names:
        kinds += [_reference, _reference]
    return draw.choice(kinds)(draw, depth - 1, names)


def _object(draw: random.Random, depth: int, names: list[str]) -> Schema:
    keys = draw.sample(WORDS, draw.randrange(1, 5))
    return {
        "type": "object",
        "properties": {key: _any(draw, depth, names) for key in keys},
        "required": [key for key in keys if draw.random() < 0.8],
        "additionalProperties": False,
    }


def _map(draw: random.Random, depth: int, names: list[str]) -> Schema:
    pattern = draw.choice(["^k[0-9]{1,3}$", "^[a-z]{1,6}$"])
    values = _any(draw, 0, names)
    return {
        "type": "object",
        "patternProperties": {pattern: values},
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 2,
    }


def _array(draw: random.Random, depth: int, names: list[str]) -> Schema:
    least = draw.randrange(3)
    return {
        "type": "array",
        "items": _any(draw, depth, names),
        "minItems": least,
        "maxItems": least + draw.randrange(3),
    }


def _tuple(draw: random.Random, depth: int, names: list[str]) -> Schema:
    parts = [_any(draw, depth, names) for _ in range(draw.randrange(1, 4))]
    return {"type": "array", "prefixItems": parts, "items": False, "minItems": len(parts)}


def _union(draw: random.Random, depth: int, names: list[str]) -> Schema:
    return {"anyOf": [_any(draw, depth, names) for _ in range(draw.randrange(2, 4))]}


def _intersection(draw: random.Random, depth: int, names: list[str]) -> Schema:
    low = draw.randrange(-50, 50)
    return {"allOf": [{"type": "integer", "minimum": low}, {"maximum": low + draw.randrange(200)}]}


def _reference(draw: random.Random, depth: int, names: list[str]) -> Schema:
    return {"$ref": f"#/$defs/{draw.choice(names)}", "description": "defined elsewhere"}


def _string(draw: random.Random, depth: int, names: list[str]) -> Schema:
    least = draw.randrange(4)
    return {"type": "string", "minLength": least, "maxLength": least + draw.randrange(12)}


def _pattern(draw: random.Random, depth: int, names: list[str]) -> Schema:
    return {"type": "string", "pattern": draw.choice(PATTERNS), "maxLength": 40}


def _format(draw: random.Random, depth: int, names: list[str]) -> Schema:
    name = draw.choice(FORMATS)
    return {"type": "string", "format": name} | ({"maxLength": 30} if name in ("email", "hostname") else {})


def _integer(draw: random.Random, depth: int, names: list[str]) -> Schema:
    low = draw.randrange(-1000, 1000)
    schema = {"type": "integer", "minimum": low, "maximum": low + draw.randrange(30, 5000)}
    return schema | draw.choice([{}, {}, {"multipleOf": draw.choice([2, 5, 7, 10])}])


def _number(draw: random.Random, depth: int, names: list[str]) -> Schema:
    low = round(draw.uniform(-100, 100), 2)
    if draw.random() < 0.3:
        return {"type": "number", "minimum": 0, "maximum": 99, "multipleOf": 0.5}
    return {"type": "number", "exclusiveMinimum": low, "maximum": low + draw.randrange(1, 100)}


def _enum(draw: random.Random, depth: int, names: list[str]) -> Schema:
    values = [*draw.sample(WORDS, 3), draw.randrange(100), None, draw.random() < 0.5, {"a": [1, "b"]}]
    return {"enum": draw.sample(values, draw.randrange(1, 5))}


def _const(draw: random.Random, depth: int, names: list[str]) -> Schema:
    return {"const": draw.choice([draw.choice(WORDS), 42, 1.5, None, True, {"fixed": ["a", 2]}])}


def _plain(draw: random.Random, depth: int, names: list[str]) -> Schema:
    return {"type": draw.choice(["boolean", "null", ["boolean", "null"]])}


def _tree(draw: random.Random) -> Schema:
    """A definition that contains itself."""
    return {
        "type": "object",
        "properties": {
            "value": {"type": "integer", "minimum": 0, "maximum": 99},
            "children": {"type": "array", "items": {"$ref": "#/$defs/tree"}, "maxItems": draw.randrange(1, 3)},
        },
        "required": ["value"],
        "additionalProperties": False,
    }
