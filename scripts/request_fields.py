"""The table of an endpoint's request fields: what becomes of each, what it takes, what to know of it."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from candle_vllm_openai import FIELDS, ChatCompletionRequest, CompletionRequest, EmbeddingRequest
from candle_vllm_openai.fields import Endpoint, Status, num_fields
from candle_vllm_openai.types.strict import Strict

REQUESTS: dict[Endpoint, type[Strict]] = {
    "chat/completions": ChatCompletionRequest,
    "completions": CompletionRequest,
    "embeddings": EmbeddingRequest,
}


def table(name: str) -> Iterator[str]:
    """The fields of an endpoint, spelled with _ for /: how many of each kind, then each."""
    [endpoint] = [known for known in FIELDS if known.replace("/", "_") == name]
    yield ", ".join(f"{num_fields(endpoint, status)} {status}" for status in get_args(Status)) + "."
    yield from ("", "| field | | what it takes, what to know |", "| --- | --- | --- |")
    whole = REQUESTS[endpoint].model_json_schema()
    for field in FIELDS[endpoint].values():
        origin = " (extension)" if field.extension else ""
        takes = "" if field.status == "refused" else " or ".join(dict.fromkeys(_takes(whole, whole, field.path)))
        yield f"| `{field.path}`{origin} | {field.status} | {'; '.join(filter(None, [takes, field.note]))} |"


def _takes(schema: Mapping[str, Any], whole: Mapping[str, Any], path: str) -> Iterator[str]:
    """What the field at a path takes, in words; several if its type is a union."""
    if "$ref" in schema:
        yield from _takes(whole["$defs"][schema["$ref"].rpartition("/")[2]], whole, path)
    elif "anyOf" in schema or "oneOf" in schema:
        for member in schema.get("anyOf") or schema["oneOf"]:
            yield from _takes(member, whole, path)
    elif path.startswith("[]"):
        if "items" in schema:
            yield from _takes(schema["items"], whole, path.removeprefix("[]").removeprefix("."))
    elif path:
        name = path.split(".")[0].split("[")[0]
        if name in schema.get("properties", {}):
            yield from _takes(schema["properties"][name], whole, path.removeprefix(name).removeprefix("."))
    else:
        yield from _words(schema, whole)


def _words(schema: Mapping[str, Any], whole: Mapping[str, Any]) -> Iterator[str]:
    kind = schema.get("type")
    if "const" in schema or "enum" in schema:
        values = schema.get("enum", [schema.get("const")])
        yield ", ".join(f"`{value}`" if isinstance(value, str) else f"`{json.dumps(value)}`" for value in values)
    elif kind == "array":
        inner = " or ".join(dict.fromkeys(_takes(schema.get("items", {}), whole, "")))
        yield f"list{_bounds(schema, 'Items')}" + (f" of {inner}" if inner else "")
    elif kind == "string":
        yield f"text{_bounds(schema, 'Length', ' characters')}"
    elif kind in ("integer", "number"):
        yield f"{kind}{_bounds(schema, 'imum')}"
    elif kind not in (None, "null"):
        yield "true or false" if kind == "boolean" else kind


def _bounds(schema: Mapping[str, Any], what: str, unit: str = "") -> str:
    """From `minItems` to `maxItems`, say."""
    least, most = schema.get(f"min{what}"), schema.get(f"max{what}")
    if "exclusiveMinimum" in schema:
        return f" (over {schema['exclusiveMinimum']:g}, to {most:g}{unit})"
    if "exclusiveMaximum" in schema:
        most = schema["exclusiveMaximum"] - 1
    if least is None and most is None:
        return ""
    if most is None:
        return f" (at least {least}{unit})"
    return f" (at most {most}{unit})" if least is None else f" ({least} to {most}{unit})"
