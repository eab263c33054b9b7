"""A constraint as a grammar of llguidance, and what llguidance says against one as an error. No torch here."""

from __future__ import annotations

import json
import re
from typing import Any

from ..constraint import Constraint
from ..errors import ConstraintError

WHITESPACE = r"(\x20|\r?\n[\x20\t]{0,32})"
MAX_REASON_CHARS = 300
OF_SCHEMA = "failed to compile JSON schema: "

# What llguidance says of a keyword without naming it in its list of unimplemented ones.
SAID_OF = {
    r"Unknown format": "format",
    r"oneOf constraints": "oneOf",
    r"patternProperty": "patternProperties",
    r"multipleOf": "multipleOf",
    r"look-around|lookarounds|backreferences|regex parse error": "pattern",
    r"Invalid type": "type",
    r"Resource '|Pointer '": "$ref",
}


def grammar_of(constraint: Constraint) -> str:
    """The constraint as llguidance reads it: a JSON text that holds a schema or a grammar in Lark's manner."""
    match constraint.kind:
        case "json_schema" | "json_object":
            return _grammar({"json_schema": _schema(constraint)})
        case "grammar":
            return _grammar({"lark_grammar": constraint.grammar})
        case "regex":
            return _grammar({"lark_grammar": f"start: TEXT\nTEXT: {constraint_expression(constraint)}"})
        case "choice":
            return _grammar({"lark_grammar": f"start: {constraint_expression(constraint)}"})


def constraint_expression(constraint: Constraint) -> str:
    """The constraint as a part of another one's `grammar`: it may stand in any rule of it, also more than once.

    A schema stays whole: the `$ref`s in it begin at its own root.
    """
    match constraint.kind:
        case "json_schema" | "json_object":
            return f"%json {json.dumps(_schema(constraint), ensure_ascii=False)}"
        case "regex":
            return _regex_literal(constraint.regex or "")
        case "choice":
            return f"({' | '.join(json.dumps(text, ensure_ascii=False) for text in constraint.choice or ())})"
        case "grammar":
            return f"%lark {{\n{constraint.grammar}\n}}"


def _grammar(source: dict[str, Any]) -> str:
    return json.dumps({"grammars": [source]})


def _schema(constraint: Constraint) -> dict[str, Any]:
    """Our own options stand in for any that the schema brings along: it cannot turn checks off."""
    schema = {"type": "object"} if constraint.json_object else json.loads(str(constraint.json_schema))
    options = {
        "item_separator": ",",
        "key_separator": ":",
        "whitespace_flexible": not constraint.compact,
        "whitespace_pattern": None if constraint.compact else WHITESPACE,
        "coerce_one_of": constraint.lenient,
        "lenient": constraint.lenient,
    }
    return {**({"allOf": [schema]} if isinstance(schema, bool) else schema), "x-guidance": options}


def _regex_literal(regex: str) -> str:
    """A regular expression between slashes: those within it, and ends of lines, are escaped."""
    escaped = re.sub(r"\\.|/", lambda m: r"\/" if m[0] == "/" else m[0], regex, flags=re.DOTALL)
    return "/" + escaped.replace("\\\n", r"\n").replace("\n", r"\n") + "/"


def refusal(constraint: Constraint, said: str) -> ConstraintError:
    """What llguidance said against a constraint, as an error that names the keywords and the line it is about."""
    reason = said.partition("<non-verbose/>")[0].strip()
    found = re.match(rf"at (\d+)\(\d+\): ({OF_SCHEMA})?", reason) if constraint.kind == "grammar" else None
    line = int(found[1]) if found is not None else None
    of_schema = constraint.kind == "json_schema" or (found is not None and found[2] is not None)
    reason = re.split(r"\n +\d+ \| ", reason[found.end() :])[0] if found is not None else reason
    if (named := re.match(r"Unimplemented keys: (\[.*\])", reason)) is not None:
        keywords = [str(keyword) for keyword in json.loads(named[1])]
        listed = ", ".join(keywords)
        return ConstraintError(constraint.kind, f"{listed} cannot be enforced; leave it out", keywords, line)
    if reason.startswith("NoExtension"):
        return ConstraintError(constraint.kind, "no token may follow, so it cannot be completed", line=line)
    blamed = [keyword for said_of, keyword in SAID_OF.items() if of_schema and re.search(said_of, reason)]
    return ConstraintError(constraint.kind, reason[:MAX_REASON_CHARS], blamed[:1], line)
