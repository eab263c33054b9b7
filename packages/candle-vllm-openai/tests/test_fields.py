"""Every parameter of the installed openai package is in the table, and the table tells the truth."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pytest
import typing_extensions
from field_uses import BASES, USES, Body
from openai.types import completion_create_params, embedding_create_params
from openai.types.chat import completion_create_params as chat_create_params

from candle_vllm_openai import FIELDS, ApiError, Field, OpenAIAdapter, ScriptedEngine, parse_request
from candle_vllm_openai.fields import Endpoint
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

SHOWS_ALL = (
    "{{ messages | tojson }}{{ tools | tojson }}{{ reasoning_effort }}{{ enable_thinking }}"
    "{% if false %}reasoning_content <tool_call> </think>{% endif %}<|im_start|>assistant\n"
)
"""A template that shows all that it is given, and the marks of a model that calls tools and thinks."""

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


CHAT_FIELDS = list(FIELDS["chat/completions"].values())
CHAT_USES = USES["chat/completions"]


def body(fields: Body) -> Body:
    return BASES["chat/completions"] | fields


def place_of(path: str) -> str:
    return path.replace("[]", "[0]")


def test_every_field_has_a_use() -> None:
    assert CHAT_USES.keys() == FIELDS["chat/completions"].keys()


@pytest.mark.parametrize("field", [f for f in CHAT_FIELDS if f.status == "refused"], ids=lambda field: field.path)
def test_a_refused_field_is_refused_by_its_name_and_says_why(field: Field) -> None:
    assert field.note
    parse_request(body(CHAT_USES[field.path].without))
    with pytest.raises(ApiError) as caught:
        parse_request(body(CHAT_USES[field.path].given))
    assert (caught.value.status, caught.value.code) == (400, "unsupported_field")
    assert caught.value.param == place_of(field.path)
    assert field.note in caught.value.message


async def observed(fields: Body) -> tuple[object, object]:
    """All that a request does: what the engine is asked, and what the client is told."""
    engine = ScriptedEngine(lambda prompt, params: "one two", chat_template=SHOWS_ALL)
    adapter, request = OpenAIAdapter(engine), parse_request(body(fields))
    if request.stream:
        told: list[Any] = [chunk async for chunk in adapter.chat_completion_stream(request)]
    else:
        told = [await adapter.chat_completion(request)]
    asked = [(engine.detokenize(made.prompt, skip_special_tokens=False), made.params) for made in engine.requests]
    return asked, [one.model_dump(exclude={"id", "created"}) for one in told]


@pytest.mark.parametrize("field", [f for f in CHAT_FIELDS if f.status == "honoured"], ids=lambda field: field.path)
async def test_an_honoured_field_changes_something_or_takes_one_value_only(field: Field) -> None:
    use = CHAT_USES[field.path]
    if use.refused is not None:
        parse_request(body(use.given))
        with pytest.raises(ApiError) as caught:
            parse_request(body(use.refused))
        assert caught.value.status == 400
        assert (caught.value.param or "").rpartition(".")[2] == field.path.rpartition(".")[2]
    elif field.path not in BY_THE_SERVER:
        assert await observed(use.given) != await observed(use.without)


@pytest.mark.parametrize("field", [f for f in CHAT_FIELDS if f.status == "no-op"], ids=lambda field: field.path)
async def test_a_no_op_changes_nothing(field: Field) -> None:
    use = CHAT_USES[field.path]
    assert use.given != use.without
    assert await observed(use.given) == await observed(use.without)


async def test_two_runs_of_one_request_are_observed_alike() -> None:
    assert await observed({"n": 3, "seed": 1}) == await observed({"n": 3, "seed": 1})


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
