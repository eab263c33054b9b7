"""What a request asks of the form of its answer, as the constraint that enforces it.

An answer is reasoning first, if the model thinks, and then the body: text in the form that was asked for, calls of
tools, or both. The body alone is held to anything: it begins after the mark that ends the reasoning.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from candle_vllm_core import CandleVllmError, Constraint, ConstraintError, Engine, constraint_expression

from .errors import ApiError, shown
from .formats.body import SPACE, Thoughts, forced, free
from .formats.enforced import PATH, RULE, Called, Calls, MarkWriter, Rules, one_of, text
from .formats.format import Format
from .reasoning import ReasoningStyle
from .types.requests import ChatCompletionRequest
from .types.structured import StructuredOutputs
from .types.tools import Tool

NO_ARGUMENTS: dict[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}
ANY_ARGUMENTS: dict[str, Any] = {"type": "object"}
NAMED_SCHEMAS = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
VALUES = frozenset({"const", "enum", "default", "examples", "x-guidance"})
"""Keywords that hold no schemas."""


def mark_writer(engine: Engine) -> MarkWriter:
    """Writes marks as the engine's vocabulary has them: special tokens by their ids, all else as text."""
    encoded = {token: engine.tokenize(token, add_special_tokens=False) for token in engine.model_info().special_tokens}
    return writer_with({token: ids[0] for token, ids in encoded.items() if len(ids) == 1})


def writer_with(special: Mapping[str, int]) -> MarkWriter:
    """Writes marks with these special tokens, by their texts."""
    longest_first = sorted(special, key=len, reverse=True)
    cut = re.compile("(" + ("|".join(map(re.escape, longest_first)) or "(?!)") + ")")

    def write(mark: str) -> list[str]:
        return [f"<[{special[piece]}]>" if piece in special else text(piece) for piece in cut.split(mark) if piece]

    return write


def constraint_of(
    request: ChatCompletionRequest,
    format: Format,
    *,
    mark: MarkWriter,
    template: str = "",
    reasoning: ReasoningStyle | None = None,
    started: bool = False,
) -> Constraint | None:
    """What the answer to a request is held to; None if it is free.

    `mark`: see `mark_writer`. `template`: the source of the chat template. `reasoning`: how the model marks what it
    thinks, None if it does not; `started`: the prompt has already opened it.

    Raises:
        ApiError: calls are asked for that the model has no way of writing, or a tool's schema is not that of an object.
        ParameterError: a schema, a pattern or all together are too large.
    """
    if request.must_call and not (format.enforced or format.framed):
        reason = "asks for a call, and no way in which this model writes calls is known"
        raise ApiError(f"`tool_choice` {reason}", code="unsupported_field", param="tool_choice")
    rules = Rules(mark)
    form = None if request.must_call else _form(request, rules)
    calls = _calls(request, format, rules, template)
    if form is None and not (calls.tools and _holds_calls(request)):
        return None
    thoughts = Thoughts(rules, reasoning.opening, reasoning.closing, started) if reasoning is not None else None
    start = _start(format, calls, form, thoughts, must_call=request.must_call)
    return Constraint(grammar=f"start: {start}\n{rules}")


def _start(format: Format, calls: Calls, form: str | None, thoughts: Thoughts | None, *, must_call: bool) -> str:
    """The expression for the whole answer."""
    if format.framed is not None:
        return format.framed(calls, form, must_call)
    openings = format.enforced(calls) if format.enforced is not None and calls.tools else ()
    if form is None and not must_call:
        return free(openings, calls, thoughts)
    if form is not None:
        # Which of two things a brace begins must be plain at once, so calls that begin with it come last.
        openings = sorted(openings, key=lambda opening: opening.mark == "{" or not opening.mark)
    body = one_of([*([] if form is None else [form]), *([forced(openings, calls)] if openings else [])])
    return body if thoughts is None else thoughts.before(f"{SPACE}? {body}", otherwise=body)


def refusal_of(error: CandleVllmError, constraint: Constraint | None) -> CandleVllmError:
    """The error that says where in a request the fault lies, if `constraint` of `constraint_of` was refused."""
    if not isinstance(error, ConstraintError) or constraint is None:
        return error
    lines = (constraint.grammar or "").split("\n")[: error.line or 0]
    begins = next((place for place in reversed(range(len(lines))) if RULE.match(lines[place])), 0)
    if not begins or not lines[begins - 1].startswith(PATH):
        return error
    path, keyword = lines[begins - 1].removeprefix(PATH), next(iter(error.keywords), None)
    if keyword is not None:
        path += _place_of(keyword, lines[begins])
    code = "unsupported_field" if keyword is not None and "cannot be enforced" in error.reason else "invalid_value"
    return ApiError(f"`{path}` cannot be followed: {error.reason}", code=code, param=path)


