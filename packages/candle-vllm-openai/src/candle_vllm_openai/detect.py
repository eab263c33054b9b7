"""Which format and which reasoning style a model writes.

A name that was asked for wins; then the marks in the model's own chat template; then its family; else plain text.
"""

from __future__ import annotations

from candle_vllm_core import ConfigError

from .formats import FORMATS, Format
from .reasoning import STYLES, ReasoningStyle

AUTO = "auto"
NONE = "none"
PARSERS = (AUTO, *FORMATS)
"""The names that a parser can be asked for by."""
REASONING = (AUTO, NONE, *STYLES)
"""The names that a reasoning style can be asked for by."""


def choose_format(parser_name: str = AUTO, template_source: str | None = None, family: str | None = None) -> Format:
    """The format of a model's calls: by name, by the chat template (its Jinja source), by the architecture's name.

    Raises:
        ConfigError: there is no parser of that name.
    """
    if parser_name != AUTO:
        return named_format(parser_name)
    by_marks = _marked(template_source or "")
    return by_marks or _of_family(family or "") or FORMATS["passthrough"]


def named_format(parser_name: str) -> Format:
    """The format of that name.

    Raises:
        ConfigError: there is none.
    """
    if parser_name not in FORMATS:
        raise ConfigError(f"no parser is named {parser_name!r}; there are: {', '.join(PARSERS)}", "parser")
    return FORMATS[parser_name]


def choose_reasoning(name: str = AUTO, template_source: str | None = None) -> ReasoningStyle | None:
    """The style of a model's reasoning: by name, or by the chat template (its Jinja source); None if it has none.

    Raises:
        ConfigError: there is no style of that name.
    """
    if name == NONE:
        return None
    if name != AUTO:
        if name not in STYLES:
            raise ConfigError(f"no reasoning style is named {name!r}; there are: {', '.join(REASONING)}", "reasoning")
        return STYLES[name]
    source = template_source or ""
    return next((style for style in STYLES.values() if style.opening in source), None)


def _marked(source: str) -> Format | None:
    found = (format for format in FORMATS.values() if any(mark in source for mark in format.marks))
    return next(found, None)


def _of_family(family: str) -> Format | None:
    name = family.lower().replace("_", "").replace("-", "")
    found = (format for format in FORMATS.values() if name.startswith(format.families or "\0"))
    return next(found, None)
