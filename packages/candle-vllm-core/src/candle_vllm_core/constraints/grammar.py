"""A constraint as a grammar of llguidance, and what llguidance says against one as an error. No torch here."""

from __future__ import annotations

import json
import re
from typing import Any

from ..constraint import Constraint
from ..errors import ConstraintError

WHITESPACE = r"(\x20|\r?\n[\x20\t]{0,32})"
MAX_REASON_CHARS = 300

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
            return _json_grammar(json.loads(str(constraint.json_schema)), compact=constraint.compact)
        case "json_object":
            return _json_grammar({"type": "object"}, compact=constraint.compact)
        case "regex":
            return _grammar({"lark_grammar": f"start: TEXT\nTEXT: {_regex_literal(constraint.regex or '')}"})
        case "choice":
            texts = (json.dumps(text, ensure_ascii=False) for text in constraint.choice or ())
            return _grammar({"lark_grammar": f"start: {' | '.join(texts)}"})
        case "grammar":
            return _grammar({"lark_grammar": constraint.grammar})


def _grammar(source: dict[str, Any]) -> str:
    return json.dumps({"grammars": [source]})


def _json_grammar(schema: dict[str, Any] | bool, *, compact: bool) -> str:
    """Our own options stand in for any that the schema brings along: it cannot turn checks off."""
    options = {
        "item_separator": ",",
        "key_separator": ":",
        "whitespace_flexible": not compact,
        "whitespace_pattern": None if compact else WHITESPACE,
        "coerce_one_of": False,
        "lenient": False,
    }
    whole = {"allOf": [schema]} if isinstance(schema, bool) else schema
    return _grammar({"json_schema": {**whole, "x-guidance": options}})


def _regex_literal(regex: str) -> str:
    """A regular expression between slashes: those within it, and ends of lines, are escaped."""
    escaped = re.sub(r"\\.|/", lambda m: r"\/" if m[0] == "/" else m[0], regex, flags=re.DOTALL)
    return "/" + escaped.replace("\\\n", r"\n").replace("\n", r"\n") + "/"


def refusal(constraint: Constraint, said: str) -> ConstraintError:
    """What llguidance said against a constraint, as an error that names the keywords it is about."""
    reason = said.partition("<non-verbose/>")[0].strip()
    if (named := re.match(r"Unimplemented keys: (\[.*\])", reason)) is not None:
        keywords = [str(keyword) for keyword in json.loads(named[1])]
        listed = ", ".join(keywords)
        return ConstraintError(constraint.kind, f"{listed} cannot be enforced; leave it out", keywords)
    if reason.startswith("NoExtension"):
        return ConstraintError(constraint.kind, "no token may follow, so it cannot be completed")
    is_json = constraint.kind == "json_schema"
    found = [keyword for said_of, keyword in SAID_OF.items() if is_json and re.search(said_of, reason)]
    return ConstraintError(constraint.kind, reason[:MAX_REASON_CHARS], found[:1])
