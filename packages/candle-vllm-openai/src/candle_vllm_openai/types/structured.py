"""What form an answer is to have: OpenAI's `response_format`, and vLLM's `structured_outputs`."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import ConfigDict, model_validator
from pydantic import Field as Bounds

from .schemas import JsonSchema, JsonSchemaOrText
from .strict import Strict, invalid

MAX_PATTERN_CHARS = 1 << 17
MAX_CHOICES = 4096

Pattern = Annotated[str, Bounds(min_length=1, max_length=MAX_PATTERN_CHARS)]
FormatName = Annotated[str, Bounds(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]


class JsonSchemaFormat(Strict):
    """The JSON schema of an answer, by name."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)
    table_path: ClassVar[str | None] = "response_format.json_schema."

    name: FormatName
    description: Annotated[str, Bounds(max_length=65536)] | None = None
    definition: JsonSchema = Bounds(alias="schema")
    strict: bool | None = None


class ResponseFormat(Strict):
    """The form of the answer: any text, any JSON object, or JSON of a schema."""

    table_path: ClassVar[str | None] = "response_format."

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchemaFormat | None = None

    @model_validator(mode="after")
    def _has_what_its_type_needs(self) -> Self:
        if self.type == "json_schema" and self.json_schema is None:
            raise invalid("is missing", "json_schema")
        if self.type != "json_schema" and self.json_schema is not None:
            raise invalid(f"stands in a format of type {self.type}", "json_schema")
        return self


class StructuredOutputs(Strict):
    """The form of the answer in vLLM's words: exactly one of a schema, any JSON object, a regex, choices, a grammar."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)
    table_path: ClassVar[str | None] = "structured_outputs."

    json_schema: JsonSchemaOrText | None = Bounds(None, alias="json")
    json_object: bool = False
    regex: Pattern | None = None
    choice: Annotated[list[Pattern], Bounds(min_length=1, max_length=MAX_CHOICES)] | None = None
    grammar: Pattern | None = None
    disable_any_whitespace: bool = False

    @model_validator(mode="after")
    def _is_one_form(self) -> Self:
        forms = {
            "json": self.json_schema is not None,
            "json_object": self.json_object,
            "regex": self.regex is not None,
            "choice": self.choice is not None,
            "grammar": self.grammar is not None,
        }
        given = [name for name, is_given in forms.items() if is_given]
        if len(given) != 1:
            raise invalid(f"has {' and '.join(given) or 'none'} of {', '.join(forms)}; give exactly one of them")
        if self.disable_any_whitespace and given[0] not in ("json", "json_object"):
            raise invalid(f"is for json and json_object, not for {given[0]}", "disable_any_whitespace")
        return self
