"""Texts that a schema of strings accepts, as terminals of a grammar: for formats that write strings as they are."""

from __future__ import annotations

import re

from .elements import kinds_of
from .enforced import ANY, ANY_CHARS, NOTHING, Rules, Schema, text
from .schema import UNIONS, parts, values_of

_MONTH_DAY = "((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))"
_DATE = f"[0-9]{{4}}-{_MONTH_DAY}"
_HOUR = "([01][0-9]|2[0-3])"
_TIME = rf"{_HOUR}:[0-5][0-9]:[0-5][0-9](\.[0-9]{{1,9}})?(Z|[+-]{_HOUR}:[0-5][0-9])"
_LABEL = "[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_BYTE = "(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_WORD = "[0-9a-fA-F]{1,4}"
_SHORTENED = "|".join(f"({_WORD}:){{1,{before}}}(:{_WORD}){{1,{7 - before}}}" for before in range(1, 7))
_CLOCK = "T([0-9]+H([0-9]+M)?([0-9]+S)?|[0-9]+M([0-9]+S)?|[0-9]+S)"
_DAYS = "([0-9]+Y([0-9]+M([0-9]+D)?)?|[0-9]+M([0-9]+D)?|[0-9]+D)"

FORMATS = {
    "date": _DATE,
    "time": _TIME,
    "date-time": f"{_DATE}T{_TIME}",
    "duration": f"P([0-9]+W|{_DAYS}({_CLOCK})?|{_CLOCK})",
    "email": f"[a-zA-Z0-9_+-]+(\\.[a-zA-Z0-9_+-]+)*@{_LABEL}(\\.{_LABEL})+",
    "hostname": f"{_LABEL}(\\.{_LABEL})*",
    "ipv4": rf"({_BYTE}\.){{3}}{_BYTE}",
    "ipv6": f"(({_WORD}:){{7}}{_WORD}|{_SHORTENED}|({_WORD}:){{1,7}}:|:((:{_WORD}){{1,7}}|:))",
    "uuid": "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
    "uri": r"[a-zA-Z][a-zA-Z0-9+.-]*:[^\s<>{}|\\^`\x22]+",
}
"""Regular expressions for the values of `format`; RFC 3339 for times, ISO 8601 for durations."""

_OUTSIDE = {"/": r"\/", "\n": r"\n", r"\d": "[0-9]", r"\D": "[^0-9]", r"\w": "[a-zA-Z0-9_]", r"\W": "[^a-zA-Z0-9_]"}
_INSIDE = {"/": r"\/", "\n": r"\n", r"\d": "0-9", r"\w": "a-zA-Z0-9_", "[": r"\["}
"""What the characters of a schema's pattern are outside and inside of brackets, in a grammar's regular expressions."""


def terminal_of(schema: Schema, rules: Rules, path: str) -> str:
    """The name of a terminal for the strings that a schema accepts, whose references were resolved (`plain`)."""
    bounds = [rules.terminal(bound, path) for bound in _bounds(schema)]
    bounds += [terminal_of(each, rules, path) for each in parts(schema, "allOf")]
    for union in UNIONS:
        if choices := [terminal_of(each, rules, path) for each in parts(schema, union) if _may_be_string(each)]:
            bounds.append(rules.terminal(" | ".join(choices)))
    return bounds[0] if len(bounds) == 1 else rules.terminal(" & ".join(bounds), path)


def searched(pattern: str) -> str:
    """A regular expression for the texts in which a schema's pattern is found, as it stands between slashes."""
    ways, depth, bracket = [""], 0, False
    for piece in re.findall(r"\\.|.", pattern, re.DOTALL):
        if bracket or piece == "[":
            ways[-1] += _INSIDE.get(piece, piece) if bracket else piece
            bracket = piece != "]"
        elif piece == "|" and not depth:
            ways.append("")
        else:
            depth += (piece == "(") - (piece == ")")
            ways[-1] += _OUTSIDE.get(piece, piece)
    return "|".join(map(_whole, ways))


def _may_be_string(schema: Schema) -> bool:
    kinds = kinds_of(schema)
    return not kinds or "string" in kinds


def _whole(way: str) -> str:
    """A pattern that is found anywhere, as one that matches the whole text; the anchors at its ends are used up."""
    ends = way.endswith("$") and (len(way) - len(way[:-1].rstrip("\\"))) % 2 == 1
    found = way.removeprefix("^")
    return f"{'' if way.startswith('^') else ANY_CHARS}({found[:-1] if ends else found}){'' if ends else ANY_CHARS}"


def _bounds(schema: Schema) -> list[str]:
    """The expressions that a string has to satisfy together."""
    values = values_of(schema)
    if values is not None:
        return [" | ".join(text(value) for value in values if isinstance(value, str)) or NOTHING]
    bounds = []
    least, most = schema.get("minLength", 0), schema.get("maxLength", "")
    if least or most != "":
        bounds.append(f"/(?s:.{{{least},{most}}})/")
    if isinstance(pattern := schema.get("pattern"), str):
        bounds.append(f"/{searched(pattern)}/")
    if isinstance(name := schema.get("format"), str) and name in FORMATS:
        bounds.append(f"/{FORMATS[name]}/")
    return bounds or [ANY]
