"""Calls of tools with arguments of every kind, drawn at random."""

from __future__ import annotations

from random import Random
from typing import Any

from answers import Call

PIECES = (
    *(
        "a",
        "Zürich",
        "日本語",
        "👋🏽",
        "e\u0301",
        "مرحبا",
        " ",
        "  ",
        "\n",
        "\t",
        "\r",
        '"',
        "'",
        "\\",
        "\\n",
        "\\u0041",
        '\\"',
    ),
    *(
        "{",
        "}",
        "[",
        "]",
        "(",
        ")",
        "</",
        "<b>",
        "&amp;",
        "```",
        "~~~",
        ",",
        ":",
        ": ",
        "=",
        "1",
        "-1.5",
        "null",
        "True",
    ),
    *("<|", "|>", "{{", "}}", "%}", "/", "\u2028", "\x01", "\x7f", "#", "None", "key:", "[]", "{}", "\\\\"),
)
WORDS = ("a", "b_2", "Name", "größe", "x-y", "日")


def drawn_text(random: Random) -> str:
    """A text, often empty, often unpleasant."""
    return "".join(random.choices(PIECES, k=random.choice((0, 1, 1, 2, 5, 12))))


def drawn_number(random: Random) -> int | float:
    """A number of any size."""
    drawn = (0, -1, 7, 2**53 + 1, -(2**63), 0.5, -2.25, 1e-7, 1.5e300, random.random(), random.randrange(10**6))
    return random.choice(drawn)


def drawn_value(random: Random, depth: int = 4, *, plain_keys: bool = False) -> Any:
    """A value, at most so deep."""
    kind = random.randrange(7 if depth else 5)
    match kind:
        case 0 | 1:
            return drawn_text(random)
        case 2:
            return drawn_number(random)
        case 3:
            return random.choice((True, False))
        case 4:
            return None
        case 5:
            return [drawn_value(random, depth - 1, plain_keys=plain_keys) for _ in range(random.randrange(4))]
        case _:
            return drawn_object(random, depth - 1, plain_keys=plain_keys)


def drawn_object(random: Random, depth: int = 4, *, plain_keys: bool = False) -> dict[str, Any]:
    """An object, at most so deep; `plain_keys`: with names for its keys."""
    names = [random.choice(WORDS) if plain_keys else drawn_text(random) for _ in range(random.randrange(4))]
    return {name: drawn_value(random, depth, plain_keys=plain_keys) for name in names}


def drawn_call(random: Random, *, plain_keys: bool = False) -> Call:
    """A call of one of the tools in `answers.SCHEMAS`."""
    if random.randrange(8) == 0:
        return ("now", {})
    members: dict[str, Any] = {
        "query": drawn_text(random),
        "limit": random.choice((0, -1, 12345, 2**53 + 1)),
        "exact": random.choice((True, False)),
        "score": drawn_number(random),
        "filters": drawn_object(random, plain_keys=plain_keys),
        "tags": [drawn_value(random, plain_keys=plain_keys) for _ in range(random.randrange(4))],
        "note": random.choice((None, "x", "a note")),
    }
    kept = random.sample(sorted(members), random.randrange(len(members) + 1))
    return ("search", {name: members[name] for name in kept})


def drawn_calls(random: Random, most: int, *, plain_keys: bool = False) -> list[Call]:
    """At least one call."""
    return [drawn_call(random, plain_keys=plain_keys) for _ in range(random.randint(1, most))]
