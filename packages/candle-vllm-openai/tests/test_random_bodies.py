"""Whatever a client sends: an answer, or a 400 that names the field. Never a 500."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from endpoints import parsed
from field_uses import Body
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_bodies import answer_or_named, models, nearly_right, values

from candle_vllm_core.testing import CHATML
from candle_vllm_openai import FIELDS, ApiError
from candle_vllm_openai.fields import Endpoint


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=nearly_right(), model=models)
def test_a_request_that_is_nearly_right_is_answered_or_named(
    asked: tuple[Endpoint, Body], model: tuple[str, str], runner: asyncio.Runner
) -> None:
    answer_or_named(*asked, model, runner)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(endpoint=st.sampled_from(list(FIELDS)), body=values)
def test_any_json_is_answered_or_named(endpoint: Endpoint, body: Any, runner: asyncio.Runner) -> None:
    answer_or_named(endpoint, body, (CHATML, "ok"), runner)


@settings(max_examples=150)
@given(
    endpoint=st.sampled_from(list(FIELDS)),
    body=st.binary(max_size=64) | values.map(lambda value: json.dumps(value).encode()),
)
def test_any_bytes_are_read_or_refused(endpoint: Endpoint, body: bytes) -> None:
    try:
        parsed(endpoint, body)
    except ApiError as error:
        assert error.status == 400


@settings(max_examples=150)
@given(asked=nearly_right())
def test_a_request_that_is_written_out_reads_the_same(asked: tuple[Endpoint, Body]) -> None:
    endpoint, body = asked
    try:
        request = parsed(endpoint, body)
    except ApiError:
        return
    written = request.model_dump(exclude_none=True)
    assert parsed(endpoint, json.dumps(written)).model_dump(exclude_none=True) == written
