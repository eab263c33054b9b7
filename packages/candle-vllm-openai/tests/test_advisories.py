"""What brought down, or broke into, other servers of models: each input of a published advisory is refused by name."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from endpoints import KINDS, parsed, said
from field_uses import BASES, USES, Body, outputs, part, tool

from candle_vllm_openai import FIELDS, ApiError, InferenceEngine, OpenAIAdapter, ScriptedEngine
from candle_vllm_openai.fields import Endpoint

INSTANCE = "http://169.254.169.254/latest/meta-data"


def kwargs(**given: Any) -> Body:
    return {"chat_template_kwargs": given}


def schema(**keywords: Any) -> Body:
    return {"tools": [tool(parameters={"type": "object", "properties": {"x": keywords}})]}


CHAT: Endpoint = "chat/completions"
TEXT: Endpoint = "completions"
EMBED: Endpoint = "embeddings"
PLACE = "tools[0].function.parameters.properties.x"

CASES: list[tuple[str, Endpoint, Body, str]] = [
    ("CVE-2024-8939", CHAT, {"best_of": 2**31}, "best_of"),
    ("CVE-2024-8939", TEXT, {"best_of": 2**31}, "best_of"),
    ("CVE-2026-34756", CHAT, {"n": 16384}, "n"),
    ("CVE-2026-34756", TEXT, {"n": 16384}, "n"),
    ("CVE-2026-34756", TEXT, {"n": 128, "prompt": ["x"] * 2048}, "n"),
    ("CVE-2025-48942", CHAT, outputs(json='{"type": "banana"}'), "structured_outputs.json.type"),
    ("CVE-2025-48942", CHAT, outputs(json="{"), "structured_outputs.json"),
    ("CVE-2025-48944", CHAT, schema(type="banana"), f"{PLACE}.type"),
    ("CVE-2025-48944", CHAT, schema(type="string", pattern=5), f"{PLACE}.pattern"),
    ("CVE-2025-48944", CHAT, {"tools": [{"type": "banana", "function": {"name": "f"}}]}, "tools[0].type"),
    ("CVE-2025-61620", CHAT, kwargs(chat_template="{{ 1 }}"), "chat_template_kwargs.chat_template"),
    ("CVE-2025-61620", CHAT, {"chat_template": "{{ 1 }}"}, "chat_template"),
    ("CVE-2025-62426", CHAT, kwargs(tokenize=True), "chat_template_kwargs.tokenize"),
    ("CVE-2025-62426", CHAT, kwargs(messages=[]), "chat_template_kwargs.messages"),
    ("CVE-2025-6242", CHAT, part(type="image_url", image_url={"url": INSTANCE}), "messages[0].content[0].image_url"),
    ("CVE-2026-22778", CHAT, part(type="video_url", video_url={"url": INSTANCE}), "messages[0].content[0].video_url"),
    ("CVE-2025-62372", CHAT, part(type="image_embeds", image_embeds=""), "messages[0].content[0].image_embeds"),
    ("CVE-2025-62372", EMBED, {"input": [[[1]]]}, "input[0][0]"),
    ("CVE-2025-62372", EMBED, {"input": [[]]}, "input[0]"),
    ("CVE-2025-62164", TEXT, {"prompt_embeds": "gASVAAAA"}, "prompt_embeds"),
    ("CVE-2026-7304", CHAT, {"custom_logit_processor": "gASVAAAA"}, "custom_logit_processor"),
    ("CVE-2026-7304", CHAT, {"logits_processors": ["os.system"]}, "logits_processors"),
    ("CVE-2026-21869", CHAT, {"n_discard": -1}, "n_discard"),
    ("llama.cpp#26600", CHAT, outputs(grammar="start: " + "(" * 70_000 + ")" * 70_000), "structured_outputs.grammar"),
    ("remote reference", CHAT, schema(**{"$ref": INSTANCE}), f"{PLACE}.$ref"),
]


@pytest.mark.parametrize(("advisory", "endpoint", "fields", "param"), CASES, ids=[f"{c[0]}-{c[3]}" for c in CASES])
def test_the_input_of_an_advisory_is_refused(advisory: str, endpoint: Endpoint, fields: Body, param: str) -> None:
    body = json.dumps(BASES[endpoint] | fields)
    with pytest.raises(ApiError) as caught:
        parsed(endpoint, body)
    assert (caught.value.status, caught.value.param) == (400, param)
    assert len(caught.value.message) < 500


@pytest.mark.parametrize(
    ("endpoint", "fields"),
    [(CHAT, {"messages": [{"role": "user", "content": ""}]}), (TEXT, {"prompt": ""}), (EMBED, {"input": ""})],
)
async def test_an_empty_prompt_harms_nothing(endpoint: Endpoint, fields: Body) -> None:
    """CVE-2024-8768."""
    adapter = OpenAIAdapter(ScriptedEngine(lambda prompt, params: "ok"))
    for body in (fields, BASES[endpoint]):
        try:
            assert await said(adapter, parsed(endpoint, body))
        except ApiError as error:
            assert body is fields and error.status == 400 and error.param == next(iter(fields))


FORMS = [
    ("CVE-2025-48943", outputs(regex="(")),
    ("CVE-2025-48944", outputs(json={"type": "string", "pattern": "["})),
    ("llama.cpp#26600", outputs(grammar="start: " + "(" * 60_000 + '"a"' + ")" * 60_000)),
    ("vocabulary", {"logit_bias": {"999999999": 5}}),
]


async def test_an_engine_outlives_what_it_cannot_follow() -> None:
    """What only the engine can tell: a pattern that is none, a grammar too deep to read, a token that is not there."""
    with InferenceEngine() as engine:
        adapter = OpenAIAdapter(engine)
        for _, fields in FORMS:
            with pytest.raises(ApiError) as caught:
                await said(adapter, parsed(CHAT, BASES[CHAT] | fields))
            assert caught.value.status == 400
            assert (caught.value.param or "").startswith(next(iter(fields)))
        assert await said(adapter, parsed(CHAT, BASES[CHAT] | {"max_tokens": 1}))


def numbers(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where numbers stand in a JSON value."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield from numbers(each, (*path, key))


def with_number(value: Any, path: tuple[str | int, ...], number: float) -> Any:
    if not path:
        return number
    changed: Any = dict(value) if isinstance(value, dict) else list(value)
    changed[path[0]] = with_number(changed[path[0]], path[1:], number)
    return changed


FREE = {"parameters", "schema", "json", "parsed", "parsed_arguments"}
"""Objects that are the client's own; numbers in them count for nothing here."""

NUMBERS = [
    pytest.param(endpoint, use.given, place, id=f"{endpoint}:{path}")
    for endpoint in KINDS
    for path, use in USES[endpoint].items()
    for place in numbers(use.given)
    if FIELDS[endpoint][path].status != "refused" and not FREE & set(place)
]


@pytest.mark.parametrize(("endpoint", "fields", "place"), NUMBERS)
def test_every_number_is_bounded_at_both_ends(endpoint: Endpoint, fields: Body, place: tuple[str | int, ...]) -> None:
    """CVE-2026-21869, CVE-2026-34756 and their like."""
    for number in (-(2**63) - 1, 2**63, -1e300, 1e300):
        with pytest.raises(ApiError) as caught:
            parsed(endpoint, with_number(BASES[endpoint] | fields, place, number))
        assert caught.value.status == 400 and caught.value.param
