"""`Constraint`: what form an answer must have. No torch here, and nothing is compiled yet.

```python
colour = Constraint(choice=["red", "green"])
point = Constraint(json_schema={"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]})
year = Constraint(regex="[12][0-9]{3}")
```
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from .errors import ParameterError

ConstraintKind = Literal["json_schema", "json_object", "regex", "choice", "grammar"]

MAX_CHARS = 1 << 17
MAX_DEPTH = 64
MAX_CHOICES = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """The form that an answer must have; give exactly one of its first five fields. Checked when made.

    Tokens that can only follow are appended without a step of the model for each, unless the request asks for
    `logprobs` or has `bad_words`: then they are drawn like others, from one.

    Raises:
        ParameterError: none or several are given, or one is empty, too large, or not what it should be.
    """

    json_schema: Mapping[str, object] | str | bool | None = None
    """A JSON text that this schema (draft 2020-12) accepts: an object, true or false, or the text of one of them.
    Properties come in the schema's order; a keyword that cannot be enforced is refused when a request is made."""
    json_object: bool = False
    """Any JSON object."""
    regex: str | None = None
    """A text that this regular expression matches as a whole, in the syntax of Rust's `regex` crate: without
    look-around and back references."""
    choice: Sequence[str] | None = None
    """One of these texts, each at least one character."""
    grammar: str | None = None
    """A text of this grammar, written like Lark's; it begins at the rule `start`. `<[7]>` stands for the token of id 7,
    `constraint_expression` makes another constraint a part of it."""
    compact: bool = False
    """JSON without whitespace between its parts. Else a space may stand there, or the end of a line and up to 32 more
    spaces or tabs."""
    lenient: bool = False
    """A schema's keywords that cannot be enforced are left to the model, not refused."""

    def __post_init__(self) -> None:
        given = [name for name in ("json_schema", "regex", "choice", "grammar") if getattr(self, name) is not None]
        _check_flag("json_object", self.json_object)
        _check_flag("compact", self.compact)
        _check_flag("lenient", self.lenient)
        if len(given) + self.json_object != 1:
            names = [*given, *(["json_object"] if self.json_object else [])]
            raise ParameterError("constraint", names, "exactly one of json_schema, json_object, regex, choice, grammar")
        if self.compact and self.kind not in ("json_schema", "json_object"):
            raise ParameterError("constraint.compact", True, "false unless json_schema or json_object is given")
        if self.lenient and self.kind != "json_schema":
            raise ParameterError("constraint.lenient", True, "false unless json_schema is given")
        if self.json_schema is not None:
            object.__setattr__(self, "json_schema", _schema_text(self.json_schema))
        if self.choice is not None:
            object.__setattr__(self, "choice", _choices(self.choice))
        for name in ("regex", "grammar"):
            if (text := getattr(self, name)) is not None:
                _check_text(name, text)

    @property
    def kind(self) -> ConstraintKind:
        """The name of the one field that was given."""
        if self.json_schema is not None:
            return "json_schema"
        if self.json_object:
            return "json_object"
        if self.regex is not None:
            return "regex"
        return "choice" if self.choice is not None else "grammar"


def _check_flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise ParameterError(f"constraint.{name}", value, "true or false")


def _check_text(name: str, text: object) -> None:
    if not isinstance(text, str) or not 1 <= len(text) <= MAX_CHARS:
        said = f"a text of {len(text)} characters" if isinstance(text, str) else type(text).__name__
        raise ParameterError(f"constraint.{name}", said, f"a text of 1 to {MAX_CHARS} characters")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ParameterError(f"constraint.{name}", "a text with a lone surrogate", "Unicode")


def _choices(choices: object) -> tuple[str, ...]:
    bounds = f"1 to {MAX_CHOICES} texts of at least one character, of {MAX_CHARS} in all"
    if isinstance(choices, str) or not isinstance(choices, Sequence):
        raise ParameterError("constraint.choice", type(choices).__name__, bounds)
    if not 1 <= len(choices) <= MAX_CHOICES:
        raise ParameterError("constraint.choice", f"{len(choices)} texts", bounds)
    for choice in choices:
        _check_text("choice", choice)
    if sum(len(choice) for choice in choices) > MAX_CHARS:
        raise ParameterError("constraint.choice", f"{sum(map(len, choices))} characters", bounds)
    return tuple(dict.fromkeys(choices))


def _schema_text(schema: Mapping[str, object] | str | bool) -> str:
    """The text of a JSON schema, after everything that its text alone can say was checked."""
    bounds = f"a JSON schema of at most {MAX_CHARS} characters, nested at most {MAX_DEPTH} deep"
    try:
        plain = dict(schema) if isinstance(schema, Mapping) else schema
        text = plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False, allow_nan=False)
        _check_text("json_schema", text)
        found = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise ParameterError("constraint.json_schema", f"no JSON ({error})", bounds) from error
    if not isinstance(found, dict | bool):
        raise ParameterError("constraint.json_schema", f"a JSON {type(found).__name__}", "an object, true or false")
    if any(depth > MAX_DEPTH for depth in _depths(found)):
        raise ParameterError("constraint.json_schema", "a schema nested deeper", bounds)
    return text


def _depths(found: object) -> Iterator[int]:
    """How deep each object and array in a JSON value lies; without recursion, for the value comes from outside."""
    waiting = [(found, 1)]
    while waiting:
        value, depth = waiting.pop()
        if isinstance(value, dict | list):
            yield depth
            waiting += [(part, depth + 1) for part in (value.values() if isinstance(value, dict) else value)]
