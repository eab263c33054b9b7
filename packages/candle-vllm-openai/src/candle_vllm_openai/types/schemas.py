"""`JsonSchema`: a JSON schema from a client, checked as far as can be without a model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from .strict import invalid

MAX_DEPTH = 64

_TYPES = frozenset({"string", "number", "integer", "boolean", "object", "array", "null"})
_SCHEMAS_BY_NAME = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
_SCHEMAS = frozenset(
    "items prefixItems additionalProperties unevaluatedProperties unevaluatedItems propertyNames contains not if then "
    "else allOf anyOf oneOf".split()
)

_Place = tuple[str, object]


def check_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema, if its keywords have values of the right kind and its references stay within it.

    What draft 2020-12 says of each keyword: https://json-schema.org/draft/2020-12
    """
    waiting: list[tuple[str, object, int]] = [("", schema, 1)]
    while waiting:
        path, found, depth = waiting.pop()
        if depth > MAX_DEPTH:
            raise invalid(f"nests deeper than {MAX_DEPTH} levels")
        if isinstance(found, dict):
            _check_keywords(path, found)
            waiting += [(f"{path}{place}.", inner, depth + 1) for place, inner in _within(path, found)]
        elif not isinstance(found, bool):
            raise _fault(path, "is no schema; one is an object, true or false")
    return schema


def _within(path: str, schema: dict[str, Any]) -> Iterator[_Place]:
    """The schemas directly inside of a schema."""
    for keyword, value in schema.items():
        if keyword in _SCHEMAS_BY_NAME:
            if not isinstance(value, dict):
                raise _fault(f"{path}{keyword}.", "is no object of schemas by name")
            yield from ((f"{keyword}.{name}", inner) for name, inner in value.items())
        elif keyword in _SCHEMAS:
            inner = enumerate(value) if isinstance(value, list) else ()
            yield from ((f"{keyword}[{index}]", each) for index, each in inner)
            if not isinstance(value, list):
                yield keyword, value


def _check_keywords(path: str, schema: dict[str, Any]) -> None:
    for keyword, value in schema.items():
        match keyword:
            case "type":
                names = value if isinstance(value, list) and value else [value]
                if not all(isinstance(name, str) and name in _TYPES for name in names):
                    raise _fault(f"{path}type.", f"is not one of {', '.join(sorted(_TYPES))}, or a list of them")
            case "$ref" | "$dynamicRef":
                if not isinstance(value, str) or not value.startswith("#"):
                    raise _fault(f"{path}{keyword}.", "points out of the schema; only # and what follows is looked up")
            case "pattern":
                if not isinstance(value, str):
                    raise _fault(f"{path}pattern.", "is no text")
            case "required":
                if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
                    raise _fault(f"{path}required.", "is no list of names")
            case "enum":
                if not isinstance(value, list) or not value:
                    raise _fault(f"{path}enum.", "is no list of values")


def _fault(path: str, reason: str) -> Exception:
    return invalid(reason, path.removesuffix(".") or None)


def _from_text(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        read = json.loads(value, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise invalid(f"nests deeper than {MAX_DEPTH} levels") from error
    except ValueError as error:
        raise invalid(f"is a text that is not JSON: {error}") from error
    if not isinstance(read, dict):
        raise invalid("is the text of no JSON object; a schema is one")
    return read


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is no JSON number")


JsonSchema = Annotated[dict[str, Any], AfterValidator(check_schema)]
"""A JSON schema as an object."""

JsonSchemaOrText = Annotated[JsonSchema, BeforeValidator(_from_text)]
"""A JSON schema as an object, or as the text of one."""
