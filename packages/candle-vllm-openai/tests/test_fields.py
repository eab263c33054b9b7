"""Every parameter of the installed openai package is in the table, and the table tells the truth."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pytest
import typing_extensions
from endpoints import SHOWS_ALL, parsed, said
from field_uses import BASES, USES, Body
from openai.types import completion_create_params, embedding_create_params
from openai.types.chat import completion_create_params as chat_create_params

from candle_vllm_openai import (
    FIELDS,
    ApiError,
    Field,
    OpenAIAdapter,
    ScriptedEngine,
)
from candle_vllm_openai.fields import Endpoint, Status
from candle_vllm_openai.types.strict import Strict

PARAMS: dict[Endpoint, list[Any]] = {
    "chat/completions": [
        chat_create_params.CompletionCreateParamsNonStreaming,
        chat_create_params.CompletionCreateParamsStreaming,
    ],
    "completions": [
        completion_create_params.CompletionCreateParamsNonStreaming,
        completion_create_params.CompletionCreateParamsStreaming,
    ],
    "embeddings": [embedding_create_params.EmbeddingCreateParams],
}

BY_THE_SERVER = {"model"}
"""What the adapter leaves to the server, whose own tests show it: one adapter has one model."""


def openai_fields(endpoint: Endpoint, kind: Any, path: str = "") -> Iterator[str]:
    """The paths of a parameter type of the openai package, down to what the table does not refuse or ignore."""
    if not typing_extensions.is_typeddict(kind):
        listed = "[]" if _is_list(kind) else ""
        for member in typing_extensions.get_args(kind):
            yield from openai_fields(endpoint, member, path + listed)
        return
    for name, inner in typing_extensions.get_type_hints(kind).items():
        place = f"{path}.{name}".removeprefix(".")
        yield place
        if place not in FIELDS[endpoint] or FIELDS[endpoint][place].status == "honoured":
            yield from openai_fields(endpoint, inner, place)


def _is_list(kind: Any) -> bool:
    origin = typing_extensions.get_origin(kind)
    return isinstance(origin, type) and issubclass(origin, Iterable) and not issubclass(origin, Mapping)


OPENAI: dict[Endpoint, set[str]] = {
    endpoint: {path for kind in kinds for path in openai_fields(endpoint, kind)} for endpoint, kinds in PARAMS.items()
}


def test_the_walk_finds_what_is_known_to_be_there() -> None:
    chat = OPENAI["chat/completions"]
    assert {"messages[].tool_calls[].function.arguments", "messages[].content[].image_url"} <= chat
    assert {"stream_options.include_usage", "web_search_options", "response_format.json_schema.strict"} <= chat
    assert {"tools[].custom", "tool_choice.allowed_tools.mode", "tools[].function.parameters"} <= chat
    assert {"prompt", "suffix", "stream_options.include_usage"} <= OPENAI["completions"]
    assert {"input", "encoding_format"} <= OPENAI["embeddings"]


@pytest.mark.parametrize("endpoint", FIELDS)
def test_the_table_has_every_field_of_the_openai_package(endpoint: Endpoint) -> None:
    assert OPENAI[endpoint] - FIELDS[endpoint].keys() == set()


@pytest.mark.parametrize("endpoint", FIELDS)
def test_a_field_is_openais_or_an_extension(endpoint: Endpoint) -> None:
    extensions = {path for path, field in FIELDS[endpoint].items() if field.extension}
    assert extensions & OPENAI[endpoint] == set()
    # OpenAI had these in its chat completions, or takes them at its completions.
    assert FIELDS[endpoint].keys() - OPENAI[endpoint] - extensions <= {"best_of", "suffix", "messages[].annotations"}


Row = tuple[Endpoint, Field]


def rows(status: Status) -> list[Any]:
    found = [(endpoint, field) for endpoint, fields in FIELDS.items() for field in fields.values()]
    return [
        pytest.param((endpoint, field), id=f"{endpoint}:{field.path}")
        for endpoint, field in found
        if field.status == status
    ]


def refused(endpoint: Endpoint, fields: Body) -> ApiError:
    with pytest.raises(ApiError) as caught:
        parsed(endpoint, BASES[endpoint] | fields)
    assert caught.value.status == 400
    return caught.value


@pytest.mark.parametrize("endpoint", FIELDS)
def test_every_field_has_a_use(endpoint: Endpoint) -> None:
    assert USES[endpoint].keys() == FIELDS[endpoint].keys()


@pytest.mark.parametrize("row", rows("refused"))
def test_a_refused_field_is_refused_by_its_name_and_says_why(row: Row) -> None:
    endpoint, field = row
    use = USES[endpoint][field.path]
    parsed(endpoint, BASES[endpoint] | use.without)
    error = refused(endpoint, use.given)
    assert (error.code, error.param) == ("unsupported_field", field.path.replace("[]", "[0]"))
    assert field.note and field.note in error.message


async def observed(endpoint: Endpoint, fields: Body) -> list[object]:
    """All that a request does: what the engine is asked, and what the client is told."""
    engine = ScriptedEngine(lambda prompt, params: "one two", chat_template=SHOWS_ALL)
    told = await said(OpenAIAdapter(engine), parsed(endpoint, BASES[endpoint] | fields))
    asked = [(engine.detokenize(made.prompt, skip_special_tokens=False), made.params) for made in engine.requests]
    return [asked, engine.embedded, [one.model_dump(exclude={"id", "created"}) for one in told]]


@pytest.mark.parametrize("row", rows("honoured"))
async def test_an_honoured_field_changes_something_or_takes_one_value_only(row: Row) -> None:
    endpoint, field = row
    use = USES[endpoint][field.path]
    if use.refused is not None:
        parsed(endpoint, BASES[endpoint] | use.given)
        param = refused(endpoint, use.refused).param or ""
        assert param.rpartition(".")[2] == field.path.rpartition(".")[2]
    elif field.path not in BY_THE_SERVER:
        changed = await observed(endpoint, use.given) != await observed(endpoint, use.without)
        assert changed, field.path


@pytest.mark.parametrize("row", rows("no-op"))
async def test_a_no_op_changes_nothing(row: Row) -> None:
    endpoint, field = row
    use = USES[endpoint][field.path]
    assert use.given != use.without
    assert await observed(endpoint, use.given) == await observed(endpoint, use.without)


@pytest.mark.parametrize("endpoint", FIELDS)
async def test_two_runs_of_one_request_are_observed_alike(endpoint: Endpoint) -> None:
    assert await observed(endpoint, {}) == await observed(endpoint, {})


def all_types(kind: type[Strict] = Strict) -> Iterator[type[Strict]]:
    for inner in kind.__subclasses__():
        yield from (inner, *all_types(inner))


TYPES = [kind for kind in all_types() if kind.table_path is not None]
PLACES = sorted({(kind.endpoint, str(kind.table_path)) for kind in TYPES})


@pytest.mark.parametrize(("endpoint", "prefix"), PLACES)
def test_the_types_take_exactly_what_the_table_does_not_refuse(endpoint: Endpoint, prefix: str) -> None:
    kinds = [kind for kind in TYPES if (kind.endpoint, kind.table_path) == (endpoint, prefix)]
    inside = {p.removeprefix(prefix): field for p, field in FIELDS[endpoint].items() if p.startswith(prefix)}
    listed = {name for name, field in inside.items() if field.status != "refused" and not {".", "["} & set(name)}
    taken = {field.alias or name for kind in kinds for name, field in kind.model_fields.items()}
    assert taken == listed


def test_what_two_endpoints_share_stands_alike_in_their_tables() -> None:
    chat, completions = FIELDS["chat/completions"], FIELDS["completions"]
    prefixes = ("stream_options.", "structured_outputs.")
    shared = [path for path in chat if path.startswith(prefixes)]
    assert shared and [chat[path] for path in shared] == [completions[path] for path in shared]