def _form(request: ChatCompletionRequest, rules: Rules) -> str | None:
    """The expression for the form that the answer's text is to have; None if it may have any."""
    asked = request.response_format
    if asked is not None and asked.type == "json_schema" and asked.json_schema is not None:
        schema, strict = asked.json_schema.definition, asked.json_schema.strict is True
        return rules.json(schema, "response_format.json_schema.schema", lenient=not strict)
    if asked is not None and asked.type == "json_object":
        return rules.add(constraint_expression(Constraint(json_object=True)), "response_format")
    return None if request.structured_outputs is None else _structured(request.structured_outputs, rules)


def _structured(asked: StructuredOutputs, rules: Rules) -> str:
    constraint = structured_constraint(asked)
    name = "json" if constraint.kind == "json_schema" else constraint.kind
    return rules.add(constraint_expression(constraint), f"structured_outputs.{name}")


def structured_constraint(asked: StructuredOutputs) -> Constraint:
    """The form of `structured_outputs`, which are vLLM's, as a constraint.

    Raises:
        ParameterError: what is asked for is too large.
    """
    return Constraint(
        json_schema=asked.json_schema,
        json_object=asked.json_object,
        regex=asked.regex,
        choice=asked.choice,
        grammar=asked.grammar,
        compact=asked.disable_any_whitespace,
    )


def _holds_calls(request: ChatCompletionRequest) -> bool:
    """Whether calls are held to anything, or there have to be some."""
    tools = request.callable_tools
    fewer = len(tools) < len(request.tools or ()) or request.parallel_tool_calls is False
    return bool(tools) and (request.must_call or fewer or any(tool.function.strict for tool in tools))


def _calls(request: ChatCompletionRequest, format: Format, rules: Rules, template: str) -> Calls:
    """The calls that an answer may hold, none where the format has no way of writing them."""
    parallel = format.parallel and request.parallel_tool_calls is not False
    called = {tool.function.name for tool in request.callable_tools} if format.enforced or format.framed else ()
    tools = [
        _called(tool, f"tools[{place}].function.parameters", forced=request.must_call)
        for place, tool in enumerate(request.tools or ())
        if tool.function.name in called
    ]
    return Calls(tools, parallel, rules, template)


def _called(tool: Tool, path: str, *, forced: bool) -> Called:
    """A tool as its calls are held to it: to its schema if it is strict or has to be called, else to any arguments."""
    function = tool.function
    schema = NO_ARGUMENTS if function.parameters is None else function.parameters
    if not (forced or function.strict):
        return Called(name=function.name, schema=ANY_ARGUMENTS, path=path, lenient=True)
    kind = schema.get("type", "object")
    if kind != "object" and not (isinstance(kind, list) and "object" in kind):
        raise ApiError(f"`{path}.type` is {shown(kind)}; arguments are an object", param=f"{path}.type")
    return Called(name=function.name, schema={**schema, "type": "object"}, path=path, lenient=not function.strict)


def _place_of(keyword: str, rule: str) -> str:
    """Where in the schema of a rule a keyword stands first, as the end of a path; empty if it is not found."""
    _, found, schema = rule.partition("%json ")
    return next(_places(json.loads(schema), keyword, ""), "") if found else ""


def _places(schema: object, keyword: str, path: str) -> Iterator[str]:
    """The paths of a keyword in a schema, which passes over what only looks like one: names of properties, values."""
    if isinstance(schema, list):
        for place, each in enumerate(schema):
            yield from _places(each, keyword, f"{path}[{place}]")
    if not isinstance(schema, Mapping):
        return
    if keyword in schema:
        yield f"{path}.{keyword}"
    for name, value in schema.items():
        if name in NAMED_SCHEMAS and isinstance(value, Mapping):
            for key, each in value.items():
                yield from _places(each, keyword, f"{path}.{name}.{key}")
        elif name not in VALUES:
            yield from _places(value, keyword, f"{path}.{name}")
