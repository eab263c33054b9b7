"""`Strict`: what every object of a request is made from. Nothing unknown, nothing converted, nothing infinite."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

from ..fields import FIELDS, Endpoint, refusals

MAX_FIELDS = 256


class Strict(BaseModel):
    """A request object: an unknown field is an error, a field that is null counts as left out."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    endpoint: ClassVar[Endpoint] = "chat/completions"
    """Whose table of fields this object stands in; what several endpoints take stands alike in the tables of all."""
    table_path: ClassVar[str | None] = None
    """Where this object stands in the table of fields, with a dot at its end; None if the table does not list it."""

    @model_validator(mode="before")
    @classmethod
    def _given(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        if len(data) > MAX_FIELDS:
            raise invalid(f"has {len(data)} fields; no object has more than {MAX_FIELDS}")
        given = {name: value for name, value in data.items() if value is not None}
        refused = {} if cls.table_path is None else refusals(cls.endpoint, cls.table_path)
        for name in given:
            if name in refused:
                raise unsupported(refused[name], name)
        return given


def list_or_text(value: object) -> str:
    """Which member of a union of text and list a value belongs to."""
    return "as list" if isinstance(value, list) else "as text"


def at_most(limit: int) -> BeforeValidator:
    """Refuses a longer object before any entry of it is looked at."""

    def check(value: Any) -> Any:
        if isinstance(value, dict) and len(value) > limit:
            raise invalid(f"has {len(value)} entries; at most {limit} are taken")
        return value

    return BeforeValidator(check)


def unsupported(reason: str, field: str | None = None) -> PydanticCustomError:
    """The error for a field that is known and not honoured; `field` names it where the place of the error does not."""
    return PydanticCustomError("unsupported_field", "{reason}", {"reason": reason} | _named(field))


def invalid(reason: str, field: str | None = None) -> PydanticCustomError:
    """The error for a value that contradicts another field."""
    return PydanticCustomError("invalid_value", "{reason}", {"reason": reason} | _named(field))


def _named(field: str | None) -> dict[str, str]:
    return {} if field is None else {"field": field}


def only(path: str, value: Any, allowed: bool, *, endpoint: Endpoint = "chat/completions") -> Any:
    """`value`, if it is allowed; otherwise the error says what the table honours of the field at `path`."""
    if not allowed:
        raise unsupported(f"is honoured for {FIELDS[endpoint][path].note}")
    return value
