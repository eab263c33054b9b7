"""What MCP servers say, in OpenAI's words and back; read off JSON, or off the models of MCP's Python SDK.

The shapes of tools, calls and results: https://modelcontextprotocol.io/specification/2025-06-18/schema
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

McpObject = Mapping[str, Any] | BaseModel
"""An object of MCP's protocol, as JSON has it or as the SDK's model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class McpToolCall:
    """What MCP's `tools/call` takes."""

    name: str
    arguments: dict[str, Any]


def mcp_fields(value: McpObject) -> Mapping[str, Any]:
    """The fields of an object of MCP's, under the protocol's names."""
    return value.model_dump(mode="json", by_alias=True, exclude_none=True) if isinstance(value, BaseModel) else value


def mcp_call(name: str, arguments: str) -> McpToolCall:
    """A call with its arguments read from the text that the model wrote; no text at all is no arguments.

    Raises:
        ValueError: the arguments are not the text of a JSON object.
    """
    try:
        read = json.loads(arguments or "{}")
    except RecursionError as error:
        raise ValueError(f"the arguments of {name} nest too deep to be read") from error
    except ValueError as error:
        raise ValueError(f"the arguments of {name} are not JSON: {error}") from error
    if not isinstance(read, dict):
        raise ValueError(f"the arguments of {name} are of type {type(read).__name__}; a JSON object has to be written")
    return McpToolCall(name=name, arguments=read)


def mcp_text(result: McpObject) -> str:
    """What a model is shown of a tool's result: its texts, a name for whatever is none, and whether the tool failed."""
    fields = mcp_fields(result)
    text = "\n".join(_texts(fields))
    return f"The tool failed: {text or 'it does not say why'}" if fields.get("isError") else text


def _texts(result: Mapping[str, Any]) -> Iterator[str]:
    content = result.get("content") or ()
    if not content and result.get("structuredContent") is not None:
        yield json.dumps(result["structuredContent"], ensure_ascii=False)
    for block in content:
        match mcp_fields(block):
            case {"type": "text", "text": str(text)} | {"type": "resource", "resource": {"text": str(text)}}:
                yield text
            case {"type": "resource_link", "uri": uri}:
                yield f"[see {uri}]"
            case {"type": kind, "mimeType": mime}:
                yield f"[{kind} of type {mime}, which this model cannot read]"
            case {"type": kind}:
                yield f"[{kind}, which this model cannot read]"
