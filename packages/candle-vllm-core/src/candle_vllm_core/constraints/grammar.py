"""A constraint as a grammar of llguidance, and what llguidance says against one as an error. No torch here."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
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
        case "json_schema":
            schema = json.loads(str(constraint.json_schema))
            return _grammar({"json_schema": _with_options(schema, compact=constraint.compact)})
        case "json_object":
            schema = {"type": "object"}
            return _grammar({"json_schema": _with_options(schema, compact=constraint.compact)})
        case "regex":
            return _grammar({"lark_grammar": f"start: TEXT\nTEXT: {_regex_literal(constraint.regex or '')}"})
        case "choice":
            texts = (json.dumps(text, ensure_ascii=False) for text in constraint.choice or ())
            return _grammar({"lark_grammar": f"start: {' | '.join(texts)}"})
        case "grammar":
            return _grammar({"lark_grammar": constraint.grammar})


def _grammar(source: dict[str, Any]) -> str:
    return json.dumps({"grammars": [source]})


def json_expression(schema: Mapping[str, object] | bool, *, compact: bool = False, lenient: bool = False) -> str:
    """A JSON text that a schema accepts, as an expression of `Constraint`'s `grammar`: it may stand in any rule.

    The schema's own root is what its `$ref`s begin with. With `lenient`, keywords that cannot be enforced are left to
    the model.
    """
    return f"%json {json.dumps(_with_options(schema, compact=compact, lenient=lenient), ensure_ascii=False)}"


def _with_options(schema: Mapping[str, object] | bool, *, compact: bool, lenient: bool = False) -> dict[str, object]:
    """Our own options stand in for any that the schema brings along: it cannot turn checks off."""
    options = {
        "item_separator": ",",
        "key_separator": ":",
        "whitespace_flexible": not compact,
        "whitespace_pattern": None if compact else WHITESPACE,
        "coerce_one_of": lenient,
        "lenient": lenient,
    }
    whole = {"allOf": [schema]} if isinstance(schema, bool) else schema
    return {**whole, "x-guidance": options}


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
